//! How the trace itself fares.

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::Serialize;

use super::units::duration;

use super::escape;

/// Something about the trace rather than about what it traces. A shape of JSON as it is: the core knows none of it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Status {
    /// It sees what happens from now on.
    Started(Box<Started>),
    /// A kernel module was loaded that hooks were waiting for: they see from now on.
    ModuleLoaded {
        /// The kernel's name of the module.
        module: String,
        /// Hooks that were attached to it.
        attached: Vec<AttachedHook>,
        /// Hooks that could not be.
        missing: Vec<MissingHook>,
    },
    /// Names or labels of pods are missing for want of somebody who tells them. That is tried again and again.
    SourceFailed {
        /// Who that is.
        source: NameSource,
        /// Why it does not, and what to do.
        why: String,
    },
    /// It tells them again.
    SourceRecovered {
        /// Who.
        source: NameSource,
    },
    /// The wall clock of the node was set. All times are told by it as it was when the trace began.
    ClockSet {
        /// Nanoseconds; negative if it was set back.
        by_ns: i64,
    },
    /// It ends. The summary follows.
    Ended {
        /// Why.
        reason: EndReason,
    },
}

/// Who tells names and labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NameSource {
    /// The container runtime, by its CRI socket.
    ContainerRuntime,
    /// The API server.
    ApiServer,
}

/// What is traced, where and by what.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Started {
    /// Version of dnstrace.
    pub version: String,
    /// Name of the node: its host name, or what the environment variable NODE_NAME says; null if it has none.
    pub node: Option<String>,
    /// Release of its kernel, as `uname -r` tells it.
    pub kernel: String,
    /// What is traced, in words.
    pub target: String,
    /// Ports that are taken to speak DNS.
    pub ports: Vec<u16>,
    /// A query counts as unanswered so many nanoseconds after it was last sent.
    pub timeout_ns: u64,
    /// Hooks that are attached.
    pub attached: Vec<AttachedHook>,
    /// Hooks that are not.
    pub missing: Vec<MissingHook>,
}

/// A hook that is attached.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct AttachedHook {
    /// Kernel function or tracepoint, by the name that it has on most kernels: the name in `losses`, too.
    pub hook: &'static str,
    /// Its name on this kernel.
    pub target: &'static str,
    /// `kprobe`, `kprobe_pair`, `fentry`, `fentry_pair`, `raw_tracepoint`
    pub way: &'static str,
}

/// A hook that could not be attached.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct MissingHook {
    /// Kernel function or tracepoint, by the name that it has on most kernels.
    pub hook: &'static str,
    /// What will not be seen.
    pub lost_without: &'static str,
    /// Why it is not attached.
    pub why: String,
}

/// What ended the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// SIGINT: Ctrl-C.
    Interrupted,
    /// SIGTERM.
    Terminated,
    /// `--duration` was over.
    Duration,
    /// `--count` was reached.
    Count,
    /// Nobody reads stdout any more.
    StdoutClosed,
}

impl Status {
    /// As the user reads it on stderr, each line with its newline; empty if there is nothing to say.
    pub fn text(&self) -> String {
        match self {
            Self::Started(started) => started.text(),
            Self::ModuleLoaded { module, attached, missing } => {
                let attached = attached.len();
                format!("dnstrace: {module} was loaded: {attached} hooks attached to it\n")
                    + &without(missing)
            }
            Self::SourceFailed { why, .. } => {
                format!("dnstrace: {}; until then pods may lack names and labels\n", escape(why))
            }
            Self::SourceRecovered { source } => {
                format!("dnstrace: {} tells names and labels again\n", source.name())
            }
            Self::ClockSet { by_ns } => {
                let way = if *by_ns < 0 { "back" } else { "forward" };
                let by = duration(by_ns.unsigned_abs());
                format!(
                    "dnstrace: the wall clock was set {by} {way}: times are told as it went when the trace began\n"
                )
            }
            Self::Ended { .. } => String::new(),
        }
    }
}

impl NameSource {
    fn name(self) -> &'static str {
        match self {
            Self::ContainerRuntime => "the container runtime",
            Self::ApiServer => "the API server",
        }
    }
}

impl Started {
    /// One line on what is attached, and one for each thing that cannot be seen.
    fn text(&self) -> String {
        let ports: Vec<_> = self.ports.iter().map(u16::to_string).collect();
        let attached = self.attached.len();
        let mut text = String::new();
        // Writing into a String cannot fail.
        _ = writeln!(
            text,
            "dnstrace: tracing {} on port {}, {attached} of {} hooks attached; Ctrl-C ends",
            self.target,
            ports.join(", "),
            attached + self.missing.len(),
        );
        text + &without(&self.missing)
    }
}

fn without(missing: &[MissingHook]) -> String {
    let line = |MissingHook { hook, lost_without, why }: &MissingHook| {
        format!("dnstrace: without {hook} you will not see {lost_without} ({why})\n")
    };
    missing.iter().map(line).collect()
}
