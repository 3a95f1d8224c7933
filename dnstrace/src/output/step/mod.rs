//! What befell a packet, in the words of the table: where, what, why, and what that means.

mod drop;
mod scene;

use std::net::SocketAddr;

use crate::{
    dns::record_type,
    event::{Flow, KernelTime},
    lookup::{
        Conntrack, InsertFailure, Insertion, Leg, REPLY_ONLY_LIFE, Role, Step, What, Winner, WinnerQuery,
    },
};

use super::{connection, escape, names, units};

pub(super) use drop::is_netfilter;
pub(super) use scene::Scene;

/// One step: `on the node: dropped by netfilter in FORWARD (nf_hook_slow)`.
pub(super) fn words(step: &Step, scene: &Scene) -> String {
    let what = match &step.what {
        What::Conntrack(entry) => conntrack(entry, scene),
        What::Dropped(dropped) => drop::words(dropped, step, scene),
        What::IcmpSent { leg, error } => format!("ICMP {} sent back{}", names::icmp(*error), to_answer(*leg)),
        What::IcmpReceived { leg, error } => {
            format!("ICMP {} came back{}", names::icmp(*error), to_answer(*leg))
        }
        What::SendFailed { errno } => refusal(*errno, scene),
        What::Evicted => evicted(scene).to_owned(),
        What::Retransmitted { leg } => sent_again(*leg, scene).to_owned(),
        What::ConnectFailed { errno } => format!("connect failed: {}", connection::failure(*errno, 0, scene)),
        What::ConnectionEnded(end) => format!("connection {}", connection::ended(*end, scene)),
    };
    match scene.place(step.netns) {
        Some(place) => format!("{place}: {what}"),
        None => what,
    }
}

/// Whom an ICMP error went to, where it was not the client for its query.
fn to_answer(leg: Leg) -> &'static str {
    match leg {
        Leg::Query => "",
        Leg::Syn => " for the SYN",
        Leg::Answer => " to the server for its answer",
        Leg::SynAck => " to the server for its SYN-ACK",
    }
}

/// What TCP sent again, which is not the same as a resolver that asks again.
fn sent_again(leg: Leg, scene: &Scene) -> &'static str {
    match (leg, scene.of) {
        (Leg::Syn, _) => "SYN sent again",
        (Leg::SynAck, _) => "SYN-ACK sent again",
        (Leg::Query, Some(_)) => "segment to the server sent again by TCP: not acknowledged in time",
        (Leg::Answer, Some(_)) => "segment to the client sent again by TCP: not acknowledged in time",
        (Leg::Query | Leg::Answer, None) => "segment sent again by TCP: not acknowledged in time",
    }
}

const NOT_INSERTED: &str = "not entered into conntrack, so lost";

fn conntrack(entry: &Conntrack, scene: &Scene) -> String {
    let translation = translation(entry);
    match &entry.result {
        Insertion::Inserted if translation.is_empty() => "entered into conntrack".to_owned(),
        Insertion::Inserted => format!("entered into conntrack, {translation}"),
        Insertion::Merged { winner } => {
            format!("conntrack clash with {}: goes on with that entry", winner_words(winner.as_ref(), scene))
        }
        Insertion::ReplyOnly { winner } => {
            let winner = winner_words(winner.as_ref(), scene);
            let goes_on = if translation.is_empty() { "goes on" } else { &format!("goes on {translation}") };
            format!(
                "conntrack clash with {winner}: {goes_on}, but only its reply direction was entered, for {} s",
                REPLY_ONLY_LIFE / 1_000_000_000
            )
        }
        Insertion::Failed { why: InsertFailure::Clash(winner) } => {
            format!("{NOT_INSERTED}: clash with {}", winner_words(Some(winner), scene))
        }
        Insertion::Failed { why: InsertFailure::NoClash } => format!(
            "{NOT_INSERTED}: no clash, but a hash chain too long, or a netfilter extension that had changed"
        ),
        Insertion::Failed { why: InsertFailure::Unknown } => {
            format!("{NOT_INSERTED}: whether by a clash was not seen")
        }
        Insertion::Untracked => "not tracked by conntrack: a rule says so (NOTRACK)".to_owned(),
        Insertion::Unknown => "was to enter conntrack: what came of it was not seen".to_owned(),
    }
}

/// What the entry makes of the addresses: `-> 10.244.1.7`, `-> 10.244.1.7, as 192.168.0.5:40000`; empty if nothing.
fn translation(entry: &Conntrack) -> String {
    let endpoint = endpoint_of(&entry.original, &entry.reply);
    let source = (entry.reply.destination != entry.original.source).then_some(entry.reply.destination);
    match (endpoint, source) {
        (Some(endpoint), Some(source)) => format!("{endpoint}, as {source}"),
        (Some(endpoint), None) => endpoint,
        (None, Some(source)) => format!("as {source}"),
        (None, None) => String::new(),
    }
}

fn endpoint_of(original: &Flow, reply: &Flow) -> Option<String> {
    (reply.source != original.destination).then(|| endpoint(reply.source, original.destination))
}

/// `-> 10.244.1.7`, with the port where it is not the one that was asked.
pub(crate) fn endpoint(endpoint: SocketAddr, asked: SocketAddr) -> String {
    if endpoint.port() == asked.port() { format!("-> {}", endpoint.ip()) } else { format!("-> {endpoint}") }
}

/// `the AAAA query of the same socket (query 12, -> 10.244.2.9)`
fn winner_words(winner: Option<&Winner>, scene: &Scene) -> String {
    let Some(winner) = winner else { return "an entry that was not seen".to_owned() };
    let endpoint = endpoint_of(&winner.original, &winner.reply);
    let Some(query) = &winner.query else {
        let Flow { source, destination, transport } = winner.original;
        let endpoint = endpoint.map(|endpoint| format!(" ({endpoint})")).unwrap_or_default();
        return format!("the entry {source} -> {destination}/{}{endpoint}", names::transport(transport));
    };
    let own = scene.of.map(|of| of.query).filter(|own| own.number == query.number);
    let mut details = Vec::new();
    if own.is_none() {
        details.push(format!("query {}", query.number));
    }
    if !query.same_socket {
        details.push(format!("from {}", winner.original.source));
    }
    details.extend(endpoint);
    let details = if details.is_empty() { String::new() } else { format!(" ({})", details.join(", ")) };
    match own {
        Some(_) => format!("another attempt of this query{details}"),
        None => format!("{}{details}", winner_query(query, scene)),
    }
}

fn winner_query(query: &WinnerQuery, scene: &Scene) -> String {
    let qtype = record_type(query.question.qtype);
    let socket = if query.same_socket { "the same socket" } else { "another socket" };
    let same_name = scene.of.is_some_and(|of| of.query.question.name == query.question.name);
    if same_name {
        format!("the {qtype} query of {socket}")
    } else {
        format!("the {qtype} query for {} of {socket}", escape(&query.question.name))
    }
}

/// `not sent: EPERM (Operation not permitted)`
pub(super) fn refusal(errno: u16, scene: &Scene) -> String {
    let whose = if sent_leg(scene) == Leg::Answer { "its answer was " } else { "" };
    format!("{whose}not sent: {}", errno_words(errno, scene))
}

/// What the traced socket sends of an attempt.
fn sent_leg(scene: &Scene) -> Leg {
    match scene.role {
        Role::Server => Leg::Answer,
        Role::Client => Leg::Query,
    }
}

/// An errno of sending, and what it tells beyond its text. EPERM stands for whatever dropped the packet in the
/// sender's own namespace: if that was seen, its own step tells.
pub(super) fn errno_words(errno: u16, scene: &Scene) -> String {
    let explained = names::errno_explained(errno);
    let meaning = match i32::from(errno) {
        libc::EPERM if loss_seen(scene) => None,
        libc::EPERM => {
            Some("dropped in its own network namespace by netfilter, conntrack or BPF; by which was not seen")
        }
        // Errors of routes (fib_props, net/ipv4/fib_semantics.c), whose texts lead elsewhere.
        libc::EINVAL => Some("a blackhole route gives this"),
        libc::EACCES => Some("a prohibit route gives this"),
        // sock_alloc_send_pskb hands over what __udp4_lib_err has left in the socket.
        libc::ECONNREFUSED => {
            Some("ICMP port unreachable had come back for an earlier message of this socket")
        }
        _ => None,
    };
    match meaning {
        Some(meaning) => format!("{explained}: {meaning}"),
        None => explained,
    }
}

/// Whether a step of the attempt tells where what was sent was lost.
fn loss_seen(scene: &Scene) -> bool {
    let tells = |step: &Step| match &step.what {
        What::Dropped(dropped) => dropped.leg == sent_leg(scene) || dropped.leg == Leg::Syn,
        What::Conntrack(entry) => matches!(entry.result, Insertion::Failed { .. }),
        _ => false,
    };
    scene.steps.iter().any(tells)
}

fn evicted(scene: &Scene) -> &'static str {
    match scene.of.map(|of| of.attempt.endpoint) {
        Some(Some(_)) => {
            "its conntrack entry was thrown out of the full table: a later answer is not translated back"
        }
        Some(None) => "its conntrack entry was thrown out of the full table",
        None => "conntrack entry thrown out of the full table",
    }
}

/// Why the answer found no entry at `time` that would have translated it back, as far as earlier steps tell.
fn way_back_lost(time: KernelTime, scene: &Scene) -> Option<&'static str> {
    let steps = scene.steps.iter().rev().filter(|step| step.time <= time);
    let lost = |step: &Step| match &step.what {
        What::Evicted => Some("its conntrack entry had been thrown out"),
        What::Conntrack(Conntrack { result: Insertion::ReplyOnly { .. }, .. })
            if time.since(step.time) >= REPLY_ONLY_LIFE =>
        {
            Some("its 1 s conntrack entry had expired")
        }
        _ => None,
    };
    steps.filter_map(lost).next()
}

/// Time from the query to `time`.
fn since_query(time: KernelTime, scene: &Scene) -> Option<String> {
    scene.of.map(|of| units::duration(time.since(of.attempt.time)))
}
