//! TCP connections that carry DNS: their bytes at the sockets, and how they come and go.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Direction, Flow, KernelTime, Task};

/// Bytes of a TCP connection that passed a socket in one system call, or a part of those.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamBytes {
    pub time: KernelTime,
    pub direction: Direction,
    /// From the sender to the receiver.
    pub flow: Flow,
    /// Kernel address of the socket: tells sockets apart while they live.
    pub socket: u64,
    /// Inode number of the socket's network namespace.
    pub netns: u32,
    pub task: Task,
    /// When the call began.
    pub state: TcpState,
    /// Sequence number of the first byte; none where the bytes go with the SYN (TCP Fast Open).
    ///
    /// What is sent is what the program offered. Should the kernel not have taken all of it, the next bytes begin
    /// where it stopped.
    pub seq: Option<u32>,
    /// As captured: the first ones of `length`, or all.
    pub bytes: Bytes,
    /// Bytes of the stream that these stand for.
    pub length: u32,
}

/// A TCP connection changed its state (the tracepoint `inet_sock_set_state`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionChange {
    pub time: KernelTime,
    pub socket: u64,
    pub netns: u32,
    /// From the socket to its peer.
    pub flow: Flow,
    pub from: TcpState,
    pub to: TcpState,
    /// Who opens it: known of the change to [`TcpState::SynSent`] alone.
    pub task: Option<Task>,
    /// It goes to a port of DNS over TLS or HTTPS.
    pub encrypted: bool,
    /// Positive errno of the socket, if it has an error.
    pub error: Option<u16>,
    /// Bytes that the peer has acknowledged so far.
    pub bytes_acked: u64,
    /// Bytes that came from the peer so far.
    pub bytes_received: u64,
    /// The kernel's smoothed round-trip time, in microseconds.
    pub rtt_us: Option<u32>,
}

/// A segment was sent again (the tracepoint `tcp_retransmit_skb`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retransmission {
    pub time: KernelTime,
    pub socket: u64,
    pub netns: u32,
    /// From the socket to its peer.
    pub flow: Flow,
    /// Of the socket: in [`TcpState::SynSent`] it was the SYN.
    pub state: TcpState,
    pub encrypted: bool,
}

/// The kernel refused to open a connection before it had sent anything (`tcp_v4_connect`, `tcp_v6_connect`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectFailure {
    pub time: KernelTime,
    pub socket: u64,
    pub netns: u32,
    pub task: Task,
    /// To whom; the source may be unspecified.
    pub flow: Flow,
    pub encrypted: bool,
    /// Positive errno.
    pub errno: u16,
}

/// A TCP state, by the kernel's numbers (include/net/tcp_states.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TcpState {
    Established,
    SynSent,
    SynRecv,
    FinWait1,
    FinWait2,
    TimeWait,
    Close,
    CloseWait,
    LastAck,
    Listen,
    Closing,
    NewSynRecv,
}

impl TcpState {
    /// From the kernel's number.
    pub fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Established,
            2 => Self::SynSent,
            3 => Self::SynRecv,
            4 => Self::FinWait1,
            5 => Self::FinWait2,
            6 => Self::TimeWait,
            7 => Self::Close,
            8 => Self::CloseWait,
            9 => Self::LastAck,
            10 => Self::Listen,
            11 => Self::Closing,
            12 => Self::NewSynRecv,
            _ => return None,
        })
    }
}
