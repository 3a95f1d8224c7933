//! The usual cast: two client pods, and a cluster DNS of two pods behind its ClusterIP.

use std::net::IpAddr;

use anyhow::Result;

use super::{
    cgroup::{CgroupDriver, Qos, Runtime},
    dns_server::Unbound,
    node::Node,
    pod::{Pod, PodOptions},
    service::{Service, ServiceSpec},
    zone::Zone,
};

/// The cluster DNS: pods `kube-system/coredns-...`, a server in each, and the Service `kube-dns`.
#[derive(Debug)]
pub struct ClusterDns {
    // Dropped in this order: rules, servers, pods.
    pub service: Service,
    pub servers: Vec<Unbound>,
    pub pods: Vec<Pod>,
}

impl ClusterDns {
    /// Starts as many replicas as asked for; each answers by itself when this returns.
    pub fn start(node: &Node, replicas: usize, zone: &Zone) -> Result<Self> {
        let pods = coredns_pods(node, replicas)?;
        let servers = Unbound::start_all(&pods, zone)?;
        let service = Service::create(node, ServiceSpec::kube_dns(endpoints(&pods)))?;
        Ok(Self { service, servers, pods })
    }
}

/// Pods for the cluster DNS, with nothing running in them yet.
pub fn coredns_pods(node: &Node, replicas: usize) -> Result<Vec<Pod>> {
    // The suffixes of a ReplicaSet's pods are five of these letters.
    const LETTERS: [char; 5] = ['x', 'k', 'p', 'z', 'v'];
    (0..replicas)
        .map(|index| {
            let letter = LETTERS[index % LETTERS.len()];
            let name = format!("coredns-5d78c9869d-{letter}2{}bt", index / LETTERS.len());
            let options = PodOptions { containers: vec!["coredns".into()], ..PodOptions::default() };
            Pod::start(node, "kube-system", &name, &options)
        })
        .collect()
}

/// The addresses of pods in both families, as a Service's endpoints.
pub fn endpoints(pods: &[Pod]) -> Vec<IpAddr> {
    pods.iter().flat_map(|pod| [pod.ip.into(), pod.ip6.into()]).collect()
}

/// The default lab.
#[derive(Debug)]
pub struct Lab {
    // Dropped in this order: what stands on the node goes before the node.
    /// `shop/cart-7d4f`, a container `cart` and a sidecar `proxy`.
    pub cart: Pod,
    /// `shop/web-0`, a container `web`, with the cgroupfs driver and CRI-O's names.
    pub web: Pod,
    pub dns: ClusterDns,
    pub node: Node,
}

impl Lab {
    /// Builds it on a node.
    pub fn start(node: Node) -> Result<Self> {
        let dns = ClusterDns::start(&node, 2, &Zone::cluster())?;
        let cart = PodOptions { containers: vec!["cart".into(), "proxy".into()], ..PodOptions::default() };
        let cart = Pod::start(&node, "shop", "cart-7d4f", &cart)?;
        let web = PodOptions {
            driver: CgroupDriver::Cgroupfs,
            runtime: Runtime::Crio,
            qos: Qos::BestEffort,
            containers: vec!["web".into()],
            ..PodOptions::default()
        };
        let web = Pod::start(&node, "shop", "web-0", &web)?;
        Ok(Self { cart, web, dns, node })
    }

    /// All its pods.
    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        [&self.cart, &self.web].into_iter().chain(&self.dns.pods)
    }
}
