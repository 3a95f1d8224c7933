//! Does the runs in VMs.

use std::{
    io,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{
    lines::{Heard, Mark, Marked},
    machine, pool,
    runs::{Run, What},
    schedule::Schedule,
    summary::Outcome,
    tally::Tally,
};
use crate::{
    args::EmulationThreads,
    kernels,
    vm::{self, Ended, Place, VmSpec},
    workspace::Workspace,
};

/// What all runs have in common.
pub struct Runner<'a> {
    pub workspace: &'a Workspace,
    /// What the VMs have on their PATH.
    pub programs: Vec<PathBuf>,
    /// How long a run may take.
    pub timeout: Duration,
}

impl Runner<'_> {
    /// Does all of them, as many at a time as the machine bears, and tells what came of each, in their order.
    pub fn all(&self, runs: &[Run]) -> Vec<Outcome> {
        let is_alone = |&index: &usize| runs[index].threads() == EmulationThreads::Multi;
        let length = |&index: &usize| runs[index].length();
        let schedule = Schedule::new(0..runs.len(), vm::at_a_time(), is_alone, length);
        let marks = marks(runs);
        let mut outcomes: Vec<(usize, Outcome)> = Vec::new();
        pool::run(
            schedule,
            |&index| self.one(&runs[index], &marks[index]),
            |&index, result| {
                let outcome = result.unwrap_or_else(|why| {
                    marks[index].say(format_args!("{}: {why}", runs[index]));
                    let mut outcome = Outcome::new(runs[index].to_string());
                    outcome.fail(why);
                    outcome
                });
                outcomes.push((index, outcome));
            },
        );
        outcomes.sort_by_key(|(index, _)| *index);
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }

    /// Does one. Whatever goes wrong counts as a failure.
    pub fn one(&self, run: &Run, mark: &Mark) -> Outcome {
        mark.say(run);
        let started = Instant::now();
        let mut outcome = Outcome::new(run.to_string());
        let heard = Heard::default();
        let boot = || {
            heard.clear();
            self.boot(run, mark, &heard)
        };
        let ended = match run.threads() {
            EmulationThreads::Single | EmulationThreads::Counted => boot(),
            EmulationThreads::Multi => vm::once_more_after_stale_breakpoint(boot),
        };
        let judged = ended.and_then(|ended| self.judge(run, mark, &ended, &heard, &mut outcome));
        if let Err(error) = judged {
            heard.failures().into_iter().for_each(|line| outcome.fail(line));
            fail(&mut outcome, run, mark, &error);
        }
        outcome.took = started.elapsed();
        mark.say(format_args!("{run}: {}", outcome.tally));
        outcome
    }

    fn boot(&self, run: &Run, mark: &Mark, heard: &Heard) -> Result<Ended> {
        let mut machine = machine();
        machine.emulation_threads = run.threads();
        if let What::Suite(suite) = &run.what {
            machine.cgroup = suite.cgroup;
        }
        let spec = VmSpec {
            kernel: run.kernel,
            machine,
            timeout: self.timeout,
            programs: self.programs.clone(),
            script: run.script()?,
            place: Place::Any,
        };
        let stdout = Marked::new(mark, io::stdout(), heard);
        // The verdict and the failures come on standard output.
        let stderr = Marked::new(mark, io::stderr(), &Heard::default());
        vm::run(self.workspace, &spec, stdout, stderr)
    }

    /// What the tests said, what else they ended with, and whether the hooks are those of the table. An error if the
    /// tests gave no verdict.
    fn judge(
        &self,
        run: &Run,
        mark: &Mark,
        ended: &Ended,
        heard: &Heard,
        outcome: &mut Outcome,
    ) -> Result<()> {
        outcome.tally = heard.verdict().context("the tests ended without the line `N passed, N failed`")?;
        outcome.failures = heard.failures();
        // Tests that fail without a failed test failed before or after their tests.
        if ended.exit_code != 0 && outcome.tally.failed == 0 {
            outcome.fail(format!("no test failed, but they ended with exit code {}", ended.exit_code));
        }
        if run.tells_hooks() {
            match kernels::check(self.workspace, run.kernel, ended) {
                Ok(()) => outcome.tally += Tally::PASSED,
                Err(error) => fail(outcome, run, mark, &error),
            }
        }
        Ok(())
    }
}

/// Says all of the error, and its first line again in the summary: the rest may be a kernel's log.
fn fail(outcome: &mut Outcome, run: &Run, mark: &Mark, error: &anyhow::Error) {
    let text = format!("{error:#}");
    mark.say(format_args!("{run}: {text}"));
    outcome.fail(text.lines().next().unwrap_or_default());
}

/// The marks of the runs, equally wide. One run alone needs none.
fn marks(runs: &[Run]) -> Vec<Mark> {
    if runs.len() == 1 {
        return vec![Mark::default()];
    }
    let labels: Vec<String> = runs.iter().map(Run::label).collect();
    let width = labels.iter().map(String::len).max().unwrap_or_default();
    labels.iter().map(|label| Mark::new(label, width)).collect()
}
