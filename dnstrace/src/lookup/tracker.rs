//! What is under way, and when it has ended.

use std::collections::{BTreeSet, HashMap};

use crate::{
    dns::{Defect, Message, Question, rcodes},
    event::KernelTime,
};

use super::{
    Answer, Attempt, Conversation, Fate, Observation, Outcome, Query, Role, Stray, StrayPacket, StrayReason,
};

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLISECOND;

/// After a good answer, time for the resolver's other messages of the same question: musl asks all its servers
/// at once, and the first may have answered before the last was asked.
const SETTLE: u64 = 20 * MILLISECOND;
/// After an answer that makes a resolver try the next server (SERVFAIL, REFUSED, ...).
const AFTER_ERROR: u64 = 100 * MILLISECOND;
/// After an answer with TC, for the retry over TCP.
const AFTER_TRUNCATED: u64 = 2 * SECOND;
/// No resolver's retransmission timer is shorter: an attempt that follows sooner was sent beside the one before
/// it, not after waiting for it. (c-ares, glibc, Go, musl, systemd-resolved: 0.5 s and more.)
const SHORTEST_RETRY: u64 = 400 * MILLISECOND;
/// A resolver that retries with a new id (Go, dig) does so after its time-out, of at least this long.
const SHORTEST_TIMEOUT: u64 = SECOND;

/// Bounds of the tracker.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Queries under way at the same time; beyond that the one that would time out first is given up as
    /// [`Outcome::Pending`] and counted.
    pub queries: usize,
    /// Attempts kept of one query.
    pub attempts: usize,
    /// Steps kept of one attempt.
    pub steps: usize,
    /// Nanoseconds after its last attempt at which a query counts as unanswered.
    pub timeout: u64,
    /// Nanoseconds for which an ended query is remembered, to know a late answer.
    pub late: u64,
}

impl Default for Limits {
    /// The time-out is a little above the 5 s that glibc, Go and dig wait before they try again: so a retry is
    /// seen as one.
    fn default() -> Self {
        Self { queries: 65_536, attempts: 64, steps: 32, timeout: 6 * SECOND, late: 30 * SECOND }
    }
}

/// What the tracker has to say.
#[derive(Clone, Debug)]
pub enum Output {
    Query(Box<Query>),
    Stray(Box<Stray>),
    Packet(Box<StrayPacket>),
}

/// What the tracker gave up for want of room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Queries ended as pending because too many were under way.
    pub evicted: u64,
    /// Ended queries forgotten before their time: an answer still later would be called one without a query.
    pub forgotten: u64,
}

/// Queries under way, and those that ended a moment ago.
#[derive(Debug)]
pub struct Tracker {
    limits: Limits,
    /// Serial number of the next query.
    next: u64,
    open: HashMap<u64, OpenQuery>,
    closed: HashMap<u64, ClosedQuery>,
    /// Where the attempts of a conversation are, the newest last.
    conversations: HashMap<Conversation, Vec<Place>>,
    /// Open client queries by who asks what.
    askers: HashMap<Asker, Vec<u64>>,
    /// When to look at an open or closed query again.
    deadlines: BTreeSet<(KernelTime, u64)>,
    totals: Totals,
}

#[derive(Debug)]
struct OpenQuery {
    query: Query,
    deadline: KernelTime,
    /// The attempt whose answer satisfies the program.
    settled: Option<usize>,
}

/// What is remembered of an ended query.
#[derive(Debug)]
struct ClosedQuery {
    question: Question,
    answered: bool,
    /// Conversation and time of each attempt.
    attempts: Vec<(Conversation, KernelTime)>,
    deadline: KernelTime,
}

/// An attempt of a query: number and index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    query: u64,
    attempt: usize,
}

/// Who asks what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Asker {
    netns: u32,
    pid: u32,
    question: Question,
}

impl Asker {
    fn of(query: &Query) -> Self {
        Self { netns: query.netns, pid: query.task.pid, question: query.question.clone() }
    }
}

impl Tracker {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            next: 1,
            open: HashMap::new(),
            closed: HashMap::new(),
            conversations: HashMap::new(),
            askers: HashMap::new(),
            deadlines: BTreeSet::new(),
            totals: Totals::default(),
        }
    }

    /// What was given up so far.
    pub fn totals(&self) -> Totals {
        self.totals
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
        while let Some(&(deadline, number)) = self.deadlines.first() {
            if deadline > now {
                return;
            }
            self.deadlines.pop_first();
            if let Some(open) = self.open.remove(&number) {
                self.close(open, deadline, Outcome::Unanswered, out);
            } else if let Some(closed) = self.closed.remove(&number) {
                self.forget(number, &closed);
            }
        }
    }

    /// The trace ends at `now`: ends everything, in the order in which it began.
    pub fn finish(&mut self, now: KernelTime, out: &mut Vec<Output>) {
        self.advance(now, out);
        let mut numbers: Vec<u64> = self.open.keys().copied().collect();
        numbers.sort_unstable();
        for number in numbers {
            if let Some(open) = self.open.remove(&number) {
                self.close(open, now, Outcome::Pending, out);
            }
        }
    }

    /// A query message: a new query, or a further attempt of one under way.
    fn ask(&mut self, observation: &Observation, question: Question, out: &mut Vec<Output>) {
        let Some(message) = &observation.decoded.message else { return };
        let attempt = Attempt {
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
        };
        match self.continued(observation, &question, &attempt) {
            Some(number) => self.add_attempt(number, attempt),
            None => self.open_query(observation, question, attempt, out),
        }
    }

    /// The query under way that `attempt` continues.
    fn continued(&self, observation: &Observation, question: &Question, attempt: &Attempt) -> Option<u64> {
        match attempt.conversation.role {
            Role::Server => self
                .conversations
                .get(&attempt.conversation)?
                .iter()
                .map(|place| place.query)
                .find(|number| self.open.get(number).is_some_and(|open| open.query.question == *question)),
            Role::Client => {
                let asker = Asker {
                    netns: observation.seen.netns,
                    pid: observation.seen.task.pid,
                    question: question.clone(),
                };
                self.askers
                    .get(&asker)?
                    .iter()
                    .copied()
                    .find(|number| self.open.get(number).is_some_and(|open| open.continues(attempt)))
            }
        }
    }

    fn open_query(
        &mut self,
        observation: &Observation,
        question: Question,
        attempt: Attempt,
        out: &mut Vec<Output>,
    ) {
        self.make_room(attempt.time, out);
        let number = self.next;
        self.next += 1;
        let deadline = attempt.time.plus(self.limits.timeout);
        let query = Query {
            number,
            role: attempt.conversation.role,
            question,
            owner: observation.owner.clone(),
            task: observation.seen.task.clone(),
            netns: observation.seen.netns,
            attempts: Vec::new(),
            attempts_left_out: 0,
            outcome: Outcome::Pending,
            ended: attempt.time,
        };
        if query.role == Role::Client {
            self.askers.entry(Asker::of(&query)).or_default().push(number);
        }
        self.deadlines.insert((deadline, number));
        self.open.insert(number, OpenQuery { query, deadline, settled: None });
        self.add_attempt(number, attempt);
    }

    fn add_attempt(&mut self, number: u64, attempt: Attempt) {
        let Some(open) = self.open.get_mut(&number) else { return };
        let deadline = attempt.time.plus(self.limits.timeout);
        if open.query.attempts.len() < self.limits.attempts {
            let place = Place { query: number, attempt: open.query.attempts.len() };
            self.conversations.entry(attempt.conversation).or_default().push(place);
            open.query.attempts.push(attempt);
        } else {
            open.query.attempts_left_out += 1;
        }
        if open.settled.is_none() {
            self.postpone(number, deadline);
        }
    }

    /// A response message: the end of an attempt.
    fn answer(&mut self, observation: Observation, out: &mut Vec<Output>) {
        let Some(message) = observation.decoded.message.clone() else { return };
        let conversation = Conversation::of(&observation.seen, &message);
        let places = self.conversations.get(&conversation).map_or(&[][..], Vec::as_slice);
        let matching = |place: &&Place| {
            message.question.as_ref().is_none_or(|asked| self.asks(place.query) == Some(asked))
        };
        let waiting = |place: &&Place| {
            let attempt = self.open.get(&place.query).and_then(|open| open.query.attempts.get(place.attempt));
            attempt.is_some_and(|attempt| matches!(attempt.fate, Fate::Open))
        };
        // The newest first: of two messages with one id in one conversation the older is the one that was lost,
        // or its answer is as good.
        if let Some(place) = places.iter().rev().filter(matching).find(waiting).copied() {
            let answer = Answer {
                time: observation.seen.time,
                arrived: observation.seen.arrived,
                length: observation.seen.length,
                defect: observation.decoded.defect,
                message,
            };
            return self.settle(place, answer, out);
        }
        let reason = match places.iter().rev().find(matching) {
            Some(place) => self.afterwards(*place, observation.seen.time),
            None => StrayReason::QueryNotSeen,
        };
        stray(observation, reason, out);
    }

    /// What a response is that came when its attempt no longer waited.
    fn afterwards(&self, place: Place, time: KernelTime) -> StrayReason {
        let query = place.query;
        match self.closed.get(&query) {
            Some(closed) if !closed.answered => {
                let sent = closed.attempts.get(place.attempt).map_or(time, |(_, sent)| *sent);
                StrayReason::Late { query, after: time.since(sent) }
            }
            _ => StrayReason::Surplus { query },
        }
    }

    /// The question of a query under way or just ended.
    fn asks(&self, number: u64) -> Option<&Question> {
        match self.open.get(&number) {
            Some(open) => Some(&open.query.question),
            None => self.closed.get(&number).map(|closed| &closed.question),
        }
    }

    /// Notes an answer, and ends the query or waits for what the resolver makes of it.
    fn settle(&mut self, place: Place, answer: Answer, out: &mut Vec<Output>) {
        let Some(open) = self.open.get_mut(&place.query) else { return };
        let time = answer.time;
        let patience = patience(&answer.message, answer.defect.as_ref());
        if let Some(attempt) = open.query.attempts.get_mut(place.attempt) {
            attempt.fate = Fate::Answered(answer);
        }
        if open.query.role == Role::Server {
            open.settled = Some(place.attempt);
            self.deadlines.remove(&(open.deadline, place.query));
            if let Some(open) = self.open.remove(&place.query) {
                self.close(open, time, Outcome::Unanswered, out);
            }
            return;
        }
        let others_wait = open.query.attempts.iter().any(|attempt| matches!(attempt.fate, Fate::Open));
        match patience {
            None if open.settled.is_none() => {
                open.settled = Some(place.attempt);
                self.postpone(place.query, time.plus(SETTLE));
            }
            Some(wait) if open.settled.is_none() && !others_wait => {
                self.postpone(place.query, time.plus(wait));
            }
            _ => {}
        }
    }

    /// Moves the time at which an open query is looked at again.
    fn postpone(&mut self, number: u64, deadline: KernelTime) {
        if let Some(open) = self.open.get_mut(&number) {
            self.deadlines.remove(&(open.deadline, number));
            open.deadline = deadline;
            self.deadlines.insert((deadline, number));
        }
    }

    /// Ends a query that was taken out of the open ones: `otherwise` is the outcome if nothing answered it.
    fn close(&mut self, open: OpenQuery, now: KernelTime, otherwise: Outcome, out: &mut Vec<Output>) {
        let OpenQuery { mut query, settled, .. } = open;
        let answered = settled.or_else(|| query.attempts.iter().rposition(|a| a.answer().is_some()));
        query.outcome = match answered {
            Some(attempt) => Outcome::Answered { attempt },
            None => otherwise,
        };
        query.ended = query.answer().map_or(now, |answer| answer.time);
        judge_open_attempts(&mut query);
        self.forget_asker(&query);
        self.remember(&query, now);
        out.push(Output::Query(Box::new(query)));
    }

    /// Keeps of an ended query what is needed to know its late answers.
    fn remember(&mut self, query: &Query, now: KernelTime) {
        while self.closed.len() >= self.limits.queries {
            let Some(oldest) =
                self.deadlines.iter().map(|(_, number)| *number).find(|n| self.closed.contains_key(n))
            else {
                break;
            };
            if let Some(closed) = self.closed.remove(&oldest) {
                self.deadlines.remove(&(closed.deadline, oldest));
                self.forget(oldest, &closed);
                self.totals.forgotten += 1;
            }
        }
        let deadline = now.plus(self.limits.late);
        self.deadlines.insert((deadline, query.number));
        self.closed.insert(
            query.number,
            ClosedQuery {
                question: query.question.clone(),
                answered: matches!(query.outcome, Outcome::Answered { .. }),
                attempts: query.attempts.iter().map(|attempt| (attempt.conversation, attempt.time)).collect(),
                deadline,
            },
        );
    }

    fn forget(&mut self, number: u64, closed: &ClosedQuery) {
        for (conversation, _) in &closed.attempts {
            if let Some(places) = self.conversations.get_mut(conversation) {
                places.retain(|place| place.query != number);
                if places.is_empty() {
                    self.conversations.remove(conversation);
                }
            }
        }
    }

    fn forget_asker(&mut self, query: &Query) {
        let asker = Asker::of(query);
        if let Some(numbers) = self.askers.get_mut(&asker) {
            numbers.retain(|number| *number != query.number);
            if numbers.is_empty() {
                self.askers.remove(&asker);
            }
        }
    }

    /// Ends the query that would time out first if there is no room for another.
    fn make_room(&mut self, now: KernelTime, out: &mut Vec<Output>) {
        if self.open.len() < self.limits.queries {
            return;
        }
        let first = self.deadlines.iter().find(|(_, number)| self.open.contains_key(number)).copied();
        if let Some((deadline, number)) = first
            && let Some(open) = self.open.remove(&number)
        {
            self.deadlines.remove(&(deadline, number));
            self.totals.evicted += 1;
            self.close(open, now, Outcome::Pending, out);
        }
    }
}

impl OpenQuery {
    /// Whether `next`, which asks the same of the same process, is a further attempt of this query rather than
    /// a query of its own.
    fn continues(&self, next: &Attempt) -> bool {
        let Some(last) = self.query.attempts.last() else { return false };
        let same_id = last.conversation.id == next.conversation.id;
        if self.settled.is_some() {
            return same_id && last.socket == next.socket && !self.answered_by(next);
        }
        let waited = next.time.since(last.time);
        match &last.fate {
            Fate::Answered(_) => true,
            _ if same_id => {
                last.socket == next.socket
                    || last.conversation.remote != next.conversation.remote
                    || waited >= SHORTEST_RETRY
            }
            _ => waited >= SHORTEST_TIMEOUT,
        }
    }

    /// Whether the server that `next` goes to has answered already.
    fn answered_by(&self, next: &Attempt) -> bool {
        self.query.attempts.iter().any(|attempt| {
            attempt.conversation.remote == next.conversation.remote && attempt.answer().is_some()
        })
    }
}

/// How long to wait for what the resolver does after this answer; `None` if it takes it as final.
fn patience(answer: &Message, defect: Option<&Defect>) -> Option<u64> {
    match answer.rcode {
        _ if answer.flags.truncated => Some(AFTER_TRUNCATED),
        rcodes::NOERROR | rcodes::NXDOMAIN if matches!(defect, Some(Defect::Malformed(_))) => {
            Some(AFTER_ERROR)
        }
        rcodes::NOERROR | rcodes::NXDOMAIN => None,
        _ => Some(AFTER_ERROR),
    }
}

/// Says of each attempt that never got an answer whether it was waited for.
fn judge_open_attempts(query: &mut Query) {
    let (outcome, ended) = (query.outcome, query.ended);
    let mut next = None;
    for attempt in query.attempts.iter_mut().rev() {
        let time = attempt.time;
        if matches!(attempt.fate, Fate::Open) {
            let waited = next.unwrap_or(ended).since(time);
            attempt.fate = match (outcome, next) {
                (_, Some(_)) if waited >= SHORTEST_RETRY => Fate::Unanswered { waited },
                (Outcome::Answered { .. }, _) => Fate::NotAwaited,
                (Outcome::Unanswered, _) => Fate::Unanswered { waited: ended.since(time) },
                (Outcome::Pending, _) => Fate::Open,
            };
        }
        next = Some(time);
    }
}

fn stray(observation: Observation, reason: StrayReason, out: &mut Vec<Output>) {
    out.push(Output::Stray(Box::new(Stray { observation, reason })));
}
