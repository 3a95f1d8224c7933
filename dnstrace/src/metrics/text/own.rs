//! What dnstrace did not see, and what it costs.

use std::fmt;

use prometheus_client::{encoding::NoLabelSet, metrics::MetricType, registry::Unit};

use super::{Families, Labels, Snapshot};
use crate::{losses::Losses, metrics::process::Usage};

pub(super) fn write(families: &mut Families<'_>, snapshot: &Snapshot, usage: Option<Usage>) -> fmt::Result {
    losses(families, &snapshot.losses)?;
    let owners = snapshot.statistics.owners();
    let tables = [
        ("dnstrace_pods_other", "Pods that are counted as other: there are too many.", owners.refused()),
        (
            "dnstrace_pods_withdrawn",
            "Pods whose series were withdrawn: silent for 10 minutes, and others needed the room.",
            owners.retirements(),
        ),
    ];
    for (name, help, count) in tables {
        families.counters(name, help, [(Labels::new(), count)])?;
    }
    if let Some(usage) = usage {
        costs(families, usage)?;
    }
    let mut build =
        families.encoder.encode_descriptor("dnstrace_build", "Its version.", None, MetricType::Info)?;
    build.encode_info(&[("version", env!("CARGO_PKG_VERSION"))])
}

/// Losses of hooks, and those of dnstrace itself by the names that JSON has for them.
fn losses(families: &mut Families<'_>, losses: &Losses) -> fmt::Result {
    let hooks = losses.hooks.iter().flat_map(|hook| {
        let causes =
            [("ring_full", hook.ring_full), ("unreadable", hook.unreadable), ("skipped", hook.skipped)];
        causes
            .map(|(cause, count)| (vec![("hook", hook.hook.to_string()), ("cause", cause.to_owned())], count))
    });
    families.counters(
        "dnstrace_hook_losses",
        "Events lost in the kernel; skipped: calls not looked at, of any traffic.",
        hooks,
    )?;
    // So that a loss that is counted one day is a metric the same day. What is compared at the end only is left out.
    let fields = serde_json::to_value(losses).unwrap_or_default();
    let fields =
        fields.as_object().into_iter().flatten().filter(|(cause, _)| *cause != "namespaces_unchecked");
    families.counters(
        "dnstrace_losses",
        "What was lost in dnstrace, by cause.",
        fields.filter_map(|(cause, count)| Some((vec![("cause", cause.clone())], count.as_u64()?))),
    )
}

fn costs(families: &mut Families<'_>, usage: Usage) -> fmt::Result {
    let mut cpu = families.encoder.encode_descriptor(
        "process_cpu",
        "CPU time of dnstrace itself, without its programs in the kernel.",
        Some(&Unit::Seconds),
        MetricType::Counter,
    )?;
    cpu.encode_counter::<NoLabelSet, _, f64>(&usage.cpu_seconds, None)?;
    let mut memory = families.encoder.encode_descriptor(
        "process_resident_memory",
        "Resident memory of dnstrace.",
        Some(&Unit::Bytes),
        MetricType::Gauge,
    )?;
    memory.encode_gauge(&usage.resident_bytes)
}
