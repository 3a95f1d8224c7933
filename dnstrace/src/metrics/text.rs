//! The counts as OpenMetrics text.

mod dns;
mod own;
#[cfg(test)]
mod tests;

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text::encode},
    metrics::MetricType,
    registry::{Registry, Unit},
};

use super::{Snapshot, process::Usage};
use crate::statistics::Latency;

/// OpenMetrics 1.0, as prometheus-client writes it and Prometheus reads it.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics of this moment.
pub(super) fn write(snapshot: &Snapshot, usage: Option<Usage>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Counts { snapshot: snapshot.clone(), usage }));
    let mut text = String::new();
    // Writing into a String cannot fail.
    _ = encode(&mut text, &registry);
    text
}

#[derive(Debug)]
struct Counts {
    snapshot: Snapshot,
    usage: Option<Usage>,
}

impl Collector for Counts {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut families = Families { encoder };
        dns::write(&mut families, &self.snapshot.statistics)?;
        own::write(&mut families, &self.snapshot, self.usage)
    }
}

/// Labels of a sample: at most namespace and pod, or server, and a word of a closed vocabulary.
type Labels = Vec<(&'static str, String)>;

/// Writes a family of samples after the other.
struct Families<'a> {
    encoder: DescriptorEncoder<'a>,
}

impl Families<'_> {
    /// Counters; `name` without `_total`.
    fn counters(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels, u64)>,
    ) -> fmt::Result {
        let mut family = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, count) in samples {
            if labels.is_empty() {
                family.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
            } else {
                family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
            }
        }
        Ok(())
    }

    /// Histograms of seconds; `name` without `_seconds`.
    fn histograms<'l>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels, &'l Latency)>,
    ) -> fmt::Result {
        let mut family =
            self.encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for (labels, latency) in samples {
            histogram(&mut family.encode_family(&labels)?, latency)?;
        }
        Ok(())
    }
}

/// The buckets that Prometheus is to have begin at 5 ms.
fn histogram(sample: &mut MetricEncoder<'_>, latency: &Latency) -> fmt::Result {
    const SHORTEST_MS: u64 = 5;
    let mut buckets = Vec::new();
    let mut shorter = 0;
    for (bound, count) in latency.buckets() {
        match bound {
            Some(bound) if bound < SHORTEST_MS => shorter += count,
            _ => {
                let bound = bound.map_or(f64::INFINITY, |bound| bound as f64 / 1e3);
                buckets.push((bound, count + std::mem::take(&mut shorter)));
            }
        }
    }
    sample.encode_histogram::<NoLabelSet>(latency.sum() as f64 / 1e9, latency.count(), &buckets, None)
}
