//! Loads the eBPF object and attaches what the table of hooks lists.

use std::{io, path::Path};

use aya::{
    Ebpf, EbpfError, EbpfLoader, Pod,
    maps::{HashMap, MapData, MapError},
    programs::{KProbe, Program, ProgramError, RawTracePoint},
};
use dnstrace_ebpf::config::{Config, Offsets};
use zerocopy::IntoBytes as _;

use super::{
    btf::{Btf, BtfError},
    diagnostics::{self, Diagnostics},
    hooks::{Kind, Needs, Row, TABLE},
    kallsyms::Symbols,
    names::KernelNames,
    offsets,
    preflight::VMLINUX_BTF,
    ring::Ring,
};

/// There while connection tracking is in the kernel, as a module or built in.
const CONNTRACK: &str = "/proc/sys/net/netfilter/nf_conntrack_max";

/// The eBPF object, built by `build.rs`. Aligned for the ELF parser.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/dnstrace-probes"));

/// What is to be captured.
#[derive(Clone, Debug)]
pub struct Request {
    /// Settings of the programs; [`Config::memory_cgrp_id`] is filled in here.
    pub config: Config,
    /// The pods' cgroups live in a cgroup v1 hierarchy: that of the memory controller.
    pub cgroup_v1: bool,
    /// Cgroups that the target means (with all below them).
    pub cgroups: Vec<u64>,
    /// Network namespaces that the target means.
    pub netns: Vec<u32>,
    /// Size of the ring in bytes: a power of two, a multiple of the page size.
    pub ring_bytes: u32,
    /// The programs' own messages are wanted.
    pub verbose: bool,
}

/// A hook that could not be attached, and why.
#[derive(Debug)]
pub struct Missing {
    pub row: Row,
    pub why: String,
}

/// Why nothing can be captured.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    #[error(
        "this dnstrace was built without its eBPF programs (AYA_BUILD_SKIP): build it with `cargo xtask build`"
    )]
    NoObject,
    #[error("the kernel's BTF cannot be used: {0}")]
    Btf(#[from] BtfError),
    #[error("the kernel did not take the eBPF object: {0}")]
    Load(#[from] EbpfError),
    #[error("the eBPF object has no {0}: it does not belong to this dnstrace")]
    Object(&'static str),
    #[error("cannot attach to {function}: {why}; without it dnstrace cannot see {lost}")]
    Attach { function: &'static str, why: String, lost: &'static str },
    #[error("eBPF map {name}: {error}")]
    Map { name: &'static str, error: MapError },
    #[error("the eBPF programs' messages cannot be read: {0}")]
    Diagnostics(#[from] aya_log::Error),
    #[error("cannot wait for the ring: {0}")]
    Ring(io::Error),
}

/// The attached programs. Dropping it detaches them all; a killed process leaves nothing behind either.
pub struct Capture {
    /// Holds programs, links and maps.
    ebpf: Ebpf,
    diagnostics: Option<Diagnostics>,
    missing: Vec<Missing>,
}

impl Capture {
    /// Loads and attaches. The ring's reader comes with it.
    ///
    /// # Errors
    /// If the kernel refuses the object or a hook without which there is no point in tracing.
    pub fn start(request: &Request) -> Result<(Self, Ring), CaptureError> {
        if OBJECT.is_empty() {
            return Err(CaptureError::NoObject);
        }
        let btf = Btf::load(Path::new(VMLINUX_BTF))?;
        let offsets = offsets::resolve(&btf)?;
        let mut config = request.config;
        offsets::configure(&btf, &mut config);
        if request.cgroup_v1 {
            config.memory_cgrp_id = offsets::memory_controller(&btf);
        }
        let mut ebpf = load(&offsets, &config, request)?;
        fill(&mut ebpf, "TARGET_CGROUPS", &request.cgroups)?;
        fill(&mut ebpf, "TARGET_NETNS", &request.netns)?;
        let ring = Ring::open(
            ebpf.take_map("EVENTS").ok_or(CaptureError::Object("map EVENTS"))?,
            KernelNames::new(&btf),
        )?;
        let diagnostics = if request.verbose { Some(Diagnostics::open(&mut ebpf)?) } else { None };
        let mut capture = Self { ebpf, diagnostics, missing: Vec::new() };
        capture.attach_all(offsets::knows_conntrack(&offsets))?;
        Ok((capture, ring))
    }

    /// The hooks that are not attached.
    pub fn missing(&self) -> &[Missing] {
        &self.missing
    }

    pub(super) fn ebpf(&self) -> &Ebpf {
        &self.ebpf
    }

    /// Adds a cgroup to the target while the trace runs.
    ///
    /// # Errors
    /// If the map is full.
    pub fn add_cgroup(&mut self, cgroup: u64) -> Result<(), CaptureError> {
        fill(&mut self.ebpf, "TARGET_CGROUPS", &[cgroup])
    }

    /// Passes the programs' own messages on to stderr.
    pub fn flush_diagnostics(&mut self) {
        if let Some(diagnostics) = &mut self.diagnostics {
            diagnostics.flush();
        }
    }

    fn attach_all(&mut self, knows_conntrack: bool) -> Result<(), CaptureError> {
        let functions: Vec<_> = TABLE.iter().flat_map(|row| row.targets).copied().collect();
        // Without the list the kernel itself says what it does not have, less clearly.
        let symbols = Symbols::load(Path::new("/proc/kallsyms"), &functions).ok();
        for row in TABLE {
            let attached = check_needs(&row, knows_conntrack)
                .and_then(|()| choose_target(symbols.as_ref(), &row))
                .and_then(|target| attach_one(&mut self.ebpf, &row, target));
            if let Err(why) = attached {
                if row.mandatory {
                    return Err(CaptureError::Attach { function: row.name(), why, lost: row.lost_without });
                }
                self.missing.push(Missing { row, why });
            }
        }
        Ok(())
    }
}

fn load(offsets: &Offsets, config: &Config, request: &Request) -> Result<Ebpf, CaptureError> {
    Ok(EbpfLoader::new()
        .override_global("OFFSETS", offsets.as_bytes(), true)
        .override_global("CONFIG", config.as_bytes(), true)
        .override_global(aya_log::LEVEL, &diagnostics::level(request.verbose), true)
        .map_max_entries("EVENTS", request.ring_bytes)
        .load(OBJECT)?)
}

/// Puts `keys` into the set `name`.
fn fill<K: Pod>(ebpf: &mut Ebpf, name: &'static str, keys: &[K]) -> Result<(), CaptureError> {
    let map = ebpf.map_mut(name).ok_or(CaptureError::Object(name))?;
    let error = |error| CaptureError::Map { name, error };
    let mut map: HashMap<&mut MapData, K, u8> = HashMap::try_from(map).map_err(error)?;
    for key in keys {
        map.insert(key, 1, 0).map_err(error)?;
    }
    Ok(())
}

/// Whether BTF told what the row's programs need.
fn check_needs(row: &Row, knows_conntrack: bool) -> Result<(), String> {
    match row.needs {
        Needs::Conntrack if !knows_conntrack => {
            Err("this kernel's BTF does not describe connection tracking".to_owned())
        }
        Needs::Conntrack | Needs::Nothing => Ok(()),
    }
}

/// The first target of the row that the kernel has. Of functions, exactly one must have the name: before 6.6 the kernel
/// takes any of several for a probe.
fn choose_target(symbols: Option<&Symbols>, row: &Row) -> Result<&'static str, String> {
    let symbols = symbols.filter(|_| row.kind.is_function());
    let known = |target: &&str| symbols.is_none_or(|symbols| symbols.get(target).is_some());
    match row.targets.iter().copied().find(known) {
        Some(target) if symbols.is_none_or(|symbols| symbols.is_unique_function(target)) => Ok(target),
        Some(_) => Err("this kernel has several functions of this name".to_owned()),
        None if row.needs == Needs::Conntrack && !Path::new(CONNTRACK).exists() => {
            Err("the module nf_conntrack is not loaded".to_owned())
        }
        None => Err("this kernel has no such function".to_owned()),
    }
}

fn attach_one(ebpf: &mut Ebpf, row: &Row, target: &str) -> Result<(), String> {
    let attached = match row.kind {
        Kind::Kprobe => attach_kprobe(program(ebpf, row.program)?, target),
        Kind::KprobePair => {
            // The return first: an entry without its return would wait for it.
            let name = format!("{}_return", row.program);
            attach_kprobe(program(ebpf, &name)?, target).map_err(chain)?;
            attach_kprobe(program(ebpf, row.program)?, target)
        }
        Kind::RawTracepoint => attach_raw_tracepoint(program(ebpf, row.program)?, target),
    };
    attached.map_err(chain)
}

/// The program of this name, as what the table says it is.
fn program<'a, P>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut P, String>
where
    &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
{
    let program = ebpf.program_mut(name).ok_or("the eBPF object has no such program")?;
    program.try_into().map_err(chain)
}

fn attach_kprobe(program: &mut KProbe, function: &str) -> Result<(), ProgramError> {
    program.load()?;
    program.attach(function, 0)?;
    Ok(())
}

fn attach_raw_tracepoint(program: &mut RawTracePoint, tracepoint: &str) -> Result<(), ProgramError> {
    program.load()?;
    program.attach(tracepoint)?;
    Ok(())
}

/// An error with its causes, in one line.
fn chain(error: ProgramError) -> String {
    let mut line = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}
