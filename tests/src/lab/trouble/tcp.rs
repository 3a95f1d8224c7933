//! TCP connections that cannot be opened, or end while a query waits, and segments that are lost on the way.

use std::{net::Ipv4Addr, thread};

use anyhow::{Context, Result, ensure};

use super::{Server, Stage, full_name};
use crate::lab::{
    clients::{Client, Talk, dig},
    dns_server::Serve,
    iptables::Family,
    pod::{Pod, PodOptions, ResolvConf},
    rules::{IptablesRule, NftTable, Place, Routes, Sysctl},
};

/// A host of TEST-NET-3: the node's default route leads there, no server is behind it.
const fn far(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(203, 0, 113, host)
}

pub const DROP: Ipv4Addr = far(11);
pub const TCP_RESET: Ipv4Addr = far(12);
pub const PORT_UNREACHABLE: Ipv4Addr = far(13);
pub const NO_ROUTE: Ipv4Addr = far(14);

/// What stands in the way of the pod's connections. Dropped, it is gone.
#[derive(Debug)]
pub struct Obstacles<'a> {
    _iptables: [IptablesRule; 3],
    _routes: Routes<'a>,
    _icmp: Sysctl,
    by_name: Server,
    deaf: Server,
}

impl<'a> Obstacles<'a> {
    /// Puts them up.
    pub fn put_up(stage: Stage<'a>) -> Result<Self> {
        let rule = |rule: String| IptablesRule::insert(&stage.lab.node, Family::V4, &rule);
        Ok(Self {
            _iptables: [
                rule(format!("FORWARD -p tcp -d {DROP} -j DROP"))?,
                rule(format!("FORWARD -p tcp -d {TCP_RESET} -j REJECT --reject-with tcp-reset"))?,
                rule(format!("FORWARD -p tcp -d {PORT_UNREACHABLE} -j REJECT"))?,
            ],
            _routes: Routes::add(Place::Netns(stage.pod().netns()), &[&format!("unreachable {NO_ROUTE}")])?,
            _icmp: Sysctl::set("net/ipv4/icmp_ratelimit", "0")?,
            by_name: stage.server_by_name("tcp")?,
            deaf: stage.servers("deaf", 1, &["--deaf"])?.remove(0),
        })
    }

    /// Runs into all of them at once; each connection has a port of its own.
    pub fn all_at_once(&self, stage: Stage) -> Result<()> {
        let (by_name, deaf) = (self.by_name.pod.ip, self.deaf.pod.ip);
        let cases = [
            Case::opening("40150", stage.lab.web.ip, "ECONNREFUSED"),
            Case::opening("40151", DROP, "EINPROGRESS"),
            Case::opening("40152", TCP_RESET, "ECONNREFUSED"),
            Case::opening("40153", PORT_UNREACHABLE, "ECONNREFUSED"),
            Case::opening("40154", NO_ROUTE, "EHOSTUNREACH"),
            Case::asking("40160", by_name, &["send:{reset-tcp}/A", "answers:1"], Some("ECONNRESET")),
            Case::asking("40161", by_name, &["send:{close-tcp}/A", "answers:1"], Some("ENODATA")),
            Case::asking("40162", by_name, &["send:{silent-tcp}/A", "answers:1"], Some("EAGAIN")),
            Case::asking("40163", by_name, &["send:{silent-aborted}/A", "sleep:300", "reset"], None),
            // One answered, one still waited for when the RST comes.
            Case::asking(
                "40164",
                by_name,
                &[
                    "send:{well-first}/A",
                    "answers:1",
                    "send:{silent-second}/A",
                    "send:{reset-third}/A",
                    "answers:1",
                ],
                Some("ECONNRESET"),
            ),
            // The kernel takes one connection that nobody accepts.
            Case::asking("40165", deaf, &["send:{never-accepted}/A", "answers:1"], Some("EAGAIN")),
        ];
        thread::scope(|scope| {
            let running = cases.map(|case| scope.spawn(move || case.run(stage)));
            running.into_iter().try_for_each(|thread| thread.join().ok().context("a talk's thread died")?)
        })?;
        // And no second one.
        Case::opening("40155", deaf, "EINPROGRESS").run(stage)
    }

    /// The server that does what names say, and one that never accepts a connection.
    pub fn servers(&self) -> [Ipv4Addr; 2] {
        [self.by_name.pod.ip, self.deaf.pod.ip]
    }
}

/// A connection and how it must end for its client.
struct Case<'a> {
    port: &'a str,
    server: Ipv4Addr,
    steps: Vec<&'a str>,
    error: Option<&'a str>,
}

impl<'a> Case<'a> {
    /// It cannot be opened.
    fn opening(port: &'a str, server: Ipv4Addr, error: &'a str) -> Self {
        Self { port, server, steps: vec!["connect"], error: Some(error) }
    }

    /// It is opened.
    fn asking(port: &'a str, server: Ipv4Addr, steps: &[&'a str], error: Option<&'a str>) -> Self {
        Self { port, server, steps: [&["connect"], steps].concat(), error }
    }

    fn run(self, stage: Stage) -> Result<()> {
        let options = ["--source-port", self.port, "--timeout-ms", "1600"];
        let talk = stage.talk(&options, self.server, &self.steps)?;
        let tried = talk.steps.len() == self.steps.len();
        ensure!(tried && talk.error() == self.error, "not {:?}: {talk:?}", self.error);
        Ok(())
    }
}

/// A rule that drops the first packet of a kind and no other.
fn once<'a>(name: &str, what: &str) -> Result<NftTable<'a>> {
    let body = format!(
        "chain c {{ type filter hook forward priority 0; {what} limit rate 1/hour burst 1 packets drop; }}"
    );
    NftTable::load(Place::Node, name, &body)
}

/// Segments that are lost once and sent again: a SYN, a query, an answer. All is answered in the end.
pub fn lost_once(stage: Stage) -> Result<Ipv4Addr> {
    let server = stage.server_by_name("lossy")?;
    let address = server.pod.ip;
    let ask = |port: &str, name: &str| -> Result<Talk> {
        let talk = stage.talk(
            &["--source-port", port],
            address,
            &["connect", &format!("send:{{{name}}}/A"), "answers:1", "close"],
        )?;
        ensure!(talk.error().is_none() && talk.answers.len() == 1, "{talk:?}");
        Ok(talk)
    };
    let _rules = [
        once("lostsyn", "tcp sport 40170 tcp flags & (syn | ack) == syn")?,
        once("lostquery", "tcp sport 40171 tcp flags & psh == psh")?,
        once("lostanswer", "tcp dport 40172 tcp flags & psh == psh")?,
    ];
    thread::scope(|scope| {
        let running = [("40170", "syn-lost"), ("40171", "query-lost"), ("40172", "answer-lost")]
            .map(|(port, name)| scope.spawn(move || ask(port, name)));
        running
            .into_iter()
            .try_for_each(|thread| thread.join().ok().context("a talk's thread died")?.map(drop))
    })?;
    Ok(address)
}

/// Servers that cut their answers over UDP short, one of which does not serve TCP.
#[derive(Debug)]
pub struct Truncating {
    // Dropped in this order.
    asker: Pod,
    _serves: [Serve; 2],
    pods: Vec<Pod>,
}

impl Truncating {
    /// Starts them, and a pod whose resolver asks the first of them.
    pub fn start(stage: Stage) -> Result<Self> {
        let node = &stage.lab.node;
        let specs = ["cut-0", "cut-1"].map(|name| ("faults", name, PodOptions::default()));
        let pods = Pod::start_all(node, &specs)?;
        let serves =
            [Serve::start(&pods[0], &["--truncate"])?, Serve::start(&pods[1], &["--truncate", "--no-tcp"])?];
        let resolv_conf =
            ResolvConf { nameservers: vec![pods[0].ip.into()], search: Vec::new(), options: Vec::new() };
        let options = PodOptions { resolv_conf: Some(resolv_conf), ..PodOptions::default() };
        Ok(Self { asker: Pod::start(node, "shop", "cut-asker", &options)?, _serves: serves, pods })
    }

    /// Its pod's name.
    pub fn asker(&self) -> &str {
        &self.asker.name
    }

    /// dig and glibc ask again over TCP; musl takes what it got. One dig's first SYN is lost, another one's server does
    /// not listen.
    pub fn ask(&self, stage: Stage) -> Result<()> {
        let at = |index: usize| format!("@{}", self.pods[index].ip);
        let dig = |port: &str, at: &str, name: &str, args: &[&str]| {
            let source = format!("0.0.0.0#{port}");
            dig(stage.pod(), "cart", &[&["-b", &source, at, &full_name(name)], args].concat())
        };
        dig("40180", &at(0), "cut", &[])?.success()?;
        let lookup = |client| {
            let name = format!(
                "{}.",
                full_name(if client == Client::LookupGlibc { "cut-glibc" } else { "cut-musl" })
            );
            stage.clients.lookup(&self.asker, "app", client, &[&name])
        };
        let glibc = lookup(Client::LookupGlibc)?;
        ensure!(glibc.tally.resolved == 1, "{glibc:?}");
        lookup(Client::LookupMusl)?;
        let refused = dig("40181", &at(1), "cut-refused", &["+tries=1"])?;
        ensure!(refused.stdout.contains("connection refused"), "{refused:?}");
        let _rule = once("lostsyn", "tcp sport 40182 tcp flags & (syn | ack) == syn")?;
        let slow = dig("40182", &at(0), "cut-syn-lost", &[])?.success()?;
        ensure!(slow.stdout.contains("status: NOERROR"), "{slow:?}");
        Ok(())
    }
}
