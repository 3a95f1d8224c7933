//! Servers that are reached in ways of their own: past connection tracking, as NodeLocal DNSCache is, or behind a Service
//! with another port.

use std::net::Ipv4Addr;

use anyhow::{Result, ensure};

use super::Stage;
use crate::lab::{
    NODE_IP,
    clients::AskRun,
    dns_server::Serve,
    pod::{Pod, PodOptions},
    rules::{NftTable, Place},
    service::{Balance, Protocol, Service, ServicePort, ServiceSpec},
};

/// The pod asks a server in a hostNetwork pod, past conntrack.
pub fn past_conntrack(stage: Stage) -> Result<AskRun> {
    let options = PodOptions { host_network: true, ..PodOptions::default() };
    let cache = Pod::start(&stage.lab.node, "kube-system", "node-local-dns-7xk2p", &options)?;
    // Bound to the address, as its answers must come from there.
    let _server = Serve::start(&cache, &["--listen", &format!("{NODE_IP}:53")])?;
    let chain = |name: &str, hook: &str, port: &str, address: &str| {
        format!(
            "chain {name} {{ type filter hook {hook} priority raw; ip {address} {NODE_IP} udp {port} 53 notrack; }}"
        )
    };
    let body =
        [chain("in", "prerouting", "dport", "daddr"), chain("out", "output", "sport", "saddr")].join("\n");
    let _rules = NftTable::load(Place::Node, "untracked", &body)?;
    let run = stage.ask(&["--timeout-ms", "5000"], &[("untracked", "A", NODE_IP)])?;
    ensure!(run.answered() == 1, "{run:?}");
    Ok(run)
}

/// The endpoint's port behind [`OTHER_PORT_IP`].
pub const OTHER_PORT: u16 = 5353;
/// A Service whose endpoint has another port than itself.
const OTHER_PORT_IP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 53);

/// The pod asks a Service on port 53 whose endpoint listens on another; then once more, when a rule drops what goes to
/// that endpoint. Returns the endpoint.
pub fn to_another_port(stage: Stage) -> Result<Ipv4Addr> {
    let pod = Pod::start(&stage.lab.node, "faults", "other-port-0", &PodOptions::default())?;
    let _server = Serve::start(&pod, &["--listen", &format!("[::]:{OTHER_PORT}")])?;
    let _service = Service::create(
        &stage.lab.node,
        ServiceSpec {
            namespace: "faults".into(),
            name: "dns-other-port".into(),
            cluster_ips: vec![OTHER_PORT_IP.into()],
            ports: vec![ServicePort { name: "dns", protocol: Protocol::Udp, port: 53, target: OTHER_PORT }],
            endpoints: vec![pod.ip.into()],
            balance: Balance::RoundRobin,
        },
    )?;
    let run = stage.ask(&["--timeout-ms", "5000"], &[("other-port", "A", OTHER_PORT_IP)])?;
    ensure!(run.answered() == 1, "{run:?}");
    let body = format!("chain c {{ type filter hook forward priority 0; udp dport {OTHER_PORT} drop; }}");
    let _rule = NftTable::load(Place::Node, "otherport", &body)?;
    let run = stage.ask(&["--timeout-ms", "500"], &[("other-port-dropped", "A", OTHER_PORT_IP)])?;
    ensure!(run.answered() == 0, "{run:?}");
    Ok(pod.ip)
}
