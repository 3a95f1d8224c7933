//! How many tests passed and failed, as test programs say it.

use std::{
    fmt,
    ops::{Add, AddAssign},
};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub passed: u64,
    pub failed: u64,
}

impl Tally {
    pub const PASSED: Self = Self { passed: 1, failed: 0 };
    pub const FAILED: Self = Self { passed: 0, failed: 1 };

    /// Reads a line such as `test result: FAILED. 31 passed; 1 failed; 0 ignored; ...`.
    pub fn of_cargo_test(line: &str) -> Option<Self> {
        let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let mut counts = counts.split("; ");
        let passed = counts.next()?.strip_suffix(" passed")?.parse().ok()?;
        let failed = counts.next()?.strip_suffix(" failed")?.parse().ok()?;
        Some(Self { passed, failed })
    }

    /// The verdict at the end of a test program's output: a last line of the form `N passed, N failed`.
    pub fn verdict(output: &str) -> Option<Self> {
        let last = output.lines().rev().find(|line| !line.trim().is_empty())?;
        let (passed, failed) = last.trim().split_once(", ")?;
        let passed = passed.strip_suffix(" passed")?.parse().ok()?;
        let failed = failed.strip_suffix(" failed")?.parse().ok()?;
        Some(Self { passed, failed })
    }
}

impl Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { passed: self.passed + other.passed, failed: self.failed + other.failed }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_test_lines() {
        let line =
            "test result: FAILED. 31 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 1s";
        assert_eq!(Tally::of_cargo_test(line), Some(Tally { passed: 31, failed: 2 }));
        assert_eq!(Tally::of_cargo_test("test result::parses ... ok"), None);
        assert_eq!(Tally::of_cargo_test("31 passed; 2 failed"), None);
    }

    #[test]
    fn verdict_is_the_last_line() {
        let verdict = Tally { passed: 12, failed: 1 };
        assert_eq!(Tally::verdict("running\n12 passed, 1 failed\n\n"), Some(verdict));
        assert_eq!(Tally::verdict(&verdict.to_string()), Some(verdict));
    }

    #[test]
    fn output_cut_short_has_no_verdict() {
        for output in
            ["", "running\n", "12 passed, 1 failed\nstill running\n", "12 passed, 1 fai", "passed, failed"]
        {
            assert_eq!(Tally::verdict(output), None, "{output:?}");
        }
    }
}
