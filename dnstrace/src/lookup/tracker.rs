//! Messages to attempts, attempts to queries.

use crate::{dns::Question, event::KernelTime};

use super::{
    Answer, Attempt, Conversation, Fate, Limits, Observation, Outcome, Query, Stray, StrayPacket,
    StrayReason, Totals,
    fate::judge,
    open::OpenQuery,
    table::{Known, Table},
};

/// What the tracker has to say.
#[derive(Clone, Debug)]
pub enum Output {
    Query(Box<Query>),
    Stray(Box<Stray>),
    Packet(Box<StrayPacket>),
}

/// Queries under way, and those that ended a moment ago.
#[derive(Debug)]
pub struct Tracker {
    pub(super) table: Table,
}

impl Tracker {
    pub fn new(limits: Limits) -> Self {
        Self { table: Table::new(limits) }
    }

    /// What was given up so far.
    pub fn totals(&self) -> Totals {
        self.table.totals
    }

    /// Takes in one message. Appends to `out` what has ended up to its time and by it.
    pub fn message(&mut self, observation: Observation, out: &mut Vec<Output>) {
        self.advance(observation.seen.time, out);
        let Some(message) = &observation.decoded.message else {
            return stray(observation, StrayReason::Undecoded, out);
        };
        if message.response {
            self.answer(observation, out);
        } else if let Some(question) = message.question.clone() {
            self.ask(&observation, question, out);
        } else {
            stray(observation, StrayReason::NoQuestion, out);
        }
    }

    /// Event time has come to `now`: ends what has waited long enough.
    pub fn advance(&mut self, now: KernelTime, out: &mut Vec<Output>) {
        while let Some((open, deadline)) = self.table.take_due(now) {
            self.close(open, deadline, Outcome::Unanswered, out);
        }
    }

    /// The trace ends at `now`: ends everything, in the order in which it began.
    pub fn finish(&mut self, now: KernelTime, out: &mut Vec<Output>) {
        self.advance(now, out);
        for open in self.table.take_all() {
            self.close(open, now, Outcome::Pending, out);
        }
    }

    /// A query message: a new query, or a further attempt of one under way.
    fn ask(&mut self, observation: &Observation, question: Question, out: &mut Vec<Output>) {
        let Some(attempt) = attempt(observation) else { return };
        match self.table.continued(observation, &question, &attempt) {
            Some(number) => self.table.add_attempt(number, attempt),
            None => {
                if let Some(open) = self.table.take_for_room() {
                    self.close(open, attempt.time, Outcome::Pending, out);
                }
                self.table.open_query(observation, question, attempt);
            }
        }
    }

    /// A response message: the end of an attempt.
    fn answer(&mut self, observation: Observation, out: &mut Vec<Output>) {
        let Some(message) = observation.decoded.message.clone() else { return };
        let conversation = Conversation::of(&observation.seen, &message);
        let asked = message.question.as_ref();
        let matching = self.table.of_conversation(&conversation);
        let matching: Vec<_> =
            matching.filter(|known| asked.is_none_or(|asked| known.question == asked)).collect();
        // The newest first: of two messages with one id in one conversation the older is the one that was lost,
        // or its answer is as good.
        if let Some(known) = matching.iter().rev().find(|known| known.is_waiting()) {
            let place = known.place;
            let answer = Answer {
                time: observation.seen.time,
                arrived: observation.seen.arrived,
                length: observation.seen.length,
                defect: observation.decoded.defect,
                message,
            };
            return self.table.settle(place, answer);
        }
        let reason = match matching.last() {
            Some(known) => self.afterwards(known, observation.seen.time),
            None => StrayReason::QueryNotSeen,
        };
        stray(observation, reason, out);
    }

    /// What a response is that came when its attempt no longer waited.
    fn afterwards(&self, known: &Known<'_>, time: KernelTime) -> StrayReason {
        let query = known.place.query;
        if self.table.ended_unanswered(query) {
            StrayReason::Late { query, after: time.since(known.time) }
        } else {
            StrayReason::Surplus { query }
        }
    }

    /// Ends a query that was taken out of the table: `otherwise` is the outcome if nothing answered it.
    fn close(&mut self, open: OpenQuery, now: KernelTime, otherwise: Outcome, out: &mut Vec<Output>) {
        let OpenQuery { mut query, settled, .. } = open;
        let answered = settled.or_else(|| query.attempts.iter().rposition(|a| a.answer().is_some()));
        query.outcome = match answered {
            Some(attempt) => Outcome::Answered { attempt },
            None => otherwise,
        };
        query.ended = query.answer().map_or(now, |answer| answer.time);
        judge(&mut query);
        self.table.remember(&query, now);
        out.push(Output::Query(Box::new(query)));
    }
}

/// A query message as an attempt that waits.
fn attempt(observation: &Observation) -> Option<Attempt> {
    let message = observation.decoded.message.as_ref()?;
    Some(Attempt {
        time: observation.seen.time,
        conversation: Conversation::of(&observation.seen, message),
        socket: observation.seen.socket,
        tid: observation.seen.task.tid,
        length: observation.seen.length,
        flags: message.flags,
        edns: message.edns,
        endpoint: None,
        steps: Vec::new(),
        steps_left_out: 0,
        fate: Fate::Open,
    })
}

fn stray(observation: Observation, reason: StrayReason, out: &mut Vec<Output>) {
    out.push(Output::Stray(Box::new(Stray { observation, reason })));
}
