//! `cargo xtask test` and `cargo xtask demo`.

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
    args::{Cgroup, DemoArgs, EmulationThreads, MachineArgs, TestArgs},
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
const MACHINE: (u8, &str) = (2, "4G");
const DEMO_TIMEOUT: Duration = Duration::from_secs(600);

/// Shows dnstrace at work in a VM.
pub fn demo(workspace: &Workspace, args: &DemoArgs) -> Result<ExitCode> {
    let spec = e2e_spec(workspace, args.kernel, "e2e demo".to_owned(), DEMO_TIMEOUT)?;
    vm::run(workspace, &spec, io::stdout(), io::stderr()).map(ExitCode::from)
}

/// Runs every test, all of them even after a failure, and ends with the line `N passed, N failed`.
pub fn test(workspace: &Workspace, args: &TestArgs) -> Result<ExitCode> {
    let mut total = Tally::default();
    if args.only.is_none() {
        total += lints(workspace)?;
        total += host_tests(workspace)?;
    }
    for run in runs(args) {
        say(format_args!("end-to-end suite on {run}"));
        let tally = vm_suite(workspace, &run, args.timeout).unwrap_or_else(|error| {
            say(format_args!("end-to-end suite on {run}: {error:#}"));
            Tally::FAILED
        });
        say(format_args!("end-to-end suite on {run}: {tally}"));
        total += tally;
    }
    println!("{total}");
    Ok(if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One run of the end-to-end suite.
struct Run {
    kernel: Kernel,
    cgroup: Cgroup,
    /// Only the tests whose name contains this.
    only: Option<String>,
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cgroup = match self.cgroup {
            Cgroup::V1 => "cgroup v1",
            Cgroup::V2 => "cgroup v2",
        };
        write!(f, "{} with {cgroup}", self.kernel.series())
    }
}

/// What is to be run: all of it, or what the user picked.
fn runs(args: &TestArgs) -> Vec<Run> {
    let kernels = if args.kernels.is_empty() { &TEST_KERNELS[..] } else { &args.kernels };
    let mut runs: Vec<Run> =
        kernels.iter().map(|&kernel| Run { kernel, cgroup: Cgroup::V2, only: args.only.clone() }).collect();
    if args.kernels.is_empty() && args.only.is_none() {
        let (kernel, only) = CGROUP_V1;
        runs.push(Run { kernel, cgroup: Cgroup::V1, only: Some(only.to_owned()) });
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

fn vm_suite(workspace: &Workspace, run: &Run, timeout: Duration) -> Result<Tally> {
    let mut script = "e2e suite".to_owned();
    if let Some(filter) = &run.only {
        script.push_str(&format!(" --only {}", shlex::try_quote(filter)?));
    }
    let mut spec = e2e_spec(workspace, run.kernel, script, timeout)?;
    spec.machine.cgroup = run.cgroup;
    let output = Tee::default();
    let exit_code = vm::run(workspace, &spec, output.clone(), io::stderr())?;
    let verdict =
        Tally::verdict(&output.text()).context("the suite ended without the line `N passed, N failed`")?;
    // A suite that fails without a failed test failed before or after its tests.
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
