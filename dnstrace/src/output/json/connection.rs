//! A TCP connection that has something to tell beside its queries, as JSON.

use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use crate::{
    lookup::{Role, TcpConnection},
    output::{WallClock, connection, names},
};

use super::{SCHEMA_VERSION, Who, step::StepFields};

#[derive(Serialize)]
pub(super) struct ConnectionLine<'a> {
    schema_version: u32,
    kind: &'static str,
    /// Serial number of the connection within the trace.
    number: u64,
    /// When its SYN was sent, or the kernel refused to send one; else when it was first seen.
    time: String,
    ktime_ns: u64,
    /// Else it was opened before `time`.
    seen_from_start: bool,
    role: &'static str,
    #[serde(flatten)]
    who: Who<'a>,
    /// `dns`, `tls`, `https`: by the port. What `tls` and `https` carry is encrypted.
    protocol: &'static str,
    client: IpAddr,
    /// Null where it never had one.
    client_port: Option<u16>,
    server: IpAddr,
    server_port: u16,
    transport: &'static str,
    /// The endpoint behind the server's address, if a translation was seen.
    endpoint: Option<IpAddr>,
    endpoint_port: Option<u16>,
    established: Option<String>,
    established_ktime_ns: Option<u64>,
    /// From the SYN to the open connection.
    connect_ns: Option<u64>,
    /// As far as `steps` are kept.
    syn_retransmissions: u32,
    /// From then on, until it ended or was last seen.
    open_ns: Option<u64>,
    /// That the peer has acknowledged. Null if its end was not seen: the kernel tells them then.
    bytes_sent: Option<u64>,
    /// The peer's FIN is one of them, should it have come before the socket was gone.
    bytes_received: Option<u64>,
    /// The kernel's smoothed round-trip time.
    rtt_ns: Option<u64>,
    /// `closed`, `closed_by_peer`, `aborted`, `reset`, `failed`; null if its end was not seen.
    end: Option<&'static str>,
    /// Positive; of `failed` only.
    errno: Option<u16>,
    /// `ETIMEDOUT`
    error: Option<String>,
    /// When it ended, or was last seen.
    ended: String,
    ended_ktime_ns: u64,
    steps: Vec<StepFields<'a>>,
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
            schema_version: SCHEMA_VERSION,
            kind: "connection",
            number: tcp.number,
            time: clock.rfc3339(tcp.time),
            ktime_ns: tcp.time.0,
            seen_from_start: tcp.seen_from_start,
            role: names::role(tcp.role),
            who: Who::as_known(tcp.owner.as_ref(), tcp.task.as_ref(), tcp.netns),
            protocol: names::protocol(tcp.protocol),
            client: client.ip(),
            client_port: Some(client.port()).filter(|port| *port != 0),
            server: server.ip(),
            server_port: server.port(),
            transport: "tcp",
            endpoint: tcp.endpoint.as_ref().map(SocketAddr::ip),
            endpoint_port: tcp.endpoint.as_ref().map(SocketAddr::port),
            established: tcp.established.map(|time| clock.rfc3339(time)),
            established_ktime_ns: tcp.established.map(|time| time.0),
            connect_ns: opened.zip(tcp.established).map(|(opened, established)| established.since(opened)),
            syn_retransmissions: connection::syns_again(&tcp.steps),
            open_ns: tcp.established.map(|established| tcp.ended.since(established)),
            bytes_sent: tcp.end.map(|_| tcp.bytes_acked),
            bytes_received: tcp.end.map(|_| tcp.bytes_received),
            rtt_ns: tcp.rtt_us.map(|us| u64::from(us) * 1_000),
            end: tcp.end.map(names::connection_end),
            errno,
            error: errno.map(names::errno),
            ended: clock.rfc3339(tcp.ended),
            ended_ktime_ns: tcp.ended.0,
            steps: tcp.steps.iter().map(|step| StepFields::new(step, Some(tcp.time), clock)).collect(),
            steps_left_out: tcp.steps_left_out,
        }
    }
}
