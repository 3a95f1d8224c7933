//! The live kernel as a source.

use std::{env, io, sync::Arc, time::Duration};

use tokio::time;

use crate::{
    capture::{Capture, ring::Ring},
    event::{Event, KernelTime, Loss},
};

use super::order::Order;

/// How long an event is held back for an earlier one that another CPU has yet to write.
const WINDOW_NS: u64 = 50_000_000;
/// How often time moves on where no event does it.
const TICK: Duration = Duration::from_millis(50);

/// The attached programs, their ring, and the order of what it yields.
pub struct Live {
    pub capture: Capture,
    ring: Ring,
    order: Order<Event>,
    batch: Vec<Event>,
    lost: Lost,
}

/// Records that did not fit into the ring, as last asked.
#[derive(Debug)]
struct Lost {
    records: u64,
    asked: KernelTime,
}

/// What a source yields at a time.
#[derive(Debug)]
pub struct Batch {
    /// In the order of their time.
    pub events: Vec<Event>,
    /// Event time has come to here: nothing earlier is to be expected any more.
    pub until: KernelTime,
}

impl Live {
    pub fn new(capture: Capture, ring: Ring) -> Self {
        let lost = Lost { records: 0, asked: monotonic_now() };
        Self { capture, ring, order: Order::default(), batch: Vec::new(), lost }
    }

    /// Waits for events or a tick. Returns those that are due and the time up to which that is all.
    ///
    /// Cancel-safe: an event that was read stays here until it is returned.
    ///
    /// # Errors
    /// If the ring cannot be waited for.
    pub async fn next(&mut self) -> io::Result<Batch> {
        // A tick without events is no error: time has passed, that is all.
        if let Ok(read) = time::timeout(TICK, self.ring.read(&mut self.batch)).await {
            read?;
        }
        self.capture.flush_diagnostics();
        self.ask_for_losses();
        let until = KernelTime(monotonic_now().0.saturating_sub(WINDOW_NS));
        Ok(Batch { events: self.release(until), until })
    }

    /// Everything that is still there, at the end of the trace, and the time of the end.
    pub fn finish(&mut self) -> Batch {
        let now = monotonic_now();
        self.ring.drain(&mut self.batch);
        self.ask_for_losses();
        Batch { events: self.release(KernelTime(u64::MAX)), until: now }
    }

    /// Makes an event of records that were lost since the last time. Should the map not be readable, the summary, which
    /// reads it again, says so.
    fn ask_for_losses(&mut self) {
        // Before the count: a loss between the two is counted now and lies in the window that begins here.
        let asked = monotonic_now();
        let Ok(records) = self.capture.lost() else { return };
        if records > self.lost.records {
            let events = records - self.lost.records;
            self.batch.push(Event::Loss(Loss { since: self.lost.asked, time: monotonic_now(), events }));
        }
        self.lost = Lost { records, asked };
    }

    /// Events that came too late to be put in order, and records that could not be decoded.
    pub fn faults(&self) -> (u64, u64) {
        (self.order.late(), self.ring.undecoded().0)
    }

    fn release(&mut self, until: KernelTime) -> Vec<Event> {
        for event in self.batch.drain(..) {
            self.order.push(event.time(), event);
        }
        std::iter::from_fn(|| self.order.pop(until)).map(|(_, event)| event).collect()
    }
}

/// `CLOCK_MONOTONIC` now: the clock of `bpf_ktime_get_ns`.
pub fn monotonic_now() -> KernelTime {
    KernelTime(nanoseconds(libc::CLOCK_MONOTONIC))
}

/// `CLOCK_REALTIME` minus `CLOCK_MONOTONIC` now, in nanoseconds.
pub fn wall_clock_offset() -> i64 {
    let before = nanoseconds(libc::CLOCK_MONOTONIC);
    let wall = nanoseconds(libc::CLOCK_REALTIME);
    let after = nanoseconds(libc::CLOCK_MONOTONIC);
    let monotonic = before + (after - before) / 2;
    i64::try_from(wall).unwrap_or(i64::MAX).saturating_sub(i64::try_from(monotonic).unwrap_or(i64::MAX))
}

/// What the node is called: by the environment variable `NODE_NAME`, which a DaemonSet sets from `spec.nodeName`, else by its
/// host name.
pub fn node_name() -> Option<Arc<str>> {
    let told = env::var("NODE_NAME").ok().filter(|name| !name.is_empty());
    let name = told.or_else(|| nix::unistd::gethostname().ok()?.into_string().ok())?;
    Some(name.into())
}

fn nanoseconds(clock: libc::clockid_t) -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid pointer to a timespec; both clocks exist on every Linux, so the call cannot fail.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}
