//! Builds the eBPF object with the pinned toolchain and puts it into `OUT_DIR`, from where
//! `capture::attach` includes it. `AYA_BUILD_SKIP=1` skips that for work on the core alone: such a build
//! says that it cannot trace.

use std::{env, path::PathBuf};

use anyhow::{Context as _, Result};
use aya_build::{Package, Toolchain};

/// The toolchain that the repository pins in `rust-toolchain.toml`.
const TOOLCHAIN: &str = "1.95.0";

fn main() -> Result<()> {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").context("CARGO_MANIFEST_DIR")?);
    let probes = manifest.join("../dnstrace-ebpf");
    let probes = probes.to_str().context("the repository's path is not UTF-8")?;
    aya_build::build_ebpf(
        [Package { name: "dnstrace-ebpf", root_dir: probes, ..Package::default() }],
        Toolchain::Custom(TOOLCHAIN),
    )?;
    let object = PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR")?).join("dnstrace-probes");
    if env::var_os("AYA_BUILD_SKIP").is_some() {
        std::fs::write(&object, b"")?;
    }
    Ok(())
}
