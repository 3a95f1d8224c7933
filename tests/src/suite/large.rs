//! Messages that do not come one in a packet: large answers in fragments, and several of them in one packet.

use std::{collections::BTreeSet, fs};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Bench, Test, fates::proof::list, tracer::Said};
use crate::lab::{
    CLUSTER_DNS, CLUSTER_DNS6,
    clients::dig,
    pod::{Pod, PodOptions},
    zone::LARGE_SIZES,
};

pub const TESTS: &[Test] = &[
    Test::core("large answers are whole", large_answers_are_whole),
    Test::core("messages in bursts are told apart", bursts),
];

/// Bursts over each family, and the messages in one.
const BURSTS: u64 = 25;
const MESSAGES: u64 = 4;

/// Of each size in one packet or in fragments, over IPv4 and IPv6; and over TCP.
fn large_answers_are_whole(bench: &Bench) -> Result<()> {
    let (v4, v6) = (CLUSTER_DNS.to_string(), CLUSTER_DNS6.to_string());
    let ways = [(v4.as_str(), "+notcp"), (v6.as_str(), "+notcp"), (v4.as_str(), "+tcp")];
    let (lines, ()) = Said::lines_of(&["-p", "cart-7d4f"], || {
        for (server, transport) in ways {
            for size in LARGE_SIZES {
                let (at, name) = (format!("@{server}"), format!("txt-{size}.large.cluster.local"));
                let args = [&at, "+ignore", "+bufsize=4096", transport, &name, "TXT"];
                dig(&bench.lab.cart, "cart", &args)?.success()?;
            }
        }
        Ok(())
    })?;
    for (server, transport) in ways {
        for size in LARGE_SIZES {
            let name = format!("txt-{size}.large.cluster.local.");
            let transport = if transport == "+tcp" { "tcp" } else { "udp" };
            let is_it = |query: &&Value| {
                let attempt = &query["attempts"][0];
                query["qname"] == *name && attempt["server"] == server && attempt["transport"] == transport
            };
            let query = lines.queries.iter().find(is_it).with_context(|| format!("{name}: not seen"))?;
            let answer = &query["attempts"][0]["answer"];
            let text = |record: &Value| record["data"].as_str().map_or(0, str::len);
            let bytes: usize = list(&query["answers"]).map(text).sum();
            ensure!(bytes == size && answer["truncated"] == false && answer["defect"].is_null(), "{query}");
        }
    }
    ensure!(lines.messages.is_empty(), "{:?}", lines.messages);
    Ok(())
}

/// Queries and answers of which the kernel carries several at once, from one socket to the other.
fn bursts(bench: &Bench) -> Result<()> {
    let pod = Pod::start(&bench.lab.node, "faults", "bursts-0", &PodOptions::default())?;
    let (lines, tallies) = Said::lines_of(&["-A"], || {
        // Not earlier: where a call wants its datagram that was under way before the trace is not known.
        let _server = bench.clients.start_offload_server(&pod, "app")?;
        let ask =
            |server: &str, tag: &str| bench.clients.offload(&bench.lab.cart, "cart", server, tag, BURSTS);
        Ok([ask(&pod.ip.to_string(), "burst4")?, ask(&pod.ip6.to_string(), "burst6")?])
    })?;
    // Linux 5.10 cuts them up before they reach the other end of a veth.
    let carries_whole = !fs::read_to_string("/proc/sys/kernel/osrelease")?.starts_with("5.");
    for tally in tallies {
        ensure!(tally.received == BURSTS * MESSAGES, "{tally:?}");
        ensure!((tally.coalesced > 0) == carries_whole, "{tally:?}");
    }
    ensure!(lines.messages.is_empty(), "{:?}", lines.messages);
    for (role, pod) in [("client", "cart-7d4f"), ("server", "bursts-0")] {
        for tag in ["burst4", "burst6"] {
            let is_it = |query: &&Value| {
                let of_tag = query["qname"].as_str().is_some_and(|name| name.contains(tag));
                of_tag && query["role"] == role && query["pod"] == pod
            };
            let seen: Vec<_> = lines.queries.iter().filter(is_it).collect();
            let answered =
                |query: &&&Value| query["outcome"] == "answered" && list(&query["attempts"]).count() == 1;
            ensure!(seen.len() as u64 == BURSTS * MESSAGES, "{tag}: {} queries of the {role}", seen.len());
            let odd = seen.iter().find(|query| !answered(query));
            ensure!(odd.is_none(), "{tag}: {odd:?}");
            let names: BTreeSet<_> = seen.iter().map(|query| query["qname"].to_string()).collect();
            ensure!(names.len() == seen.len(), "{tag}: {} names of the {role}", names.len());
        }
    }
    Ok(())
}
