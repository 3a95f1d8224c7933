//! A sick query's attempts, unfolded: a line each, and below it what befell the attempt.

use std::fmt::Write as _;

use crate::lookup::{Attempt, Fate, Insertion, Outcome, Query, Role, Step, What};

use super::{
    answer, names,
    step::{self, Of, Scene},
    units,
};

/// Whether more is to be told than fits one line.
pub(super) fn is_sick(query: &Query) -> bool {
    query.attempts.len() > 1
        || query.attempts_left_out > 0
        || !matches!(query.outcome, Outcome::Answered { .. })
        || query.attempts.iter().any(is_eventful)
}

/// Whether something befell it beside a plain entry into conntrack, or none by the rules.
fn is_eventful(attempt: &Attempt) -> bool {
    attempt.steps_left_out > 0 || attempt.steps.iter().any(|step| !is_plain(step))
}

fn is_plain(step: &Step) -> bool {
    let is_usual = |result: &Insertion| matches!(result, Insertion::Inserted | Insertion::Untracked);
    matches!(&step.what, What::Conntrack(entry) if is_usual(&entry.result))
}

/// The lines below a sick query's own, each with its newline. `node` is the inode number of the node's own network
/// namespace.
pub(super) fn unfold(query: &Query, node: Option<u32>) -> String {
    let mut lines = String::new();
    // Writing into a String cannot fail.
    for (index, attempt) in query.attempts.iter().enumerate() {
        let scene = Scene { node, of: Some(Of { query, attempt }) };
        _ = writeln!(lines, "    {}", heading(query, index, attempt, &scene));
        for (index, step) in attempt.steps.iter().enumerate() {
            if !is_told_by_heading(attempt, index, step) {
                let offset = units::offset(step.time.since(query.started()));
                _ = writeln!(lines, "    {offset}    {}", step::words(step, &scene));
            }
        }
        if attempt.steps_left_out > 0 {
            _ = writeln!(lines, "    and {} further steps", attempt.steps_left_out);
        }
    }
    if query.attempts_left_out > 0 {
        _ = writeln!(lines, "    and {} further attempts", query.attempts_left_out);
    }
    lines
}

/// The heading tells of a refused send, and where an answered attempt went.
fn is_told_by_heading(attempt: &Attempt, index: usize, step: &Step) -> bool {
    match attempt.fate {
        Fate::SendFailed { step: told } => told == index && matches!(step.what, What::SendFailed { .. }),
        Fate::Answered(_) => is_plain(step),
        _ => false,
    }
}

/// `+0.000000  sent to 10.96.0.10:53/udp -> 10.244.1.7 (port 40000, id 4711): no answer for 5.003 s`
fn heading(query: &Query, index: usize, attempt: &Attempt, scene: &Scene) -> String {
    let verb = match (query.role, index) {
        (Role::Client, 0) => "sent to",
        (Role::Client, _) => "sent again to",
        (Role::Server, 0) => "came from",
        (Role::Server, _) => "came again from",
    };
    let refused = query.role == Role::Client && matches!(attempt.fate, Fate::SendFailed { .. });
    let not = if refused { "not " } else { "" };
    let id = attempt.conversation.id.map(|id| format!(", id {id}")).unwrap_or_default();
    format!(
        "{}  {not}{verb} {} (port {}{id}): {}",
        units::offset(attempt.time.since(query.started())),
        remote(attempt),
        attempt.conversation.local.port(),
        fate(attempt, scene)
    )
}

/// The other end and the endpoint behind it: `10.96.0.10:53/udp -> 10.244.1.7`.
pub(super) fn remote(attempt: &Attempt) -> String {
    let conversation = &attempt.conversation;
    let remote = format!("{}/{}", conversation.remote, names::transport(conversation.transport));
    match attempt.endpoint {
        Some(endpoint) => format!("{remote} {}", step::endpoint(endpoint, conversation.remote)),
        None => remote,
    }
}

/// What became of it, in a few words; its steps tell the rest.
fn fate(attempt: &Attempt, scene: &Scene) -> String {
    match &attempt.fate {
        Fate::Open => "no answer yet".to_owned(),
        Fate::Answered(answer) => {
            let latency = answer.time.since(attempt.time);
            let answered = format!("{} after {}", answer::status(&answer.message), units::duration(latency));
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
        Fate::ConnectionLost { .. } => "connection lost".to_owned(),
    }
}

/// `812 ms of it in the socket's buffer, not yet read`
pub(super) fn unread(wait: u64) -> String {
    format!("{} of it in the socket's buffer, not yet read", units::duration(wait))
}

/// How a query without an answer ended, for its own line.
pub(super) fn ending(query: &Query) -> &'static str {
    match (query.outcome, query.attempts.last().map(|last| &last.fate)) {
        (Outcome::Answered { .. } | Outcome::Pending, _) => "no answer yet when the trace ended",
        (Outcome::Unanswered, Some(fate)) => match fate {
            Fate::SendFailed { .. } => "no answer: not sent",
            Fate::LostAtConntrack { .. } => "no answer: lost at conntrack insert",
            Fate::Dropped { .. } => "no answer: dropped",
            Fate::Rejected { .. } => "no answer: rejected",
            Fate::AnswerDropped { .. } => "no answer: dropped on its way back",
            Fate::AnsweredLate { .. } => "no answer read in time",
            Fate::Evicted { .. } => "no answer: conntrack entry thrown out",
            Fate::ConnectFailed { .. } => "no answer: connect failed",
            Fate::ConnectionLost { .. } => "no answer: connection lost",
            Fate::Unknown { .. } => "no answer seen, but events were lost",
            Fate::Open | Fate::Answered(_) | Fate::Unanswered { .. } | Fate::NotAwaited => "no answer",
        },
        (Outcome::Unanswered, None) => "no answer",
    }
}
