//! The same over TCP: queries, connections that have a line of their own, and what is neither.

use bytes::Bytes;

use super::{
    CLIENT, ENDPOINT, NODE, OTHER, PORT_UNREACHABLE, SECOND, SERVICE, US, answer, at, attempt, drop, dropped,
    flow, inserted, owner, place, query, step, unanswered,
};
use crate::{
    dns::{Decoded, Flags},
    event::{Direction, Flow, IcmpError, KernelTime, NetfilterHook, SocketMessage, Task, Transport},
    lookup::{
        Answer, Attempt, Carrier, ConnectionEnd, Conntrack, Fate, Leg, Observation, Outcome, Output,
        Protocol, Query, Role, Step, Stray, StrayPacket, StrayPacketReason, StrayReason, TcpConnection, What,
    },
    output::tests::MS,
};

const POD: u32 = super::POD;
/// When the first query over TCP of each connection is sent.
const SENT: u64 = 10 * SECOND;

fn over_tcp(flow: Flow) -> Flow {
    Flow { transport: Transport::Tcp, ..flow }
}

fn tcp_flow(source: &str, destination: &str) -> Flow {
    over_tcp(flow(source, destination))
}

/// The entry of a SYN to the Service.
fn entered(time: u64) -> Step {
    let entry = match inserted(ENDPOINT) {
        What::Conntrack(entry) => What::Conntrack(Conntrack {
            original: over_tcp(entry.original),
            reply: over_tcp(entry.reply),
            ..entry
        }),
        other => other,
    };
    step(time, NODE, entry)
}

fn again(time: u64, leg: Leg) -> Step {
    step(time, POD, What::Retransmitted { leg })
}

fn ended(time: u64, end: ConnectionEnd) -> Step {
    step(time, POD, What::ConnectionEnded(end))
}

fn failed(time: u64, errno: i32) -> Step {
    step(time, POD, What::ConnectFailed { errno: u16::try_from(errno).unwrap() })
}

fn by_rule(time: u64, leg: Leg) -> Step {
    let place = place("NETFILTER_DROP", "nf_hook_slow", Some(NetfilterHook::Forward));
    step(time, NODE, What::Dropped(dropped(leg, place)))
}

/// A connection that took `connect` nanoseconds to open and was open a millisecond before `SENT`.
fn carrier(connect: u64, syn_retransmissions: u32) -> Carrier {
    let established = SENT - MS;
    Carrier {
        connection: 7,
        opened: Some(KernelTime(established - connect)),
        established: Some(KernelTime(established)),
        syn_retransmissions,
        queries_before: 0,
    }
}

fn quick() -> Carrier {
    carrier(412 * US, 0)
}

/// One that has carried 14 queries.
fn used() -> Carrier {
    let opened = Some(KernelTime(SENT - 9 * SECOND));
    Carrier { opened, established: opened, queries_before: 14, ..quick() }
}

fn sent(carrier: Carrier, steps: Vec<Step>, fate: Fate) -> Attempt {
    let mut attempt = attempt(SENT, steps, fate);
    attempt.conversation.transport = Transport::Tcp;
    attempt.endpoint = Some(at(ENDPOINT));
    attempt.carrier = Some(carrier);
    attempt
}

fn answered(after: u64) -> Fate {
    answer(SENT + after, None)
}

/// Over UDP, answered with TC.
fn truncated(time: u64) -> Attempt {
    let fate = match answer(time + MS, None) {
        Fate::Answered(Answer { mut message, time, arrived, defect, length, further_messages }) => {
            message.flags = Flags { truncated: true, ..message.flags };
            message.answers.clear();
            Fate::Answered(Answer { message, time, arrived, defect, length, further_messages })
        }
        other => other,
    };
    attempt(time, vec![], fate)
}

/// The retry over TCP of a truncated answer, for which no connection could be opened.
fn unopened(name: &str, syn_retransmissions: u32, steps: Vec<Step>) -> Query {
    let last = steps.len() - 1;
    let opened = SENT - 50 * US;
    let mut retry = attempt(opened, steps, Fate::ConnectFailed { step: last });
    retry.conversation.transport = Transport::Tcp;
    retry.conversation.id = None;
    retry.carrier =
        Some(Carrier { opened: Some(KernelTime(opened)), established: None, syn_retransmissions, ..quick() });
    query(name, vec![truncated(SENT - 2 * MS), retry])
}

fn lost(name: &str, carrier: Carrier, last: Step) -> Query {
    query(name, vec![sent(carrier, vec![last], Fate::ConnectionLost { step: 0 })])
}

/// A line each.
pub(in crate::output::tests) fn healthy() -> Vec<Query> {
    let old = Carrier { opened: None, established: None, queries_before: 2, ..quick() };
    let mut transfer = sent(quick(), vec![], answered(MS));
    if let Fate::Answered(answer) = &mut transfer.fate {
        answer.further_messages = 211;
    }
    vec![
        query("at-once.", vec![sent(quick(), vec![entered(SENT - MS - 300 * US)], answered(MS))]),
        query("pipelined.", vec![sent(used(), vec![], answered(2 * MS))]),
        query("older-than-the-trace.", vec![sent(old, vec![], answered(MS))]),
        query("transfer.", vec![transfer]),
    ]
}

/// Answered in the end, with something to explain.
pub(in crate::output::tests) fn delayed() -> Vec<Query> {
    let opened = SENT - MS - 3_050 * MS;
    let slow = || {
        vec![
            by_rule(opened + 30 * US, Leg::Syn),
            again(opened + 1_010 * MS, Leg::Syn),
            by_rule(opened + 1_011 * MS, Leg::Syn),
            again(opened + 3_040 * MS, Leg::Syn),
            entered(opened + 3_041 * MS),
        ]
    };
    let blind = Carrier { established: None, ..carrier(1_050 * MS, 1) };
    let segment = vec![
        by_rule(SENT + 20 * US, Leg::Query),
        again(SENT + 201 * MS, Leg::Query),
        step(SENT + 202 * MS, POD, drop(Leg::Answer, "SOCKET_BACKLOG", "tcp_v4_rcv")),
        step(SENT + 203 * MS, POD, drop(Leg::Answer, "TCP_OLD_DATA", "tcp_rcv_established")),
    ];
    let closed = vec![ended(SENT + 3 * MS, ConnectionEnd::ClosedByPeer)];
    let mut retry = sent(Carrier { connection: 8, ..quick() }, vec![], answered(7 * MS));
    retry.time = KernelTime(SENT + 5 * MS);
    retry.carrier = Some(Carrier {
        connection: 8,
        opened: Some(KernelTime(SENT + 4 * MS)),
        established: Some(KernelTime(SENT + 4_300 * US)),
        ..quick()
    });
    vec![
        query("slow-connect.", vec![sent(carrier(3_050 * MS, 2), slow(), answered(MS))]),
        query("slow-unseen.", vec![sent(blind, vec![], answered(MS))]),
        query("segment.", vec![sent(used(), segment, answered(204 * MS))]),
        query("truncated.", vec![truncated(SENT - 3 * MS), sent(quick(), vec![], answered(MS))]),
        query(
            "truncated-slow.",
            vec![truncated(opened - 2 * MS), sent(carrier(3_050 * MS, 2), slow(), answered(MS))],
        ),
        query("idle-closed.", vec![sent(used(), closed, Fate::ConnectionLost { step: 0 }), retry]),
    ]
}

/// Retries of truncated answers that got no connection.
pub(in crate::output::tests) fn unconnected() -> Vec<Query> {
    let second = |count| SENT + count * SECOND;
    let refused = |step: Option<Step>| {
        step.into_iter().chain([failed(SENT + MS, libc::ECONNREFUSED)]).collect::<Vec<_>>()
    };
    let no_socket = drop(Leg::Syn, "NO_SOCKET", "tcp_v4_rcv");
    let icmp = What::IcmpReceived { leg: Leg::Syn, error: PORT_UNREACHABLE };
    let prohibited = What::IcmpSent { leg: Leg::Syn, error: IcmpError::V4 { kind: 3, code: 10 } };
    let timed_out = vec![
        by_rule(SENT + 30 * US, Leg::Syn),
        again(second(1), Leg::Syn),
        by_rule(second(1) + 30 * US, Leg::Syn),
        again(second(3), Leg::Syn),
        by_rule(second(3) + 30 * US, Leg::Syn),
        failed(second(7), libc::ETIMEDOUT),
    ];
    let full = drop(Leg::Syn, "TCP_LISTEN_OVERFLOW", "tcp_conn_request");
    let given_up = vec![
        step(SENT + 30 * US, OTHER, full),
        again(second(1), Leg::Syn),
        ended(second(2), ConnectionEnd::Closed),
    ];
    let syn_ack = vec![by_rule(SENT + 60 * US, Leg::SynAck), failed(second(1), libc::ETIMEDOUT)];
    let at_once = |name: &str, errno| {
        let mut query = unopened(name, 0, vec![failed(SENT - 50 * US, errno)]);
        for attempt in query.attempts.iter_mut().filter(|attempt| attempt.conversation.id.is_none()) {
            attempt.conversation.local.set_port(0);
            attempt.carrier = None;
        }
        query
    };
    let with_fate = |name: &str, fate: Fate| {
        let mut query = unopened(name, 1, vec![again(second(1), Leg::Syn)]);
        if let Some(retry) = query.attempts.last_mut() {
            retry.fate = fate;
        }
        query.outcome = Outcome::Pending;
        query
    };
    vec![
        unopened("nobody-listens.", 0, refused(Some(step(SENT, OTHER, no_socket)))),
        unopened("reset-by-rule.", 0, refused(Some(by_rule(SENT, Leg::Syn)))),
        unopened("no-endpoints.", 0, refused(Some(step(SENT + 400 * US, POD, icmp)))),
        // The rule had gone when the second SYN came, which was refused elsewhere.
        unopened("dropped-then-refused.", 1, {
            let icmp =
                step(SENT + 40 * US, POD, What::IcmpReceived { leg: Leg::Syn, error: PORT_UNREACHABLE });
            let first = [by_rule(SENT + 30 * US, Leg::Syn), icmp, again(second(1), Leg::Syn)];
            first.into_iter().chain([failed(second(1) + MS, libc::ECONNREFUSED)]).collect()
        }),
        unopened("refused-elsewhere.", 1, refused(Some(again(SENT, Leg::Syn)))),
        unopened("prohibited.", 0, vec![step(SENT, NODE, prohibited), failed(SENT + MS, libc::EHOSTUNREACH)]),
        unopened("timed-out.", 2, timed_out),
        unopened("syn-ack-lost.", 0, syn_ack),
        unopened("given-up.", 1, given_up),
        unopened("no-route.", 3, vec![failed(second(3), libc::EHOSTUNREACH)]),
        at_once("no-network.", libc::ENETUNREACH),
        at_once("no-port.", libc::EADDRNOTAVAIL),
        at_once("eperm.", libc::EPERM),
        with_fate("still-connecting.", Fate::Open),
        with_fate("lost-events.", Fate::Unknown { waited: 6 * SECOND, lost: 12 }),
    ]
}

/// Queries that had a connection and got no answer on it.
pub(in crate::output::tests) fn lost_connections() -> Vec<Query> {
    let late = |end| ended(SENT + 812 * MS, end);
    let gone = |errno: i32| {
        ended(SENT + 15 * SECOND, ConnectionEnd::Failed { errno: u16::try_from(errno).unwrap() })
    };
    let opened = SENT - MS - 412 * US;
    let silent = vec![entered(opened + 40 * US), again(SENT + 200 * MS, Leg::Query)];
    vec![
        lost("closed.", used(), late(ConnectionEnd::ClosedByPeer)),
        lost("reset.", quick(), late(ConnectionEnd::Reset)),
        lost("gave-up.", quick(), ended(SENT + 5 * SECOND, ConnectionEnd::Closed)),
        lost("aborted.", quick(), late(ConnectionEnd::Aborted)),
        lost("dead-peer.", quick(), gone(libc::ETIMEDOUT)),
        lost("dead-route.", quick(), gone(libc::EHOSTUNREACH)),
        query("silent.", vec![sent(quick(), silent, unanswered())]),
        query("lost-events.", vec![sent(used(), vec![], Fate::Unknown { waited: 6 * SECOND, lost: 1 })]),
    ]
}

/// A server's side of it.
pub(in crate::output::tests) fn served() -> Vec<Query> {
    let at_server = |name: &str, steps: Vec<Step>, fate| {
        let carrier = Carrier { opened: None, ..quick() };
        let mut attempt = sent(carrier, steps, fate);
        let conversation = &mut attempt.conversation;
        conversation.role = Role::Server;
        (conversation.local, conversation.remote) = (at(ENDPOINT), at(CLIENT));
        attempt.endpoint = None;
        Query { role: Role::Server, ..query(name, vec![attempt]) }
    };
    let ended_by = |end| vec![ended(SENT + 5 * SECOND, end)];
    let lost = || Fate::ConnectionLost { step: 0 };
    vec![
        at_server("served.", vec![], answered(MS)),
        at_server("served-again.", vec![again(SENT + 200 * MS, Leg::Answer)], answered(MS)),
        at_server("client-left.", ended_by(ConnectionEnd::ClosedByPeer), lost()),
        at_server("client-reset.", ended_by(ConnectionEnd::Reset), lost()),
        at_server("server-closed.", ended_by(ConnectionEnd::Closed), lost()),
        at_server("server-reset.", ended_by(ConnectionEnd::Aborted), lost()),
    ]
}

/// IPv6, a name as long as can be, and strangers that would like to steer the terminal.
pub(in crate::output::tests) fn odd() -> Vec<Query> {
    let name = format!("{}.example.", ["a".repeat(63), "b".repeat(63), "c".repeat(63)].join("."));
    let mut v6 = lost(&name, carrier(1_020 * MS, 1), ended(SENT + MS, ConnectionEnd::Reset));
    for attempt in &mut v6.attempts {
        let conversation = &mut attempt.conversation;
        (conversation.local, conversation.remote) =
            (at("[fd00:10:244:1::9]:40000"), at("[fd00:10:96::a]:53"));
        attempt.endpoint = Some(at("[fd00:10:244:1::7]:5353"));
    }
    let mut hostile = lost("a\x1b[2J.", used(), ended(SENT + MS, ConnectionEnd::ClosedByPeer));
    hostile.task.comm = "dig\n\u{202e}".to_owned();
    vec![v6, hostile]
}

fn opened(protocol: Protocol, remote: &str) -> TcpConnection {
    TcpConnection {
        number: 3,
        role: Role::Client,
        protocol,
        owner: Some(owner()),
        task: Some(Task { cgroup: 1, pid: 4121, tid: 4122, comm: "curl".to_owned() }),
        netns: POD,
        local: at(CLIENT),
        remote: at(remote),
        endpoint: None,
        peer: Default::default(),
        time: KernelTime(SENT),
        seen_from_start: true,
        established: Some(KernelTime(SENT + 12_300 * US)),
        steps: vec![],
        steps_left_out: 0,
        bytes_acked: 1_249,
        bytes_received: 4_512,
        rtt_us: Some(12_100),
        end: Some(ConnectionEnd::ClosedByPeer),
        ended: KernelTime(SENT + 30_112_300 * US),
    }
}

fn encrypted() -> TcpConnection {
    opened(Protocol::Tls, "1.1.1.1:853")
}

fn never_open(protocol: Protocol, remote: &str, end: ConnectionEnd, steps: Vec<Step>) -> TcpConnection {
    TcpConnection {
        established: None,
        bytes_acked: 0,
        bytes_received: 0,
        rtt_us: None,
        end: Some(end),
        ended: steps.last().map_or(KernelTime(SENT + SECOND), |last| last.time),
        steps,
        ..opened(protocol, remote)
    }
}

/// Connections that have a line of their own.
pub(in crate::output::tests) fn connections() -> Vec<TcpConnection> {
    let errno = |errno: i32| ConnectionEnd::Failed { errno: u16::try_from(errno).unwrap() };
    let timed_out = vec![
        by_rule(SENT + 30 * US, Leg::Syn),
        again(SENT + SECOND, Leg::Syn),
        by_rule(SENT + SECOND + 30 * US, Leg::Syn),
        again(SENT + 3 * SECOND, Leg::Syn),
        failed(SENT + 7 * SECOND, libc::ETIMEDOUT),
    ];
    let no_socket = drop(Leg::Syn, "NO_SOCKET", "tcp_v4_rcv");
    let refused = vec![
        entered(SENT + 31 * US),
        step(SENT + 60 * US, OTHER, no_socket),
        failed(SENT + MS, libc::ECONNREFUSED),
    ];
    let at_once = vec![failed(SENT, libc::ENETUNREACH)];
    let slow = vec![
        by_rule(SENT + 30 * US, Leg::Syn),
        again(SENT + SECOND, Leg::Syn),
        entered(SENT + SECOND + 31 * US),
    ];
    let troubled = vec![
        entered(SENT + 31 * US),
        by_rule(SENT + SECOND, Leg::Query),
        again(SENT + SECOND + 200 * MS, Leg::Query),
    ];
    let old = TcpConnection { seen_from_start: false, established: None, ..encrypted() };
    let local = TcpConnection {
        local: at("0.0.0.0:0"),
        ..never_open(Protocol::Dns, SERVICE, errno(libc::ENETUNREACH), at_once)
    };
    let mut hostile = opened(Protocol::Https, "[2606:4700:4700::1111]:443");
    hostile.task = Some(Task { cgroup: 1, pid: 7, tid: 7, comm: "a\x1b[31m".to_owned() });
    vec![
        encrypted(),
        opened(Protocol::Https, "8.8.8.8:443"),
        TcpConnection { end: None, rtt_us: None, ..encrypted() },
        old.clone(),
        TcpConnection { owner: None, task: None, end: None, role: Role::Server, remote: at(CLIENT), ..old },
        TcpConnection { steps: slow, established: Some(KernelTime(SENT + 1_012 * MS)), ..encrypted() },
        TcpConnection { steps: troubled, steps_left_out: 2, end: Some(ConnectionEnd::Reset), ..encrypted() },
        TcpConnection { end: Some(errno(libc::ETIMEDOUT)), ..encrypted() },
        never_open(Protocol::Tls, "1.1.1.1:853", errno(libc::ETIMEDOUT), timed_out),
        TcpConnection {
            endpoint: Some(at(ENDPOINT)),
            ..never_open(Protocol::Dns, SERVICE, ConnectionEnd::Reset, refused)
        },
        local,
        never_open(Protocol::Dns, SERVICE, ConnectionEnd::Reset, vec![]),
        never_open(Protocol::Dns, SERVICE, ConnectionEnd::Closed, vec![again(SENT + SECOND, Leg::Syn)]),
        TcpConnection { end: None, ..never_open(Protocol::Dns, SERVICE, ConnectionEnd::Closed, vec![]) },
        hostile,
    ]
}

/// Streams in which there are no messages to be seen.
pub(in crate::output::tests) fn streams() -> Vec<Stray> {
    let stray = |reason, payload: &'static [u8], length| Stray {
        observation: Observation {
            seen: SocketMessage {
                time: KernelTime(SENT),
                direction: Direction::Sent,
                flow: tcp_flow(CLIENT, SERVICE),
                socket: 1,
                netns: POD,
                task: Task { cgroup: 1, pid: 4121, tid: 4122, comm: "curl".to_owned() },
                arrived: None,
                payload: Bytes::from_static(payload),
                length,
                gap: None,
            },
            decoded: Decoded { message: None, defect: None },
            owner: owner(),
        },
        reason,
    };
    vec![
        stray(StrayReason::StreamSkipped, b"", 4_711),
        stray(StrayReason::StreamNotDns, b"GET / HTTP/1.1\r\nHost: cart\r\n", 28),
        stray(StrayReason::StreamNotDns, &[22, 3, 1, 2, 0, 1, 0, 1], 517),
        stray(StrayReason::StreamNotDns, b"\x1b[2J\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 15),
    ]
}

/// Packets of connections on which no query was under way.
pub(in crate::output::tests) fn packets() -> Vec<StrayPacket> {
    let stray = |step, flow| StrayPacket {
        step,
        flow,
        decoded: Decoded { message: None, defect: None },
        reason: StrayPacketReason::NoAttempt,
    };
    let (out, back) = (tcp_flow(CLIENT, SERVICE), tcp_flow(ENDPOINT, CLIENT));
    let ended = StrayPacketReason::Ended { query: 13 };
    let no_socket = step(SENT, POD, drop(Leg::Answer, "NO_SOCKET", "tcp_v4_rcv"));
    let mem = step(SENT, POD, drop(Leg::Answer, "PROTO_MEM", "tcp_data_queue"));
    let icmp = |leg| step(SENT, POD, What::IcmpReceived { leg, error: PORT_UNREACHABLE });
    vec![
        stray(by_rule(SENT, Leg::Syn), out),
        stray(by_rule(SENT, Leg::Query), out),
        stray(mem, back),
        stray(by_rule(SENT, Leg::SynAck), back),
        stray(icmp(Leg::Syn), out),
        stray(icmp(Leg::SynAck), back),
        StrayPacket { reason: ended, ..stray(no_socket, back) },
    ]
}

pub(in crate::output::tests) fn lines(connections: Vec<TcpConnection>) -> Vec<Output> {
    connections.into_iter().map(|connection| Output::Connection(connection.into())).collect()
}

pub(in crate::output::tests) fn strays() -> Vec<Output> {
    streams().into_iter().map(|stray| Output::Stray(stray.into())).collect()
}

/// All queries above.
pub(in crate::output::tests) fn queries() -> Vec<Query> {
    [healthy(), delayed(), unconnected(), lost_connections(), served(), odd()].concat()
}

/// All of the above.
pub(crate) fn all() -> Vec<Output> {
    [super::outputs(queries()), lines(connections()), strays(), super::packets(packets())].concat()
}
