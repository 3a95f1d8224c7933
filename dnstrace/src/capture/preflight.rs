//! What must hold before anything is attached. Each refusal is one line that says what to do.

use std::{fs, io, path::Path};

/// Where the kernel shows its own type information.
pub const VMLINUX_BTF: &str = "/sys/kernel/btf/vmlinux";

/// The oldest kernel with all that the programs need (the ring buffer came with 5.8; 5.10 is what was tested).
const OLDEST: (u32, u32) = (5, 10);

const CAP_DAC_READ_SEARCH: u32 = 2;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// What is known of the machine before the start.
#[derive(Clone, Debug)]
pub struct Facts {
    /// `uname -r`
    pub release: String,
    pub has_btf: bool,
    /// Effective capabilities, a bit each (`CapEff`).
    pub capabilities: u64,
}

/// Why dnstrace cannot trace here.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Refusal {
    #[error("kernel {0} is too old: dnstrace needs Linux 5.10 or newer")]
    KernelTooOld(String),
    #[error(
        "this kernel ({0}) has no BTF ({VMLINUX_BTF} is missing): dnstrace needs one built with CONFIG_DEBUG_INFO_BTF=y"
    )]
    NoBtf(String),
    #[error(
        "not permitted: missing {0}. Run dnstrace as root (sudo dnstrace ...), in a container with these capabilities and hostPID"
    )]
    MissingCapabilities(String),
}

impl Facts {
    /// Asks the running machine.
    ///
    /// # Errors
    /// If `/proc` cannot be read.
    pub fn gather() -> io::Result<Self> {
        let status = fs::read_to_string("/proc/self/status")?;
        Ok(Self {
            release: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            has_btf: Path::new(VMLINUX_BTF).exists(),
            capabilities: effective_capabilities(&status),
        })
    }

    /// Refuses what cannot work.
    ///
    /// # Errors
    /// The first thing that is missing.
    pub fn check(&self) -> Result<(), Refusal> {
        if version(&self.release).is_some_and(|version| version < OLDEST) {
            return Err(Refusal::KernelTooOld(self.release.clone()));
        }
        if !self.has_btf {
            return Err(Refusal::NoBtf(self.release.clone()));
        }
        let missing = self.missing_capabilities();
        if missing.is_empty() { Ok(()) } else { Err(Refusal::MissingCapabilities(missing.join(", "))) }
    }

    fn has(&self, capability: u32) -> bool {
        self.capabilities & (1 << capability) != 0
    }

    fn missing_capabilities(&self) -> Vec<&'static str> {
        // CAP_SYS_ADMIN includes the two that were split off it in 5.8.
        let admin = self.has(CAP_SYS_ADMIN);
        let mut missing = Vec::new();
        if !admin && !self.has(CAP_BPF) {
            missing.push("CAP_BPF");
        }
        if !admin && !self.has(CAP_PERFMON) {
            missing.push("CAP_PERFMON");
        }
        if !self.has(CAP_DAC_READ_SEARCH) {
            missing.push("CAP_DAC_READ_SEARCH");
        }
        missing
    }
}

/// Major and minor number of a kernel release; none if it does not begin with them.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// `CapEff` of a `/proc/<pid>/status`; none at all if there is no such line.
fn effective_capabilities(status: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(release: &str) -> Facts {
        Facts { release: release.into(), has_btf: true, capabilities: u64::MAX }
    }

    #[test]
    fn old_kernels_are_refused_by_name() {
        for release in ["3.10.0-1160.el7.x86_64", "4.19.0-27-amd64", "5.4.0-216-generic", "5.9.16"] {
            let refusal = facts(release).check().unwrap_err();
            assert_eq!(refusal, Refusal::KernelTooOld(release.into()));
            assert!(refusal.to_string().contains("needs Linux 5.10 or newer"), "{refusal}");
        }
        for release in ["5.10.0-33-amd64", "6.1.0-37-amd64", "6.18", "7.2.1-rc3+", "no number"] {
            assert_eq!(facts(release).check(), Ok(()));
        }
    }

    #[test]
    fn a_kernel_without_btf_is_refused() {
        let facts = Facts { has_btf: false, ..facts("6.1.0") };
        assert_eq!(facts.check(), Err(Refusal::NoBtf("6.1.0".into())));
    }

    #[test]
    fn the_missing_capabilities_are_named() {
        let with = |capabilities| Facts { capabilities, ..facts("6.1.0") };
        let missing = |capabilities| with(capabilities).missing_capabilities().join(" ");
        assert_eq!(missing(0), "CAP_BPF CAP_PERFMON CAP_DAC_READ_SEARCH");
        assert_eq!(missing(1 << CAP_BPF | 1 << CAP_DAC_READ_SEARCH), "CAP_PERFMON");
        assert_eq!(missing(1 << CAP_SYS_ADMIN | 1 << CAP_DAC_READ_SEARCH), "");
        assert_eq!(missing(effective_capabilities("Name:\tx\nCapEff:\t000001ffffffffff\n")), "");
        assert_eq!(effective_capabilities("CapEff:\tgarbage"), 0);
    }
}
