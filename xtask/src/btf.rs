//! `cargo xtask btf`: the trimmed BTF of every kernel, on which the host tests of dnstrace look up offsets.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result};

use crate::{
    arch::Arch,
    build,
    kernel::{Kernel, UnpackedKernel},
    packages::HostPrograms,
    process::{self, say, shown},
    workspace::Workspace,
};

/// The test of dnstrace that writes the fixtures, and the ones that compare what they tell with their snapshots.
const REGENERATE: &str = "capture::btf::tests::kernels::regenerate";
const TESTS: &str = "capture::btf::tests::kernels";

/// Takes the BTF out of every kernel, trims it anew to what the tests want, and rewrites the snapshots of what it
/// tells; git shows what moved.
pub fn regenerate(workspace: &Workspace) -> Result<()> {
    let directory = workspace.cache("btf");
    fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let host = HostPrograms::fetch(workspace)?;
    for kernel in Kernel::ALL {
        let unpacked = UnpackedKernel::fetch(workspace, &host, Arch::X86_64, kernel)?;
        dump(&unpacked.vmlinux, &directory.join(kernel.series()).with_added_extension("btf"))?;
    }
    // Two runs: the fixtures are part of the test program.
    test(workspace, &directory, &["--exact", REGENERATE, "--ignored"])?;
    test(workspace, &directory, &[TESTS])
}

/// Writes the section `.BTF` of a kernel to a file of its own.
fn dump(vmlinux: &Path, btf: &Path) -> Result<()> {
    let rest = btf.with_extension("rest");
    let mut objcopy = Command::new("objcopy");
    objcopy.arg("--only-section=.BTF").arg("--dump-section").arg(format!(".BTF={}", btf.display()));
    process::run_quietly(objcopy.arg(vmlinux).arg(&rest))?;
    Ok(fs::remove_file(rest)?)
}

fn test(workspace: &Workspace, btf: &Path, arguments: &[&str]) -> Result<()> {
    let mut command = build::cargo(workspace);
    command.args(["test", "--quiet", "--package", "dnstrace", "--lib", "--"]).args(arguments);
    // The eBPF programs have no part in it.
    command.env("AYA_BUILD_SKIP", "1").env("DNSTRACE_KERNEL_BTF", btf).env("INSTA_UPDATE", "always");
    say(shown(&command));
    process::run(&mut command)
}
