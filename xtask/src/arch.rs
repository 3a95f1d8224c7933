//! Processors.

use clap::{ValueEnum, builder::PossibleValue};

/// With musl, since the toolchain brings that with it: no C compiler and no foreign library is needed.
pub const AARCH64_TARGET: &str = "aarch64-unknown-linux-musl";

/// A processor that dnstrace is built for. Its names are Rust's, the kernel's, Debian's and QEMU's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arch {
    /// This machine's own.
    X86_64,
    Aarch64,
}

impl Arch {
    /// As Rust, `uname -m` and QEMU call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
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
