//! Wire records to events.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use dnstrace_ebpf::wire;
use zerocopy::FromBytes;

use super::{
    CaptureGap, CgroupMade, Clash, Confirm, ConfirmResult, ConnectFailure, Connection, ConnectionChange,
    Direction, DropPlace, Event, Eviction, Flow, Icmp, IcmpError, KernelTime, Packet, PacketDrop, Refused,
    Retransmission, SendFailure, SocketMessage, StreamBytes, TableFull, Task, TcpHead, TcpState, Tracking,
    Transport,
};

/// What only the kernel that wrote a record can say of its numbers.
pub trait Names {
    /// Where and why a packet was dropped. `reason` is [`wire::DropEvent::reason`], `location` and `frames` are code
    /// addresses, the innermost first.
    fn drop_place(&mut self, reason: u32, location: u64, frames: &[u64]) -> DropPlace;

    /// How full the connection tracking table is now; `netns` is whose.
    fn table_full(&mut self, netns: Option<u32>) -> TableFull;
}

/// A record that is not of the shape that this build of dnstrace writes.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum WireError {
    #[error("record of {0} bytes is shorter than its kind needs")]
    Short(usize),
    #[error("record of unknown kind {0}")]
    Kind(u16),
    #[error("IP protocol {0} in a DNS record")]
    Protocol(u8),
    #[error("direction {0} in a record")]
    Direction(u8),
    #[error("result {0} of a conntrack insertion")]
    Confirm(u8),
    #[error("errno {0}")]
    Errno(u32),
    #[error("TCP state {0}")]
    TcpState(u8),
}

/// Decodes one record of the ring and appends what it holds to `events`: mostly one event, several where one
/// datagram held several messages.
///
/// # Errors
/// If the record is shorter than its kind needs, or of a kind or protocol that does not exist.
pub fn decode(record: &[u8], names: &mut impl Names, events: &mut Vec<Event>) -> Result<(), WireError> {
    let (header, _) = read::<wire::EventHeader>(record)?;
    let event = match header.kind {
        wire::kind::MESSAGE => return decode_message(record, events),
        wire::kind::CGROUP => Event::Cgroup(decode_cgroup(record)?),
        wire::kind::CONFIRM => Event::Confirm(Box::new(decode_confirm(record)?)),
        wire::kind::CLASH => Event::Clash(decode_clash(record)?),
        wire::kind::EVICTION => Event::Eviction(Box::new(decode_eviction(record)?)),
        wire::kind::DROP => Event::Drop(Box::new(decode_drop(record, names)?)),
        wire::kind::ICMP => Event::Icmp(Box::new(decode_icmp(record)?)),
        wire::kind::SEND_FAILURE => Event::SendFailure(decode_send_failure(record)?),
        wire::kind::STREAM => Event::Stream(decode_stream(record)?),
        wire::kind::CONNECTION => Event::Connection(decode_connection_change(record)?),
        wire::kind::RETRANSMISSION => Event::Retransmission(decode_retransmission(record)?),
        wire::kind::CONNECT_FAILURE => Event::ConnectFailure(decode_connect_failure(record)?),
        wire::kind::MODULE => decode_module(record)?,
        other => return Err(WireError::Kind(other)),
    };
    events.push(event);
    Ok(())
}

/// Splits `record` into its fixed struct and what follows.
fn read<T: FromBytes>(record: &[u8]) -> Result<(T, &[u8]), WireError> {
    T::read_from_prefix(record).map_err(|_| WireError::Short(record.len()))
}

/// The first `captured` bytes of `rest`.
fn captured(rest: &[u8], captured: u32, record: &[u8]) -> Result<Bytes, WireError> {
    rest.get(..captured as usize).map(Bytes::copy_from_slice).ok_or(WireError::Short(record.len()))
}

fn decode_message(record: &[u8], events: &mut Vec<Event>) -> Result<(), WireError> {
    let (raw, rest) = read::<wire::MessageEvent>(record)?;
    let whole = message(&raw, captured(rest, raw.captured.min(raw.length), record)?)?;
    if raw.flags & wire::message_flag::SEGMENTED != 0 && raw.segment != 0 {
        events.extend(segments(whole, u32::from(raw.segment)).map(Event::Message));
    } else {
        events.push(Event::Message(whole));
    }
    Ok(())
}

fn message(raw: &wire::MessageEvent, payload: Bytes) -> Result<SocketMessage, WireError> {
    Ok(SocketMessage {
        time: KernelTime(raw.header.time_ns),
        direction: direction(raw.direction)?,
        flow: flow(&raw.flow)?,
        socket: raw.sock,
        netns: raw.netns,
        task: task(&raw.task),
        arrived: some_time(raw.arrived_ns),
        payload,
        length: raw.length,
        gap: if raw.flags & wire::message_flag::UNREADABLE != 0 {
            Some(CaptureGap::Unreadable)
        } else if raw.flags & wire::message_flag::NONLINEAR != 0 {
            Some(CaptureGap::Nonlinear)
        } else {
            None
        },
    })
}

/// Messages in one segmented payload at the most (`UDP_MAX_SEGMENTS`: 64 up to 6.8, 128 since).
const MAX_SEGMENTS: u32 = 128;

/// The messages of one `UDP_SEGMENT` send or `UDP_GRO` packet: each of `size` bytes, the last what remains.
fn segments(whole: SocketMessage, size: u32) -> impl Iterator<Item = SocketMessage> {
    (0..whole.length.div_ceil(size).min(MAX_SEGMENTS)).map(move |index| {
        let start = index.saturating_mul(size);
        let length = size.min(whole.length - start);
        let have = whole.payload.len();
        let from = (start as usize).min(have);
        let to = (start.saturating_add(length) as usize).min(have);
        SocketMessage { payload: whole.payload.slice(from..to), length, ..whole.clone() }
    })
}

fn decode_cgroup(record: &[u8]) -> Result<CgroupMade, WireError> {
    let (raw, rest) = read::<wire::CgroupEvent>(record)?;
    Ok(CgroupMade {
        time: KernelTime(raw.header.time_ns),
        cgroup: raw.cgroup,
        hierarchy: raw.hierarchy,
        path: String::from_utf8_lossy(&captured(rest, raw.captured, record)?).into_owned(),
    })
}

fn decode_confirm(record: &[u8]) -> Result<Confirm, WireError> {
    let (raw, rest) = read::<wire::ConfirmEvent>(record)?;
    Ok(Confirm {
        time: KernelTime(raw.header.time_ns),
        began: KernelTime(raw.began_ns),
        packet: packet(&raw.packet, rest, record)?,
        result: match raw.result {
            wire::confirm::INSERTED => ConfirmResult::Inserted,
            wire::confirm::MERGED => ConfirmResult::Merged { ct: raw.ct_after },
            wire::confirm::REPLY_ONLY => ConfirmResult::ReplyOnly,
            wire::confirm::FAILED => ConfirmResult::Failed,
            wire::confirm::UNKNOWN => ConfirmResult::Unknown,
            wire::confirm::UNTRACKED => ConfirmResult::Untracked,
            other => return Err(WireError::Confirm(other)),
        },
    })
}

fn decode_clash(record: &[u8]) -> Result<Clash, WireError> {
    let (raw, _) = read::<wire::ClashEvent>(record)?;
    Ok(Clash { time: KernelTime(raw.header.time_ns), loser: raw.loser, winner: connection(&raw.winner)? })
}

fn decode_eviction(record: &[u8]) -> Result<Eviction, WireError> {
    let (raw, _) = read::<wire::EvictionEvent>(record)?;
    Ok(Eviction {
        time: KernelTime(raw.header.time_ns),
        netns: some_netns(raw.netns),
        victim: connection(&raw.victim)?,
    })
}

fn decode_drop(record: &[u8], names: &mut impl Names) -> Result<PacketDrop, WireError> {
    let (raw, rest) = read::<wire::DropEvent>(record)?;
    let packet = packet(&raw.packet, rest, record)?;
    let frames = raw.frames.split(|frame| *frame == 0).next().unwrap_or_default();
    Ok(PacketDrop {
        time: KernelTime(raw.header.time_ns),
        place: names.drop_place(raw.reason, raw.location, frames),
        arrived: some_time(raw.arrived_ns),
        table_full: (raw.table_full != 0).then(|| names.table_full(packet.netns)),
        packet,
    })
}

fn decode_icmp(record: &[u8]) -> Result<Icmp, WireError> {
    let (raw, rest) = read::<wire::IcmpEvent>(record)?;
    let (kind, code) = (raw.icmp_type, raw.icmp_code);
    Ok(Icmp {
        time: KernelTime(raw.header.time_ns),
        packet: packet(&raw.packet, rest, record)?,
        direction: direction(raw.direction)?,
        error: match raw.version {
            6 => IcmpError::V6 { kind, code },
            _ => IcmpError::V4 { kind, code },
        },
    })
}

fn decode_send_failure(record: &[u8]) -> Result<SendFailure, WireError> {
    let (raw, rest) = read::<wire::SendFailureEvent>(record)?;
    let payload = captured(rest, raw.message.captured.min(raw.message.length), record)?;
    Ok(SendFailure {
        time: KernelTime(raw.message.header.time_ns),
        errno: errno(raw.errno)?,
        message: match some_time(raw.sent_ns) {
            Some(time) => Refused::Sent { time, socket: raw.message.sock },
            None => Refused::Unsent(Box::new(message(&raw.message, payload)?)),
        },
    })
}

fn decode_stream(record: &[u8]) -> Result<StreamBytes, WireError> {
    let (raw, rest) = read::<wire::StreamEvent>(record)?;
    let with_syn = raw.flags & wire::stream_flag::WITH_SYN != 0;
    Ok(StreamBytes {
        time: KernelTime(raw.header.time_ns),
        direction: direction(raw.direction)?,
        flow: flow(&raw.flow)?,
        socket: raw.sock,
        netns: raw.netns,
        task: task(&raw.task),
        state: tcp_state(raw.state)?,
        seq: (!with_syn).then_some(raw.seq),
        bytes: captured(rest, raw.captured.min(raw.length), record)?,
        length: raw.length,
    })
}

fn decode_connection_change(record: &[u8]) -> Result<ConnectionChange, WireError> {
    let (raw, _) = read::<wire::ConnectionEvent>(record)?;
    Ok(ConnectionChange {
        time: KernelTime(raw.header.time_ns),
        socket: raw.sock,
        netns: raw.netns,
        flow: flow(&raw.flow)?,
        from: tcp_state(raw.old_state)?,
        to: tcp_state(raw.new_state)?,
        task: (raw.flags & wire::connection_flag::HAS_TASK != 0).then(|| task(&raw.task)),
        encrypted: is_encrypted(raw.flags),
        error: if raw.error == 0 { None } else { Some(errno(raw.error)?) },
        bytes_acked: raw.bytes_acked,
        bytes_received: raw.bytes_received,
        rtt_us: (raw.rtt_us != 0).then_some(raw.rtt_us),
    })
}

fn decode_retransmission(record: &[u8]) -> Result<Retransmission, WireError> {
    let (raw, _) = read::<wire::RetransmissionEvent>(record)?;
    Ok(Retransmission {
        time: KernelTime(raw.header.time_ns),
        socket: raw.sock,
        netns: raw.netns,
        flow: flow(&raw.flow)?,
        state: tcp_state(raw.state)?,
        encrypted: is_encrypted(raw.flags),
    })
}

fn decode_connect_failure(record: &[u8]) -> Result<ConnectFailure, WireError> {
    let (raw, _) = read::<wire::ConnectFailureEvent>(record)?;
    Ok(ConnectFailure {
        time: KernelTime(raw.header.time_ns),
        socket: raw.sock,
        netns: raw.netns,
        task: task(&raw.task),
        flow: flow(&raw.flow)?,
        encrypted: raw.flags & u64::from(wire::connection_flag::ENCRYPTED) != 0,
        errno: errno(raw.errno)?,
    })
}

fn decode_module(record: &[u8]) -> Result<Event, WireError> {
    let (raw, _) = read::<wire::ModuleEvent>(record)?;
    Ok(Event::Module { time: KernelTime(raw.header.time_ns), name: text(&raw.name) })
}

fn is_encrypted(flags: u8) -> bool {
    flags & wire::connection_flag::ENCRYPTED != 0
}

fn tcp_state(raw: u8) -> Result<TcpState, WireError> {
    TcpState::from_number(raw).ok_or(WireError::TcpState(raw))
}

fn errno(raw: u32) -> Result<u16, WireError> {
    u16::try_from(raw).map_err(|_| WireError::Errno(raw))
}

/// A packet, whose payload begins `rest`.
fn packet(raw: &wire::Packet, rest: &[u8], record: &[u8]) -> Result<Packet, WireError> {
    /// `IP_CT_UNTRACKED`, include/uapi/linux/netfilter/nf_conntrack_common.h.
    const UNTRACKED: u32 = 7;
    Ok(Packet {
        flow: flow(&raw.flow)?,
        netns: some_netns(raw.netns),
        tracking: match (raw.connection.ct, raw.ctinfo) {
            (0, UNTRACKED) => Tracking::Untracked,
            (0, _) => Tracking::None,
            // A template (`nf_ct_tmpl_alloc`: a rule of iptables' CT target has seen the packet) has empty tuples.
            _ if raw.connection.original.protocol == 0 => Tracking::None,
            _ => Tracking::Connection(connection(&raw.connection)?),
        },
        tcp: (raw.flow.protocol == TCP).then(|| tcp_head(&raw.tcp)),
        payload: captured(rest, raw.captured.min(raw.length), record)?,
        length: raw.length,
    })
}

fn tcp_head(raw: &wire::TcpHead) -> TcpHead {
    let has = |bit| raw.flags & bit != 0;
    TcpHead { seq: raw.seq, fin: has(1), syn: has(2), rst: has(4), ack: has(16) }
}

fn connection(raw: &wire::Connection) -> Result<Connection, WireError> {
    Ok(Connection { ct: raw.ct, original: flow(&raw.original)?, reply: flow(&raw.reply)? })
}

fn direction(raw: u8) -> Result<Direction, WireError> {
    match raw {
        wire::SENT => Ok(Direction::Sent),
        wire::RECEIVED => Ok(Direction::Received),
        other => Err(WireError::Direction(other)),
    }
}

/// A time that the kernel leaves zero where there is none.
fn some_time(raw: u64) -> Option<KernelTime> {
    (raw != 0).then_some(KernelTime(raw))
}

/// Likewise a namespace.
fn some_netns(raw: u32) -> Option<u32> {
    (raw != 0).then_some(raw)
}

fn task(raw: &wire::Task) -> Task {
    Task { cgroup: raw.cgroup, pid: raw.pid, tid: raw.tid, comm: text(&raw.comm) }
}

/// Up to the first NUL.
fn text(raw: &[u8]) -> String {
    let text = raw.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

/// IP protocol numbers.
const TCP: u8 = 6;
const UDP: u8 = 17;

fn flow(raw: &wire::Flow) -> Result<Flow, WireError> {
    Ok(Flow {
        source: SocketAddr::new(address(raw.saddr), raw.sport),
        destination: SocketAddr::new(address(raw.daddr), raw.dport),
        transport: match raw.protocol {
            TCP => Transport::Tcp,
            UDP => Transport::Udp,
            other => return Err(WireError::Protocol(other)),
        },
    })
}

/// An address of the wire: v4-mapped becomes IPv4, so that one host has one spelling.
fn address(raw: [u8; 16]) -> IpAddr {
    Ipv6Addr::from(raw).to_canonical()
}
