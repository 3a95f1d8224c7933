//! Queries that die at rules, routes, neighbours and closed ports, on the node and at home.

use std::net::Ipv4Addr;

use anyhow::{Result, ensure};

use super::{Server, Stage};
use crate::lab::{
    CLUSTER_DNS, WORLD_IP,
    clients::{AskRun, Asking, dig},
    dns_server::Serve,
    iptables::Family,
    pod::Pod,
    rules::{IptablesRule, NftTable, Place, Routes, Sysctl},
};

/// A host of TEST-NET-2: the node's default route leads there, no server is behind it.
const fn far(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, 100, host)
}

/// On the node's own link, and nobody's.
pub const NOBODY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);
/// A Service without endpoints.
pub const NO_ENDPOINTS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 59);

pub const IPTABLES_DROP: Ipv4Addr = far(11);
pub const NFT_DROP: Ipv4Addr = far(12);
pub const NODE_REJECT: Ipv4Addr = far(13);
pub const NODE_BLACKHOLE: Ipv4Addr = far(14);
pub const NODE_UNREACHABLE: Ipv4Addr = far(15);
pub const NODE_PROHIBIT: Ipv4Addr = far(16);
pub const OWN_DROP: Ipv4Addr = far(17);
pub const OWN_REJECT: Ipv4Addr = far(18);
pub const OWN_BLACKHOLE: Ipv4Addr = far(19);
pub const OWN_UNREACHABLE: Ipv4Addr = far(20);
pub const OWN_PROHIBIT: Ipv4Addr = far(21);
pub const OWN_NO_ROUTE: Ipv4Addr = far(22);

/// Everything that stands in the way of the pod's queries. Dropped, it is gone.
#[derive(Debug)]
pub struct Obstacles<'a> {
    _iptables: [IptablesRule; 2],
    _nft: [NftTable<'a>; 2],
    _routes: [Routes<'a>; 2],
    _service: crate::lab::service::Service,
    /// Or the node would fall silent after a few ICMP errors to the pod.
    _icmp: [Sysctl; 2],
    silent: Server,
    _world: Serve,
}

impl<'a> Obstacles<'a> {
    /// Puts them up; only the pod in trouble meets them.
    pub fn put_up(stage: Stage<'a>) -> Result<Self> {
        let node = &stage.lab.node;
        let pod = Place::Netns(stage.pod().netns());
        Ok(Self {
            _iptables: [
                IptablesRule::insert(
                    node,
                    Family::V4,
                    &format!("FORWARD -p udp -d {IPTABLES_DROP} -j DROP"),
                )?,
                IptablesRule::insert(
                    node,
                    Family::V4,
                    &format!("FORWARD -p udp -d {NODE_REJECT} -j REJECT"),
                )?,
            ],
            _nft: [
                NftTable::load(
                    Place::Node,
                    "obstacle",
                    &format!("chain f {{ type filter hook forward priority 0; ip daddr {NFT_DROP} drop; }}"),
                )?,
                NftTable::load(
                    pod,
                    "obstacle",
                    &format!(
                        "chain o {{ type filter hook output priority 0;
                           ip daddr {OWN_DROP} drop
                           ip daddr {OWN_REJECT} reject
                         }}"
                    ),
                )?,
            ],
            _routes: [
                Routes::add(
                    Place::Node,
                    &[
                        &format!("blackhole {NODE_BLACKHOLE}"),
                        &format!("unreachable {NODE_UNREACHABLE}"),
                        &format!("prohibit {NODE_PROHIBIT}"),
                    ],
                )?,
                Routes::add(
                    pod,
                    &[
                        &format!("blackhole {OWN_BLACKHOLE}"),
                        &format!("unreachable {OWN_UNREACHABLE}"),
                        &format!("prohibit {OWN_PROHIBIT}"),
                        &format!("throw {OWN_NO_ROUTE}"),
                    ],
                )?,
            ],
            _service: stage.service(NO_ENDPOINTS, &[])?,
            _icmp: [
                Sysctl::set("net/ipv4/icmp_ratelimit", "0")?,
                Sysctl::set("net/ipv4/route/error_cost", "0")?,
            ],
            silent: stage.servers("silent", 1, &["--silent"])?.remove(0),
            _world: Serve::start_in_world(node, &["--listen", &format!("{WORLD_IP}:53")])?,
        })
    }

    /// The pod that takes queries and never answers.
    pub fn silent(&self) -> &Pod {
        &self.silent.pod
    }

    /// Runs into all of them by one sendmmsg of one socket; two of the questions are answered.
    pub fn all_at_once(&self, stage: Stage) -> Result<AskRun> {
        let questions = [
            ("well-in-cluster", "A", CLUSTER_DNS),
            ("iptables-drop", "A", IPTABLES_DROP),
            ("nft-drop", "A", NFT_DROP),
            ("node-reject", "A", NODE_REJECT),
            ("node-blackhole", "A", NODE_BLACKHOLE),
            ("node-unreachable", "A", NODE_UNREACHABLE),
            ("node-prohibit", "A", NODE_PROHIBIT),
            ("no-neighbour", "A", NOBODY),
            ("own-drop", "A", OWN_DROP),
            ("own-reject", "A", OWN_REJECT),
            ("own-blackhole", "A", OWN_BLACKHOLE),
            ("own-unreachable", "A", OWN_UNREACHABLE),
            ("own-prohibit", "A", OWN_PROHIBIT),
            ("own-no-route", "A", OWN_NO_ROUTE),
            ("no-endpoints", "A", NO_ENDPOINTS),
            ("no-listener", "A", stage.lab.web.ip),
            ("silent", "A", self.silent().ip),
            ("well-in-world", "A", WORLD_IP),
        ];
        let run = stage.ask(&["--source-port", "40120", "--timeout-ms", "4500"], &questions)?;
        let sends =
            |name: &str| Ok::<_, anyhow::Error>(run.question(&super::full_name(name))?.sends[0].as_deref());
        for (name, _, _) in questions {
            let expected = match name {
                "own-drop" | "own-reject" => Some("EPERM"),
                "own-blackhole" => Some("EINVAL"),
                "own-unreachable" => Some("EHOSTUNREACH"),
                "own-prohibit" => Some("EACCES"),
                "own-no-route" => Some("ENETUNREACH"),
                _ => None,
            };
            ensure!(sends(name)? == expected, "{name}: {run:?}");
            let is_well = run.question(&super::full_name(name))?.rcode == Some(0);
            ensure!(is_well == name.starts_with("well-"), "{name}: {run:?}");
        }
        ensure!(run.receive_errors.is_empty() && run.strangers == 0, "{run:?}");
        Ok(run)
    }

    /// Runs into those that answer with ICMP by a connected socket, which hears of it.
    pub fn connected(&self, stage: Stage) -> Result<Vec<AskRun>> {
        let rejections = [
            ("connected-reject", NODE_REJECT, [None, Some("ECONNREFUSED")]),
            ("connected-no-endpoints", NO_ENDPOINTS, [None, Some("ECONNREFUSED")]),
            ("connected-no-listener", stage.lab.web.ip, [None, Some("ECONNREFUSED")]),
            ("connected-prohibit", NODE_PROHIBIT, [None, Some("EHOSTUNREACH")]),
            ("connected-own-reject", OWN_REJECT, [Some("EPERM"), Some("ECONNREFUSED")]),
        ];
        rejections
            .into_iter()
            .map(|(name, server, [send, receive])| {
                let run = stage.ask(&["--connect", "--timeout-ms", "300"], &[(name, "A", server)])?;
                ensure!(run.questions[0].sends[0].as_deref() == send, "{run:?}");
                ensure!(run.receive_errors.first().map(String::as_str) == receive, "{run:?}");
                Ok(run)
            })
            .collect()
    }
}

/// Over IPv6: a rule, a closed port, and nothing in the way.
pub fn over_ipv6(stage: Stage) -> Result<()> {
    let (pod, lab) = (stage.pod(), stage.lab);
    let (dropped, well) = (lab.dns.pods[0].ip6, lab.dns.pods[1].ip6);
    let rule = format!("FORWARD -p udp -s {} -d {dropped} -j DROP", pod.ip6);
    let _rule = IptablesRule::insert(&lab.node, Family::V6, &rule)?;
    let questions = [
        ("v6-drop", dropped, "timed out"),
        ("v6-no-listener", lab.web.ip6, "refused"),
        ("v6-well", well, "NOERROR"),
    ];
    for (name, server, expected) in questions {
        let server = format!("@{server}");
        let output = dig(pod, "cart", &[&server, "+tries=1", "+time=1", &super::full_name(name)])?;
        ensure!(output.stdout.contains(expected), "{name}: {output:?}");
    }
    Ok(())
}

/// On a node that does not forward, what leaves the bridge dies, and so does what is translated; a pod that asks
/// another of the node by its own address is well.
pub fn not_forwarding(stage: Stage) -> Result<()> {
    let (endpoint, web) = (stage.endpoint(0), &stage.lab.web);
    let _off = Sysctl::set("net/ipv4/ip_forward", "0")?;
    let questions = [("not-forwarded", "A", WORLD_IP), ("not-translated", "A", CLUSTER_DNS)];
    let run = stage.ask(&["--source-port", "40121", "--timeout-ms", "500"], &questions)?;
    let sends = run.questions.iter().flat_map(|question| &question.sends);
    ensure!(run.answered() == 0 && sends.flatten().count() == 0, "{run:?}");
    let question = format!("{}/A@{}", super::full_name("well-on-the-bridge"), endpoint.ip());
    let run = stage.clients.ask(web, "web", &[&question])?;
    ensure!(run.answered() == 1, "{run:?}");
    Ok(())
}

/// The pod in trouble and `shop/web-0` ask the same questions at once, from the same port with the same ids; a rule
/// drops those of the pod in trouble.
pub fn one_of_twins(stage: Stage, pairs: usize) -> Result<()> {
    let (sick, well) = (stage.pod(), &stage.lab.web);
    let _rule = IptablesRule::insert(
        &stage.lab.node,
        Family::V4,
        &format!("FORWARD -p udp -s {} --sport 40130 -j DROP", sick.ip),
    )?;
    let (copies, question) = (pairs.to_string(), format!("{}/A@{CLUSTER_DNS}", super::full_name("twin")));
    let args = ["--source-port", "40130", "--first-id", "7000", "--copies", &copies, &question];
    let asking =
        [stage.clients.start_ask(sick, "cart", &args)?, stage.clients.start_ask(well, "web", &args)?];
    let [sick, well] = asking.map(Asking::result);
    let (sick, well) = (sick?, well?);
    ensure!(sick.answered() == 0 && well.answered() == pairs, "{sick:?} {well:?}");
    Ok(())
}
