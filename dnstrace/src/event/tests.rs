//! Records to events, and bytes that are none.

use bytes::Bytes;
use dnstrace_ebpf::wire;
use dnstrace_ebpf::wire::{CgroupEvent, EventHeader, MessageEvent, kind, message_flag};
use proptest::prelude::*;
use zerocopy::IntoBytes;

use super::*;

/// A kernel that has a word for everything.
struct TestNames;

impl Names for TestNames {
    fn drop_place(&mut self, reason: u32, location: u64, frames: &[u64]) -> DropPlace {
        DropPlace {
            reason: (reason != wire::NO_REASON).then(|| format!("REASON_{reason}").into()),
            function: Some(format!("f_{location:x}").into()),
            hook: (frames == [1, 2]).then_some(NetfilterHook::Forward),
        }
    }

    fn table_full(&mut self, _: Option<u32>) -> TableFull {
        TableFull { count: Some(8), max: Some(8) }
    }
}

fn message_record(length: u32, payload: &[u8], flags: u8, segment: u16) -> Vec<u8> {
    let mut saddr = [0; 16];
    saddr[10..].copy_from_slice(&[0xff, 0xff, 10, 244, 1, 7]);
    let mut daddr = [0; 16];
    daddr[..2].copy_from_slice(&[0xfd, 0x00]);
    daddr[15] = 10;
    let mut comm = [0; 16];
    comm[..4].copy_from_slice(b"curl");
    let raw = MessageEvent {
        header: EventHeader { time_ns: 5, kind: kind::MESSAGE, hook: 0, cpu: 1 },
        sock: 77,
        task: wire::Task { cgroup: 42, pid: 10, tid: 11, comm },
        netns: 4_026_531_840,
        direction: wire::SENT,
        flags,
        segment,
        flow: wire::Flow { saddr, daddr, sport: 40_000, dport: 53, protocol: 17, reserved: [0; 3] },
        arrived_ns: 0,
        length,
        captured: u32::try_from(payload.len()).unwrap(),
    };
    let mut record = raw.as_bytes().to_vec();
    record.extend_from_slice(payload);
    record
}

fn messages(record: &[u8]) -> Vec<SocketMessage> {
    let mut events = Vec::new();
    decode(record, &mut TestNames, &mut events).unwrap();
    events
        .into_iter()
        .map(|event| match event {
            Event::Message(message) => message,
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn no_payload_is_longer_than_its_message() {
    let [message] = &messages(&message_record(2, b"abcd", 0, 0))[..] else { panic!("one message") };
    assert_eq!((&message.payload[..], message.length), (&b"ab"[..], 2));
}

#[test]
fn a_message_keeps_every_field() {
    let [message] = &messages(&message_record(4, b"abcd", 0, 0))[..] else { panic!("one message") };
    assert_eq!(message.time, KernelTime(5));
    assert_eq!(message.flow.source, "10.244.1.7:40000".parse().unwrap());
    assert_eq!(message.flow.destination, "[fd00::a]:53".parse().unwrap());
    assert_eq!(message.flow.transport, Transport::Udp);
    assert_eq!(message.direction, Direction::Sent);
    assert_eq!((message.socket, message.netns, message.length), (77, 4_026_531_840, 4));
    assert_eq!(message.task, Task { cgroup: 42, pid: 10, tid: 11, comm: "curl".into() });
    assert_eq!(&message.payload[..], b"abcd");
    assert_eq!(message.gap, None);
}

#[test]
fn a_segmented_send_is_several_messages_and_the_last_is_the_rest() {
    let record = message_record(7, b"aaabbb", message_flag::SEGMENTED | message_flag::NONLINEAR, 3);
    let parts: Vec<_> = messages(&record).into_iter().map(|m| (m.length, m.payload)).collect();
    assert_eq!(parts, [(3, "aaa".into()), (3, "bbb".into()), (1, Bytes::new())]);
}

#[test]
fn a_cgroup_keeps_its_path() {
    let raw = CgroupEvent {
        header: EventHeader { time_ns: 9, kind: kind::CGROUP, hook: 3, cpu: 0 },
        cgroup: 4711,
        hierarchy: 0,
        captured: 5,
    };
    let mut record = raw.as_bytes().to_vec();
    record.extend_from_slice(b"/a/bc");
    let mut events = Vec::new();
    decode(&record, &mut TestNames, &mut events).unwrap();
    assert_eq!(
        events,
        [Event::Cgroup(CgroupMade { time: KernelTime(9), cgroup: 4711, hierarchy: 0, path: "/a/bc".into() })]
    );
}

#[test]
fn a_template_is_no_entry() {
    let flow = |protocol| wire::Flow {
        saddr: [0; 16],
        daddr: [0; 16],
        sport: 0,
        dport: 0,
        protocol,
        reserved: [0; 3],
    };
    let tracking = |ct, protocol| {
        let connection = wire::Connection { ct, original: flow(protocol), reply: flow(protocol) };
        let raw = wire::IcmpEvent {
            header: EventHeader { time_ns: 9, kind: kind::ICMP, hook: 0, cpu: 0 },
            packet: wire::Packet {
                flow: flow(17),
                connection,
                netns: 1,
                ctinfo: 2,
                tcp: wire::TcpHead { seq: 0, flags: 0, reserved: [0; 3] },
                length: 0,
                captured: 0,
            },
            direction: wire::SENT,
            icmp_type: 3,
            icmp_code: 3,
            version: 4,
            reserved: 0,
        };
        let mut events = Vec::new();
        decode(raw.as_bytes(), &mut TestNames, &mut events).unwrap();
        match events.pop() {
            Some(Event::Icmp(icmp)) => icmp.packet.tracking,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(tracking(0, 0), Tracking::None);
    assert_eq!(tracking(7, 0), Tracking::None);
    assert_eq!(tracking(7, 17).connection().map(|entry| entry.ct), Some(7));
}

#[test]
fn what_is_not_ours_is_refused_by_name() {
    let mut record = message_record(4, b"abcd", 0, 0);
    record.truncate(record.len() - 1);
    assert_eq!(decode(&record, &mut TestNames, &mut Vec::new()), Err(WireError::Short(record.len())));
    record[8] = 99;
    assert_eq!(decode(&record, &mut TestNames, &mut Vec::new()), Err(WireError::Kind(99)));
    assert_eq!(decode(&[], &mut TestNames, &mut Vec::new()), Err(WireError::Short(0)));
}

proptest! {
    #[test]
    fn no_bytes_can_break_it(mut record in proptest::collection::vec(any::<u8>(), 0..500), kind in 0u8..10) {
        if let Some(byte) = record.get_mut(8) { *byte = kind; }
        if let Some(byte) = record.get_mut(9) { *byte = 0; }
        let _ = decode(&record, &mut TestNames, &mut Vec::new());
    }
}
