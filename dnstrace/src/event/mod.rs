//! Events: what a [`crate::source`] yields and the core works on. Decoded from the kernel's wire records (or a
//! recording), free of kernel layout.

mod connection;
mod decode;
mod packet;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use connection::{ConnectFailure, ConnectionChange, Retransmission, StreamBytes, TcpState};
pub use decode::{Names, WireError, decode};
pub use packet::{
    Clash, Confirm, ConfirmResult, Connection, DropPlace, Eviction, Icmp, IcmpError, Loss, NetfilterHook,
    Packet, PacketDrop, Refused, SendFailure, TableFull, TcpHead, Tracking,
};

/// Kernel time: nanoseconds of `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// A DNS message passed a socket.
    Message(SocketMessage),
    /// A cgroup was made: a container is about to start.
    Cgroup(CgroupMade),
    /// Connection tracking inserted a DNS packet's entry, or did not.
    Confirm(Box<Confirm>),
    /// Two entries clashed.
    Clash(Clash),
    /// An entry was thrown out of the full connection tracking table.
    Eviction(Box<Eviction>),
    /// A DNS packet was dropped.
    Drop(Box<PacketDrop>),
    /// An ICMP error about a DNS packet.
    Icmp(Box<Icmp>),
    /// The kernel refused to send a DNS message.
    SendFailure(SendFailure),
    /// Bytes of a TCP connection passed a socket.
    Stream(StreamBytes),
    /// A TCP connection changed its state.
    Connection(ConnectionChange),
    /// A TCP segment was sent again.
    Retransmission(Retransmission),
    /// The kernel refused to open a TCP connection.
    ConnectFailure(ConnectFailure),
    /// A module was loaded into the kernel.
    Module { time: KernelTime, name: String },
    /// Events were lost: not one of the kernel's, but of whoever reads them.
    Loss(Loss),
}

impl Event {
    /// When it happened.
    pub fn time(&self) -> KernelTime {
        match self {
            Self::Message(message) => message.time,
            Self::Cgroup(made) => made.time,
            Self::Confirm(confirm) => confirm.time,
            Self::Clash(clash) => clash.time,
            Self::Eviction(eviction) => eviction.time,
            Self::Drop(drop) => drop.time,
            Self::Icmp(icmp) => icmp.time,
            Self::SendFailure(failure) => failure.time,
            Self::Stream(bytes) => bytes.time,
            Self::Connection(change) => change.time,
            Self::Retransmission(again) => again.time,
            Self::ConnectFailure(failure) => failure.time,
            Self::Module { time, .. } => *time,
            Self::Loss(loss) => loss.time,
        }
    }

    /// Whether no payload is longer than its message was: the core counts on that. The decoder of the kernel's records holds to
    /// it; what a file says is asked.
    pub fn is_sound(&self) -> bool {
        let fits = |bytes: &[u8], length: u32| bytes.len() <= length as usize;
        let packet = |packet: &Packet| fits(&packet.payload, packet.length);
        match self {
            Self::Message(message) => fits(&message.payload, message.length),
            Self::Stream(stream) => fits(&stream.bytes, stream.length),
            Self::Confirm(confirm) => packet(&confirm.packet),
            Self::Drop(drop) => packet(&drop.packet),
            Self::Icmp(icmp) => packet(&icmp.packet),
            Self::SendFailure(failure) => match &failure.message {
                Refused::Unsent(message) => fits(&message.payload, message.length),
                Refused::Sent { .. } => true,
            },
            Self::Cgroup(_)
            | Self::Clash(_)
            | Self::Eviction(_)
            | Self::Connection(_)
            | Self::Retransmission(_)
            | Self::ConnectFailure(_)
            | Self::Module { .. }
            | Self::Loss(_) => true,
        }
    }
}

/// UDP or TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Transport {
    Udp,
    Tcp,
}

/// The two ends of a message, from its sender to its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Flow {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub transport: Transport,
}

impl Flow {
    /// The way back.
    pub fn reversed(self) -> Self {
        Self { source: self.destination, destination: self.source, ..self }
    }
}

/// Whether the socket sent the message or a program received it from the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Direction {
    Sent,
    Received,
}

/// The task in which the message passed the socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Task {
    /// Id of its cgroup.
    pub cgroup: u64,
    /// Process id on the node; 0 where no process is known ([`Self::unknown`]).
    pub pid: u32,
    /// Thread id on the node; 0 likewise.
    pub tid: u32,
    /// Name of the process (`comm` of its main thread); comes from strangers, not escaped.
    pub comm: String,
}

impl Task {
    /// Nobody knows which: of packets that were captured on their way.
    pub fn unknown() -> Self {
        Self { cgroup: 0, pid: 0, tid: 0, comm: String::new() }
    }

    /// Whether it is known which process it is.
    pub fn is_known(&self) -> bool {
        self.pid != 0
    }
}

/// Numbers that stand for hosts of a capture: far from those of namespaces, which begin at 0xf0000000 (`PROC_DYNAMIC_FIRST`,
/// fs/proc/generic.c) and for the first ones of the system a little below (0xeffffff9, `NS_NET_INIT_INO`, seen on 7.2).
const HOSTS: std::ops::Range<u32> = 0x2000_0000..0x3000_0000;

/// What stands in the place of a network namespace for a host of a capture, which knows hosts by their addresses alone.
pub fn captured_host(number: u32) -> u32 {
    HOSTS.start + number % (HOSTS.end - HOSTS.start)
}

/// The inode number of a network namespace; none if it stands for a host of a capture.
pub fn known_netns(netns: u32) -> Option<u32> {
    (!HOSTS.contains(&netns)).then_some(netns)
}

/// Why payload is missing from a [`SocketMessage`] beside the capture's own limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CaptureGap {
    /// The rest lay outside the packet's linear part.
    Nonlinear,
    /// The kernel could not read it.
    Unreadable,
}

/// A DNS message at a socket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SocketMessage {
    pub time: KernelTime,
    pub direction: Direction,
    pub flow: Flow,
    /// Kernel address of the socket: tells sockets apart while they live.
    pub socket: u64,
    /// Inode number of the socket's network namespace.
    pub netns: u32,
    pub task: Task,
    /// When the packet was put into the socket's buffer; none where sent, or if that was not seen.
    pub arrived: Option<KernelTime>,
    /// Payload as captured: at most `length` bytes.
    pub payload: Bytes,
    /// Bytes of payload the message really had.
    pub length: u32,
    /// Why `payload` is shorter than `length`, where the capture's limit is not the reason.
    pub gap: Option<CaptureGap>,
}

/// A cgroup was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupMade {
    pub time: KernelTime,
    pub cgroup: u64,
    /// 0 for the unified hierarchy.
    pub hierarchy: u32,
    /// Path below the root of its hierarchy, as the kernel has it.
    pub path: String,
}
