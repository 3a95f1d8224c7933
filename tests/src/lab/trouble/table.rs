//! A conntrack table without room.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};

use anyhow::{Result, ensure};

use super::Stage;
use crate::lab::{
    CLUSTER_DNS, WORLD_IP,
    clients::AskRun,
    conntrack_table::{Entry, FullTable, counted},
    counters::{ConntrackStats, Snmp},
    process::run,
    rules::{Place, Sysctl},
};

/// How often a flow is tried before it must have met the victim: a full table is searched in 8 of its buckets, which
/// are 512 or more, and an entry is in two.
const TRIALS: usize = 16_384;
/// Number of buckets of the node's table while a victim is looked for: the fewest that the kernel makes.
const BUCKETS: &str = "512";

/// A full table whose entries all stay, one of them that of `healthy`, a client of the cluster DNS.
#[derive(Debug)]
pub struct Full {
    // Dropped first.
    pub table: FullTable,
    _entries: Vec<Entry<'static>>,
}

/// Fills the node's table; what is under way meanwhile loses its entry.
pub fn full_table(stage: Stage, healthy: SocketAddrV4) -> Result<Full> {
    let dns = SocketAddrV4::new(CLUSTER_DNS, 53);
    let (table, entries) = FullTable::filled(|| {
        let mut entries = vec![Entry::assured(Place::Node, (healthy, dns), stage.endpoint(0))?];
        entries.extend(fillers(stage)?);
        Ok(entries)
    })?;
    Ok(Full { table, _entries: entries })
}

/// Two questions for which the full table has no room.
pub fn no_room(stage: Stage) -> Result<(AskRun, ConntrackStats)> {
    let questions = [("table-full-a", "A", CLUSTER_DNS), ("table-full-aaaa", "AAAA", CLUSTER_DNS)];
    let (run, stats) = counted(|| stage.ask(&["--source-port", "40110", "--timeout-ms", "500"], &questions))?;
    ensure!((stats.drop, stats.early_drop, stats.insert_failed) == (2, 0, 0), "{stats:?}");
    ensure!(run.answered() == 0 && run.questions[0].sends == [None], "{run:?}");
    Ok((run, stats))
}

/// A query that waits for a slow server while its entry is thrown out for another flow's sake.
#[derive(Debug)]
pub struct Evicted {
    pub run: AskRun,
    pub client: SocketAddrV4,
    pub cluster_ip: Ipv4Addr,
    pub endpoint: SocketAddrV4,
}

/// The answer comes when there is room again, but nothing is left to translate it back.
pub fn evicted(stage: Stage) -> Result<Evicted> {
    let cluster_ip = Ipv4Addr::new(10, 96, 0, 58);
    let mut slow = stage.servers("evict", 1, &["--delay-ms", "2000"])?;
    let slow = slow.remove(0);
    let _service = stage.service(cluster_ip, &[slow.pod.ip])?;
    let (client, endpoint) = (stage.client(40_111), SocketAddrV4::new(slow.pod.ip, 53));
    let before = Snmp::of(stage.pod().netns())?;
    let _buckets = Sysctl::set("net/netfilter/nf_conntrack_buckets", BUCKETS)?;
    let args = ["--source-port", "40111", "--connect", "--timeout-ms", "3000"];
    let (table, (asking, _fillers)) = FullTable::filled(|| {
        let fillers = fillers(stage)?;
        let asking = stage.start_ask(&args, &[("evicted", "A", cluster_ip)])?;
        wait_for_entry(client)?;
        Ok((asking, fillers))
    })?;
    let ((), stats) = counted(push_in)?;
    ensure!(stats.early_drop == 1, "{stats:?}");
    drop(table);
    let run = asking.result()?;
    ensure!(run.answered() == 0 && run.strangers == 0, "{run:?}");
    ensure!(Snmp::of(stage.pod().netns())?.since(&before, "Udp.NoPorts")? == 1, "the answer found a port");
    ensure!(slow.serve.stop()?.answers == 1);
    Ok(Evicted { run, client, cluster_ip, endpoint })
}

/// Entries of long, busy flows that no full table throws out.
fn fillers(stage: Stage) -> Result<Vec<Entry<'static>>> {
    let to = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 9), 4500);
    (1..=3).map(|port| Entry::assured(Place::Node, (stage.client(port), to), to)).collect()
}

fn wait_for_entry(client: SocketAddrV4) -> Result<()> {
    let (source, port) = (client.ip().to_string(), client.port().to_string());
    for _ in 0..500 {
        let found = run(&["conntrack", "-L", "-p", "udp", "-s", &source, "--sport", &port])?;
        if !found.trim().is_empty() {
            return Ok(());
        }
    }
    anyhow::bail!("{client} has no conntrack entry")
}

/// Starts flows until one gets in.
fn push_in() -> Result<()> {
    for _ in 0..TRIALS {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        // A port that no tracer of DNS looks at: discard.
        if socket.send_to(b"push", (WORLD_IP, 9)).is_ok() {
            return Ok(());
        }
    }
    anyhow::bail!("no entry was thrown out for any of {TRIALS} flows")
}
