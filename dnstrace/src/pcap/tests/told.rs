//! What the user reads of a capture.

use insta::assert_snapshot;
use jiff::tz::TimeZone;

use super::*;
use crate::{
    event::KernelTime,
    identify::{Owner, Owners, Wanted},
    lookup::{Limits, Output, Sight},
    output::{WallClock, json, table::Table},
    pipeline::Pipeline,
};

/// A capture tells nothing of owners.
struct Nobody;

impl Owners for Nobody {
    fn note_cgroup(&mut self, _: &crate::event::CgroupMade) {}

    fn owner(&mut self, _: &crate::event::Task, _: KernelTime) -> Owner {
        panic!("no task of a capture is known")
    }
}

fn outputs(packets: &[Captured]) -> Vec<Output> {
    let read = read(pcap(RAW, packets)).unwrap();
    let sight = Sight { clashes: false };
    let mut pipeline = Pipeline::new(Nobody, Wanted::default(), Limits::default(), sight);
    let mut out: Vec<_> = read.events.into_iter().flat_map(|event| pipeline.event(event)).collect();
    out.extend(pipeline.finish(read.end.time.plus(10 * SECOND)));
    out
}

fn table(packets: &[Captured]) -> String {
    let mut table = Table::new(WallClock { offset_ns: 0, zone: TimeZone::UTC });
    let lines: Vec<_> = outputs(packets).iter().map(|output| table.lines(output)).collect();
    lines.concat()
}

fn asks(time: u64, client: [u8; 4], port: u16, id: u16) -> Captured {
    captured(START + time * MS, udp((client, port), (SERVER, 53), &query(id, "example.com")))
}

#[test]
fn a_client_is_told_by_its_address_and_retries_as_such() {
    let mut packets = lookup(START, 1, "example.org").to_vec();
    packets.extend([asks(100, CLIENT, 40_001, 2), asks(5_100, CLIENT, 40_001, 2)]);
    assert_snapshot!(table(&packets));
    let all = outputs(&packets);
    let lines = all
        .iter()
        .map(|output| json::line(output, &WallClock { offset_ns: 0, zone: TimeZone::UTC }).unwrap());
    let lines: Vec<_> = lines.collect();
    for field in ["\"pid\":null", "\"comm\":null", "\"netns\":null"] {
        assert!(lines.iter().all(|line| line.contains(field)), "{field}: {lines:?}");
    }
}

#[test]
fn two_hosts_that_ask_the_same_are_two() {
    let other = [10, 244, 1, 8];
    let of = |packets: &[Captured]| {
        let queries = outputs(packets);
        queries.iter().filter(|output| matches!(output, Output::Query(_))).count()
    };
    assert_eq!(of(&[asks(0, CLIENT, 40_001, 1), asks(1_500, other, 40_001, 1)]), 2);
    assert_eq!(of(&[asks(0, CLIENT, 40_001, 1), asks(1_500, CLIENT, 40_002, 2)]), 1);
}
