//! When those who know more of pods are to be asked.

/// For a name that stays missing they are asked again after this long at first, and ever less; in nanoseconds.
const SHORTEST: u64 = 200_000_000;
const LONGEST: u64 = 5_000_000_000;

/// Whether somebody is to be asked. Time is event time, in nanoseconds.
#[derive(Debug)]
pub(super) struct Wonder {
    is_due: bool,
    again_at: u64,
    pause: u64,
}

impl Default for Wonder {
    fn default() -> Self {
        Self { is_due: false, again_at: 0, pause: SHORTEST }
    }
}

impl Wonder {
    /// Something has shown up that is not known.
    pub fn new_one(&mut self) {
        self.is_due = true;
    }

    /// Something that is not known speaks, perhaps not for the first time.
    pub fn again(&mut self, now: u64) {
        if now >= self.again_at {
            self.is_due = true;
            self.again_at = now.saturating_add(self.pause);
            self.pause = LONGEST.min(self.pause * 2);
        }
    }

    /// Asking helped.
    pub fn learned(&mut self) {
        self.again_at = 0;
        self.pause = SHORTEST;
    }

    /// Whether to ask; once.
    pub fn take(&mut self) -> bool {
        std::mem::take(&mut self.is_due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asking_in_vain_becomes_rare_and_what_is_new_is_asked_at_once() {
        let mut wonder = Wonder::default();
        let asks = |from: u64, to: u64, wonder: &mut Wonder| {
            let times = (from..to).step_by(10_000_000);
            times
                .filter(|now| {
                    wonder.again(*now);
                    wonder.take()
                })
                .count()
        };
        // 0, 0.2, 0.6, 1.4, 3, 6.2, then every 5 s.
        assert_eq!(asks(0, 60 * 1_000_000_000, &mut wonder), 6 + 10);
        wonder.new_one();
        assert!(wonder.take() && !wonder.take());
        wonder.learned();
        assert_eq!(asks(60 * 1_000_000_000, 61 * 1_000_000_000, &mut wonder), 3);
    }
}
