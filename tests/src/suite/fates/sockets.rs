//! Answers that come to a socket too many, too late, or unread.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::{
    super::{Bench, Test},
    SICK,
    proof::{Proof, all, list, words},
    traced,
};
use crate::lab::trouble::sockets::{self, BURST};

pub const TESTS: &[Test] = &[Test::core("fates of answers at their sockets", answers_at_their_sockets)];

/// How an answer dies that has no room in the receive buffer.
const FULL_BUFFER: &str = "drop answer SOCKET_RCVBUFF udp_queue_rcv_one_skb|__udp_enqueue_schedule_skb -";
/// How long an answer is left in the buffer.
const LINGER_MS: u32 = 300;

fn answers_at_their_sockets(bench: &Bench) -> Result<()> {
    let (proof, (overflow, lost)) = traced(bench, Duration::from_secs(3), |stage| {
        sockets::answer_after_the_client_closed(stage)?;
        sockets::answer_waits(stage, LINGER_MS)?;
        sockets::answer_is_never_read(stage)?;
        sockets::overflow(stage)
    })?;
    all([
        answered_late(&proof),
        waited_in_the_buffer(&proof),
        never_read(&proof),
        overflowed(&proof, overflow.answered(), lost),
    ])
}

fn answered_late(proof: &Proof) -> Result<()> {
    let steps = [
        "conntrack inserted",
        "icmp answer sent 3/3",
        "drop answer NO_SOCKET __udp4_lib_rcv|udp_rcv -",
        "icmp answer received 3/3",
    ];
    proof.attempt(SICK, "answered-late", "answered_late", &steps).map(drop)
}

fn waited_in_the_buffer(proof: &Proof) -> Result<()> {
    let attempt = proof.attempt(SICK, "waits-in-buffer", "answered", &["conntrack inserted"])?;
    let answer = &attempt["answer"];
    let waited = answer["socket_wait_ns"].as_u64().with_context(|| format!("waits-in-buffer: {attempt}"))?;
    // The client slept so long after it had seen the answer come.
    ensure!(waited >= u64::from(LINGER_MS) * 1_000_000, "waits-in-buffer: {waited}: {attempt}");
    ensure!(answer["latency_ns"].as_u64() > Some(waited), "waits-in-buffer: {attempt}");
    Ok(())
}

fn never_read(proof: &Proof) -> Result<()> {
    let steps = ["conntrack inserted", "drop answer * * - unread"];
    proof.attempt(SICK, "never-read", "answered_late", &steps).map(drop)
}

/// As many answers as the kernel counted died at the full buffer, and all others were read.
fn overflowed(proof: &Proof, answered: usize, lost: usize) -> Result<()> {
    let (mut seen_answered, mut seen_lost) = (0, 0);
    for index in 0..BURST {
        let query = proof.query(SICK, &format!("{index}-overflow"))?;
        let attempts: Vec<_> = list(&query["attempts"]).collect();
        let [attempt] = attempts[..] else { bail!("overflow: {query}") };
        let steps: Vec<_> = list(&attempt["steps"]).map(words).collect();
        let steps: Vec<_> = steps.iter().filter(|step| !step.starts_with("conntrack ")).collect();
        match (attempt["fate"].as_str(), &steps[..]) {
            (Some("answered"), []) => seen_answered += 1,
            (Some("answer_dropped"), [step]) if proof.agrees(step, FULL_BUFFER) => seen_lost += 1,
            _ => bail!("overflow: {steps:?}: {query}"),
        }
    }
    ensure!(
        (seen_answered, seen_lost) == (answered, lost),
        "overflow: {seen_answered} answered of {answered}, {seen_lost} lost of {lost}"
    );
    Ok(())
}
