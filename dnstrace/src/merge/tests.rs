//! Two nodes, written as their traces would have written them.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use bytes::Bytes;

use super::*;
use crate::{
    event::{
        Confirm, ConfirmResult, Connection, Direction, Event, Flow, KernelTime, Packet, SocketMessage, Task,
        Tracking, Transport,
    },
    identify::{Owner, Pod, Wanted},
    lookup::{Limits, Output, Query, Role, Sight},
    losses::Losses,
    pipeline::Pipeline,
    recording::{
        Head, Node, Told,
        format::{Line, encode},
    },
    source::{Begin, Entries, Entry},
};

const MS: u64 = 1_000_000;
const HOST: u32 = 4_026_531_840;
/// Both nodes have given it, each to another pod.
const POD: u32 = 4_026_532_200;
const CGROUP: u64 = 4_711;
const SOCKET: u64 = 0xffff_8881_0a2b_3c00;
const CLIENT: &str = "10.244.1.7:40000";
const SERVICE: &str = "10.96.0.10:53";
const ENDPOINT: &str = "10.244.2.9:53";
/// When the first node was booted, in nanoseconds since 1970.
const EPOCH: i64 = 1_700_000_000_000_000_000;

/// A recording of a node that was booted so many nanoseconds after the first, by its own clock.
fn record(directory: &Path, name: &str, booted: i64, pod: &str, events: Vec<Event>) -> PathBuf {
    let begin = Begin {
        time: events[0].time(),
        clock_offset_ns: EPOCH + booted,
        timeout: Some(6_000 * MS),
        count: None,
        filter: Default::default(),
        sight: Sight::default(),
        host_netns: Some(HOST),
        nodes: BTreeMap::new(),
        scopes: BTreeMap::new(),
        namespace: None,
        selector: None,
        description: format!("a recording of {name}"),
    };
    let node = Node { name: name.to_owned(), boot_id: name.to_owned() };
    let head = Head {
        version: String::new(),
        node,
        trace_began: begin.time,
        segment: 1,
        events_before: 0,
        ports: vec![53],
        begin,
    };
    let pod =
        Pod { namespace: Some("shop".into()), name: Some(pod.into()), uid: pod.to_owned(), labels: None };
    let owner = Owner { pod: Some(pod.into()), ..Owner::default() };
    let time = events.last().unwrap().time();
    let losses = Losses { out_of_order: 2, ..Losses::default() };
    // An empty section header: little-endian, of unknown length.
    let mut bytes: Vec<u8> = Vec::new();
    for word in [0x0a0d_0d0a, 28, 0x1a2b_3c4d, 1, u32::MAX, u32::MAX, 28] {
        bytes.extend(word.to_le_bytes());
    }
    let mut lines = vec![Line::Begin(Box::new(head)), Line::Owner { cgroup: CGROUP, owner }];
    lines.extend(events.into_iter().map(Line::Event));
    lines.push(Line::End { time, losses });
    lines.iter().for_each(|line| bytes.extend(encode(line).unwrap()));
    let path = directory.join(format!("{name}.pcapng"));
    fs::write(&path, bytes).unwrap();
    path
}

fn flow(source: &str, destination: &str) -> Flow {
    let at = |text: &str| -> SocketAddr { text.parse().unwrap() };
    Flow { source: at(source), destination: at(destination), transport: Transport::Udp }
}

/// A message about `a.` with this id.
fn payload(id: u8, response: bool) -> Bytes {
    let flags = if response { 0x80 } else { 0 };
    Bytes::copy_from_slice(&[0, id, flags, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'a', 0, 0, 1, 0, 1])
}

fn message(time: u64, id: u8, direction: Direction, response: bool, flow: Flow) -> Event {
    let payload = payload(id, response);
    let task = Task { cgroup: CGROUP, pid: 100, tid: 100, comm: "app".to_owned() };
    let length = u32::try_from(payload.len()).unwrap();
    Event::Message(SocketMessage {
        time: KernelTime(time),
        direction,
        flow,
        socket: SOCKET,
        netns: POD,
        task,
        arrived: None,
        payload,
        length,
        gap: None,
    })
}

fn inserted(time: u64, id: u8) -> Event {
    let payload = payload(id, false);
    let entry = Connection { ct: SOCKET, original: flow(CLIENT, SERVICE), reply: flow(ENDPOINT, CLIENT) };
    Event::Confirm(Box::new(Confirm {
        time: KernelTime(time),
        began: KernelTime(time - 1),
        packet: Packet {
            flow: flow(CLIENT, ENDPOINT),
            netns: Some(HOST),
            tracking: Tracking::Connection(entry),
            tcp: None,
            length: u32::try_from(payload.len()).unwrap(),
            payload,
        },
        result: ConfirmResult::Inserted,
    }))
}

/// Three queries from the first node to the second: two answered, the answer to the last lost.
fn recordings(directory: &Path, ahead: i64) -> Vec<PathBuf> {
    use Direction::{Received, Sent};
    let (there, back) = (flow(CLIENT, SERVICE), flow(SERVICE, CLIENT));
    let (in_there, in_back) = (flow(CLIENT, ENDPOINT), flow(ENDPOINT, CLIENT));
    // The second node has been running for a second when the first has for an hour.
    let (hour, second) = (3_600_000 * MS, 1_000 * MS);
    let booted = i64::try_from(hour - second).unwrap() + ahead;
    let (mut client, mut server) = (Vec::new(), Vec::new());
    for id in 0..3u8 {
        let at = 100 * MS * u64::from(id);
        client.push(message(hour + at, id, Sent, false, there));
        if id == 0 {
            client.push(inserted(hour + at + 10_000, id));
        }
        server.push(message(second + at + MS, id, Received, false, in_there));
        server.push(message(second + at + 4 * MS, id, Sent, true, in_back));
        if id < 2 {
            client.push(message(hour + at + 5 * MS, id, Received, true, back));
        }
    }
    vec![
        record(directory, "worker-1", 0, "cart", client),
        record(directory, "worker-2", booted, "dns", server),
    ]
}

/// All that is told of these files, the last entry, and how many entries there were.
fn replayed(files: Vec<PathBuf>) -> (Begin, Vec<Query>, crate::source::End) {
    let mut entries = Merged::open(files.into_iter().map(|file| vec![file]).collect()).unwrap();
    let Some(Entry::Begin(begin)) = entries.next().unwrap() else { panic!("no beginning") };
    let wanted = Wanted::default();
    let mut pipeline = Pipeline::new(Told::default(), wanted, Limits::default(), begin.sight);
    let mut out = Vec::new();
    let mut latest = KernelTime::default();
    loop {
        match entries.next().unwrap().unwrap() {
            Entry::Event(event) => {
                assert!(event.time() >= latest, "in the order of their time");
                latest = event.time();
                out.extend(pipeline.event(event));
            }
            Entry::Owner { cgroup, owner } => {
                pipeline.owners().tell(cgroup, &owner);
            }
            Entry::Time(now) => out.extend(pipeline.advance(now)),
            Entry::End(end) => {
                out.extend(pipeline.finish(end.time.plus(10_000 * MS)));
                assert!(entries.next().unwrap().is_none());
                let queries = out.into_iter().filter_map(|output| match output {
                    Output::Query(query) => Some(*query),
                    _ => None,
                });
                return (*begin, queries.collect(), *end);
            }
            Entry::Begin(_) | Entry::Sight(_) | Entry::Names { .. } => {}
        }
    }
}

#[test]
fn an_attempt_is_followed_from_node_to_node() {
    let directory = tempfile::tempdir().unwrap();
    for ahead in [0, 250, -250] {
        let files = recordings(directory.path(), ahead * 1_000_000);
        let (begin, queries, end) = replayed(files);
        assert_eq!(begin.nodes.get(&HOST).map(String::as_str), Some("worker-1"));
        assert_eq!(begin.nodes.len(), 2);
        let asked: Vec<_> = queries.iter().filter(|query| query.role == Role::Client).collect();
        assert_eq!((asked.len(), queries.len()), (3, 6), "{ahead}");
        for query in asked {
            assert_eq!(query.owner.node.as_deref(), Some("worker-1"));
            let attempt = &query.attempts[0];
            let side = attempt.server_side.as_ref().unwrap();
            assert_eq!(side.owner.to_string(), "shop/dns", "though it has the same cgroup id");
            assert_eq!(side.owner.node.as_deref(), Some("worker-2"));
            assert_ne!(side.netns, query.netns);
            let there = side.received.since(attempt.time);
            assert_eq!(there, MS, "{ahead} ms");
            assert_eq!(side.answered.unwrap().0.since(side.received), 3 * MS);
        }
        let note = match ahead {
            0 => "the clocks of worker-2 and worker-1 agree to 1.000 ms (by 2 exchanges)",
            250 => {
                "the clock of worker-2 is 250.000 ms ahead of that of worker-1, to 1.000 ms (by 2 exchanges): corrected"
            }
            _ => {
                "the clock of worker-2 is 250.000 ms behind that of worker-1, to 1.000 ms (by 2 exchanges): corrected"
            }
        };
        assert_eq!(end.notes, [note]);
        assert_eq!(end.losses.out_of_order, 4);
    }
}

#[test]
fn nodes_that_have_nothing_in_common_are_told_so() {
    let directory = tempfile::tempdir().unwrap();
    let one = record(
        directory.path(),
        "one",
        0,
        "cart",
        vec![message(1, 1, Direction::Sent, false, flow(CLIENT, SERVICE))],
    );
    let other = record(
        directory.path(),
        "other",
        5,
        "web",
        vec![message(1, 1, Direction::Sent, false, flow("10.244.2.7:40000", SERVICE))],
    );
    let (_, queries, end) = replayed(vec![one, other]);
    assert_eq!(queries.len(), 2);
    assert_eq!(
        end.notes,
        [
            "the clocks of other and one could not be compared, as no message was seen on both: taken as they are"
        ]
    );
}
