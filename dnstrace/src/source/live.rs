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
    horizon: Horizon,
    lost: Lost,
}

/// Up to when everything has been read. Behind the clock by [`WINDOW_NS`]; and where more is written than can be read, no
/// further than what was read: what waits in the ring may be the answer that a query waits for.
#[derive(Debug, Default)]
struct Horizon {
    newest: KernelTime,
    until: KernelTime,
}

impl Horizon {
    /// After a look into the ring that began at `asked`, emptied it or did not, and found these events. Never goes back.
    fn move_on(&mut self, asked: KernelTime, is_empty: bool, found: &[Event]) -> KernelTime {
        self.newest = found.iter().map(Event::time).fold(self.newest, KernelTime::max);
        let known = if is_empty { asked } else { self.newest.min(asked) };
        self.until = self.until.max(KernelTime(known.0.saturating_sub(WINDOW_NS)));
        self.until
    }
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
        Self { capture, ring, order: Order::default(), batch: Vec::new(), horizon: Horizon::default(), lost }
    }

    /// Waits for events or a tick. Returns those that are due and the time up to which that is all.
    ///
    /// Cancel-safe: an event that was read stays here until it is returned.
    ///
    /// # Errors
    /// If the ring cannot be waited for.
    pub async fn next(&mut self) -> io::Result<Batch> {
        // What happened before is in the ring by now.
        let asked = monotonic_now();
        // A tick without events is no error: time has passed, that is all.
        let is_empty = match time::timeout(TICK, self.ring.read(&mut self.batch)).await {
            Ok(read) => read?,
            Err(_) => true,
        };
        let until = self.horizon.move_on(asked, is_empty, &self.batch);
        self.capture.flush_diagnostics();
        self.ask_for_losses();
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
    measured_offset().0
}

/// By how many nanoseconds the wall clock has been set since it was ahead of `CLOCK_MONOTONIC` by `offset`; none if it has not.
/// (NTP mostly corrects the pace of both: that sets neither.)
pub fn wall_clock_set(offset: i64) -> Option<i64> {
    /// Less is not told: nobody reads it off a clock.
    const LEAST: u64 = 10_000_000;
    let (now, error) = measured_offset();
    let by = now.saturating_sub(offset);
    (by.unsigned_abs() > error.saturating_add(LEAST)).then_some(by)
}

/// The offset, and how far that may be off: as long as this thread was kept from reading the clocks one after the other.
fn measured_offset() -> (i64, u64) {
    let before = nanoseconds(libc::CLOCK_MONOTONIC);
    let wall = nanoseconds(libc::CLOCK_REALTIME);
    let after = nanoseconds(libc::CLOCK_MONOTONIC);
    let error = (after - before) / 2;
    let monotonic = i64::try_from(before + error).unwrap_or(i64::MAX);
    (i64::try_from(wall).unwrap_or(i64::MAX).saturating_sub(monotonic), error)
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

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn module(at: u64) -> Event {
        Event::Module { time: KernelTime(at * MS), name: String::new() }
    }

    #[test]
    fn time_goes_no_further_than_what_was_read() {
        let mut horizon = Horizon::default();
        let mut at = |asked: u64, is_empty, found: &[u64]| {
            let found: Vec<_> = found.iter().map(|time| module(*time)).collect();
            horizon.move_on(KernelTime(asked * MS), is_empty, &found).0 / MS
        };
        assert_eq!(at(1_000, true, &[990]), 950);
        // Behind by ten seconds: what is read next may be from then.
        assert_eq!(at(12_000, false, &[1_900, 2_000]), 1_950);
        assert_eq!(at(12_100, false, &[1_980]), 1_950);
        assert_eq!(at(12_200, true, &[12_150]), 12_150);
        // Nothing new, and nothing goes back.
        assert_eq!(at(12_199, true, &[]), 12_150);
    }
}
