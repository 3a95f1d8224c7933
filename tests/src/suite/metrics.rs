//! The counts while the trace runs: over HTTP as Prometheus reads them, and as a summary on SIGUSR1.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{
    Bench, Test,
    openmetrics::{Exposition, parse},
    tracer::Tracer,
};
use crate::lab::clients::dig_batch;

pub const TESTS: &[Test] = &[
    Test::new("metrics count what the client counts", metrics_count_what_the_client_counts),
    Test::new("SIGUSR1 tells the summary so far", sigusr1_tells_the_summary_so_far),
    Test::new("metrics on an address in use are refused", an_address_in_use_is_refused),
];

const ADDRESS: &str = "127.0.0.1:9353";
/// For a query to be told of; a text is a second old at the most.
const PATIENCE: Duration = Duration::from_secs(10);

/// So many names that exist, and one that does not.
pub(super) fn ask(bench: &Bench, count: usize) -> Result<()> {
    let mut questions = vec!["api.shop.svc.cluster.local A".to_owned(); count];
    questions.push("nowhere.svc.cluster.local A".to_owned());
    dig_batch(&bench.lab.cart, "cart", &["+short"], &questions)?.success()?;
    Ok(())
}

/// A response to a request of this path: its head and its body.
fn request(path: &str) -> Result<(String, String)> {
    let mut stream = TcpStream::connect(ADDRESS).context("metrics are not served")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    let (head, body) = response.split_once("\r\n\r\n").context("no head")?;
    Ok((head.to_owned(), body.to_owned()))
}

fn scrape() -> Result<Exposition> {
    let (head, body) = request("/metrics")?;
    ensure!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    ensure!(
        head.to_lowercase().contains("content-type: application/openmetrics-text; version=1.0.0"),
        "{head}"
    );
    parse(&body)
}

/// Scrapes until there are so many queries.
fn scrape_until(queries: f64) -> Result<Exposition> {
    let started = Instant::now();
    loop {
        let exposition = scrape()?;
        if exposition.sum("dns_queries_total", &[]) >= queries {
            return Ok(exposition);
        }
        ensure!(started.elapsed() < PATIENCE, "never {queries} queries: {exposition:?}");
        thread::sleep(Duration::from_millis(200));
    }
}

fn metrics_count_what_the_client_counts(bench: &Bench) -> Result<()> {
    let tracer = Tracer::start(&["-p", "cart-7d4f", "-o", "json", "--metrics", ADDRESS])?;
    // Those who say nothing and those who read nothing must not keep others waiting.
    let silent: Vec<_> = (0..4).map(|_| TcpStream::connect(ADDRESS)).collect::<std::io::Result<_>>()?;
    ask(bench, 20)?;
    let first = scrape_until(21.0)?;
    ask(bench, 5)?;
    let second = scrape_until(27.0)?;
    let cart = ("pod", "cart-7d4f");
    for (exposition, good, bad) in [(&first, 20.0, 1.0), (&second, 25.0, 2.0)] {
        let queries = |rcode| exposition.sum("dns_queries_total", &[cart, ("rcode", rcode)]);
        ensure!(queries("NOERROR") == good && queries("NXDOMAIN") == bad, "{exposition:?}");
        let all = good + bad;
        ensure!(exposition.sum("dns_queries_total", &[]) == all, "{exposition:?}");
        ensure!(exposition.sum("dns_lookup_duration_seconds_count", &[cart]) == all, "{exposition:?}");
        ensure!(exposition.sum("dns_attempts_total", &[("fate", "answered")]) >= all, "{exposition:?}");
        let server = [("server", "10.96.0.10:53/udp"), ("fate", "answered")];
        ensure!(exposition.sum("dns_server_attempts_total", &server) >= all, "{exposition:?}");
        ensure!(
            exposition.sum("dns_conntrack_outcomes_total", &[("outcome", "inserted")]) >= 1.0,
            "{exposition:?}"
        );
        ensure!(exposition.sum("dnstrace_hook_losses_total", &[("cause", "ring_full")]) == 0.0);
        ensure!(exposition.sum("process_resident_memory_bytes", &[]) > 1e6, "{exposition:?}");
    }
    let cpu = |exposition: &Exposition| exposition.sum("process_cpu_seconds_total", &[]);
    ensure!(cpu(&first) > 0.0 && cpu(&second) >= cpu(&first), "{first:?} {second:?}");
    ensure!(request("/")?.0.starts_with("HTTP/1.1 404"));
    drop(silent);
    let said = tracer.end(Signal::SIGINT)?;
    ensure!(said.status.success() && said.stderr.contains("nothing was lost"), "{said:?}");
    let queries = said.lines()?.queries.len();
    ensure!(queries == 27, "{queries} lines");
    Ok(())
}

fn sigusr1_tells_the_summary_so_far(bench: &Bench) -> Result<()> {
    let tracer = Tracer::start(&["-p", "cart-7d4f", "-o", "json"])?;
    ask(bench, 3)?;
    thread::sleep(Duration::from_millis(500));
    tracer.signal(Signal::SIGUSR1)?;
    thread::sleep(Duration::from_millis(500));
    ask(bench, 1)?;
    let said = tracer.end(Signal::SIGTERM)?;
    ensure!(said.status.success(), "{said:?}");
    let lines = said.stdout.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    let summaries: Vec<_> = lines.iter().filter(|line| line["kind"] == "summary").collect();
    let told: Vec<_> = summaries.iter().map(|line| (&line["final"], &line["queries"])).collect();
    ensure!(told == [(&false.into(), &4.into()), (&true.into(), &6.into())], "{told:?}");
    ensure!(summaries.iter().all(|line| line["pods"][0]["name"] == "cart-7d4f"), "{summaries:?}");
    ensure!(lines.last().is_some_and(|line| line["final"] == true), "the last line is not the summary");
    ensure!(said.stderr.contains("so far, and the trace goes on:\n4 queries in "), "{}", said.stderr);
    ensure!(
        said.stderr.contains("\n6 queries in ") && said.stderr.contains("nothing was lost"),
        "{}",
        said.stderr
    );
    Ok(())
}

fn an_address_in_use_is_refused(_: &Bench) -> Result<()> {
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let said = Tracer::spawn(Command::new("dnstrace").args(["--metrics", &address]))?.said()?;
    ensure!(said.status.code() == Some(1), "{said:?}");
    let lines: Vec<_> = said.stderr.lines().collect();
    let is_clear = |line: &&str| line.contains(&address) && line.contains("--metrics");
    ensure!(lines.len() == 1 && lines.iter().all(is_clear), "{said:?}");
    Ok(())
}
