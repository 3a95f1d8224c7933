//! Captures of tcpdump, read by dnstrace: the numbers are those of tshark.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{
    Bench, Test,
    fates::proof::list,
    tracer::{Lines, Said, Tracer},
};
use crate::lab::{
    CLUSTER_DNS,
    clients::{dig, dig_batch},
    dns_server::Serve,
    pod::{Pod, PodOptions},
    process::{Process, run},
};

pub const TESTS: &[Test] = &[Test::new("captures of tcpdump are read as tshark reads them", captures)];

/// How dnstrace tells of them: what is not answered within so long counts as unanswered, as the capture goes on for longer.
const TOLD: [&str; 4] = ["-o", "json", "--timeout", "1500ms"];
/// Lookups that are answered, and those for which there is no such name.
const FOUND: usize = 20;
const NOT_FOUND: usize = 5;
/// Queries to a server that does not answer: dig's first and its retries.
const UNANSWERED: usize = 3;

/// Numbers of messages and retries, however they were counted.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    queries: usize,
    /// By RCODE.
    responses: BTreeMap<u64, usize>,
    unanswered: usize,
    /// Queries with the id and the port of one before.
    again: usize,
}

fn captures(bench: &Bench) -> Result<()> {
    let in_pod = Tcpdump::start("pod", |argv| bench.lab.cart.command("cart", argv), "eth0")?;
    let on_node = Tcpdump::start("node", |argv| Ok(command(argv)), "any")?;
    traffic(bench)?;
    let (in_pod, on_node) = (in_pod.end()?, on_node.end()?);

    let said = read(Command::new("dnstrace").arg("-r").arg(&in_pod).args(TOLD))?;
    let lines = said.lines()?;
    let tally = by_tshark(&in_pod)?;
    ensure!(by_dnstrace(&lines) == tally, "dnstrace: {:?}\ntshark: {tally:?}", by_dnstrace(&lines));
    ensure!(tally.unanswered == UNANSWERED && tally.queries > FOUND + NOT_FOUND, "{tally:?}");
    ensure!(lines.messages.is_empty(), "{:?}", lines.messages);
    ensure!(said.stderr.contains("nothing was lost"), "{}", said.stderr);
    let dead =
        lines.queries.iter().find(|query| query["outcome"] == "unanswered").context("none unanswered")?;
    ensure!(list(&dead["attempts"]).count() == UNANSWERED && dead["pid"].is_null(), "{dead}");

    let through_pipe = format!("cat {} | dnstrace -r - {}", in_pod.display(), TOLD.join(" "));
    let piped = read(Command::new("sh").args(["-c", &through_pipe]))?;
    ensure!(piped.stdout == said.stdout, "through a pipe: {}\nfrom the file: {}", piped.stdout, said.stdout);

    // On the node each packet is seen at several interfaces.
    let said = read(Command::new("dnstrace").arg("-r").arg(&on_node).args(["-o", "json"]))?;
    ensure!(said.stderr.contains("captured at a further interface, counted once"), "{}", said.stderr);
    let asked = |lines: &Lines| {
        let attempts = lines.queries.iter().flat_map(|query| list(&query["attempts"]));
        let to_service = attempts.filter(|attempt| attempt["server"] == CLUSTER_DNS.to_string());
        to_service.filter(|attempt| attempt["client"] == bench.lab.cart.ip.to_string()).count()
    };
    let (seen, expected) = (asked(&said.lines()?), asked(&lines));
    ensure!(seen == expected, "on the node {seen} queries, in the pod {expected}");
    Ok(())
}

/// What is captured: answers of every kind, in one packet, in fragments and over TCP; and none.
fn traffic(bench: &Bench) -> Result<()> {
    let cart = &bench.lab.cart;
    let pod = Pod::start(&bench.lab.node, "faults", "silent-dns", &PodOptions::default())?;
    let server = Serve::start(&pod, &["--silent"])?;
    let tries = format!("+tries={UNANSWERED}");
    dig(cart, "cart", &[&format!("@{}", pod.ip), &tries, "+time=1", "nobody.example"])?;
    server.stop()?;
    let found = (0..FOUND).map(|n| format!("capture-{n}.dig.test.cluster.local"));
    let not_found = (0..NOT_FOUND).map(|n| format!("capture-{n}.nobody.example"));
    dig_batch(cart, "cart", &["+short"], &found.chain(not_found).collect::<Vec<_>>())?.success()?;
    let at = format!("@{CLUSTER_DNS}");
    let large = ["+ignore", "+bufsize=4096", "txt-3600.large.cluster.local", "TXT"];
    for transport in ["+notcp", "+tcp"] {
        dig(cart, "cart", &[[at.as_str(), transport].as_slice(), &large].concat())?.success()?;
    }
    Ok(())
}

/// What the attempts of dnstrace's queries add up to.
fn by_dnstrace(lines: &Lines) -> Tally {
    let mut tally = Tally::default();
    for query in &lines.queries {
        let mut before = Vec::new();
        for attempt in list(&query["attempts"]) {
            tally.queries += 1;
            match attempt["answer"]["rcode"].as_str() {
                Some(_) => *tally.responses.entry(rcode(query)).or_default() += 1,
                None => tally.unanswered += 1,
            }
            let of = (&attempt["id"], &attempt["client_port"]);
            tally.again += usize::from(before.contains(&of));
            before.push(of);
        }
    }
    tally
}

fn rcode(query: &Value) -> u64 {
    query["rcode_number"].as_u64().unwrap_or(u64::MAX)
}

/// What tshark says of each message. A field that a frame has several times is a list.
fn by_tshark(capture: &Path) -> Result<Tally> {
    let file = capture.to_str().context("an odd path")?;
    let fields = ["dns.flags.response", "dns.flags.rcode", "dns.response_in", "dns.retransmit_request"];
    let mut argv = vec!["tshark", "-r", file, "-2", "-Y", "dns && !icmp", "-T", "fields"];
    argv.extend(fields.iter().flat_map(|field| ["-e", field]));
    let mut tally = Tally::default();
    for line in run(&argv)?.lines() {
        let fields: Vec<_> = line.split('\t').collect();
        let &[response, rcode, answer, again] = fields.as_slice() else { anyhow::bail!("tshark: {line:?}") };
        if matches!(response, "1" | "True") {
            *tally.responses.entry(rcode.parse().with_context(|| line.to_owned())?).or_default() += 1;
            continue;
        }
        tally.queries += 1;
        tally.unanswered += usize::from(answer.is_empty());
        tally.again += usize::from(!again.is_empty());
    }
    Ok(tally)
}

/// Runs dnstrace to its end.
fn read(command: &mut Command) -> Result<Said> {
    let said = Tracer::spawn(command)?.said()?;
    ensure!(said.status.success(), "{said:?}");
    Ok(said)
}

fn command(argv: &[&str]) -> Command {
    let mut command = Command::new(argv.first().copied().unwrap_or_default());
    command.args(argv.iter().skip(1));
    command
}

/// tcpdump at work.
struct Tcpdump {
    process: Process,
    capture: PathBuf,
}

impl Tcpdump {
    /// Starts it at an interface and waits until it listens.
    fn start(name: &str, at: impl FnOnce(&[&str]) -> Result<Command>, interface: &str) -> Result<Self> {
        let capture = std::env::temp_dir().join(format!("{name}-{}.pcap", std::process::id()));
        let log = capture.with_extension("log");
        let file = capture.to_str().context("an odd path")?;
        let argv = ["tcpdump", "-Z", "root", "-i", interface, "-U", "-w", file];
        let process = Process::start_logging(at(&argv)?, File::create(&log)?)?;
        let started = Instant::now();
        while !fs::read_to_string(&log)?.contains("listening on") {
            ensure!(started.elapsed() < Duration::from_secs(20), "tcpdump does not listen");
            thread::sleep(Duration::from_millis(20));
        }
        Ok(Self { process, capture })
    }

    /// Ends it and returns its file.
    fn end(self) -> Result<PathBuf> {
        // libpcap hands packets over within a second.
        thread::sleep(Duration::from_millis(1_200));
        self.process.signal(Signal::SIGINT)?;
        self.process.wait()?;
        Ok(self.capture)
    }
}
