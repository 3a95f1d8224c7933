//! What lookups cost beyond the name that counted, and whom pods ask beside what their resolv.conf says.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    identify::{Likeness, ResolverConfig},
    lookup::{Asked, Lookup},
};

use super::Tally;

/// Servers that are told apart of one pod.
const SERVERS: usize = 8;

/// Lookups in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LookupCounts {
    /// Lookups: each client query is of one.
    pub told: u64,
    /// Of these, those that tried more than one name.
    pub expanded: u64,
    /// Queries for names that did not count: those of the search list that do not exist.
    pub wasted_queries: u64,
    /// The time that those took, in nanoseconds.
    pub wasted_ns: u64,
    /// Of the wasted queries, those that are of a lookup by a guess: resolv.conf was not seen.
    pub guessed_queries: u64,
}

impl LookupCounts {
    pub(super) fn add(&mut self, lookup: &Lookup) {
        let waste = lookup.waste();
        self.told += 1;
        self.expanded += u64::from(lookup.names.len() > 1);
        self.wasted_queries += waste.queries;
        self.wasted_ns = self.wasted_ns.saturating_add(waste.time);
        if matches!(lookup.asked, Asked::Guessed(_)) {
            self.guessed_queries += waste.queries;
        }
    }
}

/// What the lookups of one name by one pod cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expansions {
    /// Lookups that wasted something.
    pub lookups: u64,
    pub queries: u64,
    /// Of these, for names that did not count.
    pub wasted: u64,
    /// The time that those took, in nanoseconds.
    pub time: u64,
}

impl Expansions {
    pub(super) fn add(&mut self, lookup: &Lookup) {
        let waste = lookup.waste();
        let queries = lookup.queries().count() as u64;
        self.absorb(&Self { lookups: 1, queries, wasted: waste.queries, time: waste.time });
    }
}

impl Tally for Expansions {
    /// Queries wasted, then time.
    type Rank = (u64, u64);

    fn rank(&self) -> Self::Rank {
        (self.wasted, self.time)
    }

    fn absorb(&mut self, other: &Self) {
        self.lookups += other.lookups;
        self.queries += other.queries;
        self.wasted += other.wasted;
        self.time = self.time.saturating_add(other.time);
    }
}

/// Whom a pod asks, beside what its resolv.conf says: where that is worth a word.
#[derive(Clone, Debug, Default)]
pub struct Resolution {
    pub lookups: u64,
    /// Its resolv.conf, as it was last.
    pub resolver: Option<Arc<ResolverConfig>>,
    /// Servers that were asked and are not in it, with the query messages to each.
    pub others: BTreeMap<SocketAddr, u64>,
    /// Query messages to further ones.
    pub further: u64,
}

impl Resolution {
    /// Whether a lookup is worth a word: it asks others than its resolv.conf names, or a pod has the node's.
    pub(super) fn is_odd(lookup: &Lookup) -> bool {
        let is_nodes = |resolver: &Arc<ResolverConfig>| resolver.likeness == Likeness::Node;
        let has_nodes = lookup.owner.pod.is_some() && lookup.owner.resolver.as_ref().is_some_and(is_nodes);
        has_nodes || lookup.asks_others() == Some(true)
    }

    pub(super) fn add(&mut self, lookup: &Lookup) {
        self.lookups += 1;
        self.resolver = lookup.owner.resolver.clone();
        for server in lookup.servers.iter().filter(|server| server.nameserver.is_none()) {
            self.add_server(server.address, u64::from(server.attempts));
        }
    }

    fn add_server(&mut self, address: SocketAddr, attempts: u64) {
        if self.others.len() < SERVERS || self.others.contains_key(&address) {
            *self.others.entry(address).or_default() += attempts;
        } else {
            self.further += attempts;
        }
    }
}

impl Tally for Resolution {
    type Rank = u64;

    fn rank(&self) -> u64 {
        self.lookups
    }

    fn absorb(&mut self, other: &Self) {
        self.lookups += other.lookups;
        self.resolver = self.resolver.take().or_else(|| other.resolver.clone());
        self.further += other.further;
        for (address, attempts) in &other.others {
            self.add_server(*address, *attempts);
        }
    }
}
