//! The eBPF programs' own messages (aya-log), under `-v`. Never data: what a packet holds goes through the ring.

use aya::Ebpf;
use aya_log::EbpfLogger;
use log::{Log, Metadata, Record};

use crate::stderr;

/// The reader of the programs' messages.
pub struct Diagnostics(EbpfLogger<Stderr>);

/// Level of messages that the programs write, as aya-log's global has it: 0 is none.
pub fn level(verbose: bool) -> u8 {
    if verbose { aya_log::Level::Debug as u8 } else { 0 }
}

impl Diagnostics {
    /// Takes the map of the messages out of a loaded object.
    ///
    /// # Errors
    /// If the object has no such map.
    pub fn open(ebpf: &mut Ebpf) -> Result<Self, aya_log::Error> {
        EbpfLogger::init_with_logger(ebpf, Stderr).map(Self)
    }

    /// Writes what is there to stderr.
    pub fn flush(&mut self) {
        self.0.flush();
    }
}

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        stderr::say(format_args!("eBPF: {}", record.args()));
    }

    fn flush(&self) {}
}
