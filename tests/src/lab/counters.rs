//! The kernel's own counts, to hold a tracer's against; and the connection tracking table.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

use super::{
    netns::Holder,
    process::{command, finish, run},
};

/// Connection tracking statistics of one network namespace, summed over its CPUs (`conntrack -S`).
/// Kernels before 5.10 or so lack the last two: they stay 0.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct ConntrackStats {
    pub found: u64,
    pub invalid: u64,
    /// Counts insertions by netlink only.
    pub insert: u64,
    pub insert_failed: u64,
    pub drop: u64,
    pub early_drop: u64,
    pub error: u64,
    pub search_restart: u64,
    pub clash_resolve: u64,
    pub chaintoolong: u64,
}

impl ConntrackStats {
    /// Those of the node.
    pub fn of_node() -> Result<Self> {
        Self::parse(&run(&["conntrack", "-S"])?)
    }

    /// Those of a pod's network namespace, or of any other.
    pub fn of(holder: &Holder) -> Result<Self> {
        Self::parse(&holder.run(&["conntrack", "-S"])?)
    }

    /// What was counted since `earlier`.
    pub fn since(self, mut earlier: Self) -> Self {
        let mut difference = self;
        for ((_, later), (_, earlier)) in difference.fields().into_iter().zip(earlier.fields()) {
            *later = later.saturating_sub(*earlier);
        }
        difference
    }

    fn parse(text: &str) -> Result<Self> {
        let mut stats = Self::default();
        for field in text.split_whitespace() {
            let (name, value) = field.split_once('=').with_context(|| format!("not a counter: {field:?}"))?;
            let value: u64 = value.parse().with_context(|| format!("not a number: {field:?}"))?;
            if let Some((_, sum)) = stats.fields().into_iter().find(|(known, _)| *known == name) {
                *sum += value;
            }
        }
        Ok(stats)
    }

    fn fields(&mut self) -> [(&'static str, &mut u64); 10] {
        [
            ("found", &mut self.found),
            ("invalid", &mut self.invalid),
            ("insert", &mut self.insert),
            ("insert_failed", &mut self.insert_failed),
            ("drop", &mut self.drop),
            ("early_drop", &mut self.early_drop),
            ("error", &mut self.error),
            ("search_restart", &mut self.search_restart),
            ("clash_resolve", &mut self.clash_resolve),
            ("chaintoolong", &mut self.chaintoolong),
        ]
    }
}

/// How many entries the node's table holds, those without an answer included.
pub fn conntrack_count() -> Result<u64> {
    Ok(run(&["conntrack", "-C"])?.trim().parse()?)
}

/// Deletes the node's UDP entries whose original destination is this address, as kube-proxy does when an endpoint
/// leaves. Returns how many there were.
pub fn flush_conntrack(original_destination: std::net::IpAddr) -> Result<u64> {
    let family = if original_destination.is_ipv4() { "ipv4" } else { "ipv6" };
    let mut command = command("conntrack");
    command.args(["-D", "-f", family, "-p", "udp", "-d", &original_destination.to_string()]);
    let output = finish(command, "")?;
    // "conntrack v1.4.7 (conntrack-tools): 2 flow entries have been deleted."; with none it also exits with 1.
    let count = output.stderr.rsplit_once("): ").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
    match count {
        Some(count) => Ok(count),
        None => bail!("{}: {}", output.command, output.stderr),
    }
}

/// Protocol counters of a network namespace by name: `Udp.RcvbufErrors`, `Udp6.InDatagrams`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snmp(BTreeMap<String, i64>);

impl Snmp {
    /// Those of a pod's network namespace, or of any other.
    pub fn of(holder: &Holder) -> Result<Self> {
        Self::parse(&holder.proc_net("snmp")?, &holder.proc_net("snmp6")?)
    }

    /// Those of the node.
    pub fn of_node() -> Result<Self> {
        let read = |file: &str| std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"));
        Self::parse(&read("/proc/net/snmp")?, &read("/proc/net/snmp6")?)
    }

    /// A counter's value; an error if the kernel has none of that name.
    pub fn get(&self, name: &str) -> Result<i64> {
        self.0.get(name).copied().with_context(|| format!("the kernel has no counter {name}"))
    }

    /// What a counter grew by since `earlier`.
    pub fn since(&self, earlier: &Self, name: &str) -> Result<i64> {
        Ok(self.get(name)? - earlier.get(name)?)
    }

    fn parse(snmp: &str, snmp6: &str) -> Result<Self> {
        let mut counters = BTreeMap::new();
        let mut lines = snmp.lines();
        // Pairs of lines: the names, then their values, each after the protocol's name.
        while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
            let (protocol, names) = names.split_once(": ").context("no protocol in snmp")?;
            let (_, values) = values.split_once(": ").context("no values in snmp")?;
            for (name, value) in names.split_whitespace().zip(values.split_whitespace()) {
                counters.insert(format!("{protocol}.{name}"), value.parse()?);
            }
        }
        for line in snmp6.lines() {
            let (name, value) = line.split_once(char::is_whitespace).context("no value in snmp6")?;
            let (protocol, name) = name.split_once('6').context("no protocol in snmp6")?;
            counters.insert(format!("{protocol}6.{name}"), value.trim().parse()?);
        }
        Ok(Self(counters))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conntrack_statistics_are_summed_over_cpus() {
        let text = "cpu=0   \tfound=1 invalid=2 insert=0 insert_failed=3 drop=4 early_drop=0 error=0 \
                    search_restart=5 clash_resolve=6 chaintoolong=0 \n\
                    cpu=1   \tfound=10 invalid=0 insert=0 insert_failed=1 drop=0 early_drop=0 error=0 \
                    search_restart=0 clash_resolve=1 chaintoolong=2 \n";
        let stats = ConntrackStats::parse(text).unwrap();
        assert_eq!((stats.found, stats.insert_failed, stats.clash_resolve), (11, 4, 7));
        let later = ConntrackStats { found: 15, ..stats };
        assert_eq!(later.since(stats), ConntrackStats { found: 4, ..ConntrackStats::default() });
    }

    #[test]
    fn protocol_counters_of_both_families_are_read() {
        let snmp =
            "Udp: InDatagrams NoPorts RcvbufErrors\nUdp: 12 1 45\nTcp: RtoAlgorithm MaxConn\nTcp: 1 -1\n";
        let snmp6 = "Ip6InReceives                   \t12\nUdp6NoPorts                     \t3\n";
        let counters = Snmp::parse(snmp, snmp6).unwrap();
        assert_eq!(counters.get("Udp.RcvbufErrors").unwrap(), 45);
        assert_eq!(counters.get("Tcp.MaxConn").unwrap(), -1);
        assert_eq!(counters.get("Udp6.NoPorts").unwrap(), 3);
        assert!(counters.get("Udp.Nothing").is_err());
    }
}
