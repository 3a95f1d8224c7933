//! Waits for a running VM's verdict, and tells the ways in which it can fail to give one.

use std::{
    fs,
    io::{BufRead as _, BufReader, PipeReader, Read, Write},
    path::{Path, PathBuf},
    process::Child,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::kernel_log::{self, FaultKind, KernelFault};

/// How long a VM may take to start its command. It takes 5 to 15 s, by how busy the machine is.
const BOOT_LIMIT: Duration = Duration::from_secs(120);
/// How long a VM may take to end after its verdict.
const GRACE: Duration = Duration::from_secs(10);
/// How many lines of the kernel's log a failure shows.
const TAIL: usize = 40;

/// A VM whose command's result is unknown or not to be trusted.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("the VM did not boot within {} s\n{log}", limit.as_secs())]
    NoBoot { limit: Duration, log: String },
    #[error("the command in the VM did not end within {} s\n{log}", limit.as_secs())]
    Stalled { limit: Duration, log: String },
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

impl Failure {
    /// Whether it is a known fault of the emulator with a thread for each CPU: see
    /// [`crate::args::EmulationThreads::Multi`]. With one thread it has never been seen.
    pub fn is_stale_breakpoint(&self) -> bool {
        matches!(self, Self::Kernel { fault, .. } if fault.kind == FaultKind::StaleBreakpoint)
    }
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

/// Waits for the end of `qemu`, and ends it where it does not end by itself. Returns the exit code of the command:
/// 128 and the signal's number if a signal ended it. The command may take as long as `limit`.
pub fn watch(mut qemu: Child, events: &Receiver<Event>, limit: Duration, logs: &Logs) -> Result<u8, Failure> {
    let end = wait_for_end(events, BOOT_LIMIT, limit);
    let may_end_by_itself = matches!(end, End::Exit(_) | End::NoVerdict);
    if !(may_end_by_itself && wait(&mut qemu, GRACE)?) {
        qemu.kill()?;
        qemu.wait()?;
    }
    let log = String::from_utf8_lossy(&fs::read(&logs.kernel).unwrap_or_default()).into_owned();
    if log.is_empty() {
        let said = fs::read_to_string(&logs.qemu).unwrap_or_default();
        return Err(Failure::Qemu(said.trim().to_owned()));
    }
    judge(end, limit, &log, &logs.kernel)
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Exit(u8),
    NoVerdict,
    NoBoot,
    Stalled,
    OutputClosed,
}

fn wait_for_end(events: &Receiver<Event>, boot_limit: Duration, limit: Duration) -> End {
    let mut deadline = Instant::now() + boot_limit;
    let mut at_deadline = End::NoBoot;
    loop {
        match events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Event::Said(Message::Booted)) => {
                deadline = Instant::now() + limit;
                at_deadline = End::Stalled;
            }
            Ok(Event::Said(Message::Exit(code))) => return End::Exit(code),
            Ok(Event::OutputClosed) => return End::OutputClosed,
            Ok(Event::Ended) | Err(RecvTimeoutError::Disconnected) => return End::NoVerdict,
            Err(RecvTimeoutError::Timeout) => return at_deadline,
        }
    }
}

/// Judges by the kernel's log, too, which is in the file `path`.
fn judge(end: End, limit: Duration, log: &str, path: &Path) -> Result<u8, Failure> {
    let tail = || {
        let lines = kernel_log::tail(log, TAIL);
        format!("the last lines of the kernel's log (all of it: {}):\n{lines}", path.display())
    };
    if let Some(fault) = kernel_log::worst_fault(log) {
        return Err(Failure::Kernel { fault, log: tail() });
    }
    match end {
        End::Exit(code) => Ok(code),
        End::NoVerdict => Err(Failure::NoVerdict { log: tail() }),
        End::NoBoot => Err(Failure::NoBoot { limit: BOOT_LIMIT, log: tail() }),
        End::Stalled => Err(Failure::Stalled { limit, log: tail() }),
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
    const LIMIT: Duration = Duration::from_secs(5);

    fn judged(end: End, log: &str) -> Result<u8, Failure> {
        judge(end, LIMIT, log, Path::new("slot/kernel.log"))
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
        assert_eq!(judged(End::Exit(3), HEALTHY).ok(), Some(3));
    }

    #[test]
    fn failure_says_where_all_of_the_log_is() {
        let message = judged(End::NoVerdict, HEALTHY).map_err(|failure| failure.to_string());
        assert!(message.is_err_and(|text| text.contains("(all of it: slot/kernel.log):\n[    0.0] Linux")));
    }

    #[test]
    fn failures_are_told_apart() {
        let cases = [
            (End::NoVerdict, "the VM ended without a verdict\n"),
            (End::NoBoot, "the VM did not boot within 120 s\n"),
            (End::Stalled, "the command in the VM did not end within 5 s\n"),
        ];
        for (end, expected) in cases {
            let message = judged(end, HEALTHY).map_err(|failure| failure.to_string());
            assert!(message.as_ref().is_err_and(|text| text.starts_with(expected)), "{end:?}: {message:?}");
        }
    }

    #[test]
    fn emulators_fault_is_told_from_the_kernels() {
        let with = |line: &str| judged(End::NoVerdict, &format!("{HEALTHY}[    2.0] {line}\n"));
        let is_emulators = |line| with(line).is_err_and(|failure| failure.is_stale_breakpoint());
        assert!(is_emulators("Oops: int3: 0000 [#1] PREEMPT SMP NOPTI"));
        assert!(!is_emulators("Oops: 0000 [#1] PREEMPT SMP NOPTI"));
        assert!(!is_emulators("Kernel panic - not syncing: Fatal exception in interrupt"));
    }

    #[test]
    fn run_ends_by_what_comes_first() {
        let end_after = |events: &[Event], boot_limit, limit| {
            let (sender, receiver) = mpsc::channel();
            events.iter().for_each(|event| sender.send(*event).expect("the receiver is there"));
            wait_for_end(&receiver, boot_limit, limit)
        };
        let booted = Event::Said(Message::Booted);
        let exit = Event::Said(Message::Exit(7));
        let long = Duration::from_secs(3600);
        assert_eq!(end_after(&[booted, exit, Event::Ended], long, long), End::Exit(7));
        assert_eq!(end_after(&[booted, Event::Ended], long, long), End::NoVerdict);
        assert_eq!(end_after(&[Event::OutputClosed, exit], long, long), End::OutputClosed);
    }

    #[test]
    fn silence_before_and_after_the_boot() {
        let (sender, receiver) = mpsc::channel();
        assert_eq!(wait_for_end(&receiver, Duration::ZERO, Duration::from_secs(3600)), End::NoBoot);
        sender.send(Event::Said(Message::Booted)).expect("the receiver is there");
        assert_eq!(wait_for_end(&receiver, Duration::from_secs(3600), Duration::ZERO), End::Stalled);
    }

    #[test]
    fn sick_kernel_overrules_a_good_exit_code() {
        let log = format!("{HEALTHY}[    2.0] WARNING: CPU: 0 PID: 1 at kernel/x.c:1\n");
        let message = judged(End::Exit(0), &log).map_err(|failure| failure.to_string());
        assert!(
            message
                .is_err_and(|text| text.starts_with("the kernel gave a WARNING: WARNING: CPU: 0 PID: 1 at"))
        );
    }
}
