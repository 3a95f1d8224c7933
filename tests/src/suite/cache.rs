//! NodeLocal DNSCache: a cache on the node that takes queries over UDP and asks the cluster DNS over TCP.

use anyhow::{Result, ensure};
use serde_json::Value;

use super::{
    Bench, Test,
    fates::proof::{list, words},
    tracer::Said,
};
use crate::lab::{
    CLUSTER_DNS,
    dns_server::Unbound,
    pod::{Pod, PodOptions},
};

pub const TESTS: &[Test] = &[Test::new("a cache that asks over TCP", a_cache_that_asks_over_tcp)];

const QUERIES: u64 = 100;

fn a_cache_that_asks_over_tcp(bench: &Bench) -> Result<()> {
    let specs = ["node-local-dns-4kq7z", "node-local-dns-9xw2m"]
        .map(|name| ("kube-system", name, PodOptions::default()));
    let pods = Pod::start_all(&bench.lab.node, &specs)?;
    let (lines, ()) = Said::lines_of(&["-A"], || {
        // Not earlier: it would have a connection open before the trace.
        let _good = Unbound::start_forwarding(&pods[0], CLUSTER_DNS)?;
        // Nobody listens there.
        let _bad = Unbound::start_forwarding(&pods[1], bench.lab.web.ip)?;
        let (server, count) = (pods[0].ip.to_string(), QUERIES.to_string());
        let options = ["--server", &server, "--tag", "cached", "--bulk", &count, "--window", "4"];
        let tally = bench.clients.sockets(&bench.lab.cart, "cart", &options)?;
        ensure!(tally.received == QUERIES, "{tally:?}");
        let question = format!("refused-upstream.test.cluster.local/A@{}", pods[1].ip);
        let run = bench.clients.ask(&bench.lab.cart, "cart", &["--timeout-ms", "10000", &question])?;
        // SERVFAIL
        ensure!(run.questions[0].rcode == Some(2), "{run:?}");
        Ok(())
    })?;
    ensure!(lines.messages.is_empty(), "{:?}", lines.messages);
    let legs = [
        ("client", "cart-7d4f", "udp"),
        ("server", "node-local-dns-4kq7z", "udp"),
        ("client", "node-local-dns-4kq7z", "tcp"),
    ];
    for (role, pod, transport) in legs {
        let is_it = |query: &&Value| {
            let of_tag = query["qname"].as_str().is_some_and(|name| name.contains(".cached."));
            of_tag && query["role"] == role && query["pod"] == pod
        };
        let seen: Vec<_> = lines.queries.iter().filter(is_it).collect();
        ensure!(seen.len() as u64 == QUERIES, "{} queries of the {role} {pod}", seen.len());
        for query in seen {
            ensure!(query["outcome"] == "answered", "{query}");
            let attempts: Vec<_> = list(&query["attempts"]).collect();
            ensure!(attempts.iter().all(|attempt| attempt["transport"] == transport), "{query}");
            // unbound gives up a connection now and then, and asks again over another.
            ensure!(attempts.len() == 1 || transport == "tcp", "{query}");
        }
    }
    let endpoints: Vec<_> = bench.lab.dns.pods.iter().map(|pod| pod.ip.to_string()).collect();
    for query in lines.asked_by("unbound").filter(|query| query["pod"] == "node-local-dns-4kq7z") {
        for attempt in list(&query["attempts"]) {
            let endpoint = attempt["endpoint"].as_str().unwrap_or_default();
            ensure!(endpoints.iter().any(|address| address == endpoint), "{query}");
        }
    }
    // unbound sends its query with the SYN (TCP Fast Open), so there is a query to tell.
    let refused = lines.asked_by("unbound").filter(|query| query["pod"] == "node-local-dns-9xw2m");
    // It may be stopped while it tries once more.
    let refused: Vec<_> = refused
        .flat_map(|query| list(&query["attempts"]))
        .filter(|attempt| attempt["fate"] != "open")
        .collect();
    ensure!(!refused.is_empty() && lines.connections.is_empty(), "{:?}", lines.connections);
    for attempt in refused {
        ensure!(attempt["server"] == bench.lab.web.ip.to_string(), "{attempt}");
        ensure!(attempt["fate"] == "connect_failed" && attempt["transport"] == "tcp", "{attempt}");
        let steps: Vec<_> = list(&attempt["steps"]).map(words).collect();
        ensure!(steps.contains(&"connect_failed ECONNREFUSED".to_owned()), "{attempt}");
    }
    Ok(())
}
