//! The programs that ask: dig, the C library's resolver in glibc and in musl, and raw sockets.
//!
//! Our own are C, since what they show is what the C library and the system calls do. They are built from the sources
//! in this binary at first use, and kept beside it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use nix::unistd::{AccessFlags, access};
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    names::content_hash,
    pod::Pod,
    process::{Output, Process, command, finish},
};
use crate::serve::LISTENING;

const SOURCES: &[(&str, &str)] = &[
    ("lookup.c", include_str!("../../clients/lookup.c")),
    ("sockets.c", include_str!("../../clients/sockets.c")),
    ("ask.c", include_str!("../../clients/ask.c")),
    ("stream.c", include_str!("../../clients/stream.c")),
    ("talk.c", include_str!("../../clients/talk.c")),
    ("offload.c", include_str!("../../clients/offload.c")),
    ("race.c", include_str!("../../clients/race.c")),
    ("pause.c", include_str!("../../clients/pause.c")),
    ("query.h", include_str!("../../clients/query.h")),
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
    /// Questions from one socket in one sendmmsg, and what the system calls said of each.
    Ask,
    /// Every way of sending and receiving over TCP.
    Stream,
    /// A TCP connection step by step.
    Talk,
    /// Several UDP messages in one call, and the server that answers them so.
    Offload,
    /// Several queries of one socket at the same moment from several CPUs.
    Race,
    /// Asks nothing: the program of containerd's sandbox image.
    Pause,
}

impl Client {
    pub const ALL: [Self; 9] = [
        Self::LookupGlibc,
        Self::LookupMusl,
        Self::Sockets,
        Self::Ask,
        Self::Stream,
        Self::Talk,
        Self::Offload,
        Self::Race,
        Self::Pause,
    ];

    /// The file name, which is also the process name (at most 15 bytes).
    pub fn name(self) -> &'static str {
        match self {
            Self::LookupGlibc => "lookup-glibc",
            Self::LookupMusl => "lookup-musl",
            Self::Sockets => "sockets",
            Self::Ask => "ask",
            Self::Stream => "stream",
            Self::Talk => "talk",
            Self::Offload => "offload",
            Self::Race => "race",
            Self::Pause => "pause",
        }
    }

    fn is_musl(self) -> bool {
        matches!(self, Self::LookupMusl | Self::Pause)
    }

    fn source(self) -> &'static str {
        match self {
            Self::LookupGlibc | Self::LookupMusl => "lookup.c",
            Self::Sockets => "sockets.c",
            Self::Ask => "ask.c",
            Self::Stream => "stream.c",
            Self::Talk => "talk.c",
            Self::Offload => "offload.c",
            Self::Race => "race.c",
            Self::Pause => "pause.c",
        }
    }
}

/// Where the built clients are.
#[derive(Debug)]
pub struct Clients {
    /// Beside this program, where whoever copies it to a VM puts them too; then where they are built: in a directory
    /// of their own beside it, so that the next run finds them, or should that be read-only, a temporary one.
    directories: [PathBuf; 3],
    /// Root directories below one of which Debian's package musl-dev is installed or unpacked.
    musl_roots: Vec<PathBuf>,
}

impl Clients {
    /// Builds nothing yet. Compiling takes half a minute under emulation: `e2e clients` does it outside, beforehand.
    pub fn new() -> Result<Self> {
        Self::with_musl_in(&[])
    }

    /// As [`Self::new`], with places where musl-dev may be unpacked should it not be installed.
    pub fn with_musl_in(unpacked: &[PathBuf]) -> Result<Self> {
        let texts: Vec<_> = SOURCES.iter().map(|(_, text)| *text).collect();
        let name = format!("e2e-clients-{}", content_hash(&texts));
        let program = std::env::current_exe().context("this program has no path")?;
        let beside = program.parent().context("this program has no directory")?;
        let directories = [beside.to_owned(), beside.join(&name), std::env::temp_dir().join(&name)];
        let musl_roots = [&[PathBuf::from("/")], unpacked].concat();
        Ok(Self { directories, musl_roots })
    }

    /// Where they may be, for a PATH.
    pub fn directories(&self) -> &[PathBuf] {
        &self.directories
    }

    /// The path of a client, built if it is not there yet.
    pub fn path(&self, client: Client) -> Result<PathBuf> {
        if let Some(path) =
            self.directories.iter().map(|dir| dir.join(client.name())).find(|path| path.exists())
        {
            return Ok(path);
        }
        let directory = self.directories[1..]
            .iter()
            .find(|dir| fs::create_dir_all(dir).is_ok() && access(*dir, AccessFlags::W_OK).is_ok())
            .context("no directory to build the clients in")?;
        self.build(client, directory)
    }

    fn build(&self, client: Client, directory: &Path) -> Result<PathBuf> {
        for (name, text) in SOURCES {
            fs::write(directory.join(name), text)?;
        }
        let path = directory.join(client.name());
        // Under another name first: two runs may build at once.
        let unfinished = directory.join(format!("{}.{}", client.name(), std::process::id()));
        let mut gcc = command("gcc");
        gcc.args(["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&unfinished);
        gcc.arg(directory.join(client.source()));
        if client.is_musl() {
            gcc.args(musl_arguments(&self.musl_roots)?);
        }
        finish(gcc, "")?.success()?;
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
        self.tally(Client::Sockets, pod, container, options)
    }

    /// Runs `stream` in a container with the options its source describes.
    pub fn stream(&self, pod: &Pod, container: &str, options: &[&str]) -> Result<SocketsTally> {
        self.tally(Client::Stream, pod, container, options)
    }

    /// Has `talk` take its steps in a container, as its source describes them.
    pub fn talk(&self, pod: &Pod, container: &str, args: &[&str]) -> Result<Talk> {
        self.tally(Client::Talk, pod, container, args)
    }

    /// Starts `talk` and leaves it running.
    pub fn start_talk(&self, pod: &Pod, container: &str, args: &[&str]) -> Result<Talking> {
        let path = self.path(Client::Talk)?;
        Ok(Talking(pod.spawn(container, &[&[path.to_str().context("no UTF-8")?], args].concat())?))
    }

    /// Has `offload` ask so many bursts in a container.
    pub fn offload(
        &self,
        pod: &Pod,
        container: &str,
        server: &str,
        tag: &str,
        bursts: u64,
    ) -> Result<OffloadTally> {
        let args = ["ask", server, "53", tag, &bursts.to_string()];
        self.tally(Client::Offload, pod, container, &args)
    }

    /// Starts the server of `offload` in a container.
    pub fn start_offload_server(&self, pod: &Pod, container: &str) -> Result<Process> {
        let path = self.path(Client::Offload)?;
        let mut process = pod.spawn(container, &[path.to_str().context("no UTF-8")?, "serve", "53"])?;
        let line = process.read_line()?;
        ensure!(line == LISTENING, "offload said {line:?}");
        Ok(process)
    }

    /// Runs `race` in a container with the options its source describes.
    pub fn race(&self, pod: &Pod, container: &str, options: &[&str]) -> Result<RaceTally> {
        self.tally(Client::Race, pod, container, options)
    }

    /// Runs a client to its end and reads the JSON line that it prints.
    fn tally<T: DeserializeOwned>(
        &self,
        client: Client,
        pod: &Pod,
        container: &str,
        args: &[&str],
    ) -> Result<T> {
        let path = self.path(client)?;
        let output = pod.exec(container, &[&[path.to_str().context("no UTF-8")?], args].concat())?;
        let output = output.success()?;
        serde_json::from_str(&output.stdout).with_context(|| format!("no tally in {:?}", output.stdout))
    }

    /// Runs `ask` in a container with the options and questions its source describes.
    pub fn ask(&self, pod: &Pod, container: &str, args: &[&str]) -> Result<AskRun> {
        self.start_ask(pod, container, args)?.result()
    }

    /// Starts `ask` and leaves it running.
    pub fn start_ask(&self, pod: &Pod, container: &str, args: &[&str]) -> Result<Asking> {
        let path = self.path(Client::Ask)?;
        Ok(Asking(pod.spawn(container, &[&[path.to_str().context("no UTF-8")?], args].concat())?))
    }
}

/// An `ask` that runs.
#[derive(Debug)]
pub struct Asking(Process);

impl Asking {
    /// Waits for its end and returns what it reported.
    pub fn result(self) -> Result<AskRun> {
        let output = self.0.wait()?.success()?;
        serde_json::from_str(&output.stdout).with_context(|| format!("no result in {:?}", output.stdout))
    }
}

/// A `talk` that runs.
#[derive(Debug)]
pub struct Talking(Process);

impl Talking {
    /// Waits until it has come to its next step `wait`.
    pub fn wait_until_ready(&mut self) -> Result<()> {
        let line = self.0.read_line()?;
        ensure!(line == "ready", "talk said {line:?}");
        Ok(())
    }

    /// Has it go on from its step `wait`.
    pub fn go_on(&mut self) -> Result<()> {
        self.0.write("\n")
    }

    /// Waits for its end and returns what it reported.
    pub fn result(self) -> Result<Talk> {
        let output = self.0.wait()?.success()?;
        serde_json::from_str(&output.stdout).with_context(|| format!("no result in {:?}", output.stdout))
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

/// What `sockets` or `stream` reported.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SocketsTally {
    pub pid: u32,
    pub tag: String,
    pub sent: u64,
    pub received: u64,
    /// Messages that answered nothing that was waited for.
    pub unexpected: u64,
    /// TCP connections.
    #[serde(default)]
    pub connections: u64,
    /// Calls of which the kernel took only a part.
    #[serde(default)]
    pub partial: u64,
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

/// What `offload` reported.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct OffloadTally {
    pub pid: u32,
    pub sent: u64,
    pub received: u64,
    /// Calls that received several messages.
    pub coalesced: u64,
}

/// What `race` reported.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RaceTally {
    pub pid: u32,
    pub sockets: u64,
    pub sent: u64,
    /// Queries that could not be sent.
    pub errors: u64,
    pub received: u64,
    /// Messages that answered nothing that was waited for.
    pub unexpected: u64,
}

/// What `ask` reported.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AskRun {
    pub pid: u32,
    /// The client's port.
    pub port: u16,
    pub questions: Vec<Asked>,
    /// The errno of each failed receiving, such as `ECONNREFUSED`.
    pub receive_errors: Vec<String>,
    /// Datagrams that answered nothing, or came from an address that was not asked.
    pub strangers: u64,
}

/// A question and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Asked {
    /// Without a final dot.
    pub name: String,
    #[serde(rename = "type")]
    pub kind: u16,
    pub id: u16,
    /// The errno of each sending, or none.
    pub sends: Vec<Option<String>>,
    /// The answer's, if there was one.
    pub rcode: Option<u8>,
}

impl AskRun {
    /// The question of this name.
    pub fn question(&self, name: &str) -> Result<&Asked> {
        let mut questions = self.questions.iter();
        questions.find(|question| question.name == name).with_context(|| format!("no {name} in {self:?}"))
    }

    /// How many questions were answered.
    pub fn answered(&self) -> usize {
        self.questions.iter().filter(|question| question.rcode.is_some()).count()
    }
}

/// What `talk` reported.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Talk {
    pub pid: u32,
    /// The client's port; 0 if there was no connection.
    pub port: u16,
    /// How many were sent.
    pub queries: u64,
    /// In the order they came.
    pub answers: Vec<TalkAnswer>,
    /// All that was received.
    pub bytes: u64,
    /// Those that were tried.
    pub steps: Vec<TalkStep>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct TalkAnswer {
    pub id: u16,
    pub rcode: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct TalkStep {
    pub step: String,
    pub error: Option<String>,
}

impl Talk {
    /// The error that ended it.
    pub fn error(&self) -> Option<&str> {
        self.steps.last()?.error.as_deref()
    }
}

/// What makes gcc build a static program with the musl below one of the roots, as Debian's musl-gcc does for `/`.
fn musl_arguments(roots: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let triple = format!("{}-linux-musl", std::env::consts::ARCH);
    let library = |root: &Path, file: &str| root.join("usr/lib").join(&triple).join(file);
    let root = roots.iter().find(|root| library(root, "libc.a").exists()).context("musl-dev is nowhere")?;
    Ok(vec![
        "-static".into(),
        "-no-pie".into(),
        "-nostdinc".into(),
        "-isystem".into(),
        root.join("usr/include").join(&triple),
        "-nostdlib".into(),
        library(root, "crt1.o"),
        library(root, "crti.o"),
        library(root, "libc.a"),
        "-lgcc".into(),
        library(root, "crtn.o"),
    ])
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
