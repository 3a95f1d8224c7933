//! The queries under way and those that ended a moment ago, and where to find their attempts.

use std::collections::{BTreeSet, HashMap};

use crate::{
    dns::Question,
    event::{Flow, KernelTime},
};

use super::{
    Answer, Attempt, Fate, Limits, Observation, Outcome, Query, Role, Step, Totals, What,
    ended::EndedQuery,
    fate::{is_dead, keep_what_decides},
    multicast::is_of_group,
    open::{OpenQuery, patience, settling},
    places::{Place, Places, View, of_source},
    transfer::Transfer,
};

/// All tables in one, bounded by [`Limits`].
#[derive(Debug)]
pub(super) struct Table {
    pub(super) limits: Limits,
    /// Serial number of the next query.
    next: u64,
    pub(super) open: HashMap<u64, OpenQuery>,
    pub(super) ended: HashMap<u64, EndedQuery>,
    /// Attempts of both.
    pub(super) places: Places,
    /// Attempts of open queries by the socket that sent the message, and when; a server's by its answer.
    pub(super) sends: BTreeSet<(u64, KernelTime, Place)>,
    /// Attempts of open queries by the TCP connection that they went over.
    pub(super) carried: BTreeSet<(u64, Place)>,
    /// Open client queries whose process will ask again over a new TCP connection: by namespace, process and number.
    pub(super) retrying: BTreeSet<(u32, u32, u64)>,
    /// Attempts of open queries that asked a multicast group, by namespace and socket.
    pub(super) groups: BTreeSet<(u32, u64, Place)>,
    /// Attempts of clients by those of traced servers that are their other side and not answered yet.
    pub(super) clients: HashMap<Place, Place>,
    /// Open client queries by who asks what.
    pub(super) askers: HashMap<Asker, Vec<u64>>,
    /// When to look at an open or ended query again.
    pub(super) deadlines: BTreeSet<(KernelTime, u64)>,
    pub totals: Totals,
}

/// Who asks what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Asker {
    netns: u32,
    pid: u32,
    question: Question,
}

impl Asker {
    fn of(query: &Query) -> Self {
        Self { netns: query.netns, pid: query.task.pid, question: query.question.clone() }
    }
}

impl Table {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            next: 1,
            open: HashMap::new(),
            ended: HashMap::new(),
            places: Places::default(),
            sends: BTreeSet::new(),
            carried: BTreeSet::new(),
            retrying: BTreeSet::new(),
            groups: BTreeSet::new(),
            clients: HashMap::new(),
            askers: HashMap::new(),
            deadlines: BTreeSet::new(),
            totals: Totals::default(),
        }
    }

    /// Takes out the query whose wait is over first, if it is by `now`, with the time at which it was. Forgets what
    /// has been remembered long enough.
    pub fn take_due(&mut self, now: KernelTime) -> Option<(OpenQuery, KernelTime)> {
        while let Some(&(deadline, number)) = self.deadlines.first() {
            if deadline > now {
                return None;
            }
            self.deadlines.pop_first();
            if let Some(open) = self.take(number) {
                return Some((open, deadline));
            }
            self.forget(number);
        }
        None
    }

    /// Takes out all that is open, in the order in which it began.
    pub fn take_all(&mut self) -> Vec<OpenQuery> {
        let mut numbers: Vec<_> = self.open.keys().copied().collect();
        numbers.sort_unstable();
        numbers.into_iter().filter_map(|number| self.take(number)).collect()
    }

    fn take(&mut self, number: u64) -> Option<OpenQuery> {
        let open = self.open.remove(&number)?;
        self.deadlines.remove(&(open.deadline, number));
        self.retrying.remove(&(open.query.netns, open.query.task.pid, number));
        for (index, attempt) in open.query.attempts.iter().enumerate() {
            let place = Place { query: number, attempt: index };
            self.sends.remove(&(attempt.socket, attempt.time, place));
            self.groups.remove(&(attempt.conversation.netns, attempt.socket, place));
            self.clients.remove(&place);
            if let Some(carrier) = attempt.carrier {
                self.carried.remove(&(carrier.connection, place));
            }
            if let Some(answer) = attempt.answer() {
                self.sends.remove(&(attempt.socket, answer.time, place));
            }
        }
        Some(open)
    }

    /// Takes out the query that would time out first if there is no room for another.
    pub fn take_for_room(&mut self) -> Option<OpenQuery> {
        if self.open.len() < self.limits.queries {
            return None;
        }
        let mut deadlines = self.deadlines.iter();
        let (_, number) = deadlines.find(|(_, number)| self.open.contains_key(number)).copied()?;
        let open = self.take(number)?;
        // A settled one has said all that it had to say.
        self.totals.evicted += u64::from(open.settled.is_none());
        Some(open)
    }

    /// The query under way that `attempt` continues.
    pub fn continued(
        &self,
        observation: &Observation,
        question: &Question,
        attempt: &Attempt,
    ) -> Option<u64> {
        match attempt.conversation.role {
            Role::Server => {
                let known = self.of_conversation(&attempt.conversation);
                known.into_iter().map(|known| known.place.query).find(|number| {
                    self.open
                        .get(number)
                        .is_some_and(|open| open.settled.is_none() && open.query.question == *question)
                })
            }
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

    /// Opens a query whose first attempt this is. There must be room ([`Self::take_for_room`]). Returns its place.
    pub fn open_query(&mut self, observation: &Observation, question: Question, attempt: Attempt) -> Place {
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
        self.open.insert(number, OpenQuery::new(query, deadline));
        // It is the first one, for which there is always room.
        self.add_attempt(number, attempt);
        Place { query: number, attempt: 0 }
    }

    /// Adds an attempt to a query under way. Returns its place, if there was room for it.
    pub fn add_attempt(&mut self, number: u64, attempt: Attempt) -> Option<Place> {
        let open = self.open.get_mut(&number)?;
        let deadline = attempt.time.plus(self.limits.timeout);
        let mut place = None;
        if open.query.attempts.len() < self.limits.attempts {
            let added = Place { query: number, attempt: open.query.attempts.len() };
            place = Some(added);
            // One that was never sent has no packets to be found by.
            if matches!(attempt.fate, Fate::Open) {
                let conversation = &attempt.conversation;
                if let Some(id) = conversation.id {
                    let flow = conversation.flow();
                    self.places.add(added, conversation.view(), flow, id);
                    if conversation.role == Role::Client {
                        self.places.add(added, View::Source, of_source(&flow), id);
                    }
                }
                if conversation.role == Role::Client {
                    self.sends.insert((attempt.socket, attempt.time, added));
                }
                if is_of_group(conversation) {
                    self.groups.insert((conversation.netns, attempt.socket, added));
                }
            }
            if let Some(carrier) = attempt.carrier {
                self.carried.insert((carrier.connection, added));
                open.opening = open.opening.filter(|opening| *opening != carrier.connection);
            }
            open.query.attempts.push(attempt);
        } else {
            open.query.attempts_left_out += 1;
        }
        if open.settled.is_none() {
            self.postpone(number, deadline);
        }
        self.hurry(number);
        place
    }

    /// Adds addresses that packets of a client's attempt bear after translation.
    pub fn add_translated(&mut self, place: Place, reply: Flow) {
        let Some(open) = self.open.get(&place.query) else { return };
        let Some(attempt) = open.query.attempts.get(place.attempt) else { return };
        if let Some(id) = attempt.conversation.id
            && reply.reversed() != attempt.conversation.flow()
        {
            self.places.add(place, View::Translated, reply.reversed(), id);
        }
    }

    /// Attempts whose message this socket sent at this time: more than one if it sent them by one call.
    pub fn sent(&self, socket: u64, time: KernelTime) -> Vec<Place> {
        let range = (socket, time, Place::FIRST)..=(socket, time, Place::LAST);
        self.sends.range(range).map(|(.., place)| *place).collect()
    }

    /// Adds what befell an attempt under way, in its place in time.
    pub fn add_step(&mut self, place: Place, step: Step) {
        let limit = self.limits.steps;
        if let Some(attempt) = self.attempt_mut(place) {
            if attempt.steps.len() < limit {
                let index = attempt.steps.partition_point(|earlier| earlier.time <= step.time);
                attempt.steps.insert(index, step);
            } else {
                attempt.steps_left_out += 1;
                keep_what_decides(attempt, step);
            }
        }
        self.hurry(place.query);
    }

    /// If the resolver knows of each attempt of this query that it failed, it does not wait, and neither is it waited
    /// for as long as for an answer.
    pub(super) fn hurry(&mut self, number: u64) {
        let Some(open) = self.open.get(&number) else { return };
        if let Some(hopeless) = open.hopeless_at()
            && open.opening.is_none()
            && hopeless < open.deadline
        {
            self.postpone(number, hopeless);
        }
    }

    /// Notes the answer to an attempt, and waits for what the resolver makes of it.
    pub fn settle(&mut self, place: Place, answer: Answer) {
        self.answered_at_server(place, answer.time, answer.message.rcode);
        let Some(open) = self.open.get_mut(&place.query) else { return };
        let Some(attempt) = open.query.attempts.get_mut(place.attempt) else { return };
        let time = answer.time;
        let is_client = attempt.conversation.role == Role::Client;
        let patience = match attempt.conversation.role {
            Role::Client => patience(&answer.message, answer.defect.as_ref()),
            // Whatever its program said is what it had to say.
            Role::Server => None,
        };
        let is_truncated = answer.message.flags.truncated;
        let settling = settling(attempt);
        if attempt.carrier.is_some() {
            open.transfer = Transfer::begun(place.attempt, &open.query.question, &answer.message);
        }
        if is_client {
            // It had been there before the connection ended, and was only read now.
            attempt.steps.retain(|step| !matches!(step.what, What::ConnectionEnded(_)));
        } else {
            self.sends.insert((attempt.socket, time, place));
        }
        attempt.fate = Fate::Answered(answer);
        if is_client && is_truncated {
            self.retrying.insert((open.query.netns, open.query.task.pid, place.query));
        }
        let is_hopeful = |attempt: &Attempt| matches!(attempt.fate, Fate::Open) && !is_dead(attempt);
        let others_wait = open.query.attempts.iter().any(is_hopeful);
        match patience {
            None if open.settled.is_none() => {
                open.settled = Some(place.attempt);
                let wait = if open.is_transferring() { self.limits.timeout } else { settling };
                self.postpone(place.query, time.plus(wait));
            }
            Some(wait) if open.settled.is_none() && !others_wait => {
                self.postpone(place.query, time.plus(wait));
            }
            _ => {}
        }
    }

    /// Moves the time at which an open query is looked at again.
    pub(super) fn postpone(&mut self, number: u64, deadline: KernelTime) {
        if let Some(open) = self.open.get_mut(&number) {
            self.deadlines.remove(&(open.deadline, number));
            open.deadline = deadline;
            self.deadlines.insert((deadline, number));
        }
    }

    /// Keeps of a query that ended at `now` what is needed to know its late answers.
    pub fn remember(&mut self, query: &Query, now: KernelTime) {
        self.forget_asker(query);
        while self.ended.len() >= self.limits.queries {
            let mut deadlines = self.deadlines.iter();
            let Some((_, oldest)) = deadlines.find(|(_, number)| self.ended.contains_key(number)).copied()
            else {
                break;
            };
            self.forget(oldest);
            self.totals.forgotten += 1;
        }
        let deadline = now.plus(self.limits.late);
        self.deadlines.insert((deadline, query.number));
        self.ended.insert(query.number, EndedQuery::of(query, deadline));
    }

    fn forget(&mut self, number: u64) {
        let Some(ended) = self.ended.remove(&number) else { return };
        self.deadlines.remove(&(ended.deadline, number));
        for attempt in 0..ended.attempts.len() {
            self.places.remove(Place { query: number, attempt });
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
}
