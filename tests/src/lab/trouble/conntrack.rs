//! Clashes and failed insertions in connection tracking.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Context, Result, ensure};

use super::{Stage, full_name};
use crate::lab::{
    CLUSTER_DNS, GATEWAY, NODE_IP,
    clients::AskRun,
    conntrack_table::{Entry, counted},
    counters::{ConntrackStats, Snmp},
    packet_queue::PacketQueue,
    pod::{Pod, PodOptions},
    rules::{NftTable, Place},
};

/// A destination that nobody has: a flow to it exists only in the conntrack table.
pub const ELSEWHERE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 2), 53);

/// Two queries of one socket, ids 1 and 2 in this order, that clash in the node's conntrack.
#[derive(Debug)]
pub struct Clash {
    pub run: AskRun,
    pub client: SocketAddrV4,
    pub servers: [Ipv4Addr; 2],
    /// The endpoint that NAT chose for each.
    pub endpoints: [SocketAddrV4; 2],
    pub stats: ConntrackStats,
}

/// How a clash is made.
struct Recipe<'a> {
    port: u16,
    names: [&'a str; 2],
    servers: [Ipv4Addr; 2],
    args: &'a [&'a str],
}

impl Recipe<'_> {
    /// Holds both queries behind NAT, then lets one after the other go on.
    fn make(self, stage: Stage) -> Result<Clash> {
        let client = stage.client(self.port);
        let [first, second] = self.names;
        let questions = [(first, "A", self.servers[0]), (second, "AAAA", self.servers[1])];
        let port = self.port.to_string();
        // Told by `result`: its time-outs begin when its packets are on their way again.
        let args = [&["--until-told", "--source-port", &port], self.args].concat();
        let ((run, endpoints), stats) = counted(|| {
            let mut queue = PacketQueue::hold(client)?;
            let asking = stage.start_ask(&args, &questions)?;
            let held = queue.wait_for(2)?;
            queue.hold_no_more()?;
            queue.release_unseen(1)?;
            queue.release_unseen(2)?;
            let endpoint = |id| {
                let mut packets = held.iter().filter(|packet| packet.id == id);
                packets.next().map(|packet| packet.destination).context("no such packet was held")
            };
            Ok((asking.result()?, [endpoint(1)?, endpoint(2)?]))
        })?;
        Ok(Clash { run, client, servers: self.servers, endpoints, stats })
    }
}

/// Two ClusterIPs before one endpoint: both flows want its answers at the same port. The second is not inserted, is
/// sent again after a second, and gets through: the kernel gives it another port.
pub fn insertion_fails(stage: Stage) -> Result<Clash> {
    let servers = [Ipv4Addr::new(10, 96, 0, 53), Ipv4Addr::new(10, 96, 0, 54)];
    let endpoint = *stage.endpoint(0).ip();
    let _services = [stage.service(servers[0], &[endpoint])?, stage.service(servers[1], &[endpoint])?];
    let names = ["insert-winner", "insert-failed"];
    let clash = Recipe { port: 40_101, names, servers, args: &["--tries", "2", "--timeout-ms", "1200"] }
        .make(stage)?;
    ensure!(
        (clash.stats.insert_failed, clash.stats.drop, clash.stats.clash_resolve) == (1, 1, 0),
        "{clash:?}"
    );
    ensure!(clash.run.answered() == 2 && clash.run.questions[0].sends.len() == 2, "{clash:?}");
    ensure!(clash.endpoints == [stage.endpoint(0); 2], "{clash:?}");
    Ok(clash)
}

/// One ClusterIP, one endpoint: the two flows are the same, and the second packet is given to the first's entry.
pub fn clash_is_merged(stage: Stage) -> Result<Clash> {
    let servers = [Ipv4Addr::new(10, 96, 0, 55); 2];
    let _service = stage.service(servers[0], &[*stage.endpoint(0).ip()])?;
    let clash = Recipe { port: 40_102, names: ["merge-winner", "merged"], servers, args: &["--connect"] }
        .make(stage)?;
    ensure!(
        (clash.stats.insert_failed, clash.stats.drop, clash.stats.clash_resolve) == (0, 0, 1),
        "{clash:?}"
    );
    ensure!(clash.run.answered() == 2, "{clash:?}");
    Ok(clash)
}

/// One ClusterIP, two endpoints: the second packet gets an entry for its answers alone, for one second.
pub fn clash_is_resolved(stage: Stage) -> Result<Clash> {
    let servers = [Ipv4Addr::new(10, 96, 0, 56); 2];
    let _service = stage.service(servers[0], &[*stage.endpoint(0).ip(), *stage.endpoint(1).ip()])?;
    let clash = Recipe { port: 40_103, names: ["resolve-winner", "resolved"], servers, args: &["--connect"] }
        .make(stage)?;
    ensure!(
        (clash.stats.insert_failed, clash.stats.drop, clash.stats.clash_resolve) == (0, 0, 1),
        "{clash:?}"
    );
    ensure!(clash.run.answered() == 2 && clash.endpoints[0] != clash.endpoints[1], "{clash:?}");
    Ok(clash)
}

/// As [`clash_is_resolved`], with servers that need two seconds: the second's answer is not translated back, and
/// the client has no socket for what comes from an endpoint's address.
pub fn answer_outlives_the_clash(stage: Stage) -> Result<Clash> {
    let servers = [Ipv4Addr::new(10, 96, 0, 57); 2];
    let slow = stage.servers("slow", 2, &["--delay-ms", "2000"])?;
    let _service = stage.service(servers[0], &[slow[0].pod.ip, slow[1].pod.ip])?;
    let before = Snmp::of(stage.pod().netns())?;
    let args = &["--connect", "--timeout-ms", "3500"];
    let clash = Recipe { port: 40_104, names: ["late-winner", "late-loser"], servers, args }.make(stage)?;
    ensure!(
        (clash.stats.insert_failed, clash.stats.drop, clash.stats.clash_resolve) == (0, 0, 1),
        "{clash:?}"
    );
    let answered = clash.run.questions.iter().map(|question| question.rcode).collect::<Vec<_>>();
    ensure!(answered == [Some(0), None], "{clash:?}");
    let after = Snmp::of(stage.pod().netns())?;
    ensure!(after.since(&before, "Udp.NoPorts")? == 1, "the late answer found a port");
    for server in slow {
        ensure!(server.serve.stop()?.answers == 1);
    }
    Ok(clash)
}

/// A query and the entry that was in its way.
#[derive(Debug)]
pub struct Failed {
    pub run: AskRun,
    pub client: SocketAddrV4,
    pub server: SocketAddrV4,
    pub endpoint: SocketAddrV4,
    /// The winner's original direction.
    pub winner: (SocketAddrV4, SocketAddrV4),
}

/// Inside the pod's own namespace, which tracks connections: the sender is told.
pub fn insertion_fails_at_the_sender(stage: Stage) -> Result<Failed> {
    let (client, endpoint) = (stage.client(40_105), stage.endpoint(0));
    let netns = stage.pod().netns();
    let place = Place::Netns(netns);
    let _tracking = NftTable::load(
        place,
        "tracking",
        "chain output { type filter hook output priority 0; ct state established accept; }",
    )?;
    let winner = (client, ELSEWHERE);
    let _winner = Entry::translated(place, winner, endpoint)?;
    let before = ConntrackStats::of(netns)?;
    let args = ["--source-port", "40105", "--timeout-ms", "200"];
    let run = stage.ask(&args, &[("insert-failed-here", "A", *endpoint.ip())])?;
    let stats = ConntrackStats::of(netns)?.since(before);
    ensure!((stats.insert_failed, stats.drop) == (1, 1), "{stats:?}");
    ensure!(run.questions[0].sends == [Some("EPERM".to_owned())], "{run:?}");
    Ok(Failed { run, client, server: endpoint, endpoint, winner })
}

/// From a hostNetwork pod `kube-system/node-agent-c7v4q`, whose queries are masqueraded: the sender hears nothing.
pub fn insertion_fails_for_the_host(stage: Stage) -> Result<(Pod, Failed)> {
    let options = PodOptions { host_network: true, ..PodOptions::default() };
    let pod = Pod::start(&stage.lab.node, "kube-system", "node-agent-c7v4q", &options)?;
    let client = SocketAddrV4::new(NODE_IP, 40_106);
    let question = format!("{}/A@{CLUSTER_DNS}", full_name("insert-failed-host"));
    let args = ["--until-told", "--source-port", "40106", "--timeout-ms", "1000", &question];
    let ((run, endpoint, winner), stats) = counted(|| {
        let mut queue = PacketQueue::hold(client)?;
        let asking = stage.clients.start_ask(&pod, "app", &args)?;
        let held = queue.wait_for(1)?;
        let packet = held[0];
        ensure!(*packet.source.ip() == GATEWAY, "not masqueraded: {packet:?}");
        let winner = (packet.source, ELSEWHERE);
        let _winner = Entry::translated(Place::Node, winner, packet.destination)?;
        queue.release(1)?;
        Ok((asking.result()?, packet.destination, winner))
    })?;
    ensure!((stats.insert_failed, stats.drop) == (1, 1), "{stats:?}");
    ensure!(run.questions[0].sends == [None] && run.answered() == 0, "{run:?}");
    let server = SocketAddrV4::new(CLUSTER_DNS, 53);
    Ok((pod, Failed { run, client, server, endpoint, winner }))
}
