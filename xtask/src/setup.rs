//! The Rust tools that building eBPF programs needs.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{
    process::{self, say},
    workspace::Workspace,
};

/// Reads the bitcode of the pinned compiler's LLVM; later releases want another way to find that LLVM.
const BPF_LINKER_VERSION: &str = "0.10.4";
const CARGO_FUZZ_VERSION: &str = "0.13.2";

/// Fetches the missing ones of rust-src, rustfmt, clippy and bpf-linker.
pub fn rust_tools(workspace: &Workspace) -> Result<()> {
    let _lock = workspace.lock_setup()?;
    rustup_components(workspace)?;
    bpf_linker(workspace)
}

/// Fetches the standard library of another target, should it be missing.
pub fn rust_target(workspace: &Workspace, target: &str) -> Result<()> {
    let _lock = workspace.lock_setup()?;
    if sysroot(workspace)?.join("lib/rustlib").join(target).exists() {
        return Ok(());
    }
    say(format_args!("adding to the Rust toolchain: {target}"));
    process::run(Command::new("rustup").args(["target", "add", target]).current_dir(workspace.root()))
        .context("cannot add a Rust target")
}

/// The folder of the toolchain that the repository pins.
fn sysroot(workspace: &Workspace) -> Result<PathBuf> {
    let sysroot =
        process::output(Command::new("rustc").args(["--print", "sysroot"]).current_dir(workspace.root()))?;
    Ok(PathBuf::from(sysroot.trim()))
}

fn rustup_components(workspace: &Workspace) -> Result<()> {
    let sysroot = sysroot(workspace)?;
    // What each component puts into the toolchain; asking rustup takes far longer.
    let components = [
        ("rust-src", "lib/rustlib/src/rust/library/core/Cargo.toml"),
        ("rustfmt", "bin/cargo-fmt"),
        ("clippy", "bin/cargo-clippy"),
    ];
    let missing: Vec<&str> =
        components.iter().filter(|(_, file)| !sysroot.join(file).exists()).map(|(name, _)| *name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    say(format_args!("adding to the Rust toolchain: {}", missing.join(" ")));
    process::run(
        Command::new("rustup").args(["component", "add"]).args(&missing).current_dir(workspace.root()),
    )
    .context("cannot add Rust components")
}

fn bpf_linker(workspace: &Workspace) -> Result<()> {
    install(workspace, "bpf-linker", BPF_LINKER_VERSION, "about a minute")
}

/// Fetches cargo-fuzz, should it be missing, and returns the folder that it is in.
pub fn cargo_fuzz(workspace: &Workspace) -> Result<PathBuf> {
    let _lock = workspace.lock_setup()?;
    install(workspace, "cargo-fuzz", CARGO_FUZZ_VERSION, "about two minutes")?;
    Ok(workspace.cache("tools/bin"))
}

/// Builds a program from its crate, unless this version is there.
fn install(workspace: &Workspace, name: &str, version: &str, how_long: &str) -> Result<()> {
    let tools = workspace.cache("tools");
    if installed(&tools.join("bin").join(name)).is_some_and(|installed| installed == version) {
        return Ok(());
    }
    say(format_args!("building {name} {version} ({how_long})"));
    process::run(
        Command::new("cargo")
            .args(["install", "--quiet", "--locked", "--force", name, "--version", version])
            .arg("--root")
            .arg(&tools)
            .current_dir(workspace.root()),
    )
    .with_context(|| format!("cannot install {name}"))
}

/// The version that it says it is.
fn installed(program: &Path) -> Option<String> {
    let version = process::output(Command::new(program).arg("--version")).ok()?;
    version.split_whitespace().nth(1).map(str::to_owned)
}
