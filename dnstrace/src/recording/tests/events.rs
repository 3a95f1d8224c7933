//! Things that may happen, possible or not.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use bytes::Bytes;
use proptest::prelude::*;

use crate::{
    directory::{Holder, Kind, Name},
    event::*,
    lookup::Sight,
};

pub const MS: u64 = 1_000_000;

/// What a trace goes through.
#[derive(Clone, Debug)]
pub enum Course {
    Event(Event),
    /// Time passes without an event: so many nanoseconds.
    Advance(u64),
    See(Sight),
    /// The Service's address or the endpoint's is called otherwise from now on; or no more, with 0.
    Learn {
        is_endpoint: bool,
        name: u16,
    },
}

impl Course {
    /// The address that is learned of, and who holds it.
    pub fn holders(is_endpoint: bool, name: u16) -> (IpAddr, Arc<[Holder]>) {
        let address = if is_endpoint { [10, 244, 1, 3] } else { [10, 96, 0, 10] };
        let kind = if is_endpoint { Kind::Pod } else { Kind::Service };
        let called = Name { kind, namespace: "kube-system".into(), name: format!("name-{name}").into() };
        let holder =
            Holder { name: called.into(), ports: vec![(53, Transport::Udp)], is_whole: !is_endpoint };
        (address.into(), if name == 0 { [].into() } else { [holder].into() })
    }
}

fn flow(client: u64, transport: Transport) -> Flow {
    let source = SocketAddr::from(([10, 244, 1, client as u8], 40_000));
    Flow { source, destination: SocketAddr::from(([10, 96, 0, 10], 53)), transport }
}

fn task(cgroup: u64) -> Task {
    let pid = 100 + cgroup as u32;
    Task { cgroup, pid, tid: pid, comm: "dig".into() }
}

/// An A query for `a.` with this id, or its answer.
fn dns(id: u16, response: bool) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    vec![high, low, if response { 0x81 } else { 1 }, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'a', 0, 0, 1, 0, 1]
}

fn seen(time: u64, cgroup: u64, payload: Vec<u8>, response: bool) -> SocketMessage {
    let flow = flow(cgroup, Transport::Udp);
    SocketMessage {
        time: KernelTime(time),
        direction: if response { Direction::Received } else { Direction::Sent },
        flow: if response { flow.reversed() } else { flow },
        socket: cgroup,
        netns: 7 + cgroup as u32,
        task: task(cgroup),
        arrived: response.then_some(KernelTime(time.saturating_sub(1))),
        length: payload.len() as u32,
        payload: payload.into(),
        gap: None,
    }
}

/// A query of the process in this cgroup, or its answer.
pub fn message(time: u64, cgroup: u64, id: u16, response: bool) -> Event {
    Event::Message(seen(time, cgroup, dns(id, response), response))
}

fn packet(cgroup: u64, id: u16, netns: Option<u32>) -> Packet {
    let payload = dns(id, false);
    Packet {
        flow: flow(cgroup, Transport::Udp),
        netns,
        tracking: Tracking::Connection(entry(cgroup)),
        tcp: None,
        length: payload.len() as u32,
        payload: payload.into(),
    }
}

fn entry(cgroup: u64) -> Connection {
    let original = flow(cgroup, Transport::Udp);
    let reply = Flow { source: "10.244.1.3:53".parse().unwrap(), ..original.reversed() };
    Connection { ct: 0xffff_8880_0000_0000 + cgroup, original, reply }
}

/// A piece of a stream with one message in it, or of something else.
fn stream(time: u64, cgroup: u64, id: u16, response: bool, cut: usize) -> Event {
    let message = dns(id, response);
    let mut bytes = vec![0, message.len() as u8];
    bytes.extend(message);
    bytes.truncate(cut);
    let flow = flow(cgroup, Transport::Tcp);
    Event::Stream(StreamBytes {
        time: KernelTime(time),
        direction: if response { Direction::Received } else { Direction::Sent },
        flow: if response { flow.reversed() } else { flow },
        socket: 10 + cgroup,
        netns: 7,
        task: task(cgroup),
        state: TcpState::Established,
        seq: (cut % 2 == 1).then_some(u32::from(id) * 21),
        length: bytes.len() as u32 + u32::from(cut == 4),
        bytes: Bytes::from(bytes),
    })
}

fn change(time: u64, cgroup: u64, from: TcpState, to: TcpState) -> Event {
    Event::Connection(ConnectionChange {
        time: KernelTime(time),
        socket: 10 + cgroup,
        netns: 7,
        flow: flow(cgroup, Transport::Tcp),
        from,
        to,
        task: (to == TcpState::SynSent).then(|| task(cgroup)),
        encrypted: false,
        error: (to == TcpState::Close).then_some(104),
        bytes_acked: 1,
        bytes_received: u64::MAX,
        rtt_us: Some(9),
    })
}

/// One of them, at 0.
pub fn course() -> impl Strategy<Value = (u64, Course)> {
    let choices = (0u64..3_000, 0u8..22, 1u64..4, 0u16..4, any::<bool>(), 0usize..24);
    choices
        .prop_map(|(step, kind, cgroup, id, response, cut)| (step * MS, at(kind, cgroup, id, response, cut)))
}

fn at(kind: u8, cgroup: u64, id: u16, response: bool, cut: usize) -> Course {
    use TcpState::{Close, Established, SynSent};
    let time = KernelTime(0);
    Course::Event(match kind {
        0..=6 => message(0, cgroup, id, response),
        7 => Event::Message(seen(0, cgroup, vec![b'x'; cut], response)),
        8 => stream(0, cgroup, id, response, 21),
        9 => stream(0, cgroup, id, response, cut),
        10 => change(0, cgroup, Close, SynSent),
        11 => change(0, cgroup, SynSent, Established),
        12 => change(0, cgroup, Established, Close),
        13 => Event::Confirm(Box::new(Confirm {
            time,
            began: time,
            packet: packet(cgroup, id, Some(1)),
            result: if response { ConfirmResult::Inserted } else { ConfirmResult::Merged { ct: 5 } },
        })),
        14 => Event::Drop(Box::new(PacketDrop {
            time,
            packet: packet(cgroup, id, response.then_some(1)),
            place: DropPlace {
                reason: Some("NETFILTER_DROP".into()),
                function: None,
                hook: Some(NetfilterHook::Forward),
            },
            arrived: None,
            table_full: response.then(TableFull::default),
        })),
        15 => Event::Icmp(Box::new(Icmp {
            time,
            packet: packet(cgroup, id, Some(7)),
            direction: if response { Direction::Received } else { Direction::Sent },
            error: IcmpError::V4 { kind: 3, code: 3 },
        })),
        16 => Event::Cgroup(CgroupMade { time, cgroup, hierarchy: 0, path: "/kubepods/x".into() }),
        17 => Event::Loss(Loss { since: time, time, events: u64::from(id) }),
        18 if response => return Course::See(Sight { clashes: id.is_multiple_of(2) }),
        18 => Event::SendFailure(SendFailure {
            time,
            errno: 101,
            message: Refused::Unsent(Box::new(seen(0, cgroup, dns(id, false), false))),
        }),
        19 | 20 => return Course::Learn { is_endpoint: response, name: id % 4 },
        _ => return Course::Advance(u64::from(id) * 500 * MS),
    })
}

/// One after another, and now and then one that comes late.
pub fn in_time(courses: Vec<(u64, Course)>) -> Vec<Course> {
    let mut now = 10_000 * MS;
    let timed = courses.into_iter().map(|(step, course)| {
        if let Course::Advance(by) = course {
            now += by;
            return course;
        }
        let late = if step.is_multiple_of(7 * MS) { 100 * MS } else { 0 };
        now += if late == 0 { step } else { 0 };
        match course {
            Course::Event(mut event) => {
                set_time(&mut event, KernelTime(now - late));
                Course::Event(event)
            }
            other => other,
        }
    });
    std::iter::once(Course::Advance(10_000 * MS)).chain(timed).collect()
}

fn set_time(event: &mut Event, now: KernelTime) {
    match event {
        Event::Message(message) => (message.time, message.arrived) = (now, message.arrived.map(|_| now)),
        Event::Cgroup(made) => made.time = now,
        Event::Confirm(confirm) => (confirm.time, confirm.began) = (now, now),
        Event::Drop(drop) => drop.time = now,
        Event::Icmp(icmp) => icmp.time = now,
        Event::SendFailure(failure) => {
            failure.time = now;
            if let Refused::Unsent(message) = &mut failure.message {
                message.time = now;
            }
        }
        Event::Stream(bytes) => bytes.time = now,
        Event::Connection(change) => change.time = now,
        Event::Loss(loss) => (loss.since, loss.time) = (now, now),
        other => panic!("{other:?}"),
    }
}
