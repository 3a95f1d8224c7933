//! `e2e bench`: what dnstrace costs the traffic beside it.
//!
//! The same exchanges between two pods without a tracer and with dnstrace attached in each way, in rounds one after
//! another; only what is relative to the same round without a tracer is told, as the machine is an emulated one.

pub mod load;

use std::{fmt, fs, thread, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use nix::sys::signal::Signal;

use self::load::{Load, Ran};
use crate::{
    lab::{
        node::Node,
        pod::{Pod, PodOptions},
        process::Process,
    },
    suite::tracer::Tracer,
};

/// Measures what dnstrace costs, as ratios; needs a network namespace with no interface but `lo`
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// How dnstrace attaches; may be given again
    #[arg(long, value_name = "MODE", default_values = ["kprobe", "fentry"])]
    attach: Vec<String>,
    /// What to exchange; may be given again [default: all of it]
    #[arg(long = "load", value_enum, value_name = "LOAD")]
    loads: Vec<Load>,
    /// Rounds; in each, every load runs once without a tracer and once with each way of attaching
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// For how long each load runs, in milliseconds
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(10..))]
    milliseconds: u64,
}

impl BenchArgs {
    fn loads(&self) -> &[Load] {
        if self.loads.is_empty() { &Load::ALL } else { &self.loads }
    }
}

/// The pod that dnstrace traces.
const TRACED: &str = "traced-0";

/// dnstrace is at rest if it uses less than this part of a processor for so long, so many times in a row.
const IDLE: f64 = 0.02;
const SETTLED: Duration = Duration::from_millis(200);
const SETTLED_TIMES: u32 = 5;
const SETTLE_AT_MOST: u32 = 500;

/// Where the loads run.
struct Track {
    // Dropped in this order.
    _server: Process,
    echo: Pod,
    traced: Pod,
    bystander: Pod,
    _node: Node,
}

/// One load under one tracer, or none.
#[derive(Debug, Clone, Copy)]
struct Measured {
    /// Exchanges a second.
    rate: f64,
    /// Processor time of dnstrace relative to the time that passed.
    own: f64,
}

/// Runs the bench and prints its table.
pub fn bench(args: &BenchArgs) -> Result<()> {
    let track = Track::build()?;
    // By load, then by way of attaching: one for each round.
    let mut results = vec![vec![Vec::new(); args.attach.len()]; args.loads().len()];
    for number in 0..args.rounds {
        let alone = track.run_all(args, None)?;
        for index in 0..args.attach.len() {
            // Another order in each round: whoever goes first may find the machine quieter.
            let index = (index + number as usize) % args.attach.len();
            let traced = track.trace_all(args, &args.attach[index])?;
            for (load, (alone, traced)) in alone.iter().zip(traced).enumerate() {
                ensure!(alone.rate > 0.0, "nothing was exchanged without a tracer");
                results[load][index].push(Measured { rate: traced.rate / alone.rate, own: traced.own });
            }
        }
    }
    print(args, &results)
}

impl Track {
    fn build() -> Result<Self> {
        let node = Node::new()?;
        let pod = |name| ("bench", name, PodOptions::default());
        let pods = Pod::start_all(&node, &[pod("echo-0"), pod(TRACED), pod("bystander-0")])?;
        let [echo, traced, bystander] =
            <[Pod; 3]>::try_from(pods).ok().context("not as many pods as were asked for")?;
        let mut server = echo.spawn(echo.first_container()?, &own(&["load", "serve"])?)?;
        ensure!(server.read_line()? == load::LISTENING, "the server does not listen");
        Ok(Self { _server: server, echo, traced, bystander, _node: node })
    }

    fn trace_all(&self, args: &BenchArgs, attach: &str) -> Result<Vec<Measured>> {
        let tracer = Tracer::start(&["-o", "json", "-p", TRACED, "--attach", attach])?;
        let measured = self.run_all(args, Some(&tracer))?;
        let said = tracer.end(Signal::SIGINT)?;
        ensure!(said.status.success(), "{said:?}");
        Ok(measured)
    }

    fn run_all(&self, args: &BenchArgs, tracer: Option<&Tracer>) -> Result<Vec<Measured>> {
        args.loads().iter().map(|load| self.run(*load, args.milliseconds, tracer)).collect()
    }

    fn run(&self, load: Load, milliseconds: u64, tracer: Option<&Tracer>) -> Result<Measured> {
        let pod = if load.is_traced() { &self.traced } else { &self.bystander };
        if let Some(tracer) = tracer {
            settle(tracer)?;
        }
        let own_before = tracer.map(processor_seconds).transpose()?;
        let output = pod.exec(
            pod.first_container()?,
            &own(&["load", "run", load.name(), &self.echo.ip.to_string(), &milliseconds.to_string()])?,
        )?;
        let ran: Ran = serde_json::from_str(&output.success()?.stdout).context("the load left no count")?;
        let own_after = tracer.map(processor_seconds).transpose()?;
        let own = own_after.zip(own_before).map_or(0.0, |(after, before)| after - before);
        Ok(Measured { rate: ran.exchanges as f64 / ran.seconds, own: own / ran.seconds })
    }
}

/// Waits until dnstrace has nothing left to do: what it owes to one load must not be charged to the next.
fn settle(tracer: &Tracer) -> Result<()> {
    let (mut before, mut quiet) = (processor_seconds(tracer)?, 0);
    for _ in 0..SETTLE_AT_MOST {
        thread::sleep(SETTLED);
        let now = processor_seconds(tracer)?;
        quiet = if now - before < IDLE * SETTLED.as_secs_f64() { quiet + 1 } else { 0 };
        if quiet == SETTLED_TIMES {
            return Ok(());
        }
        before = now;
    }
    bail!("dnstrace does not come to rest")
}

/// This program with other arguments.
fn own(args: &[&str]) -> Result<Vec<String>> {
    let program = std::env::current_exe().context("this program has no path")?;
    let program = program.to_str().context("no UTF-8")?.to_owned();
    Ok([program].into_iter().chain(args.iter().map(|arg| (*arg).to_owned())).collect())
}

/// Processor time that dnstrace has used so far, its own and the kernel's for it. It has one thread.
fn processor_seconds(tracer: &Tracer) -> Result<f64> {
    // Nanoseconds on a processor, waiting for one, and time slices (Documentation/scheduler/sched-stats.rst).
    let schedstat = fs::read_to_string(format!("/proc/{}/schedstat", tracer.pid()))?;
    let nanoseconds = schedstat.split_whitespace().next().context("an empty schedstat")?;
    Ok(Duration::from_nanos(nanoseconds.parse().context("no number in schedstat")?).as_secs_f64())
}

fn print(args: &BenchArgs, results: &[Vec<Vec<Measured>>]) -> Result<()> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    println!("Linux {}: {} rounds of {} ms", release.trim(), args.rounds, args.milliseconds);
    println!(
        "Exchanges a second relative to no tracer: median (least to most); and dnstrace's own processor time"
    );
    print!("{:44}", "");
    args.attach.iter().for_each(|attach| print!("{attach:34}"));
    println!();
    for (load, by_attach) in args.loads().iter().zip(results) {
        print!("{:44}", load.description());
        by_attach.iter().for_each(|rounds| print!("{:34}", Summary::of(rounds).to_string()));
        println!();
    }
    Ok(())
}

/// What several rounds say.
struct Summary {
    median: f64,
    least: f64,
    most: f64,
    own: f64,
}

impl Summary {
    fn of(rounds: &[Measured]) -> Self {
        let sorted = |value: fn(&Measured) -> f64| {
            let mut values: Vec<f64> = rounds.iter().map(value).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        let (rates, own) = (sorted(|measured| measured.rate), sorted(|measured| measured.own));
        let at = |values: &[f64], index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        Self {
            median: at(&rates, rates.len() / 2),
            least: at(&rates, 0),
            most: at(&rates, rates.len().saturating_sub(1)),
            own: at(&own, own.len() / 2),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { median, least, most, own } = self;
        write!(f, "{median:.3} ({least:.3} to {most:.3}), {:.1} %", own * 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_tells_the_median_and_the_extremes() {
        let rounds = [(0.9, 0.0), (0.5, 0.02), (0.7, 0.01)].map(|(rate, own)| Measured { rate, own });
        assert_eq!(Summary::of(&rounds).to_string(), "0.700 (0.500 to 0.900), 1.0 %");
    }
}
