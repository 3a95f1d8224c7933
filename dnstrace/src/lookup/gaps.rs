//! When events were lost.

use std::collections::VecDeque;

use crate::event::{KernelTime, Loss};

/// Losses kept apart. Beyond that the two oldest become one that covers both and the time between them: what was lost
/// is then said of more attempts than it must be, never of fewer, and so nothing is counted as forgotten.
const KEPT: usize = 256;

/// In order of time.
#[derive(Debug, Default)]
pub(super) struct Gaps(VecDeque<Loss>);

impl Gaps {
    pub fn note(&mut self, loss: Loss) {
        self.0.push_back(loss);
        if self.0.len() > KEPT
            && let (Some(first), Some(second)) = (self.0.pop_front(), self.0.front_mut())
        {
            second.since = first.since.min(second.since);
            second.events = first.events.saturating_add(second.events);
        }
    }

    /// Events that may have been lost in the time from `from` to `to`.
    pub fn lost(&self, from: KernelTime, to: KernelTime) -> u64 {
        let overlapping = self.0.iter().filter(|loss| loss.since < to && loss.time >= from);
        overlapping.fold(0, |sum, loss| sum.saturating_add(loss.events))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_begins_after_its_first_instant_and_ends_with_its_last() {
        let mut gaps = Gaps::default();
        gaps.note(Loss { since: KernelTime(10), time: KernelTime(20), events: 3 });
        let lost = |from, to| gaps.lost(KernelTime(from), KernelTime(to));
        assert_eq!([lost(0, 10), lost(0, 11), lost(12, 13), lost(20, 30), lost(21, 30)], [0, 3, 3, 3, 0]);
    }

    #[test]
    fn the_oldest_become_one_that_covers_them() {
        let mut gaps = Gaps::default();
        for start in 0..1_000 {
            gaps.note(Loss { since: KernelTime(start * 10), time: KernelTime(start * 10 + 1), events: 1 });
        }
        assert_eq!(gaps.0.len(), KEPT);
        assert_eq!(gaps.lost(KernelTime(0), KernelTime(u64::MAX)), 1_000);
        assert_eq!(gaps.lost(KernelTime(2), KernelTime(3)), 1_000 - KEPT as u64 + 1);
    }
}
