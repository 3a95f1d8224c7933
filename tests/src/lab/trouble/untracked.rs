//! A DNS server on the node whose packets are kept out of connection tracking, as NodeLocal DNSCache has it.

use anyhow::{Result, ensure};

use super::Stage;
use crate::lab::{
    NODE_IP,
    clients::AskRun,
    dns_server::Serve,
    pod::{Pod, PodOptions},
    rules::{NftTable, Place},
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
