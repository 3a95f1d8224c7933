//! What became of every attempt: troubles made on purpose, beside healthy traffic, and what dnstrace says of each.

mod conntrack;
mod drops;
pub(super) mod proof;
mod resolvers;
mod sockets;
mod table;
mod tcp;
mod ways;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use self::proof::Proof;
use super::{Bench, NotMade, Test, tracer::Said};
use crate::lab::{CLUSTER_DNS, trouble::Stage};

/// All tests of fates.
pub fn tests() -> Vec<Test> {
    [conntrack::TESTS, table::TESTS, drops::TESTS, sockets::TESTS, resolvers::TESTS, ways::TESTS, tcp::TESTS]
        .concat()
}

/// The pod in trouble, and the one beside it that is well.
const SICK: &str = "cart-7d4f";
const WELL: &str = "web-0";
/// The port of the healthy client: one flow, which may have an entry of its own in a full table.
const WELL_PORT: u16 = 41_000;
/// Questions that it asks at a time.
const WELL_BULK: u64 = 10;

/// Traces all pods while `trouble` is made beside healthy traffic of another pod; then waits until no attempt is under
/// way any more. The healthy traffic must have remained healthy, and nothing may have been lost.
fn traced<T: Send>(
    bench: &Bench,
    timeout: Duration,
    trouble: impl FnOnce(Stage) -> Result<T> + Send,
) -> Result<(Proof, T)> {
    let seconds = format!("{}s", timeout.as_secs());
    let (lines, (asked, made)) = Said::lines_of(&["-A", "--timeout", &seconds], || {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let well = scope.spawn(|| ask_until(bench, &done));
            let made = trouble(Stage { lab: &bench.lab, clients: &bench.clients });
            done.store(true, Ordering::SeqCst);
            let asked = well.join().ok().context("the healthy client's thread died")?;
            thread::sleep(timeout + Duration::from_millis(200));
            Ok((asked?, made.context(NotMade)?))
        })
    })?;
    let proof = Proof::new(lines);
    proof.all_well(WELL, asked)?;
    Ok((proof, made))
}

/// As [`traced`], without traffic beside the trouble.
fn traced_alone<T>(
    bench: &Bench,
    timeout: Duration,
    trouble: impl FnOnce(Stage) -> Result<T>,
) -> Result<(Proof, T)> {
    let seconds = format!("{}s", timeout.as_secs());
    let (lines, made) = Said::lines_of(&["-A", "--timeout", &seconds], || {
        let made = trouble(Stage { lab: &bench.lab, clients: &bench.clients }).context(NotMade)?;
        thread::sleep(timeout + Duration::from_millis(200));
        Ok(made)
    })?;
    Ok((Proof::new(lines), made))
}

/// Asks the cluster DNS until `done`; returns how many questions were sent, which is how many were answered.
fn ask_until(bench: &Bench, done: &AtomicBool) -> Result<usize> {
    let well = bench.fewer(WELL_BULK);
    let (server, bulk, port) = (CLUSTER_DNS.to_string(), well.to_string(), WELL_PORT.to_string());
    let mut asked = 0;
    while !done.load(Ordering::SeqCst) || asked == 0 {
        let tag = format!("well-{asked}");
        let options = ["--server", &server, "--tag", &tag, "--bulk", &bulk, "--source-port", &port];
        let tally = bench.clients.sockets(&bench.lab.web, "web", &options)?;
        ensure!((tally.sent, tally.received) == (well, well), "the healthy client: {tally:?}");
        asked += usize::try_from(tally.sent)?;
        thread::sleep(Duration::from_millis(100));
    }
    Ok(asked)
}
