//! `dnstrace hooks`: what the running kernel lets dnstrace see.

use anyhow::{Context as _, Result};
use dnstrace_ebpf::config::Config;
use serde::Serialize;

use crate::{
    args::ListFormat,
    capture::{AttachMode, Attached, Capture, Missing, Request, hooks::TABLE, preflight::Facts},
    stdout,
};

/// Small: nothing is read from it.
const RING_BYTES: u32 = 64 << 10;

/// A hook on this kernel.
#[derive(Debug, Serialize)]
struct Line {
    /// Kernel function or tracepoint, by the first of the names that it has on some kernel.
    hook: &'static str,
    /// Its name on this kernel; null if it is not attached.
    target: Option<&'static str>,
    /// `kprobe`, `kprobe_pair`, `fentry`, `fentry_pair`, `raw_tracepoint`
    kind: Option<&'static str>,
    attached: bool,
    /// Why it is not attached, or not in the way that was tried first.
    why: Option<String>,
    lost_without: &'static str,
}

/// Attaches every hook, prints them and detaches.
///
/// # Errors
/// What refuses a trace as well, except a single hook; or stdout.
pub fn list(format: ListFormat, attach: AttachMode) -> Result<()> {
    Facts::gather().context("cannot ask the kernel what it is")?.check()?;
    let request = Request {
        config: Config::EVERYTHING,
        cgroup_v1: false,
        cgroups: Vec::new(),
        netns: Vec::new(),
        ring_bytes: RING_BYTES,
        verbose: false,
        attach,
        doh_resolvers: Vec::new(),
    };
    let (capture, _ring) = Capture::try_all(&request)?;
    let mut text = String::new();
    for line in lines(capture.attached(), capture.missing()) {
        text += &match format {
            ListFormat::Json => serde_json::to_string(&line)?,
            ListFormat::Table => line.text(),
        };
        text.push('\n');
    }
    stdout::say_all(&text)
}

/// In the order of the table.
fn lines(attached: &[Attached], missing: &[Missing]) -> Vec<Line> {
    let lines = TABLE.iter().map(|row| {
        let attached = attached.iter().find(|attached| attached.row.hook == row.hook);
        let missing = missing.iter().find(|missing| missing.row.hook == row.hook);
        Line {
            hook: row.name(),
            target: attached.map(|attached| attached.target),
            kind: attached.map(|attached| attached.way.name()),
            attached: attached.is_some(),
            why: match attached {
                Some(attached) => attached.refused.clone(),
                None => missing.map(|missing| missing.why.clone()),
            },
            lost_without: row.lost_without,
        }
    });
    lines.collect()
}

impl Line {
    /// `kprobe         udp_rcv` or `-              udp_rcv: this kernel has no such function; not seen: ...`
    fn text(&self) -> String {
        match (self.target, self.kind) {
            (Some(target), Some(kind)) => match &self.why {
                Some(why) => format!("{kind:<14}  {target} (not in the first way: {why})"),
                None => format!("{kind:<14}  {target}"),
            },
            _ => format!(
                "{:<14}  {}: {}; not seen: {}",
                "-",
                self.hook,
                self.why.as_deref().unwrap_or_default(),
                self.lost_without
            ),
        }
    }
}
