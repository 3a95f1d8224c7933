//! Totals of a trace, for its end.

use std::{collections::BTreeMap, fmt::Write as _};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::{
    event::KernelTime,
    lookup::{Fate, Outcome, Output, Query, Role},
    losses::Losses,
};

use super::{answer, units};

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
    /// Messages in all: query messages, their answers, and strays.
    pub messages: u64,
}

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
            Output::Packet(_) => {}
            Output::Stray(_) => {
                self.counts.strays += 1;
                self.counts.messages += 1;
            }
        }
    }

    fn add_query(&mut self, query: &Query) {
        let counts = &mut self.counts;
        let answered = query.attempts.iter().filter(|attempt| attempt.answer().is_some()).count();
        counts.messages += (query.attempts.len() + answered) as u64 + u64::from(query.attempts_left_out);
        if query.role == Role::Server {
            counts.served += 1;
            counts.served_unanswered += u64::from(query.answer().is_none());
            return;
        }
        counts.queries += 1;
        counts.retried += u64::from(query.attempts.len() > 1);
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
        text.push_str(&losses.text());
        text
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

fn plural(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
