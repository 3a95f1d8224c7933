//! What went over TCP, in words.

use crate::statistics::TcpCounts;

use super::plural;

/// Its lines in the summary, each with its newline; none where there was nothing.
pub(super) fn text(counts: &TcpCounts) -> String {
    let lines = [("TCP", of_queries(counts)), ("connections", of_connections(counts))];
    let lines = lines.iter().filter(|(_, words)| !words.is_empty());
    lines.map(|(what, words)| format!("{what}: {words}\n")).collect()
}

/// `12 queries (3 after a truncated answer), 25 messages, SYN sent again for 2 connections`
fn of_queries(counts: &TcpCounts) -> String {
    let truncated = match counts.after_truncation {
        0 => String::new(),
        count => format!(" ({count} after a truncated answer)"),
    };
    let parts = [
        (counts.queries, format!("{}{truncated}", plural(counts.queries, "query", "queries"))),
        (counts.served, format!("{} taken in", plural(counts.served, "query", "queries"))),
        (counts.messages, plural(counts.messages, "message", "messages")),
        (
            counts.syn_retransmitted,
            format!("SYN sent again for {}", plural(counts.syn_retransmitted, "connection", "connections")),
        ),
        (
            counts.retransmitted,
            format!("segments sent again for {}", plural(counts.retransmitted, "attempt", "attempts")),
        ),
    ];
    join(&parts)
}

/// `2 could not be opened, 3 encrypted (1 of them could not be opened), 1 stream is not DNS`
fn of_connections(counts: &TcpCounts) -> String {
    let failed = match counts.encrypted_failed {
        0 => String::new(),
        count => format!(" ({count} of them could not be opened)"),
    };
    let parts = [
        (counts.connections_failed, format!("{} could not be opened", counts.connections_failed)),
        (counts.encrypted, format!("{} encrypted{failed}", counts.encrypted)),
        (counts.not_dns, plural(counts.not_dns, "stream is not DNS", "streams are not DNS")),
    ];
    join(&parts)
}

/// Those parts whose count is not zero.
fn join(parts: &[(u64, String)]) -> String {
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    parts.map(|(_, words)| words.as_str()).collect::<Vec<_>>().join(", ")
}
