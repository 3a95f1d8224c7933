//! DNS packets on their way between the sockets: what connection tracking, netfilter, routing and ICMP did to them.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Direction, Flow, KernelTime, SocketMessage};

/// A DNS packet where the kernel handled it, away from the sockets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Packet {
    /// As its headers are at this point: before or after translation.
    pub flow: Flow,
    /// Inode number of the network namespace; none if the kernel's structures did not tell.
    pub netns: Option<u32>,
    pub tracking: Tracking,
    /// Of a TCP packet.
    pub tcp: Option<TcpHead>,
    /// The beginning of the payload: of a UDP packet the DNS message's header and question, if it held them; of a TCP
    /// packet whatever part of the stream it carries.
    pub payload: Bytes,
    /// Bytes of payload.
    pub length: u32,
}

/// What a TCP header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpHead {
    /// Sequence number of the first byte of payload, or of the SYN.
    pub seq: u32,
    pub syn: bool,
    pub ack: bool,
    pub fin: bool,
    pub rst: bool,
}

/// What connection tracking knows of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tracking {
    /// It has not seen the packet, or has let go of it (at a socket, on the way through a veth).
    None,
    /// A rule says not to track it (NOTRACK).
    Untracked,
    Connection(Connection),
}

/// An entry of connection tracking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Kernel address of the `struct nf_conn`: tells entries apart while they live.
    pub ct: u64,
    /// From the client to whom it addressed (the ClusterIP).
    pub original: Flow,
    /// From who really answers (the endpoint) to whom it will answer.
    pub reply: Flow,
}

impl Connection {
    /// The endpoint behind the address that the client used; none if nothing is translated.
    pub fn endpoint(&self) -> Option<SocketAddr> {
        (self.reply.source != self.original.destination).then_some(self.reply.source)
    }
}

impl Tracking {
    /// The entry, if there is one.
    pub fn connection(&self) -> Option<&Connection> {
        match self {
            Self::Connection(connection) => Some(connection),
            Self::None | Self::Untracked => None,
        }
    }
}

/// Connection tracking was to insert the entry of a flow's first packet (`__nf_conntrack_confirm`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Confirm {
    /// When that was done.
    pub time: KernelTime,
    /// When it began.
    pub began: KernelTime,
    /// With the entry that was to be inserted.
    pub packet: Packet,
    pub result: ConfirmResult,
}

/// What insertion came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConfirmResult {
    /// The packet goes on, its entry is in the table.
    Inserted,
    /// The packet goes on with the entry at this address, with which its own clashed.
    Merged { ct: u64 },
    /// The packet goes on, but only the reply direction of its entry is in the table, for one second.
    ReplyOnly,
    /// The packet is dropped.
    Failed,
    /// It could not be told.
    Unknown,
    /// Nothing was to be inserted: the packet is not tracked, by a rule (NOTRACK). Told where it reached its socket.
    Untracked,
}

/// An entry that was to be inserted met another one (`nf_ct_resolve_clash`); a [`Confirm`] of it follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clash {
    pub time: KernelTime,
    /// Kernel address of the entry that came second.
    pub loser: u64,
    /// The entry that was there first.
    pub winner: Connection,
}

/// An entry was thrown out of the full table to make room for another (`early_drop`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Eviction {
    pub time: KernelTime,
    pub netns: Option<u32>,
    pub victim: Connection,
}

/// A packet was freed without being delivered (the tracepoint `kfree_skb`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PacketDrop {
    pub time: KernelTime,
    pub packet: Packet,
    pub place: DropPlace,
    /// When it had been put into a socket's buffer.
    pub arrived: Option<KernelTime>,
    /// The connection tracking table was full when it came.
    pub table_full: Option<TableFull>,
}

/// Where and why a packet was dropped, in the kernel's words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropPlace {
    /// `enum skb_drop_reason` without its prefix: `NETFILTER_DROP`. None on kernels without reasons.
    pub reason: Option<Arc<str>>,
    /// The function that gave it up; none if the kernel hides its symbols.
    pub function: Option<Arc<str>>,
    /// The netfilter hook that it was in.
    pub hook: Option<NetfilterHook>,
}

/// The five places where netfilter looks at packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NetfilterHook {
    Prerouting,
    Input,
    Forward,
    Output,
    Postrouting,
}

/// How full the connection tracking table is. The sizes are read when the event is, a moment after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableFull {
    /// Entries of the node's own network namespace; none if they could not be read, or the table is another one's.
    pub count: Option<u64>,
    /// `net.netfilter.nf_conntrack_max`.
    pub max: Option<u64>,
}

/// An ICMP or ICMPv6 error about a DNS packet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Icmp {
    pub time: KernelTime,
    /// The packet that the error is about.
    pub packet: Packet,
    /// Whether the error was sent from this namespace (`__icmp_send`) or came in (`__udp4_lib_err`).
    pub direction: Direction,
    pub error: IcmpError,
}

/// Type and code of an ICMP error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum IcmpError {
    V4 { kind: u8, code: u8 },
    V6 { kind: u8, code: u8 },
}

/// The kernel refused to send (`udp_sendmsg`, `udpv6_sendmsg`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SendFailure {
    pub time: KernelTime,
    /// Positive errno.
    pub errno: u16,
    pub message: Refused,
}

/// What was not sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Refused {
    /// The packet was built and seen: the message that this socket sent at this time.
    Sent { time: KernelTime, socket: u64 },
    /// There was never a packet: the message as the program handed it over. Its source address may be unspecified.
    Unsent(Box<SocketMessage>),
}

/// Events were lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// After this time,
    pub since: KernelTime,
    /// and up to this one,
    pub time: KernelTime,
    /// so many events were not delivered.
    pub events: u64,
}
