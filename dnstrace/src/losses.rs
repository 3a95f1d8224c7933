//! What was not seen, and where it was lost: part of every output.

use serde::Serialize;

/// Losses of a trace, by cause. All zero is what a trace should look like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Losses {
    /// Hooks with losses in the kernel.
    pub hooks: Vec<HookLosses>,
    /// Records of the ring that dnstrace could not decode: a fault of its own.
    pub undecoded_records: u64,
    /// Events that came too late to be put into the order of time.
    pub out_of_order: u64,
    /// Queries given up because too many were under way.
    pub queries_evicted: u64,
    /// Ended queries forgotten early: a late answer to one is shown as an answer without a query.
    pub queries_forgotten: u64,
    /// Names of cgroups, pods and containers forgotten for want of room; they are looked up again.
    pub owners_forgotten: u64,
}

/// Losses of one hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HookLosses {
    /// Kernel function or tracepoint.
    pub hook: &'static str,
    /// Records that did not fit into the ring.
    pub ring_full: u64,
    /// Packets or tasks whose kernel structures could not be read.
    pub unreadable: u64,
}

impl Losses {
    /// Lines for the user, each with its newline: one that says that nothing was lost, or one for each loss.
    pub fn text(&self) -> String {
        let mut lines: Vec<String> = Vec::new();
        for hook in &self.hooks {
            if hook.ring_full > 0 {
                lines.push(format!(
                    "{} events of {} (ring full; try a larger --ring)",
                    hook.ring_full, hook.hook
                ));
            }
            if hook.unreadable > 0 {
                lines.push(format!(
                    "{} packets at {} (kernel memory not readable)",
                    hook.unreadable, hook.hook
                ));
            }
        }
        let rest = [
            (self.undecoded_records, "records that dnstrace could not decode (please report)"),
            (self.out_of_order, "events out of order: their queries may be told wrongly"),
            (self.owners_forgotten, "names of cgroups, pods or containers forgotten: too many"),
            (self.queries_evicted, "queries given up: too many under way"),
            (
                self.queries_forgotten,
                "ended queries forgotten early: late answers may be called answers without a query",
            ),
        ];
        lines.extend(
            rest.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")),
        );
        if lines.is_empty() {
            return "nothing was lost\n".to_owned();
        }
        lines.iter().map(|line| format!("LOST: {line}\n")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_loss_has_its_line() {
        assert_eq!(Losses::default().text(), "nothing was lost\n");
        let losses = Losses {
            hooks: vec![HookLosses { hook: "ip_send_skb", ring_full: 3, unreadable: 1 }],
            undecoded_records: 1,
            out_of_order: 2,
            queries_evicted: 4,
            queries_forgotten: 5,
            owners_forgotten: 6,
        };
        let text = losses.text();
        assert_eq!(text.lines().count(), 7);
        assert!(text.starts_with("LOST: 3 events of ip_send_skb (ring full"), "{text}");
    }
}
