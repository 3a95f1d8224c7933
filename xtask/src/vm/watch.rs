//! Waits for a running VM's verdict, and tells the ways in which it can fail to give one.

use std::{
    fs,
    io::{BufRead as _, BufReader, PipeReader, Read, Write},
    path::PathBuf,
    process::Child,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::kernel_log::{self, KernelFault};

/// How long a VM may take to end after its verdict.
const GRACE: Duration = Duration::from_secs(10);
/// How many lines of the kernel's log a failure shows.
const TAIL: usize = 40;

/// A VM that did what it was started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finished {
    /// Of the command; 128 and the signal's number if a signal ended it.
    pub exit_code: u8,
    /// From the start of QEMU to the start of the command.
    pub boot: Duration,
}

/// A VM whose command's result is unknown or not to be trusted.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("the VM did not end within {} s\n{log}", timeout.as_secs())]
    Stalled { timeout: Duration, log: String },
    #[error("the VM ended without a verdict\n{log}")]
    NoVerdict { log: String },
    #[error("{fault}\n{log}")]
    Kernel { fault: KernelFault, log: String },
    #[error("nobody reads the output of the VM any more")]
    OutputClosed,
    #[error("QEMU could not run: {0}")]
    Qemu(String),
    #[error("cannot watch the VM: {0}")]
    Io(#[from] std::io::Error),
}

/// What the VM says on its verdict port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// The command is about to start.
    Booted,
    /// The command ended with this code.
    Exit(u8),
}

impl Message {
    fn parse(line: &str) -> Option<Self> {
        match line.trim().split_once(' ')? {
            ("booted", _) => Some(Self::Booted),
            ("exit", code) => code.parse().ok().map(Self::Exit),
            _ => None,
        }
    }
}

/// What happened to a running VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Said(Message),
    /// It has closed its verdict port: QEMU is gone.
    Ended,
    /// Nobody reads the command's output any more, as in `cargo xtask vm ... | head`.
    OutputClosed,
}

/// Where a run's logs are.
#[derive(Debug)]
pub struct Logs {
    pub kernel: PathBuf,
    /// QEMU's own complaints.
    pub qemu: PathBuf,
}

/// Copies the command's output as it comes, until it ends or cannot be written.
pub fn relay(
    mut from: impl Read + Send + 'static,
    mut to: impl Write + Send + 'static,
    events: Sender<Event>,
) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            if to.write_all(&buffer[..length]).and_then(|()| to.flush()).is_err() {
                // Whether anybody still listens for events is no concern of a relay's.
                let _ = events.send(Event::OutputClosed);
                return;
            }
        }
    })
}

/// Reports what the VM says on its verdict port.
pub fn listen(verdict: PipeReader, events: Sender<Event>) {
    thread::spawn(move || {
        let lines = BufReader::new(verdict).lines().map_while(Result::ok);
        for message in lines.filter_map(|line| Message::parse(&line)) {
            let _ = events.send(Event::Said(message));
        }
        let _ = events.send(Event::Ended);
    });
}

/// Waits for the end of `qemu`, and ends it where it does not end by itself.
pub fn watch(
    mut qemu: Child,
    events: &Receiver<Event>,
    timeout: Duration,
    logs: &Logs,
) -> Result<Finished, Failure> {
    let end = wait_for_end(events, Instant::now(), timeout);
    let may_end_by_itself = matches!(end, End::Exit { .. } | End::NoVerdict);
    if !(may_end_by_itself && wait(&mut qemu, GRACE)?) {
        qemu.kill()?;
        qemu.wait()?;
    }
    let log = String::from_utf8_lossy(&fs::read(&logs.kernel).unwrap_or_default()).into_owned();
    if log.is_empty() {
        let said = fs::read_to_string(&logs.qemu).unwrap_or_default();
        return Err(Failure::Qemu(said.trim().to_owned()));
    }
    judge(end, timeout, &log)
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Exit { exit_code: u8, boot: Duration },
    NoVerdict,
    Timeout,
    OutputClosed,
}

fn wait_for_end(events: &Receiver<Event>, start: Instant, timeout: Duration) -> End {
    let mut boot = Duration::ZERO;
    loop {
        match events.recv_timeout(timeout.saturating_sub(start.elapsed())) {
            Ok(Event::Said(Message::Booted)) => boot = start.elapsed(),
            Ok(Event::Said(Message::Exit(exit_code))) => return End::Exit { exit_code, boot },
            Ok(Event::OutputClosed) => return End::OutputClosed,
            Ok(Event::Ended) | Err(RecvTimeoutError::Disconnected) => return End::NoVerdict,
            Err(RecvTimeoutError::Timeout) => return End::Timeout,
        }
    }
}

fn judge(end: End, timeout: Duration, log: &str) -> Result<Finished, Failure> {
    let tail = || {
        let lines = kernel_log::tail(log, TAIL);
        format!("the last lines of the kernel's log (all of it: .cache/vm/kernel.log):\n{lines}")
    };
    if let Some(fault) = kernel_log::worst_fault(log) {
        return Err(Failure::Kernel { fault, log: tail() });
    }
    match end {
        End::Exit { exit_code, boot } => Ok(Finished { exit_code, boot }),
        End::NoVerdict => Err(Failure::NoVerdict { log: tail() }),
        End::Timeout => Err(Failure::Stalled { timeout, log: tail() }),
        End::OutputClosed => Err(Failure::OutputClosed),
    }
}

/// Whether `child` ended within `limit`.
fn wait(child: &mut Child, limit: Duration) -> Result<bool, std::io::Error> {
    let start = Instant::now();
    while start.elapsed() < limit {
        if child.try_wait()?.is_some() {
            return Ok(true);
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const HEALTHY: &str = "[    0.0] Linux version 6.1\n[    1.0] Run /init as init process\n";
    const TIMEOUT: Duration = Duration::from_secs(5);

    fn exit(exit_code: u8) -> End {
        End::Exit { exit_code, boot: Duration::from_secs(2) }
    }

    #[test]
    fn verdict_lines() {
        assert_eq!(Message::parse("booted 2.31\n"), Some(Message::Booted));
        assert_eq!(Message::parse("exit 137"), Some(Message::Exit(137)));
        for line in ["exit", "exit 256", "exit -1", "exit ", "", "hello world"] {
            assert_eq!(Message::parse(line), None, "{line:?}");
        }
    }

    #[test]
    fn exit_code_is_the_commands_own() {
        let finished = judge(exit(3), TIMEOUT, HEALTHY);
        assert_eq!(finished.ok().map(|finished| finished.exit_code), Some(3));
    }

    #[test]
    fn no_verdict_and_no_end_are_told_apart() {
        let message = |end| judge(end, TIMEOUT, HEALTHY).map_err(|failure| failure.to_string());
        assert!(
            message(End::NoVerdict).is_err_and(|text| text.starts_with("the VM ended without a verdict\n"))
        );
        assert!(message(End::Timeout).is_err_and(|text| text.starts_with("the VM did not end within 5 s\n")));
    }

    #[test]
    fn end_of_the_output_or_of_the_vm_ends_the_run() {
        let end_after = |events: &[Event]| {
            let (sender, receiver) = mpsc::channel();
            events.iter().for_each(|event| sender.send(*event).expect("the receiver is there"));
            match wait_for_end(&receiver, Instant::now(), TIMEOUT) {
                End::Exit { exit_code, .. } => End::Exit { exit_code, boot: Duration::ZERO },
                end => end,
            }
        };
        let booted = Event::Said(Message::Booted);
        let exit = Event::Said(Message::Exit(7));
        assert_eq!(
            end_after(&[booted, exit, Event::Ended]),
            End::Exit { exit_code: 7, boot: Duration::ZERO }
        );
        assert_eq!(end_after(&[booted, Event::Ended]), End::NoVerdict);
        assert_eq!(end_after(&[Event::OutputClosed, exit]), End::OutputClosed);
    }

    #[test]
    fn sick_kernel_overrules_a_good_exit_code() {
        let log = format!("{HEALTHY}[    2.0] WARNING: CPU: 0 PID: 1 at kernel/x.c:1\n");
        let message = judge(exit(0), TIMEOUT, &log).map_err(|failure| failure.to_string());
        assert!(
            message
                .is_err_and(|text| text.starts_with("the kernel gave a WARNING: WARNING: CPU: 0 PID: 1 at"))
        );
    }
}
