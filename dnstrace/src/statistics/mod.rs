//! What a trace came to: counted once, and shown as the summary, as JSON, as metrics and in the terminal view.
//!
//! Pure: it is fed what the core says, and time is event time. Bounded: what finds no room in a table is counted
//! among its others ([`Bounded`]).

mod asking;
mod bounded;
mod counts;
mod latency;
mod lookups;
mod owners;
mod servers;
mod tcp;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, collections::BTreeMap};

use crate::{
    dns::{Message, rcode},
    event::KernelTime,
    filter::Criterion,
    lookup::{Attempt, Fate, Health, Lookup, Output, Query, Role},
};

pub use asking::Asking;
pub use bounded::{Bounded, Tally};
pub use counts::{ConntrackCounts, Counts};
pub use latency::{BOUNDS_MS, Latency};
pub use lookups::{Expansions, LookupCounts, Resolution};
pub use owners::{OfOwner, OwnerKey, Served};
pub use servers::{Asked, OfServer, ServerKey};
pub use tcp::TcpCounts;

/// Counts by a word of a closed vocabulary.
pub type ByWord = BTreeMap<&'static str, u64>;

/// Pods (and services of the host) with counts of their own, unless said otherwise: a node has 110 by default.
pub const PODS: usize = 200;
/// Servers with counts of their own: each endpoint behind one is another.
const SERVERS: usize = 256;
/// Names with counts of their own.
const NAMES: usize = 2_048;
/// A pod or server that is silent for so long makes room for another: 10 minutes.
const PATIENCE: u64 = 600_000_000_000;

/// What a trace came to so far.
#[derive(Clone, Debug)]
pub struct Statistics {
    counts: Counts,
    /// Of answered client queries, from the first attempt on.
    latency: Latency,
    /// By server that was asked, and endpoint behind it.
    servers: Bounded<ServerKey, Asked>,
    /// By pod, or what runs outside pods.
    owners: Bounded<OwnerKey, OfOwner>,
    /// By name asked for, in lower case.
    names: Bounded<String, Asking>,
    /// By who asked and for what, as the program gave it: lookups that tried names in vain.
    expansions: Bounded<(OwnerKey, String), Expansions>,
    /// By pod: where it asks others than its resolv.conf says, or has the node's.
    resolutions: Bounded<OwnerKey, Resolution>,
}

impl Default for Statistics {
    fn default() -> Self {
        Self::with_pods(PODS)
    }
}

impl Statistics {
    /// At most so many pods have counts of their own.
    pub fn with_pods(pods: usize) -> Self {
        Self {
            counts: Counts::default(),
            latency: Latency::precise(),
            servers: Bounded::new(SERVERS, PATIENCE),
            owners: Bounded::new(pods, PATIENCE),
            names: Bounded::new(NAMES, 0),
            expansions: Bounded::new(NAMES, 0),
            resolutions: Bounded::new(pods, PATIENCE),
        }
    }

    /// Counts one output of the core.
    pub fn add(&mut self, output: &Output) {
        match output {
            Output::Query(query) => self.add_query(query),
            Output::Packet(packet) => {
                self.counts.packets += 1;
                self.counts.add_step(&packet.step);
            }
            Output::Connection(connection) => {
                self.counts.tcp.add_connection(connection);
                for step in &connection.steps {
                    self.counts.add_step(step);
                }
            }
            Output::Stray(stray) => self.counts.add_stray(stray),
            // The losses tell of these by hook and cause.
            Output::Loss(_) => {}
            Output::Lookup(lookup) => self.add_lookup(lookup),
        }
    }

    /// Counts one output that is not shown.
    pub fn hide(&mut self, output: &Output, by: Criterion) {
        self.counts.hidden.add(output, by);
    }

    fn add_query(&mut self, query: &Query) {
        let now = query.ended;
        self.counts.add_query(query);
        self.owners.tally(&OwnerKey::new(&query.owner), now).add(query);
        if query.role == Role::Server {
            return;
        }
        if let Some(latency) = query.latency() {
            self.latency.record(latency);
        }
        for attempt in &query.attempts {
            self.servers.tally(&ServerKey::new(attempt), now).add(attempt);
        }
        self.names.tally(&query.question.name.to_ascii_lowercase(), now).add(query);
    }

    fn add_lookup(&mut self, lookup: &Lookup) {
        let (now, owner) = (lookup.ended, OwnerKey::new(&lookup.owner));
        self.counts.lookups.add(lookup);
        if Resolution::is_odd(lookup) {
            self.resolutions.tally(&owner, now).add(lookup);
        }
        if lookup.waste().queries > 0 {
            let key = (owner, lookup.asked.name().to_owned());
            self.expansions.tally(&key, now).add(lookup);
        }
    }

    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Of answered client queries, from the first attempt on.
    pub fn latency(&self) -> &Latency {
        &self.latency
    }

    /// Servers with their endpoints: the greatest loss first, then the most asked.
    pub fn servers(&self) -> Vec<OfServer> {
        servers::by_server(self.servers.iter())
    }

    /// Likewise, of those that have no counts of their own.
    pub fn other_servers(&self) -> Asked {
        self.servers.all_others()
    }

    /// Likewise, of those that never had room: it only ever grows by what happens.
    pub fn servers_without_room(&self) -> &Asked {
        self.servers.others()
    }

    /// Pods, and what runs outside pods.
    pub fn owners(&self) -> &Bounded<OwnerKey, OfOwner> {
        &self.owners
    }

    /// Names that were asked for, in lower case.
    pub fn names(&self) -> &Bounded<String, Asking> {
        &self.names
    }

    /// The so many names, by who asked for them, that wasted the most queries.
    pub fn worst_expansions(&self, most: usize) -> Vec<(&(OwnerKey, String), &Expansions)> {
        worst(&self.expansions, most, |_| true)
    }

    /// What all others wasted, beside these.
    pub fn expansions_beyond(&self, told: &[(&(OwnerKey, String), &Expansions)]) -> Expansions {
        let mut beyond = self.expansions.all_others();
        let is_told = |key| told.iter().any(|(known, _)| *known == key);
        for (_, expansions) in self.expansions.iter().filter(|(key, _)| !is_told(*key)) {
            beyond.absorb(expansions);
        }
        beyond
    }

    /// Pods that ask others than their resolv.conf says or have the node's, those with the most lookups first.
    pub fn resolutions(&self) -> Vec<(&OwnerKey, &Resolution)> {
        worst(&self.resolutions, usize::MAX, |_| true)
    }

    /// How many pods of that kind found no room, or had to go again.
    pub fn resolutions_refused(&self) -> u64 {
        self.resolutions.refused() + self.resolutions.retirements()
    }
}

fn worst<K: Clone + std::hash::Hash + Ord, V: Tally>(
    table: &Bounded<K, V>,
    most: usize,
    is_troubled: impl Fn(&V) -> bool,
) -> Vec<(&K, &V)> {
    let mut all: Vec<_> = table.iter().filter(|(_, tally)| is_troubled(tally)).collect();
    all.sort_by(|(a_key, a), (b_key, b)| b.rank().cmp(&a.rank()).then_with(|| a_key.cmp(b_key)));
    all.truncate(most);
    all
}

/// Whether a client's query failed: nobody answered it, or with an RCODE other than NOERROR and NXDOMAIN. Nothing is said
/// of one that the trace's end left waiting.
pub fn failed(query: &Query) -> bool {
    query.health() == Health::Failed
}

/// Whether an attempt came to nothing for a cause that lies on the way or at the server. An answer that came too late
/// for the program is lost for it.
pub fn is_lost(fate: &Fate) -> bool {
    !matches!(fate, Fate::Answered(_) | Fate::Open | Fate::NotAwaited | Fate::Unknown { .. })
}

/// Whether an RCODE's mnemonic is no answer to the question: SERVFAIL, REFUSED and the like.
pub fn is_error(status: &str) -> bool {
    !matches!(status, "NOERROR" | "NODATA" | "NXDOMAIN")
}

/// RCODE by its mnemonic, NODATA apart from NOERROR; `other` for those that have none.
fn status(message: &Message) -> &'static str {
    match rcode(message.rcode) {
        _ if message.is_nodata() => "NODATA",
        Cow::Borrowed(mnemonic) => mnemonic,
        Cow::Owned(_) => "other",
    }
}

/// Whether there was a message at all: over TCP there is none if the connection could not be opened.
fn has_message(attempt: &Attempt) -> bool {
    attempt.conversation.id.is_some()
}

/// Messages of an attempt: its query, and its answers.
fn messages(attempt: &Attempt) -> u64 {
    let answers = attempt.answer().map_or(0, |answer| answer.further_messages.saturating_add(1));
    answers.saturating_add(u64::from(has_message(attempt)))
}

/// Nanoseconds from a query's first attempt to its end.
fn waited(query: &Query) -> u64 {
    KernelTime::since(query.ended, query.started())
}

fn add_words(words: &mut ByWord, more: &ByWord) {
    for (word, count) in more {
        *words.entry(word).or_default() += count;
    }
}
