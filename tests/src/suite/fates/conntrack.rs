//! Clashes and failed insertions in connection tracking.

use std::{net::SocketAddrV4, time::Duration};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{
    super::{Bench, Test},
    SICK,
    proof::{Proof, all, step},
    traced,
};
use crate::lab::{
    conntrack_table,
    netns::netns_inode,
    trouble::conntrack::{self, Clash, Failed},
};

pub const TESTS: &[Test] = &[Test::core("fates of queries that clash in conntrack", queries_that_clash)];

fn queries_that_clash(bench: &Bench) -> Result<()> {
    // When this is tried again, the entries of the time before would be in the way.
    conntrack_table::empty()?;
    let (proof, made) = traced(bench, Duration::from_secs(4), |stage| {
        Ok((
            conntrack::insertion_fails(stage)?,
            conntrack::insertion_fails_at_the_sender(stage)?,
            conntrack::insertion_fails_for_the_host(stage)?,
            conntrack::clash_is_merged(stage)?,
            conntrack::clash_is_resolved(stage)?,
            conntrack::answer_outlives_the_clash(stage)?,
        ))
    })?;
    let (failed, at_sender, (_pod, for_host), merged, resolved, late) = &made;
    let (node, pod) = (netns_inode(std::process::id())?, bench.lab.cart.netns_inode()?);
    all([
        insertion_failed(&proof, failed, node),
        insertion_failed_at_the_sender(&proof, at_sender, pod),
        insertion_failed_for_the_host(&proof, for_host, node),
        was_merged(&proof, merged, node),
        was_resolved(&proof, resolved, node),
        answer_outlived_the_clash(&proof, late),
        // As each of them was held against the kernel's own count.
        proof.counts(&json!({
            "clashes_merged": 1,
            "clashes_reply_only": 2,
            "failed_insertions": 3,
            "table_full": 0,
            "evictions": 0,
        })),
    ])
}

fn insertion_failed(proof: &Proof, clash: &Clash, node: u64) -> Result<()> {
    let winner = proof.attempts(SICK, "insert-winner", &[("answered", &["conntrack inserted"])])?;
    is_from(step(winner[0], "conntrack")?, clash, 0, node)?;
    let attempts = proof.attempts(
        SICK,
        "insert-failed",
        &[("lost_at_conntrack", &["conntrack insert_failed clash"]), ("answered", &["conntrack inserted"])],
    )?;
    let lost = step(attempts[0], "conntrack")?;
    is_from(lost, clash, 1, node)?;
    won_by(lost, proof, "insert-winner", clash, 0)?;
    // Sent again, it is given another port, since the winner's entry is still there.
    let again = step(attempts[1], "conntrack")?;
    ensure!(again["original"] == lost["original"], "{again}");
    ensure!(again["reply"]["destination_port"] != clash.client.port(), "{again}");
    for attempt in attempts {
        has_endpoint(attempt, clash.endpoints[1])?;
    }
    Ok(())
}

fn insertion_failed_at_the_sender(proof: &Proof, failed: &Failed, pod: u64) -> Result<()> {
    let attempt = proof.attempt(
        SICK,
        "insert-failed-here",
        "lost_at_conntrack",
        &["conntrack insert_failed clash", "send_failed EPERM"],
    )?;
    let lost = step(attempt, "conntrack")?;
    ensure!(lost["netns"] == pod, "{lost}");
    won_by_stranger(lost, failed)
}

fn insertion_failed_for_the_host(proof: &Proof, failed: &Failed, node: u64) -> Result<()> {
    let attempt = proof.attempt(
        "node-agent-c7v4q",
        "insert-failed-host",
        "lost_at_conntrack",
        &["conntrack insert_failed clash"],
    )?;
    let lost = step(attempt, "conntrack")?;
    ensure!(lost["netns"] == node, "{lost}");
    // Masqueraded, so the answer is expected elsewhere.
    ensure!(lost["reply"] == flow(failed.endpoint, failed.winner.0), "{lost}");
    has_endpoint(attempt, failed.endpoint)?;
    won_by_stranger(lost, failed)
}

fn was_merged(proof: &Proof, clash: &Clash, node: u64) -> Result<()> {
    let winner = proof.attempt(SICK, "merge-winner", "answered", &["conntrack inserted"])?;
    is_from(step(winner, "conntrack")?, clash, 0, node)?;
    let attempt = proof.attempt(SICK, "merged", "answered", &["conntrack clash_merged"])?;
    let merged = step(attempt, "conntrack")?;
    is_from(merged, clash, 1, node)?;
    won_by(merged, proof, "merge-winner", clash, 0)
}

fn was_resolved(proof: &Proof, clash: &Clash, node: u64) -> Result<()> {
    let winner = proof.attempt(SICK, "resolve-winner", "answered", &["conntrack inserted"])?;
    is_from(step(winner, "conntrack")?, clash, 0, node)?;
    let attempt = proof.attempt(SICK, "resolved", "answered", &["conntrack clash_reply_only"])?;
    let resolved = step(attempt, "conntrack")?;
    is_from(resolved, clash, 1, node)?;
    has_endpoint(attempt, clash.endpoints[1])?;
    won_by(resolved, proof, "resolve-winner", clash, 0)
}

fn answer_outlived_the_clash(proof: &Proof, clash: &Clash) -> Result<()> {
    proof.attempt(SICK, "late-winner", "answered", &["conntrack inserted"])?;
    let attempt = proof.attempt(
        SICK,
        "late-loser",
        "answer_dropped",
        &[
            "conntrack clash_reply_only",
            "icmp answer sent 3/3",
            "drop answer NO_SOCKET __udp4_lib_rcv|udp_rcv -",
            "icmp answer received 3/3",
        ],
    )?;
    has_endpoint(attempt, clash.endpoints[1])?;
    let died = step(attempt, "drop answer")?;
    let from = (&died["untranslated_source"], &died["untranslated_source_port"]);
    ensure!(from == (&json!(clash.endpoints[1].ip()), &json!(clash.endpoints[1].port())), "{died}");
    won_by(step(attempt, "conntrack")?, proof, "late-winner", clash, 0)
}

/// The entry of a clash's query: on the node, from the client to the ClusterIP, answered by the endpoint.
fn is_from(entry: &Value, clash: &Clash, index: usize, node: u64) -> Result<()> {
    let server = SocketAddrV4::new(clash.servers[index], 53);
    ensure!(entry["netns"] == node, "not on the node: {entry}");
    ensure!(entry["original"] == flow(clash.client, server), "{entry}");
    ensure!(entry["reply"] == flow(clash.endpoints[index], clash.client), "{entry}");
    Ok(())
}

/// The winner of a clash is the query of that name, sent by the same socket.
fn won_by(entry: &Value, proof: &Proof, name: &str, clash: &Clash, index: usize) -> Result<()> {
    let (winner, query) = (&entry["winner"], proof.query(SICK, name)?);
    let server = SocketAddrV4::new(clash.servers[index], 53);
    ensure!(winner["original"] == flow(clash.client, server), "{entry}");
    ensure!(winner["reply"] == flow(clash.endpoints[index], clash.client), "{entry}");
    for (winners, querys) in [("query", "number"), ("qname", "qname"), ("qtype", "qtype")] {
        ensure!(winner[winners] == query[querys] && !winner[winners].is_null(), "not {query}: {entry}");
    }
    ensure!(winner["same_socket"] == true, "{entry}");
    Ok(())
}

/// The winner of a clash is an entry that no query made.
fn won_by_stranger(entry: &Value, failed: &Failed) -> Result<()> {
    let winner = &entry["winner"];
    ensure!(entry["original"] == flow(failed.client, failed.server), "{entry}");
    ensure!(winner["original"] == flow(failed.winner.0, failed.winner.1), "{entry}");
    ensure!(winner["reply"] == flow(failed.endpoint, failed.winner.0), "{entry}");
    ensure!(winner["query"].is_null() && winner["same_socket"].is_null(), "{entry}");
    Ok(())
}

fn has_endpoint(attempt: &Value, endpoint: SocketAddrV4) -> Result<()> {
    let seen = (&attempt["endpoint"], &attempt["endpoint_port"]);
    ensure!(seen == (&json!(endpoint.ip()), &json!(endpoint.port())), "not {endpoint}: {attempt}");
    Ok(())
}

fn flow(source: SocketAddrV4, destination: SocketAddrV4) -> Value {
    json!({
        "source": source.ip(),
        "source_port": source.port(),
        "destination": destination.ip(),
        "destination_port": destination.port(),
    })
}
