//! Answers that come to a socket too many, too late, or unread.

use anyhow::{Context, Result, ensure};

use super::Stage;
use crate::lab::{CLUSTER_DNS, clients::AskRun, counters::Snmp};

/// A burst of questions on a socket with a small receive buffer that is read too late.
pub const BURST: usize = 60;

/// Returns what the client got, and how many answers the kernel dropped.
pub fn overflow(stage: Stage) -> Result<(AskRun, usize)> {
    let before = Snmp::of(stage.pod().netns())?;
    let (copies, buffer) = (BURST.to_string(), "2304");
    let args = ["--copies", &copies, "--receive-buffer", buffer, "--linger-ms", "700", "--timeout-ms", "900"];
    let run = stage.ask(&args, &[("overflow", "A", CLUSTER_DNS)])?;
    let lost = Snmp::of(stage.pod().netns())?.since(&before, "Udp.RcvbufErrors")?;
    let lost = usize::try_from(lost).context("a counter ran backwards")?;
    ensure!(lost > 0 && run.answered() > 0 && run.answered() + lost == BURST, "{lost} lost: {run:?}");
    Ok((run, lost))
}

/// The client gives up and closes its socket before the answer comes.
pub fn answer_after_the_client_closed(stage: Stage) -> Result<AskRun> {
    let server = stage.servers("late", 1, &["--delay-ms", "1000"])?.remove(0);
    let before = Snmp::of(stage.pod().netns())?;
    let run = stage.ask(&["--timeout-ms", "300"], &[("answered-late", "A", server.pod.ip)])?;
    ensure!(run.answered() == 0, "{run:?}");
    // The server answers what it has taken in before it ends, but is told to end only when the answer has left.
    std::thread::sleep(std::time::Duration::from_millis(1200));
    ensure!(server.serve.stop()?.answers == 1);
    let after = Snmp::of(stage.pod().netns())?;
    ensure!(after.since(&before, "Udp.NoPorts")? == 1, "the late answer found a port");
    Ok(run)
}

/// The answer waits in the socket's buffer for at least so many milliseconds.
pub fn answer_waits(stage: Stage, linger_ms: u32) -> Result<AskRun> {
    let linger = linger_ms.to_string();
    let args = ["--linger-ms", &linger, "--timeout-ms", "5000"];
    let run = stage.ask(&args, &[("waits-in-buffer", "A", CLUSTER_DNS)])?;
    ensure!(run.answered() == 1, "{run:?}");
    Ok(run)
}

/// The answer is in the socket's buffer when the client closes the socket without having read it.
pub fn answer_is_never_read(stage: Stage) -> Result<AskRun> {
    let run = stage.ask(&["--unread", "--timeout-ms", "5000"], &[("never-read", "A", CLUSTER_DNS)])?;
    ensure!(run.answered() == 0, "{run:?}");
    Ok(run)
}
