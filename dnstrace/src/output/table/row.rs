//! What a line has to say: the same for queries and for what is told beside them.

use std::fmt::Write as _;

use crate::{
    dns::{Decoded, Question, record_class, record_type},
    event::{Direction, KernelTime, Task, Transport},
    identify::Owner,
    lookup::{
        Answer, Attempt, Lookup, Outcome, Query, Role, Stray, StrayPacket, StrayPacketReason, StrayReason,
        TcpConnection,
    },
    output::{
        Nodes, answer, attempt, connection, lookup, names, server_side,
        step::{self, Scene},
        units,
    },
};

/// A line before it is cut into columns. What comes from strangers is escaped with its cell, but for `kind`, `peer`,
/// `kube`, `latency` and `answer`: these are safe.
pub(super) struct Row<'a> {
    pub time: KernelTime,
    /// Number of the query.
    pub query: Option<u64>,
    pub owner: Option<&'a Owner>,
    pub task: Option<&'a Task>,
    pub tid: Option<u32>,
    pub netns: Option<u32>,
    pub kind: String,
    pub name: Option<&'a str>,
    pub peer: String,
    /// What that is called in Kubernetes.
    pub kube: String,
    /// The traced socket's own.
    pub port: Option<u16>,
    pub id: Option<u16>,
    /// Of the query and of the answer; of a connection, sent and received.
    pub bytes: (Option<u64>, Option<u64>),
    pub tries: Option<usize>,
    pub latency: String,
    pub answer: String,
}

impl<'a> Row<'a> {
    pub fn of_query(query: &'a Query) -> Self {
        let (latency, answer) = ending(query);
        let attempt = decisive(query);
        let conversation = attempt.map(|attempt| &attempt.conversation);
        let id = conversation.and_then(|conversation| conversation.id);
        // Without an id there never was a message.
        let sent = attempt.filter(|_| id.is_some()).map(|attempt| u64::from(attempt.length));
        let received = query.answer().map(|answer| u64::from(answer.length));
        let left_out = usize::try_from(query.attempts_left_out).unwrap_or(usize::MAX);
        Self {
            time: query.started(),
            query: Some(query.number),
            owner: Some(&query.owner),
            task: Some(&query.task),
            tid: attempt.map(|attempt| attempt.tid),
            netns: Some(query.netns),
            kind: kind(&query.question),
            name: Some(&query.question.name),
            peer: attempt.map_or_else(String::new, |attempt| {
                format!("{} {}", arrow(query.role), attempt::remote(attempt))
            }),
            kube: attempt.map_or_else(nothing, |attempt| known(attempt::peer_names(&attempt.peer))),
            port: conversation.and_then(|conversation| port(conversation.local.port())),
            id,
            bytes: (sent, received),
            tries: Some(query.attempts.len().saturating_add(left_out)),
            latency,
            answer,
        }
    }

    pub fn of_stray(stray: &'a Stray) -> Self {
        let observation = &stray.observation;
        let seen = &observation.seen;
        let message = observation.decoded.message.as_ref();
        let (arrow, local, remote) = match seen.direction {
            Direction::Sent => ("->", seen.flow.source, seen.flow.destination),
            Direction::Received => ("<-", seen.flow.destination, seen.flow.source),
        };
        let length = Some(u64::from(seen.length));
        let is_answer = message.is_some_and(|message| message.response);
        let (kind, name) = asked(&observation.decoded);
        Self {
            time: seen.time,
            query: match stray.reason {
                StrayReason::Surplus { query }
                | StrayReason::Late { query, .. }
                | StrayReason::Untranslated { query, .. } => Some(query),
                _ => None,
            },
            owner: Some(&observation.owner),
            task: Some(&seen.task),
            tid: Some(seen.task.tid),
            netns: Some(seen.netns),
            kind,
            name,
            peer: format!("{arrow} {remote}/{}", names::transport(seen.flow.transport)),
            kube: nothing(),
            port: port(local.port()),
            id: message.map(|message| message.id),
            bytes: if is_answer { (None, length) } else { (length, None) },
            tries: None,
            latency: nothing(),
            answer: stray_words(stray),
        }
    }

    pub fn of_packet(stray: &'a StrayPacket, nodes: &Nodes) -> Self {
        let flow = stray.flow;
        let words = step::words(&stray.step, &Scene::of_packet(nodes, flow));
        let (kind, name) = asked(&stray.decoded);
        Self {
            time: stray.step.time,
            query: match stray.reason {
                StrayPacketReason::Ended { query } => Some(query),
                StrayPacketReason::NoAttempt | StrayPacketReason::Ambiguous => None,
            },
            owner: None,
            task: None,
            tid: None,
            netns: stray.step.netns,
            kind,
            name,
            peer: format!("{} -> {}/{}", flow.source, flow.destination, names::transport(flow.transport)),
            kube: nothing(),
            port: None,
            id: stray.decoded.message.as_ref().map(|message| message.id),
            bytes: (None, None),
            tries: None,
            latency: nothing(),
            answer: format!("{words}; {}", whose(stray)),
        }
    }

    /// A lookup has several queries and attempts: what one of them alone has is left out.
    pub fn of_lookup(lookup: &'a Lookup) -> Self {
        Self {
            time: lookup.started,
            query: None,
            owner: Some(&lookup.owner),
            task: Some(&lookup.task),
            tid: Some(lookup.task.tid),
            netns: Some(lookup.netns),
            kind: lookup::types(lookup),
            name: Some(lookup.asked.name()),
            peer: lookup::servers(lookup),
            kube: nothing(),
            port: None,
            id: None,
            bytes: (None, None),
            tries: None,
            latency: lookup.latency().map_or_else(nothing, units::duration),
            answer: lookup::outcome(lookup),
        }
    }

    pub fn of_connection(tcp: &'a TcpConnection, scene: &Scene<'_>) -> Self {
        let latency = tcp.established.map(|established| units::duration(established.since(tcp.time)));
        let address = attempt::address(tcp.remote, Transport::Tcp, tcp.endpoint);
        Self {
            time: tcp.time,
            query: None,
            owner: tcp.owner.as_ref(),
            task: tcp.task.as_ref(),
            tid: tcp.task.as_ref().map(|task| task.tid),
            netns: Some(tcp.netns),
            kind: connection::kind(tcp.protocol).to_owned(),
            name: None,
            peer: format!("{} {address}", arrow(tcp.role)),
            kube: known(attempt::peer_names(&tcp.peer)),
            port: port(tcp.local.port()),
            id: None,
            bytes: (Some(tcp.bytes_acked), Some(tcp.bytes_received)),
            tries: None,
            latency: latency.filter(|_| tcp.seen_from_start).unwrap_or_else(nothing),
            answer: connection::outcome(tcp, scene),
        }
    }
}

/// A cell that has nothing to tell.
pub(super) fn nothing() -> String {
    "-".to_owned()
}

/// A cell that may have nothing to tell.
fn known(text: String) -> String {
    if text.is_empty() { nothing() } else { text }
}

/// The last two columns.
pub(in crate::output) fn ending(query: &Query) -> (String, String) {
    let latency = query.latency().map_or_else(nothing, units::duration);
    let Some(answer) = query.answer() else { return (latency, attempt::ending(query).to_owned()) };
    let mut last = answer::status(&answer.message);
    let slow_opening = connection::slow_opening(query).unwrap_or_default();
    let slow_server = server_side::slow_words(query).unwrap_or_default();
    for words in [answer::words(answer), slow_reader(query, answer), slow_server, slow_opening] {
        if !words.is_empty() {
            _ = write!(last, " {words}");
        }
    }
    (latency, last)
}

/// A query that does not unfold, but whose answer the program left unread for most of the time.
fn slow_reader(query: &Query, answer: &Answer) -> String {
    let wait = answer::long_wait(answer).filter(|wait| wait.saturating_mul(2) > query.latency().unwrap_or(0));
    match wait {
        Some(wait) if !attempt::is_sick(query) => format!("[{}]", attempt::unread(wait)),
        _ => String::new(),
    }
}

/// Type and name of the question, if they could be read.
fn asked(decoded: &Decoded) -> (String, Option<&str>) {
    match decoded.message.as_ref().and_then(|message| message.question.as_ref()) {
        Some(question) => (kind(question), Some(&question.name)),
        None => (nothing(), None),
    }
}

/// Which query a packet belongs to.
fn whose(stray: &StrayPacket) -> String {
    match (stray.reason, stray.flow.transport) {
        (StrayPacketReason::NoAttempt, Transport::Udp) => "of a query that was not seen".to_owned(),
        (StrayPacketReason::NoAttempt, Transport::Tcp) => {
            "of a connection that was not seen, or had no query under way".to_owned()
        }
        (StrayPacketReason::Ambiguous, _) => "of one of several queries".to_owned(),
        (StrayPacketReason::Ended { query }, _) => format!("of query {query}, which has ended"),
    }
}

pub(in crate::output) fn stray_words(stray: &Stray) -> String {
    let observation = &stray.observation;
    let status = observation.decoded.message.as_ref().map(answer::status).unwrap_or_default();
    match &stray.reason {
        StrayReason::Undecoded | StrayReason::NoQuestion => {
            let defect = observation.decoded.defect.as_ref();
            let what = defect.map_or_else(|| "a message without a question".to_owned(), answer::defect);
            format!("{what} ({} bytes)", observation.seen.length)
        }
        StrayReason::StreamSkipped => format!(
            "{} skipped: a connection older than the trace, or not captured whole; where its messages begin is not known",
            units::bytes(u64::from(observation.seen.length))
        ),
        StrayReason::StreamNotDns => {
            format!("not DNS: the stream begins with {}", answer::excerpt(&observation.seen.payload))
        }
        StrayReason::QueryNotSeen => format!("{status}: an answer whose query was not seen"),
        StrayReason::Surplus { .. } => format!("{status}: one more answer to a query that has ended"),
        StrayReason::Late { after, .. } => {
            format!("{status}: answered late, {} after the query was sent", units::duration(*after))
        }
        StrayReason::Untranslated { asked, .. } => {
            format!("{status}: an answer that was not translated back to {asked}, which was asked")
        }
    }
}

/// The type that is asked for, with the class where it is not the Internet's.
fn kind(question: &Question) -> String {
    const IN: u16 = 1;
    let qtype = record_type(question.qtype);
    if question.qclass == IN {
        qtype.into_owned()
    } else {
        format!("{qtype}/{}", record_class(question.qclass))
    }
}

/// The attempt that ended it, else the last one.
fn decisive(query: &Query) -> Option<&Attempt> {
    match query.outcome {
        Outcome::Answered { attempt } => query.attempts.get(attempt),
        Outcome::Unanswered | Outcome::Pending => query.attempts.last(),
    }
}

/// 0 where the socket never had one.
fn port(number: u16) -> Option<u16> {
    Some(number).filter(|number| *number != 0)
}

/// Which way it went: to a server, or from a client.
fn arrow(role: Role) -> &'static str {
    match role {
        Role::Client => "->",
        Role::Server => "<-",
    }
}
