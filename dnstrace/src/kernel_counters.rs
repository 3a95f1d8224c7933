//! The kernel's own counters, held against what was seen: a probe that does not fire tells nobody.
//!
//! (eBPF programs of one CPU exclude each other: a kprobe hit while another's program runs is skipped, which kernels before
//! 6.7 do not count.)
//!
//! Compared are namespaces that were there from the beginning to the end. What counts is what is at least missing:
//! at the beginning the own counts are read first and the kernel's then, at the end the other way round, so what
//! happens in between can only hide a gap, never make one.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::Path,
};

use dnstrace_ebpf::config::{MAX_TOTALS, Totals};

use crate::losses::KernelGap;

/// Namespaces that are compared at the most.
const MOST: usize = 1024;

/// The counters at the beginning.
#[derive(Debug)]
pub struct Baseline {
    namespaces: BTreeMap<u32, Counted>,
    /// The node's own namespace.
    host: Option<u32>,
}

/// Counts of one namespace.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    own: Totals,
    kernel: Totals,
}

/// How the counters compare.
#[derive(Debug, Default)]
pub struct Comparison {
    pub gaps: Vec<KernelGap>,
    /// Namespaces of the beginning that are gone, or whose counters can no longer be read, or of which no counts are
    /// kept as there are too many.
    pub unchecked: u64,
}

impl Baseline {
    /// Reads the counters of the namespaces that processes are in now. `own` has been read before.
    pub fn read(proc: &Path, own: &HashMap<u32, Totals>, host: Option<u32>) -> Self {
        let namespaces = namespaces(proc)
            .into_iter()
            .take(MOST)
            .filter_map(|(netns, pid)| {
                let own = own.get(&netns).copied().unwrap_or_default();
                Some((netns, Counted { own, kernel: read(proc, pid).ok()? }))
            })
            .collect();
        Self { namespaces, host }
    }

    /// Compares with now. `own` is read in here, after the kernel's.
    ///
    /// # Errors
    /// If the own counts cannot be read.
    pub fn compare<E>(
        &self,
        proc: &Path,
        own: impl FnOnce() -> Result<HashMap<u32, Totals>, E>,
    ) -> Result<Comparison, E> {
        let pids = namespaces(proc);
        let now: BTreeMap<u32, Totals> = self
            .namespaces
            .keys()
            .filter_map(|netns| Some((*netns, read(proc, *pids.get(netns)?).ok()?)))
            .collect();
        let own = own()?;
        let mut comparison = Comparison::default();
        for (netns, before) in &self.namespaces {
            let Some(kernel) = now.get(netns) else {
                comparison.unchecked += 1;
                continue;
            };
            if own.len() >= MAX_TOTALS as usize && !own.contains_key(netns) {
                comparison.unchecked += 1;
                continue;
            }
            let after = Counted { own: own.get(netns).copied().unwrap_or_default(), kernel: *kernel };
            comparison.gaps.extend(gaps(*netns, before, &after, Some(*netns) == self.host));
        }
        Ok(comparison)
    }
}

/// A counter that both sides have: what it counts, the kernel's name, and how to get at it.
type Counter = (&'static str, &'static str, fn(&Totals) -> u64);

/// Counters that compare everywhere.
const COUNTERS: [Counter; 4] = [
    ("datagrams sent", "Udp OutDatagrams", |totals| totals.udp_sent),
    ("datagrams sent over IPv6", "Udp6OutDatagrams", |totals| totals.udp6_sent),
    ("conntrack clashes resolved", "clash_resolve", |totals| totals.clashes_resolved),
    ("failed conntrack insertions", "insert_failed", |totals| totals.insert_failed),
];
/// Not in the node's own namespace: there the kernel counts the packets of its tunnels (VXLAN, WireGuard) as received
/// datagrams as well (`udp_queue_rcv_one_skb`), which no program ever receives. (A tunnel in a namespace of its own would
/// show as a gap there.)
const RECEIVED: Counter =
    ("datagrams received", "Udp InDatagrams and Udp6InDatagrams", |totals| totals.udp_received);

fn gaps(netns: u32, before: &Counted, after: &Counted, is_host: bool) -> Vec<KernelGap> {
    let received = (!is_host).then_some(RECEIVED);
    let missed = |count: fn(&Totals) -> u64| {
        let kernel = count(&after.kernel).saturating_sub(count(&before.kernel));
        kernel.saturating_sub(count(&after.own).saturating_sub(count(&before.own)))
    };
    COUNTERS
        .into_iter()
        .chain(received)
        .map(|(what, counter, count)| KernelGap {
            netns,
            what: what.into(),
            counter: counter.into(),
            missed: missed(count),
        })
        .filter(|gap| gap.missed > 0)
        .collect()
}

/// Each network namespace with the process of the lowest id in it.
fn namespaces(proc: &Path) -> BTreeMap<u32, u32> {
    let mut pids: Vec<u32> = fs::read_dir(proc)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    let mut namespaces = BTreeMap::new();
    for pid in pids {
        if let Some(netns) = crate::identify::netns_of(proc, pid) {
            namespaces.entry(netns).or_insert(pid);
        }
    }
    namespaces
}

/// The counters of a process's namespace. Those that the kernel does not have stay 0.
fn read(proc: &Path, pid: u32) -> io::Result<Totals> {
    let net = proc.join(pid.to_string()).join("net");
    let snmp = fs::read_to_string(net.join("snmp"))?;
    let snmp6 = fs::read_to_string(net.join("snmp6")).unwrap_or_default();
    let conntrack = fs::read_to_string(net.join("stat/nf_conntrack")).unwrap_or_default();
    Ok(Totals {
        udp_sent: snmp_counter(&snmp, "Udp:", "OutDatagrams"),
        udp6_sent: snmp6_counter(&snmp6, "Udp6OutDatagrams"),
        udp_received: snmp_counter(&snmp, "Udp:", "InDatagrams") + snmp6_counter(&snmp6, "Udp6InDatagrams"),
        clashes_resolved: conntrack_counter(&conntrack, "clashres"),
        insert_failed: conntrack_counter(&conntrack, "insert_failed"),
    })
}

/// A counter of `/proc/net/snmp`: a line of names and a line of numbers for each protocol.
fn snmp_counter(text: &str, protocol: &str, name: &str) -> u64 {
    let mut lines = text.lines().filter(|line| line.split_whitespace().next() == Some(protocol));
    let (Some(names), Some(numbers)) = (lines.next(), lines.next()) else { return 0 };
    let mut pairs = names.split_whitespace().zip(numbers.split_whitespace());
    pairs.find(|(known, _)| *known == name).and_then(|(_, number)| number.parse().ok()).unwrap_or(0)
}

/// A counter of `/proc/net/snmp6`: a line each.
fn snmp6_counter(text: &str, name: &str) -> u64 {
    let mut pairs = text.lines().filter_map(|line| line.split_once(char::is_whitespace));
    pairs.find(|(known, _)| *known == name).and_then(|(_, number)| number.trim().parse().ok()).unwrap_or(0)
}

/// A counter of `/proc/net/stat/nf_conntrack`: a line of names, then one of hexadecimal numbers for each CPU
/// (`ct_cpu_seq_show`). `clashres` is what `conntrack -S` calls clash_resolve.
fn conntrack_counter(text: &str, name: &str) -> u64 {
    let mut lines = text.lines();
    let names = lines.next().unwrap_or_default();
    let Some(column) = names.split_whitespace().position(|known| known == name) else { return 0 };
    lines
        .filter_map(|line| u64::from_str_radix(line.split_whitespace().nth(column)?, 16).ok())
        .fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_their_names() {
        let snmp = "Icmp: InMsgs\nIcmp: 7\nUdp: InDatagrams NoPorts OutDatagrams\nUdp: 12 1 34\n";
        assert_eq!(snmp_counter(snmp, "Udp:", "OutDatagrams"), 34);
        assert_eq!(snmp_counter(snmp, "UdpLite:", "OutDatagrams"), 0);
        let snmp6 = "Udp6InDatagrams                 \t5\nUdp6OutDatagrams                \t6\n";
        assert_eq!(snmp6_counter(snmp6, "Udp6OutDatagrams"), 6);
        let conntrack =
            "entries  clashres found insert_failed\n00000001  0000000a 0 00000002\n00000001 06 0 1\n";
        assert_eq!(conntrack_counter(conntrack, "insert_failed"), 3);
        assert_eq!(conntrack_counter(conntrack, "clashres"), 16);
        assert_eq!(conntrack_counter(conntrack, "none"), 0);
    }

    #[test]
    fn a_gap_is_what_the_kernel_counted_more() {
        let totals = |udp_sent, udp_received| Totals { udp_sent, udp_received, ..Totals::default() };
        let before = Counted { own: totals(10, 0), kernel: totals(100, 50) };
        let after = Counted { own: totals(15, 3), kernel: totals(107, 54) };
        let found = gaps(7, &before, &after, false);
        let missed: Vec<_> = found.iter().map(|gap| (&*gap.what, gap.missed)).collect();
        assert_eq!(missed, [("datagrams sent", 2), ("datagrams received", 1)]);
        assert_eq!(gaps(7, &before, &after, true).len(), 1);
        // More seen than counted (refused after having been built) is no gap.
        let more = Counted { own: totals(99, 99), ..after };
        assert!(gaps(7, &before, &more, false).is_empty());
    }
}
