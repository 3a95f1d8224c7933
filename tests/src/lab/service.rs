//! Services: a stable address before a changing set of endpoints.

use std::{net::IpAddr, sync::Arc};

use anyhow::Result;

use super::{kube_proxy::KubeProxy, node::Node};

/// Transport of a Service port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Udp,
    Tcp,
}

impl Protocol {
    /// As iptables and kube-proxy spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

/// One port of a Service; the endpoints listen on `target`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    pub name: &'static str,
    pub protocol: Protocol,
    pub port: u16,
    pub target: u16,
}

/// How a rule chooses among the endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// kube-proxy's own way.
    Random,
    /// In turn, so that a test knows who gets what: the second packet of a pair goes to the second endpoint.
    RoundRobin,
}

/// What a Service is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSpec {
    pub namespace: String,
    pub name: String,
    /// At most one of each family; a family without one gets no rules.
    pub cluster_ips: Vec<IpAddr>,
    pub ports: Vec<ServicePort>,
    /// Addresses of pods, of both families.
    pub endpoints: Vec<IpAddr>,
    pub balance: Balance,
}

impl ServiceSpec {
    /// `kube-system/kube-dns` with its usual addresses and the ports `dns` and `dns-tcp`.
    pub fn kube_dns(endpoints: Vec<IpAddr>) -> Self {
        Self {
            namespace: "kube-system".into(),
            name: "kube-dns".into(),
            cluster_ips: vec![super::CLUSTER_DNS.into(), super::CLUSTER_DNS6.into()],
            ports: vec![
                ServicePort { name: "dns", protocol: Protocol::Udp, port: 53, target: 53 },
                ServicePort { name: "dns-tcp", protocol: Protocol::Tcp, port: 53, target: 53 },
            ],
            endpoints,
            balance: Balance::Random,
        }
    }
}

/// A Service that the node's kube-proxy has rules for. Dropped, the rules go.
#[derive(Debug)]
pub struct Service {
    proxy: Arc<KubeProxy>,
    key: (String, String),
}

impl Service {
    /// Makes the Service known to the node.
    pub fn create(node: &Node, spec: ServiceSpec) -> Result<Self> {
        let key = (spec.namespace.clone(), spec.name.clone());
        node.proxy().update(|services| {
            services.retain(|other| (&other.namespace, &other.name) != (&key.0, &key.1));
            services.push(spec);
        })?;
        Ok(Self { proxy: Arc::clone(node.proxy()), key })
    }

    /// Replaces its endpoints. Connection tracking entries of the old ones stay, as after a kube-proxy that missed
    /// its clean-up; [`super::counters::flush_conntrack`] does that clean-up.
    pub fn set_endpoints(&self, endpoints: Vec<IpAddr>) -> Result<()> {
        self.change(|spec| spec.endpoints = endpoints)
    }

    /// Changes how it chooses among its endpoints.
    pub fn set_balance(&self, balance: Balance) -> Result<()> {
        self.change(|spec| spec.balance = balance)
    }

    fn change(&self, change: impl FnOnce(&mut ServiceSpec)) -> Result<()> {
        self.proxy.update(|services| {
            if let Some(spec) = services.iter_mut().find(|spec| self.is(spec)) {
                change(spec);
            }
        })
    }

    fn is(&self, spec: &ServiceSpec) -> bool {
        (&spec.namespace, &spec.name) == (&self.key.0, &self.key.1)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Err(error) = self.proxy.update(|services| services.retain(|spec| !self.is(spec))) {
            eprintln!("Service {}/{} was not removed: {error:#}", self.key.0, self.key.1);
        }
    }
}
