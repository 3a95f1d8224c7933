//! Names of Services and pods, wherever they are shown.

use std::sync::Arc;

use super::{clock, zoo};
use crate::{
    directory::{Kind, Name, Peer},
    event::KernelTime,
    lookup::{Output, Query, Role},
    losses::Losses,
    output::{
        json, summary,
        table::{Column, Table},
    },
    statistics::Statistics,
};

fn name(kind: Kind, namespace: &str, name: &str) -> Option<Arc<Name>> {
    Some(Arc::new(Name { kind, namespace: namespace.into(), name: name.into() }))
}

/// The lookup that takes five seconds, with names that an API server would not let pass.
fn named() -> Query {
    let mut query = zoo::five_seconds();
    for attempt in &mut query.attempts {
        attempt.peer = Peer {
            remote: name(Kind::Service, "kube-system", "kube-dns"),
            endpoint: name(Kind::Pod, "kube-system", "coredns-\x1b[31m5d7"),
        };
    }
    query
}

#[test]
fn attempts_and_the_column_have_the_names() {
    let output = Output::Query(named().into());
    let usual = Table::new(clock()).lines(&output);
    let (row, unfolded) = usual.split_once('\n').unwrap();
    assert!(!row.contains("kube-dns"), "{row}");
    let sent = "10.96.0.10:53/udp [kube-system/kube-dns] -> 10.244.1.7 [kube-system/coredns-";
    assert!(unfolded.contains(sent) && !unfolded.contains('\x1b'), "{unfolded}");
    let column = Table::new(clock()).with_columns(&[Column::Kube]).lines(&output);
    assert!(column.starts_with("kube-system/kube-dns -> kube-system/coredns-"), "{column}");
    let nameless = Output::Query(zoo::five_seconds().into());
    assert!(Table::new(clock()).with_columns(&[Column::Kube]).lines(&nameless).starts_with("-\n"));
}

#[test]
fn json_tells_which_name_is_whose() {
    let attempt = |query: Query| {
        let line = json::line(&Output::Query(query.into()), &clock()).unwrap();
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        line["attempts"][0].clone()
    };
    let asked = attempt(named());
    assert_eq!(asked["service"], serde_json::json!({"namespace": "kube-system", "name": "kube-dns"}));
    assert_eq!(asked["endpoint_pod"]["name"], "coredns-\x1b[31m5d7");
    assert!(asked["server_pod"].is_null() && asked["client_pod"].is_null());
    let mut query = named();
    let attempt_of = query.attempts.first_mut().unwrap();
    attempt_of.peer = Peer { remote: name(Kind::Pod, "shop", "cart"), endpoint: None };
    assert_eq!(attempt(query.clone())["server_pod"]["name"], "cart");
    query.attempts.first_mut().unwrap().conversation.role = Role::Server;
    let asked = attempt(query);
    assert!(asked["client_pod"]["name"] == "cart" && asked["server_pod"].is_null());
}

#[test]
fn the_summary_names_servers_and_endpoints() {
    let mut statistics = Statistics::default();
    statistics.add(&Output::Query(named().into()));
    let end = KernelTime(60_000_000_000);
    let text = summary::text(&statistics, KernelTime(0), end, &Losses::default());
    assert!(text.contains("  10.96.0.10:53/udp [kube-system/kube-dns]  "), "{text}");
    assert!(text.contains("    -> 10.244.1.7 [kube-system/coredns-") && !text.contains('\x1b'), "{text}");
    let line = json::summary(&statistics, &Losses::default(), [KernelTime(0), end], true, &clock()).unwrap();
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    let server = &line["servers"][0];
    assert_eq!(server["service"]["name"], "kube-dns");
    assert!(server["pod"].is_null() && server["endpoints"][0]["pod"]["namespace"] == "kube-system");
}

#[test]
fn of_a_server_that_was_renamed_the_summary_has_the_newest_name() {
    let mut statistics = Statistics::default();
    // The endpoint with the larger address was asked first: its counts are added last.
    for (time, endpoint, called) in [(1, "10.244.1.9:53", "old"), (2, "10.244.1.2:53", "new")] {
        let mut attempt = zoo::attempt(time, Vec::new(), zoo::answer(time + 1, None));
        attempt.endpoint = Some(endpoint.parse().unwrap());
        attempt.peer = Peer { remote: name(Kind::Service, "kube-system", called), endpoint: None };
        statistics.add(&Output::Query(zoo::query("a.example.", vec![attempt]).into()));
    }
    let text = summary::text(&statistics, KernelTime(0), KernelTime(9), &Losses::default());
    assert!(text.contains("[kube-system/new]") && !text.contains("old"), "{text}");
}
