//! Running programs: to their end, or beside the test until it is done with them.

use std::{
    ffi::OsStr,
    fs::File,
    io::{Read, Write},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
};

use anyhow::{Context, Result, bail};

/// Debian keeps `ip`, `iptables-nft` and `unbound` in sbin, which a bare init's PATH may lack.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A command whose program is found in the sbin directories too, after the caller's own PATH.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    let path = std::env::var("PATH").map_or_else(|_| PATH.to_owned(), |own| format!("{own}:{PATH}"));
    command.env("PATH", path);
    command
}

/// Runs a program to its end and returns its standard output; failing is an error that holds its standard error.
pub fn run(argv: &[&str]) -> Result<String> {
    run_with_input(argv, "")
}

/// As [`run`], with `input` on the program's standard input.
pub fn run_with_input(argv: &[&str], input: &str) -> Result<String> {
    let (program, args) = argv.split_first().context("an empty command line")?;
    let mut command = command(program);
    command.args(args);
    Ok(finish(command, input)?.success()?.stdout)
}

/// How a program ended, and what it said.
#[derive(Debug)]
pub struct Output {
    /// The process id in the node's PID namespace, as a tracer on the node sees it.
    pub pid: u32,
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    /// The command line, for messages.
    pub command: String,
}

impl Output {
    /// The output if the program exited with 0, else an error that holds what it said.
    pub fn success(self) -> Result<Self> {
        if !self.status.success() {
            bail!("{}: {}\n{}{}", self.command, self.status, self.stdout, self.stderr);
        }
        Ok(self)
    }
}

/// Runs a prepared command to its end with `input` on its standard input.
pub fn finish(command: Command, input: &str) -> Result<Output> {
    let mut process = Process::start(command)?;
    process.write_and_close(input)?;
    process.wait()
}

/// A program that runs beside the test. Dropped, it is killed.
#[derive(Debug)]
pub struct Process {
    child: Child,
    command: String,
}

impl Process {
    /// Starts the command with all three standard streams as pipes.
    pub fn start(mut command: Command) -> Result<Self> {
        let line = shown(&command);
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {line}"))?;
        Ok(Self { child, command: line })
    }

    /// Starts the command with its output going to a file: for a server whose pipes nobody would empty.
    pub fn start_logging(mut command: Command, log: File) -> Result<Self> {
        let line = shown(&command);
        let child = command
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {line}"))?;
        Ok(Self { child, command: line })
    }

    /// The process id in the node's PID namespace.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether the program still runs.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Reads one line of the program's standard output; an error if the program ends before it.
    pub fn read_line(&mut self) -> Result<String> {
        // Unbuffered on purpose: what follows the line must stay in the pipe for `wait`.
        let stdout = self.child.stdout.as_mut().context("standard output was not kept")?;
        let mut line = Vec::new();
        let mut byte = [0];
        while stdout.read(&mut byte)? == 1 {
            if byte == *b"\n" {
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            line.extend(byte);
        }
        let mut stderr = String::new();
        if let Some(mut pipe) = self.child.stderr.take() {
            pipe.read_to_string(&mut stderr)?;
        }
        bail!("{} ended early: {stderr}", self.command)
    }

    /// Writes to the program's standard input and leaves it open.
    pub fn write(&mut self, text: &str) -> Result<()> {
        let stdin = self.child.stdin.as_mut().context("standard input is closed")?;
        stdin.write_all(text.as_bytes()).with_context(|| format!("cannot write to {}", self.command))
    }

    /// Sends a signal, for instance `SIGTERM` to ask for an orderly end.
    pub fn signal(&self, signal: nix::sys::signal::Signal) -> Result<()> {
        let pid = nix::unistd::Pid::from_raw(self.pid().cast_signed());
        nix::sys::signal::kill(pid, signal).with_context(|| format!("cannot signal {}", self.command))
    }

    /// Closes the program's standard input and returns what it printed until it ended.
    pub fn wait(mut self) -> Result<Output> {
        drop(self.child.stdin.take());
        // Both pipes are emptied at once: a program blocked on a full one would never end.
        let stderr = self.child.stderr.take().map(|pipe| thread::spawn(move || read_all(pipe)));
        let stdout = self.child.stdout.take().map(read_all).transpose()?.unwrap_or_default();
        let stderr = match stderr {
            Some(reader) => reader.join().ok().context("the reader of standard error died")??,
            None => String::new(),
        };
        let status = self.child.wait()?;
        Ok(Output { pid: self.pid(), status, stdout, stderr, command: std::mem::take(&mut self.command) })
    }

    fn write_and_close(&mut self, input: &str) -> Result<()> {
        let Some(mut stdin) = self.child.stdin.take() else { return Ok(()) };
        match stdin.write_all(input.as_bytes()) {
            // The program refused its input; its exit status and standard error tell why.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            other => other.with_context(|| format!("cannot write to {}", self.command)),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_all(mut pipe: impl Read) -> Result<String> {
    let mut bytes = Vec::new();
    pipe.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn shown(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}
