//! Attempts of which the server's side was seen.

use super::*;
use crate::lookup::ServerSide;

fn seen(attempt: Attempt, received: u64, answered: Option<u64>) -> Attempt {
    let pod = Pod {
        namespace: Some("dns".into()),
        name: Some("coredns-5d7".into()),
        uid: String::new(),
        labels: None,
    };
    let side = ServerSide {
        query: 14,
        owner: Owner { pod: Some(pod.into()), ..Owner::default() },
        task: Task { cgroup: 2, pid: 812, tid: 812, comm: "core\x1b[dns".into() },
        netns: OTHER,
        received: KernelTime(received),
        answered: answered.map(|time| (KernelTime(time), 2)),
    };
    Attempt { server_side: Some(Box::new(side)), ..attempt }
}

/// Without an answer: the server gave none; it was lost on its way back. Answered: the server was slow; the network was;
/// neither.
pub(in crate::output::tests) fn sides() -> Vec<Query> {
    let entered = || vec![step(31 * US, NODE, inserted(ENDPOINT))];
    vec![
        query("silent.", vec![seen(attempt(0, entered(), unanswered()), 400 * US, None)]),
        query("lost.", vec![seen(attempt(0, entered(), unanswered()), 400 * US, Some(30 * MS))]),
        query("slow.", vec![seen(attempt(0, entered(), answer(900 * MS, None)), MS, Some(899 * MS))]),
        query("far.", vec![seen(attempt(0, entered(), answer(900 * MS, None)), 400 * MS, Some(410 * MS))]),
        query("well.", vec![seen(attempt(0, entered(), answer(2 * MS, None)), MS, Some(MS + 1))]),
    ]
}
