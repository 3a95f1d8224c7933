//! The steps of `cargo xtask test` that run on this machine.

use std::{
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result};

use super::{lines::Heard, summary::Outcome, tally::Tally};
use crate::{
    arch::Arch,
    build,
    process::{say, shown},
    workspace::Workspace,
};

/// Formatting and lints.
pub fn lints(workspace: &Workspace) -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    for mut step in build::lint_steps(workspace)? {
        say(shown(&step));
        let started = Instant::now();
        let status = step.status().with_context(|| format!("cannot run {}", shown(&step)))?;
        let mut outcome = Outcome::new(shown(&step));
        outcome.took = started.elapsed();
        match status.success() {
            true => outcome.tally += Tally::PASSED,
            false => outcome.fail(status.to_string()),
        }
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

/// Unit tests and property tests.
pub fn tests(workspace: &Workspace) -> Result<Outcome> {
    let mut command = build::cargo(workspace);
    command.args(["test", "--workspace", "--no-fail-fast"]);
    // No host test looks at the eBPF programs, and the release that the VMs run builds them.
    command.env("AYA_BUILD_SKIP", "1");
    say(shown(&command));
    let started = Instant::now();
    let mut outcome = counted(&mut command)?;
    outcome.took = started.elapsed();
    Ok(outcome)
}

/// Runs `command`, passes its standard output on, and sums up the results in it.
fn counted(command: &mut Command) -> Result<Outcome> {
    let mut outcome = Outcome::new(shown(command));
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot run {}", outcome.what))?;
    let output = child.stdout.take().context("no output")?;
    let heard = Heard::default();
    for line in BufReader::new(output).lines() {
        let line = line?;
        println!("{line}");
        heard.line(&line);
        outcome.tally += Tally::of_cargo_test(&line).unwrap_or_default();
    }
    outcome.failures = heard.failures();
    let status = child.wait()?;
    // What does not compile is not counted by anybody.
    if !status.success() && outcome.tally.failed == 0 {
        outcome.fail(status.to_string());
    }
    Ok(outcome)
}

/// Builds what the VMs run. `None` if that failed.
pub fn programs(workspace: &Workspace) -> (Outcome, Option<Vec<PathBuf>>) {
    let mut outcome = Outcome::new("release build of what the VMs run");
    let started = Instant::now();
    let programs = build::vm_programs(workspace, Arch::X86_64);
    outcome.took = started.elapsed();
    match programs {
        Ok(programs) => (outcome, Some(programs)),
        Err(error) => {
            say(format_args!("{error:#}"));
            outcome.fail("it failed, so that nothing ran in VMs");
            (outcome, None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Outcome {
        counted(Command::new("sh").args(["-c", script])).unwrap()
    }

    #[test]
    fn failed_tests_are_counted_and_named() {
        let outcome = shell(
            "echo 'test a::b ... FAILED'; echo 'test result: FAILED. 3 passed; 1 failed; 0 ignored'; exit 101",
        );
        assert_eq!(outcome.tally, Tally { passed: 3, failed: 1 });
        assert_eq!(outcome.failures, ["test a::b ... FAILED"]);
    }

    #[test]
    fn what_does_not_compile_is_a_failure() {
        let outcome = shell("echo 'test result: ok. 3 passed; 0 failed; 0 ignored'; exit 101");
        assert_eq!(outcome.tally, Tally { passed: 3, failed: 1 });
        assert_eq!(outcome.failures, ["exit status: 101"]);
    }
}
