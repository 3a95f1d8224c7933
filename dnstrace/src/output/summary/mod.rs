//! What a trace came to, as the user reads it at its end: short when all is well.

pub(crate) mod latency;
mod lookups;
pub(crate) mod servers;
mod tcp;
pub(crate) mod totals;
pub(crate) mod worst;

use crate::{event::KernelTime, losses::Losses, statistics::Statistics};

/// The summary of what happened from `begin` to `end`: lines, each with its newline. A section without anything to tell
/// is not there.
pub fn text(statistics: &Statistics, begin: KernelTime, end: KernelTime, losses: &Losses) -> String {
    let counts = statistics.counts();
    [
        totals::first(counts, end.since(begin)),
        latency::text(statistics.latency()),
        totals::asked(counts),
        tcp::text(&counts.tcp),
        totals::served(statistics),
        totals::beside(counts),
        servers::text(statistics),
        worst::text(statistics),
        lookups::text(statistics),
        counts.hidden.text(),
        losses.text(),
    ]
    .concat()
}

/// `1 query`, `2 queries`.
fn plural(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
