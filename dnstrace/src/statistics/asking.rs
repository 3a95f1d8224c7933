//! How queries went: of a name, or of whoever asked.

use crate::lookup::{Outcome, Query};

use super::{Tally, failed, is_lost, waited};

/// How queries of clients went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asking {
    pub queries: u64,
    /// Of these, those that failed (see [`failed`]).
    pub failed: u64,
    /// Of these, those that nobody answered.
    pub unanswered: u64,
    /// Attempts that came to nothing (see [`is_lost`]), of queries that were answered in the end, too.
    pub lost: u64,
    /// Nanoseconds from the first attempt to the end, of all.
    pub waited: u64,
    /// Likewise, of the longest.
    pub longest: u64,
}

impl Asking {
    pub(super) fn add(&mut self, query: &Query) {
        let lost = query.attempts.iter().filter(|attempt| is_lost(&attempt.fate)).count();
        let waited = waited(query);
        self.absorb(&Self {
            queries: 1,
            failed: u64::from(failed(query)),
            unanswered: u64::from(query.outcome == Outcome::Unanswered),
            lost: lost as u64,
            waited,
            longest: waited,
        });
    }

    /// Whether a query failed, or cost more than one attempt.
    pub fn is_troubled(&self) -> bool {
        self.failed > 0 || self.lost > 0
    }
}

impl Tally for Asking {
    /// Failures, then attempts lost, then time.
    type Rank = (u64, u64, u64);

    fn rank(&self) -> Self::Rank {
        (self.failed, self.lost, self.waited)
    }

    fn absorb(&mut self, other: &Self) {
        self.queries += other.queries;
        self.failed += other.failed;
        self.unanswered += other.unanswered;
        self.lost += other.lost;
        self.waited = self.waited.saturating_add(other.waited);
        self.longest = self.longest.max(other.longest);
    }
}
