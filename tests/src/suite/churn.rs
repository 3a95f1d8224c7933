//! Pods that come and go: each asks once, for a name of its own, and must be told by its own name.
//!
//! A short form is a test of the suite; `e2e churn` goes on for minutes and watches dnstrace's memory.

use std::{
    collections::BTreeMap,
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, ensure};
use clap::Args;
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{
    Bench, Test,
    soak::{flat, resident, verdict},
    tracer::{Lines, Said, Tracer},
};
use crate::lab::{
    CLUSTER_DNS,
    clients::Clients,
    default_lab::Lab,
    node::Node,
    pod::{Pod, PodOptions},
};

pub(super) const TESTS: &[Test] =
    &[Test::new("pods that live for one query have their names", many_brief_pods)];

/// Pods that come and go beside each other.
const LANES: u64 = 4;
const NAMESPACE: &str = "brief";

/// Lets pods come and go, each with one query, and holds every query against its pod; ends with the line `N passed, N failed`
///
/// As for `lab`, the current network namespace must have no interface but `lo`; `dnstrace` must be on PATH.
#[derive(Debug, Args)]
pub struct ChurnArgs {
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    minutes: u64,
    /// How many pods a minute; fewer, where the machine makes no more
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    per_minute: u64,
}

/// Runs the churn.
pub fn churn(args: &ChurnArgs) -> Result<ExitCode> {
    Ok(verdict(&run(args)))
}

fn run(args: &ChurnArgs) -> Result<()> {
    let lab = Lab::start(Node::new()?)?;
    let clients = Clients::new()?;
    let tracer = Tracer::start(&["-A", "-o", "json"])?;
    let (mut memory, mut uids) = (Vec::new(), BTreeMap::new());
    // Memory is looked at four times a minute.
    for _ in 0..args.minutes * 4 {
        let started = Instant::now();
        let first = uids.len() as u64;
        uids.extend(come_and_go(&lab.node, &clients, first..first + args.per_minute.div_ceil(4))?);
        memory.push(resident(tracer.pid())?);
        println!(
            "{:>7.2} s  {} pods, {} KiB",
            started.elapsed().as_secs_f64(),
            uids.len(),
            memory[memory.len() - 1] >> 10
        );
        thread::sleep(Duration::from_secs(15).saturating_sub(started.elapsed()));
    }
    let said = tracer.end(Signal::SIGINT)?;
    ensure!(said.status.success() && said.stderr.contains("nothing was lost"), "{}", said.stderr);
    all_named(&said.lines()?, &uids)?;
    flat(&memory)
}

fn many_brief_pods(bench: &Bench) -> Result<()> {
    let pods = bench.fewer(40);
    let (lines, uids) = Said::lines_of(&["-A"], || come_and_go(&bench.lab.node, &bench.clients, 0..pods))?;
    ensure!(lines.summary["losses"]["owners_forgotten"] == 0, "{}", lines.summary);
    all_named(&lines, &uids)
}

/// Pods of these numbers start, ask once and end, [`LANES`] at a time; every other one has a network namespace of its own.
/// Returns their UIDs.
fn come_and_go(
    node: &Node,
    clients: &Clients,
    numbers: std::ops::Range<u64>,
) -> Result<BTreeMap<u64, String>> {
    let next = AtomicU64::new(numbers.start);
    let lane = || -> Result<Vec<(u64, String)>> {
        let mut uids = Vec::new();
        let mut last: Option<Pod> = None;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= numbers.end {
                last.map(Pod::stop).transpose()?;
                return Ok(uids);
            }
            let options = PodOptions { host_network: number.is_multiple_of(2), ..PodOptions::default() };
            let pod = Pod::start(node, NAMESPACE, &name(number), &options)?;
            let server = CLUSTER_DNS.to_string();
            let args = ["--server", &server, "--tag", &name(number), "--bulk", "1"];
            let tally = clients.sockets(&pod, "app", &args)?;
            ensure!((tally.sent, tally.received) == (1, 1), "{tally:?}");
            uids.push((number, pod.uid.clone()));
            // A kubelet keeps the logs of a pod that has ended for longer than that.
            last.replace(pod).map(Pod::stop).transpose()?;
        }
    };
    thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES).map(|_| scope.spawn(lane)).collect();
        let mut uids = BTreeMap::new();
        for lane in lanes {
            uids.extend(lane.join().map_err(|_| anyhow!("a lane panicked"))??);
        }
        Ok(uids)
    })
}

fn name(number: u64) -> String {
    format!("brief-{number}")
}

/// Each pod's query is there once, and is its own.
fn all_named(lines: &Lines, uids: &BTreeMap<u64, String>) -> Result<()> {
    let mut asked: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for query in lines.asked_by("sockets") {
        asked.entry(query["qname"].as_str().unwrap_or_default()).or_default().push(query);
    }
    ensure!(asked.len() == uids.len(), "{} names were asked for by {} pods", asked.len(), uids.len());
    for (number, uid) in uids {
        let name = name(*number);
        let queries = asked.get(format!("bulk-0.{name}.test.cluster.local.").as_str());
        let Some([query]) = queries.map(Vec::as_slice) else { anyhow::bail!("{name}: {queries:?}") };
        ensure!(
            query["namespace"] == NAMESPACE && query["pod"] == *name && query["pod_uid"] == **uid,
            "{query}"
        );
        ensure!(query["container"] == "app", "{query}");
    }
    Ok(())
}
