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
    args::{Attach, BenchArgs, Cgroup, DemoArgs, EmulationThreads, MachineArgs, RaceArgs, TestArgs},
    build,
    kernel::Kernel,
    kernels,
    process::{say, shown},
    vm::{self, VmSpec},
    workspace::Workspace,
};

/// The kernels that every change is tested on with the whole suite, once in each way of attaching, whichever is the
/// default. 6.1 has no fentry for a function with 7 arguments, `__udp6_lib_err`.
const WHOLE_SUITE: [(Kernel, Attach); 2] = [(Kernel::V6_1, Attach::Kprobe), (Kernel::V6_12, Attach::Fentry)];
/// The others: that dnstrace attaches there, and a test of each kind.
const CORE_SUITE: [Kernel; 3] = [Kernel::V5_10, Kernel::V6_18, Kernel::V7_2];
/// Of the core, what 7.2 runs beside its table of hooks. It preempts kprobe programs, too, and skips others meanwhile: whatever
/// must lose nothing fails there now and then, rightly.
const ON_7_2: &str = "nothing remains after kill -9";
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
    let ended = vm::run(workspace, &spec, io::stdout(), io::stderr())?;
    Ok(ended.exit_code.into())
}

/// Measures what dnstrace costs in a VM.
pub fn bench(workspace: &Workspace, args: &BenchArgs) -> Result<ExitCode> {
    let words = ["e2e", "bench"].into_iter().chain(args.options.iter().map(String::as_str));
    let script = shlex::try_join(words).context("an option has a NUL byte")?;
    let mut spec = e2e_spec(workspace, args.kernel, script, BENCH_TIMEOUT)?;
    spec.machine.cpus = 1;
    spec.machine.emulation_threads = EmulationThreads::Counted;
    let ended = vm::run(workspace, &spec, io::stdout(), io::stderr())?;
    Ok(ended.exit_code.into())
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
    attach: Attach,
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
        })?;
        write!(f, ", --attach {}", self.attach.name())
    }
}

/// What is to be run: all of it, or what the user picked.
fn runs(args: &TestArgs) -> Vec<Run> {
    let all_of_it = args.kernels.is_empty() && args.only.is_none() && !args.core;
    let mut runs: Vec<Run> =
        picked(args).into_iter().map(|(kernel, suite)| Run { kernel, what: What::Suite(suite) }).collect();
    if all_of_it {
        let core = Suite { core: true, ..Suite::of(args) };
        runs.extend(CORE_SUITE.map(|kernel| {
            let only = (kernel == Kernel::V7_2).then(|| ON_7_2.to_owned());
            Run { kernel, what: What::Suite(Suite { only, ..core.clone() }) }
        }));
        let (kernel, only) = CGROUP_V1;
        let suite = Suite { cgroup: Cgroup::V1, only: Some(only.to_owned()), ..Suite::of(args) };
        runs.push(Run { kernel, what: What::Suite(suite) });
        let (kernel, length) = RACE;
        runs.push(Run { kernel, what: What::Race { length } });
    }
    runs
}

/// The selection of tests that the user picked, on the kernels that he picked.
fn picked(args: &TestArgs) -> Vec<(Kernel, Suite)> {
    let suite = Suite::of(args);
    let on = |kernels: &[Kernel]| kernels.iter().map(|&kernel| (kernel, suite.clone())).collect();
    match args.kernels.as_slice() {
        [] if args.core => on(&Kernel::ALL),
        [] => WHOLE_SUITE
            .map(|(kernel, attach)| {
                (kernel, Suite { attach: args.attach.unwrap_or(attach), ..suite.clone() })
            })
            .to_vec(),
        kernels => on(kernels),
    }
}

impl Suite {
    fn of(args: &TestArgs) -> Self {
        Self {
            cgroup: Cgroup::V2,
            core: args.core,
            only: args.only.clone(),
            attach: args.attach.unwrap_or(Attach::Auto),
        }
    }
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

    /// Whether the VM tells afterwards how the hooks are attached, to be compared with docs/kernels.md.
    fn tells_hooks(&self) -> bool {
        matches!(&self.what, What::Suite(suite) if suite.only.is_none() || suite.core)
    }

    fn script(&self) -> Result<String> {
        Ok(match &self.what {
            What::Suite(suite) if self.tells_hooks() => {
                format!("{}; code=$?; {}; exit $code", suite.command()?, kernels::SCRIPT)
            }
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
        words.extend(["--attach", self.attach.name()]);
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
    let ended = vm::run(workspace, &spec, output.clone(), io::stderr())?;
    let verdict =
        Tally::verdict(&output.text()).context("the tests ended without the line `N passed, N failed`")?;
    // Tests that fail without a failed test failed before or after their tests.
    let failed_unsaid = ended.exit_code != 0 && verdict.failed == 0;
    let verdict = if failed_unsaid { verdict + Tally::FAILED } else { verdict };
    if !run.tells_hooks() {
        return Ok(verdict);
    }
    Ok(verdict
        + match kernels::check(workspace, run.kernel, &ended) {
            Ok(()) => Tally::PASSED,
            Err(error) => {
                say(format_args!("{run}: {error:#}"));
                Tally::FAILED
            }
        })
}

fn e2e_spec(workspace: &Workspace, kernel: Kernel, script: String, timeout: Duration) -> Result<VmSpec> {
    let programs = build::vm_programs(workspace, Arch::X86_64)?;
    Ok(VmSpec { kernel, machine: machine(), timeout, programs, script })
}

/// The usual VM.
pub fn machine() -> MachineArgs {
    let (cpus, memory) = MACHINE;
    MachineArgs {
        arch: Arch::X86_64,
        cpus,
        memory: memory.to_owned(),
        cgroup: Cgroup::V2,
        emulation_threads: EmulationThreads::Single,
    }
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
        let command = |run: &Run| run.script().unwrap().split("; ").next().unwrap().to_owned();
        runs(&args).iter().map(|run| (run.to_string(), command(run))).collect()
    }

    fn pairs(runs: &[(&str, &str)]) -> Vec<(String, String)> {
        runs.iter().map(|(shown, script)| ((*shown).to_owned(), (*script).to_owned())).collect()
    }

    #[test]
    fn every_test_runs_on_every_kernel() {
        let whole = "end-to-end suite, cgroup v2";
        let core = "core of the end-to-end suite, cgroup v2, --attach auto, on";
        let all = [
            (&*format!("{whole}, --attach kprobe, on 6.1"), "e2e suite --attach kprobe"),
            (&*format!("{whole}, --attach fentry, on 6.12"), "e2e suite --attach fentry"),
            (&*format!("{core} 5.10"), "e2e suite --core --attach auto"),
            (&*format!("{core} 6.18"), "e2e suite --core --attach auto"),
            (
                &*format!("{core} 7.2"),
                "e2e suite --core --only 'nothing remains after kill -9' --attach auto",
            ),
            ("end-to-end suite, cgroup v1, --attach auto, on 6.1", "e2e suite --only 'pods ' --attach auto"),
            ("race at conntrack, on 6.1", "e2e race --seconds 20"),
        ];
        assert_eq!(runs_of(""), pairs(&all));
    }

    #[test]
    fn some_tests_run_if_they_are_picked() {
        let scripts = |line: &str| runs_of(line).into_iter().map(|(_, script)| script).collect::<Vec<_>>();
        assert_eq!(scripts("--kernel 6.12"), ["e2e suite --attach auto"]);
        assert_eq!(
            scripts("--kernel 6.18 --core --only drops --attach fentry"),
            ["e2e suite --core --only drops --attach fentry"]
        );
        assert_eq!(scripts("--core"), ["e2e suite --core --attach auto"; Kernel::ALL.len()]);
        assert_eq!(
            scripts("--only drops"),
            ["e2e suite --only drops --attach kprobe", "e2e suite --only drops --attach fentry"]
        );
        assert_eq!(scripts("--only drops --attach auto"), ["e2e suite --only drops --attach auto"; 2]);
    }

    #[test]
    fn every_kernel_tells_its_hooks() {
        let kernels = runs(&test_args()).into_iter().filter(Run::tells_hooks).map(|run| run.kernel);
        let kernels: Vec<_> = kernels.collect();
        assert!(Kernel::ALL.iter().all(|kernel| kernels.contains(kernel)), "{kernels:?}");
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
