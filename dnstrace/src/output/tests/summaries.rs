//! The summary as a whole, of traces that went well and of others.

use std::net::SocketAddr;

use insta::assert_snapshot;

use super::{MS, clock, zoo};
use crate::{
    event::KernelTime,
    identify::{Owner, Pod},
    lookup::{Fate, Output, Query},
    losses::{HookLosses, Losses},
    output::{json, summary},
    statistics::Statistics,
};

const SECOND: u64 = 1_000 * MS;
const END: KernelTime = KernelTime(600 * SECOND);

/// A query of one attempt: answered after so many nanoseconds, or not at all.
fn asked(number: u64, server: &str, endpoint: Option<&str>, latency: Option<u64>) -> Query {
    let at = number * 10 * MS;
    let fate = match latency {
        Some(latency) => zoo::answer(at + latency, None),
        None => Fate::Unanswered { waited: 6 * SECOND },
    };
    let mut attempt = zoo::attempt(at, Vec::new(), fate);
    attempt.conversation.remote = server.parse().unwrap();
    attempt.endpoint = endpoint.map(|endpoint| endpoint.parse::<SocketAddr>().unwrap());
    zoo::query(&format!("name-{}.example.", number % 7), vec![attempt])
}

fn of_pod(pod: &str, query: Query) -> Query {
    let pod =
        Pod { namespace: Some("shop".into()), name: Some(pod.into()), uid: pod.to_owned(), labels: None };
    Query { owner: Owner { pod: Some(pod.into()), ..Owner::default() }, ..query }
}

fn of_all(queries: impl IntoIterator<Item = Query>) -> Statistics {
    let mut statistics = Statistics::default();
    for query in queries {
        statistics.add(&Output::Query(query.into()));
    }
    statistics
}

/// Everything is well: two endpoints of one Service.
pub(crate) fn healthy() -> Statistics {
    of_all((0..20).map(|number| {
        let endpoint = if number % 2 == 0 { "10.244.1.2:53" } else { "10.244.1.3:53" };
        asked(number, "10.96.0.10:53", Some(endpoint), Some((number + 1) * 400_000))
    }))
}

/// One of the endpoints answers nobody.
pub(crate) fn sick() -> Statistics {
    of_all((0..40).map(|number| {
        let (endpoint, latency) = match number % 4 {
            0 => ("10.244.1.2:53", None),
            1 => ("10.244.1.3:53", Some(180 * MS)),
            _ => ("10.244.1.3:53", Some((number + 1) * 300_000)),
        };
        let pod = if number % 8 == 0 { "web-5c9d" } else { "cart-7d4f" };
        of_pod(pod, asked(number, "10.96.0.10:53", Some(endpoint), latency))
    }))
}

/// A cache with many upstreams, one of them dead, one refusing; and more names and pods than are shown.
pub(crate) fn many() -> Statistics {
    let mut refused = asked(1, "9.9.9.9:53", None, Some(9 * MS));
    if let Fate::Answered(answer) = &mut refused.attempts[0].fate {
        answer.message.rcode = 5;
    }
    let healthy = (0..60).map(|number| {
        asked(number, &format!("192.0.2.{}:53", number % 12), None, Some((number % 30 + 1) * MS))
    });
    let dead = (0..9).map(|number| asked(number, "1.2.4.8:53", None, None));
    let all = healthy.chain(dead).chain([refused]);
    of_all(all.enumerate().map(|(number, query)| of_pod(&format!("pod-{}\x1b[31m", number % 8), query)))
}

fn text(statistics: &Statistics) -> String {
    summary::text(statistics, KernelTime(0), END, &Losses::default())
}

#[test]
fn a_trace_that_went_well_is_short() {
    let text = text(&healthy());
    assert_eq!(text.lines().count(), 4, "{text}");
    assert_snapshot!(text);
}

#[test]
fn a_dead_endpoint_stands_out() {
    assert_snapshot!(text(&sick()));
}

#[test]
fn of_many_servers_pods_and_names_the_worst_are_told() {
    let text = text(&many());
    assert!(!text.contains('\x1b'), "{text}");
    assert_snapshot!(text);
}

#[test]
fn json_tells_the_same() {
    let losses = Losses {
        hooks: vec![HookLosses { hook: "ip_send_skb".into(), ring_full: 1, unreadable: 0, skipped: 0 }],
        ..Losses::default()
    };
    let line = json::summary(&many(), &losses, [KernelTime(0), END], false, &clock()).unwrap();
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_snapshot!(serde_json::to_string_pretty(&value).unwrap());
}

#[test]
fn nothing_seen_is_said_in_a_few_words() {
    assert_snapshot!(text(&Statistics::default()));
}
