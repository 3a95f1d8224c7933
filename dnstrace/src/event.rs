//! Events: what a [`crate::source`] yields and the core works on. Decoded from the kernel's wire records (or a
//! recording), free of kernel layout.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use dnstrace_ebpf::wire;
use zerocopy::FromBytes;

/// Kernel time: nanoseconds of `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KernelTime(pub u64);

impl KernelTime {
    /// Nanoseconds from `earlier` to `self`; 0 if `earlier` is the later one (two CPUs, one instant).
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This time moved on by `nanoseconds`.
    pub fn plus(self, nanoseconds: u64) -> Self {
        Self(self.0.saturating_add(nanoseconds))
    }
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A DNS message passed a socket.
    Message(SocketMessage),
    /// A cgroup was made: a container is about to start.
    Cgroup(CgroupMade),
}

impl Event {
    /// When it happened.
    pub fn time(&self) -> KernelTime {
        match self {
            Self::Message(message) => message.time,
            Self::Cgroup(made) => made.time,
        }
    }
}

/// UDP or TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    Udp,
    Tcp,
}

/// The two ends of a message, from its sender to its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flow {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub transport: Transport,
}

/// Whether the socket sent the message or a program received it from the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    Sent,
    Received,
}

/// The task in which the message passed the socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Task {
    /// Id of its cgroup.
    pub cgroup: u64,
    /// Process id on the node.
    pub pid: u32,
    /// Thread id on the node.
    pub tid: u32,
    /// Name of the process (`comm` of its main thread); comes from strangers, not escaped.
    pub comm: String,
}

/// Why payload is missing from a [`SocketMessage`] beside the capture's own limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CaptureGap {
    /// The rest lay outside the packet's linear part.
    Nonlinear,
    /// The kernel could not read it.
    Unreadable,
}

/// A DNS message at a socket.
#[derive(Clone, Debug, PartialEq)]
pub struct SocketMessage {
    pub time: KernelTime,
    pub direction: Direction,
    pub flow: Flow,
    /// Kernel address of the socket: tells sockets apart while they live.
    pub socket: u64,
    /// Inode number of the socket's network namespace.
    pub netns: u32,
    pub task: Task,
    /// Payload as captured: at most `length` bytes.
    pub payload: Bytes,
    /// Bytes of payload the message really had.
    pub length: u32,
    /// Why `payload` is shorter than `length`, where the capture's limit is not the reason.
    pub gap: Option<CaptureGap>,
}

/// A cgroup was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupMade {
    pub time: KernelTime,
    pub cgroup: u64,
    /// 0 for the unified hierarchy.
    pub hierarchy: u32,
    /// Path below the root of its hierarchy, as the kernel has it.
    pub path: String,
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
    #[error("direction {0} in a message record")]
    Direction(u8),
}

/// Decodes one record of the ring and appends what it holds to `events`: mostly one event, several where one
/// datagram held several messages.
///
/// # Errors
/// If the record is shorter than its kind needs, or of a kind or protocol that does not exist.
pub fn decode(record: &[u8], events: &mut Vec<Event>) -> Result<(), WireError> {
    let (header, _) = read::<wire::EventHeader>(record)?;
    match header.kind {
        wire::kind::MESSAGE => decode_message(record, events),
        wire::kind::CGROUP => {
            events.push(Event::Cgroup(decode_cgroup(record)?));
            Ok(())
        }
        other => Err(WireError::Kind(other)),
    }
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
    let payload = captured(rest, raw.captured, record)?;
    let direction = match raw.direction {
        wire::SENT => Direction::Sent,
        wire::RECEIVED => Direction::Received,
        other => return Err(WireError::Direction(other)),
    };
    let whole = SocketMessage {
        time: KernelTime(raw.header.time_ns),
        direction,
        flow: flow(&raw.flow)?,
        socket: raw.sock,
        netns: raw.netns,
        task: task(&raw.task),
        payload,
        length: raw.length,
        gap: if raw.flags & wire::message_flag::UNREADABLE != 0 {
            Some(CaptureGap::Unreadable)
        } else if raw.flags & wire::message_flag::NONLINEAR != 0 {
            Some(CaptureGap::Nonlinear)
        } else {
            None
        },
    };
    if raw.flags & wire::message_flag::SEGMENTED != 0 && raw.segment != 0 {
        events.extend(segments(whole, u32::from(raw.segment)).map(Event::Message));
    } else {
        events.push(Event::Message(whole));
    }
    Ok(())
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

fn task(raw: &wire::Task) -> Task {
    let name = raw.comm.split(|byte| *byte == 0).next().unwrap_or_default();
    Task { cgroup: raw.cgroup, pid: raw.pid, tid: raw.tid, comm: String::from_utf8_lossy(name).into_owned() }
}

fn flow(raw: &wire::Flow) -> Result<Flow, WireError> {
    Ok(Flow {
        source: SocketAddr::new(address(raw.saddr), raw.sport),
        destination: SocketAddr::new(address(raw.daddr), raw.dport),
        transport: match raw.protocol {
            6 => Transport::Tcp,
            17 => Transport::Udp,
            other => return Err(WireError::Protocol(other)),
        },
    })
}

/// An address of the wire: v4-mapped becomes IPv4, so that one host has one spelling.
fn address(raw: [u8; 16]) -> IpAddr {
    Ipv6Addr::from(raw).to_canonical()
}

#[cfg(test)]
mod tests {
    use dnstrace_ebpf::wire::{CgroupEvent, EventHeader, MessageEvent, kind, message_flag};
    use proptest::prelude::*;
    use zerocopy::IntoBytes;

    use super::*;

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
            length,
            captured: u32::try_from(payload.len()).unwrap(),
        };
        let mut record = raw.as_bytes().to_vec();
        record.extend_from_slice(payload);
        record
    }

    fn messages(record: &[u8]) -> Vec<SocketMessage> {
        let mut events = Vec::new();
        decode(record, &mut events).unwrap();
        events
            .into_iter()
            .map(|event| match event {
                Event::Message(message) => message,
                Event::Cgroup(_) => panic!("a cgroup"),
            })
            .collect()
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
        decode(&record, &mut events).unwrap();
        assert_eq!(
            events,
            [Event::Cgroup(CgroupMade {
                time: KernelTime(9),
                cgroup: 4711,
                hierarchy: 0,
                path: "/a/bc".into()
            })]
        );
    }

    #[test]
    fn what_is_not_ours_is_refused_by_name() {
        let mut record = message_record(4, b"abcd", 0, 0);
        record.truncate(record.len() - 1);
        assert_eq!(decode(&record, &mut Vec::new()), Err(WireError::Short(record.len())));
        record[8] = 99;
        assert_eq!(decode(&record, &mut Vec::new()), Err(WireError::Kind(99)));
        assert_eq!(decode(&[], &mut Vec::new()), Err(WireError::Short(0)));
    }

    proptest! {
        #[test]
        fn no_bytes_can_break_it(mut record in proptest::collection::vec(any::<u8>(), 0..400), kind in 0u8..6) {
            if let Some(byte) = record.get_mut(8) { *byte = kind; }
            if let Some(byte) = record.get_mut(9) { *byte = 0; }
            let _ = decode(&record, &mut Vec::new());
        }
    }
}
