//! `cargo xtask test`, `cargo xtask race` and `cargo xtask demo`.

mod tally;

use std::{
    fmt,
    io::{self, BufRead as _, BufReader, Write},
    process::{Command, ExitCode, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result};

use self::tally::Tally;
use crate::{
    args::{Cgroup, DemoArgs, EmulationThreads, MachineArgs, RaceArgs, TestArgs},
    build,
    kernel::Kernel,
    process::{say, shown},
    setup,
    vm::{self, VmSpec},
    workspace::Workspace,
};

/// The kernels that every change is tested on.
const TEST_KERNELS: [Kernel; 2] = [Kernel::V6_1, Kernel::V6_12];
/// Nodes with cgroup v1 differ in whose message it is, and in nothing else: the tests of pods run on one, too.
const CGROUP_V1: (Kernel, &str) = (Kernel::V6_1, "pods ");
/// The race at conntrack, briefly; `cargo xtask race` runs it for as long as one likes.
const RACE: (Kernel, Duration) = (Kernel::V6_1, Duration::from_secs(20));
/// What a race may take beside the racing: the lab, attaching, reading.
const RACE_REST: Duration = Duration::from_secs(600);
const MACHINE: (u8, &str) = (2, "4G");
const DEMO_TIMEOUT: Duration = Duration::from_secs(600);

/// Shows dnstrace at work in a VM.
pub fn demo(workspace: &Workspace, args: &DemoArgs) -> Result<ExitCode> {
    let spec = e2e_spec(workspace, args.kernel, "e2e demo".to_owned(), DEMO_TIMEOUT)?;
    vm::run(workspace, &spec, io::stdout(), io::stderr()).map(ExitCode::from)
}

/// Runs the soak of the race at conntrack.
pub fn race(workspace: &Workspace, args: &RaceArgs) -> Result<ExitCode> {
    let run = Run { kernel: args.kernel, what: What::Race { length: args.seconds } };
    let tally = end_to_end(workspace, &run, args.seconds * 2 + RACE_REST);
    Ok(verdict(tally))
}

/// Runs every test, all of them even after a failure, and ends with the line `N passed, N failed`.
pub fn test(workspace: &Workspace, args: &TestArgs) -> Result<ExitCode> {
    let mut total = Tally::default();
    if args.only.is_none() {
        total += lints(workspace)?;
        total += host_tests(workspace)?;
    }
    for run in runs(args) {
        total += end_to_end(workspace, &run, args.timeout);
    }
    Ok(verdict(total))
}

fn verdict(total: Tally) -> ExitCode {
    println!("{total}");
    if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One run of end-to-end tests in a VM.
struct Run {
    kernel: Kernel,
    what: What,
}

enum What {
    Suite {
        cgroup: Cgroup,
        /// Only the tests whose name contains this.
        only: Option<String>,
    },
    Race {
        length: Duration,
    },
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            What::Suite { cgroup: Cgroup::V1, .. } => "end-to-end suite, cgroup v1",
            What::Suite { cgroup: Cgroup::V2, .. } => "end-to-end suite, cgroup v2",
            What::Race { .. } => "race at conntrack",
        };
        write!(f, "{what}, on {}", self.kernel.series())
    }
}

/// What is to be run: all of it, or what the user picked.
fn runs(args: &TestArgs) -> Vec<Run> {
    let suite = |kernel, cgroup, only| Run { kernel, what: What::Suite { cgroup, only } };
    let kernels = if args.kernels.is_empty() { &TEST_KERNELS[..] } else { &args.kernels };
    let mut runs: Vec<Run> =
        kernels.iter().map(|&kernel| suite(kernel, Cgroup::V2, args.only.clone())).collect();
    if args.kernels.is_empty() && args.only.is_none() {
        let (kernel, only) = CGROUP_V1;
        runs.push(suite(kernel, Cgroup::V1, Some(only.to_owned())));
        let (kernel, length) = RACE;
        runs.push(Run { kernel, what: What::Race { length } });
    }
    runs
}

fn lints(workspace: &Workspace) -> Result<Tally> {
    setup::rust_tools(workspace)?;
    let mut tally = Tally::default();
    for mut step in build::lint_steps(workspace) {
        say(shown(&step));
        let passed = step.status().with_context(|| format!("cannot run {}", shown(&step)))?.success();
        tally += if passed { Tally::PASSED } else { Tally::FAILED };
    }
    Ok(tally)
}

fn host_tests(workspace: &Workspace) -> Result<Tally> {
    let mut command = build::cargo(workspace);
    command.args(["test", "--workspace", "--no-fail-fast"]);
    say(shown(&command));
    let (success, counted) = counted(&mut command)?;
    // What does not compile is not counted by anybody.
    Ok(if success || counted.failed > 0 { counted } else { counted + Tally::FAILED })
}

/// Runs `command`, passes its standard output on, and sums up the results in it.
fn counted(command: &mut Command) -> Result<(bool, Tally)> {
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot run {}", shown(command)))?;
    let output = child.stdout.take().context("no output")?;
    let mut tally = Tally::default();
    for line in BufReader::new(output).lines() {
        let line = line?;
        println!("{line}");
        tally += Tally::of_cargo_test(&line).unwrap_or_default();
    }
    Ok((child.wait()?.success(), tally))
}

/// Runs one of the runs. Whatever goes wrong counts as a failure.
fn end_to_end(workspace: &Workspace, run: &Run, timeout: Duration) -> Tally {
    say(run);
    let in_vm = || vm_run(workspace, run, timeout);
    let result = match run.threads() {
        EmulationThreads::Single => in_vm(),
        EmulationThreads::Multi => vm::once_more_after_stale_breakpoint(in_vm),
    };
    let tally = result.unwrap_or_else(|error| {
        say(format_args!("{run}: {error:#}"));
        Tally::FAILED
    });
    say(format_args!("{run}: {tally}"));
    tally
}

impl Run {
    /// The race needs CPUs that run at once; nothing else may depend on it.
    fn threads(&self) -> EmulationThreads {
        match self.what {
            What::Suite { .. } => EmulationThreads::Single,
            What::Race { .. } => EmulationThreads::Multi,
        }
    }

    fn script(&self) -> Result<String> {
        Ok(match &self.what {
            What::Suite { only: None, .. } => "e2e suite".to_owned(),
            What::Suite { only: Some(filter), .. } => {
                format!("e2e suite --only {}", shlex::try_quote(filter)?)
            }
            What::Race { length } => format!("e2e race --seconds {}", length.as_secs()),
        })
    }
}

fn vm_run(workspace: &Workspace, run: &Run, timeout: Duration) -> Result<Tally> {
    let mut spec = e2e_spec(workspace, run.kernel, run.script()?, timeout)?;
    spec.machine.emulation_threads = run.threads();
    if let What::Suite { cgroup, .. } = run.what {
        spec.machine.cgroup = cgroup;
    }
    let output = Tee::default();
    let exit_code = vm::run(workspace, &spec, output.clone(), io::stderr())?;
    let verdict =
        Tally::verdict(&output.text()).context("the tests ended without the line `N passed, N failed`")?;
    // Tests that fail without a failed test failed before or after their tests.
    Ok(if exit_code == 0 || verdict.failed > 0 { verdict } else { verdict + Tally::FAILED })
}

fn e2e_spec(workspace: &Workspace, kernel: Kernel, script: String, timeout: Duration) -> Result<VmSpec> {
    let (cpus, memory) = MACHINE;
    Ok(VmSpec {
        kernel,
        machine: MachineArgs {
            cpus,
            memory: memory.to_owned(),
            cgroup: Cgroup::V2,
            emulation_threads: EmulationThreads::Single,
        },
        timeout,
        programs: build::vm_programs(workspace)?,
        script,
    })
}

/// Passes what is written on to standard output and keeps it.
#[derive(Debug, Clone, Default)]
struct Tee {
    kept: Arc<Mutex<Vec<u8>>>,
}

impl Tee {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.kept.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl Write for Tee {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = io::stdout().write(bytes)?;
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown_runs(kernels: &[Kernel], only: Option<&str>) -> Vec<(String, EmulationThreads)> {
        let args = TestArgs {
            kernels: kernels.to_vec(),
            only: only.map(str::to_owned),
            timeout: Duration::from_secs(1),
        };
        runs(&args).iter().map(|run| (run.to_string(), run.threads())).collect()
    }

    #[test]
    fn every_test_runs_unless_some_are_picked() {
        let suite = |name: &str| (format!("end-to-end suite, {name}"), EmulationThreads::Single);
        let all = [
            suite("cgroup v2, on 6.1"),
            suite("cgroup v2, on 6.12"),
            suite("cgroup v1, on 6.1"),
            ("race at conntrack, on 6.1".to_owned(), EmulationThreads::Multi),
        ];
        assert_eq!(shown_runs(&[], None), all);
        assert_eq!(shown_runs(&[Kernel::V6_12], None), [suite("cgroup v2, on 6.12")]);
        assert_eq!(shown_runs(&[], Some("drops")), all[..2]);
    }
}
