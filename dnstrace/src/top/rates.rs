//! Queries a second.

use std::collections::VecDeque;

use crate::event::KernelTime;

/// Seconds that are remembered.
const SECONDS: usize = 240;
/// Nanoseconds of one.
const SECOND: u64 = 1_000_000_000;

/// What was counted when, about once a second.
#[derive(Debug, Default)]
pub(super) struct Rates {
    noted: VecDeque<(KernelTime, u64)>,
}

impl Rates {
    /// Takes note of the count at `now`.
    pub fn note(&mut self, now: KernelTime, count: u64) {
        if self.noted.back().is_some_and(|(last, _)| now.since(*last) < SECOND) {
            return;
        }
        if self.noted.len() > SECONDS {
            self.noted.pop_front();
        }
        self.noted.push_back((now, count));
    }

    /// The growth between each two counts, in a second, rounded.
    pub fn per_second(&self) -> Vec<u64> {
        let pairs = self.noted.iter().zip(self.noted.iter().skip(1));
        pairs
            .map(|((before, from), (after, to))| {
                let grown = u128::from(to.saturating_sub(*from)) * u128::from(SECOND);
                let passed = u128::from(after.since(*before).max(1));
                u64::try_from((grown + passed / 2) / passed).unwrap_or(u64::MAX)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_told_by_the_second() {
        let mut rates = Rates::default();
        for (ms, count) in [(0, 10), (400, 11), (1_000, 30), (1_900, 99), (3_000, 50), (4_000, 50)] {
            rates.note(KernelTime(ms * 1_000_000), count);
        }
        assert_eq!(rates.per_second(), [20, 10, 0]);
        for second in 5..1_000 {
            rates.note(KernelTime(second * SECOND), 50);
        }
        assert_eq!(rates.per_second().len(), SECONDS);
    }
}
