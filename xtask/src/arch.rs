//! Processors.

use clap::{ValueEnum, builder::PossibleValue};

/// With musl, since the toolchain brings that with it: no C compiler and no foreign library is needed.
pub const AARCH64_TARGET: &str = "aarch64-unknown-linux-musl";

/// A processor that dnstrace is built for, and that a VM can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arch {
    /// This machine's own.
    X86_64,
    Aarch64,
}

impl Arch {
    /// As Rust, the kernel and QEMU call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// As Debian calls it.
    pub fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    /// What the cache calls `name` of this processor.
    pub fn in_cache(self, name: &str) -> String {
        match self {
            Self::X86_64 => name.to_owned(),
            Self::Aarch64 => format!("{name}-{}", self.name()),
        }
    }

    /// The Rust target that programs for it are built for, if that is not this machine's own.
    pub fn cross_target(self) -> Option<&'static str> {
        match self {
            Self::X86_64 => None,
            Self::Aarch64 => Some(AARCH64_TARGET),
        }
    }
}

impl ValueEnum for Arch {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::X86_64, Self::Aarch64]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}
