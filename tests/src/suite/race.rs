//! `e2e race`: packets of one flow that are really at conntrack at once, on two CPUs, as long as one likes; what
//! dnstrace tells of each is counted and compared with the kernel's own counters and the client's own tally.

use std::{
    fmt,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use nix::sys::signal::Signal;
use serde_json::Value;

use super::tracer::Tracer;
use crate::lab::{
    CLUSTER_DNS,
    clients::{Clients, RaceTally},
    counters::ConntrackStats,
    default_lab::ClusterDns,
    node::Node,
    pod::{Pod, PodOptions},
    zone::Zone,
};

/// Races packets of one socket at conntrack and compares every outcome; ends with the line `N passed, N failed`
///
/// It needs two CPUs that run at the same time, and as for `lab` a network namespace with no interface but `lo`.
#[derive(Debug, Args)]
pub struct RaceArgs {
    /// For how long to race, in traces of at most ten seconds each
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(2..))]
    seconds: u64,
    /// Without dnstrace: only show what the kernel counts
    #[arg(long)]
    untraced: bool,
}

/// kube-proxy chooses one of so many at random for each packet: the packets of two pairs of three get different ones.
const ENDPOINTS: usize = 3;
/// The longest trace: its lines are kept in memory.
const LONGEST: u64 = 10;
/// On a busy machine the VM's CPUs seldom run at once: the soak goes on for so many rounds until every outcome of a
/// race has been there.
const FURTHER_ROUNDS: u64 = 8;

struct Track {
    // Dropped in this order.
    cart: Pod,
    dns: ClusterDns,
    _node: Node,
    clients: Clients,
}

/// Whom the two queries of a socket ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Both the Service. Every clash is resolved: by merging where both got the same endpoint, else as reply-only.
    Service,
    /// From every second socket one the Service, the other an endpoint of it: should the Service choose that same one,
    /// both flows want the same answers, which the kernel cannot resolve.
    Both,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Service => "A and AAAA to the Service",
            Self::Both => "and some AAAA to an endpoint",
        })
    }
}

/// Runs the soak.
pub fn race(args: &RaceArgs) -> Result<ExitCode> {
    let track = Track::build()?;
    // Both shapes, however short the soak.
    let length = (args.seconds / 2).clamp(1, LONGEST);
    let rounds = args.seconds.div_ceil(length);
    let mut total = Seen::default();
    let (mut passed, mut failed) = (0, 0);
    for number in 0..rounds + FURTHER_ROUNDS {
        if number >= rounds && (failed > 0 || args.untraced || total.has_every_outcome().is_ok()) {
            break;
        }
        let shape = if number % 2 == 0 { Shape::Service } else { Shape::Both };
        match track.round(shape, number, length, !args.untraced) {
            Ok(seen) => {
                passed += 1;
                total.add(&seen);
            }
            Err(error) => {
                failed += 1;
                println!("FAILED  {shape}, round {number}: {error:?}");
            }
        }
    }
    if !args.untraced {
        println!("in all: {total}");
        match total.has_every_outcome() {
            Ok(()) => passed += 1,
            Err(error) => {
                failed += 1;
                println!("FAILED  {error:?}");
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Track {
    fn build() -> Result<Self> {
        let node = Node::new()?;
        let dns = ClusterDns::start(&node, ENDPOINTS, &Zone::cluster())?;
        let cart = Pod::start(&node, "shop", "cart-7d4f", &PodOptions::default())?;
        let clients = Clients::new()?;
        Ok(Self { cart, dns, _node: node, clients })
    }

    /// One trace of one race. Prints what was counted, and returns it if both sides agree.
    fn round(&self, shape: Shape, number: u64, seconds: u64, traced: bool) -> Result<Seen> {
        let started = Instant::now();
        let tracer = traced.then(|| Tracer::start(&["-o", "json", "-p", &self.cart.name])).transpose()?;
        let before = ConntrackStats::of_node()?;
        let client = self.run_client(shape, number, seconds)?;
        let kernel = ConntrackStats::of_node()?.since(before);
        let said = tracer.map(|tracer| tracer.end(Signal::SIGINT)).transpose()?;
        println!(
            "{:>7.2} s  {shape}: {} sent, {} answers, clash_resolve {}, insert_failed {}, drop {}",
            Duration::as_secs_f64(&started.elapsed()),
            client.sent,
            client.received,
            kernel.clash_resolve,
            kernel.insert_failed,
            kernel.drop,
        );
        let Some(said) = said else { return Ok(Seen::default()) };
        ensure!(said.status.success() && said.stderr.contains("nothing was lost"), "{}", said.stderr);
        let seen = Seen::read(&said.stdout, client.pid)?;
        println!("           dnstrace: {seen}");
        seen.agrees(&client, kernel)?;
        Ok(seen)
    }

    fn run_client(&self, shape: Shape, number: u64, seconds: u64) -> Result<RaceTally> {
        let (server, seconds, tag) = (CLUSTER_DNS.to_string(), seconds.to_string(), format!("r{number}"));
        let mut options = vec!["--server", &server, "--seconds", &seconds, "--tag", &tag];
        let endpoint = self.dns.pods.first().context("no endpoint")?.ip.to_string();
        if shape == Shape::Both {
            // Rounds with a failed insertion end in silence: many sockets a round, and a short wait.
            options.extend(["--direct", &endpoint, "--sockets", "128", "--timeout-ms", "250"]);
        }
        let client = self.clients.race(&self.cart, self.cart.first_container()?, &options)?;
        ensure!(client.errors == 0 && client.unexpected == 0, "{client:?}");
        Ok(client)
    }
}

/// What dnstrace told of the client's attempts.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Seen {
    attempts: u64,
    answered: u64,
    inserted: u64,
    merged: u64,
    reply_only: u64,
    insert_failed: u64,
    /// Answers that came when the client had given up.
    too_late: u64,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { attempts, answered, inserted, merged, reply_only, insert_failed, too_late } = self;
        write!(
            f,
            "{attempts} attempts, {answered} answered, {inserted} inserted, {merged} merged, {reply_only} reply-only, \
             {insert_failed} failed insertions, {too_late} answers too late"
        )
    }
}

impl Seen {
    /// Reads the JSON lines of a trace; every query must be the client's, and told without contradiction.
    fn read(lines: &str, pid: u32) -> Result<Self> {
        let mut seen = Self::default();
        for line in lines.lines() {
            let value: Value = serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))?;
            match value["kind"].as_str() {
                Some("query") => seen.query(&value, pid).with_context(|| line.to_owned())?,
                Some("lookup" | "status") => {}
                Some("summary") => seen.summary(&value).with_context(|| line.to_owned())?,
                _ => bail!("a line that belongs to no query: {line}"),
            }
        }
        Ok(seen)
    }

    fn query(&mut self, query: &Value, pid: u32) -> Result<()> {
        ensure!(query["role"] == "client" && query["pid"] == pid, "not the client's");
        for attempt in query["attempts"].as_array().context("no attempts")? {
            self.attempts += 1;
            match attempt["fate"].as_str() {
                Some("answered") => self.answered += 1,
                Some("answer_dropped") => self.too_late += 1,
                Some("lost_at_conntrack") => {}
                fate => bail!("{fate:?} is no fate of this race"),
            }
            let steps = attempt["steps"].as_array().context("no steps")?;
            let mut insertions = steps.iter().filter(|step| step["kind"] == "conntrack");
            if let Some(insertion) = insertions.next() {
                self.insertion(query, attempt, insertion)?;
            }
            ensure!(insertions.next().is_none(), "two insertions of one packet");
        }
        Ok(())
    }

    /// It counts what the lines before it say.
    fn summary(&self, summary: &Value) -> Result<()> {
        let counts = [
            ("answered", self.answered),
            ("lost_at_conntrack", self.insert_failed),
            ("answer_dropped", self.too_late),
        ];
        for (fate, count) in counts {
            ensure!(summary["fates"][fate].as_u64().unwrap_or(0) == count, "{count} attempts were {fate}");
        }
        Ok(())
    }

    fn insertion(&mut self, query: &Value, attempt: &Value, step: &Value) -> Result<()> {
        let (reply, winner) = (&step["reply"], &step["winner"]);
        match step["outcome"].as_str() {
            Some("inserted") => {
                self.inserted += 1;
                ensure!(winner.is_null());
                return Ok(());
            }
            Some("clash_merged") => {
                self.merged += 1;
                ensure!(attempt["endpoint"] == winner["reply"]["source"], "goes to another endpoint");
            }
            Some("clash_reply_only") => {
                self.reply_only += 1;
                ensure!(winner["original"] == step["original"] && winner["reply"] != *reply);
                ensure!(attempt["endpoint"] == reply["source"], "goes to another endpoint");
            }
            Some("insert_failed") => {
                self.insert_failed += 1;
                ensure!(step["cause"] == "clash" && winner["reply"] == *reply);
                ensure!(attempt["fate"] == "lost_at_conntrack" && attempt["answer"].is_null());
            }
            other => bail!("an outcome of {other:?}"),
        }
        // Nothing but the other query of the socket can have been the winner.
        ensure!(winner["same_socket"] == true && winner["qname"] == query["qname"], "the wrong winner");
        ensure!(winner["qtype"].is_string() && winner["qtype"] != query["qtype"], "its own winner");
        Ok(())
    }

    fn agrees(&self, client: &RaceTally, kernel: ConntrackStats) -> Result<()> {
        ensure!(self.attempts == client.sent, "{} attempts seen of {}", self.attempts, client.sent);
        ensure!(self.answered == client.received, "{} answers seen of {}", self.answered, client.received);
        let told = self.answered + self.too_late + self.insert_failed;
        ensure!(told == client.sent, "the fate of {told} told of {}", client.sent);
        let resolved = self.merged + self.reply_only;
        ensure!(resolved == kernel.clash_resolve, "{resolved} clashes seen of {}", kernel.clash_resolve);
        let failed = self.insert_failed;
        ensure!(failed == kernel.insert_failed, "{failed} failures seen of {}", kernel.insert_failed);
        Ok(())
    }

    fn add(&mut self, other: &Self) {
        self.attempts += other.attempts;
        self.answered += other.answered;
        self.inserted += other.inserted;
        self.merged += other.merged;
        self.reply_only += other.reply_only;
        self.insert_failed += other.insert_failed;
        self.too_late += other.too_late;
    }

    /// A soak without a race would agree with anything.
    fn has_every_outcome(&self) -> Result<()> {
        let rare = [self.inserted, self.merged, self.reply_only, self.insert_failed].into_iter().min();
        ensure!(rare.is_some_and(|least| least > 0), "the race did not take place: {self}");
        Ok(())
    }
}
