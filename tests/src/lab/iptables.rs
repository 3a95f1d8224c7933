//! kube-proxy's rules in iptables mode, chain by chain as it writes them, for `iptables-restore`.

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    CLUSTER_CIDR, CLUSTER_CIDR6,
    names::chain_hash,
    service::{Balance, Protocol, ServicePort, ServiceSpec},
};

/// The address family that a rule set is for: each has its own tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    fn has(self, address: IpAddr) -> bool {
        address.is_ipv4() == (self == Self::V4)
    }

    /// Where the cluster's pods live.
    fn cluster_cidr(self) -> &'static str {
        match self {
            Self::V4 => CLUSTER_CIDR,
            Self::V6 => CLUSTER_CIDR6,
        }
    }

    /// Where groups of hosts are; no network plugin masquerades what goes there.
    fn multicast(self) -> &'static str {
        match self {
            Self::V4 => "224.0.0.0/4",
            Self::V6 => "ff00::/8",
        }
    }

    /// The prefix length of a single address.
    fn host_bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }
}

/// The rules that stand whatever Services there are: the jumps into kube-proxy's chains, its masquerading, and the
/// network plugin's masquerading of what leaves the cluster. To be loaded once, without flushing.
pub fn base_rules(family: Family) -> String {
    let (cidr, multicast) = (family.cluster_cidr(), family.multicast());
    format!(
        "*filter
:KUBE-SERVICES - [0:0]
:KUBE-FORWARD - [0:0]
-A FORWARD -m comment --comment \"kubernetes forwarding rules\" -j KUBE-FORWARD
-A FORWARD -m conntrack --ctstate NEW -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
*nat
:KUBE-SERVICES - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-MASQ - [0:0]
-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A OUTPUT -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment \"kubernetes postrouting rules\" -j KUBE-POSTROUTING
-A POSTROUTING -d {multicast} -m comment --comment \"cni multicast\" -j RETURN
-A POSTROUTING -s {cidr} ! -d {cidr} -m comment --comment \"cni egress\" -j MASQUERADE --random-fully
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -m comment --comment \"kubernetes service traffic requiring SNAT\" -j MASQUERADE --random-fully
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
COMMIT
"
    )
}

/// A rule set that replaces what an earlier one said of Services.
#[derive(Debug, PartialEq, Eq)]
pub struct ServiceRules {
    /// For `iptables-restore --noflush`.
    pub text: String,
    /// The chains it fills besides `KUBE-SERVICES`: what is not among them next time must be deleted then.
    pub chains: BTreeSet<String>,
}

/// The rules for the Services of one family. `stale` are chains of the rule set before: emptied and deleted.
pub fn service_rules(family: Family, services: &[ServiceSpec], stale: &BTreeSet<String>) -> ServiceRules {
    let mut rules = Rules { family, chains: BTreeSet::new(), nat: String::new(), filter: String::new() };
    for service in services {
        if let Some(cluster_ip) = service.cluster_ips.iter().find(|address| family.has(**address)) {
            for port in &service.ports {
                rules.add(service, port, *cluster_ip);
            }
        }
    }
    rules.finish(stale)
}

#[derive(Debug)]
struct Rules {
    family: Family,
    chains: BTreeSet<String>,
    nat: String,
    filter: String,
}

impl Rules {
    fn add(&mut self, service: &ServiceSpec, port: &ServicePort, cluster_ip: IpAddr) {
        let protocol = port.protocol.name();
        let portal = format!("{}/{}:{}", service.namespace, service.name, port.name);
        let destination = format!(
            "-m {protocol} -p {protocol} -d {cluster_ip}/{} --dport {}",
            self.family.host_bits(),
            port.port
        );
        let endpoints: Vec<_> =
            service.endpoints.iter().filter(|address| self.family.has(**address)).collect();
        if endpoints.is_empty() {
            self.filter_rule(&format!(
                "KUBE-SERVICES -m comment --comment \"{portal} has no endpoints\" {destination} -j REJECT"
            ));
            return;
        }
        let chain = self.chain(&format!("KUBE-SVC-{}", chain_hash(&format!("{portal}{protocol}"))));
        self.nat_rule(&format!(
            "KUBE-SERVICES -m comment --comment \"{portal} cluster IP\" {destination} -j {chain}"
        ));
        self.nat_rule(&format!(
            "{chain} -m comment --comment \"{portal} cluster IP\" {destination} ! -s {} -j KUBE-MARK-MASQ",
            self.family.cluster_cidr()
        ));
        for (index, endpoint) in endpoints.iter().enumerate() {
            let left = endpoints.len() - index;
            let endpoint_chain = self.endpoint(&portal, port.protocol, **endpoint, port.target);
            self.nat_rule(&format!("{chain} {}-j {endpoint_chain}", choice(service.balance, left)));
        }
    }

    /// The chain that sends a connection to one endpoint.
    fn endpoint(&mut self, portal: &str, protocol: Protocol, endpoint: IpAddr, target: u16) -> String {
        let name = protocol.name();
        let socket = std::net::SocketAddr::new(endpoint, target);
        let chain = self.chain(&format!("KUBE-SEP-{}", chain_hash(&format!("{portal}{name}{socket}"))));
        // A pod that is its own endpoint must not see its own address as the peer.
        self.nat_rule(&format!("{chain} -s {endpoint}/{} -j KUBE-MARK-MASQ", self.family.host_bits()));
        self.nat_rule(&format!("{chain} -m {name} -p {name} -j DNAT --to-destination {socket}"));
        chain
    }

    fn chain(&mut self, name: &str) -> String {
        self.chains.insert(name.to_owned());
        name.to_owned()
    }

    fn nat_rule(&mut self, rule: &str) {
        self.nat.push_str("-A ");
        self.nat.push_str(rule);
        self.nat.push('\n');
    }

    fn filter_rule(&mut self, rule: &str) {
        self.filter.push_str("-A ");
        self.filter.push_str(rule);
        self.filter.push('\n');
    }

    fn finish(self, stale: &BTreeSet<String>) -> ServiceRules {
        let Self { chains, nat, filter, .. } = self;
        // With --noflush, declaring a chain empties it.
        let declared: String = chains.union(stale).map(|chain| format!(":{chain} - [0:0]\n")).collect();
        let deleted: String = stale.difference(&chains).map(|chain| format!("-X {chain}\n")).collect();
        let text = format!(
            "*filter\n:KUBE-SERVICES - [0:0]\n{filter}COMMIT\n\
             *nat\n:KUBE-SERVICES - [0:0]\n{declared}{nat}{deleted}COMMIT\n"
        );
        ServiceRules { text, chains }
    }
}

/// The match that picks the first of `left` endpoints its fair share of times; empty for the last one.
fn choice(balance: Balance, left: usize) -> String {
    match (balance, left) {
        (_, 0 | 1) => String::new(),
        (Balance::Random, _) => {
            format!("-m statistic --mode random --probability {:.10} ", 1.0 / left as f64)
        }
        (Balance::RoundRobin, _) => format!("-m statistic --mode nth --every {left} --packet 0 "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kube_dns(endpoints: &[&str]) -> ServiceSpec {
        ServiceSpec::kube_dns(endpoints.iter().map(|text| text.parse().unwrap()).collect())
    }

    fn rules(text: &str, chain: &str) -> Vec<String> {
        let start = format!("-A {chain} ");
        text.lines().filter_map(|line| line.strip_prefix(&start)).map(str::to_owned).collect()
    }

    #[test]
    fn two_endpoints_share_the_udp_port_evenly() {
        let made = service_rules(Family::V4, &[kube_dns(&["10.244.1.4", "10.244.1.5"])], &BTreeSet::new());
        let chain = rules(&made.text, "KUBE-SVC-TCOU7JCQXEZGVUNU");
        assert_eq!(chain.len(), 3);
        assert!(chain[1].starts_with("-m statistic --mode random --probability 0.5000000000 -j KUBE-SEP-"));
        assert!(chain[2].starts_with("-j KUBE-SEP-"));
        let endpoint = chain[2].strip_prefix("-j ").unwrap();
        assert_eq!(
            rules(&made.text, endpoint),
            ["-s 10.244.1.5/32 -j KUBE-MARK-MASQ", "-m udp -p udp -j DNAT --to-destination 10.244.1.5:53"]
        );
        // Two Service chains and two endpoint chains of each.
        assert_eq!(made.chains.len(), 6);
    }

    #[test]
    fn a_family_without_endpoints_is_rejected() {
        let made = service_rules(Family::V6, &[kube_dns(&["10.244.1.4"])], &BTreeSet::new());
        assert!(made.text.contains(
            "\"kube-system/kube-dns:dns has no endpoints\" -m udp -p udp -d fd00:96::a/128 --dport 53 -j REJECT"
        ));
        assert!(made.chains.is_empty());
    }

    #[test]
    fn an_endpoint_of_ipv6_is_written_in_brackets() {
        let made = service_rules(Family::V6, &[kube_dns(&["fd00:244:1::4"])], &BTreeSet::new());
        assert!(made.text.contains("--to-destination [fd00:244:1::4]:53"));
    }

    #[test]
    fn chains_of_endpoints_that_left_are_deleted() {
        let before = service_rules(Family::V4, &[kube_dns(&["10.244.1.4", "10.244.1.5"])], &BTreeSet::new());
        let after = service_rules(Family::V4, &[kube_dns(&["10.244.1.4"])], &before.chains);
        let deleted = after.text.lines().filter(|line| line.starts_with("-X KUBE-SEP-")).count();
        assert_eq!(deleted, 2);
        for chain in before.chains.difference(&after.chains) {
            assert!(
                after.text.contains(&format!(":{chain} - [0:0]")),
                "{chain} must be empty before it is deleted"
            );
        }
    }

    #[test]
    fn round_robin_sends_the_second_packet_to_the_second_endpoint() {
        let mut service = kube_dns(&["10.244.1.4", "10.244.1.5"]);
        service.balance = Balance::RoundRobin;
        let made = service_rules(Family::V4, &[service], &BTreeSet::new());
        let chain = rules(&made.text, "KUBE-SVC-TCOU7JCQXEZGVUNU");
        assert!(chain[1].starts_with("-m statistic --mode nth --every 2 --packet 0 -j "));
    }
}
