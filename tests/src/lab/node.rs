//! The node itself: the initial network namespace of the VM, made to look like a Kubernetes worker.

use std::{fs, path::Path, sync::Arc};

use anyhow::{Context, Result};

use super::{
    BRIDGE, GATEWAY, GATEWAY6, NODE_IP, NODE_IP6, WORLD_IP, WORLD_IP6,
    cgroup::Hierarchies,
    ipam::Ipam,
    kube_proxy::KubeProxy,
    netns::{Holder, HolderOptions, ip},
    process::{Process, command, run_with_input},
};

/// What the node needs of the kernel. One that is built in, or that a kernel lacks, is no error here: its use tells.
const MODULES: &[&str] = &[
    "veth",
    "bridge",
    "br_netfilter",
    "nf_conntrack",
    "nf_conntrack_netlink",
    "nf_nat",
    "nf_tables",
    "nft_compat",
    "nft_chain_nat",
    "xt_conntrack",
    "xt_statistic",
    "xt_comment",
    "xt_MASQUERADE",
    "xt_nat",
    "xt_mark",
    "ipt_REJECT",
    "ip6t_REJECT",
];

/// The bridge's own, as the CNI plugin sets it: otherwise the bridge takes the lowest of its ports', another one whenever
/// pods come and go, and pods send to the one before for as long as they remember it.
const BRIDGE_MAC: &str = "0a:58:0a:f4:01:01";

/// Settings of every Kubernetes node: it forwards, and bridged packets pass iptables, without which an answer from
/// an endpoint to a pod of the same node would keep the endpoint's address.
const SYSCTLS: &[(&str, &str)] = &[
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv6/conf/all/forwarding", "1"),
    ("net/bridge/bridge-nf-call-iptables", "1"),
    ("net/bridge/bridge-nf-call-ip6tables", "1"),
];

/// A node with a bridge for its pods, kube-proxy's base rules and a neighbour called the world.
/// Dropped, it takes its interfaces and rules away.
#[derive(Debug)]
pub struct Node {
    hierarchies: Hierarchies,
    world: Holder,
    proxy: Arc<KubeProxy>,
    ipam: Arc<Ipam>,
}

impl Node {
    /// Turns the current network namespace into a node. Needs root, and a namespace with no interface but `lo`.
    pub fn new() -> Result<Self> {
        Self::with_hierarchies(Hierarchies::detect_or_mount()?)
    }

    /// As [`Self::new`], with cgroup hierarchies of the caller's choice.
    pub fn with_hierarchies(hierarchies: Hierarchies) -> Result<Self> {
        load_modules()?;
        let world = Holder::start(&HolderOptions::default())?;
        ip(&format!(
            "link set lo up\n\
             link add {BRIDGE} type bridge\n\
             link set {BRIDGE} address {BRIDGE_MAC} up\n\
             addr add {GATEWAY}/24 dev {BRIDGE}\n\
             addr add {GATEWAY6}/64 dev {BRIDGE} nodad\n\
             link add eth0 type veth peer name eth0 netns {pid}\n\
             link set eth0 up\n\
             addr add {NODE_IP}/24 dev eth0\n\
             addr add {NODE_IP6}/64 dev eth0 nodad\n\
             route add default via {WORLD_IP}\n\
             route add ::/0 via {WORLD_IP6}\n",
            pid = world.pid(),
        ))?;
        world.ip(&format!(
            "link set lo up\n\
             link set eth0 up\n\
             addr add {WORLD_IP}/24 dev eth0\n\
             addr add {WORLD_IP6}/64 dev eth0 nodad\n"
        ))?;
        for (name, value) in SYSCTLS {
            set_sysctl(name, value)?;
        }
        let proxy = Arc::new(KubeProxy::start()?);
        Ok(Self { hierarchies, world, proxy, ipam: Arc::default() })
    }

    /// The cgroup hierarchies that its pods live in.
    pub fn hierarchies(&self) -> &Hierarchies {
        &self.hierarchies
    }

    /// What programs its Services.
    pub fn proxy(&self) -> &Arc<KubeProxy> {
        &self.proxy
    }

    /// The namespace at the other end of the node's `eth0`: for upstream servers and clients outside the cluster.
    pub fn world(&self) -> &Holder {
        &self.world
    }

    pub(super) fn ipam(&self) -> &Arc<Ipam> {
        &self.ipam
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Err(error) = ip(&format!("link del {BRIDGE}\nlink del eth0\n")) {
            eprintln!("the node's interfaces were not removed: {error:#}");
        }
    }
}

/// Writes a sysctl, named by its path below `/proc/sys`, in the node's network namespace.
pub fn set_sysctl(name: &str, value: &str) -> Result<()> {
    let path = Path::new("/proc/sys").join(name);
    fs::write(&path, value).with_context(|| format!("cannot set {}", path.display()))
}

/// Loads nftables rules on the node, beside what iptables holds.
pub fn nft(rules: &str) -> Result<()> {
    run_with_input(&["nft", "-f", "-"], rules).map(drop)
}

fn load_modules() -> Result<()> {
    let mut modprobe = command("modprobe");
    modprobe.arg("-a").args(MODULES);
    match Process::start(modprobe) {
        Ok(process) => process.wait().map(drop),
        // A kernel with everything built in needs no such program.
        Err(_) => Ok(()),
    }
}
