//! The end-to-end suite: a Kubernetes-shaped node with real DNS traffic in it, and what dnstrace must say of it.
//!
//! [`lab`] builds the node, [`check`] examines it, [`suite`] runs dnstrace in it, [`demo`] shows it,
//! [`bench`] measures what it costs; [`api_server`] is a small Kubernetes API server, [`serve`] the DNS server that
//! misbehaves on request, [`multicast`] a host that speaks mDNS; [`pty`] is a terminal whose screen a test can read.

pub mod api_server;
pub mod bench;
pub mod check;
pub mod demo;
pub mod lab;
pub mod multicast;
pub mod pty;
pub mod serve;
pub mod suite;
