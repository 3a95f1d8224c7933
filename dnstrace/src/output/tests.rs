//! What the user reads, word for word.

mod fates;
mod kube;
mod lookups;
mod schema;
pub(crate) mod summaries;
mod tcp;
mod view;
pub(crate) mod zoo;

use bytes::Bytes;
use insta::assert_snapshot;
use jiff::tz::TimeZone;

use super::{WallClock, summary, table::Table};
use crate::{
    dns::{Counts, Decoded, Defect, Flags, Message, Question, Record},
    event::{Direction, Flow, KernelTime, Loss, SocketMessage, Task, Transport},
    filter::Criterion,
    identify::{Container, Owner, Pod},
    lookup::{Observation, Output, tests::run},
    losses::{HookLosses, Losses},
    statistics::Statistics,
};

const MS: u64 = 1_000_000;
const CLIENT: &str = "10.244.1.7:40000";
const SERVER: &str = "10.96.0.10:53";

fn clock() -> WallClock {
    WallClock { offset_ns: 1_700_000_000_000_000_000, zone: TimeZone::UTC }
}

fn owner() -> Owner {
    Owner {
        node: Some("worker-1".into()),
        pod: Some(
            Pod {
                namespace: Some("shop".into()),
                name: Some("cart-7d4f".into()),
                uid: "0e5d7c2a".into(),
                labels: Some(std::sync::Arc::new([("app".to_owned(), "cart".to_owned())].into())),
            }
            .into(),
        ),
        container: Some(
            Container { name: Some("cart".into()), id: "4f1a".into(), runtime: "containerd".into() }.into(),
        ),
        unit: None,
        cgroup: Some("/kubepods/x".into()),
        resolver: None,
        address: None,
    }
}

fn message(response: bool, name: &str, data: &[&str]) -> Message {
    let record = |data: &&str| Record { name: name.into(), rtype: 1, ttl: 5, data: (*data).to_owned() };
    Message {
        id: 4711,
        response,
        opcode: 0,
        rcode: 0,
        flags: Flags { recursion_desired: true, recursion_available: response, ..Flags::default() },
        question: Some(Question { name: name.into(), qtype: 1, qclass: 1 }),
        answers: data.iter().map(record).collect(),
        counts: Counts { answers: u16::try_from(data.len()).unwrap(), ..Counts::default() },
        edns: None,
    }
}

fn observation(at: u64, message: Message) -> Observation {
    let (from, to) = if message.response { (SERVER, CLIENT) } else { (CLIENT, SERVER) };
    Observation {
        seen: SocketMessage {
            time: KernelTime(at),
            direction: if message.response { Direction::Received } else { Direction::Sent },
            flow: Flow {
                source: from.parse().unwrap(),
                destination: to.parse().unwrap(),
                transport: Transport::Udp,
            },
            socket: 1,
            netns: 4_026_532_200,
            task: Task { cgroup: 1, pid: 4121, tid: 4122, comm: "curl".into() },
            arrived: None,
            payload: Bytes::new(),
            length: 44,
            gap: None,
        },
        decoded: Decoded { message: Some(message), defect: None },
        owner: owner(),
    }
}

fn shown(out: &[Output]) -> String {
    let mut table = Table::new(clock());
    table.header() + &out.iter().map(|output| table.lines(output)).collect::<String>()
}

fn healthy() -> Vec<Observation> {
    vec![
        observation(20_113_417, message(false, "api.shop.svc.cluster.local.", &[])),
        observation(20_525_417, message(true, "api.shop.svc.cluster.local.", &["10.96.3.4"])),
    ]
}

fn sick() -> Vec<Observation> {
    vec![
        observation(0, message(false, "a.", &[])),
        observation(5_003 * MS, message(false, "a.", &[])),
        observation(5_004 * MS, message(true, "a.", &["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"])),
        observation(5_100 * MS, message(false, "dead.", &[])),
    ]
}

#[test]
fn a_healthy_query_is_one_line() {
    assert_snapshot!(shown(&run(healthy(), 60_000 * MS)));
}

#[test]
fn a_sick_query_unfolds_into_its_attempts() {
    assert_snapshot!(shown(&run(sick(), 60_000 * MS)));
}

#[test]
fn what_is_odd_is_shown_for_what_it_is() {
    let mut not_dns = observation(0, message(false, "x.", &[]));
    not_dns.decoded = Decoded { message: None, defect: Some(Defect::NotDns) };
    let mut hostile = observation(1, message(true, "x.", &[]));
    hostile.seen.task.comm = "a\x1b[31m".into();
    hostile.decoded.defect = Some(Defect::Malformed("label\x07".into()));
    let mut no_data = observation(3, message(true, "b.", &[]));
    no_data.decoded.defect = Some(Defect::Cut { missing: 12 });
    let asked = observation(2, message(false, "b.", &[]));
    assert_snapshot!(shown(&run(vec![not_dns, hostile, asked, no_data], 60_000 * MS)));
}

#[test]
fn what_was_lost_has_a_row() {
    let loss = Loss { since: KernelTime(MS), time: KernelTime(2 * MS), events: 12 };
    assert_eq!(
        Table::new(clock()).lines(&Output::Loss(loss)),
        "22:13:20.002000  LOST since 22:13:20.001000: 12 events (ring full; try a larger --ring)\n"
    );
}

#[test]
fn json_has_every_field() {
    let out = run(sick(), 5_200 * MS);
    let lines: Vec<_> = out.iter().map(|output| schema::line(output)).collect();
    assert_snapshot!(lines.join("\n"));
    let mut not_dns = observation(0, message(false, "x.", &[]));
    not_dns.decoded = Decoded { message: None, defect: Some(Defect::NotDns) };
    assert_snapshot!(schema::line(&run(vec![not_dns], MS)[0]));
}

#[test]
fn the_summary_counts_and_says_what_was_lost() {
    let mut statistics = Statistics::default();
    for output in run([sick(), vec![]].concat(), 60_000 * MS).iter().chain(&run(healthy(), 60_000 * MS)) {
        statistics.add(output);
    }
    let end = KernelTime(60_000 * MS);
    assert_snapshot!(summary::text(&statistics, KernelTime(0), end, &Losses::default()));
    let losses = Losses {
        hooks: vec![HookLosses { hook: "ip_send_skb".into(), ring_full: 12, unreadable: 0, skipped: 0 }],
        ..Losses::default()
    };
    assert_snapshot!(summary::text(&statistics, KernelTime(0), end, &losses));
    assert_snapshot!(schema::summary(&statistics, &losses, end));
}

#[test]
fn what_filters_hid_is_counted_apart() {
    let mut statistics = Statistics::default();
    for output in &run(healthy(), 60_000 * MS) {
        statistics.hide(output, Criterion::Rcode);
    }
    let (end, losses) = (KernelTime(60_000 * MS), Losses::default());
    assert_eq!(
        summary::text(&statistics, KernelTime(0), end, &losses),
        "0 queries in 60.000 s: nothing to tell (0 messages)\n\
         1 query hidden by filters (1 by --rcode): not counted above\nnothing was lost\n"
    );
    let line = schema::summary(&statistics, &losses, end);
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["queries"], &line["hidden"]["queries"]), (&0.into(), &1.into()));
    assert_eq!(line["hidden"]["by_filter"]["rcode"], 1);
}
