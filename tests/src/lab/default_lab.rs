//! The usual cast: two client pods, and a cluster DNS of two pods behind its ClusterIP.

use std::net::IpAddr;

use anyhow::{Context, Result};

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
        let pods = (0..replicas).map(coredns_pod).collect::<Vec<_>>();
        let specs = pods.iter().map(|(name, options)| ("kube-system", name.as_str(), options.clone()));
        Self::start_in(node, Pod::start_all(node, &specs.collect::<Vec<_>>())?, zone)
    }

    /// Runs a server in each of these pods and puts the Service before them.
    pub fn start_in(node: &Node, pods: Vec<Pod>, zone: &Zone) -> Result<Self> {
        let mut servers = pods.iter().map(|pod| Unbound::launch(pod, zone)).collect::<Result<Vec<_>>>()?;
        let service = Service::create(node, ServiceSpec::kube_dns(endpoints(&pods)))?;
        for (server, pod) in servers.iter_mut().zip(&pods) {
            server.wait_until_it_answers(pod)?;
        }
        Ok(Self { service, servers, pods })
    }
}

/// The name and options of a replica's pod.
fn coredns_pod(index: usize) -> (String, PodOptions) {
    // The suffixes of a ReplicaSet's pods are five characters like these.
    const LETTERS: [char; 5] = ['x', 'k', 'p', 'z', 'v'];
    let name = format!("coredns-5d78c9869d-{}{}bt4", LETTERS[index % LETTERS.len()], index / LETTERS.len());
    (name, PodOptions { containers: vec!["coredns".into()], ..PodOptions::default() })
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
        let cart = PodOptions { containers: vec!["cart".into(), "proxy".into()], ..PodOptions::default() };
        let web = PodOptions {
            driver: CgroupDriver::Cgroupfs,
            runtime: Runtime::Crio,
            qos: Qos::BestEffort,
            containers: vec!["web".into()],
            ..PodOptions::default()
        };
        let (first, second) = (coredns_pod(0), coredns_pod(1));
        let mut pods = Pod::start_all(
            &node,
            &[
                ("kube-system", &first.0, first.1),
                ("kube-system", &second.0, second.1),
                ("shop", "cart-7d4f", cart),
                ("shop", "web-0", web),
            ],
        )?;
        let (web, cart) = (pods.pop().context("no web pod")?, pods.pop().context("no cart pod")?);
        let dns = ClusterDns::start_in(&node, pods, &Zone::cluster())?;
        Ok(Self { cart, web, dns, node })
    }

    /// All its pods.
    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        [&self.cart, &self.web].into_iter().chain(&self.dns.pods)
    }
}
