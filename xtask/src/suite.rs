//! `cargo xtask test`, `cargo xtask race`, `cargo xtask bench` and `cargo xtask demo`.

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
    arch::Arch,
    args::{BenchArgs, Cgroup, DemoArgs, EmulationThreads, MachineArgs, RaceArgs, TestArgs},
    build,
    kernel::Kernel,
    process::{say, shown},
    vm::{self, VmSpec},
    workspace::Workspace,
};

/// The kernels that every change is tested on with the whole suite.
const WHOLE_SUITE: [Kernel; 2] = [Kernel::V6_1, Kernel::V6_12];
/// The others: that dnstrace attaches there, and a test of each kind.
const CORE_SUITE: [Kernel; 3] = [Kernel::V5_10, Kernel::V6_18, Kernel::V7_2];
/// Nodes with cgroup v1 differ in whose message it is, and in nothing else: the tests of pods run on one, too.
const CGROUP_V1: (Kernel, &str) = (Kernel::V6_1, "pods ");
/// The race at conntrack, briefly; `cargo xtask race` runs it for as long as one likes.
const RACE: (Kernel, Duration) = (Kernel::V6_1, Duration::from_secs(20));
/// What a race may take beside the racing: the lab, attaching, reading.
const RACE_REST: Duration = Duration::from_secs(600);
const MACHINE: (u8, &str) = (2, "4G");
const BENCH_TIMEOUT: Duration = Duration::from_secs(1800);
const DEMO_TIMEOUT: Duration = Duration::from_secs(600);

/// Shows dnstrace at work in a VM.
pub fn demo(workspace: &Workspace, args: &DemoArgs) -> Result<ExitCode> {
    let spec = e2e_spec(workspace, args.kernel, "e2e demo".to_owned(), DEMO_TIMEOUT)?;
    vm::run(workspace, &spec, io::stdout(), io::stderr()).map(ExitCode::from)
}

/// Measures what dnstrace costs in a VM.
pub fn bench(workspace: &Workspace, args: &BenchArgs) -> Result<ExitCode> {
    let words = ["e2e", "bench"].into_iter().chain(args.options.iter().map(String::as_str));
    let script = shlex::try_join(words).context("an option has a NUL byte")?;
    let mut spec = e2e_spec(workspace, args.kernel, script, BENCH_TIMEOUT)?;
    spec.machine.cpus = 1;
    spec.machine.emulation_threads = EmulationThreads::Counted;
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
    if args.only.is_none() && !args.core {
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
    Suite(Suite),
    Race { length: Duration },
}

/// A selection of the suite's tests, and the node they run on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Suite {
    cgroup: Cgroup,
    /// Only the short selection, a test of each kind.
    core: bool,
    /// Only the tests whose name contains this.
    only: Option<String>,
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Suite(suite) => write!(f, "{suite}, on {}", self.kernel.series()),
            What::Race { .. } => write!(f, "race at conntrack, on {}", self.kernel.series()),
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.core { "core of the end-to-end suite" } else { "end-to-end suite" })?;
        f.write_str(match self.cgroup {
            Cgroup::V1 => ", cgroup v1",
            Cgroup::V2 => ", cgroup v2",
        })
    }
}

/// What is to be run: all of it, or what the user picked.
fn runs(args: &TestArgs) -> Vec<Run> {
    let suite = |kernel, core, only| Run {
        kernel,
        what: What::Suite(Suite { cgroup: Cgroup::V2, core: core || args.core, only }),
    };
    let picked = |kernels: &[Kernel]| -> Vec<Run> {
        kernels.iter().map(|&kernel| suite(kernel, false, args.only.clone())).collect()
    };
    if !args.kernels.is_empty() {
        return picked(&args.kernels);
    }
    if args.core {
        return picked(&Kernel::ALL);
    }
    let mut runs = picked(&WHOLE_SUITE);
    if args.only.is_none() {
        runs.extend(CORE_SUITE.map(|kernel| suite(kernel, true, None)));
        let (kernel, only) = CGROUP_V1;
        let suite = Suite { cgroup: Cgroup::V1, core: false, only: Some(only.to_owned()) };
        runs.push(Run { kernel, what: What::Suite(suite) });
        let (kernel, length) = RACE;
        runs.push(Run { kernel, what: What::Race { length } });
    }
    runs
}

fn lints(workspace: &Workspace) -> Result<Tally> {
    let mut tally = Tally::default();
    for mut step in build::lint_steps(workspace)? {
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
        EmulationThreads::Single | EmulationThreads::Counted => in_vm(),
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
            What::Suite(_) => EmulationThreads::Single,
            What::Race { .. } => EmulationThreads::Multi,
        }
    }

    fn script(&self) -> Result<String> {
        Ok(match &self.what {
            What::Suite(suite) => suite.command()?,
            What::Race { length } => format!("e2e race --seconds {}", length.as_secs()),
        })
    }
}

impl Suite {
    fn command(&self) -> Result<String> {
        let mut words = vec!["e2e", "suite"];
        if self.core {
            words.push("--core");
        }
        if let Some(filter) = &self.only {
            words.extend(["--only", filter]);
        }
        shlex::try_join(words).context("the filter has a NUL byte")
    }
}

fn vm_run(workspace: &Workspace, run: &Run, timeout: Duration) -> Result<Tally> {
    let mut spec = e2e_spec(workspace, run.kernel, run.script()?, timeout)?;
    spec.machine.emulation_threads = run.threads();
    if let What::Suite(suite) = &run.what {
        spec.machine.cgroup = suite.cgroup;
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
            arch: Arch::X86_64,
            cpus,
            memory: memory.to_owned(),
            cgroup: Cgroup::V2,
            emulation_threads: EmulationThreads::Single,
        },
        timeout,
        programs: build::vm_programs(workspace, Arch::X86_64)?,
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
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    /// What `cargo xtask test` runs with these options, as it is announced and as the VM is told.
    fn runs_of(line: &str) -> Vec<(String, String)> {
        let words = ["xtask", "test"].into_iter().chain(line.split_whitespace());
        let Command::Test(args) = Cli::parse_from(words).command else { panic!("not the test command") };
        runs(&args).iter().map(|run| (run.to_string(), run.script().unwrap())).collect()
    }

    fn pairs(runs: &[(&str, &str)]) -> Vec<(String, String)> {
        runs.iter().map(|(shown, script)| ((*shown).to_owned(), (*script).to_owned())).collect()
    }

    #[test]
    fn every_test_runs_on_every_kernel() {
        let all = [
            ("end-to-end suite, cgroup v2, on 6.1", "e2e suite"),
            ("end-to-end suite, cgroup v2, on 6.12", "e2e suite"),
            ("core of the end-to-end suite, cgroup v2, on 5.10", "e2e suite --core"),
            ("core of the end-to-end suite, cgroup v2, on 6.18", "e2e suite --core"),
            ("core of the end-to-end suite, cgroup v2, on 7.2", "e2e suite --core"),
            ("end-to-end suite, cgroup v1, on 6.1", "e2e suite --only 'pods '"),
            ("race at conntrack, on 6.1", "e2e race --seconds 20"),
        ];
        assert_eq!(runs_of(""), pairs(&all));
    }

    #[test]
    fn some_tests_run_if_they_are_picked() {
        let one = [("end-to-end suite, cgroup v2, on 6.12", "e2e suite")];
        assert_eq!(runs_of("--kernel 6.12"), pairs(&one));
        let core = [("core of the end-to-end suite, cgroup v2, on 6.18", "e2e suite --core --only drops")];
        assert_eq!(runs_of("--kernel 6.18 --core --only drops"), pairs(&core));
        let everywhere: Vec<_> = runs_of("--core").into_iter().map(|(shown, _)| shown).collect();
        assert_eq!(everywhere.len(), Kernel::ALL.len(), "{everywhere:?}");
        let only = [
            ("end-to-end suite, cgroup v2, on 6.1", "e2e suite --only 'a b'"),
            ("end-to-end suite, cgroup v2, on 6.12", "e2e suite --only 'a b'"),
        ];
        let args = TestArgs { only: Some("a b".to_owned()), ..test_args() };
        let runs: Vec<_> = runs(&args).iter().map(|run| (run.to_string(), run.script().unwrap())).collect();
        assert_eq!(runs, pairs(&only));
    }

    #[test]
    fn only_the_race_has_cpus_that_run_at_once() {
        let multi = |run: &Run| run.threads() == EmulationThreads::Multi;
        let runs = runs(&test_args());
        let racing: Vec<_> = runs.iter().filter(|run| multi(run)).map(ToString::to_string).collect();
        assert_eq!(racing, ["race at conntrack, on 6.1"]);
    }

    fn test_args() -> TestArgs {
        let Command::Test(args) = Cli::parse_from(["xtask", "test"]).command else {
            panic!("not the test command")
        };
        args
    }
}
