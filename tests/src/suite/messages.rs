//! Every message, exactly once: what clients, servers and the kernel counted is what dnstrace shows.

use std::{collections::BTreeMap, thread};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{
    Bench, Test,
    tracer::{Lines, Said},
};
use crate::lab::{
    CLUSTER_DNS, CLUSTER_DNS6,
    cgroup::Runtime,
    clients::{Client, dig, dig_batch},
    counters::Snmp,
    dns_server::Serve,
    pod::{Pod, PodOptions},
};

pub const TESTS: &[Test] = &[
    Test::core("thousands of lookups of four clients in three pods", lookups_of_four_clients_in_three_pods),
    Test::core("every way of sending and receiving", every_way_of_sending_and_receiving),
    Test::new("an unanswered query and its retries", an_unanswered_query_and_its_retries),
    Test::core("what is not DNS is said to be not DNS", what_is_not_dns),
    Test::new("pods with the same port and ids do not mix", pods_with_the_same_port_and_ids),
];

/// Lookups of each kind of client; getaddrinfo sends two queries for one.
const SOCKETS: u64 = 5000;
const GLIBC: u64 = 2000;
const MUSL: u64 = 2000;
const DIG: u64 = 1000;

fn lookups_of_four_clients_in_three_pods(bench: &Bench) -> Result<()> {
    let (cart, web) = (&bench.lab.cart, &bench.lab.web);
    let options = PodOptions { host_network: true, runtime: Runtime::Docker, ..PodOptions::default() };
    let third = Pod::start(&bench.lab.node, "kube-system", "kube-proxy-m4x9d", &options)?;
    let before = [Snmp::of(cart.netns())?, Snmp::of(web.netns())?, Snmp::of_node()?];
    let server = CLUSTER_DNS.to_string();
    let [sockets, glibc, musl, digs] = [SOCKETS, GLIBC, MUSL, DIG].map(|count| bench.scaled(count));
    let (lines, _) = Said::lines_of(&["-A"], || {
        thread::scope(|scope| {
            let asking = scope.spawn(|| {
                let count = sockets.to_string();
                let options = ["--server", &server, "--tag", "sock", "--bulk", &count, "--window", "8"];
                let tally = bench.clients.sockets(cart, "cart", &options)?;
                ensure!((tally.sent, tally.received) == (sockets, sockets), "{tally:?}");
                Ok(())
            });
            let run = bench.clients.lookup_bulk(web, "web", Client::LookupGlibc, glibc, "glibc")?;
            ensure!(run.tally.resolved == glibc, "{run:?}");
            let run = bench.clients.lookup_bulk(&third, "app", Client::LookupMusl, musl, "musl")?;
            ensure!(run.tally.resolved == musl, "{run:?}");
            let questions: Vec<_> = (0..digs).map(|n| format!("dig-{n}.dig.test.cluster.local")).collect();
            let dug = dig_batch(cart, "proxy", &["+short"], &questions)?.success()?;
            ensure!(dug.stdout.lines().count() as u64 == digs, "{} lines", dug.stdout.lines().count());
            asking.join().ok().context("the sockets client's thread died")?
        })
    })?;
    each_name_once(lines.asked_by("sockets"), ["shop", "cart-7d4f", "cart"], sockets)?;
    each_name_once(lines.asked_by("lookup-glibc"), ["shop", "web-0", "web"], 2 * glibc)?;
    each_name_once(lines.asked_by("lookup-musl"), ["kube-system", "kube-proxy-m4x9d", "app"], 2 * musl)?;
    each_name_once(lines.asked_by("dig"), ["shop", "cart-7d4f", "proxy"], digs)?;
    ensure!(lines.messages.is_empty(), "{:?}", lines.messages.first());

    // What the kernel counted in each client's namespace is what dnstrace saw there.
    let after = [Snmp::of(cart.netns())?, Snmp::of(web.netns())?, Snmp::of_node()?];
    let pods = ["cart-7d4f", "web-0", "kube-proxy-m4x9d"];
    for ((before, after), pod) in before.iter().zip(&after).zip(pods) {
        let (sent, received) = client_messages(&lines, pod);
        ensure!(after.since(before, "Udp.OutDatagrams")? == sent, "{pod}: {sent} seen of the kernel's sent");
        ensure!(
            after.since(before, "Udp.InDatagrams")? == received,
            "{pod}: {received} seen of its received"
        );
    }
    // And the servers took in what the clients sent, each once.
    let total = sockets + 2 * glibc + 2 * musl + digs;
    ensure!(lines.served().count() as u64 >= total, "{} served of {total}", lines.served().count());
    ensure!(
        lines.served().all(|query| query["namespace"] == "kube-system" && query["outcome"] == "answered")
    );
    Ok(())
}

/// Each of `count` questions was asked by one process of the right pod (namespace, pod, container), once, and answered.
pub(super) fn each_name_once<'a>(
    queries: impl Iterator<Item = &'a Value>,
    who: [&str; 3],
    count: u64,
) -> Result<()> {
    let mut seen = BTreeMap::new();
    let mut pids = BTreeMap::new();
    for query in queries {
        ensure!(["namespace", "pod", "container"].map(|field| &query[field]) == who, "{query}");
        ensure!(query["outcome"] == "answered" && query["rcode"] == "NOERROR", "{query}");
        let latency = query["latency_ns"].as_u64().context("no latency")?;
        ensure!(latency > 0, "{query}");
        ensure!(query["attempts"][0]["server"] == CLUSTER_DNS.to_string(), "{query}");
        *seen.entry((query["qname"].to_string(), query["qtype"].to_string())).or_insert(0) += 1;
        *pids.entry(query["pid"].as_u64()).or_insert(0) += 1;
    }
    ensure!(seen.len() as u64 == count, "{who:?}: {} different questions of {count}", seen.len());
    let doubled = seen.iter().find(|(_, times)| **times != 1);
    ensure!(doubled.is_none(), "{who:?}: {doubled:?}");
    ensure!(pids.len() == 1, "{who:?}: {pids:?}");
    Ok(())
}

/// Messages that clients of a pod sent and received.
fn client_messages(lines: &Lines, pod: &str) -> (i64, i64) {
    let attempts = lines
        .queries
        .iter()
        .filter(|query| query["pod"] == pod && query["role"] == "client")
        .flat_map(|query| query["attempts"].as_array().into_iter().flatten());
    attempts.fold((0, 0), |(sent, received), attempt| {
        (sent + 1, received + i64::from(attempt["answer"].is_object()))
    })
}

fn every_way_of_sending_and_receiving(bench: &Bench) -> Result<()> {
    let (v4, v6) = (CLUSTER_DNS.to_string(), CLUSTER_DNS6.to_string());
    let options = ["--server", &v4, "--server6", &v6, "--tag", "ways", "--count", "4"];
    let (lines, tally) =
        Said::lines_of(&["-p", "cart-7d4f"], || bench.clients.sockets(&bench.lab.cart, "cart", &options))?;
    ensure!(tally.unexpected == 0 && tally.ways.len() == 90, "{tally:?}");
    for way in &tally.ways {
        let prefix = format!("{}-", way.way.to_lowercase());
        let of_way = |query: &&Value| query["qname"].as_str().is_some_and(|name| name.starts_with(&prefix));
        let seen: Vec<_> = lines.asked_by("sockets").filter(of_way).collect();
        ensure!(seen.len() as u64 == way.sent, "{}: {} seen of {}", way.way, seen.len(), way.sent);
        let server = if way.way.ends_with("-v6") { &v6 } else { &v4 };
        for query in seen {
            ensure!(query["outcome"] == "answered" && query["pid"] == tally.pid, "{query}");
            ensure!(query["attempts"].as_array().is_some_and(|attempts| attempts.len() == 1), "{query}");
            ensure!(query["attempts"][0]["server"] == **server, "{query}");
        }
    }
    ensure!(lines.messages.is_empty(), "{:?}", lines.messages.first());
    ensure!(lines.queries.len() as u64 == tally.sent, "{} of {}", lines.queries.len(), tally.sent);
    Ok(())
}

fn an_unanswered_query_and_its_retries(bench: &Bench) -> Result<()> {
    let pod = Pod::start(&bench.lab.node, "faults", "dead-dns", &PodOptions::default())?;
    let server = Serve::start(&pod, &["--silent"])?;
    let at = format!("@{}", pod.ip);
    let (lines, _) = Said::lines_of(&["-p", "cart-7d4f", "--timeout", "2s"], || {
        let output = dig(&bench.lab.cart, "cart", &[&at, "+tries=3", "+time=1", "nobody.example"])?;
        thread::sleep(std::time::Duration::from_secs(3));
        Ok(output)
    })?;
    ensure!(server.stop()?.udp_queries == 3);
    let [query] = &lines.queries[..] else { anyhow::bail!("{} queries", lines.queries.len()) };
    ensure!(query["outcome"] == "unanswered" && query["rcode"].is_null(), "{query}");
    let attempts = query["attempts"].as_array().context("no attempts")?;
    ensure!(attempts.len() == 3 && attempts.iter().all(|attempt| attempt["fate"] == "unanswered"), "{query}");
    ensure!(
        lines.summary["unanswered"] == 1 && lines.summary["attempts_unanswered"] == 3,
        "{}",
        lines.summary
    );
    Ok(())
}

fn what_is_not_dns(bench: &Bench) -> Result<()> {
    let script = format!("echo hello there > /dev/udp/{CLUSTER_DNS}/53");
    let (lines, _) = Said::lines_of(&["-p", "cart-7d4f"], || {
        bench.lab.cart.exec("cart", &["bash", "-c", &script])?.success()
    })?;
    let [message] = &lines.messages[..] else { anyhow::bail!("{:?}", lines.messages) };
    ensure!(message["reason"] == "undecoded" && message["defect"] == "not DNS", "{message}");
    ensure!(
        message["bytes"] == 12 && message["comm"] == "bash" && message["pod"] == "cart-7d4f",
        "{message}"
    );
    Ok(())
}

fn pods_with_the_same_port_and_ids(bench: &Bench) -> Result<()> {
    let server = CLUSTER_DNS.to_string();
    let options = [
        "--server",
        &server,
        "--tag",
        "twin",
        "--bulk",
        "200",
        "--window",
        "4",
        "--source-port",
        "40000",
        "--first-id",
        "1",
    ];
    let (lines, ()) = Said::lines_of(&["-A"], || {
        thread::scope(|scope| {
            let other = scope.spawn(|| bench.clients.sockets(&bench.lab.web, "web", &options));
            let tally = bench.clients.sockets(&bench.lab.cart, "cart", &options)?;
            ensure!(tally.received == 200, "{tally:?}");
            ensure!(other.join().ok().context("thread died")??.received == 200);
            Ok(())
        })
    })?;
    for pod in ["cart-7d4f", "web-0"] {
        let seen: Vec<_> = lines.asked_by("sockets").filter(|query| query["pod"] == pod).collect();
        ensure!(seen.len() == 200, "{pod}: {}", seen.len());
        ensure!(seen.iter().all(|query| query["outcome"] == "answered"), "{pod}");
    }
    ensure!(lines.messages.is_empty(), "{:?}", lines.messages.first());
    Ok(())
}
