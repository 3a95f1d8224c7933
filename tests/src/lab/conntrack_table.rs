//! Entries put into a connection tracking table by hand, and a table made to be full.

use std::net::SocketAddrV4;

use anyhow::{Result, ensure};

use super::{
    counters::{ConntrackStats, conntrack_count},
    process::run,
    rules::{Place, Sysctl},
};

/// A UDP entry made by hand: it lives for a minute, or until it is dropped.
#[derive(Debug)]
pub struct Entry<'a> {
    place: Place<'a>,
    original: (SocketAddrV4, SocketAddrV4),
}

impl<'a> Entry<'a> {
    /// An entry from one address to another, translated to `endpoint`: what a NEW packet to a ClusterIP leaves.
    pub fn translated(
        place: Place<'a>,
        original: (SocketAddrV4, SocketAddrV4),
        endpoint: SocketAddrV4,
    ) -> Result<Self> {
        Self::insert(place, original, &["--dst-nat", &endpoint.to_string()])
    }

    /// As [`Self::translated`], and answered for so long that a full table does not throw it out.
    pub fn assured(
        place: Place<'a>,
        original: (SocketAddrV4, SocketAddrV4),
        endpoint: SocketAddrV4,
    ) -> Result<Self> {
        Self::insert(place, original, &["--dst-nat", &endpoint.to_string(), "-u", "ASSURED,SEEN_REPLY"])
    }

    fn insert(place: Place<'a>, original: (SocketAddrV4, SocketAddrV4), options: &[&str]) -> Result<Self> {
        let entry = Self { place, original };
        entry.conntrack("-I", &[options, &["-t", "60"]].concat())?;
        Ok(entry)
    }

    fn conntrack(&self, action: &str, options: &[&str]) -> Result<()> {
        let (from, to) = self.original;
        let [source, destination] = [from.ip().to_string(), to.ip().to_string()];
        let [sport, dport] = [from.port().to_string(), to.port().to_string()];
        let flow = ["-p", "udp", "-s", &source, "-d", &destination, "--sport", &sport, "--dport", &dport];
        self.place.run(&[&["conntrack", action], &flow[..], options].concat(), "").map(drop)
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        // An error means that it is gone already.
        let _ = self.conntrack("-D", &[]);
    }
}

/// Empties the node's table. A flow whose entry is still there from the last time makes none, and nothing befalls it.
pub fn empty() -> Result<()> {
    run(&["conntrack", "-F"]).map(drop)
}

/// The node's table with room for no further entry.
#[derive(Debug)]
pub struct FullTable {
    /// The greatest number of entries now allowed.
    pub max: u64,
    _limit: Sysctl,
}

impl FullTable {
    /// Empties the table, has `fill` put entries into it, and allows no more than there are then.
    pub fn filled<T>(fill: impl FnOnce() -> Result<T>) -> Result<(Self, T)> {
        empty()?;
        let filled = fill()?;
        let max = conntrack_count()?;
        ensure!(max > 0, "a limit of 0 would be no limit");
        Ok((Self { max, _limit: Sysctl::set("net/netfilter/nf_conntrack_max", &max.to_string())? }, filled))
    }
}

/// What the node's connection tracking counted while `happening` took place.
pub fn counted<T>(happening: impl FnOnce() -> Result<T>) -> Result<(T, ConntrackStats)> {
    let before = ConntrackStats::of_node()?;
    let happened = happening()?;
    Ok((happened, ConntrackStats::of_node()?.since(before)))
}
