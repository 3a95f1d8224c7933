//! Network namespaces, held by a process of their own, and the links between them.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use super::{
    enter::{Namespace, READY},
    process::{Process, command, finish, run_with_input},
};

/// What a namespace holder is given at its start.
#[derive(Debug, Default)]
pub struct HolderOptions<'a> {
    /// Cgroup directories to be in, one for each hierarchy.
    pub cgroup: &'a [PathBuf],
    /// Whether it stays in the node's network namespace, as a hostNetwork pod does.
    pub host_network: bool,
    /// Files of the node shown at another place: (source, target).
    pub bind: &'a [(&'a Path, &'a Path)],
    /// Host name; the node's where `None`.
    pub hostname: Option<&'a str>,
}

/// A process that keeps namespaces (and a cgroup) alive and does nothing else, like a pod's pause container.
/// Dropped, it ends, and with it the namespaces.
#[derive(Debug)]
pub struct Holder {
    process: Process,
    /// Whether its network namespace is the node's.
    host_network: bool,
}

impl Holder {
    /// Starts the holder and returns when its namespaces are ready.
    pub fn start(options: &HolderOptions) -> Result<Self> {
        let mut command = helper("pause")?;
        for directory in options.cgroup {
            command.arg("--cgroup").arg(directory);
        }
        if !options.host_network {
            command.arg("--own-netns");
        }
        for (source, target) in options.bind {
            command.arg("--bind").arg(format!("{}:{}", source.display(), target.display()));
        }
        if let Some(hostname) = options.hostname {
            command.args(["--hostname", hostname]);
        }
        let mut process = Process::start(command)?;
        let line = process.read_line()?;
        ensure!(line == READY, "the namespace holder said {line:?}");
        Ok(Self { process, host_network: options.host_network })
    }

    /// The holder's process id in the node's PID namespace.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The inode number of its network namespace: what the kernel calls `ns.inum`.
    pub fn netns_inode(&self) -> Result<u64> {
        netns_inode(self.pid())
    }

    /// A command that joins the cgroups and all of the holder's namespaces and becomes `argv`.
    pub fn command<S: AsRef<OsStr>>(&self, cgroup: &[PathBuf], argv: &[S]) -> Result<Command> {
        self.enter(cgroup, &self.namespaces(), argv)
    }

    /// The namespaces that its programs join: all it has of its own.
    pub fn namespaces(&self) -> Vec<Namespace> {
        let net = (!self.host_network).then_some(Namespace::Net);
        net.into_iter().chain([Namespace::Uts, Namespace::Mnt]).collect()
    }

    /// A command that joins only the network namespace, as `nsenter -n` and `ip netns exec` do: the files stay the node's.
    pub fn command_in_netns<S: AsRef<OsStr>>(&self, argv: &[S]) -> Result<Command> {
        self.enter(&[], &[Namespace::Net], argv)
    }

    /// Runs a program of the node in the network namespace, to its end. Its standard output, or an error.
    pub fn run(&self, argv: &[&str]) -> Result<String> {
        self.run_with_input(argv, "")
    }

    /// As [`Self::run`], with input.
    pub fn run_with_input(&self, argv: &[&str], input: &str) -> Result<String> {
        Ok(finish(self.command_in_netns(argv)?, input)?.success()?.stdout)
    }

    /// Runs a batch of `ip` commands in the network namespace, one a line, without the word `ip`.
    pub fn ip(&self, batch: &str) -> Result<()> {
        self.run_with_input(&["ip", "-batch", "-"], batch).map(drop)
    }

    /// Reads a file below `/proc/PID/net` of the namespace, such as `snmp` or `snmp6`.
    pub fn proc_net(&self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/net/{file}", self.pid());
        fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
    }

    fn enter<S: AsRef<OsStr>>(
        &self,
        cgroup: &[PathBuf],
        namespaces: &[Namespace],
        argv: &[S],
    ) -> Result<Command> {
        let mut command = helper("enter")?;
        for directory in cgroup {
            command.arg("--cgroup").arg(directory);
        }
        command.arg("--pid").arg(self.pid().to_string());
        for namespace in namespaces {
            command.args(["--namespace", namespace.name()]);
        }
        command.arg("--").args(argv);
        Ok(command)
    }
}

/// Runs a batch of `ip` commands on the node, one a line, without the word `ip`.
pub fn ip(batch: &str) -> Result<()> {
    run_with_input(&["ip", "-batch", "-"], batch).map(drop)
}

/// The inode number of a process's network namespace.
pub fn netns_inode(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/ns/net");
    Ok(fs::metadata(&path).with_context(|| format!("cannot stat {path}"))?.ino())
}

fn helper(subcommand: &str) -> Result<Command> {
    let mut command = command(std::env::current_exe().context("this program has no path")?);
    command.arg(subcommand);
    Ok(command)
}
