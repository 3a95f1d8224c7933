//! Loads the eBPF object and attaches what the table of hooks lists.

use std::{io, net::IpAddr, path::Path};

use aya::{
    Ebpf, EbpfError, EbpfLoader, Pod,
    maps::{HashMap, MapData, MapError},
};
use dnstrace_ebpf::config::{Config, Offsets};
use zerocopy::IntoBytes as _;

use super::{
    btf::{Btf, BtfError},
    diagnostics::{self, Diagnostics},
    hooks::{Needs, Row, TABLE},
    kallsyms::Symbols,
    names::KernelNames,
    offsets,
    preflight::VMLINUX_BTF,
    programs::{AttachMode, Attacher, Way},
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
    pub attach: AttachMode,
    /// Addresses of resolvers whose port 443 counts as DNS over HTTPS.
    pub doh_resolvers: Vec<IpAddr>,
}

/// A hook that is attached.
#[derive(Clone, Debug)]
pub struct Attached {
    pub row: Row,
    /// The kernel function or tracepoint.
    pub target: &'static str,
    pub way: Way,
    /// Why not in the way that was tried first.
    pub refused: Option<String>,
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
    #[error(
        "this kernel takes no fentry programs, or does not keep one from running twice at a time: use --attach auto"
    )]
    NoFentry,
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
    attached: Vec<Attached>,
    missing: Vec<Missing>,
    mode: AttachMode,
    /// The kernel keeps an fentry program from running twice at a time on a CPU.
    guards_fentry: bool,
    /// BTF tells all that the hooks of connection tracking need.
    knows_conntrack: bool,
}

impl Capture {
    /// Loads and attaches. The ring's reader comes with it.
    ///
    /// # Errors
    /// If the kernel refuses the object or a hook without which there is no point in tracing.
    pub fn start(request: &Request) -> Result<(Self, Ring), CaptureError> {
        let (capture, ring) = Self::try_all(request)?;
        match capture.missing.iter().find(|missing| missing.row.mandatory) {
            Some(Missing { row, why }) => {
                Err(CaptureError::Attach { function: row.name(), why: why.clone(), lost: row.lost_without })
            }
            None => Ok((capture, ring)),
        }
    }

    /// The same, whatever hook the kernel refuses.
    ///
    /// # Errors
    /// If the kernel refuses the object.
    pub fn try_all(request: &Request) -> Result<(Self, Ring), CaptureError> {
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
        let resolvers: Vec<_> = request.doh_resolvers.iter().map(|address| mapped(*address)).collect();
        fill(&mut ebpf, "DOH_RESOLVERS", &resolvers)?;
        let ring = Ring::open(
            ebpf.take_map("EVENTS").ok_or(CaptureError::Object("map EVENTS"))?,
            KernelNames::new(&btf),
        )?;
        let diagnostics = if request.verbose { Some(Diagnostics::open(&mut ebpf)?) } else { None };
        let mut capture = Self {
            ebpf,
            diagnostics,
            attached: Vec::new(),
            missing: Vec::new(),
            mode: request.attach,
            guards_fentry: offsets::guards_fentry(&btf),
            knows_conntrack: offsets::knows_conntrack(&offsets),
        };
        capture.attach_all()?;
        Ok((capture, ring))
    }

    /// The hooks that are attached.
    pub fn attached(&self) -> &[Attached] {
        &self.attached
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

    /// Attaches the hooks in the module of connection tracking, which has just been loaded, perhaps again. Returns how many.
    pub fn attach_conntrack(&mut self) -> usize {
        let is_of_module = |row: &Row| row.needs == Needs::ConntrackModule;
        self.attached.retain(|attached| !is_of_module(&attached.row));
        self.missing.retain(|missing| !is_of_module(&missing.row));
        let rows: Vec<Row> = TABLE.into_iter().filter(is_of_module).collect();
        self.attach_rows(&rows);
        self.attached.iter().filter(|attached| is_of_module(&attached.row)).count()
    }

    fn attach_all(&mut self) -> Result<(), CaptureError> {
        if self.mode == AttachMode::Fentry && !self.guards_fentry {
            return Err(CaptureError::NoFentry);
        }
        self.attach_rows(&TABLE);
        if self.mode == AttachMode::Fentry && !self.attached.iter().any(|attached| attached.way.is_fentry()) {
            return Err(CaptureError::NoFentry);
        }
        // If any of its hooks is attached, the module was there: single functions may be missing in it.
        let was_loaded = self.attached.iter().any(|attached| attached.row.needs == Needs::ConntrackModule);
        if !was_loaded && self.knows_conntrack && Path::new(CONNTRACK).exists() {
            // Loaded meanwhile, before the hook was there that tells.
            self.attach_conntrack();
        }
        Ok(())
    }

    /// Attaches what can be attached of these rows; what cannot goes to the missing ones.
    fn attach_rows(&mut self, rows: &[Row]) {
        let functions: Vec<_> = rows.iter().flat_map(|row| row.targets).copied().collect();
        // Without the list the kernel itself says what it does not have, less clearly.
        let symbols = Symbols::load(Path::new("/proc/kallsyms"), &functions).ok();
        let mut attacher = Attacher::new(&mut self.ebpf, self.mode, self.guards_fentry);
        for row in rows {
            let attached = check_needs(row, self.knows_conntrack)
                .and_then(|()| choose_target(symbols.as_ref(), row))
                .and_then(|target| Ok((target, attacher.attach(row, target)?)));
            match attached {
                Ok((target, (way, refused))) => {
                    self.attached.push(Attached { row: *row, target, way, refused });
                }
                Err(why) => self.missing.push(Missing { row: *row, why }),
            }
        }
    }
}

/// As the programs have it: IPv4 as v4-mapped.
fn mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
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
        Needs::ConntrackFields | Needs::ConntrackModule if !knows_conntrack => {
            Err("this kernel's BTF does not describe connection tracking".to_owned())
        }
        Needs::ConntrackFields | Needs::ConntrackModule | Needs::Nothing => Ok(()),
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
        None if row.needs == Needs::ConntrackModule && !Path::new(CONNTRACK).exists() => {
            Err("the module nf_conntrack is not loaded".to_owned())
        }
        None => Err("this kernel has no such function".to_owned()),
    }
}
