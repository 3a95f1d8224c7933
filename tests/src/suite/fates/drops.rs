//! Queries that die at rules, routes, neighbours and closed ports.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{
    super::{Bench, Test},
    SICK, WELL,
    proof::{Proof, list, steps_of, words},
    traced, traced_alone,
};
use crate::lab::{
    netns::netns_inode,
    trouble::drops::{self, Obstacles},
};

pub const TESTS: &[Test] = &[
    Test::core("fates of queries that meet rules and routes", rules_and_routes),
    Test::new("fates of queries on a node that does not forward", no_forwarding),
    Test::new("fates of pods with the same port and ids", twins),
];

/// Where a rule's DROP happens: iptables' in `nf_hook_slow`, nft's own since 6.7 or so in `nft_do_chain`.
const RULE: &str = "nf_hook_slow|nft_do_chain";

fn rules_and_routes(bench: &Bench) -> Result<()> {
    let (proof, connected) = traced(bench, Duration::from_secs(5), |stage| {
        let obstacles = Obstacles::put_up(stage)?;
        obstacles.all_at_once(stage)?;
        drops::over_ipv6(stage)?;
        obstacles.connected(stage)
    })?;
    let inodes = Inodes {
        node: netns_inode(std::process::id())?,
        pod: bench.lab.cart.netns_inode()?,
        web: bench.lab.web.netns_inode()?,
    };
    let mut failed = Vec::new();
    for row in rows(&inodes) {
        if let Err(error) = row.holds(&proof) {
            failed.push(format!("{error:#}"));
        }
    }
    ensure!(failed.is_empty(), "{} rows:\n{}", failed.len(), failed.join("\n"));
    ensure!(connected.len() == 5);
    Ok(())
}

struct Inodes {
    node: u64,
    pod: u64,
    web: u64,
}

/// A question, its fate, and the steps to it with the namespaces they happened in.
struct Row {
    name: &'static str,
    fate: &'static str,
    steps: Vec<(String, u64)>,
    /// How often the same befell it.
    times: usize,
}

impl Row {
    fn holds(&self, proof: &Proof) -> Result<()> {
        let words: Vec<_> = self.steps.iter().map(|(words, _)| words.as_str()).collect();
        for attempt in proof.attempts(SICK, self.name, &vec![(self.fate, &words[..]); self.times])? {
            for (step, (words, netns)) in steps_of(attempt).into_iter().zip(&self.steps) {
                ensure!(step["netns"] == *netns, "{}: {words:?} is not in {netns}: {step}", self.name);
            }
        }
        Ok(())
    }
}

/// What must be said of each question of [`Obstacles`].
fn rows(inodes: &Inodes) -> Vec<Row> {
    let Inodes { node, pod, web } = *inodes;
    let row = |name, fate, steps: &[(&str, u64)]| Row {
        name,
        fate,
        steps: steps.iter().map(|(words, netns)| ((*words).to_owned(), *netns)).collect(),
        times: 1,
    };
    let inserted = ("conntrack inserted", node);
    let forward = format!("drop query NETFILTER_DROP {RULE} FORWARD");
    let output = format!("drop query NETFILTER_DROP {RULE} OUTPUT");
    let (forward, output) = ((forward.as_str(), node), (output.as_str(), pod));
    let route = ("drop query NOT_SPECIFIED ip_error -", node);
    let sent = |code| match code {
        1 => ("icmp query sent 3/1", node),
        3 => ("icmp query sent 3/3", node),
        _ => ("icmp query sent 3/13", node),
    };
    let received = |code| match code {
        1 => ("icmp query received 3/1", pod),
        3 => ("icmp query received 3/3", pod),
        _ => ("icmp query received 3/13", pod),
    };
    let no_listener = [
        inserted,
        ("icmp query sent 3/3", web),
        ("drop query NO_SOCKET __udp4_lib_rcv|udp_rcv -", web),
        received(3),
    ];
    let own_reject = [("icmp query sent 3/3", pod), output, ("send_failed EPERM", pod), received(3)];
    vec![
        row("well-in-cluster", "answered", &[inserted]),
        row("well-in-world", "answered", &[inserted]),
        row("iptables-drop", "dropped", &[forward]),
        row("nft-drop", "dropped", &[forward]),
        row("node-reject", "rejected", &[sent(3), forward, received(3)]),
        row("node-blackhole", "dropped", &[route]),
        row("node-unreachable", "rejected", &[sent(1), route, received(1)]),
        row("node-prohibit", "rejected", &[sent(13), route, received(13)]),
        row(
            "no-neighbour",
            "rejected",
            &[
                inserted,
                sent(1),
                ("drop query NEIGH_FAILED neigh_invalidate|arp_error_report -", node),
                received(1),
            ],
        ),
        // sendmmsg, having sent those before it, does not say that it failed: it is sent again.
        Row { times: 2, ..row("own-drop", "dropped", &[output, ("send_failed EPERM", pod)]) },
        row("own-reject", "rejected", &own_reject),
        row("own-blackhole", "send_failed", &[("send_failed EINVAL", pod)]),
        row("own-unreachable", "send_failed", &[("send_failed EHOSTUNREACH", pod)]),
        row("own-prohibit", "send_failed", &[("send_failed EACCES", pod)]),
        row("own-no-route", "send_failed", &[("send_failed ENETUNREACH", pod)]),
        row("no-endpoints", "rejected", &[sent(3), forward, received(3)]),
        row("no-listener", "rejected", &no_listener),
        row("silent", "unanswered", &[inserted]),
        row("v6-well", "answered", &[inserted]),
        row("v6-drop", "dropped", &[forward]),
        row(
            "v6-no-listener",
            "rejected",
            &[
                inserted,
                ("icmp query sent 1/4", web),
                ("drop query NO_SOCKET __udp6_lib_rcv|udpv6_rcv -", web),
                ("icmp query received 1/4", pod),
            ],
        ),
        row("connected-reject", "rejected", &[sent(3), forward, received(3)]),
        row("connected-no-endpoints", "rejected", &[sent(3), forward, received(3)]),
        row("connected-no-listener", "rejected", &no_listener),
        row("connected-prohibit", "rejected", &[sent(13), route, received(13)]),
        row("connected-own-reject", "rejected", &own_reject),
    ]
}

/// The healthy traffic of other tests would suffer, too.
fn no_forwarding(bench: &Bench) -> Result<()> {
    let proof = traced_alone(bench, Duration::from_secs(1), drops::not_forwarding)?.0;
    let node = netns_inode(std::process::id())?;
    let expected =
        [("not-forwarded", "drop query IP_INADDRERRORS ip_error -"), ("not-translated", "drop query * * -")];
    for (name, words) in expected {
        let attempt = proof.attempt(SICK, name, "dropped", &[words])?;
        ensure!(attempt["steps"][0]["netns"] == node, "{name}: {attempt}");
    }
    proof.attempt(WELL, "well-on-the-bridge", "answered", &["conntrack inserted"]).map(drop)
}

/// Two pods whose packets look alike: the trouble is that of the right one.
fn twins(bench: &Bench) -> Result<()> {
    const PAIRS: usize = 8;
    let (proof, ()) = traced(bench, Duration::from_secs(1), |stage| drops::one_of_twins(stage, PAIRS))?;
    for index in 0..PAIRS {
        let name = format!("{index}-twin");
        let dropped = format!("drop query NETFILTER_DROP {RULE} FORWARD");
        proof.attempt(SICK, &name, "dropped", &[&dropped])?;
        // One flow, so one of them made its entry.
        let query = proof.query(WELL, &name)?;
        let steps: Vec<_> = list(&query["attempts"][0]["steps"]).map(words).collect();
        ensure!(
            query["outcome"] == "answered" && steps.iter().all(|step| step.starts_with("conntrack ")),
            "{query}"
        );
        ensure!(list(&query["attempts"]).count() == 1, "{query}");
    }
    Ok(())
}
