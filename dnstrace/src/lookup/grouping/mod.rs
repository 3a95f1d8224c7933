//! Queries to lookups: what the program asked for.
//!
//! A query is put into its lookup when it begins, by what is known then: its process and thread, the names and types
//! that were asked for before and how that ended, and what the process's resolv.conf makes of a name ([`names`]). A lookup
//! is told when all its queries have been and nothing more can come of it ([`group`]).
//!
//! What a process asks that is asked itself (CoreDNS, NodeLocal DNSCache, systemd-resolved) are queries by themselves.

mod group;
mod model;
mod names;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use lru::LruCache;

use super::{Query, Role};
use crate::event::KernelTime;
use group::{Beginning, Fit, Group};

pub(super) use group::{Standing, ending};
pub use model::{Asked, AskedServer, Ending, Lookup, TriedName, TriedQuery, Waste};

/// Processes that are known to answer queries; those that were silent longest go first.
const SERVERS: usize = 4096;

/// Lookups under way.
#[derive(Debug)]
pub(super) struct Grouping {
    /// Lookups at the most; beyond that the one that would be told first is told at once.
    limit: usize,
    /// Serial number of the next lookup.
    next: u64,
    groups: BTreeMap<u64, Group>,
    by_key: HashMap<Key, Vec<u64>>,
    /// The lookup of each query under way.
    of_query: HashMap<u64, u64>,
    deadlines: BTreeSet<(KernelTime, u64)>,
    /// Processes that were asked themselves, by network namespace and process id.
    servers: LruCache<(u32, u32), ()>,
    /// Lookups told before their time: what came after is one of its own.
    pub hurried: u64,
}

/// What the names of a lookup have in common: who asks, and the first label.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    netns: u32,
    pid: u32,
    label: Box<str>,
}

impl Key {
    fn of(netns: u32, pid: u32, name: &str) -> Self {
        Self { netns, pid, label: name.split('.').next().unwrap_or_default().into() }
    }
}

impl Grouping {
    pub fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            next: 1,
            groups: BTreeMap::new(),
            by_key: HashMap::new(),
            of_query: HashMap::new(),
            deadlines: BTreeSet::new(),
            servers: LruCache::unbounded(),
            hurried: 0,
        }
    }

    /// A query begins. `standing` tells of those under way. Returns a lookup that had to make room.
    pub fn opened(&mut self, query: &Query, standing: &dyn Fn(u64) -> Option<Standing>) -> Option<Lookup> {
        let process = (query.netns, query.task.pid);
        if query.role == Role::Server {
            self.servers.put(process, ());
            if self.servers.len() > SERVERS {
                self.servers.pop_lru();
            }
            return None;
        }
        let first = query.attempts.first()?;
        let beginning = Beginning {
            number: query.number,
            name: &query.question.name,
            qtype: query.question.qtype,
            qclass: query.question.qclass,
            tid: first.tid,
            socket: first.socket,
            time: first.time,
        };
        let key = Key::of(query.netns, query.task.pid, beginning.name);
        if let Some((number, fit)) = self.fitting(&key, &beginning, standing)
            && let Some(group) = self.groups.get_mut(&number)
        {
            if let Some(deadline) = group.deadline {
                self.deadlines.remove(&(deadline, number));
            }
            group.join(&beginning, fit);
            self.of_query.insert(query.number, number);
            return None;
        }
        let hurried = self.make_room();
        let number = self.next;
        self.next += 1;
        let is_single = self.servers.get(&process).is_some();
        self.groups.insert(number, Group::new(number, query, &beginning, is_single));
        self.by_key.entry(key).or_default().push(number);
        self.of_query.insert(query.number, number);
        hurried
    }

    /// A query has ended, and is told at `now`.
    pub fn ended(&mut self, query: &Query, now: KernelTime) {
        let Some(number) = self.of_query.remove(&query.number) else { return };
        let Some(group) = self.groups.get_mut(&number) else { return };
        group.ended(query, now);
        if let Some(deadline) = group.deadline {
            self.deadlines.insert((deadline, number));
        }
    }

    /// When there is something to tell.
    pub fn next_deadline(&self) -> Option<KernelTime> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// The lookup that is to be told first, if it is by `now`.
    pub fn take_due(&mut self, now: KernelTime) -> Option<Lookup> {
        let (_, number) = *self.deadlines.first().filter(|(deadline, _)| *deadline <= now)?;
        self.take(number, false)
    }

    /// All that is under way, in the order in which it began: the trace ends.
    pub fn take_all(&mut self) -> Vec<Lookup> {
        let numbers: Vec<_> = self.groups.keys().copied().collect();
        numbers.into_iter().filter_map(|number| self.take(number, true)).collect()
    }

    /// The lookup that this query belongs to: one of its own thread first, then the oldest.
    fn fitting(
        &self,
        key: &Key,
        query: &Beginning<'_>,
        standing: &dyn Fn(u64) -> Option<Standing>,
    ) -> Option<(u64, Fit)> {
        let numbers = self.by_key.get(key)?.iter();
        let groups = numbers.filter_map(|number| Some((*number, self.groups.get(number)?)));
        let fitting = groups.filter_map(|(number, group)| {
            let fit = group.fit(query, standing)?;
            Some((!group.is_of_thread(query.tid), number, fit))
        });
        fitting.min_by_key(|(of_other, number, _)| (*of_other, *number)).map(|(_, number, fit)| (number, fit))
    }

    /// Takes out one of those that wait for nothing but a query that may still come; there is one: each other one has a
    /// query under way, of which there are no more than lookups may be.
    fn make_room(&mut self) -> Option<Lookup> {
        if self.groups.len() < self.limit {
            return None;
        }
        let first = self.deadlines.first().map(|(_, number)| *number);
        let number = first.or_else(|| self.groups.first_key_value().map(|(number, _)| *number))?;
        self.hurried += 1;
        self.take(number, true)
    }

    fn take(&mut self, number: u64, is_cut: bool) -> Option<Lookup> {
        let group = self.groups.remove(&number)?;
        if let Some(deadline) = group.deadline {
            self.deadlines.remove(&(deadline, number));
        }
        let lookup = &group.lookup;
        if let Some(name) = lookup.names.first() {
            let key = Key::of(lookup.netns, lookup.task.pid, &name.name);
            if let Some(numbers) = self.by_key.get_mut(&key) {
                numbers.retain(|other| *other != number);
                if numbers.is_empty() {
                    self.by_key.remove(&key);
                }
            }
        }
        for tried in lookup.queries() {
            self.of_query.remove(&tried.number);
        }
        Some(group.finish(is_cut))
    }

    /// Entries of its tables: no more than there may be lookups, but for the first, which are queries under way.
    #[cfg(test)]
    pub fn lens(&self) -> [usize; 4] {
        [self.of_query.len(), self.groups.len(), self.by_key.len(), self.deadlines.len()]
    }
}
