//! The two helper subcommands that run inside a pod: `e2e pause` holds its namespaces and cgroup, `e2e enter` joins
//! them and becomes the client program.
//!
//! They are subcommands and not `pre_exec` hooks: a process joins a mount namespace only while it has one thread,
//! and a program must be in its cgroup before its first instruction, or a tracer would see its first packet elsewhere.

use std::{
    convert::Infallible,
    ffi::OsString,
    fs::{self, File},
    io::{self, Read},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use clap::Args;
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns, unshare},
};
use serde::{Deserialize, Serialize};

/// What `e2e pause` prints once the namespaces are ready to be joined.
pub const READY: &str = "ready";

/// Holds a pod's namespaces and cgroup until its standard input closes.
#[derive(Debug, Args)]
pub struct PauseArgs {
    /// Directory of a cgroup to join first (one for each hierarchy)
    #[arg(long)]
    cgroup: Vec<PathBuf>,
    /// Take a network namespace of its own
    #[arg(long)]
    own_netns: bool,
    /// A file of the node to show elsewhere in the pod
    #[arg(long, value_name = "SOURCE:TARGET", value_parser = parse_bind)]
    bind: Vec<(PathBuf, PathBuf)>,
    /// The pod's host name
    #[arg(long)]
    hostname: Option<String>,
}

/// Joins a pod's cgroup and namespaces and becomes a program.
#[derive(Debug, Args)]
pub struct EnterArgs {
    /// Directory of a cgroup to join first (one for each hierarchy)
    #[arg(long)]
    pub cgroup: Vec<PathBuf>,
    /// Process whose namespaces are joined (in the caller's PID namespace)
    #[arg(long)]
    pub pid: Option<u32>,
    /// The namespaces of that process to join
    #[arg(long = "namespace", value_name = "KIND")]
    pub namespaces: Vec<Namespace>,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub argv: Vec<OsString>,
}

/// A kind of namespace, named as in `/proc/PID/ns`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
pub enum Namespace {
    Net,
    Uts,
    Mnt,
}

impl Namespace {
    /// The name in `/proc/PID/ns`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Net => "net",
            Self::Uts => "uts",
            Self::Mnt => "mnt",
        }
    }

    fn flag(self) -> CloneFlags {
        match self {
            Self::Net => CloneFlags::CLONE_NEWNET,
            Self::Uts => CloneFlags::CLONE_NEWUTS,
            Self::Mnt => CloneFlags::CLONE_NEWNS,
        }
    }
}

/// Runs `e2e pause`: returns when standard input closes, so that no pod outlives the lab that made it.
pub fn pause(args: &PauseArgs) -> Result<()> {
    nix::sys::prctl::set_name(c"pause")?;
    join_cgroups(&args.cgroup)?;
    let mut flags = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS;
    flags.set(CloneFlags::CLONE_NEWNET, args.own_netns);
    unshare(flags).context("cannot make namespaces")?;
    if let Some(hostname) = &args.hostname {
        nix::unistd::sethostname(hostname)?;
    }
    // Slave, as a container runtime has it: mounts of the node arrive here, ours do not leave.
    let none: Option<&Path> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none)
        .context("cannot make / a slave mount")?;
    for (source, target) in &args.bind {
        // A symbolic link would put the mount at the file it points to; a missing file cannot be mounted over.
        let target =
            fs::canonicalize(target).with_context(|| format!("no {} to mount over", target.display()))?;
        mount(Some(source), &target, none, MsFlags::MS_BIND, none)
            .with_context(|| format!("cannot bind {} to {}", source.display(), target.display()))?;
    }
    println!("{READY}");
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Runs `e2e enter`: never returns but with an error.
pub fn enter(args: &EnterArgs) -> Result<Infallible> {
    join_cgroups(&args.cgroup)?;
    if let Some(pid) = args.pid {
        // All are opened before any is joined: the mount namespace may show another /proc.
        let opened = args
            .namespaces
            .iter()
            .map(|kind| {
                let path = format!("/proc/{pid}/ns/{}", kind.name());
                Ok((*kind, File::open(&path).with_context(|| format!("cannot open {path}"))?))
            })
            .collect::<Result<Vec<_>>>()?;
        for (kind, file) in opened {
            setns(file, kind.flag()).with_context(|| format!("cannot join {} of {pid}", kind.name()))?;
        }
    }
    let (program, rest) = args.argv.split_first().context("no program")?;
    let error = Command::new(program).args(rest).exec();
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}

fn join_cgroups(directories: &[PathBuf]) -> Result<()> {
    for directory in directories {
        let procs = directory.join("cgroup.procs");
        // "0" is the writer itself, whichever PID namespace it is in.
        fs::write(&procs, "0").with_context(|| format!("cannot join {}", procs.display()))?;
    }
    Ok(())
}

fn parse_bind(text: &str) -> Result<(PathBuf, PathBuf), String> {
    let (source, target) = text.split_once(':').ok_or("expected SOURCE:TARGET")?;
    Ok((source.into(), target.into()))
}
