//! `e2e soak`: an hour's worth of lookups as fast as they go, traced, recorded and replayed. All counts must be the same as the
//! client's own, and dnstrace's memory flat.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use nix::sys::signal::Signal;
use serde_json::Value;

use super::tracer::Tracer;
use crate::lab::{CLUSTER_DNS, clients::Clients, default_lab::Lab, node::Node};

/// Traces, records and replays many lookups, and compares the counts; ends with the line `N passed, N failed`
///
/// As for `lab`, the current network namespace must have no interface but `lo`; `dnstrace` must be on PATH.
#[derive(Debug, Args)]
pub struct SoakArgs {
    /// How many lookups: 27 a second for an hour, in some two minutes
    #[arg(long, default_value_t = 96_000, value_parser = clap::value_parser!(u64).range(ROUNDS..))]
    lookups: u64,
}

/// After each of them the memory is looked at.
const ROUNDS: u64 = 12;
/// How much more memory the last third may take than the second: dnstrace remembers queries for 30 s, which fewer lookups do not
/// take.
const GROWTH: u64 = 8 << 20;

/// Runs the soak.
pub fn soak(args: &SoakArgs) -> Result<ExitCode> {
    Ok(verdict(&run(args)))
}

/// Says what came of a run that is one test, as the suite does of many.
pub(super) fn verdict(result: &Result<()>) -> ExitCode {
    if let Err(error) = result {
        println!("FAILED: {error:?}");
    }
    let failed = i32::from(result.is_err());
    println!("{} passed, {failed} failed", 1 - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(args: &SoakArgs) -> Result<()> {
    let lab = Lab::start(Node::new()?)?;
    let clients = Clients::new()?;
    let directory = std::env::temp_dir().join(format!("soak-{}", std::process::id()));
    fs::create_dir_all(&directory)?;
    let recording = directory.join("soak.pcapng");
    let tracer = Tracer::start(&[
        "-p",
        "cart-7d4f",
        "-o",
        "json",
        "-w",
        recording.to_str().context("an odd path")?,
        "--rotate",
        "16MiB",
    ])?;
    let lookups = args.lookups / ROUNDS * ROUNDS;
    let memory = ask(&lab, &clients, &tracer, lookups / ROUNDS)?;
    let said = tracer.end(Signal::SIGINT)?;
    ensure!(said.status.success() && said.stderr.contains("nothing was lost"), "{}", said.stderr);
    print!("{}", said.stderr);

    let live = Counts::of(said.stdout.lines().map(|line| Ok(line.to_owned())))?;
    ensure!(live.of_client == lookups, "the client asked {lookups} times, JSON has {}", live.of_client);
    let replayed = replay(&directory)?;
    ensure!(replayed == live, "live {live:?}, replayed {replayed:?}");
    println!("{lookups} lookups: asked, told as JSON, recorded and replayed");
    flat(&memory)
}

/// Asks in rounds. Returns dnstrace's resident memory after each, in bytes.
fn ask(lab: &Lab, clients: &Clients, tracer: &Tracer, count: u64) -> Result<Vec<u64>> {
    let (server, count_text) = (CLUSTER_DNS.to_string(), count.to_string());
    let mut memory = Vec::new();
    for round in 0..ROUNDS {
        let started = Instant::now();
        let tag = format!("soak-{round}");
        let options = ["--server", &server, "--tag", &tag, "--bulk", &count_text, "--window", "8"];
        let tally = clients.sockets(&lab.cart, "cart", &options)?;
        ensure!((tally.sent, tally.received) == (count, count), "{tally:?}");
        memory.push(resident(tracer.pid())?);
        let seconds = started.elapsed().as_secs_f64();
        println!("{seconds:>7.2} s  {count} lookups, {} KiB", memory.last().unwrap_or(&0) >> 10);
    }
    Ok(memory)
}

pub(super) fn resident(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
}

pub(super) fn flat(memory: &[u64]) -> Result<()> {
    let third = memory.len() / 3;
    let most = |part: &[u64]| part.iter().copied().max().unwrap_or(0);
    let (middle, end) = (most(&memory[third..2 * third]), most(&memory[2 * third..]));
    ensure!(end <= middle + GROWTH, "{middle} bytes became {end}");
    Ok(())
}

/// What lines of JSON add up to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    /// Queries of the client.
    of_client: u64,
    lines: u64,
    /// What the summary counts.
    summary: Value,
}

impl Counts {
    fn of(lines: impl Iterator<Item = std::io::Result<String>>) -> Result<Self> {
        let mut counts = Self::default();
        for line in lines {
            let value: Value = serde_json::from_str(&line?)?;
            match value["kind"].as_str() {
                Some("status") => continue,
                Some("summary") => counts.summary = value,
                Some("query") => counts.of_client += u64::from(value["comm"] == "sockets"),
                _ => {}
            }
            counts.lines += 1;
        }
        ensure!(counts.summary.is_object(), "no summary");
        Ok(counts)
    }
}

/// Replays all files of the recording.
fn replay(directory: &Path) -> Result<Counts> {
    let entries = fs::read_dir(directory)?.map(|entry| Ok(entry?.path()));
    let files = entries.collect::<Result<Vec<PathBuf>>>()?;
    println!("{} files of the recording", files.len());
    let output = directory.join("replayed.json");
    let mut command = Command::new("dnstrace");
    command.arg("-r").args(files).args(["-o", "json"]).stdin(Stdio::null());
    let status = command.stdout(File::create(&output)?).stderr(Stdio::null()).status()?;
    ensure!(status.success(), "{command:?}: {status}");
    Counts::of(BufReader::new(File::open(output)?).lines())
}
