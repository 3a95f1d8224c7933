//! Bad input: one line on stderr that says what to do, its exit code, and nothing on stdout.

use std::process::Command;

use anyhow::{Result, ensure};

use super::{Bench, Test, tracer::Tracer};

pub const TESTS: &[Test] = &[
    Test::new("unknown and ambiguous pods are refused with the near matches", pods),
    Test::new("missing capabilities are named", capabilities),
    Test::core("a kernel that is too old or has no BTF is refused", kernels),
    Test::new("a command line without sense is refused", usage),
];

/// Runs a command line; it must end with `exit`, say one line that has all of `words`, and print nothing.
pub(super) fn refused(argv: &[&str], exit: i32, words: &[&str]) -> Result<()> {
    let said = Tracer::spawn(Command::new(argv[0]).args(&argv[1..]))?.said()?;
    ensure!(said.status.code() == Some(exit), "{argv:?}: {said:?}");
    ensure!(said.stdout.is_empty(), "{argv:?}: {said:?}");
    ensure!(said.stderr.lines().count() == 1, "{argv:?}: {said:?}");
    ensure!(words.iter().all(|word| said.stderr.contains(word)), "{argv:?}: no {words:?} in {said:?}");
    Ok(())
}

fn pods(_: &Bench) -> Result<()> {
    refused(&["dnstrace", "--pod", "crat-7d4f"], 5, &["crat-7d4f", "did you mean shop/cart-7d4f"])?;
    refused(
        &["dnstrace", "-p", "coredns"],
        5,
        &["could be any of kube-system/coredns-", "give more of the name"],
    )?;
    refused(&["dnstrace", "-n", "kube-system", "-p", "cart-7d4f"], 5, &["kube-system/cart-7d4f"])?;
    refused(&["dnstrace", "-n", "shpo"], 5, &["shpo", "did you mean shop"])?;
    refused(&["dnstrace", "-p", "cart-7d4f", "-c", "cat"], 5, &["no running container cat", "cart, proxy"])
}

fn capabilities(_: &Bench) -> Result<()> {
    let without = |capabilities: &str| format!("--drop={capabilities}");
    refused(
        &["capsh", &without("cap_sys_admin,cap_bpf"), "--", "-c", "exec dnstrace -A"],
        3,
        &["CAP_BPF", "sudo dnstrace"],
    )?;
    refused(
        &["capsh", &without("cap_dac_read_search"), "--", "-c", "exec dnstrace -A"],
        3,
        &["missing CAP_DAC_READ_SEARCH"],
    )?;
    refused(
        &["setpriv", "--reuid=65534", "--clear-groups", "dnstrace", "-A"],
        3,
        &["CAP_BPF, CAP_PERFMON, CAP_DAC_READ_SEARCH"],
    )
}

fn kernels(_: &Bench) -> Result<()> {
    let within = |change: &str| format!("{change} && exec dnstrace -A");
    let old = "echo 3.10.0-1160.el7.x86_64 > /tmp/osrelease && mount --bind /tmp/osrelease /proc/sys/kernel/osrelease";
    refused(
        &["unshare", "--mount", "sh", "-c", &within(old)],
        4,
        &["3.10.0-1160.el7.x86_64 is too old", "needs Linux 5.10 or newer"],
    )?;
    let no_btf = "mount -t tmpfs none /sys/kernel/btf";
    refused(&["unshare", "--mount", "sh", "-c", &within(no_btf)], 4, &["has no BTF", "CONFIG_DEBUG_INFO_BTF"])
}

fn usage(_: &Bench) -> Result<()> {
    refused(&["dnstrace", "-A", "--port", "0"], 2, &["port 0"])?;
    refused(&["dnstrace", "-n", "shop", "-c", "cart"], 2, &["--container needs a pod"])
}
