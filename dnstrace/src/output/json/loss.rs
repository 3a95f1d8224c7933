//! What was lost, as it happens, as JSON.

use schemars::JsonSchema;
use serde::Serialize;

use crate::{event::KernelTime, output::WallClock};

/// Something was lost in a stretch of time; `time` is its end.
#[derive(Serialize, JsonSchema)]
pub(super) struct LossLine {
    /// Its beginning: RFC 3339 in UTC, with nanoseconds.
    #[schemars(extend("format" = "date-time"))]
    since: String,
    /// The same as kernel time, in nanoseconds.
    since_ktime_ns: u64,
    #[serde(flatten)]
    what: Lost,
}

/// What, and why.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub(super) enum Lost {
    /// Events did not fit into the kernel's ring (see `--ring`). Queries of that time may be missing; attempts that were
    /// waiting for an answer then are of fate `unknown`.
    RingFull {
        /// Events of the kernel: messages, packets, connections.
        events: u64,
    },
    /// Whoever reads stdout did not take the lines in time. The `time` of each of them lies in that stretch.
    StdoutFull {
        /// Lines that were not written.
        lines: u64,
    },
}

impl LossLine {
    pub(super) fn new(since: KernelTime, what: Lost, clock: &WallClock) -> Self {
        Self { since: clock.rfc3339(since), since_ktime_ns: since.0, what }
    }
}
