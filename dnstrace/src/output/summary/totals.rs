//! Totals in words.

use crate::{
    output::units,
    statistics::{ByWord, ConntrackCounts, Counts, Latency, Statistics},
};

use super::plural;

/// Fates that are worth a word at the end, the surest first.
const FATES: [(&str, &str); 13] = [
    ("send_failed", "not sent"),
    ("rejected", "rejected"),
    ("lost_at_conntrack", "lost at conntrack insert"),
    ("dropped", "dropped"),
    ("answer_dropped", "with the answer dropped"),
    ("answered_late", "answered too late"),
    ("connect_failed", "that could not connect"),
    ("connection_lost", "with the connection lost"),
    ("evicted", "with the conntrack entry thrown out"),
    ("unanswered", "unanswered"),
    ("unknown", "not known"),
    ("not_awaited", "not waited for"),
    ("open", "still waiting"),
];

/// `19 queries in 9.615 s: 3 NOERROR, 16 NXDOMAIN (38 messages)`
pub(super) fn first(counts: &Counts, nanoseconds: u64) -> String {
    format!(
        "{} in {}: {} ({})\n",
        plural(counts.queries, "query", "queries"),
        units::duration(nanoseconds),
        by_ending(counts),
        plural(counts.messages, "message", "messages"),
    )
}

/// What became of the attempts of clients, and what connection tracking did.
pub(super) fn asked(counts: &Counts) -> String {
    let mut text = match counts.retried {
        0 => String::new(),
        retried => format!("{} sent more than once\n", plural(retried, "query was", "queries were")),
    };
    for (what, words) in [("attempts", fates(&counts.fates)), ("conntrack", conntrack(&counts.conntrack))] {
        if !words.is_empty() {
            text += &format!("{what}: {words}\n");
        }
    }
    text
}

/// What traced servers were asked, with their own time.
pub(super) fn served(statistics: &Statistics) -> String {
    let counts = statistics.counts();
    if counts.served == 0 {
        return String::new();
    }
    let mut own_time = Latency::default();
    let owners = statistics.owners();
    for owner in owners.iter().map(|(_, owner)| owner).chain([owners.others(), owners.retired()]) {
        own_time.absorb(&owner.served.latency);
    }
    let own_time = match [0.5, 0.99].map(|quantile| own_time.quantile(quantile).map(units::duration)) {
        [Some(p50), Some(p99)] => format!(" (the server's own time: p50 {p50}, p99 {p99})"),
        _ => String::new(),
    };
    format!(
        "{} taken in by traced servers, {} not answered{own_time}\n",
        plural(counts.served, "query", "queries"),
        counts.served_unanswered
    )
}

/// What is no part of a query.
pub(super) fn beside(counts: &Counts) -> String {
    let mut text = String::new();
    if counts.strays > 0 {
        text += &format!("{} no part of a query\n", plural(counts.strays, "message was", "messages were"));
    }
    if counts.packets > 0 {
        let packets = plural(
            counts.packets,
            "packet of no query under way was dropped, rejected or lost its",
            "packets of no query under way were dropped, rejected or lost their",
        );
        text += &format!("{packets} conntrack entry\n");
    }
    text
}

/// `2 lost at conntrack insert, 3 unanswered`; empty if all attempts were answered.
pub(crate) fn fates(fates: &ByWord) -> String {
    let parts = fates_of(fates).into_iter().map(|(count, words)| format!("{count} {words}"));
    parts.collect::<Vec<_>>().join(", ")
}

/// The fates that occurred and are worth a word, with their words.
pub(super) fn fates_of(fates: &ByWord) -> Vec<(u64, &'static str)> {
    let count = |fate| fates.get(fate).copied().unwrap_or(0);
    FATES.iter().map(|(fate, words)| (count(*fate), *words)).filter(|(count, _)| *count > 0).collect()
}

/// `2 clashes merged, 1 failed insertion`; empty if all went well.
pub(crate) fn conntrack(counts: &ConntrackCounts) -> String {
    let parts = [
        (counts.clashes_merged, "clash merged", "clashes merged"),
        (counts.clashes_reply_only, "clash reply-only", "clashes reply-only"),
        (counts.failed_insertions, "failed insertion", "failed insertions"),
        (counts.table_full, "packet dropped with the table full", "packets dropped with the table full"),
        (counts.evictions, "entry thrown out of the full table", "entries thrown out of the full table"),
    ];
    let parts = parts.iter().filter(|(count, ..)| *count > 0);
    parts.map(|(count, one, many)| plural(*count, one, many)).collect::<Vec<_>>().join(", ")
}

/// `3 NOERROR, 16 NXDOMAIN, 1 unanswered`
pub(crate) fn by_ending(counts: &Counts) -> String {
    let mut parts: Vec<String> =
        counts.answers.iter().map(|(status, count)| format!("{count} {status}")).collect();
    if counts.unanswered > 0 {
        parts.push(format!("{} unanswered", counts.unanswered));
    }
    if counts.pending > 0 {
        parts.push(format!("{} still waiting", counts.pending));
    }
    if parts.is_empty() { "nothing to tell".to_owned() } else { parts.join(", ") }
}
