//! Queries that reach their server in ways of their own.

use std::{net::Ipv4Addr, time::Duration};

use anyhow::{Result, ensure};

use super::{
    super::{Bench, Test},
    SICK,
    proof::{Proof, all},
    traced,
};
use crate::lab::trouble::ways::{self, OTHER_PORT};

pub const TESTS: &[Test] =
    &[Test::new("fates of queries past conntrack and to other ports", past_conntrack_and_to_other_ports)];

fn past_conntrack_and_to_other_ports(bench: &Bench) -> Result<()> {
    let (proof, endpoint) = traced(bench, Duration::from_secs(1), |stage| {
        ways::past_conntrack(stage)?;
        ways::to_another_port(stage)
    })?;
    all([past_conntrack(&proof), to_another_port(&proof, endpoint)])
}

fn past_conntrack(proof: &Proof) -> Result<()> {
    proof.attempt(SICK, "untracked", "answered", &["conntrack untracked"]).map(drop)
}

/// Behind the translation, none of the packet's ports is one that is watched.
fn to_another_port(proof: &Proof, endpoint: Ipv4Addr) -> Result<()> {
    let attempt = proof.attempt(SICK, "other-port", "answered", &["conntrack inserted"])?;
    let seen = (&attempt["endpoint"], &attempt["endpoint_port"]);
    ensure!(seen == (&endpoint.to_string().into(), &OTHER_PORT.into()), "{attempt}");
    let dropped = ["drop query NETFILTER_DROP nft_do_chain|nf_hook_slow FORWARD"];
    proof.attempt(SICK, "other-port-dropped", "dropped", &dropped).map(drop)
}
