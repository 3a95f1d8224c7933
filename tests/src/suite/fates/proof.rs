//! Reads fates and steps out of dnstrace's JSON, and compares them with what is known.

use std::fs;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::super::tracer::Lines;
use crate::lab::trouble::full_name;

/// What dnstrace said of a trace.
pub struct Proof {
    pub lines: Lines,
    /// Kernels before 5.17 have no reasons for drops.
    has_reasons: bool,
}

/// Expected of an attempt: its fate, and its steps as [`words`] has them. A word may be `one|another`, or `*`.
pub type Expected<'a> = (&'a str, &'a [&'a str]);

impl Proof {
    pub fn new(lines: Lines) -> Self {
        let format = fs::read_to_string("/sys/kernel/tracing/events/skb/kfree_skb/format");
        Self { lines, has_reasons: format.is_ok_and(|format| format.contains("reason")) }
    }

    /// The one query for a name of ours that a client in this pod made.
    pub fn query(&self, pod: &str, name: &str) -> Result<&Value> {
        let queries = self.queries(pod, name);
        let [query] = queries[..] else {
            bail!("{name}: {} queries of {pod}, not one: {queries:?}", queries.len())
        };
        Ok(query)
    }

    /// All queries for a name of ours that clients in this pod made.
    pub fn queries(&self, pod: &str, name: &str) -> Vec<&Value> {
        let qname = format!("{}.", full_name(name));
        let is_it = |query: &&Value| {
            query["role"] == "client" && query["pod"] == pod && query["qname"].as_str() == Some(&qname)
        };
        self.lines.queries.iter().filter(is_it).collect()
    }

    /// The attempts of the one query for a name, which must be as expected.
    pub fn attempts(&self, pod: &str, name: &str, expected: &[Expected]) -> Result<Vec<&Value>> {
        self.attempts_of(self.query(pod, name)?, name, expected)
    }

    /// As [`Self::attempts`], of this query.
    fn attempts_of<'a>(&self, query: &'a Value, name: &str, expected: &[Expected]) -> Result<Vec<&'a Value>> {
        self.compare(query, name, expected, |_| true)
    }

    /// As [`Self::attempts`], of this query, whatever conntrack made of its flows.
    pub fn attempts_besides_conntrack<'a>(
        &self,
        query: &'a Value,
        name: &str,
        expected: &[Expected],
    ) -> Result<Vec<&'a Value>> {
        self.compare(query, name, expected, |words| !words.starts_with("conntrack "))
    }

    fn compare<'a>(
        &self,
        query: &'a Value,
        name: &str,
        expected: &[Expected],
        counts: fn(&str) -> bool,
    ) -> Result<Vec<&'a Value>> {
        let attempts = list(&query["attempts"]).collect::<Vec<_>>();
        ensure!(attempts.len() == expected.len(), "{name}: {} attempts: {query}", attempts.len());
        for (index, (attempt, (fate, steps))) in attempts.iter().zip(expected).enumerate() {
            let is_of_it =
                |seen: &String| counts(seen) && (!is_sent_again(seen) || steps.contains(&seen.as_str()));
            let seen: Vec<_> = steps_of(attempt).into_iter().map(words).filter(is_of_it).collect();
            let agrees = seen.len() == steps.len()
                && seen.iter().zip(*steps).all(|(seen, expected)| self.agrees(seen, expected));
            ensure!(
                attempt["fate"] == *fate && agrees && attempt["steps_left_out"] == 0,
                "{name}: attempt {index} is {} by {seen:?}, not {fate} by {steps:?}: {query}",
                attempt["fate"]
            );
        }
        Ok(attempts)
    }

    /// As [`Self::attempts`], of a query with one attempt.
    pub fn attempt(&self, pod: &str, name: &str, fate: &str, steps: &[&str]) -> Result<&Value> {
        let attempts = self.attempts(pod, name, &[(fate, steps)])?;
        attempts.first().copied().context("no attempt")
    }

    /// The trace has these totals of connection tracking and no others, and misses nothing that the kernel counted.
    pub fn counts(&self, conntrack: &Value) -> Result<()> {
        let summary = &self.lines.summary;
        ensure!(summary["conntrack"] == *conntrack, "{} is not {conntrack}", summary["conntrack"]);
        let mut gaps = list(&summary["losses"]["kernel_gaps"]);
        ensure!(gaps.all(|gap| gap["missed"] == 0), "{}", summary["losses"]);
        Ok(())
    }

    /// A pod's clients asked so many questions, each once, each was answered, and nothing befell any of them.
    pub fn all_well(&self, pod: &str, count: usize) -> Result<()> {
        let is_ours =
            |query: &&Value| query["role"] == "client" && query["pod"] == pod && query["comm"] == "sockets";
        let queries: Vec<_> = self.lines.queries.iter().filter(is_ours).collect();
        ensure!(queries.len() == count, "{} healthy queries seen of {count}", queries.len());
        for query in queries {
            let attempts: Vec<_> = list(&query["attempts"]).collect();
            let [attempt] = attempts[..] else { bail!("a healthy query sent again: {query}") };
            ensure!(attempt["fate"] == "answered" && query["outcome"] == "answered", "unhealthy: {query}");
            let steps: Vec<_> = list(&attempt["steps"]).map(words).collect();
            ensure!(steps.iter().all(|step| step == "conntrack inserted"), "unhealthy: {steps:?}: {query}");
        }
        Ok(())
    }

    /// Whether the words of a step are those expected.
    pub fn agrees(&self, seen: &str, expected: &str) -> bool {
        let (seen, expected): (Vec<_>, Vec<_>) = (seen.split(' ').collect(), expected.split(' ').collect());
        let is_drop = seen.first() == Some(&"drop");
        seen.len() == expected.len()
            && seen.iter().zip(&expected).enumerate().all(|(place, (seen, expected))| {
                let is_no_reason = is_drop && place == DROP_REASON && !self.has_reasons && *seen == "-";
                is_no_reason || *expected == "*" || expected.split('|').any(|word| word == *seen)
            })
    }
}

/// Where the reason is among the words of a drop.
const DROP_REASON: usize = 2;

/// A step in a few words:
///
/// - `conntrack OUTCOME`, and of a failed insertion its cause
/// - `drop OF REASON FUNCTION HOOK`, with `-` for what is null, and at the end `full` or `unread` where it was
/// - `icmp OF DIRECTION TYPE/CODE`
/// - `send_failed ERRNO`, `connect_failed ERRNO`
/// - `retransmitted OF`
/// - `connection_ended END`
/// - `evicted`
pub fn words(step: &Value) -> String {
    let text = |field: &str| step[field].as_str().unwrap_or("-");
    let kind = text("kind");
    match kind {
        "conntrack" if step["cause"].is_string() => {
            format!("conntrack {} {}", text("outcome"), text("cause"))
        }
        "conntrack" => format!("conntrack {}", text("outcome")),
        "drop" => format!(
            "drop {} {} {} {}{}{}",
            text("of"),
            text("reason"),
            text("function"),
            text("netfilter_hook"),
            if step["table_full"].is_object() { " full" } else { "" },
            if step["arrived_ktime_ns"].is_u64() { " unread" } else { "" },
        ),
        "icmp" => format!("icmp {} {} {}/{}", text("of"), text("direction"), step["type"], step["code"]),
        "send_failed" | "connect_failed" => format!("{kind} {}", text("error")),
        "retransmitted" => format!("retransmitted {}", text("of")),
        "connection_ended" => format!("connection_ended {}", text("end")),
        _ => kind.to_owned(),
    }
}

/// Whether these words of a step say that TCP sent a segment again. An emulated CPU is away for 200 ms now and then, which is
/// when TCP does: it proves nothing of what a test is about, unless the test expects it.
pub fn is_sent_again(words: &str) -> bool {
    matches!(words, "retransmitted query" | "retransmitted answer")
}

/// The steps of an attempt in order of time; ICMP errors that came in last, since the packet's own way to its end goes
/// on beside them.
pub fn steps_of(attempt: &Value) -> Vec<&Value> {
    let mut steps: Vec<_> = list(&attempt["steps"]).collect();
    steps.sort_by_key(|step| step["kind"] == "icmp" && step["direction"] == "received");
    steps
}

/// The step of an attempt that begins with these words.
pub fn step<'a>(attempt: &'a Value, beginning: &str) -> Result<&'a Value> {
    list(&attempt["steps"])
        .find(|step| words(step).starts_with(beginning))
        .with_context(|| format!("no step {beginning:?}: {attempt}"))
}

/// The elements of an array; none of what is no array.
pub fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Reports all that failed, not just the first.
pub fn all<const N: usize>(results: [Result<()>; N]) -> Result<()> {
    let failed: Vec<_> =
        results.into_iter().filter_map(Result::err).map(|error| format!("{error:#}")).collect();
    ensure!(failed.is_empty(), "{} of {N}: {}", failed.len(), failed.join("\n"));
    Ok(())
}
