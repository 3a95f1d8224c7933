//! A sick query's attempts, unfolded: a line each, and below it what befell the attempt.

use std::{fmt::Write as _, net::SocketAddr, ops::Range};

use crate::{
    directory::{Name, Peer},
    event::{KernelTime, Transport},
    lookup::{Attempt, Fate, Insertion, Outcome, Query, Role, Step, What},
};

use super::{
    Nodes, answer,
    connection::{self, Unopened},
    escape, names, server_side,
    step::{self, Scene},
    units,
};

/// Whether more is to be told than fits one line.
pub(super) fn is_sick(query: &Query) -> bool {
    query.attempts.len() > 1
        || query.attempts_left_out > 0
        || !matches!(query.outcome, Outcome::Answered { .. })
        || query.attempts.iter().any(is_eventful)
}

/// Whether something befell it beside a plain entry into conntrack, or none by the rules; or its connection.
fn is_eventful(attempt: &Attempt) -> bool {
    attempt.steps_left_out > 0
        || connection::opened_slowly(attempt)
        || attempt.steps.iter().any(|step| !is_plain(step))
}

pub(super) fn is_plain(step: &Step) -> bool {
    let is_usual = |result: &Insertion| matches!(result, Insertion::Inserted | Insertion::Untracked);
    matches!(&step.what, What::Conntrack(entry) if is_usual(&entry.result))
}

/// The lines below a sick query's own, each with its newline.
pub(super) fn unfold(query: &Query, nodes: &Nodes) -> String {
    let attempts = query.attempts.iter().enumerate();
    let mut lines: String =
        attempts.map(|(index, attempt)| unfold_one(query, index, attempt, nodes)).collect();
    if query.attempts_left_out > 0 {
        // Writing into a String cannot fail.
        _ = writeln!(lines, "    and {} further attempts", query.attempts_left_out);
    }
    lines
}

/// The lines of one attempt, which is the query's `index`th.
pub(super) fn unfold_one(query: &Query, index: usize, attempt: &Attempt, nodes: &Nodes) -> String {
    let mut lines = String::new();
    let scene = Scene::of_attempt(nodes, query, attempt);
    let mut told = 0;
    // Writing into a String cannot fail.
    if let Some((opened, words)) = connection::opening(attempt) {
        _ = writeln!(lines, "    {}  {words}", units::offset(opened, query.started()));
        // What befell the packets that opened it.
        told = attempt.steps.partition_point(|step| step.time < attempt.time);
        lines.push_str(&steps(query, attempt, 0..told, &scene));
    }
    _ = writeln!(lines, "    {}", heading(query, index, attempt, &scene));
    lines.push_str(&steps(query, attempt, told..attempt.steps.len(), &scene));
    if attempt.steps_left_out > 0 {
        _ = writeln!(lines, "    and {} further steps", attempt.steps_left_out);
    }
    lines
}

/// A line for each of these steps that no heading tells, and for what the server's side tells in between.
fn steps(query: &Query, attempt: &Attempt, which: Range<usize>, scene: &Scene) -> String {
    let is_rest = which.end == attempt.steps.len();
    let steps = attempt.steps.iter().enumerate().skip(which.start).take(which.len());
    let untold = steps.filter(|(index, step)| !is_told_by_heading(attempt, *index, step));
    let mut lines: Vec<_> = untold.map(|(_, step)| (step.time, step::words(step, scene))).collect();
    if is_rest {
        lines.extend(
            attempt.server_side.iter().flat_map(|side| server_side::lines(side, attempt, scene.nodes)),
        );
        // Stable: what happened at one time stays in its order.
        lines.sort_by_key(|(time, _)| *time);
    }
    lines
        .iter()
        .map(|(time, words)| format!("    {}    {words}\n", units::offset(*time, query.started())))
        .collect()
}

/// Headings tell of a refused send, of a connection that failed and how often its SYN was sent again, and where an
/// answered attempt went.
fn is_told_by_heading(attempt: &Attempt, index: usize, step: &Step) -> bool {
    let decided = match attempt.fate {
        Fate::SendFailed { step: told } => told == index && matches!(step.what, What::SendFailed { .. }),
        Fate::ConnectFailed { step: told } => told == index && Unopened::by_step(step).is_some(),
        Fate::ConnectionLost { step: told } => told == index && matches!(step.what, What::ConnectionEnded(_)),
        Fate::Answered(_) => is_plain(step),
        _ => false,
    };
    decided || connection::counts_syns(attempt) && connection::is_syn_again(step)
}

/// `+0.000000  sent to 10.96.0.10:53/udp -> 10.244.1.7 (port 40000, id 4711): no answer for 5.003 s`
fn heading(query: &Query, index: usize, attempt: &Attempt, scene: &Scene) -> String {
    let offset = units::offset(attempt.time, query.started());
    if connection::is_unopened(attempt) {
        return format!("{offset}  {}", connect(attempt, query.ended, scene));
    }
    let verb = match (query.role, index) {
        (Role::Client, 0) => "sent to",
        (Role::Client, _) => "sent again to",
        (Role::Server, 0) => "came from",
        (Role::Server, _) => "came again from",
    };
    let refused = query.role == Role::Client && matches!(attempt.fate, Fate::SendFailed { .. });
    let not = if refused { "not " } else { "" };
    let id = attempt.conversation.id.map(|id| format!(", id {id}")).unwrap_or_default();
    let ordinal = if attempt.answer().is_none() { connection::ordinal(attempt) } else { String::new() };
    format!(
        "{offset}  {not}{verb} {} (port {}{id}{ordinal}): {}",
        named_remote(attempt),
        attempt.conversation.local.port(),
        fate(attempt, scene)
    )
}

/// An attempt that had no connection to be sent on: `connect to 10.96.0.10:53/tcp -> 10.244.1.7 (port 40000) failed after
/// 3.050 s: timed out, 3 SYNs unanswered (ETIMEDOUT)`
fn connect(attempt: &Attempt, ended: KernelTime, scene: &Scene) -> String {
    let port = match attempt.conversation.local.port() {
        // The kernel had refused it before it had one.
        0 => String::new(),
        port => format!(" (port {port})"),
    };
    let again = connection::syns_again_of(attempt);
    let Fate::ConnectFailed { step } = attempt.fate else {
        let fate = if matches!(attempt.fate, Fate::Open) { "not open yet" } else { &fate(attempt, scene) };
        let again = if again == 0 { String::new() } else { format!(", {}", connection::syn_again(again)) };
        return format!("connect to {}{port}: {fate}{again}", named_remote(attempt));
    };
    let step = attempt.steps.get(step);
    let after = connection::after(step.map_or(ended, |step| step.time).since(attempt.time));
    let words = match step.and_then(Unopened::by_step) {
        Some(unopened) => unopened.words(&after, again, scene),
        None => format!("failed{after}"),
    };
    format!("connect to {}{port} {words}", named_remote(attempt))
}

/// The same with the names of both, where they are known: `10.96.0.10:53/udp [kube-system/kube-dns] -> 10.244.1.7
/// [kube-system/coredns-5d7]`.
pub(super) fn named_remote(attempt: &Attempt) -> String {
    let conversation = &attempt.conversation;
    let transport = names::transport(conversation.transport);
    let remote = format!("{}/{transport}{}", conversation.remote, bracketed(attempt.peer.remote.as_deref()));
    match attempt.endpoint {
        Some(endpoint) => {
            let endpoint = step::endpoint(endpoint, conversation.remote);
            format!("{remote} {endpoint}{}", bracketed(attempt.peer.endpoint.as_deref()))
        }
        None => remote,
    }
}

/// ` [kube-system/kube-dns]`, safe for a terminal; empty without a name.
pub(super) fn bracketed(name: Option<&Name>) -> String {
    name.map(|name| format!(" [{}]", escape(&name.to_string()))).unwrap_or_default()
}

/// What the other end and the endpoint behind it are called: `kube-system/kube-dns -> kube-system/coredns-5d7`; empty if
/// neither has a name.
pub(super) fn peer_names(peer: &Peer) -> String {
    let name = |name: &Name| escape(&name.to_string()).into_owned();
    match (peer.remote.as_deref().map(name), peer.endpoint.as_deref().map(name)) {
        (Some(remote), Some(endpoint)) => format!("{remote} -> {endpoint}"),
        (Some(remote), None) => remote,
        (None, Some(endpoint)) => format!("-> {endpoint}"),
        (None, None) => String::new(),
    }
}

/// The other end and the endpoint behind it: `10.96.0.10:53/udp -> 10.244.1.7`.
pub(super) fn remote(attempt: &Attempt) -> String {
    let conversation = &attempt.conversation;
    address(conversation.remote, conversation.transport, attempt.endpoint)
}

/// An address that was asked, and the endpoint that it was translated to.
pub(super) fn address(asked: SocketAddr, transport: Transport, endpoint: Option<SocketAddr>) -> String {
    let address = format!("{asked}/{}", names::transport(transport));
    match endpoint {
        Some(endpoint) => format!("{address} {}", step::endpoint(endpoint, asked)),
        None => address,
    }
}

/// What became of it, in a few words; its steps tell the rest.
fn fate(attempt: &Attempt, scene: &Scene) -> String {
    match &attempt.fate {
        Fate::Open => "no answer yet".to_owned(),
        Fate::Answered(answer) => {
            let latency = answer.time.since(attempt.time);
            let truncated = if answer.message.flags.truncated { ", truncated (TC)" } else { "" };
            let status = answer::status(&answer.message);
            let answered = format!("{status} after {}{truncated}", units::duration(latency));
            match answer::long_wait(answer) {
                Some(wait) => format!("{answered}, {}", unread(wait)),
                None => answered,
            }
        }
        Fate::AnsweredLate { after, step } => {
            let was_there = matches!(
                attempt.steps.get(*step).map(|step| &step.what),
                Some(What::Dropped(dropped)) if dropped.arrived.is_some()
            );
            let after = units::duration(*after);
            if was_there {
                format!("answered after {after}, but never read")
            } else {
                format!("answered too late, after {after}")
            }
        }
        Fate::SendFailed { step } => match attempt.steps.get(*step).map(|step| &step.what) {
            Some(What::SendFailed { errno }) => match attempt.conversation.role {
                Role::Client => step::errno_words(*errno, scene),
                Role::Server => step::refusal(*errno, scene),
            },
            _ => "refused by the kernel".to_owned(),
        },
        Fate::LostAtConntrack { .. } => "lost at conntrack insert".to_owned(),
        Fate::Dropped { .. } => "dropped".to_owned(),
        Fate::Rejected { .. } => "rejected".to_owned(),
        Fate::AnswerDropped { .. } => "its answer was dropped".to_owned(),
        Fate::Evicted { .. } => "no answer, its conntrack entry was thrown out".to_owned(),
        Fate::Unanswered { waited } => format!("no answer for {}", units::duration(*waited)),
        Fate::Unknown { waited, lost } => format!(
            "not known: no answer seen for {}, but {} lost meanwhile",
            units::duration(*waited),
            if *lost == 1 { "1 event was".to_owned() } else { format!("{lost} events were") }
        ),
        Fate::NotAwaited => "not waited for, another attempt was answered first".to_owned(),
        Fate::ConnectFailed { .. } => "connect failed".to_owned(),
        Fate::ConnectionLost { step } => match attempt.steps.get(*step) {
            Some(Step { time, what: What::ConnectionEnded(end), .. }) => {
                let waited = units::duration(time.since(attempt.time));
                let gave_up = if connection::is_given_up(*end, scene.role) { " (gave up)" } else { "" };
                format!("no answer for {waited}, then connection {}{gave_up}", connection::ended(*end, scene))
            }
            _ => "no answer, connection lost".to_owned(),
        },
    }
}

/// `812 ms of it in the socket's buffer, not yet read`
pub(super) fn unread(wait: u64) -> String {
    format!("{} of it in the socket's buffer, not yet read", units::duration(wait))
}

/// How a query without an answer ended, for its own line.
pub(super) fn ending(query: &Query) -> &'static str {
    match (query.outcome, query.attempts.last()) {
        (Outcome::Answered { .. } | Outcome::Pending, _) => "no answer yet when the trace ended",
        (Outcome::Unanswered, Some(last)) => unanswered(last),
        (Outcome::Unanswered, None) => NO_ANSWER,
    }
}

const NO_ANSWER: &str = "no answer";

fn unanswered(attempt: &Attempt) -> &'static str {
    let step = |index: usize| attempt.steps.get(index);
    match attempt.fate {
        Fate::SendFailed { .. } => "no answer: not sent",
        Fate::LostAtConntrack { .. } => "no answer: lost at conntrack insert",
        Fate::Dropped { .. } => "no answer: dropped",
        Fate::Rejected { .. } => "no answer: rejected",
        Fate::AnswerDropped { .. } => "no answer: dropped on its way back",
        Fate::AnsweredLate { .. } => "no answer read in time",
        Fate::Evicted { .. } => "no answer: conntrack entry thrown out",
        Fate::ConnectFailed { step: told } => {
            step(told).and_then(Unopened::by_step).map_or("no answer: connect failed", Unopened::ending)
        }
        Fate::ConnectionLost { step: told } => match step(told).map(|step| &step.what) {
            Some(What::ConnectionEnded(end)) => connection::lost(*end, attempt.conversation.role),
            _ => "no answer: connection lost",
        },
        Fate::Unknown { .. } => "no answer seen, but events were lost",
        Fate::Open | Fate::Answered(_) | Fate::Unanswered { .. } | Fate::NotAwaited => NO_ANSWER,
    }
}
