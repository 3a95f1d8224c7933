//! Whoever reads dnstrace's lines may stop: that costs lines, which are counted, and nothing else.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, ChildStderr, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use super::{
    Bench, Test,
    tracer::{self, Lines, Said},
};
use crate::lab::CLUSTER_DNS;

pub const TESTS: &[Test] = &[
    Test::new("a reader that stops costs lines, and nothing else", a_reader_that_stops),
    Test::new("a reader that never reads again does not hold the end up", a_reader_that_never_reads_again),
];

/// Queries at a time: their lines are many times what a pipe and [`BACKLOG`] hold.
const QUERIES: u64 = 1000;
/// Queries when it reads again.
const AFTERWARDS: u64 = 20;
const BACKLOG: &str = "64KiB";
/// What the memory may grow by while nobody reads. dnstrace remembers queries that ended for 30 s, which is still growing here
/// (8 MiB for a thousand of them, seen on 7.2); that the queue of lines does not grow is a test of its own room.
const GROWTH: u64 = 16 << 20;
/// It is left after a second; this is for a machine in trouble.
const PATIENCE: Duration = Duration::from_secs(20);

/// dnstrace with a reader that reads only when it is told to. Dropped, it is killed.
struct Unread {
    child: Child,
    stdout: Option<ChildStdout>,
    stderr: BufReader<ChildStderr>,
}

impl Unread {
    fn start() -> Result<Self> {
        let mut command = Command::new("dnstrace");
        command.args(tracer::attach_options()).args(["-o", "json", "-p", "cart-7d4f", "--backlog", BACKLOG]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take();
        let stderr = BufReader::new(child.stderr.take().context("no stderr")?);
        let mut unread = Self { child, stdout, stderr };
        let mut line = String::new();
        while !line.contains("hooks attached") {
            line.clear();
            ensure!(unread.stderr.read_line(&mut line)? > 0, "it ended early");
        }
        Ok(unread)
    }

    /// Resident memory in bytes.
    fn memory(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
    }

    fn interrupt(&self) -> Result<()> {
        Ok(kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGINT)?)
    }

    /// Waits for its end, which must come soon. What was on stdout is given.
    fn ended(&mut self, stdout: String) -> Result<Said> {
        let started = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            ensure!(started.elapsed() < PATIENCE, "it does not end");
            thread::sleep(Duration::from_millis(20));
        };
        let mut stderr = String::new();
        self.stderr.read_to_string(&mut stderr)?;
        Ok(Said { status, stdout, stderr })
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ask(bench: &Bench, tag: &str, count: u64) -> Result<()> {
    let (server, count_text) = (CLUSTER_DNS.to_string(), count.to_string());
    let options = ["--server", &server, "--tag", tag, "--bulk", &count_text, "--window", "4"];
    let tally = bench.clients.sockets(&bench.lab.cart, "cart", &options)?;
    ensure!((tally.sent, tally.received) == (count, count), "{tally:?}");
    // Longer than it takes to put the events in order, and to be done with the queries.
    thread::sleep(Duration::from_millis(500));
    Ok(())
}

fn a_reader_that_stops(bench: &Bench) -> Result<()> {
    let mut dnstrace = Unread::start()?;
    ask(bench, "first", QUERIES)?;
    let before = dnstrace.memory()?;
    ask(bench, "second", QUERIES)?;
    let after = dnstrace.memory()?;
    ensure!(after < before + GROWTH, "{before} bytes became {after} while nobody read");

    let mut stdout = dnstrace.stdout.take().context("no stdout")?;
    let reader = thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).map(|_| text)
    });
    thread::sleep(Duration::from_millis(500));
    ask(bench, "read", AFTERWARDS)?;
    dnstrace.interrupt()?;
    let text = reader.join().ok().context("the reader failed")??;
    let said = dnstrace.ended(text)?;
    ensure!(said.status.success() && said.stderr.contains("lines not written"), "{}", said.stderr);
    compare(&said.lines()?)
}

/// What was not written is what is missing, and the kernel's ring lost nothing meanwhile.
fn compare(lines: &Lines) -> Result<()> {
    let losses = &lines.summary["losses"];
    let not_written = losses["lines_not_written"].as_u64().context("no count")?;
    let hooks = losses["hooks"].as_array().context("no hooks")?;
    ensure!(hooks.iter().all(|hook| hook["ring_full"] == 0), "the ring was not read: {losses}");
    ensure!(lines.losses.iter().all(|loss| loss["cause"] == "stdout_full"), "{:?}", lines.losses);
    let told: u64 = lines.losses.iter().filter_map(|loss| loss["lines"].as_u64()).sum();
    ensure!(told == not_written && told > 0, "{told} told, {not_written} in the summary");

    let total = 2 * QUERIES + AFTERWARDS;
    ensure!(lines.summary["queries"] == total, "not all queries were seen: {}", lines.summary);
    // Each of these queries is a lookup by itself, where lookups are told.
    let lookups = if lines.lookups.is_empty() { 0 } else { total };
    let read = (lines.queries.len() + lines.lookups.len()) as u64;
    ensure!(
        read + not_written == total + lookups,
        "{read} read, {not_written} not written, of {total} and {lookups}"
    );
    let again = |query: &&Value| query["qname"].as_str().is_some_and(|name| name.contains(".read."));
    let again = lines.queries.iter().filter(again).count() as u64;
    ensure!(again == AFTERWARDS, "{again} of {AFTERWARDS} when it was read again");
    Ok(())
}

fn a_reader_that_never_reads_again(bench: &Bench) -> Result<()> {
    let mut dnstrace = Unread::start()?;
    ask(bench, "never", QUERIES)?;
    dnstrace.interrupt()?;
    let said = dnstrace.ended(String::new())?;
    ensure!(said.status.success() && said.stderr.contains("lines not written"), "{}", said.stderr);
    ensure!(said.stderr.contains(&format!("{QUERIES} queries in ")), "{}", said.stderr);
    Ok(())
}
