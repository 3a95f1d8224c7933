//! The command line of `cargo xtask`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{arch::Arch, kernel::Kernel};

/// Builds, tests and shows dnstrace.
///
/// What a command needs and the machine lacks (bpf-linker, QEMU, Debian kernels, DNS servers) is fetched on first use
/// into the git-ignored folder .cache of the repository; rustup adds missing components and targets to the pinned
/// toolchain. Nothing else on the machine is changed, and no command needs root.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show dnstrace at work: a small Kubernetes-shaped node in a VM, real clients, a live trace
    Demo(DemoArgs),
    /// Run every test: formatting and lints, host tests, then the end-to-end suite in VMs
    ///
    /// Two VMs run at a time where there are two cores and 10 GiB of memory available: each of their lines begins with
    /// its kernel. The race at conntrack runs at the end, alone. The summary repeats every line that says FAILED.
    Test(TestArgs),
    /// Race packets of one socket at conntrack, on two CPUs that really run at once, and compare every outcome that
    /// dnstrace tells with the kernel's own counters
    Race(RaceArgs),
    /// Measure in a VM what dnstrace costs the traffic beside it, as ratios, attached in one way and another
    Bench(BenchArgs),
    /// Look for bytes that break what dnstrace reads from outside: libFuzzer on the targets of tests/fuzz
    ///
    /// Ends with an error at the first input for which a target does not hold, and says how to see it again. What runs
    /// come to is kept in .cache/fuzz, so that the next one goes on from there. Needs a compiler of C++.
    Fuzz(FuzzArgs),
    /// Boot a kernel with dnstrace on PATH and run a command in it
    ///
    /// The VM sees this machine's own file system (read-only below, writes go to memory and are lost), so every
    /// program of the machine is at hand, and beside them the ones that dnstrace's tests use: iptables, nft, ipvsadm,
    /// conntrack, containerd, unbound, bind9, dnsmasq, dig, dnsperf, tcpdump, tshark, and e2e, which builds a small
    /// node with pods around a command (e2e lab -- COMMAND). There is no network device. Standard input is empty.
    /// Files left in /share are found in .cache/vm/share afterwards. Two VMs of this command never run at the same time,
    /// nor more than two with those of the other commands: the next one waits. So does a second one where there is one
    /// core, or less than 10 GiB of memory available.
    ///
    /// The exit code is the command's own, or 125 if the VM failed: it died, stalled, gave no verdict, or its
    /// kernel complained (panic, oops, BUG, WARNING, lockup, RCU stall).
    #[command(after_long_help = VM_EXAMPLES)]
    Vm(VmArgs),
    /// Build dnstrace for release, eBPF programs included
    Build(BuildArgs),
    /// Check formatting and run clippy with warnings as errors, on host code and on the eBPF programs
    Lint,
    /// Fetch what the other commands need, without running anything
    Setup(SetupArgs),
    /// Boot every kernel, see which hook of dnstrace attaches how, and write the table to docs/kernels.md
    Kernels(KernelsArgs),
    /// Trim the BTF of every kernel anew, for the host tests that look up offsets in it
    ///
    /// After a change of what they want (dnstrace/src/capture/btf/tests/wanted.rs). Writes the fixtures and the
    /// snapshots of what they tell: read the difference that git shows.
    Btf,
}

const VM_EXAMPLES: &str = "\
Examples:
  cargo xtask vm -- uname -a
  cargo xtask vm --kernel 5.10 -- 'dnstrace --version; ip -br address'
  cargo xtask vm -- e2e lab -- dnstrace -A --duration 5s
  cargo xtask vm --cgroup v1 --memory 4G -- ./reproduce.sh
  cargo xtask vm --arch aarch64 --timeout 1800 -- e2e suite --core

One argument is a shell script; several are a command and its arguments, taken as they are.";

#[derive(Debug, Args)]
pub struct VmArgs {
    /// Kernel to boot
    #[arg(long, value_enum, default_value_t = Kernel::V6_1, value_name = "VERSION")]
    pub kernel: Kernel,
    #[command(flatten)]
    pub machine: MachineArgs,
    /// Give up when the command takes longer than this
    #[arg(long, default_value = "600", value_name = "SECONDS", value_parser = parse_seconds)]
    pub timeout: Duration,
    /// Do not build first: take what the last release build left
    #[arg(long)]
    pub no_build: bool,
    /// What to run in the VM, as root
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// The shape of the virtual machine.
#[derive(Debug, Clone, Args)]
pub struct MachineArgs {
    /// Processor. Of another than this machine's own the VM has Debian's programs instead of the machine's, and does not
    /// see the repository; control groups, /share and the rest are the same
    #[arg(long, value_enum, default_value_t = Arch::X86_64, value_name = "PROCESSOR")]
    pub arch: Arch,
    /// Number of CPUs
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub cpus: u8,
    /// Memory, with a unit
    #[arg(long, default_value = "3G", value_name = "SIZE")]
    pub memory: String,
    /// Control groups: one tree (v2), or one for each controller (v1)
    #[arg(long, value_enum, default_value_t = Cgroup::V2, value_name = "VERSION")]
    pub cgroup: Cgroup,
    /// Threads of this machine that emulate the CPUs: one for all of them, or one for each
    ///
    /// With a thread for each, two CPUs really run at once and races happen as on a node; but a kernel that patches
    /// its own code may die of it ("Oops: int3", about one boot of six).
    #[arg(long, value_enum, default_value_t = EmulationThreads::Single, value_name = "THREADS")]
    pub emulation_threads: EmulationThreads,
}

/// Which control group hierarchy the VM mounts on /sys/fs/cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Cgroup {
    /// A directory for each controller (from 6.12 on without memory and cpuset: Debian left them out)
    V1,
    /// The unified tree
    V2,
}

/// How the CPUs of a VM share the CPUs of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EmulationThreads {
    /// In turn, each for a while
    Single,
    /// At the same time
    Multi,
    /// In turn, and the VM's clock goes on with the instructions that they execute: how long something takes does
    /// not depend on what else this machine does. For one CPU: two wait for each other for ages
    Counted,
}

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Kernel to boot
    #[arg(long, value_enum, default_value_t = Kernel::V6_12, value_name = "VERSION")]
    pub kernel: Kernel,
}

#[derive(Debug, Args)]
pub struct TestArgs {
    /// Kernel to run the end-to-end suite on; may be given again [default: all of it on 6.1 and 6.12, its core on
    /// the others]
    #[arg(long = "kernel", value_enum, value_name = "VERSION")]
    pub kernels: Vec<Kernel>,
    /// Run only the end-to-end tests whose name contains this, and neither lints nor host tests
    #[arg(long, value_name = "FILTER")]
    pub only: Option<String>,
    /// Run only the core of the end-to-end suite, a test of each kind, and neither lints nor host tests
    #[arg(long)]
    pub core: bool,
    /// How dnstrace attaches in the end-to-end suite [default: kprobe on 6.1 and fentry on 6.12 if they are not
    /// picked, its own choice elsewhere]
    #[arg(long, value_enum, value_name = "WAY")]
    pub attach: Option<Attach>,
    /// Give up on a kernel's suite after this many seconds
    #[arg(long, default_value = "2400", value_name = "SECONDS", value_parser = parse_seconds)]
    pub timeout: Duration,
}

/// The ways of attaching that the option --attach of dnstrace knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Attach {
    Auto,
    Kprobe,
    Fentry,
}

impl Attach {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Kprobe => "kprobe",
            Self::Fentry => "fentry",
        }
    }
}

#[derive(Debug, Args)]
pub struct RaceArgs {
    /// Kernel to boot
    #[arg(long, value_enum, default_value_t = Kernel::V6_1, value_name = "VERSION")]
    pub kernel: Kernel,
    /// For how long to race
    #[arg(long, default_value = "60", value_name = "SECONDS", value_parser = parse_seconds)]
    pub seconds: Duration,
}

#[derive(Debug, Args)]
pub struct FuzzArgs {
    /// A target of tests/fuzz [default: each in turn]
    pub target: Option<String>,
    /// For how long to fuzz each
    #[arg(long, default_value = "60", value_name = "SECONDS", value_parser = parse_seconds)]
    pub seconds: Duration,
    /// Only run the target on this input, such as one that was found
    #[arg(long, value_name = "FILE", requires = "target")]
    pub input: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct BuildArgs {
    /// Processor to build for; for another than this machine's own the program is static
    #[arg(long, value_enum, default_value_t = Arch::X86_64, value_name = "PROCESSOR")]
    pub arch: Arch,
}

#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Kernel to boot
    #[arg(long, value_enum, default_value_t = Kernel::V6_1, value_name = "VERSION")]
    pub kernel: Kernel,
    /// Options of `e2e bench`, after `--`
    #[arg(last = true, value_name = "OPTION")]
    pub options: Vec<String>,
}

#[derive(Debug, Args)]
pub struct KernelsArgs {
    /// Boot nothing: only list the kernels that the VM can boot, and which of them are fetched
    #[arg(long)]
    pub list: bool,
    /// Do not build first: take what the last release build left
    #[arg(long)]
    pub no_build: bool,
}

#[derive(Debug, Args)]
pub struct SetupArgs {
    /// Kernel to fetch; may be given again [default: none]
    #[arg(long = "kernel", value_enum, value_name = "VERSION")]
    pub kernels: Vec<Kernel>,
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<u64>() {
        Ok(0) => Err("must be at least 1".to_owned()),
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn command_keeps_its_own_flags() {
        let cli = Cli::parse_from(["xtask", "vm", "--kernel", "6.12", "--", "dig", "--kernel", "x"]);
        let Command::Vm(vm) = cli.command else { panic!("not the vm command: {cli:?}") };
        assert_eq!(vm.kernel, Kernel::V6_12);
        assert_eq!(vm.command, ["dig", "--kernel", "x"]);
    }

    #[test]
    fn timeout_of_zero_is_refused() {
        assert!(Cli::try_parse_from(["xtask", "vm", "--timeout", "0", "true"]).is_err());
    }
}
