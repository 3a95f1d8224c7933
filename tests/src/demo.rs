//! `e2e demo`: what a visitor sees first. A live trace of one pod while its programs resolve names.

use std::{
    process::{Child, Command},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};

use crate::lab::{
    clients::{Client, Clients, dig},
    default_lab::Lab,
    dns_server::Serve,
    node::Node,
    pod::{Pod, PodOptions},
};

/// Longer than dnstrace holds an event back to put it in order, and than it waits after an error for a retry.
const SETTLE: Duration = Duration::from_millis(600);

/// Builds the lab and traces it for a visitor.
pub fn demo() -> Result<()> {
    say(
        "building a small Kubernetes node: pods, cluster DNS (two unbound behind 10.96.0.10), kube-proxy's rules",
    );
    let lab = Lab::start(Node::new()?)?;
    let clients = Clients::new()?;
    let scenes = [one_pod, whole_node];
    scenes.iter().try_for_each(|scene| scene(&lab, &clients))
}

fn one_pod(lab: &Lab, clients: &Clients) -> Result<()> {
    let dead = Pod::start(&lab.node, "legacy", "old-dns", &PodOptions::default())?;
    let _dead_server = Serve::start(&dead, &["--silent"])?;
    let trace = Trace::start(&["--pod", "cart", "--timeout", "2s"])?;

    say("in pod shop/cart-7d4f: dig +search api.shop");
    dig(&lab.cart, "cart", &["+search", "+short", "api.shop"])?.success()?;
    thread::sleep(SETTLE);
    say("in its container proxy: getaddrinfo(\"example.com\") by glibc, with the usual ndots:5");
    clients.lookup(&lab.cart, "proxy", Client::LookupGlibc, &["example.com"])?;
    thread::sleep(SETTLE);
    say("the same by a static musl program, for a name that does not exist");
    clients.lookup(&lab.cart, "cart", Client::LookupMusl, &["payments.shop"])?;
    thread::sleep(SETTLE);
    say(&format!("dig at {}, a DNS server that never answers", dead.ip));
    let at = format!("@{}", dead.ip);
    dig(&lab.cart, "cart", &[&at, "+tries=2", "+time=1", "billing.legacy.example"])?;
    thread::sleep(Duration::from_secs(2));
    trace.end()
}

fn whole_node(lab: &Lab, _: &Clients) -> Result<()> {
    let trace = Trace::start(&[])?;
    say(
        "in pod shop/web-0: dig web.shop.svc.cluster.local AAAA; both ends are on this node: -> asked, <- was asked",
    );
    dig(&lab.web, "web", &["web.shop.svc.cluster.local", "AAAA"])?.success()?;
    thread::sleep(SETTLE);
    trace.end()
}

/// A dnstrace that writes to the visitor's screen.
struct Trace(Child);

impl Trace {
    fn start(args: &[&str]) -> Result<Self> {
        say(&format!("$ sudo dnstrace {}", args.join(" ")));
        let child = Command::new("dnstrace").args(args).spawn().context("cannot start dnstrace")?;
        // It says when it has attached, on the visitor's screen; under emulation that takes some two seconds.
        thread::sleep(Duration::from_secs(4));
        Ok(Self(child))
    }

    fn end(mut self) -> Result<()> {
        say("Ctrl-C");
        kill(nix::unistd::Pid::from_raw(self.0.id().cast_signed()), Signal::SIGINT)?;
        let status = self.0.wait()?;
        ensure!(status.success(), "dnstrace ended with {status}");
        println!();
        Ok(())
    }
}

fn say(line: &str) {
    println!("\n# {line}");
}
