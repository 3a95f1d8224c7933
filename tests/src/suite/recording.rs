//! Recordings: what is told of them is what was told live.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{
    Bench, Test,
    fates::proof::list,
    tracer::{self, Lines, Said, Tracer},
};
use crate::lab::{
    CLUSTER_DNS,
    clients::{Client, dig},
    dns_server::Serve,
    pod::{Pod, PodOptions},
    process::run,
};

pub const TESTS: &[Test] = &[
    Test::new("recordings tell what the trace told", replay),
    Test::new("recordings of a killed trace are read to where they end", killed),
    Test::new("recordings of two nodes are one trace", two_nodes),
    Test::new("a full disk ends the recording and not the trace", full_disk),
    Test::new("a wall clock that is set is told", clock_set),
];

/// Lookups by glibc.
const LOOKUPS: u64 = 200;

pub fn file(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("{name}-{}.pcapng", std::process::id()))
}

pub fn text(path: &Path) -> Result<&str> {
    path.to_str().context("an odd path")
}

/// What is asked meanwhile: UDP and TCP, a name that does not exist, a server that does not answer.
fn traffic(bench: &Bench) -> Result<()> {
    let cart = &bench.lab.cart;
    bench.clients.lookup_bulk(cart, "cart", Client::LookupGlibc, LOOKUPS, "recorded")?;
    let at = format!("@{CLUSTER_DNS}");
    dig(cart, "cart", &[&at, "+tcp", "api.shop.svc.cluster.local"])?.success()?;
    dig(cart, "cart", &[&at, "nowhere.example"])?.success()?;
    let pod = Pod::start(&bench.lab.node, "faults", "dead-dns", &PodOptions::default())?;
    let server = Serve::start(&pod, &["--silent"])?;
    dig(cart, "cart", &[&format!("@{}", pod.ip), "+tries=2", "+time=1", "nobody.example"])?;
    server.stop()?;
    // The last attempt is given up meanwhile.
    thread::sleep(Duration::from_secs(3));
    Ok(())
}

const TRACE: [&str; 5] = ["-A", "--timeout", "2s", "-o", "json"];

pub fn replayed(files: &[&Path], args: &[&str]) -> Result<Said> {
    let said = Tracer::spawn(Command::new("dnstrace").arg("-r").args(files).args(args))?.said()?;
    ensure!(said.status.success(), "{said:?}");
    Ok(said)
}

/// Lines but those that say how the trace is.
pub fn told(said: &Said) -> Vec<&str> {
    said.stdout.lines().filter(|line| !line.contains(r#""kind":"status""#)).collect()
}

fn replay(bench: &Bench) -> Result<()> {
    let recording = file("whole");
    let tracer = Tracer::start(&[&TRACE[..], &["-w", text(&recording)?]].concat())?;
    traffic(bench)?;
    let live = tracer.end(Signal::SIGINT)?;
    ensure!(live.status.success(), "{live:?}");
    let again = replayed(&[&recording], &["-o", "json"])?;
    let (live_lines, again_lines) = (told(&live), told(&again));
    let differs = live_lines.iter().zip(&again_lines).find(|(live, again)| live != again);
    ensure!(differs.is_none(), "{differs:?}");
    ensure!(live_lines.len() == again_lines.len(), "{} and {}", live_lines.len(), again_lines.len());
    let lines = live.lines()?;
    ensure!(lines.queries.len() as u64 > 4 * LOOKUPS, "{} queries", lines.queries.len());
    // The summary for eyes, too, but for what names the file.
    let summary = |said: &Said| {
        let lines = said.stderr.lines().filter(|line| !line.starts_with("dnstrace:"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    ensure!(summary(&live) == summary(&again), "live:\n{}\nreplayed:\n{}", live.stderr, again.stderr);
    summarized(&recording, &summary(&live), live_lines.last().context("no lines")?)?;
    in_wireshark(&recording, &lines)
}

/// `dnstrace summary` prints the summary, and nothing else; and what means nothing with a recording is refused.
fn summarized(recording: &Path, text: &[String], line: &str) -> Result<()> {
    let of = |args: &[&str]| {
        Tracer::spawn(Command::new("dnstrace").args(["summary", "-r"]).arg(recording).args(args))?.said()
    };
    let said = of(&[])?;
    ensure!(said.status.success() && said.stdout.lines().eq(text), "{text:?}: {said:?}");
    let said = of(&["-o", "json"])?;
    ensure!(said.status.success() && said.stdout.lines().eq([line]), "{line}: {said:?}");
    let said = of(&["-o", "json", "--name", "nowhere.*"])?;
    ensure!(said.lines()?.summary["queries"] == 1, "{said:?}");
    let said = of(&["--port", "5353"])?;
    ensure!(said.status.code() == Some(2) && said.stderr.contains("--port means nothing"), "{said:?}");
    Ok(())
}

/// tshark finds every message that was told, none malformed, with whose it is.
fn in_wireshark(recording: &Path, lines: &Lines) -> Result<()> {
    let file = text(recording)?;
    let malformed = run(&["tshark", "-r", file, "-Y", "_ws.malformed"])?;
    ensure!(malformed.is_empty(), "{malformed}");
    let fields = ["tshark", "-r", file, "-Y", "dns", "-T", "fields", "-e", "frame.comment", "-e", "dns.id"];
    let packets = run(&fields)?;
    let attempts = lines.queries.iter().flat_map(|query| list(&query["attempts"]));
    let messages: usize = attempts.map(|attempt| 1 + usize::from(attempt["answer"].is_object())).sum();
    ensure!(packets.lines().count() == messages, "{} packets of {messages}", packets.lines().count());
    let of_cart = packets.lines().filter(|line| line.contains("shop/cart-7d4f")).count();
    ensure!(of_cart as u64 >= 4 * LOOKUPS, "{of_cart} packets say that they are the pod's");
    ensure!(packets.contains("no answer"), "no packet says that it was not answered");
    Ok(())
}

fn killed(bench: &Bench) -> Result<()> {
    let recording = file("killed");
    let mut tracer = Tracer::start(&[&TRACE[..], &["-w", text(&recording)?]].concat())?;
    dig(&bench.lab.cart, "cart", &["+short", "api.shop.svc.cluster.local"])?.success()?;
    // What was seen is in the file within a second.
    thread::sleep(Duration::from_millis(1_500));
    tracer.signal(Signal::SIGKILL)?;
    tracer.said()?;
    let said = replayed(&[&recording], &["-o", "json"])?;
    let lines = said.lines()?;
    ensure!(lines.asked_by("dig").count() == 1, "{}", said.stdout);
    ensure!(
        said.stderr.contains("without its end") || said.stderr.contains("within a block"),
        "{}",
        said.stderr
    );
    Ok(())
}

/// The client's node sees the client alone, the server's the servers. One client's port has an entry in conntrack that is older
/// than the traces (others may, by chance: glibc takes any port), so that only what the server received tells its way.
fn two_nodes(bench: &Bench) -> Result<()> {
    let (near, far) = (file("near"), file("far"));
    let on = |node: &str, whose: &[&str], recording: &Path| -> Result<Tracer> {
        let mut command = Command::new("dnstrace");
        command.env("NODE_NAME", node).args(tracer::attach_options()).args(whose);
        command.args(["-o", "json", "-w", text(recording)?]);
        Tracer::started(&mut command)
    };
    ask_by_old_port(bench, "before")?;
    let client = on("worker-1", &["-p", "cart-7d4f"], &near)?;
    let servers = on("worker-2", &["-n", "kube-system"], &far)?;
    bench.clients.lookup_bulk(&bench.lab.cart, "cart", Client::LookupGlibc, LOOKUPS, "nodes")?;
    ask_by_old_port(bench, "meanwhile")?;
    let live = client.end(Signal::SIGINT)?.lines()?;
    let of_old_port = |query: &&Value| query["comm"] == "sockets";
    for query in live.queries.iter().filter(of_old_port) {
        let attempt = &query["attempts"][0];
        ensure!(attempt["endpoint"].is_null() && list(&attempt["steps"]).count() == 0, "guessed: {query}");
    }
    servers.end(Signal::SIGINT)?;

    let said = replayed(&[&far, &near], &["-o", "json"])?;
    ensure!(said.stderr.contains("agree to"), "the clocks are the same one: {}", said.stderr);
    let lines = said.lines()?;
    let asked: Vec<_> = lines.asked_by("lookup-glibc").chain(lines.asked_by("sockets")).collect();
    ensure!(asked.len() as u64 == 2 * LOOKUPS + OLD_BULK, "{} asked", asked.len());
    let endpoints = bench.lab.dns.pods.iter().map(|pod| pod.ip.to_string()).collect::<Vec<_>>();
    for query in asked {
        let attempt = &query["attempts"][0];
        let side = &attempt["server_side"];
        ensure!(query["node"] == "worker-1" && side["node"] == "worker-2", "{query}");
        ensure!(side["namespace"] == "kube-system" && side["rcode"] == "NOERROR", "{query}");
        let is_known =
            attempt["endpoint"].as_str().is_some_and(|ip| endpoints.iter().any(|known| known == ip));
        ensure!(is_known, "not an endpoint of the cluster DNS: {query}");
        let parts = ["there_ns", "server_ns", "back_ns"].map(|part| side[part].as_u64());
        let [Some(there), Some(server), Some(back)] = parts else { anyhow::bail!("{query}") };
        ensure!(Some(there + server + back) == query["latency_ns"].as_u64(), "{query}");
    }
    Ok(())
}

/// Questions of one socket after another with the same port.
const OLD_BULK: u64 = 10;

fn ask_by_old_port(bench: &Bench, tag: &str) -> Result<()> {
    let (server, bulk) = (CLUSTER_DNS.to_string(), OLD_BULK.to_string());
    let options = ["--server", &server, "--tag", tag, "--bulk", &bulk, "--source-port", "41100"];
    let tally = bench.clients.sockets(&bench.lab.cart, "cart", &options)?;
    ensure!((tally.sent, tally.received) == (OLD_BULK, OLD_BULK), "{tally:?}");
    Ok(())
}

/// A file system that a recording fills. Dropped, it is gone.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(size: &str) -> Result<Self> {
        let at = std::env::temp_dir().join(format!("small-disk-{}", std::process::id()));
        fs::create_dir_all(&at)?;
        run(&["mount", "-t", "tmpfs", "-o", &format!("size={size}"), "none", text(&at)?])?;
        Ok(Self(at))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // With the VM it is gone at the latest.
        let _ = run(&["umount", &self.0.to_string_lossy()]);
    }
}

fn full_disk(bench: &Bench) -> Result<()> {
    let disk = SmallDisk::mount("192k")?;
    let recording = disk.0.join("t.pcapng");
    let tracer = Tracer::start(&[&TRACE[..], &["-w", text(&recording)?]].concat())?;
    bench.clients.lookup_bulk(&bench.lab.cart, "cart", Client::LookupGlibc, LOOKUPS, "full")?;
    dig(&bench.lab.cart, "cart", &["+short", "api.shop.svc.cluster.local"])?.success()?;
    let live = tracer.end(Signal::SIGINT)?;
    ensure!(live.status.success(), "{live:?}");
    let ends = "dnstrace: the recording ends here, the trace goes on: cannot write";
    ensure!(live.stderr.matches(ends).count() == 1 && live.stderr.contains("No space left"), "{live:?}");
    let lines = live.lines()?;
    ensure!(lines.asked_by("dig").count() == 1, "the trace goes on");
    let missing = lines.summary["losses"]["unrecorded_events"].as_u64().context("no count")?;
    ensure!(missing > 0 && live.stderr.contains(&format!("LOST: {missing} ")), "{}", live.stderr);

    // What is in the file is whole, and was told live in the same words; it ends where the disk was full.
    let again = replayed(&[&recording], &["-o", "json"])?;
    ensure!(again.stderr.contains("without its end"), "{}", again.stderr);
    let (live, again) = (told(&live), told(&again));
    let same = live.iter().zip(&again).take_while(|(live, again)| live == again).count();
    ensure!(same > 50 && again.len() < live.len(), "{same} of {} and {}", again.len(), live.len());
    Ok(())
}

fn clock_set(bench: &Bench) -> Result<()> {
    const HOUR: i64 = 3_600_000_000_000;
    let set = |by: &str| run(&["date", "--set", by]).map(drop);
    let ask = || dig(&bench.lab.cart, "cart", &["+short", "api.shop.svc.cluster.local"])?.success();
    let tracer = Tracer::start(&TRACE)?;
    ask()?;
    set("1 hour ago")?;
    // It is looked at twenty times a second.
    thread::sleep(Duration::from_millis(500));
    ask()?;
    set("1 hour")?;
    let said = tracer.end(Signal::SIGINT)?;
    for words in ["s back: times are told as it went when the trace began", "s forward: times"] {
        ensure!(said.stderr.contains(words), "{}", said.stderr);
    }
    let lines = said.lines()?;
    let set = lines.statuses.iter().filter(|status| status["event"] == "clock_set");
    let by: Vec<_> = set.map(|status| status["by_ns"].as_i64().unwrap_or_default()).collect();
    // date takes whole seconds, and a moment to set them.
    let is_near = |by: i64, wanted: i64| by.abs_diff(wanted) < 60_000_000_000;
    ensure!(matches!(&*by, [back, on] if is_near(*back, -HOUR) && is_near(*on, HOUR)), "{by:?}");
    let times: Vec<_> = lines.asked_by("dig").map(|query| query["time"].to_string()).collect();
    ensure!(times.len() == 2 && times.is_sorted(), "{times:?}");
    Ok(())
}
