//! What is loaded into the kernel after dnstrace has started.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use super::{
    Bench, Test,
    fates::proof::{list, words},
    tracer::Tracer,
};
use crate::lab::clients::dig;

pub const TESTS: &[Test] =
    &[Test::core("connection tracking that is loaded after the start is watched", connection_tracking)];

/// Starts a trace before the node is made, whose rules need connection tracking.
pub fn start() -> Result<Tracer> {
    ensure!(!Path::new("/sys/module/nf_conntrack").exists(), "connection tracking is there already");
    Tracer::start(&["-o", "json"])
}

fn connection_tracking(bench: &Bench) -> Result<()> {
    let early = bench.early.lock().ok().and_then(|mut early| early.take());
    let tracer = early.context("no early trace")??;
    dig(&bench.lab.cart, "cart", &["+short", "late.test.cluster.local"])?.success()?;
    dig(&bench.lab.cart, "cart", &["+short", "+tcp", "late-tcp.test.cluster.local"])?.success()?;
    let said = tracer.end(Signal::SIGINT)?;
    ensure!(said.status.success() && said.stderr.contains("nothing was lost"), "{}", said.stderr);
    ensure!(said.stderr.contains("nf_conntrack"), "{}", said.stderr);
    let lines = said.lines()?;
    for name in ["late.test.cluster.local.", "late-tcp.test.cluster.local."] {
        let mut queries = lines.asked_by("dig").filter(|query| query["qname"] == name);
        let query = queries.next().with_context(|| format!("no query for {name}"))?;
        let attempt = &query["attempts"][0];
        let steps: Vec<_> = list(&attempt["steps"]).map(words).collect();
        ensure!(steps == ["conntrack inserted"] && attempt["endpoint"].is_string(), "{query}");
    }
    Ok(())
}
