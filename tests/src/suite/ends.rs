//! Every way of ending, and that nothing remains.

use std::{fs, process::Command, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use super::{
    Bench, Test,
    tracer::{Said, Tracer},
};
use crate::lab::clients::dig;

pub const TESTS: &[Test] = &[
    Test::new("signals, --duration and --count end with a summary", ordered_ends),
    Test::new("a closed pipe is a quiet end", a_closed_pipe_is_a_quiet_end),
    Test::core("nothing remains after kill -9", nothing_remains_after_kill_9),
];

fn ask(bench: &Bench) -> Result<()> {
    dig(&bench.lab.cart, "cart", &["+short", "api.shop.svc.cluster.local"])?.success()?;
    Ok(())
}

fn summed_up(said: &Said, queries: u32) -> Result<()> {
    let line = format!("{queries} {} in ", if queries == 1 { "query" } else { "queries" });
    ensure!(said.status.code() == Some(0) && said.stderr.contains(&line), "{said:?}");
    ensure!(said.stderr.contains("nothing was lost"), "{said:?}");
    Ok(())
}

fn ordered_ends(bench: &Bench) -> Result<()> {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let tracer = Tracer::start(&["-p", "cart-7d4f"])?;
        ask(bench)?;
        summed_up(&tracer.end(signal)?, 1)?;
    }
    summed_up(&Tracer::start(&["-p", "cart-7d4f", "--duration", "1s"])?.said()?, 0)?;
    let mut tracer = Tracer::start(&["-p", "cart-7d4f", "--count", "2"])?;
    for _ in 0..3 {
        ask(bench)?;
    }
    let said = tracer.said()?;
    summed_up(&said, 2)?;
    ensure!(said.stdout.lines().count() == 3, "a header and two lines: {said:?}");
    Ok(())
}

fn a_closed_pipe_is_a_quiet_end(bench: &Bench) -> Result<()> {
    let script = "dnstrace -A 2>/tmp/pipe.err | head -n 2; echo ${PIPESTATUS[0]}";
    let mut tracer = Tracer::spawn(Command::new("bash").args(["-c", script]))?;
    while !fs::read_to_string("/tmp/pipe.err").unwrap_or_default().contains("hooks attached") {
        thread::sleep(Duration::from_millis(50));
    }
    // The header, the first query; the next one finds nobody reading.
    for _ in 0..4 {
        ask(bench)?;
        thread::sleep(Duration::from_millis(200));
    }
    let said = tracer.said()?;
    ensure!(said.stdout.lines().last() == Some("0"), "{said:?}");
    let stderr = fs::read_to_string("/tmp/pipe.err")?;
    ensure!(!stderr.contains("Broken pipe") && !stderr.contains("panic"), "{stderr}");
    Ok(())
}

fn nothing_remains_after_kill_9(bench: &Bench) -> Result<()> {
    const LISTS: [&str; 2] = ["/sys/kernel/debug/kprobes/list", "/sys/kernel/tracing/kprobe_events"];
    let tracer = Tracer::start(&["-A"])?;
    ask(bench)?;
    let probes = fs::read_to_string(LISTS[0]).context("no list of kprobes")?;
    // A module's function: by kprobe, whichever way the others are attached.
    ensure!(probes.contains("nf_ct_delete"), "this list would not show them: {probes}");
    tracer.end(Signal::SIGKILL)?;
    // The kernel takes the programs down when the last reference goes, a moment later.
    thread::sleep(Duration::from_secs(1));
    for list in LISTS {
        let left = fs::read_to_string(list)?;
        ensure!(left.trim().is_empty(), "{list}: {left}");
    }
    Ok(())
}
