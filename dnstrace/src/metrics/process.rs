//! What dnstrace itself costs.

use procfs::{WithCurrentSystemInfo as _, process::Process};

/// Of this process, so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    /// In user mode and in the kernel. What eBPF programs cost is not in it: that is their callers'.
    pub cpu_seconds: f64,
    pub resident_bytes: u64,
}

/// None if /proc does not tell.
pub(super) fn usage() -> Option<Usage> {
    let stat = Process::myself().and_then(|process| process.stat()).ok()?;
    let ticks = stat.utime.saturating_add(stat.stime);
    Some(Usage {
        cpu_seconds: ticks as f64 / procfs::ticks_per_second() as f64,
        resident_bytes: stat.rss_bytes().get(),
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_process_costs_something() {
        let usage = super::usage().unwrap();
        assert!(usage.resident_bytes > 100_000 && usage.cpu_seconds < 1e6, "{usage:?}");
    }
}
