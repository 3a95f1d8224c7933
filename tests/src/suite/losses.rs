//! What did not fit into the ring: counted to the last message, and no fate guessed.

use std::{thread, time::Duration};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{Bench, Test, tracer::Tracer};
use crate::lab::CLUSTER_DNS;

pub const TESTS: &[Test] =
    &[Test::core("what the ring loses is counted, and no fate guessed", what_the_ring_loses)];

/// Queries while nobody reads a ring that has room for a few hundred messages.
const QUERIES: u64 = 1500;
/// Queries when it is read again.
const AFTERWARDS: u64 = 20;

fn what_the_ring_loses(bench: &Bench) -> Result<()> {
    let server = CLUSTER_DNS.to_string();
    let ask = |tag: &str, count: u64| {
        let count_text = count.to_string();
        let options = ["--server", &server, "--tag", tag, "--bulk", &count_text, "--window", "4"];
        let tally = bench.clients.sockets(&bench.lab.cart, "cart", &options)?;
        ensure!((tally.sent, tally.received) == (count, count), "{tally:?}");
        Ok(())
    };
    let tracer = Tracer::start(&["-o", "json", "--pod", "cart-7d4f", "--ring", "64KiB"])?;
    tracer.signal(Signal::SIGSTOP)?;
    ask("unread", QUERIES)?;
    tracer.signal(Signal::SIGCONT)?;
    // Longer than it takes to read the ring and to put its events in order.
    thread::sleep(Duration::from_millis(500));
    ask("read", AFTERWARDS)?;
    let said = tracer.end(Signal::SIGINT)?;
    ensure!(said.status.success() && said.stderr.contains("LOST: "), "{said:?}");
    let lines = said.lines()?;

    let lost = |hook: &str| -> Result<u64> {
        let hooks = lines.summary["losses"]["hooks"].as_array().context("no hooks in the losses")?;
        Ok(hooks.iter().find(|of| of["hook"] == hook).map_or(0, |of| of["ring_full"].as_u64().unwrap_or(0)))
    };
    let (lost_sent, lost_received) = (lost("ip_send_skb")?, lost("skb_consume_udp")?);
    ensure!(lost_sent > 0 && lost_received > 0, "nothing was lost: {}", lines.summary);
    let attempts: Vec<&Value> =
        lines.queries.iter().flat_map(|query| query["attempts"].as_array().into_iter().flatten()).collect();
    let answered = attempts.iter().filter(|attempt| attempt["answer"].is_object()).count();
    let strays = lines.messages.iter().filter(|message| message["direction"] == "received").count();
    let (sent, received) = (attempts.len() as u64, (answered + strays) as u64);
    let total = QUERIES + AFTERWARDS;
    ensure!(sent + lost_sent == total, "{sent} sent seen, {lost_sent} lost, of {total}");
    ensure!(received + lost_received == total, "{received} received seen, {lost_received} lost, of {total}");

    let of_tag = |tag: &'static str| {
        let is_of = move |query: &&Value| query["qname"].as_str().is_some_and(|name| name.contains(tag));
        lines.queries.iter().filter(is_of)
    };
    for query in of_tag(".unread.") {
        let fate = query["attempts"][0]["fate"].as_str();
        ensure!(matches!(fate, Some("answered" | "unknown")), "a guess: {query}");
    }
    let read = of_tag(".read.").filter(|query| query["outcome"] == "answered").count() as u64;
    ensure!(read == AFTERWARDS, "{read} of {AFTERWARDS} answered when the ring was read again");
    Ok(())
}
