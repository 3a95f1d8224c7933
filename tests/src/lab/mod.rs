//! A small Kubernetes-shaped node and real DNS traffic in it.
//!
//! A [`node::Node`] is the network namespace the lab starts in: bridge, forwarding, kube-proxy's rules. A
//! [`pod::Pod`] has the cgroups, namespaces, address and log files that a kubelet and its runtime would give it, and
//! runs programs. A [`service::Service`] puts a ClusterIP before pods.
//!
//! Everything is undone when it is dropped. Nothing here knows dnstrace.

use std::net::{Ipv4Addr, Ipv6Addr};

pub mod by_hand;
pub mod cgroup;
pub mod clients;
pub mod conntrack_table;
pub mod containerd;
pub mod counters;
pub mod default_lab;
pub mod dns_server;
pub mod enter;
pub mod ipam;
pub mod iptables;
pub mod kube_proxy;
pub mod names;
pub mod netns;
pub mod node;
pub mod packet_queue;
pub mod pod;
pub mod process;
pub mod rules;
pub mod service;
pub mod trouble;
pub mod zone;

/// The bridge of the node's pods.
pub const BRIDGE: &str = "cni0";
/// The bridge's own address: the pods' gateway.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 1);
pub const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x244, 1, 0, 0, 0, 0, 1);
/// Where the pods of all nodes live.
pub const CLUSTER_CIDR: &str = "10.244.0.0/16";
pub const CLUSTER_CIDR6: &str = "fd00:244::/32";
/// The node's address on `eth0`.
pub const NODE_IP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
pub const NODE_IP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 10);
/// The node's neighbour and default gateway.
pub const WORLD_IP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub const WORLD_IP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// ClusterIP of the cluster DNS.
pub const CLUSTER_DNS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
pub const CLUSTER_DNS6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, 0xa);
