//! The queries under way and those that ended a moment ago, and where to find their attempts.

use std::collections::{BTreeSet, HashMap};

use crate::{dns::Question, event::KernelTime};

use super::{
    Answer, Attempt, Conversation, Fate, Limits, Observation, Outcome, Query, Role, Totals,
    ended::EndedQuery,
    open::{OpenQuery, SETTLE, patience},
    places::{Place, Places},
};

/// All tables in one, bounded by [`Limits`].
#[derive(Debug)]
pub(super) struct Table {
    limits: Limits,
    /// Serial number of the next query.
    next: u64,
    open: HashMap<u64, OpenQuery>,
    ended: HashMap<u64, EndedQuery>,
    /// Attempts of both.
    places: Places,
    /// Open client queries by who asks what.
    askers: HashMap<Asker, Vec<u64>>,
    /// When to look at an open or ended query again.
    deadlines: BTreeSet<(KernelTime, u64)>,
    pub totals: Totals,
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

/// An attempt as others see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    pub place: Place,
    pub time: KernelTime,
    pub netns: u32,
    pub question: &'a Question,
    /// The attempt itself; none if its query has ended.
    pub open: Option<&'a Attempt>,
}

impl Known<'_> {
    /// Whether it may still be answered.
    pub fn is_waiting(&self) -> bool {
        self.open.is_some_and(|attempt| matches!(attempt.fate, Fate::Open))
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
            if let Some(open) = self.open.remove(&number) {
                return Some((open, deadline));
            }
            self.forget(number);
        }
        None
    }

    /// Takes out all that is open, in the order in which it began.
    pub fn take_all(&mut self) -> Vec<OpenQuery> {
        let mut all: Vec<_> = self.open.drain().map(|(_, open)| open).collect();
        all.sort_unstable_by_key(|open| open.query.number);
        for open in &all {
            self.deadlines.remove(&(open.deadline, open.query.number));
        }
        all
    }

    /// Takes out the query that would time out first if there is no room for another.
    pub fn take_for_room(&mut self) -> Option<OpenQuery> {
        if self.open.len() < self.limits.queries {
            return None;
        }
        let mut deadlines = self.deadlines.iter();
        let (deadline, number) = deadlines.find(|(_, number)| self.open.contains_key(number)).copied()?;
        self.deadlines.remove(&(deadline, number));
        let open = self.open.remove(&number)?;
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
                self.of_conversation(&attempt.conversation).map(|known| known.place.query).find(|number| {
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

    /// Opens a query whose first attempt this is. There must be room ([`Self::take_for_room`]).
    pub fn open_query(&mut self, observation: &Observation, question: Question, attempt: Attempt) {
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

    pub fn add_attempt(&mut self, number: u64, attempt: Attempt) {
        let Some(open) = self.open.get_mut(&number) else { return };
        let deadline = attempt.time.plus(self.limits.timeout);
        if open.query.attempts.len() < self.limits.attempts {
            let place = Place { query: number, attempt: open.query.attempts.len() };
            let conversation = &attempt.conversation;
            self.places.add(place, conversation.view(), conversation.flow(), conversation.id);
            open.query.attempts.push(attempt);
        } else {
            open.query.attempts_left_out += 1;
        }
        if open.settled.is_none() {
            self.postpone(number, deadline);
        }
    }

    /// Notes the answer to an attempt, and waits for what the resolver makes of it.
    pub fn settle(&mut self, place: Place, answer: Answer) {
        let Some(open) = self.open.get_mut(&place.query) else { return };
        let time = answer.time;
        let patience = match open.query.role {
            Role::Client => patience(&answer.message, answer.defect.as_ref()),
            // Whatever its program said is what it had to say.
            Role::Server => None,
        };
        if let Some(attempt) = open.query.attempts.get_mut(place.attempt) {
            attempt.fate = Fate::Answered(answer);
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

    /// Attempts of this very conversation, under way and ended, the newest last.
    pub fn of_conversation(&self, conversation: &Conversation) -> impl Iterator<Item = Known<'_>> {
        let places = self.places.at(conversation.view(), conversation.flow(), Some(conversation.id));
        let mut all: Vec<_> = places
            .filter_map(|place| self.known(place))
            .filter(|known| known.netns == conversation.netns)
            .collect();
        all.sort_by_key(|known| (known.time, known.place));
        all.into_iter()
    }

    /// What is known of the attempt there.
    pub fn known(&self, place: Place) -> Option<Known<'_>> {
        if let Some(open) = self.open.get(&place.query) {
            let attempt = open.query.attempts.get(place.attempt)?;
            return Some(Known {
                place,
                time: attempt.time,
                netns: attempt.conversation.netns,
                question: &open.query.question,
                open: Some(attempt),
            });
        }
        let ended = self.ended.get(&place.query)?;
        let attempt = ended.attempts.get(place.attempt)?;
        Some(Known { place, time: attempt.time, netns: attempt.netns, question: &ended.question, open: None })
    }

    /// Whether this query has ended without an answer.
    pub fn ended_unanswered(&self, number: u64) -> bool {
        self.ended.get(&number).is_some_and(|ended| !ended.answered)
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
