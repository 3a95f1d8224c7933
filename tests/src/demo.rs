//! `e2e demo`: what a visitor sees first. A live trace of one pod while its programs resolve names.

use std::{
    net::SocketAddrV4,
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::lab::{
    clients::{Client, Clients, dig},
    default_lab::{ClusterDns, Lab},
    dns_server::Serve,
    node::Node,
    packet_queue::PacketQueue,
    pod::{Pod, PodOptions},
    service::Balance,
};

/// Longer than dnstrace holds an event back to put it in order, and than it waits after an error for a retry.
const SETTLE: Duration = Duration::from_millis(600);
/// Longer than a clash loser's entry lives, shorter than the resolver waits for an answer.
const STALL: Duration = Duration::from_millis(1300);
/// The port from which the sick lookup is sent, so that its packets can be told from others.
const PORT: u16 = 40_200;

/// Builds the lab and traces it for a visitor.
pub fn demo() -> Result<()> {
    say(
        "building a small Kubernetes node: pods, cluster DNS (two unbound behind 10.96.0.10), kube-proxy's rules",
    );
    let lab = Lab::start(Node::new()?)?;
    let clients = Clients::new()?;
    let scenes = [one_pod, five_seconds, whole_node];
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

/// The lookup that takes five seconds: on a kernel of today its race ends in no failed insertion.
fn five_seconds(lab: &Lab, clients: &Clients) -> Result<()> {
    println!(
        "
# A lookup of 5 seconds. glibc sends A and AAAA from one socket at the same time; kube-proxy's rules send them to
# different endpoints; on two CPUs at once both are new to conntrack, and one loses when they are inserted. Since
# Linux 5.7 it is not dropped: it gets an entry for its answer alone, which lives for 1 second. If the DNS server is
# slower than that for once, the answer is not translated back, and the program waits until it asks again.
# Made for sure here, not waited for: an NFQUEUE holds both packets behind NAT and lets them go to their insertion,
# kube-proxy's rules choose the endpoints in turn, and both DNS servers are stopped for 1.3 seconds."
    );
    let trace = Trace::start(&["--pod", "cart"])?;
    lab.dns.service.set_balance(Balance::RoundRobin)?;
    say("in pod shop/cart-7d4f: getaddrinfo(\"api.shop.svc.cluster.local.\") by glibc");
    let took = race(lab, clients)?;
    say(&format!("getaddrinfo returned after {:.3} s", took.as_secs_f64()));
    lab.dns.service.set_balance(Balance::Random)?;
    thread::sleep(SETTLE);
    trace.end()
}

/// One lookup whose two queries clash at conntrack, while the cluster DNS stands still. Returns how long it took.
fn race(lab: &Lab, clients: &Clients) -> Result<Duration> {
    let (cart, dns) = (&lab.cart, &lab.dns);
    let before = set_local_ports(cart, &format!("{PORT} {PORT}"))?;
    let mut queue = PacketQueue::hold(SocketAddrV4::new(cart.ip, PORT))?;
    let stopped = Stopped::stop(dns)?;
    let took = thread::scope(|scope| {
        let lookup = scope.spawn(|| {
            let started = Instant::now();
            clients.lookup(cart, "cart", Client::LookupGlibc, &["api.shop.svc.cluster.local."])?;
            Ok(started.elapsed())
        });
        let held = queue.wait_for(2)?;
        ensure!(held[0].destination != held[1].destination, "both to one endpoint: {held:?}");
        queue.hold_no_more()?;
        for packet in &held {
            queue.release_unseen(packet.id)?;
        }
        thread::sleep(STALL);
        drop(stopped);
        lookup.join().ok().context("the lookup's thread died")?
    })?;
    set_local_ports(cart, before.trim())?;
    Ok(took)
}

/// Sets the range of the pod's ports of its own choice, and returns what it was.
fn set_local_ports(pod: &Pod, range: &str) -> Result<String> {
    const FILE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
    pod.netns().run(&["sh", "-c", &format!("cat {FILE}; echo {range} >{FILE}")])
}

/// Servers that stand still, as when their CPU quota is used up. Dropped, they go on.
struct Stopped<'a>(&'a ClusterDns);

impl<'a> Stopped<'a> {
    fn stop(dns: &'a ClusterDns) -> Result<Self> {
        let stopped = Self(dns);
        stopped.signal(Signal::SIGSTOP)?;
        Ok(stopped)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let mut servers = self.0.servers.iter();
        servers.try_for_each(|server| Ok(kill(Pid::from_raw(server.pid().cast_signed()), signal)?))
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.signal(Signal::SIGCONT) {
            eprintln!("the DNS servers still stand: {error:#}");
        }
    }
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
        kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGINT)?;
        let status = self.0.wait()?;
        ensure!(status.success(), "dnstrace ended with {status}");
        println!();
        Ok(())
    }
}

fn say(line: &str) {
    println!("\n# {line}");
}
