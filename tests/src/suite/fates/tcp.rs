//! Queries over TCP whose connection fails, or whose segments are lost, and those that go over TCP at the second try.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{
    super::{Bench, Test},
    SICK, WELL,
    proof::{Proof, all, is_sent_again, list, steps_of, words},
    traced,
};
use crate::lab::{
    CLUSTER_DNS,
    netns::netns_inode,
    trouble::tcp::{self, Obstacles, Truncating},
};

pub const TESTS: &[Test] = &[
    Test::core("fates of TCP connections and of the queries in them", connections),
    Test::new("fates of segments that are lost once", lost_once),
    Test::new("fates of truncated answers that are asked for again over TCP", truncated),
];

/// Where a rule's DROP happens.
const RULE: &str = "nf_hook_slow|nft_do_chain";
/// Queries over TCP of the healthy pod, and how many of them a connection has.
const HEALTHY: u64 = 60;
const PER_CONNECTION: u64 = 10;

fn connections(bench: &Bench) -> Result<()> {
    let count = bench.fewer(HEALTHY);
    let (proof, [by_name, deaf]) = traced(bench, Duration::from_secs(3), |stage| {
        let obstacles = Obstacles::put_up(stage)?;
        let (server, bulk, most) = (CLUSTER_DNS.to_string(), count.to_string(), PER_CONNECTION.to_string());
        let options = ["--server", &server, "--tag", "healthy", "--bulk", &bulk, "--per-connection", &most];
        let tally = stage.clients.stream(&stage.lab.web, "web", &options)?;
        ensure!(tally.received == count, "{tally:?}");
        obstacles.all_at_once(stage)?;
        Ok(obstacles.servers())
    })?;
    let pod = bench.lab.cart.netns_inode()?;
    let node = netns_inode(std::process::id())?;
    let web = bench.lab.web.netns_inode()?;
    let forward = format!("drop syn NETFILTER_DROP {RULE} FORWARD");
    let connection = |port: u16, expected: &[(&str, u64)]| not_opened(&proof, port, expected);
    all([
        healthy(&proof, count),
        connection(
            40150,
            &[
                ("conntrack inserted", node),
                ("drop syn NO_SOCKET tcp_v4_rcv -", web),
                ("connect_failed ECONNREFUSED", pod),
            ],
        ),
        connection(
            40151,
            &[
                (&forward, node),
                ("retransmitted syn", pod),
                (&forward, node),
                ("connection_ended closed", pod),
            ],
        ),
        connection(40152, &[(&forward, node), ("connect_failed ECONNREFUSED", pod)]),
        // The first error comes while connect() still holds the socket, which takes it for a passing one.
        connection(
            40153,
            &[
                ("icmp syn sent 3/3", node),
                (&forward, node),
                ("retransmitted syn", pod),
                ("icmp syn sent 3/3", node),
                (&forward, node),
                ("connect_failed ECONNREFUSED", pod),
            ],
        ),
        connection(40154, &[("connect_failed EHOSTUNREACH", pod)]),
        // A full queue of connections is not told by the kernel: it consumes the SYN.
        connection(
            40155,
            &[("conntrack inserted", node), ("retransmitted syn", pod), ("connection_ended closed", pod)],
        ),
        lost(&proof, "reset-tcp", "connection_ended reset"),
        lost(&proof, "close-tcp", "connection_ended closed_by_peer"),
        lost(&proof, "silent-tcp", "connection_ended closed"),
        lost(&proof, "silent-aborted", "connection_ended aborted"),
        lost(&proof, "never-accepted", "connection_ended closed"),
        in_flight_at_the_reset(&proof),
        asked(&proof, "reset-tcp", by_name.to_string()),
        asked(&proof, "never-accepted", deaf.to_string()),
        // One for each that could not be opened, and none for those that were.
        told(&proof, 6),
    ])
}

/// All of the healthy pod's queries over TCP, too, and nothing befell them.
fn healthy(proof: &Proof, count: u64) -> Result<()> {
    let is_it = |query: &&Value| query["pod"] == WELL && query["comm"] == "stream";
    let queries: Vec<_> = proof.lines.queries.iter().filter(is_it).collect();
    ensure!(queries.len() as u64 == count, "{} healthy queries over TCP", queries.len());
    for query in queries {
        let attempt = &query["attempts"][0];
        let is_first = attempt["connection"]["queries_before"] == 0;
        let expected: &[&str] = if is_first { &["conntrack inserted"] } else { &[] };
        let steps: Vec<_> =
            list(&attempt["steps"]).map(words).filter(|words| !is_sent_again(words)).collect();
        ensure!(steps == expected && attempt["fate"] == "answered", "{steps:?}: {query}");
        ensure!(list(&query["attempts"]).count() == 1, "{query}");
    }
    Ok(())
}

/// A connection from this port of the pod in trouble was not opened, for these reasons in these namespaces.
fn not_opened(proof: &Proof, port: u16, expected: &[(&str, u64)]) -> Result<()> {
    let is_it = |line: &&Value| line["client_port"] == port && line["pod"] == SICK;
    let connections: Vec<_> = proof.lines.connections.iter().filter(is_it).collect();
    let [connection] = connections[..] else {
        anyhow::bail!("port {port}: {} connections: {connections:?}", connections.len())
    };
    ensure!(connection["protocol"] == "dns" && connection["comm"] == "talk", "{connection}");
    ensure!(connection["established_ktime_ns"].is_null(), "{connection}");
    let steps = steps_of(connection);
    let seen: Vec<_> = steps.iter().map(|step| words(step)).collect();
    let agrees = seen.len() == expected.len()
        && seen.iter().zip(expected).all(|(seen, (expected, _))| proof.agrees(seen, expected));
    ensure!(agrees, "port {port}: {seen:?} is not {expected:?}: {connection}");
    for (step, (_, netns)) in steps.iter().zip(expected) {
        ensure!(step["netns"] == *netns, "port {port}: not in {netns}: {step}");
    }
    Ok(())
}

/// The connection of a query ended so while it waited.
fn lost(proof: &Proof, name: &str, end: &str) -> Result<()> {
    let attempt = proof.attempt(SICK, name, "connection_lost", &["conntrack inserted", end])?;
    ensure!(attempt["connection"]["queries_before"] == 0, "{attempt}");
    ensure!(attempt["connection"]["connect_ns"].as_u64() > Some(0), "{attempt}");
    Ok(())
}

fn in_flight_at_the_reset(proof: &Proof) -> Result<()> {
    proof.attempt(SICK, "well-first", "answered", &["conntrack inserted"])?;
    for name in ["silent-second", "reset-third"] {
        proof.attempt(SICK, name, "connection_lost", &["connection_ended reset"])?;
    }
    Ok(())
}

fn asked(proof: &Proof, name: &str, server: String) -> Result<()> {
    let query = proof.query(SICK, name)?;
    let attempt = &query["attempts"][0];
    ensure!(attempt["server"] == server && attempt["transport"] == "tcp", "{query}");
    Ok(())
}

fn told(proof: &Proof, count: usize) -> Result<()> {
    let connections = &proof.lines.connections;
    ensure!(connections.len() == count, "{} connections of {count}: {connections:?}", connections.len());
    Ok(())
}

fn lost_once(bench: &Bench) -> Result<()> {
    let (proof, _) = traced(bench, Duration::from_secs(2), tcp::lost_once)?;
    let dropped = |of: &str| format!("drop {of} NETFILTER_DROP {RULE} FORWARD");
    let (syn, query, answer) = (dropped("syn"), dropped("query"), dropped("answer"));
    let slow =
        proof.attempt(SICK, "syn-lost", "answered", &[&syn, "retransmitted syn", "conntrack inserted"])?;
    ensure!(slow["connection"]["syn_retransmissions"] == 1, "{slow}");
    ensure!(slow["connection"]["connect_ns"].as_u64() >= Some(1_000_000_000), "{slow}");
    proof.attempt(SICK, "query-lost", "answered", &["conntrack inserted", &query, "retransmitted query"])?;
    proof.attempt(SICK, "answer-lost", "answered", &["conntrack inserted", &answer])?;
    let at_server = |query: &&Value| {
        query["role"] == "server"
            && query["qname"].as_str().is_some_and(|name| name.starts_with("answer-lost."))
    };
    let served = proof.lines.queries.iter().find(at_server).context("the server's side was not seen")?;
    let steps: Vec<_> = list(&served["attempts"][0]["steps"]).map(words).collect();
    ensure!(steps.contains(&"retransmitted answer".to_owned()), "{served}");
    ensure!(proof.lines.connections.is_empty(), "{:?}", proof.lines.connections);
    Ok(())
}

fn truncated(bench: &Bench) -> Result<()> {
    let (proof, asker) = traced(bench, Duration::from_secs(3), |stage| {
        let servers = Truncating::start(stage)?;
        servers.ask(stage)?;
        Ok(servers.asker().to_owned())
    })?;
    let forward = format!("drop syn NETFILTER_DROP {RULE} FORWARD");
    let cut = |pod: &str, name: &str, fates: &[(&str, &[&str])]| -> Result<()> {
        for query in proof.queries(pod, name) {
            let attempts = proof.attempts_besides_conntrack(query, name, fates)?;
            let transports: Vec<_> = attempts.iter().map(|attempt| attempt["transport"].as_str()).collect();
            ensure!(transports[0] == Some("udp"), "{query}");
            ensure!(transports[1..].iter().all(|transport| *transport == Some("tcp")), "{query}");
            ensure!(attempts[0]["answer"]["truncated"] == true, "{query}");
        }
        Ok(())
    };
    let count = |pod: &str, name: &str, count: usize| -> Result<()> {
        let seen = proof.queries(pod, name).len();
        ensure!(seen == count, "{name}: {seen} queries, not {count}");
        Ok(())
    };
    let once_more: &[(&str, &[&str])] = &[("answered", &[]), ("answered", &[])];
    all([
        count(SICK, "cut", 1),
        cut(SICK, "cut", once_more),
        count(&asker, "cut-glibc", 2),
        cut_by_glibc(&proof, &asker),
        // musl of Debian 12 knows no TCP.
        count(&asker, "cut-musl", 2),
        cut(&asker, "cut-musl", &[("answered", &[])]),
        count(SICK, "cut-refused", 1),
        cut(
            SICK,
            "cut-refused",
            &[
                ("answered", &[]),
                ("connect_failed", &["drop syn NO_SOCKET tcp_v4_rcv -", "connect_failed ECONNREFUSED"]),
            ],
        ),
        count(SICK, "cut-syn-lost", 1),
        cut(SICK, "cut-syn-lost", &[("answered", &[]), ("answered", &[&forward, "retransmitted syn"])]),
    ])
}

/// Both of its queries were asked again over one TCP connection, as soon as it had read the answer to one of them.
fn cut_by_glibc(proof: &Proof, asker: &str) -> Result<()> {
    let (mut connections, mut truncated) = (Vec::new(), 0);
    for query in proof.queries(asker, "cut-glibc") {
        let attempts: Vec<_> = list(&query["attempts"]).collect();
        let [over_udp, over_tcp] = attempts[..] else { anyhow::bail!("cut-glibc: {query}") };
        ensure!(over_udp["transport"] == "udp", "{query}");
        if over_udp["answer"]["truncated"] == true {
            truncated += 1;
        } else {
            // The other one's was in the buffer of the socket that it closed.
            ensure!(over_udp["fate"] == "answered_late" || over_udp["fate"] == "not_awaited", "{query}");
        }
        ensure!(over_tcp["transport"] == "tcp" && over_tcp["fate"] == "answered", "{query}");
        ensure!(query["outcome"] == "answered" && query["rcode"] == "NOERROR", "{query}");
        connections.push(over_tcp["connection"]["number"].clone());
    }
    ensure!(connections.len() == 2 && connections[0] == connections[1], "cut-glibc: {connections:?}");
    ensure!(truncated > 0, "cut-glibc: no answer was seen to be truncated");
    Ok(())
}
