//! Records of the ring buffer.
//!
//! A record is a fixed-size struct that begins with an [`EventHeader`], followed by as many payload bytes as
//! its `captured` field says (none for records without that field).

use core::mem::size_of;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Payload bytes of one DNS message that a record carries at the most. A longer message is captured up to
/// here and shown as truncated.
pub const MAX_PAYLOAD: usize = 4096;

/// Payload bytes that a record of a packet on its way carries at the most: a DNS header and the longest question
/// (12 + 255 + 4) fit.
pub const MAX_EXCERPT: usize = 512;

/// Return addresses that a [`DropEvent`] carries at the most.
pub const MAX_FRAMES: usize = 12;

/// Longest cgroup path that a [`CgroupEvent`] carries, in bytes.
pub const MAX_CGROUP_PATH: usize = 512;

/// Length of a task's `comm`, the terminating NUL included (`TASK_COMM_LEN`).
pub const COMM_LEN: usize = 16;

/// What a record is: the value of [`EventHeader::kind`].
pub mod kind {
    /// A [`super::MessageEvent`]: a socket sent or received a DNS message.
    pub const MESSAGE: u16 = 1;
    /// A [`super::CgroupEvent`]: a cgroup was made.
    pub const CGROUP: u16 = 2;
    /// A [`super::ConfirmEvent`]: connection tracking was to insert the entry of a DNS packet.
    pub const CONFIRM: u16 = 3;
    /// A [`super::ClashEvent`]: an entry that was to be inserted met another with its tuple.
    pub const CLASH: u16 = 4;
    /// A [`super::EvictionEvent`]: an entry was thrown out of the full table.
    pub const EVICTION: u16 = 5;
    /// A [`super::DropEvent`]: a DNS packet was freed without being delivered.
    pub const DROP: u16 = 6;
    /// An [`super::IcmpEvent`]: an ICMP error about a DNS packet was sent or came in.
    pub const ICMP: u16 = 7;
    /// A [`super::SendFailureEvent`]: the kernel refused to send a DNS message.
    pub const SEND_FAILURE: u16 = 8;
    /// A [`super::StreamEvent`]: bytes of a TCP connection that carries DNS passed a socket.
    pub const STREAM: u16 = 9;
    /// A [`super::ConnectionEvent`]: a TCP connection that carries DNS changed its state.
    pub const CONNECTION: u16 = 10;
    /// A [`super::RetransmissionEvent`]: a socket sent a segment again.
    pub const RETRANSMISSION: u16 = 11;
    /// A [`super::ConnectFailureEvent`]: the kernel refused to open a TCP connection.
    pub const CONNECT_FAILURE: u16 = 12;
    /// A [`super::ModuleEvent`]: a kernel module was loaded.
    pub const MODULE: u16 = 13;
}

/// Bits of [`MessageEvent::flags`].
pub mod message_flag {
    /// Part of the payload was not in the linear part of the packet and could not be read from there.
    pub const NONLINEAR: u8 = 1 << 0;
    /// The kernel could not read the payload (a user page was not resident).
    pub const UNREADABLE: u8 = 1 << 1;
    /// One `sendmsg` handed several messages of `gso_size` bytes each to the kernel (`UDP_SEGMENT`), or one
    /// packet brings several (`UDP_GRO`).
    pub const SEGMENTED: u8 = 1 << 2;
}

/// [`MessageEvent::direction`]: the socket sent the message.
pub const SENT: u8 = 0;
/// [`MessageEvent::direction`]: a program received the message from the socket.
pub const RECEIVED: u8 = 1;

/// Bits of [`StreamEvent::flags`].
pub mod stream_flag {
    /// The kernel could not read the bytes (a user page was not resident), or they are not in the program's memory.
    pub const UNREADABLE: u8 = 1 << 0;
    /// The bytes go with the SYN (TCP Fast Open): [`super::StreamEvent::seq`] is not known.
    pub const WITH_SYN: u8 = 1 << 1;
}

/// Bits of [`ConnectionEvent::flags`].
pub mod connection_flag {
    /// [`super::ConnectionEvent::task`] is the one that opens the connection; otherwise there is none.
    pub const HAS_TASK: u8 = 1 << 0;
    /// Not on a DNS port, but on one of DNS over TLS or HTTPS.
    pub const ENCRYPTED: u8 = 1 << 1;
}

/// The head of every record.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct EventHeader {
    /// `CLOCK_MONOTONIC` in nanoseconds (`bpf_ktime_get_ns`), taken when the hook fired.
    pub time_ns: u64,
    /// Which record this is: see [`kind`].
    pub kind: u16,
    /// Which hook wrote it: an index into `dnstrace::capture`'s table of hooks, see [`crate::config::Hook`].
    pub hook: u16,
    /// The CPU it was written on.
    pub cpu: u32,
}

/// Who ran: the task that the hook found as the current one.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Task {
    /// Id of the task's cgroup: of the unified hierarchy, or of the memory controller's on a cgroup v1 node.
    pub cgroup: u64,
    /// Process id (`tgid`) as the node's own PID namespace numbers it.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// Name of the process: `comm` of the thread group's leader, NUL-padded.
    pub comm: [u8; COMM_LEN],
}

/// The two ends of a packet, as its own headers have them.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Flow {
    /// Source address, network order, IPv4 as v4-mapped.
    pub saddr: [u8; 16],
    /// Destination address, likewise.
    pub daddr: [u8; 16],
    /// Source port, CPU order.
    pub sport: u16,
    /// Destination port, CPU order.
    pub dport: u16,
    /// IP protocol: 17 UDP, 6 TCP; 0: there is no such flow, all else is zero.
    pub protocol: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

/// A DNS message passed a socket, in the task that sent or received it. `captured` bytes of payload follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct MessageEvent {
    pub header: EventHeader,
    /// Kernel address of the `struct sock`: tells one socket from another while both live.
    pub sock: u64,
    /// The task that sent or received.
    pub task: Task,
    /// Inode number of the socket's network namespace.
    pub netns: u32,
    /// [`SENT`] or [`RECEIVED`].
    pub direction: u8,
    /// See [`message_flag`].
    pub flags: u8,
    /// Size of one message in a segmented payload, else 0.
    pub segment: u16,
    /// Source and destination of this message (of the sender where sent, of the packet where received).
    pub flow: Flow,
    /// When the packet was put into the socket's buffer ([`EventHeader::time_ns`]'s clock); 0 where sent, or if
    /// that was not seen.
    pub arrived_ns: u64,
    /// Bytes of DNS payload in the datagram.
    pub length: u32,
    /// Bytes of payload that follow this struct: `min(length, MAX_PAYLOAD)`, or fewer with a flag that says why.
    pub captured: u32,
}

/// What connection tracking knows of a packet.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Connection {
    /// Kernel address of the `struct nf_conn`; 0: the packet has none.
    pub ct: u64,
    /// The tuple of the original direction: from the client to whom it addressed.
    pub original: Flow,
    /// The tuple of the reply direction: from who really answers to whom it will answer.
    pub reply: Flow,
}

/// What the TCP header of a packet says.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct TcpHead {
    /// Sequence number of the first byte of payload (of the SYN itself, where it is one).
    pub seq: u32,
    /// FIN 1, SYN 2, RST 4, PSH 8, ACK 16.
    pub flags: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

/// A DNS packet on its way: its headers as they are at this point, before or after translation.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Packet {
    pub flow: Flow,
    pub connection: Connection,
    /// Inode number of the network namespace; 0 if the kernel's structures did not tell.
    pub netns: u32,
    /// `enum ip_conntrack_info`, the low bits of `skb->_nfct`; 7 with no connection: untracked.
    pub ctinfo: u32,
    /// Of a TCP packet, else zero.
    pub tcp: TcpHead,
    /// Bytes of payload in the datagram or segment, as its headers say.
    pub length: u32,
    /// Bytes of payload that follow the record: at most [`MAX_EXCERPT`].
    pub captured: u32,
}

/// [`ConfirmEvent::result`]: what insertion came to.
pub mod confirm {
    /// Accepted, with the entry it came with, now confirmed.
    pub const INSERTED: u8 = 0;
    /// Accepted, with another entry: the one it clashed with.
    pub const MERGED: u8 = 1;
    /// Accepted: only the reply direction was inserted, for one second (`IPS_NAT_CLASH_BIT`, since 5.7).
    pub const REPLY_ONLY: u8 = 2;
    /// Not accepted: the packet is dropped.
    pub const FAILED: u8 = 3;
    /// The return did not fit the entry: not known.
    pub const UNKNOWN: u8 = 4;
    /// Nothing was to be inserted: a rule says not to track the packet (NOTRACK). Seen where it reached its socket.
    pub const UNTRACKED: u8 = 5;
}

/// `__nf_conntrack_confirm` returned for the first packet of a flow, or a packet arrived that is not tracked. Payload
/// follows.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ConfirmEvent {
    pub header: EventHeader,
    /// The packet with the connection that was to be inserted, as it was before.
    pub packet: Packet,
    /// When the function was entered.
    pub began_ns: u64,
    /// The packet's connection afterwards.
    pub ct_after: u64,
    /// See [`confirm`].
    pub result: u8,
    /// Zero.
    pub reserved: [u8; 7],
}

/// `nf_ct_resolve_clash` was called. Nothing follows.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ClashEvent {
    pub header: EventHeader,
    /// Kernel address of the connection that could not be inserted as it was.
    pub loser: u64,
    /// The connection that stands in its way.
    pub winner: Connection,
}

/// A connection was deleted by `early_drop` to make room in the full table. Nothing follows.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct EvictionEvent {
    pub header: EventHeader,
    pub victim: Connection,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// Zero.
    pub reserved: u32,
}

/// [`DropEvent::reason`] on kernels whose tracepoint has no reason (before 5.17).
pub const NO_REASON: u32 = u32::MAX;

/// The `kfree_skb` tracepoint fired for a DNS packet. Payload follows.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct DropEvent {
    pub header: EventHeader,
    pub packet: Packet,
    /// The tracepoint's `location`: an address in the function that gave it up.
    pub location: u64,
    /// Return addresses from there outwards, 0 where there are no more.
    pub frames: [u64; MAX_FRAMES],
    /// When it had been put into a socket's buffer; 0 if it had not.
    pub arrived_ns: u64,
    /// `enum skb_drop_reason`, or [`NO_REASON`].
    pub reason: u32,
    /// 1: this CPU found the connection tracking table full for this packet just before.
    pub table_full: u32,
}

/// An ICMP error about a DNS packet. The beginning of that packet's payload follows.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct IcmpEvent {
    pub header: EventHeader,
    /// The packet that the error is about.
    pub packet: Packet,
    /// [`SENT`] or [`RECEIVED`].
    pub direction: u8,
    /// ICMP type.
    pub icmp_type: u8,
    /// ICMP code.
    pub icmp_code: u8,
    /// 4: ICMP, 6: ICMPv6.
    pub version: u8,
    /// Zero.
    pub reserved: u32,
}

/// `udp_sendmsg` or `udpv6_sendmsg` returned an error for a DNS message. Payload follows if no packet was built.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SendFailureEvent {
    /// The message: socket, task, addresses as the program gave them, and if no packet was built its payload out
    /// of the program's memory. [`MessageEvent::header`] is this record's.
    pub message: MessageEvent,
    /// [`EventHeader::time_ns`] of the [`MessageEvent`] that was written when the packet was built; 0 if none was.
    pub sent_ns: u64,
    /// Positive errno.
    pub errno: u32,
    /// Zero.
    pub reserved: u32,
}

/// A cgroup was made. The path, relative to the root of its hierarchy and without NUL, follows.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct CgroupEvent {
    pub header: EventHeader,
    /// The new cgroup's id.
    pub cgroup: u64,
    /// Number of the hierarchy: 0 for the unified one.
    pub hierarchy: u32,
    /// Bytes of path that follow this struct.
    pub captured: u32,
}

/// Bytes passed a TCP socket in one system call, or a part of those: in the task that sent or received them. `captured`
/// bytes follow.
///
/// Where sent, the program has offered them; a full send buffer may take fewer, and the next record then begins where
/// the kernel stopped.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct StreamEvent {
    pub header: EventHeader,
    /// As [`MessageEvent::sock`].
    pub sock: u64,
    pub task: Task,
    /// Inode number of the socket's network namespace.
    pub netns: u32,
    /// [`SENT`] or [`RECEIVED`].
    pub direction: u8,
    /// See [`stream_flag`].
    pub flags: u8,
    /// `enum` of TCP states (`TCP_ESTABLISHED` is 1) when the call began.
    pub state: u8,
    /// Zero.
    pub reserved: u8,
    /// From the sender to the receiver.
    pub flow: Flow,
    /// Sequence number of the first byte.
    pub seq: u32,
    /// Bytes of the stream that this record stands for.
    pub length: u32,
    /// How many of them follow.
    pub captured: u32,
    /// Zero.
    pub reserved2: u32,
}

/// The tracepoint `inet_sock_set_state` fired. Nothing follows.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ConnectionEvent {
    pub header: EventHeader,
    pub sock: u64,
    /// Of whoever opens it, see [`connection_flag::HAS_TASK`]; else zero.
    pub task: Task,
    pub netns: u32,
    /// TCP states, from `TCP_ESTABLISHED` (1) to `TCP_NEW_SYN_RECV` (12).
    pub old_state: u8,
    pub new_state: u8,
    /// See [`connection_flag`].
    pub flags: u8,
    /// Zero.
    pub reserved: u8,
    /// From the socket to its peer.
    pub flow: Flow,
    /// `tcp_sock.bytes_acked`: bytes that the peer has acknowledged.
    pub bytes_acked: u64,
    /// `tcp_sock.bytes_received`
    pub bytes_received: u64,
    /// `sk->sk_err`: positive errno, 0 for none.
    pub error: u32,
    /// `tcp_sock.srtt_us >> 3`: microseconds, 0 if not measured yet.
    pub rtt_us: u32,
}

/// The tracepoint `tcp_retransmit_skb` fired. Nothing follows.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct RetransmissionEvent {
    pub header: EventHeader,
    pub sock: u64,
    pub netns: u32,
    /// TCP state of the socket: in `TCP_SYN_SENT` (2) and `TCP_SYN_RECV` (3) it is the SYN that is sent again.
    pub state: u8,
    /// [`connection_flag::ENCRYPTED`] or nothing.
    pub flags: u8,
    /// Zero.
    pub reserved: [u8; 2],
    /// From the socket to its peer.
    pub flow: Flow,
}

/// `tcp_v4_connect` or `tcp_v6_connect` returned an error. Nothing follows.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ConnectFailureEvent {
    pub header: EventHeader,
    pub sock: u64,
    pub task: Task,
    pub netns: u32,
    /// Positive errno.
    pub errno: u32,
    /// To whom; the source may be unspecified.
    pub flow: Flow,
    /// [`connection_flag::ENCRYPTED`] or nothing.
    pub flags: u64,
}

/// Longest name of a module that a [`ModuleEvent`] carries, the terminating NUL included (`MODULE_NAME_LEN`, 64-bit).
pub const MODULE_NAME_LEN: usize = 56;

/// The tracepoint `module_load` fired: the module's functions are there, its own initialisation comes next.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ModuleEvent {
    pub header: EventHeader,
    /// NUL-padded.
    pub name: [u8; MODULE_NAME_LEN],
}

const _: () = assert!(size_of::<EventHeader>() == 16);
const _: () = assert!(size_of::<Task>() == 32);
const _: () = assert!(size_of::<Flow>() == 40);
const _: () = assert!(size_of::<MessageEvent>() == 16 + 8 + 32 + 8 + 40 + 8 + 8);
const _: () = assert!(size_of::<CgroupEvent>() == 32);
const _: () = assert!(size_of::<Connection>() == 8 + 40 + 40);
const _: () = assert!(size_of::<Packet>() == 40 + 88 + 8 + 16);
const _: () = assert!(size_of::<ConfirmEvent>() == 16 + 152 + 16 + 8);
const _: () = assert!(size_of::<ClashEvent>() == 16 + 8 + 88);
const _: () = assert!(size_of::<EvictionEvent>() == 16 + 88 + 8);
const _: () = assert!(size_of::<DropEvent>() == 16 + 152 + 8 + 8 * MAX_FRAMES + 8 + 8);
const _: () = assert!(size_of::<IcmpEvent>() == 16 + 152 + 8);
const _: () = assert!(size_of::<SendFailureEvent>() == 120 + 16);
const _: () = assert!(size_of::<StreamEvent>() == 16 + 8 + 32 + 8 + 40 + 16);
const _: () = assert!(size_of::<ConnectionEvent>() == 16 + 8 + 32 + 8 + 40 + 16 + 8);
const _: () = assert!(size_of::<RetransmissionEvent>() == 16 + 8 + 8 + 40);
const _: () = assert!(size_of::<ConnectFailureEvent>() == 16 + 8 + 32 + 8 + 40 + 8);
const _: () = assert!(size_of::<ModuleEvent>() == 16 + 56);
