//! Troubles of DNS made on purpose, each one sure to happen and held against the kernel's own counters.
//!
//! The pod in trouble is `shop/cart-7d4f`. Each question's name says what befalls it, so that whoever looks on can tell
//! them apart: `NAME.fate.test.cluster.local`, which the cluster DNS would answer.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use anyhow::Result;

use super::{
    clients::{AskRun, Asking, Clients},
    default_lab::Lab,
    dns_server::Serve,
    pod::{Pod, PodOptions},
    service::{Balance, Protocol, Service, ServicePort, ServiceSpec},
};

pub mod conntrack;
pub mod drops;
pub mod sockets;
pub mod stream;
pub mod table;
pub mod tcp;
pub mod ways;

/// Below it are the names of all questions in trouble.
pub const DOMAIN: &str = "fate.test.cluster.local";

/// Where troubles are made.
#[derive(Debug, Clone, Copy)]
pub struct Stage<'a> {
    pub lab: &'a Lab,
    pub clients: &'a Clients,
}

impl<'a> Stage<'a> {
    /// The pod in trouble.
    pub fn pod(self) -> &'a Pod {
        &self.lab.cart
    }

    /// A port of the pod in trouble.
    pub fn client(self, port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(self.pod().ip, port)
    }

    /// An endpoint of the cluster DNS.
    pub fn endpoint(self, index: usize) -> SocketAddrV4 {
        SocketAddrV4::new(self.lab.dns.pods[index].ip, 53)
    }

    /// Has the pod in trouble ask.
    fn ask(self, args: &[&str], questions: &[(&str, &str, Ipv4Addr)]) -> Result<AskRun> {
        self.start_ask(args, questions)?.result()
    }

    fn start_ask(self, args: &[&str], questions: &[(&str, &str, Ipv4Addr)]) -> Result<Asking> {
        let questions: Vec<_> = questions
            .iter()
            .map(|(name, kind, server)| format!("{}/{kind}@{server}", full_name(name)))
            .collect();
        let args: Vec<_> = args.iter().copied().chain(questions.iter().map(String::as_str)).collect();
        self.clients.start_ask(self.pod(), "cart", &args)
    }

    /// A Service of its own before endpoints of its own, chosen in turn.
    fn service(self, cluster_ip: Ipv4Addr, endpoints: &[Ipv4Addr]) -> Result<Service> {
        Service::create(
            &self.lab.node,
            ServiceSpec {
                namespace: "faults".into(),
                name: format!("dns-{}", cluster_ip.octets()[3]),
                cluster_ips: vec![cluster_ip.into()],
                ports: vec![ServicePort { name: "dns", protocol: Protocol::Udp, port: 53, target: 53 }],
                endpoints: endpoints.iter().map(|address| IpAddr::from(*address)).collect(),
                balance: Balance::RoundRobin,
            },
        )
    }

    /// Pods `faults/NAME-0`, `faults/NAME-1`, with a server in each that misbehaves as told.
    fn servers(self, name: &str, count: usize, args: &[&str]) -> Result<Vec<Server>> {
        let names: Vec<_> = (0..count).map(|index| format!("{name}-{index}")).collect();
        let specs: Vec<_> =
            names.iter().map(|name| ("faults", name.as_str(), PodOptions::default())).collect();
        let pods = Pod::start_all(&self.lab.node, &specs)?;
        pods.into_iter().map(|pod| Ok(Server { serve: Serve::start(&pod, args)?, pod })).collect()
    }
}

/// The name of a question in trouble, without a final dot.
pub fn full_name(name: &str) -> String {
    format!("{name}.{DOMAIN}")
}

/// A server that misbehaves.
#[derive(Debug)]
pub struct Server {
    // Dropped in this order.
    pub serve: Serve,
    pub pod: Pod,
}
