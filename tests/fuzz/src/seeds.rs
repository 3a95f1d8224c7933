//! What the fuzzer begins with: for each target, inputs with something of everything. Made, not kept: a record of yesterday's
//! layout is no seed.

use std::net::Ipv4Addr;

use dnstrace::{
    event::KernelTime,
    identify::Owner,
    losses::Losses,
    recording::format::{self, Line},
};
use dnstrace_ebpf::wire::{self, kind};
use etherparse::PacketBuilder;
use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query},
    rr::{Name, RData, Record, RecordType, rdata},
};
use zerocopy::{FromZeros as _, Immutable, IntoBytes};

use crate::event::events;

const CLIENT: [u8; 4] = [10, 244, 1, 7];
const SERVER: [u8; 4] = [10, 96, 0, 10];
const PORT: u16 = 40_000;
const UDP: u8 = 17;
const TCP: u8 = 6;

/// The seeds of a target; none if there is no such target.
pub fn of(target: &str) -> Vec<Vec<u8>> {
    match target {
        "event" => [udp(), tcp()].concat(),
        // None is missing, and the comparison is with the half.
        "dns" => messages().iter().map(|message| [&[0, 0, 128], &message[..]].concat()).collect(),
        "stream" => vec![(1..64).collect(), calls()],
        "file" => vec![pcap(&messages()), recording()],
        "trace" => [udp(), tcp()].map(|records| lengths_before(&records)).to_vec(),
        _ => Vec::new(),
    }
}

/// A query, its answer, one with an alias, one that does not exist, and each kind of record that is shown in its own way.
fn messages() -> Vec<Vec<u8>> {
    let name = |text: &str| text.parse::<Name>().expect("a name");
    let asked = name("www.example.com.");
    let mut query = Message::new(4711, MessageType::Query, OpCode::Query);
    query.add_query(Query::query(asked.clone(), RecordType::A));
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    query.set_edns(edns);
    let mut answer = Message::new(4711, MessageType::Response, OpCode::Query);
    answer.add_query(Query::query(asked.clone(), RecordType::A));
    let data = [
        RData::CNAME(rdata::CNAME(name("web.example.com."))),
        RData::A(Ipv4Addr::new(192, 0, 2, 80).into()),
        RData::TXT(rdata::TXT::new(vec!["v=spf1 \u{1b}[31m -all".to_owned()])),
        RData::MX(rdata::MX::new(10, name("mail.example.com."))),
        RData::SRV(rdata::SRV::new(1, 2, 53, name("dns.example.com."))),
    ];
    answer.add_answers(data.map(|data| Record::from_rdata(asked.clone(), 30, data)));
    let mut nowhere = Message::new(7, MessageType::Response, OpCode::Query);
    nowhere.add_query(Query::query(name("nowhere.example."), RecordType::AAAA));
    nowhere.metadata.response_code = hickory_proto::op::ResponseCode::NXDomain;
    [query, answer, nowhere].map(|message| message.to_vec().expect("a message")).to_vec()
}

fn record(raw: &(impl IntoBytes + Immutable), payload: &[u8]) -> Vec<u8> {
    [raw.as_bytes(), payload].concat()
}

fn length(payload: &[u8]) -> u32 {
    u32::try_from(payload.len()).unwrap_or(u32::MAX)
}

fn header(kind: u16, time_ms: u64) -> wire::EventHeader {
    wire::EventHeader { time_ns: time_ms * 1_000_000, kind, hook: 0, cpu: 0 }
}

fn mapped([a, b, c, d]: [u8; 4]) -> [u8; 16] {
    Ipv4Addr::new(a, b, c, d).to_ipv6_mapped().octets()
}

/// From the client to the server.
fn flow(protocol: u8) -> wire::Flow {
    let (saddr, daddr) = (mapped(CLIENT), mapped(SERVER));
    wire::Flow { saddr, daddr, sport: PORT, dport: 53, protocol, reserved: [0; 3] }
}

fn reversed(flow: wire::Flow) -> wire::Flow {
    let wire::Flow { saddr, daddr, sport, dport, .. } = flow;
    wire::Flow { saddr: daddr, daddr: saddr, sport: dport, dport: sport, ..flow }
}

fn task() -> wire::Task {
    wire::Task { cgroup: 42, pid: 10, tid: 11, comm: *b"dig\x1b[31m\xe2\x80\xae\0\0\0\0\0" }
}

fn message(time: u64, is_answer: bool, payload: &[u8]) -> wire::MessageEvent {
    let mut raw = wire::MessageEvent::new_zeroed();
    raw.header = header(kind::MESSAGE, time);
    (raw.sock, raw.task, raw.netns) = (77, task(), 7);
    raw.direction = if is_answer { wire::RECEIVED } else { wire::SENT };
    raw.flow = if is_answer { reversed(flow(UDP)) } else { flow(UDP) };
    (raw.length, raw.captured) = (length(payload), length(payload));
    raw
}

fn connection() -> wire::Connection {
    wire::Connection { ct: 5, original: flow(UDP), reply: reversed(flow(UDP)) }
}

fn packet(payload: &[u8]) -> wire::Packet {
    let mut raw = wire::Packet::new_zeroed();
    (raw.flow, raw.connection, raw.netns) = (flow(UDP), connection(), 7);
    (raw.length, raw.captured) = (length(payload), length(payload));
    raw
}

/// A query over UDP with everything that may befall it, and then its answer.
fn udp() -> Vec<Vec<u8>> {
    let [query, answer, _] = &messages()[..] else { return Vec::new() };
    let mut cgroup = wire::CgroupEvent::new_zeroed();
    let path = b"/kubepods/pod1e5d7c2a-1b3f-4c6d-8e9f-a0b1c2d3e4f5";
    (cgroup.header, cgroup.cgroup, cgroup.captured) = (header(kind::CGROUP, 0), 42, length(path));
    let mut confirm = wire::ConfirmEvent::new_zeroed();
    (confirm.header, confirm.packet, confirm.ct_after) = (header(kind::CONFIRM, 2), packet(query), 5);
    let mut clash = wire::ClashEvent::new_zeroed();
    (clash.header, clash.loser, clash.winner) = (header(kind::CLASH, 2), 6, connection());
    let mut eviction = wire::EvictionEvent::new_zeroed();
    (eviction.header, eviction.victim, eviction.netns) = (header(kind::EVICTION, 3), connection(), 7);
    let mut drop = wire::DropEvent::new_zeroed();
    (drop.header, drop.packet, drop.location, drop.reason) = (header(kind::DROP, 4), packet(query), 9, 2);
    let mut icmp = wire::IcmpEvent::new_zeroed();
    (icmp.header, icmp.packet) = (header(kind::ICMP, 5), packet(query));
    (icmp.icmp_type, icmp.icmp_code, icmp.version) = (3, 3, 4);
    let mut failure = wire::SendFailureEvent::new_zeroed();
    failure.message = message(6, false, query);
    failure.message.header.kind = kind::SEND_FAILURE;
    failure.errno = 1;
    let mut segmented = message(7, false, query);
    (segmented.flags, segmented.segment) = (wire::message_flag::SEGMENTED, 16);
    vec![
        record(&cgroup, path),
        record(&message(1, false, query), query),
        record(&confirm, query),
        record(&clash, &[]),
        record(&eviction, &[]),
        record(&drop, query),
        record(&icmp, query),
        record(&failure, query),
        record(&segmented, query),
        record(&message(9, true, answer), answer),
    ]
}

/// A connection with a query, its answer and a segment that is sent again; and one that could not be opened.
fn tcp() -> Vec<Vec<u8>> {
    let change = |time, from, to| {
        let mut raw = wire::ConnectionEvent::new_zeroed();
        (raw.header, raw.sock, raw.netns) = (header(kind::CONNECTION, time), 78, 7);
        (raw.old_state, raw.new_state, raw.flow) = (from, to, flow(TCP));
        (raw.task, raw.flags) = (task(), if to == 2 { wire::connection_flag::HAS_TASK } else { 0 });
        record(&raw, &[])
    };
    let bytes = |time, message: &[u8]| {
        let framed = [&u16::try_from(message.len()).unwrap_or(u16::MAX).to_be_bytes(), message].concat();
        let mut raw = wire::StreamEvent::new_zeroed();
        (raw.header, raw.sock, raw.task, raw.netns) = (header(kind::STREAM, time), 78, task(), 7);
        (raw.state, raw.flow, raw.seq) = (1, flow(TCP), 1_000);
        (raw.length, raw.captured) = (length(&framed), length(&framed));
        if time > 3 {
            (raw.direction, raw.flow) = (wire::RECEIVED, reversed(flow(TCP)));
        }
        record(&raw, &framed)
    };
    let mut again = wire::RetransmissionEvent::new_zeroed();
    (again.header, again.sock, again.netns) = (header(kind::RETRANSMISSION, 4), 78, 7);
    (again.state, again.flow) = (1, flow(TCP));
    let mut refused = wire::ConnectFailureEvent::new_zeroed();
    (refused.header, refused.sock, refused.netns) = (header(kind::CONNECT_FAILURE, 9), 79, 7);
    (refused.task, refused.flow, refused.errno) = (task(), flow(TCP), 101);
    let mut module = wire::ModuleEvent::new_zeroed();
    module.header = header(kind::MODULE, 9);
    module.name[..12].copy_from_slice(b"nf_conntrack");
    let [query, answer, _] = &messages()[..] else { return Vec::new() };
    // Closed, SYN sent, established; and closed again.
    vec![
        change(1, 7, 2),
        change(2, 2, 1),
        bytes(3, query),
        record(&again, &[]),
        bytes(5, answer),
        change(6, 1, 7),
        record(&refused, &[]),
        record(&module, &[]),
    ]
}

fn lengths_before(records: &[Vec<u8>]) -> Vec<u8> {
    let length = |record: &Vec<u8>| u16::try_from(record.len()).unwrap_or(u16::MAX).to_le_bytes();
    records.iter().flat_map(|record| [&length(record), &record[..]].concat()).collect()
}

/// For the second part of the target `stream`: a call that takes a whole message, and one behind a gap.
fn calls() -> Vec<u8> {
    let message = &messages()[0];
    let framed = [&u16::try_from(message.len()).unwrap_or(u16::MAX).to_be_bytes(), &message[..]].concat();
    let call = |what| [&[what, 1, 1, 0, 9, 0, 0, framed.len().to_le_bytes()[0]], &framed[..]].concat();
    [call(0x2f), call(0x22), call(0x28), call(0x2f), call(0x10)].concat()
}

/// Messages between the client and the server in a file of libpcap, by raw IP: over UDP, as a fragment, and over TCP.
fn pcap(messages: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    for number in [0xa1b2_c3d4, 2 | 4 << 16, 0, 0, 65_535, 101] {
        file.extend(u32::to_le_bytes(number));
    }
    let mut add = |packet: &[u8]| {
        for number in [1_700_000_000, 0, length(packet), length(packet)] {
            file.extend(u32::to_le_bytes(number));
        }
        file.extend(packet);
    };
    for (at, message) in messages.iter().enumerate() {
        let (from, to) =
            if at == 0 { ((CLIENT, PORT), (SERVER, 53)) } else { ((SERVER, 53), (CLIENT, PORT)) };
        let mut packet = Vec::new();
        let udp = PacketBuilder::ipv4(from.0, to.0, 64).udp(from.1, to.1);
        udp.write(&mut packet, message).expect("a packet");
        add(&packet);
        // "More fragments follow".
        packet[6] |= 0x20;
        add(&packet);
        let framed = [&u16::try_from(message.len()).unwrap_or(u16::MAX).to_be_bytes(), &message[..]].concat();
        let mut packet = Vec::new();
        let tcp = PacketBuilder::ipv4(from.0, to.0, 64).tcp(from.1, to.1, 1, 1_000).ack(1);
        tcp.write(&mut packet, &framed).expect("a packet");
        add(&packet);
    }
    file
}

/// A recording of [`udp`] and [`tcp`].
fn recording() -> Vec<u8> {
    // A section header block of pcapng: type, length, byte order, version 1.0, length of the section not known, length.
    let section = [0x0a0d_0d0a, 28, 0x1a2b_3c4d, 1, u32::MAX, u32::MAX, 28].map(u32::to_le_bytes).concat();
    // As a dnstrace wrote it that knew no fields of later ones.
    let head = serde_json::json!({
        "version": "0",
        "node": { "name": "node-1", "boot_id": "b" },
        "trace_began": 0,
        "segment": 1,
        "events_before": 0,
        "ports": [53],
        "begin": {
            "time": 0,
            "clock_offset_ns": 1_700_000_000_000_000_000_i64,
            "timeout": 6_000_000_000_u64,
            "count": null,
            "sight": { "clashes": true },
            "host_netns": 1,
            "namespace": null,
            "knows_owners": true,
            "description": "a recording of node-1",
        },
    });
    let head = serde_json::from_value(head).expect("a head");
    let of_kernel = [udp(), tcp()].concat();
    let of_kernel = of_kernel.iter().flat_map(|record| events(record).unwrap_or_default()).map(Line::Event);
    let mut lines = vec![Line::Begin(head), Line::Owner { cgroup: 42, owner: Owner::default() }];
    lines.extend(of_kernel);
    lines.push(Line::End { time: KernelTime(10_000_000), losses: Losses::default() });
    let blocks = lines.iter().flat_map(|line| format::encode(line).expect("a block"));
    section.into_iter().chain(blocks).collect()
}
