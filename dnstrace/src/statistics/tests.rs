//! What is counted where.

use super::*;
use crate::{
    identify::{Owner, Pod},
    lookup::{Answer, Outcome},
    output::tests::zoo,
};

const MS: u64 = 1_000_000;

fn statistics(outputs: &[Output], pods: usize) -> Statistics {
    let mut statistics = Statistics::with_pods(pods);
    for output in outputs {
        statistics.add(output);
    }
    statistics
}

fn answered_with(rcode: u16) -> Query {
    let mut query = zoo::query("a.", vec![zoo::attempt(0, Vec::new(), zoo::answer(MS, None))]);
    for attempt in &mut query.attempts {
        if let Fate::Answered(Answer { message, .. }) = &mut attempt.fate {
            message.rcode = rcode;
        }
    }
    query
}

#[test]
fn a_name_that_does_not_exist_is_no_failure() {
    let failures = [(0, false), (2, true), (3, false), (5, true), (4_095, true)];
    for (rcode, is_failure) in failures {
        assert_eq!(failed(&answered_with(rcode)), is_failure, "{rcode}");
    }
    let unanswered =
        |outcome| Query { outcome, ..zoo::query("a.", vec![zoo::attempt(0, vec![], Fate::Open)]) };
    assert!(failed(&unanswered(Outcome::Unanswered)));
    assert!(!failed(&unanswered(Outcome::Pending)));
}

#[test]
fn rcodes_without_a_name_are_one() {
    let outputs = zoo::outputs(vec![answered_with(3_000), answered_with(3_001), answered_with(2)]);
    let statistics = statistics(&outputs, PODS);
    let servers = statistics.servers();
    assert_eq!(servers[0].all.answers, ByWord::from([("other", 2), ("SERVFAIL", 1)]));
    assert_eq!(servers[0].all.errors(), 3);
}

#[test]
fn every_count_by_key_adds_up_to_the_total() {
    let outputs = zoo::all();
    let statistics = statistics(&outputs, PODS);
    let counts = statistics.counts();
    let (owners, names) = (statistics.owners(), statistics.names());
    assert_eq!(owners.iter().map(|(_, owner)| owner.asked.queries).sum::<u64>(), counts.queries);
    assert_eq!(owners.iter().map(|(_, owner)| owner.served.queries).sum::<u64>(), counts.served);
    assert_eq!(names.iter().map(|(_, asking)| asking.queries).sum::<u64>(), counts.queries);
    assert_eq!(names.iter().map(|(_, asking)| asking.unanswered).sum::<u64>(), counts.unanswered);
    let mut fates = ByWord::new();
    for server in statistics.servers() {
        add_words(&mut fates, &server.all.fates);
        let by_endpoint: u64 = server.endpoints.iter().map(|(_, asked)| asked.attempts).sum();
        assert!(by_endpoint <= server.all.attempts);
        assert_eq!(server.all.fates.values().sum::<u64>(), server.all.attempts);
    }
    assert_eq!(fates, counts.fates);
    let lost = counts.fates.iter().filter(|(fate, _)| !matches!(**fate, "answered" | "open" | "unknown"));
    let lost: u64 = lost.map(|(_, count)| count).sum();
    assert_eq!(names.iter().map(|(_, asking)| asking.lost).sum::<u64>(), lost);
    assert_eq!(statistics.latency().count(), counts.answers.values().sum::<u64>());
}

#[test]
fn letters_of_a_name_are_the_same_in_either_case() {
    let queries = vec![
        zoo::query("WWW.Example.", vec![zoo::attempt(0, vec![], zoo::answer(MS, None))]),
        zoo::query("www.example.", vec![zoo::attempt(0, vec![], zoo::answer(MS, None))]),
    ];
    let statistics = statistics(&zoo::outputs(queries), PODS);
    let names: Vec<_> =
        statistics.names().iter().map(|(name, asking)| (name.as_str(), asking.queries)).collect();
    assert_eq!(names, [("www.example.", 2)]);
}

#[test]
fn pods_beyond_the_limit_are_counted_together() {
    let of_pod = |name: &str| {
        let pod = Pod {
            namespace: Some("shop".into()),
            name: Some(name.into()),
            uid: name.to_owned(),
            labels: None,
        };
        Query { owner: Owner { pod: Some(pod.into()), ..Owner::default() }, ..answered_with(0) }
    };
    let queries = ["a", "b", "c", "d", "c", "a"].map(of_pod).to_vec();
    let statistics = statistics(&zoo::outputs(queries), 2);
    let owners = statistics.owners();
    assert_eq!((owners.len(), owners.refused(), owners.others().asked.queries), (2, 2, 3));
    assert_eq!(owners.others().latency.count(), 3);
}
