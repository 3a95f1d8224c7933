//! The programs that ask: dig, the C library's resolver in glibc and in musl, and raw sockets.
//!
//! Our own are C, since what they show is what the C library and the system calls do. They are built from the sources
//! in this binary at first use, and kept beside it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde::Deserialize;

use super::{
    names::content_hash,
    pod::Pod,
    process::{Output, run},
};

const SOURCES: &[(&str, &str)] = &[
    ("lookup.c", include_str!("../../clients/lookup.c")),
    ("sockets.c", include_str!("../../clients/sockets.c")),
    ("pause.c", include_str!("../../clients/pause.c")),
    ("io_uring.h", include_str!("../../clients/io_uring.h")),
];

/// A client program of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// getaddrinfo of glibc: A and AAAA from one socket in one sendmmsg.
    LookupGlibc,
    /// getaddrinfo of musl, static: runs in an image without any file of its own.
    LookupMusl,
    /// Every way of sending and receiving a datagram.
    Sockets,
    /// Asks nothing: the program of containerd's sandbox image.
    Pause,
}

impl Client {
    pub const ALL: [Self; 4] = [Self::LookupGlibc, Self::LookupMusl, Self::Sockets, Self::Pause];

    /// The file name, which is also the process name (at most 15 bytes).
    pub fn name(self) -> &'static str {
        match self {
            Self::LookupGlibc => "lookup-glibc",
            Self::LookupMusl => "lookup-musl",
            Self::Sockets => "sockets",
            Self::Pause => "pause",
        }
    }

    fn compiler(self) -> &'static [&'static str] {
        match self {
            Self::LookupGlibc | Self::Sockets => &["gcc"],
            Self::LookupMusl | Self::Pause => &["musl-gcc", "-static"],
        }
    }

    fn source(self) -> &'static str {
        match self {
            Self::LookupGlibc | Self::LookupMusl => "lookup.c",
            Self::Sockets => "sockets.c",
            Self::Pause => "pause.c",
        }
    }
}

/// Where the built clients are.
#[derive(Debug)]
pub struct Clients {
    directory: PathBuf,
}

impl Clients {
    /// Finds a directory to build in: beside this program, so that the next run finds them, or where that is
    /// read-only, a temporary one.
    pub fn new() -> Result<Self> {
        let texts: Vec<_> = SOURCES.iter().map(|(_, text)| *text).collect();
        let name = format!("e2e-clients-{}", content_hash(&texts));
        let program = std::env::current_exe().context("this program has no path")?;
        let beside = program.parent().context("this program has no directory")?.join(&name);
        let directory = match write_sources(&beside) {
            Ok(()) => beside,
            Err(_) => {
                let temporary = std::env::temp_dir().join(&name);
                write_sources(&temporary).with_context(|| format!("cannot write {}", temporary.display()))?;
                temporary
            }
        };
        Ok(Self { directory })
    }

    /// Where they are, for a PATH.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The path of a client, built if it is not there yet.
    pub fn path(&self, client: Client) -> Result<PathBuf> {
        let path = self.directory.join(client.name());
        if path.exists() {
            return Ok(path);
        }
        // Under another name first: two runs may build at once.
        let unfinished = self.directory.join(format!("{}.{}", client.name(), std::process::id()));
        let source = self.directory.join(client.source());
        let paths = [&unfinished, &source].map(|path| path.to_str().context("a path that is no UTF-8"));
        let [output, source] = paths;
        let flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-o", output?, source?];
        run(&[client.compiler(), &flags].concat())?;
        fs::rename(&unfinished, &path)?;
        Ok(path)
    }

    /// Resolves names with a C library in a container; `client` is one of the two lookups.
    pub fn lookup(&self, pod: &Pod, container: &str, client: Client, names: &[&str]) -> Result<LookupRun> {
        let path = self.path(client)?;
        let output = pod.exec(container, &[&[path.to_str().context("no UTF-8")?], names].concat())?;
        LookupRun::parse(output)
    }

    /// Resolves `bulk-0.TAG.test.cluster.local.` to `bulk-(count-1)`: an A and an AAAA query each.
    pub fn lookup_bulk(
        &self,
        pod: &Pod,
        container: &str,
        client: Client,
        count: u64,
        tag: &str,
    ) -> Result<LookupRun> {
        self.lookup(pod, container, client, &["--bulk", &count.to_string(), tag])
    }

    /// Runs `sockets` in a container with the options its source describes.
    pub fn sockets(&self, pod: &Pod, container: &str, options: &[&str]) -> Result<SocketsTally> {
        let path = self.path(Client::Sockets)?;
        let output =
            pod.exec(container, &[&[path.to_str().context("no UTF-8")?], options].concat())?.success()?;
        serde_json::from_str(&output.stdout).with_context(|| format!("no tally in {:?}", output.stdout))
    }
}

/// Runs dig in a container.
pub fn dig(pod: &Pod, container: &str, args: &[&str]) -> Result<Output> {
    pod.exec(container, &[&["dig"], args].concat())
}

/// Has one dig ask one question after another; each line of `questions` is as on dig's command line.
pub fn dig_batch(pod: &Pod, container: &str, args: &[&str], questions: &[String]) -> Result<Output> {
    pod.exec_with_input(container, &[&["dig", "-f", "-"], args].concat(), &(questions.join("\n") + "\n"))
}

/// What a lookup client reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookupRun {
    pub tally: LookupTally,
    /// One for each name; none in bulk.
    pub names: Vec<LookupLine>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LookupTally {
    pub pid: u32,
    pub lookups: u64,
    pub resolved: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LookupLine {
    pub name: String,
    #[serde(default)]
    pub addresses: Vec<String>,
    pub error: Option<String>,
}

impl LookupRun {
    fn parse(output: Output) -> Result<Self> {
        let mut lines: Vec<_> = output.stdout.lines().collect();
        let parsed = || -> Result<Self> {
            let tally = serde_json::from_str(lines.pop().context("no output")?)?;
            let names = lines.into_iter().map(serde_json::from_str).collect::<Result<_, _>>()?;
            Ok(Self { tally, names })
        };
        parsed().with_context(|| {
            format!("{}: {}\n{}{}", output.command, output.status, output.stdout, output.stderr)
        })
    }
}

/// What the sockets client reported.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SocketsTally {
    pub pid: u32,
    pub tag: String,
    pub sent: u64,
    pub received: u64,
    /// Messages that answered nothing that was waited for.
    pub unexpected: u64,
    pub ways: Vec<Way>,
}

/// One way of sending and receiving.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Way {
    /// SEND-RECEIVE-SOCKET, or `bulk`.
    pub way: String,
    pub sent: u64,
    pub received: u64,
    pub errors: u64,
    /// The errno of the last failed call, such as `ENOSYS` where the kernel has no io_uring.
    pub error: Option<String>,
}

fn write_sources(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    for (name, text) in SOURCES {
        let path = directory.join(name);
        if !path.exists() {
            fs::write(&path, text)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_names_fit_a_process_name() {
        for client in Client::ALL {
            assert!(client.name().len() <= 15, "{}", client.name());
        }
    }
}
