//! Events of connections through all rooms.

use std::{fs, net::SocketAddr};

use bytes::Bytes;

use super::*;
use crate::{
    event::{CgroupMade, Direction, Flow, StreamBytes},
    identify::{Identifier, Roots, Scope, Wanted},
    lookup::{Query, StrayReason, tests::without_lookups},
};

const MS: u64 = 1_000_000;
const CART: u64 = 11;
const OTHER: u64 = 12;

/// A pipeline for pods of the namespace `shop`: cgroup [`CART`] is one, [`OTHER`] is of another.
fn pipeline() -> Pipeline<Identifier> {
    let node = tempfile::tempdir().unwrap();
    let path = |name: &str| node.path().join(name);
    fs::create_dir_all(path("proc/self")).unwrap();
    fs::create_dir_all(path("cgroup")).unwrap();
    let mounts = format!("35 24 0:30 / {} rw - cgroup2 cgroup2 rw\n", path("cgroup").display());
    fs::write(path("proc/self/mountinfo"), mounts).unwrap();
    fs::write(path("proc/self/cgroup"), "0::/\n").unwrap();
    let uid = |n: u64| format!("{n}e5d7c2a-1b3f-4c6d-8e9f-a0b1c2d3e4f5");
    fs::create_dir_all(path(&format!("pods/shop_cart_{}", uid(1)))).unwrap();
    fs::create_dir_all(path(&format!("pods/blog_web_{}", uid(2)))).unwrap();
    let roots = Roots { proc: path("proc"), pods_log: path("pods"), containers_log: path("containers") };
    let identifier = Identifier::new(roots).unwrap();
    let mut pipeline = Pipeline::new(
        identifier,
        Wanted::of(Scope { namespace: Some("shop".to_owned()), selector: None }),
        Limits::default(),
        Sight::default(),
    );
    for (cgroup, n) in [(CART, 1), (OTHER, 2)] {
        let path = format!("/kubepods/burstable/pod{}/{}", uid(n), "0".repeat(64));
        let made = CgroupMade { time: KernelTime(0), cgroup, hierarchy: 0, path };
        assert!(pipeline.event(Event::Cgroup(made)).is_empty());
        // Looked up while the node's directories are there.
        pipeline.owners().owner(&task(cgroup), KernelTime(0));
    }
    pipeline
}

fn task(cgroup: u64) -> Task {
    Task { cgroup, pid: 100, tid: 100, comm: "dig".to_owned() }
}

fn flow(port: u16) -> Flow {
    let source = SocketAddr::from(([10, 244, 1, 7], 40_000));
    let destination = SocketAddr::from(([10, 96, 0, 10], port));
    Flow { source, destination, transport: Transport::Tcp }
}

fn change(at: u64, cgroup: Option<u64>, from: TcpState, to: TcpState) -> Event {
    Event::Connection(ConnectionChange {
        time: KernelTime(at),
        socket: 1,
        netns: 7,
        flow: flow(53),
        from,
        to,
        task: cgroup.map(task),
        encrypted: false,
        error: None,
        bytes_acked: 0,
        bytes_received: 0,
        rtt_us: None,
    })
}

/// An A query for `a.` with this id, or its answer.
fn message(id: u8, response: bool) -> Vec<u8> {
    vec![0, id, if response { 0x81 } else { 1 }, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'a', 0, 0, 1, 0, 1]
}

/// A message with its length, `from` and `to` in its stream.
fn bytes(at: u64, cgroup: u64, seq: u32, response: bool, of: std::ops::Range<usize>) -> Event {
    let message = message(9, response);
    let stream = [vec![0, u8::try_from(message.len()).unwrap()], message].concat();
    let bytes = Bytes::copy_from_slice(&stream[of.clone()]);
    Event::Stream(StreamBytes {
        time: KernelTime(at),
        direction: if response { Direction::Received } else { Direction::Sent },
        flow: if response { flow(53).reversed() } else { flow(53) },
        socket: 1,
        netns: 7,
        task: task(cgroup),
        state: TcpState::Established,
        seq: Some(seq + u32::try_from(of.start).unwrap()),
        length: u32::try_from(bytes.len()).unwrap(),
        bytes,
    })
}

fn run(events: Vec<Event>) -> Vec<Output> {
    let mut pipeline = pipeline();
    let mut out: Vec<_> = events.into_iter().flat_map(|event| pipeline.event(event)).collect();
    out.extend(pipeline.finish(KernelTime(100_000 * MS)));
    without_lookups(out)
}

fn queries(out: &[Output]) -> Vec<&Query> {
    out.iter()
        .filter_map(|output| if let Output::Query(query) = output { Some(&**query) } else { None })
        .collect()
}

/// A connection with a query and its answer, in pieces, of a process in this cgroup.
fn course(cgroup: u64) -> Vec<Event> {
    use TcpState::{Close, Established, FinWait1, FinWait2, SynSent};
    vec![
        change(0, Some(cgroup), Close, SynSent),
        change(MS, None, SynSent, Established),
        bytes(2 * MS, cgroup, 1, false, 0..2),
        bytes(3 * MS, cgroup, 1, false, 2..21),
        bytes(4 * MS, cgroup, 500, true, 0..10),
        bytes(5 * MS, cgroup, 500, true, 10..21),
        change(6 * MS, None, Established, FinWait1),
        change(7 * MS, None, FinWait2, Close),
    ]
}

#[test]
fn a_query_in_pieces_is_one_with_its_connection() {
    let out = run(course(CART));
    let [query] = queries(&out)[..] else { panic!("{out:?}") };
    assert_eq!((out.len(), query.question.name.as_str(), query.latency()), (1, "a.", Some(2 * MS)));
    assert_eq!(query.attempts[0].carrier.unwrap().opened, Some(KernelTime(0)));
    assert_eq!(query.owner.pod.as_ref().unwrap().name.as_deref(), Some("cart"));
}

#[test]
fn connections_of_others_are_withheld_until_their_socket_is_anothers() {
    use TcpState::{Close, SynSent};
    assert_eq!(run(course(OTHER)).len(), 0);
    let failed = |cgroup| vec![change(0, Some(cgroup), Close, SynSent), change(MS, None, SynSent, Close)];
    assert_eq!(run(failed(OTHER)).len(), 0);
    assert!(matches!(run(failed(CART))[..], [Output::Connection(_)]));
    let out = run([failed(OTHER), failed(CART)].concat());
    assert!(matches!(out[..], [Output::Connection(_)]));
}

#[test]
fn what_a_stream_leaves_unfinished_is_told_and_counted() {
    let mut pipeline = pipeline();
    let mut out = Vec::new();
    // A connection older than the trace, of whose answer the second half is seen.
    for event in [bytes(2 * MS, CART, 1, false, 0..21), bytes(3 * MS, CART, 500, true, 8..21)] {
        out.extend(pipeline.event(event));
    }
    out.extend(pipeline.finish(KernelTime(4 * MS)));
    let [Output::Stray(stray), Output::Query(query), Output::Lookup(_)] = &out[..] else { panic!("{out:?}") };
    assert_eq!((&stray.reason, stray.observation.seen.length), (&StrayReason::StreamSkipped, 13));
    assert!(matches!(query.attempts[0].fate, crate::lookup::Fate::Unknown { lost: 1, .. }));
    assert_eq!(pipeline.stream_totals().skipped, 13);
}
