//! `cargo xtask test`, `cargo xtask race`, `cargo xtask bench` and `cargo xtask demo`.

mod host;
mod in_vm;
mod lines;
mod pool;
mod runs;
mod schedule;
mod summary;
mod tally;

use std::{
    io,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use self::{
    in_vm::Runner,
    lines::Mark,
    runs::{Run, What},
    summary::Outcome,
    tally::Tally,
};
use crate::{
    arch::Arch,
    args::{BenchArgs, Cgroup, DemoArgs, EmulationThreads, MachineArgs, RaceArgs, TestArgs},
    build,
    kernel::Kernel,
    vm::{self, Place, VmSpec},
    workspace::Workspace,
};

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
    let programs = build::vm_programs(workspace, Arch::X86_64)?;
    let runner = Runner { workspace, programs, timeout: args.seconds * 2 + RACE_REST };
    let outcome = runner.one(&run, &Mark::default());
    Ok(verdict(outcome.tally))
}

/// Runs every test, all of them even after a failure, and ends with a summary and the line `N passed, N failed`.
pub fn test(workspace: &Workspace, args: &TestArgs) -> Result<ExitCode> {
    let started = Instant::now();
    let mut outcomes = Vec::new();
    if args.only.is_none() && !args.core {
        outcomes.extend(host::lints(workspace)?);
        outcomes.push(host::tests(workspace)?);
    }
    outcomes.extend(in_vms(workspace, args));
    print!("{}", summary::render(&outcomes, started.elapsed()));
    Ok(verdict(summary::total(&outcomes)))
}

fn in_vms(workspace: &Workspace, args: &TestArgs) -> Vec<Outcome> {
    let (built, programs) = host::programs(workspace);
    let mut outcomes = vec![built];
    if let Some(programs) = programs {
        let runner = Runner { workspace, programs, timeout: args.timeout };
        outcomes.extend(runner.all(&runs::runs(args)));
    }
    outcomes
}

fn verdict(total: Tally) -> ExitCode {
    println!("{total}");
    if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn e2e_spec(workspace: &Workspace, kernel: Kernel, script: String, timeout: Duration) -> Result<VmSpec> {
    let programs = build::vm_programs(workspace, Arch::X86_64)?;
    Ok(VmSpec { kernel, machine: machine(), timeout, programs, script, place: Place::Any })
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
