//! A conntrack table without room.

use std::{net::SocketAddrV4, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{
    super::{Bench, Test},
    SICK, WELL_PORT,
    proof::step,
    traced, traced_alone,
};
use crate::lab::{
    netns::netns_inode,
    trouble::{Stage, table},
};

pub const TESTS: &[Test] = &[
    Test::new("fates of queries for which the conntrack table has no room", no_room),
    Test::new("fate of a query whose conntrack entry is thrown out", thrown_out),
];

fn no_room(bench: &Bench) -> Result<()> {
    let stage = Stage { lab: &bench.lab, clients: &bench.clients };
    let full = table::full_table(stage, SocketAddrV4::new(bench.lab.web.ip, WELL_PORT))?;
    let (proof, _) = traced(bench, Duration::from_secs(1), table::no_room)?;
    let node = netns_inode(std::process::id())?;
    for name in ["table-full-a", "table-full-aaaa"] {
        let attempt = proof.attempt(
            SICK,
            name,
            "dropped",
            &["drop query NETFILTER_DROP nf_hook_slow PREROUTING full"],
        )?;
        let dropped = step(attempt, "drop")?;
        ensure!(dropped["netns"] == node, "{dropped}");
        // The entry that there is no room for is counted for a moment; the sizes are read a moment later.
        let table = &dropped["table_full"];
        let count = table["count"].as_u64().context("no count")?;
        ensure!(table["max"] == full.table.max, "{dropped}");
        ensure!((full.table.max..=full.table.max + 1).contains(&count), "{dropped}");
    }
    proof.counts(&totals(2, 0))
}

fn thrown_out(bench: &Bench) -> Result<()> {
    // No healthy traffic beside it: emptying the table takes its answers, and a full one takes none in.
    let (proof, made) = traced_alone(bench, Duration::from_secs(4), table::evicted)?;
    let attempt = proof.attempt(
        SICK,
        "evicted",
        "answer_dropped",
        &[
            "conntrack inserted",
            "evicted",
            "icmp answer sent 3/3",
            "drop answer NO_SOCKET __udp4_lib_rcv|udp_rcv -",
            "icmp answer received 3/3",
        ],
    )?;
    ensure!(attempt["endpoint"] == made.endpoint.ip().to_string(), "{attempt}");
    let evicted = step(attempt, "evicted")?;
    ensure!(evicted["netns"] == netns_inode(std::process::id())?, "{evicted}");
    proof.counts(&totals(0, 1))
}

/// Totals of a trace in which nothing clashed.
fn totals(table_full: u64, evictions: u64) -> Value {
    json!({
        "clashes_merged": 0,
        "clashes_reply_only": 0,
        "failed_insertions": 0,
        "table_full": table_full,
        "evictions": evictions,
    })
}
