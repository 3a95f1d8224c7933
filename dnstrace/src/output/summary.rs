//! Totals of a trace, for its end.

mod tcp;

use std::{collections::BTreeMap, fmt::Write as _};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::{
    event::{KernelTime, Transport},
    lookup::{Attempt, Fate, Insertion, Outcome, Output, Query, Role, Step, StrayReason, What},
    losses::Losses,
};

use super::{answer, names, units};
pub use tcp::TcpCounts;

/// The longest latency told apart from longer ones: an hour, in microseconds.
const LONGEST_US: u64 = 3_600_000_000;

/// Counts while the trace runs.
#[derive(Debug)]
pub struct Summary {
    counts: Counts,
    /// Latency of answered client queries in microseconds, three significant digits.
    latency: Option<Histogram<u64>>,
    /// The longest of them, in nanoseconds.
    longest: u64,
}

/// What is counted.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Counts {
    /// Queries that traced processes sent.
    pub queries: u64,
    /// Of these, by RCODE of the answer; NODATA apart from NOERROR.
    pub answers: BTreeMap<String, u64>,
    /// Of these, without an answer.
    pub unanswered: u64,
    /// Of these, without an answer yet when the trace ended.
    pub pending: u64,
    /// Of these, sent more than once.
    pub retried: u64,
    /// Attempts that were waited for in vain.
    pub attempts_unanswered: u64,
    /// Queries that traced servers received.
    pub served: u64,
    /// Of these, not answered by the server.
    pub served_unanswered: u64,
    /// Messages that are no part of a query: not DNS, malformed, or answers that nothing waited for.
    pub strays: u64,
    /// Messages in all: query messages (those that were not sent, too), their answers, and strays.
    pub messages: u64,
    /// Attempts of client queries by fate, in the words of JSON.
    pub fates: BTreeMap<&'static str, u64>,
    pub conntrack: ConntrackCounts,
    pub tcp: TcpCounts,
    /// Drops, failed insertions, ICMP errors and evictions that belong to no attempt under way.
    pub packets: u64,
}

/// What connection tracking did to packets, whoever they belonged to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ConntrackCounts {
    /// Clashes where the packet went on with the entry that was there first.
    pub clashes_merged: u64,
    /// Clashes where only the reply direction was inserted, for one second.
    pub clashes_reply_only: u64,
    /// Packets dropped because their entry could not be inserted.
    pub failed_insertions: u64,
    /// Packets dropped because the table was full.
    pub table_full: u64,
    /// Entries thrown out to make room for others.
    pub evictions: u64,
}

impl ConntrackCounts {
    fn add(&mut self, step: &Step) {
        match &step.what {
            What::Conntrack(entry) => match entry.result {
                Insertion::Merged { .. } => self.clashes_merged += 1,
                Insertion::ReplyOnly { .. } => self.clashes_reply_only += 1,
                Insertion::Failed { .. } => self.failed_insertions += 1,
                Insertion::Inserted | Insertion::Unknown | Insertion::Untracked => {}
            },
            What::Dropped(dropped) => self.table_full += u64::from(dropped.table_full.is_some()),
            What::Evicted => self.evictions += 1,
            What::IcmpSent { .. }
            | What::IcmpReceived { .. }
            | What::SendFailed { .. }
            | What::Retransmitted { .. }
            | What::ConnectFailed { .. }
            | What::ConnectionEnded(_) => {}
        }
    }

    /// `2 clashes merged, 1 failed insertion`; empty if all went well.
    fn words(&self) -> String {
        let parts = [
            (self.clashes_merged, "clash merged", "clashes merged"),
            (self.clashes_reply_only, "clash reply-only", "clashes reply-only"),
            (self.failed_insertions, "failed insertion", "failed insertions"),
            (self.table_full, "packet dropped with the table full", "packets dropped with the table full"),
            (self.evictions, "entry thrown out of the full table", "entries thrown out of the full table"),
        ];
        let parts = parts.iter().filter(|(count, ..)| *count > 0);
        parts.map(|(count, one, many)| plural(*count, one, many)).collect::<Vec<_>>().join(", ")
    }
}

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

impl Default for Summary {
    fn default() -> Self {
        // None only if the bounds were wrong, which the test below would see.
        Self {
            counts: Counts::default(),
            latency: Histogram::new_with_bounds(1, LONGEST_US, 3).ok(),
            longest: 0,
        }
    }
}

impl Summary {
    /// Counts one output of the core.
    pub fn add(&mut self, output: &Output) {
        match output {
            Output::Query(query) => self.add_query(query),
            Output::Packet(packet) => {
                self.counts.packets += 1;
                self.counts.conntrack.add(&packet.step);
            }
            Output::Connection(connection) => {
                self.counts.tcp.add_connection(connection);
                for step in &connection.steps {
                    self.counts.conntrack.add(step);
                }
            }
            Output::Lookup(_) => {}
            Output::Stray(stray) => match stray.reason {
                StrayReason::StreamSkipped => self.counts.tcp.skips += 1,
                StrayReason::StreamNotDns => self.counts.tcp.not_dns += 1,
                _ => {
                    self.counts.strays += 1;
                    self.counts.messages += 1;
                    let is_tcp = stray.observation.seen.flow.transport == Transport::Tcp;
                    self.counts.tcp.messages += u64::from(is_tcp);
                }
            },
        }
    }

    fn add_query(&mut self, query: &Query) {
        let counts = &mut self.counts;
        counts.tcp.add_query(query);
        counts.messages +=
            query.attempts.iter().map(messages).sum::<u64>() + u64::from(query.attempts_left_out);
        for step in query.attempts.iter().flat_map(|attempt| &attempt.steps) {
            counts.conntrack.add(step);
        }
        if query.role == Role::Server {
            counts.served += 1;
            counts.served_unanswered += u64::from(query.answer().is_none());
            return;
        }
        counts.queries += 1;
        counts.retried += u64::from(query.attempts.iter().filter(|attempt| has_message(attempt)).count() > 1);
        for attempt in &query.attempts {
            *counts.fates.entry(names::fate(&attempt.fate)).or_default() += 1;
        }
        let in_vain = query.attempts.iter().filter(|a| matches!(a.fate, Fate::Unanswered { .. })).count();
        counts.attempts_unanswered += in_vain as u64;
        match (query.outcome, query.answer()) {
            (Outcome::Answered { .. }, Some(answer)) => {
                *counts.answers.entry(answer::status(&answer.message)).or_default() += 1;
            }
            (Outcome::Unanswered, _) => counts.unanswered += 1,
            (Outcome::Answered { .. } | Outcome::Pending, _) => counts.pending += 1,
        }
        if let (Some(latency), Some(histogram)) = (query.latency(), &mut self.latency) {
            histogram.saturating_record((latency / 1_000).max(1));
            self.longest = self.longest.max(latency);
        }
    }

    /// What was counted.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The summary as the user reads it. `seconds` is how long the trace ran, in nanoseconds of event time.
    pub fn text(&self, begin: KernelTime, end: KernelTime, losses: &Losses) -> String {
        let counts = &self.counts;
        let mut text = String::new();
        // Writing into a String cannot fail.
        _ = writeln!(
            text,
            "{} in {}: {} ({})",
            plural(counts.queries, "query", "queries"),
            units::duration(end.since(begin)),
            self.by_ending(),
            plural(counts.messages, "message", "messages"),
        );
        if let Some(latency) = self.latency_line() {
            _ = writeln!(text, "latency: {latency}");
        }
        if counts.retried > 0 {
            _ = writeln!(text, "{} sent more than once", plural(counts.retried, "query was", "queries were"));
        }
        for (what, words) in [("attempts", self.by_fate()), ("conntrack", counts.conntrack.words())] {
            if !words.is_empty() {
                _ = writeln!(text, "{what}: {words}");
            }
        }
        text.push_str(&counts.tcp.text());
        if counts.served > 0 {
            _ = writeln!(
                text,
                "{} taken in by traced servers, {} not answered",
                plural(counts.served, "query", "queries"),
                counts.served_unanswered
            );
        }
        if counts.strays > 0 {
            _ = writeln!(
                text,
                "{} no part of a query",
                plural(counts.strays, "message was", "messages were")
            );
        }
        if counts.packets > 0 {
            _ = writeln!(
                text,
                "{} conntrack entry",
                plural(
                    counts.packets,
                    "packet of no query under way was dropped, rejected or lost its",
                    "packets of no query under way were dropped, rejected or lost their"
                )
            );
        }
        text.push_str(&losses.text());
        text
    }

    /// `2 lost at conntrack insert, 3 unanswered`; empty if all attempts were answered.
    fn by_fate(&self) -> String {
        let count = |fate| self.counts.fates.get(fate).copied().unwrap_or(0);
        let parts = FATES.iter().map(|(fate, words)| (count(*fate), words)).filter(|(count, _)| *count > 0);
        parts.map(|(count, words)| format!("{count} {words}")).collect::<Vec<_>>().join(", ")
    }

    fn by_ending(&self) -> String {
        let counts = &self.counts;
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

    fn latency_line(&self) -> Option<String> {
        let histogram = self.latency.as_ref().filter(|histogram| !histogram.is_empty())?;
        // A quantile is the upper end of its bucket, which may lie beyond the longest.
        let at =
            |quantile| units::duration((histogram.value_at_quantile(quantile) * 1_000).min(self.longest));
        Some(format!(
            "p50 {}, p90 {}, p99 {}, max {}",
            at(0.5),
            at(0.9),
            at(0.99),
            units::duration(self.longest)
        ))
    }
}

/// Whether there was a message at all: over TCP there is none if the connection could not be opened.
fn has_message(attempt: &Attempt) -> bool {
    attempt.conversation.id.is_some()
}

/// Messages of an attempt: its query, and its answers.
fn messages(attempt: &Attempt) -> u64 {
    let answers = attempt.answer().map_or(0, |answer| answer.further_messages.saturating_add(1));
    answers.saturating_add(u64::from(has_message(attempt)))
}

fn plural(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
