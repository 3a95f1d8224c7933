//! Every message over TCP, exactly once, however its bytes come: the same counts as over UDP.

use std::{collections::BTreeMap, thread};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{
    Bench, Test,
    fates::proof::{Proof, list},
    messages::each_name_once,
    tracer::Said,
};
use crate::{
    lab::{
        CLUSTER_DNS, CLUSTER_DNS6,
        clients::{Client, dig_batch},
        pod::{Pod, PodOptions, ResolvConf},
        trouble::{Stage, full_name, stream},
    },
    serve::stream::{LARGE_RECORDS, LARGE_TEXT, TRANSFER_MESSAGES},
};

pub const TESTS: &[Test] = &[
    Test::core("thousands of lookups over TCP of four clients in three pods", lookups_of_four_clients),
    Test::core("every way of sending and receiving over TCP", every_way_of_sending_and_receiving),
    Test::core("messages over TCP in every shape", messages_in_every_shape),
    Test::new("TCP connections that are older than the trace", connections_older_than_the_trace),
    Test::new("endpoints of TCP connections that are older than the trace", endpoints_of_older_connections),
    Test::new("TCP connections that do not speak DNS are said not to", connections_without_dns),
];

/// Queries of each kind of client, 10,000 in all; getaddrinfo sends two for one lookup and opens a connection for both.
const STREAM: u64 = 6000;
const GLIBC: u64 = 500;
const DIG: u64 = 2000;
/// Of a client that opens a connection for each.
const SINGLE: u64 = 1000;
/// Queries on one connection of the first client.
const PER_CONNECTION: u64 = 500;

fn lookups_of_four_clients(bench: &Bench) -> Result<()> {
    let (cart, web) = (&bench.lab.cart, &bench.lab.web);
    let host = PodOptions { host_network: true, ..PodOptions::default() };
    let agent = Pod::start(&bench.lab.node, "kube-system", "node-agent-b8w3k", &host)?;
    let use_vc =
        ResolvConf { options: vec!["use-vc".into(), "ndots:5".into()], ..ResolvConf::cluster_first("shop") };
    let options = PodOptions { resolv_conf: Some(use_vc), ..PodOptions::default() };
    let over_tcp = Pod::start(&bench.lab.node, "shop", "use-vc-0", &options)?;
    let server = CLUSTER_DNS.to_string();
    let [per_connection, glibc, digs, single] =
        [PER_CONNECTION, GLIBC, DIG, SINGLE].map(|count| bench.scaled(count));
    let stream = per_connection * (STREAM / PER_CONNECTION);
    let (lines, _) = Said::lines_of(&["-A"], || {
        thread::scope(|scope| {
            let asking = scope.spawn(|| {
                let (count, most) = (stream.to_string(), per_connection.to_string());
                let options = ["--server", &server, "--tag", "stream", "--bulk", &count, "--window", "8"];
                let tally = bench.clients.stream(
                    cart,
                    "cart",
                    &[&options[..], &["--per-connection", &most]].concat(),
                )?;
                ensure!((tally.sent, tally.received) == (stream, stream), "{tally:?}");
                Ok(())
            });
            let run = bench.clients.lookup_bulk(&over_tcp, "app", Client::LookupGlibc, glibc, "vc")?;
            ensure!(run.tally.resolved == glibc, "{run:?}");
            let count = single.to_string();
            let options = ["--server", &server, "--tag", "single", "--bulk", &count, "--per-connection", "1"];
            let tally = bench.clients.stream(&agent, "app", &options)?;
            ensure!((tally.received, tally.connections) == (single, single), "{tally:?}");
            let questions: Vec<_> = (0..digs).map(|n| format!("dig-{n}.tcp.test.cluster.local")).collect();
            let dug = dig_batch(web, "web", &["+tcp", "+keepopen", "+short"], &questions)?.success()?;
            ensure!(dug.stdout.lines().count() as u64 == digs, "{} lines", dug.stdout.lines().count());
            asking.join().ok().context("the stream client's thread died")?
        })
    })?;
    // What was not understood is told first: a query may lack its answer for it.
    ensure!(lines.messages.is_empty() && lines.packets.is_empty(), "{:?}", lines.messages);
    let of_pod = |pod: &'static str| move |query: &&Value| query["pod"] == pod;
    each_name_once(
        lines.asked_by("stream").filter(of_pod("cart-7d4f")),
        ["shop", "cart-7d4f", "cart"],
        stream,
    )?;
    each_name_once(
        lines.asked_by("stream").filter(of_pod("node-agent-b8w3k")),
        ["kube-system", "node-agent-b8w3k", "app"],
        single,
    )?;
    each_name_once(lines.asked_by("lookup-glibc"), ["shop", "use-vc-0", "app"], 2 * glibc)?;
    each_name_once(lines.asked_by("dig"), ["shop", "web-0", "web"], digs)?;
    ensure!(lines.connections.is_empty(), "{:?}", lines.connections.first());
    let clients = lines.queries.iter().filter(|query| query["role"] == "client");
    for query in clients {
        let attempts: Vec<_> = list(&query["attempts"]).collect();
        ensure!(attempts.len() == 1 && attempts[0]["transport"] == "tcp", "{query}");
    }
    let queries = connections(lines.asked_by("stream").filter(of_pod("cart-7d4f")))?;
    ensure!(queries.values().all(|before| before.len() as u64 == per_connection), "{:?}", queries.keys());
    ensure!(queries.len() as u64 == stream / per_connection, "{:?}", queries.keys());
    ensure!(connections(lines.asked_by("lookup-glibc"))?.len() as u64 == glibc);
    ensure!(connections(lines.asked_by("stream").filter(of_pod("node-agent-b8w3k")))?.len() as u64 == single);

    // And the servers took in what the clients sent, each once.
    let total = stream + 2 * glibc + digs + single;
    let served: Vec<_> = lines.served().filter(|query| query["attempts"][0]["transport"] == "tcp").collect();
    ensure!(served.len() as u64 == total, "{} served of {total}", served.len());
    let well = |query: &&Value| query["namespace"] == "kube-system" && query["outcome"] == "answered";
    let unwell = served.iter().find(|query| !well(query));
    ensure!(unwell.is_none(), "{unwell:?}");
    Ok(())
}

/// Of each connection, which of its queries were seen: 0 and up, each once.
fn connections<'a>(queries: impl Iterator<Item = &'a Value>) -> Result<BTreeMap<u64, Vec<u64>>> {
    let mut seen: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for query in queries {
        let connection = &query["attempts"][0]["connection"];
        let number = connection["number"].as_u64().with_context(|| format!("no connection: {query}"))?;
        let before = connection["queries_before"].as_u64().with_context(|| format!("no count: {query}"))?;
        ensure!(connection["syn_retransmissions"] == 0, "{query}");
        ensure!(connection["connect_ns"].as_u64() > Some(0), "{query}");
        seen.entry(number).or_default().push(before);
    }
    for (number, before) in &mut seen {
        before.sort_unstable();
        let counts = before.iter().copied().eq(0..before.len() as u64);
        ensure!(counts, "connection {number}: {before:?}");
    }
    Ok(seen)
}

fn every_way_of_sending_and_receiving(bench: &Bench) -> Result<()> {
    let (v4, v6) = (CLUSTER_DNS.to_string(), CLUSTER_DNS6.to_string());
    let options = ["--server", &v4, "--server6", &v6, "--tag", "ways", "--count", "4"];
    let (lines, tally) =
        Said::lines_of(&["-p", "cart-7d4f"], || bench.clients.stream(&bench.lab.cart, "cart", &options))?;
    ensure!(tally.unexpected == 0 && tally.ways.len() == 72 && tally.partial > 0, "{tally:?}");
    for way in &tally.ways {
        let prefix = format!("{}-", way.way.to_lowercase());
        let of_way = |query: &&Value| query["qname"].as_str().is_some_and(|name| name.starts_with(&prefix));
        let seen: Vec<_> = lines.asked_by("stream").filter(of_way).collect();
        ensure!(seen.len() as u64 == way.sent, "{}: {} seen of {}", way.way, seen.len(), way.sent);
        let server = if way.way.ends_with("-v6") { &v6 } else { &v4 };
        for query in seen {
            ensure!(query["outcome"] == "answered" && query["pid"] == tally.pid, "{query}");
            let attempts: Vec<_> = list(&query["attempts"]).collect();
            ensure!(attempts.len() == 1 && attempts[0]["transport"] == "tcp", "{query}");
            ensure!(attempts[0]["server"] == **server && attempts[0]["fate"] == "answered", "{query}");
            ensure!(attempts[0]["connection"]["connect_ns"].as_u64() > Some(0), "{query}");
            let padded = attempts[0]["bytes"].as_u64() > Some(60_000);
            ensure!(padded == way.way.starts_with("partial-"), "{query}");
        }
    }
    ensure!(lines.messages.is_empty(), "{:?}", lines.messages.first());
    ensure!(lines.queries.len() as u64 == tally.sent, "{} of {}", lines.queries.len(), tally.sent);
    Ok(())
}

fn messages_in_every_shape(bench: &Bench) -> Result<()> {
    let stage = Stage { lab: &bench.lab, clients: &bench.clients };
    let (lines, (talk, server)) = Said::lines_of(&["-A"], || stream::every_shape(stage))?;
    let proof = Proof::new(lines);
    ensure!(proof.lines.messages.is_empty(), "{:?}", proof.lines.messages.first());
    let names = ["split-1", "hold-2", "hold-3", "flush-4", "in-halves-5", "large-6", "transfer-7", "slow-8"];
    for (before, name) in names.into_iter().enumerate() {
        let qname = format!("{}.", full_name(name));
        for role in ["client", "server"] {
            let is_it = |query: &&Value| query["qname"] == *qname && query["role"] == role;
            let queries: Vec<_> = proof.lines.queries.iter().filter(is_it).collect();
            ensure!(queries.len() == 1, "{name}: {} queries at the {role}", queries.len());
            let attempt = &queries[0]["attempts"][0];
            ensure!(attempt["fate"] == "answered" && attempt["answer"]["rcode"] == "NOERROR", "{attempt}");
            ensure!(attempt["id"] == 100 + before && attempt["client_port"] == talk.port, "{attempt}");
            ensure!(attempt["server"] == server.to_string(), "{attempt}");
            ensure!(attempt["connection"]["queries_before"] == before, "{attempt}");
        }
    }
    let large = &proof.query("cart-7d4f", "large-6")?["attempts"][0]["answer"];
    let bytes = u64::from(LARGE_RECORDS) * (13 + u64::from(LARGE_TEXT));
    ensure!(large["bytes"].as_u64() > Some(bytes), "{large}");
    ensure!(large["answer_records"] == LARGE_RECORDS, "{large}");
    let transfer = &proof.query("cart-7d4f", "transfer-7")?["attempts"][0]["answer"];
    ensure!(transfer["further_messages"] == TRANSFER_MESSAGES - 1, "{transfer}");
    Ok(())
}

fn connections_older_than_the_trace(bench: &Bench) -> Result<()> {
    let stage = Stage { lab: &bench.lab, clients: &bench.clients };
    let older = stream::Older::open(stage, ["40141", "40142"])?;
    let (said, ()) = Said::of(&["-o", "json", "-p", "cart-7d4f"], || older.go_on())?;
    let proof = Proof::new(said.lines()?);
    let lines = &proof.lines;
    for name in ["older-2", "older-5"] {
        let query = proof.query("cart-7d4f", name)?;
        let attempt = &query["attempts"][0];
        ensure!(attempt["fate"] == "answered" && attempt["transport"] == "tcp", "{query}");
        ensure!(attempt["connection"]["connect_ns"].is_null(), "its SYN was not seen: {query}");
    }
    ensure!(lines.queries.len() == 2, "{} queries: {:?}", lines.queries.len(), lines.queries);
    // The second half of a query, and the answer to it.
    let skipped: Vec<_> =
        lines.messages.iter().filter(|message| message["reason"] == "stream_skipped").collect();
    ensure!(skipped.len() == 1, "{:?}", lines.messages);
    let name = full_name("older-4");
    // Header, name, type and class, after the prefix; half of it was sent before.
    let whole = 2 + 12 + name.len() + 2 + 4;
    ensure!(skipped[0]["bytes"] == whole - whole / 2, "{}", skipped[0]);
    let answers: Vec<_> =
        lines.messages.iter().filter(|message| message["reason"] != "stream_skipped").collect();
    let [answer] = answers[..] else { anyhow::bail!("{answers:?}") };
    ensure!(answer["reason"] == "query_not_seen" && answer["qname"] == format!("{name}."), "{answer}");
    ensure!(
        lines.summary["losses"]["stream_bytes_skipped"] == skipped[0]["bytes"],
        "{}",
        lines.summary["losses"]
    );
    Ok(())
}

/// The entries of such connections are older, too: the server's socket tells where they go.
fn endpoints_of_older_connections(bench: &Bench) -> Result<()> {
    let stage = Stage { lab: &bench.lab, clients: &bench.clients };
    let older = stream::Older::open(stage, ["40143", "40144"])?;
    let (said, ()) = Said::of(&["-o", "json", "-A"], || older.go_on())?;
    let proof = Proof::new(said.lines()?);
    let endpoints = bench.lab.dns.pods.iter().map(|pod| json!(pod.ip)).collect::<Vec<_>>();
    for name in ["older-2", "older-5"] {
        let query = proof.query("cart-7d4f", name)?;
        let attempt = &query["attempts"][0];
        ensure!(attempt["fate"] == "answered" && attempt["server_side"]["rcode"] == "NOERROR", "{query}");
        ensure!(endpoints.contains(&attempt["endpoint"]) && attempt["endpoint_port"] == 53, "{query}");
        ensure!(list(&attempt["steps"]).count() == 0, "{query}");
    }
    Ok(())
}

fn connections_without_dns(bench: &Bench) -> Result<()> {
    let stage = Stage { lab: &bench.lab, clients: &bench.clients };
    let (said, ()) = Said::of(&["-o", "json", "-p", "cart-7d4f"], || stream::no_dns(stage))?;
    let lines = said.lines()?;
    let said: Vec<_> = lines
        .messages
        .iter()
        .map(|message| ["comm", "direction", "reason"].map(|field| message[field].as_str().unwrap_or("-")))
        .collect();
    let expected = [
        ["talk", "sent", "stream_not_dns"],
        ["bash", "sent", "stream_not_dns"],
        ["talk", "received", "stream_not_dns"],
    ];
    ensure!(said == expected, "{:?}", lines.messages);
    let [query] = &lines.queries[..] else { anyhow::bail!("{:?}", lines.queries) };
    ensure!(query["qname"] == format!("{}.", full_name("text-1")), "{query}");
    ensure!(query["attempts"][0]["fate"] == "connection_lost", "{query}");
    Ok(())
}
