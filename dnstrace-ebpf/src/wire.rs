//! Records of the ring buffer.
//!
//! A record is a fixed-size struct that begins with an [`EventHeader`], followed by as many payload bytes as
//! its `captured` field says (none for records without that field).

use core::mem::size_of;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Payload bytes of one DNS message that a record carries at the most. A longer message is captured up to
/// here and shown as truncated.
pub const MAX_PAYLOAD: usize = 4096;

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
    /// IP protocol: 17 UDP, 6 TCP.
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
    /// Bytes of DNS payload in the datagram.
    pub length: u32,
    /// Bytes of payload that follow this struct: `min(length, MAX_PAYLOAD)`, or fewer with a flag that says why.
    pub captured: u32,
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

const _: () = assert!(size_of::<EventHeader>() == 16);
const _: () = assert!(size_of::<Task>() == 32);
const _: () = assert!(size_of::<Flow>() == 40);
const _: () = assert!(size_of::<MessageEvent>() == 16 + 8 + 32 + 8 + 40 + 8);
const _: () = assert!(size_of::<CgroupEvent>() == 32);
