//! The beginning of a recording.

use std::fs;

use anyhow::Result;

use super::{Head, Node, Recorder};
use crate::{args::RecordArgs, source::Begin};

impl Node {
    /// The node that this process runs on, which is called `name`. What cannot be read stays empty.
    pub fn here(name: Option<&str>) -> Self {
        let read = |path| fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
        Self { name: name.unwrap_or_default().to_owned(), boot_id: read("/proc/sys/kernel/random/boot_id") }
    }
}

/// Begins the recording that the command line asks for: of `node`, which watches these ports.
///
/// # Errors
/// If its file cannot be written.
pub fn start(args: &RecordArgs, node: Node, ports: &[u16], begin: Begin) -> Result<Option<Recorder>> {
    let Some(path) = &args.write else { return Ok(None) };
    let head = Head {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        node,
        trace_began: begin.time,
        segment: 1,
        events_before: 0,
        ports: ports.to_vec(),
        begin,
    };
    Recorder::begin(path, args.rotate, args.keep, head).map(Some)
}
