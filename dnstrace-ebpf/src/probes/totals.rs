//! What happened in each network namespace, whatever the port: for the comparison with the kernel's own counters, which
//! do not know ports either.

use aya_ebpf::{macros::map, maps::PerCpuHashMap};
use dnstrace_ebpf::config::{MAX_TOTALS, Totals};

/// By inode number of the namespace. When it is full, further namespaces are not compared.
#[map]
static TOTALS: PerCpuHashMap<u32, Totals> = PerCpuHashMap::with_max_entries(MAX_TOTALS, 0);

/// `BPF_NOEXIST`
const BPF_NOEXIST: u64 = 1;

/// Counts something in a namespace.
#[inline(always)]
pub fn total(netns: u32, count: impl Fn(&mut Totals)) {
    if let Some(totals) = TOTALS.get_ptr_mut(netns) {
        // SAFETY: this CPU's own slot; each of its counts is one program's.
        return count(unsafe { &mut *totals });
    }
    let mut first =
        Totals { udp_sent: 0, udp6_sent: 0, udp_received: 0, clashes_resolved: 0, insert_failed: 0 };
    count(&mut first);
    if TOTALS.insert(netns, first, BPF_NOEXIST).is_err()
        && let Some(totals) = TOTALS.get_ptr_mut(netns)
    {
        // SAFETY: as above. Another program or CPU was first.
        count(unsafe { &mut *totals });
    }
}
