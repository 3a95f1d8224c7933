//! The server's side of a client's attempt, in the words of the table.

use crate::{
    dns::rcode,
    event::KernelTime,
    lookup::{Attempt, Fate, Query, ServerSide},
};

use super::{Nodes, escape, units};

/// From here on it is worth a word where an answer was so long: 100 ms, in nanoseconds.
const SLOW: u64 = 100_000_000;

/// What the server's side tells of an attempt without an answer, with its times. Of an answered one its latency says it.
pub(super) fn lines(side: &ServerSide, attempt: &Attempt, nodes: &Nodes) -> Vec<(KernelTime, String)> {
    if matches!(attempt.fate, Fate::Answered(_)) {
        return Vec::new();
    }
    let received = format!("received by {}", whose(side, nodes));
    match side.answered {
        None => vec![(side.received, format!("{received}, which did not answer it"))],
        Some((time, status)) => {
            let took = units::duration(time.since(side.received));
            vec![
                (side.received, received),
                (time, format!("{} sent by the server after {took}", rcode(status))),
            ]
        }
    }
}

/// Where most of the time of a slow answer went: `[1.19 s of it in kube-system/coredns-5d7]`, `[1.19 s of it on its way]`.
/// Nothing if it was not slow, or the server not traced.
pub(super) fn slow_words(query: &Query) -> Option<String> {
    let latency = query.latency().filter(|latency| *latency >= SLOW)?;
    let attempt = query.attempts.iter().rfind(|attempt| attempt.answer().is_some())?;
    let side = attempt.server_side.as_deref()?;
    let (answered, _) = side.answered?;
    let in_server = answered.since(side.received);
    let answer = attempt.answer()?;
    // Not what it waited for its reader, which is told by another word.
    let arrived = answer.arrived.unwrap_or(answer.time);
    let on_its_way = arrived.since(attempt.time).saturating_sub(in_server);
    let is_most = |part: u64| part.saturating_mul(2) > latency;
    if is_most(in_server) {
        Some(format!("[{} of it in {}]", units::duration(in_server), escape(&side.owner.to_string())))
    } else if is_most(on_its_way) {
        Some(format!("[{} of it on its way]", units::duration(on_its_way)))
    } else {
        None
    }
}

/// `kube-system/coredns-5d7 (coredns[812])`, of several nodes `kube-system/coredns-5d7 on worker-2 (coredns[812])`
fn whose(side: &ServerSide, nodes: &Nodes) -> String {
    let node = nodes.of_owner(&side.owner).map(|node| format!(" on {}", escape(node))).unwrap_or_default();
    format!("{}{node} ({}[{}])", escape(&side.owner.to_string()), escape(&side.task.comm), side.task.pid)
}
