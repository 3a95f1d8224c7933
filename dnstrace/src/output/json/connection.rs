//! A TCP connection that has something to tell beside its queries, as JSON.

use std::net::{IpAddr, SocketAddr};

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    lookup::{Role, TcpConnection},
    output::{WallClock, connection, names, vocabulary},
};

use super::{
    fields::{PeerFields, Who},
    step::StepFields,
};

/// A TCP connection that has something to tell beside its queries.
#[derive(Serialize, JsonSchema)]
pub(super) struct ConnectionLine<'a> {
    /// Serial number of the connection within the trace.
    number: u64,
    /// Whether it was opened at `time`, else before.
    seen_from_start: bool,
    /// Whether the traced socket opened it or was connected to.
    role: vocabulary::Role,
    #[serde(flatten)]
    who: Who<'a>,
    /// By the port. What `tls` and `https` carry is encrypted.
    protocol: vocabulary::Protocol,
    /// Address of the side that opened it.
    client: IpAddr,
    /// Its port; null where it never had one.
    client_port: Option<u16>,
    /// Address that it was opened to.
    server: IpAddr,
    /// Its port.
    server_port: u16,
    /// Always `tcp`.
    transport: vocabulary::Transport,
    /// The endpoint behind the server's address (that of a Service, say), as of an attempt.
    endpoint: Option<IpAddr>,
    /// Its port; null like `endpoint`.
    endpoint_port: Option<u16>,
    #[serde(flatten)]
    peer: PeerFields<'a>,
    /// When it was open; null if that was not seen.
    #[schemars(extend("format" = "date-time"))]
    established: Option<String>,
    /// The same as kernel time, in nanoseconds.
    established_ktime_ns: Option<u64>,
    /// Nanoseconds from the SYN to the open connection; null if one of them was not seen.
    connect_ns: Option<u64>,
    /// How often its SYN was sent again, as far as `steps` are kept.
    syn_retransmissions: u32,
    /// Nanoseconds for which it was open, until it ended or was last seen; null if it was never seen to be.
    open_ns: Option<u64>,
    /// Bytes that the peer has acknowledged. Null if its end was not seen: the kernel tells them then.
    bytes_sent: Option<u64>,
    /// Bytes from the peer; its FIN is one of them, should it have come before the socket was gone. Null like `bytes_sent`.
    bytes_received: Option<u64>,
    /// The kernel's smoothed round-trip time in nanoseconds; null if it had none, or did not tell it.
    rtt_ns: Option<u64>,
    /// How it ended; null if that was not seen.
    end: Option<vocabulary::ConnectionEnd>,
    /// Why the kernel gave it up: positive; null unless `end` is `failed`.
    errno: Option<u16>,
    /// Name of `errno`: `ETIMEDOUT`.
    error: Option<String>,
    /// When it ended, or was last seen.
    #[schemars(extend("format" = "date-time"))]
    ended: String,
    /// The same as kernel time, in nanoseconds.
    ended_ktime_ns: u64,
    /// What befell its packets, in order of time.
    steps: Vec<StepFields<'a>>,
    /// Steps beyond those that are kept.
    steps_left_out: u32,
}

impl<'a> ConnectionLine<'a> {
    pub(super) fn new(tcp: &'a TcpConnection, clock: &WallClock) -> Self {
        let (client, server) = match tcp.role {
            Role::Client => (tcp.local, tcp.remote),
            Role::Server => (tcp.remote, tcp.local),
        };
        let opened = tcp.seen_from_start.then_some(tcp.time);
        let errno = tcp.end.and_then(names::end_errno);
        Self {
            number: tcp.number,
            seen_from_start: tcp.seen_from_start,
            role: tcp.role.into(),
            who: Who::as_known(tcp.owner.as_ref(), tcp.task.as_ref(), tcp.netns),
            protocol: tcp.protocol.into(),
            client: client.ip(),
            client_port: Some(client.port()).filter(|port| *port != 0),
            server: server.ip(),
            server_port: server.port(),
            transport: vocabulary::Transport::Tcp,
            endpoint: tcp.endpoint.as_ref().map(SocketAddr::ip),
            endpoint_port: tcp.endpoint.as_ref().map(SocketAddr::port),
            peer: PeerFields::new(&tcp.peer, tcp.role),
            established: tcp.established.map(|time| clock.rfc3339(time)),
            established_ktime_ns: tcp.established.map(|time| time.0),
            connect_ns: opened.zip(tcp.established).map(|(opened, established)| established.since(opened)),
            syn_retransmissions: connection::syns_again(&tcp.steps),
            open_ns: tcp.established.map(|established| tcp.ended.since(established)),
            bytes_sent: tcp.end.map(|_| tcp.bytes_acked),
            bytes_received: tcp.end.map(|_| tcp.bytes_received),
            rtt_ns: tcp.rtt_us.map(|us| u64::from(us) * 1_000),
            end: tcp.end.map(Into::into),
            errno,
            error: errno.map(names::errno),
            ended: clock.rfc3339(tcp.ended),
            ended_ktime_ns: tcp.ended.0,
            steps: tcp.steps.iter().map(|step| StepFields::new(step, Some(tcp.time), clock)).collect(),
            steps_left_out: tcp.steps_left_out,
        }
    }
}
