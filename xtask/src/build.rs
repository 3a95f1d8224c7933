//! Builds and lints the workspace.

use std::{env, path::PathBuf, process::Command};

use anyhow::{Result, ensure};

use crate::{
    arch::{AARCH64_TARGET, Arch},
    packages,
    process::{self, say, shown},
    setup,
    workspace::Workspace,
};

/// The program.
pub const DNSTRACE: &str = "dnstrace";
const E2E: &str = "e2e";

/// Builds dnstrace with its eBPF programs for release, and returns the program.
pub fn dnstrace(workspace: &Workspace, arch: Arch) -> Result<PathBuf> {
    release(workspace, arch, DNSTRACE, DNSTRACE)
}

/// Builds what a VM has on its PATH: dnstrace, the lab `e2e`, and the clients that the lab's pods run.
pub fn vm_programs(workspace: &Workspace, arch: Arch) -> Result<Vec<PathBuf>> {
    dnstrace(workspace, arch)?;
    release(workspace, arch, "dnstrace-tests", E2E)?;
    built_vm_programs(workspace, arch)
}

/// As [`vm_programs`], without building again what is there.
pub fn built_vm_programs(workspace: &Workspace, arch: Arch) -> Result<Vec<PathBuf>> {
    let e2e = workspace.release(arch, E2E);
    let mut programs = vec![workspace.release(arch, DNSTRACE), e2e.clone()];
    // No compiler of C for it is here: `e2e` compiles them in the VM when it needs them.
    if arch == Arch::Aarch64 {
        return Ok(programs);
    }
    // Under emulation the compiler would take half a minute.
    let mut clients = Command::new(e2e);
    clients.arg("clients").arg("--musl-in").arg(packages::fetch_guest_root(workspace, arch)?);
    programs.extend(process::output(&mut clients)?.lines().map(PathBuf::from));
    Ok(programs)
}

fn release(workspace: &Workspace, arch: Arch, package: &str, program: &str) -> Result<PathBuf> {
    setup::rust_tools(workspace)?;
    let mut build = cargo(workspace);
    build.args(["build", "--quiet", "--release", "--package", package]);
    if let Some(target) = arch.cross_target() {
        setup::rust_target(workspace, target)?;
        build.args(["--target", target]);
    }
    say(shown(&build));
    process::run(&mut build)?;
    let program = workspace.release(arch, program);
    ensure!(program.exists(), "the build left no {}", program.display());
    Ok(program)
}

/// Checks formatting and lints, on the machine's code and on the eBPF programs.
pub fn lint(workspace: &Workspace) -> Result<()> {
    for mut step in lint_steps(workspace)? {
        say(shown(&step));
        process::run(&mut step)?;
    }
    Ok(())
}

/// The commands that make up [`lint`]. Fetches what they need.
pub fn lint_steps(workspace: &Workspace) -> Result<Vec<Command>> {
    setup::rust_tools(workspace)?;
    let mut format = cargo(workspace);
    format.args(["fmt", "--all", "--check"]);
    let mut host = cargo(workspace);
    host.args(["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]);
    // Cargo keeps a build script of clippy's own: without this it would build the eBPF programs, which the next step
    // lints and the other builds build, once more.
    host.env("AYA_BUILD_SKIP", "1");
    let mut ebpf = cargo(workspace);
    ebpf.args(["clippy", "--quiet", "--package", "dnstrace-ebpf", "--release"]);
    ebpf.args(["--target", "bpfel-unknown-none", "-Z", "build-std=core", "--", "-D", "warnings"]);
    // aya's bindings are made for the machine whose registers the probes read.
    ebpf.env("CARGO_ENCODED_RUSTFLAGS", format!("--cfg=bpf_target_arch=\"{}\"", env::consts::ARCH));
    // With its eBPF programs, which are built for those registers on the way.
    setup::rust_target(workspace, AARCH64_TARGET)?;
    let mut cross = cargo(workspace);
    cross.args([
        "clippy",
        "--quiet",
        "--package",
        DNSTRACE,
        "--target",
        AARCH64_TARGET,
        "--",
        "-D",
        "warnings",
    ]);
    Ok(vec![format, host, ebpf, cross])
}

/// Cargo, with the toolchain that the repository pins.
pub fn cargo(workspace: &Workspace) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(workspace.root());
    command
}
