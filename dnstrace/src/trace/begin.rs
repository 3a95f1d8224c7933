//! What is said and settled when a trace begins.

use dnstrace_ebpf::config::{Hook, target as bits};

use crate::{
    args::{Args, settings},
    capture::{Attached, Capture, Missing, preflight::Facts},
    identify::{Listing, Target},
    lookup::Sight,
    output::{AttachedHook, MissingHook, Started, Status},
    recording::Node,
};

/// What the attached hooks can tell.
pub(super) fn sight(capture: &Capture) -> Sight {
    let sees = |hook| capture.attached().iter().any(|attached| attached.row.hook == hook);
    Sight { clashes: sees(Hook::Confirm) && sees(Hook::ResolveClash) }
}

/// How the programs are to read the lists of cgroups and namespaces.
pub(super) fn listing(target: &Target) -> u32 {
    match target.listing {
        Listing::Everything => 0,
        Listing::Only => bits::LISTED,
        Listing::AllBut => bits::UNLISTED,
    }
}

/// What is traced, where and by what.
pub(super) fn started(
    args: &Args,
    facts: &Facts,
    node: Option<&str>,
    target: &Target,
    capture: &Capture,
) -> Status {
    Status::Started(Box::new(Started {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        node: node.map(str::to_owned),
        kernel: facts.release.clone(),
        target: target.description.clone(),
        ports: args.protocol.ports.clone(),
        timeout_ns: settings::limits(args.protocol.timeout.map(settings::nanoseconds)).timeout,
        attached: capture.attached().iter().map(attached_hook).collect(),
        missing: capture.missing().iter().map(missing_hook).collect(),
    }))
}

pub(super) fn attached_hook(attached: &Attached) -> AttachedHook {
    AttachedHook { hook: attached.row.name(), target: attached.target, way: attached.way.name() }
}

pub(super) fn missing_hook(missing: &Missing) -> MissingHook {
    MissingHook { hook: missing.row.name(), lost_without: missing.row.lost_without, why: missing.why.clone() }
}

/// What a recording of the trace is, in words.
pub(super) fn description(node: &Node, target: &Target, ports: &[u16]) -> String {
    let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
    format!("a recording of {}, {} on port {}", node.name, target.description, ports.join(", "))
}
