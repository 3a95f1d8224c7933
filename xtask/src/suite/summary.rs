//! What a person who reads the log at night wants at its end: what was run, how long it took, what failed.

use std::{fmt::Write as _, time::Duration};

use super::tally::Tally;

/// What came of one step or run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub what: String,
    pub tally: Tally,
    pub took: Duration,
    /// A line each.
    pub failures: Vec<String>,
}

impl Outcome {
    /// Of what has just begun.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), tally: Tally::default(), took: Duration::ZERO, failures: Vec::new() }
    }

    /// Adds a failure that no test counted.
    pub fn fail(&mut self, why: impl Into<String>) {
        self.tally += Tally::FAILED;
        self.failures.push(why.into());
    }
}

/// All tests.
pub fn total(outcomes: &[Outcome]) -> Tally {
    outcomes.iter().fold(Tally::default(), |total, outcome| total + outcome.tally)
}

/// A line for each step and run, and then one for each failure. `took` is how long all of it took.
pub fn render(outcomes: &[Outcome], took: Duration) -> String {
    // A build that went well has tested nothing.
    let tally = |outcome: &Outcome| match outcome.tally {
        Tally { passed: 0, failed: 0 } => String::new(),
        tally => tally.to_string(),
    };
    let tallies: Vec<String> = outcomes.iter().map(tally).collect();
    let width = tallies.iter().map(String::len).max().unwrap_or_default();
    let mut text = "\nsummary\n".to_owned();
    for (outcome, tally) in outcomes.iter().zip(&tallies) {
        line(&mut text, outcome.took, &format!("{tally:width$}  {}", outcome.what));
    }
    line(&mut text, took, "in all");
    for outcome in outcomes.iter().filter(|outcome| outcome.tally.failed > 0) {
        text.push_str(&format!("\nfailed: {}\n", outcome.what));
        for failure in &outcome.failures {
            text.push_str(&format!("    {failure}\n"));
        }
        let unsaid = outcome.tally.failed.saturating_sub(outcome.failures.len() as u64);
        if unsaid > 0 {
            text.push_str(&format!("    {unsaid} more: see above\n"));
        }
    }
    text.push('\n');
    text
}

fn line(text: &mut String, took: Duration, what: &str) {
    let seconds = took.as_secs();
    // Writing to a string does not fail.
    let _ = writeln!(text, "{:>6}:{:02}  {what}", seconds / 60, seconds % 60);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(what: &str, (passed, failed): (u64, u64), seconds: u64, failures: &[&str]) -> Outcome {
        Outcome {
            what: what.to_owned(),
            tally: Tally { passed, failed },
            took: Duration::from_secs(seconds),
            failures: failures.iter().map(|&line| line.to_owned()).collect(),
        }
    }

    #[test]
    fn summary_names_every_run_and_repeats_every_failure() {
        let mut died = outcome("race at conntrack, on 6.1", (0, 0), 7, &[]);
        died.fail("the VM did not boot within 120 s");
        let outcomes = [
            outcome("cargo test --workspace", (412, 2), 182, &["test dns::tests::name ... FAILED"]),
            outcome("release build", (0, 0), 65, &[]),
            outcome("end-to-end suite, on 6.1", (66, 0), 754, &[]),
            outcome("end-to-end suite, on 6.12", (65, 1), 701, &["12.34 s  FAILED  fates: no drop"]),
            died,
        ];
        let expected = "
summary
     3:02  412 passed, 2 failed  cargo test --workspace
     1:05                        release build
    12:34  66 passed, 0 failed   end-to-end suite, on 6.1
    11:41  65 passed, 1 failed   end-to-end suite, on 6.12
     0:07  0 passed, 1 failed    race at conntrack, on 6.1
    19:59  in all

failed: cargo test --workspace
    test dns::tests::name ... FAILED
    1 more: see above

failed: end-to-end suite, on 6.12
    12.34 s  FAILED  fates: no drop

failed: race at conntrack, on 6.1
    the VM did not boot within 120 s

";
        assert_eq!(render(&outcomes, Duration::from_secs(1199)), expected);
        assert_eq!(total(&outcomes), Tally { passed: 543, failed: 4 });
    }
}
