//! Two nodes and a link between them that takes its time and loses packets: what is told of either end together.

use std::{path::Path, process::Command, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{
    Bench, Test,
    recording::{file, replayed, text},
    tracer::{self, Lines, Said, Tracer},
};
use crate::lab::{
    clients::dig,
    dns_server::Serve,
    netns::ip,
    pod::{Pod, PodOptions},
    process::run,
};

pub const TESTS: &[Test] =
    &[Test::new("two nodes tell where a query was lost and where its time went", two_ends_of_a_link)];

const CLIENT: &str = "172.31.255.1";
const SERVER: &str = "172.31.255.2";
/// What the link takes, in milliseconds: more on the way back.
const THERE: u64 = 20;
const BACK: u64 = 100;
/// Queries that nothing happens to.
const HEALTHY: usize = 5;

/// A pod on one node, a server on another one, and a link.
struct Link {
    client: Pod,
    server: Pod,
}

impl Link {
    fn new(bench: &Bench) -> Result<Self> {
        run(&["modprobe", "-a", "sch_netem", "dummy", "nft_fwd_netdev"])?;
        let pod = |name: &str| Pod::start(&bench.lab.node, "link", name, &PodOptions::default());
        let link = Self { client: pod("near")?, server: pod("far")? };
        let [near, far] = [&link.client, &link.server].map(|pod| pod.netns().pid());
        ip(&format!("link add link0 netns {near} type veth peer name link0 netns {far}\n"))?;
        for (pod, address, delay) in [(&link.client, CLIENT, THERE), (&link.server, SERVER, BACK)] {
            pod.netns().ip(&format!(
                "addr add {address}/30 dev link0\nlink set link0 up\nlink add hole type dummy\nlink set hole up\n"
            ))?;
            let delay = format!("{delay}ms");
            pod.netns().run(&["tc", "qdisc", "add", "dev", "link0", "root", "netem", "delay", &delay])?;
        }
        Ok(link)
    }

    /// What comes in at this end with such ports is lost from now on, as on a wire: nobody drops it, it is gone.
    fn lose(pod: &Pod, ports: &str) -> Result<()> {
        let rules = format!(
            "table netdev loss {{ chain in {{ type filter hook ingress device link0 priority 0; {ports} fwd to hole; }}; }}"
        );
        pod.netns().run_with_input(&["nft", "-f", "-"], &rules).map(drop)
    }

    fn ask(&self, name: &str) -> Result<()> {
        let at = format!("@{SERVER}");
        // That nobody answers is no matter here.
        dig(&self.client, "app", &[&at, "+tries=1", "+time=1", name]).map(drop)
    }
}

/// Traces either end on its own, as two nodes would. Returns nothing: the files hold it.
fn recorded(link: &Link, near: &Path, far: &Path) -> Result<()> {
    let on = |node: &str, pod: &str, recording: &Path| -> Result<Tracer> {
        let mut command = Command::new("dnstrace");
        command.env("NODE_NAME", node).args(tracer::attach_options()).args(["-p", pod, "--timeout", "1s"]);
        command.args(["-q", "-w", text(recording)?]);
        Tracer::started(&mut command)
    };
    let client = on("worker-1", "link/near", near)?;
    let server = on("worker-2", "link/far", far)?;
    for number in 0..HEALTHY {
        link.ask(&format!("healthy-{number}.example"))?;
    }
    Link::lose(&link.server, "udp dport 53")?;
    link.ask("lost-there.example")?;
    link.server.netns().run(&["nft", "flush", "ruleset"])?;
    Link::lose(&link.client, "udp sport 53")?;
    link.ask("lost-back.example")?;
    // Each is given up meanwhile.
    thread::sleep(Duration::from_millis(1_500));
    for tracer in [client, server] {
        let said = tracer.end(Signal::SIGINT)?;
        ensure!(said.status.success(), "{said:?}");
    }
    Ok(())
}

fn two_ends_of_a_link(bench: &Bench) -> Result<()> {
    let link = Link::new(bench)?;
    let serve = Serve::start(&link.server, &[])?;
    let (near, far) = (file("link-near"), file("link-far"));
    recorded(&link, &near, &far)?;
    serve.stop()?;

    let said = replayed(&[&near, &far], &["-o", "json"])?;
    ensure!(said_error(&said)? >= BACK as f64 / 2., "half of a delay is not known: {}", said.stderr);
    let lines = said.lines()?;
    healthy(&lines)?;
    let attempt = |name: &str| -> Result<&Value> { Ok(&query(&lines, name)?["attempts"][0]) };
    let lost_there = attempt("lost-there.example.")?;
    ensure!(lost_there["fate"] == "unanswered" && lost_there["server_side"].is_null(), "{lost_there}");
    let lost_back = attempt("lost-back.example.")?;
    let side = &lost_back["server_side"];
    ensure!(lost_back["fate"] == "unanswered" && side["rcode"] == "NOERROR", "{lost_back}");
    ensure!(side["node"] == "worker-2" && side["back_ns"].is_null(), "{lost_back}");

    let table = replayed(&[&far, &near], &["--name", "lost-back.*"])?;
    for words in ["received by link/far on worker-2", "NOERROR sent by the server after"] {
        ensure!(table.stdout.contains(words), "no {words:?} in {}", table.stdout);
    }
    Ok(())
}

/// Either way's delay is found there, and with the server's time all of the latency. By half of it: the clock of an emulated
/// machine ran 7 % behind that of its timers, seen on 6.1 (18.6 ms of 20).
fn healthy(lines: &Lines) -> Result<()> {
    let mut ways = Vec::new();
    for number in 0..HEALTHY {
        let query = query(lines, &format!("healthy-{number}.example."))?;
        let side = &query["attempts"][0]["server_side"];
        let parts = ["there_ns", "server_ns", "back_ns"].map(|part| side[part].as_u64());
        let [Some(there), Some(server), Some(back)] = parts else { anyhow::bail!("{query}") };
        ensure!(Some(there + server + back) == query["latency_ns"].as_u64(), "{query}");
        ensure!(there >= THERE * 500_000 && back >= BACK * 500_000, "{query}");
        ways.push((there, back));
    }
    // However loaded the machine is, not each of them is late by as much as the ways differ.
    let quickest = ways.iter().map(|(there, _)| *there).min();
    ensure!(quickest < Some(BACK * 1_000_000), "{ways:?}");
    Ok(())
}

/// The client's query for this name.
fn query<'a>(lines: &'a Lines, name: &str) -> Result<&'a Value> {
    let mut asked = lines.queries.iter().filter(|query| query["qname"] == name && query["role"] == "client");
    let found = asked.next().with_context(|| format!("no query for {name}"))?;
    ensure!(asked.next().is_none() && found["node"] == "worker-1", "{found}");
    Ok(found)
}

/// To how many milliseconds the clocks are said to agree.
fn said_error(said: &Said) -> Result<f64> {
    let words = said.stderr.split("agree to ").nth(1).and_then(|rest| rest.split(" ms").next());
    Ok(words.with_context(|| said.stderr.clone())?.parse()?)
}
