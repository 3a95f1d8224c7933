//! Builds and lints the workspace.

use std::{env, path::PathBuf, process::Command};

use anyhow::{Result, ensure};

use crate::{process, setup, workspace::Workspace};

/// Builds dnstrace with its eBPF programs for release, and returns the program.
pub fn dnstrace(workspace: &Workspace) -> Result<PathBuf> {
    release(workspace, "dnstrace", "dnstrace")
}

/// Builds the end-to-end suite for release, and returns the program.
pub fn e2e(workspace: &Workspace) -> Result<PathBuf> {
    release(workspace, "dnstrace-tests", "e2e")
}

fn release(workspace: &Workspace, package: &str, program: &str) -> Result<PathBuf> {
    setup::rust_tools(workspace)?;
    process::run(cargo(workspace).args(["build", "--quiet", "--release", "--package", package]))?;
    let program = workspace.release(program);
    ensure!(program.exists(), "the build left no {}", program.display());
    Ok(program)
}

/// Checks formatting and lints, on the machine's code and on the eBPF programs.
pub fn lint(workspace: &Workspace) -> Result<()> {
    setup::rust_tools(workspace)?;
    for step in lint_steps(workspace) {
        process::run(&mut { step })?;
    }
    Ok(())
}

/// The commands that make up [`lint`].
pub fn lint_steps(workspace: &Workspace) -> Vec<Command> {
    let mut format = cargo(workspace);
    format.args(["fmt", "--all", "--check"]);
    let mut host = cargo(workspace);
    host.args(["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]);
    let mut ebpf = cargo(workspace);
    ebpf.args(["clippy", "--quiet", "--package", "dnstrace-ebpf", "--release"]);
    ebpf.args(["--target", "bpfel-unknown-none", "-Z", "build-std=core", "--", "-D", "warnings"]);
    // aya's bindings are made for the machine whose registers the probes read.
    ebpf.env("CARGO_ENCODED_RUSTFLAGS", format!("--cfg=bpf_target_arch=\"{}\"", env::consts::ARCH));
    vec![format, host, ebpf]
}

/// The cargo that runs this program, in the repository.
pub fn cargo(workspace: &Workspace) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace.root());
    command
}
