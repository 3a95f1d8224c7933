//! Waits for a running VM's verdict, and tells the ways in which it can fail to give one.

use std::{
    fs,
    io::{BufRead as _, BufReader, PipeReader},
    path::Path,
    process::Child,
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
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
    #[error("QEMU could not run: {0}")]
    Qemu(String),
    #[error("cannot watch the VM: {0}")]
    Io(#[from] std::io::Error),
}

/// What the VM says on its verdict port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Message {
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

/// Waits for the end of `qemu`, and ends it where it does not end by itself.
pub fn watch(
    mut qemu: Child,
    verdict: PipeReader,
    timeout: Duration,
    kernel_log: &Path,
    qemu_log: &Path,
) -> Result<Finished, Failure> {
    let start = Instant::now();
    let heard = listen(&receiver(verdict), start, timeout);
    let ended_by_itself = heard != Heard::Timeout && wait(&mut qemu, GRACE)?;
    if !ended_by_itself {
        qemu.kill()?;
        qemu.wait()?;
    }
    let log = String::from_utf8_lossy(&fs::read(kernel_log).unwrap_or_default()).into_owned();
    if log.is_empty() {
        let said = fs::read_to_string(qemu_log).unwrap_or_default();
        return Err(Failure::Qemu(said.trim().to_owned()));
    }
    judge(heard, timeout, &log)
}

/// All that was heard until the VM closed its verdict port or time was up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    Exit { exit_code: u8, boot: Duration },
    Nothing,
    Timeout,
}

fn judge(heard: Heard, timeout: Duration, log: &str) -> Result<Finished, Failure> {
    let tail = || {
        let lines = kernel_log::tail(log, TAIL);
        format!("the last lines of the kernel's log (all of it: .cache/vm/kernel.log):\n{lines}")
    };
    if let Some(fault) = kernel_log::worst_fault(log) {
        return Err(Failure::Kernel { fault, log: tail() });
    }
    match heard {
        Heard::Exit { exit_code, boot } => Ok(Finished { exit_code, boot }),
        Heard::Nothing => Err(Failure::NoVerdict { log: tail() }),
        Heard::Timeout => Err(Failure::Stalled { timeout, log: tail() }),
    }
}

fn receiver(verdict: PipeReader) -> Receiver<Message> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let lines = BufReader::new(verdict).lines().map_while(Result::ok);
        for message in lines.filter_map(|line| Message::parse(&line)) {
            if sender.send(message).is_err() {
                return;
            }
        }
    });
    receiver
}

fn listen(messages: &Receiver<Message>, start: Instant, timeout: Duration) -> Heard {
    let mut boot = Duration::ZERO;
    loop {
        match messages.recv_timeout(timeout.saturating_sub(start.elapsed())) {
            Ok(Message::Booted) => boot = start.elapsed(),
            Ok(Message::Exit(exit_code)) => return Heard::Exit { exit_code, boot },
            Err(RecvTimeoutError::Disconnected) => return Heard::Nothing,
            Err(RecvTimeoutError::Timeout) => return Heard::Timeout,
        }
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
    use super::*;

    const HEALTHY: &str = "[    0.0] Linux version 6.1\n[    1.0] Run /init as init process\n";
    const TIMEOUT: Duration = Duration::from_secs(5);

    fn exit(exit_code: u8) -> Heard {
        Heard::Exit { exit_code, boot: Duration::from_secs(2) }
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
        let message = |heard| judge(heard, TIMEOUT, HEALTHY).map_err(|failure| failure.to_string());
        assert!(
            message(Heard::Nothing).is_err_and(|text| text.starts_with("the VM ended without a verdict\n"))
        );
        assert!(
            message(Heard::Timeout).is_err_and(|text| text.starts_with("the VM did not end within 5 s\n"))
        );
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
