//! Bounds of the tracker, and what it gave up for their sake.

use serde::{Deserialize, Serialize};

use super::open::SECOND;

/// Bounds of the tracker.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Queries under way at the same time; beyond that the one that would time out first is given up as
    /// [`super::Outcome::Pending`] and counted. As many ended queries, TCP connections, entries of connection tracking
    /// and flows are remembered.
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

/// What the trace can see at all. Without it, silence says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sight {
    /// Clashes of entries in connection tracking (`nf_ct_resolve_clash`).
    pub clashes: bool,
}

impl Default for Sight {
    /// Everything.
    fn default() -> Self {
        Self { clashes: true }
    }
}

/// What the tracker gave up for want of room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Queries ended as pending because too many were under way.
    pub evicted: u64,
    /// Ended queries forgotten before their time: an answer still later would be called one without a query.
    pub forgotten: u64,
    /// TCP connections under way that were forgotten: a query on one that comes later is told as if the connection was
    /// older than the trace.
    pub connections: u64,
    /// Lookups told before their time: the rest of one is told as another one.
    pub lookups: u64,
}
