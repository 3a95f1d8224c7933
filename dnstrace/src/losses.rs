//! What was not seen, and where it was lost: part of every output.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Losses of a trace, by cause. All zero is what a trace should look like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Losses {
    /// Hooks with losses in the kernel.
    pub hooks: Vec<HookLosses>,
    /// Records of the ring that dnstrace could not decode: a fault of its own.
    pub undecoded_records: u64,
    /// Packets that a capture of others had lost, by its own word (`isb_ifdrop`, `isb_osdrop` of pcapng).
    #[serde(default)]
    pub packets_not_captured: u64,
    /// Packets of a capture that were cut off within their headers, or that nothing can be made of.
    #[serde(default)]
    pub packets_unreadable: u64,
    /// Datagrams of a capture whose first IP fragment, which bears the ports, is not in it.
    #[serde(default)]
    pub fragments_without_first: u64,
    /// Events that came too late to be put into the order of time.
    pub out_of_order: u64,
    /// Queries given up because too many were under way.
    pub queries_evicted: u64,
    /// Ended queries forgotten early: a late answer to one is shown as an answer without a query.
    pub queries_forgotten: u64,
    /// Names of cgroups, pods and containers forgotten for want of room; they are looked up again.
    pub owners_forgotten: u64,
    /// Addresses of Services and pods for which there was no room (`--kube`): they stay without a name. Those that were told
    /// again are counted again.
    pub names_left_out: u64,
    /// Bytes of TCP connections in which messages could not be told apart.
    pub stream_bytes_skipped: u64,
    /// TCP connections forgotten because too many were under way: part of a message may have been skipped with each.
    pub streams_forgotten: u64,
    /// Lines that were not written because whoever reads stdout did not take them in time.
    #[serde(default)]
    pub lines_not_written: u64,
    /// Lookups told before their end for want of room: their further queries are lookups of their own.
    #[serde(default)]
    pub lookups_cut: u64,
    /// Where the kernel's own counters moved further than what was seen.
    pub kernel_gaps: Vec<KernelGap>,
    /// Events that could not be written to the recording. They are told all the same.
    pub unrecorded_events: u64,
    /// Network namespaces that had gone before their counters could be compared: no loss, but no proof either.
    pub namespaces_unchecked: u64,
}

/// What dnstrace did not see, by one of the kernel's counters. A floor: the kernel counts other packets with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KernelGap {
    /// Inode number of the network namespace.
    pub netns: u32,
    /// In the plural: `datagrams received`.
    pub what: Cow<'static, str>,
    /// The kernel's name of the counter: `Udp InDatagrams`.
    pub counter: Cow<'static, str>,
    /// At least so many.
    pub missed: u64,
}

/// Losses of one hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HookLosses {
    /// Kernel function or tracepoint.
    pub hook: Cow<'static, str>,
    /// Records that did not fit into the ring.
    pub ring_full: u64,
    /// Packets or tasks whose kernel structures could not be read.
    pub unreadable: u64,
    /// Runs of its program that the kernel skipped, as one was under way on that CPU (`bpf_prog_info.recursion_misses`).
    pub skipped: u64,
}

impl Losses {
    /// Adds those of another node. `name` is what its network namespaces are called here.
    pub fn add(&mut self, other: Self, mut name: impl FnMut(u32) -> u32) {
        // All of them by name: a new one is not forgotten.
        let Self {
            hooks,
            kernel_gaps,
            undecoded_records,
            out_of_order,
            queries_evicted,
            queries_forgotten,
            owners_forgotten,
            names_left_out,
            stream_bytes_skipped,
            streams_forgotten,
            lines_not_written,
            lookups_cut,
            unrecorded_events,
            namespaces_unchecked,
            packets_not_captured,
            packets_unreadable,
            fragments_without_first,
        } = other;
        for hook in hooks {
            match self.hooks.iter_mut().find(|known| known.hook == hook.hook) {
                Some(known) => {
                    known.ring_full += hook.ring_full;
                    known.unreadable += hook.unreadable;
                    known.skipped += hook.skipped;
                }
                None => self.hooks.push(hook),
            }
        }
        let gaps = kernel_gaps.into_iter().map(|gap| KernelGap { netns: name(gap.netns), ..gap });
        self.kernel_gaps.extend(gaps);
        self.undecoded_records += undecoded_records;
        self.out_of_order += out_of_order;
        self.queries_evicted += queries_evicted;
        self.queries_forgotten += queries_forgotten;
        self.owners_forgotten += owners_forgotten;
        self.names_left_out += names_left_out;
        self.stream_bytes_skipped += stream_bytes_skipped;
        self.streams_forgotten += streams_forgotten;
        self.lines_not_written += lines_not_written;
        self.lookups_cut += lookups_cut;
        self.unrecorded_events += unrecorded_events;
        self.namespaces_unchecked += namespaces_unchecked;
        self.packets_not_captured += packets_not_captured;
        self.packets_unreadable += packets_unreadable;
        self.fragments_without_first += fragments_without_first;
    }

    /// Lines for the user, each with its newline: one that says that nothing was lost, or one for each loss; then
    /// one for what could not be compared.
    pub fn text(&self) -> String {
        let mut text: String = self.lines().iter().map(|line| format!("LOST: {line}\n")).collect();
        let skipped = self.skipped();
        match (text.is_empty(), skipped.is_empty()) {
            (true, true) => text.push_str("nothing was lost\n"),
            (true, false) => text += &format!("nothing was lost as far as can be told: {skipped}\n"),
            (false, true) => {}
            (false, false) => text += &format!("perhaps lost: {skipped}\n"),
        }
        match self.namespaces_unchecked {
            0 => {}
            1 => text.push_str("1 network namespace was gone before its counters could be compared\n"),
            many => {
                text +=
                    &format!("{many} network namespaces were gone before their counters could be compared\n")
            }
        }
        text
    }

    /// Calls that may have been about anything: no loss for certain. Empty if there were none.
    fn skipped(&self) -> String {
        let hooks = self.hooks.iter().filter(|hook| hook.skipped > 0);
        let calls: Vec<_> =
            hooks.map(|HookLosses { hook, skipped, .. }| format!("{skipped} of {hook}")).collect();
        if calls.is_empty() {
            return String::new();
        }
        format!(
            "calls not looked at, of any traffic, as the program was busy on that CPU: {}",
            calls.join(", ")
        )
    }

    /// A line for each loss.
    fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.hooks.iter().flat_map(HookLosses::lines).collect();
        let rest = [
            (self.undecoded_records, "records that dnstrace could not decode (please report)"),
            (self.packets_not_captured, "packets that the capture had lost itself, of any traffic"),
            (self.packets_unreadable, "packets of the capture that could not be read (cut off, or damaged)"),
            (
                self.fragments_without_first,
                "datagrams in IP fragments without the first one, which bears the ports: of any traffic",
            ),
            (self.out_of_order, "events out of order: their queries may be told wrongly"),
            (self.owners_forgotten, "names of cgroups, pods or containers forgotten: too many"),
            (self.queries_evicted, "queries given up: too many under way"),
            (
                self.queries_forgotten,
                "ended queries forgotten early: late answers may be called answers without a query",
            ),
            (self.names_left_out, "addresses of Services or pods without their name: too many"),
            (
                self.stream_bytes_skipped,
                "bytes of TCP connections skipped: where messages begin in them is not known",
            ),
            (self.streams_forgotten, "TCP connections forgotten: too many under way"),
            (self.lines_not_written, "lines not written: whoever reads them did not take them in time"),
            (self.lookups_cut, "lookups cut in two: too many under way"),
            (self.unrecorded_events, "events not written to the recording"),
        ];
        lines.extend(
            rest.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")),
        );
        lines.extend(self.kernel_gaps.iter().filter(|gap| gap.missed > 0).map(KernelGap::line));
        lines
    }
}

impl HookLosses {
    /// A line for each cause.
    fn lines(&self) -> Vec<String> {
        let Self { hook, ring_full, unreadable, .. } = self;
        let causes = [
            (ring_full, format!("events of {hook} (ring full; try a larger --ring)")),
            (unreadable, format!("packets at {hook} (kernel memory not readable)")),
        ];
        causes
            .iter()
            .filter(|(count, _)| **count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect()
    }
}

impl KernelGap {
    fn line(&self) -> String {
        let Self { netns, what, counter, missed } = self;
        let were = if *missed == 1 { "was" } else { "were" };
        format!(
            "at least {missed} of the {what} in netns {netns} {were} not seen (the kernel's {counter} counted more)"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_loss_has_its_line() {
        assert_eq!(Losses::default().text(), "nothing was lost\n");
        let losses = Losses {
            hooks: vec![HookLosses { hook: "ip_send_skb".into(), ring_full: 3, unreadable: 1, skipped: 2 }],
            undecoded_records: 1,
            packets_not_captured: 9,
            packets_unreadable: 10,
            fragments_without_first: 11,
            out_of_order: 2,
            queries_evicted: 4,
            queries_forgotten: 5,
            owners_forgotten: 6,
            names_left_out: 7,
            stream_bytes_skipped: 7,
            streams_forgotten: 8,
            lines_not_written: 9,
            lookups_cut: 10,
            kernel_gaps: vec![gap(3, "datagrams received", "Udp InDatagrams")],
            unrecorded_events: 9,
            namespaces_unchecked: 0,
        };
        let text = losses.text();
        assert_eq!(text.lines().count(), 18);
        assert!(text.starts_with("LOST: 3 events of ip_send_skb (ring full"), "{text}");
    }

    fn gap(missed: u64, what: &'static str, counter: &'static str) -> KernelGap {
        KernelGap { netns: 4_026_532_200, what: what.into(), counter: counter.into(), missed }
    }

    #[test]
    fn a_gap_names_the_namespace_and_the_counter() {
        let kernel_gaps = vec![
            gap(3, "datagrams received", "Udp InDatagrams"),
            gap(1, "failed conntrack insertions", "insert_failed"),
        ];
        let losses = Losses { kernel_gaps, ..Losses::default() };
        assert_eq!(
            losses.text(),
            "LOST: at least 3 of the datagrams received in netns 4026532200 were not seen (the kernel's Udp \
             InDatagrams counted more)\n\
             LOST: at least 1 of the failed conntrack insertions in netns 4026532200 was not seen (the kernel's \
             insert_failed counted more)\n"
        );
    }

    #[test]
    fn what_could_not_be_compared_is_no_loss() {
        let losses = |namespaces_unchecked| Losses { namespaces_unchecked, ..Losses::default() };
        assert_eq!(
            losses(2).text(),
            "nothing was lost\n2 network namespaces were gone before their counters could be compared\n"
        );
        assert_eq!(
            losses(1).text(),
            "nothing was lost\n1 network namespace was gone before its counters could be compared\n"
        );
    }
}
