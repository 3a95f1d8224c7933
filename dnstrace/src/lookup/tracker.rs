//! Messages to attempts, attempts to queries.

use crate::{
    dns::{Message, Question},
    event::{KernelTime, Loss, Transport},
};

use super::{
    Answer, Attempt, Conversation, Fate, Limits, Lookup, Observation, Outcome, Query, Role, Sight, Stray,
    StrayPacket, StrayReason, TcpConnection, Totals,
    connections::Connections,
    entries::Entries,
    fate::{is_dead, judge},
    gaps::Gaps,
    grouping::Grouping,
    known::Known,
    open::OpenQuery,
    places::Place,
    table::Table,
};

/// What the tracker has to say.
#[derive(Clone, Debug)]
pub enum Output {
    Query(Box<Query>),
    Stray(Box<Stray>),
    Packet(Box<StrayPacket>),
    Connection(Box<TcpConnection>),
    /// After the last of its queries.
    Lookup(Box<Lookup>),
    /// Events were lost.
    Loss(Loss),
}

impl Output {
    /// When it happened, or began; of a loss, when it had ended.
    pub fn time(&self) -> KernelTime {
        match self {
            Self::Query(query) => query.started(),
            Self::Stray(stray) => stray.observation.seen.time,
            Self::Packet(packet) => packet.step.time,
            Self::Connection(connection) => connection.time,
            Self::Lookup(lookup) => lookup.started,
            Self::Loss(loss) => loss.time,
        }
    }
}

/// Queries under way, and those that ended a moment ago.
#[derive(Debug)]
pub struct Tracker {
    pub(super) table: Table,
    pub(super) connections: Connections,
    pub(super) entries: Entries,
    pub(super) gaps: Gaps,
    pub(super) grouping: Grouping,
}

impl Tracker {
    pub fn new(limits: Limits, sight: Sight) -> Self {
        Self {
            table: Table::new(limits),
            connections: Connections::new(limits.queries),
            entries: Entries::new(limits.queries, sight),
            gaps: Gaps::default(),
            grouping: Grouping::new(limits.queries),
        }
    }

    /// What the trace can see has changed.
    pub fn see(&mut self, sight: Sight) {
        self.entries.see(sight);
    }

    /// What was given up so far.
    pub fn totals(&self) -> Totals {
        Totals { lookups: self.grouping.hurried, ..self.table.totals }
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
        loop {
            let connection = self.connections.next_deadline().filter(|(deadline, _)| *deadline <= now);
            let lookup = self.grouping.next_deadline().filter(|deadline| *deadline <= now);
            let until = connection.map(|(deadline, _)| deadline).into_iter().chain(lookup).min();
            if let Some((open, deadline)) = self.table.take_due(until.unwrap_or(now)) {
                self.close(open, deadline, Outcome::Unanswered, out);
            } else if let Some((_, number)) = connection.filter(|(deadline, _)| Some(*deadline) == until) {
                self.connection_due(number, out);
            } else if let Some(until) = until {
                self.tell_lookups(until, out);
            } else {
                return;
            }
        }
    }

    /// The trace ends at `now`: ends everything, in the order in which it began.
    pub fn finish(&mut self, now: KernelTime, out: &mut Vec<Output>) {
        self.advance(now, out);
        for open in self.table.take_all() {
            self.close(open, now, Outcome::Pending, out);
        }
        for connection in self.connections.take_all() {
            self.tell_connection(connection, now, out);
        }
        out.extend(self.grouping.take_all().into_iter().map(|lookup| Output::Lookup(Box::new(lookup))));
    }

    /// A query message.
    fn ask(&mut self, observation: &Observation, question: Question, out: &mut Vec<Output>) {
        let Some(mut attempt) = attempt(observation) else { return };
        let connection = match attempt.conversation.transport {
            Transport::Tcp => {
                Some(self.connection_of(&attempt.conversation, attempt.socket, attempt.time, out))
            }
            Transport::Udp => None,
        };
        if let Some(connection) = connection {
            self.board(connection, &mut attempt);
        }
        let role = attempt.conversation.role;
        let query = self.add_attempt(observation, question, attempt, out);
        if role == Role::Server {
            self.taken_in(query, observation);
        }
        if let Some(connection) = connection {
            self.note_last(connection, query);
        }
    }

    /// A new query, or a further attempt of one under way. Returns its number.
    pub(super) fn add_attempt(
        &mut self,
        observation: &Observation,
        question: Question,
        mut attempt: Attempt,
        out: &mut Vec<Output>,
    ) -> u64 {
        let conversation = attempt.conversation;
        // A further packet of a flow is not inserted again: it goes where the first one went.
        let way = match conversation.role {
            Role::Client if matches!(attempt.fate, Fate::Open) => {
                self.entries.way(&conversation.flow(), conversation.netns, attempt.time)
            }
            _ => None,
        };
        attempt.endpoint = attempt.endpoint.or(way.and_then(|way| way.endpoint));
        let (number, place) = match self.table.continued(observation, &question, &attempt) {
            Some(number) => (number, self.table.add_attempt(number, attempt)),
            None => {
                if let Some(open) = self.table.take_for_room() {
                    self.close(open, attempt.time, Outcome::Pending, out);
                }
                let place = self.table.open_query(observation, question, attempt);
                self.group(place.query, out);
                (place.query, Some(place))
            }
        };
        if let (Some(place), Some(way)) = (place, way) {
            self.table.add_translated(place, way.reply);
        }
        number
    }

    /// A response message: the end of an attempt.
    fn answer(&mut self, observation: Observation, out: &mut Vec<Output>) {
        let Some(message) = observation.decoded.message.clone() else { return };
        let conversation = Conversation::of(&observation.seen, &message);
        if let Some(place) = self.awaiting(&conversation, &message, observation.seen.socket) {
            self.proven_way(place, observation.seen.time);
            return self.table.settle(place, answer_of(&observation, &message));
        }
        if self.goes_on(&observation, &conversation, &message) {
            return;
        }
        let translated = self.table.translated_to(&conversation);
        let mut before = asking(self.table.of_conversation(&conversation), &message);
        before.retain(|known| self.may_come_on(known, observation.seen.socket));
        let reason = if let Some(known) = before.last() {
            self.afterwards(known, observation.seen.time)
        } else if let Some(known) = asking(translated, &message).last()
            && conversation.role == Role::Client
        {
            StrayReason::Untranslated { query: known.place.query, asked: known.remote }
        } else {
            StrayReason::QueryNotSeen
        };
        stray(observation, reason, out);
    }

    /// The attempt that this message answers: the newest that waits. Of two with one id in one conversation the older
    /// is the one that was lost, or its answer is as good; unless it is known that the newer one was lost.
    pub(super) fn awaiting(
        &self,
        conversation: &Conversation,
        message: &Message,
        socket: u64,
    ) -> Option<Place> {
        let mut waiting = asking(self.table.of_conversation(conversation), message);
        waiting.retain(|known| known.is_waiting() && self.may_come_on(known, socket));
        let is_alive = |known: &&Known<'_>| known.open.is_some_and(|attempt| !is_dead(attempt));
        let newest = waiting.iter().rev().find(is_alive).or(waiting.last())?;
        Some(newest.place)
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
    fn close(&mut self, mut open: OpenQuery, now: KernelTime, otherwise: Outcome, out: &mut Vec<Output>) {
        self.add_opening(&mut open);
        let query = &mut open.query;
        let answered = open.settled.or_else(|| query.attempts.iter().rposition(|a| a.answer().is_some()));
        query.outcome = match answered {
            Some(attempt) => Outcome::Answered { attempt },
            None => otherwise,
        };
        query.ended = query.answer().map_or(now, |answer| answer.time);
        judge(&mut open, (otherwise, now), &self.gaps);
        let query = open.query;
        self.table.remember(&query, now);
        self.grouping.ended(&query, now);
        out.push(Output::Query(Box::new(query)));
        self.tell_lookups(now, out);
    }
}

impl Tracker {
    /// Puts a query that begins into its lookup.
    fn group(&mut self, number: u64, out: &mut Vec<Output>) {
        let Some(open) = self.table.open.get(&number) else { return };
        let standing = |number| self.table.open.get(&number).map(OpenQuery::standing);
        let hurried = self.grouping.opened(&open.query, &standing);
        out.extend(hurried.map(|lookup| Output::Lookup(Box::new(lookup))));
    }

    /// Tells the lookups that are over by `now`.
    fn tell_lookups(&mut self, now: KernelTime, out: &mut Vec<Output>) {
        while let Some(lookup) = self.grouping.take_due(now) {
            out.push(Output::Lookup(Box::new(lookup)));
        }
    }
}

/// Those of `attempts` that this message may answer.
fn asking<'a>(mut attempts: Vec<Known<'a>>, message: &Message) -> Vec<Known<'a>> {
    attempts.retain(|known| message.question.as_ref().is_none_or(|asked| known.question == asked));
    attempts
}

/// A query message as an attempt that waits.
pub(super) fn attempt(observation: &Observation) -> Option<Attempt> {
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
        peer: Default::default(),
        carrier: None,
        server_side: None,
        steps: Vec::new(),
        steps_left_out: 0,
        fate: Fate::Open,
    })
}

/// A response as the answer to an attempt.
pub(super) fn answer_of(observation: &Observation, message: &Message) -> Answer {
    Answer {
        time: observation.seen.time,
        arrived: observation.seen.arrived,
        message: message.clone(),
        defect: observation.decoded.defect.clone(),
        length: observation.seen.length,
        further_messages: 0,
    }
}

pub(super) fn stray(observation: Observation, reason: StrayReason, out: &mut Vec<Output>) {
    out.push(Output::Stray(Box::new(Stray { observation, reason })));
}
