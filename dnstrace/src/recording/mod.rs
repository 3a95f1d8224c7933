//! Recordings: a trace in a pcapng file, from which it can be told again.
//!
//! Every event that the pipeline is fed is in it, in blocks of dnstrace's own ([`format`]), so that a replay decides the same
//! as the trace did. Beside them stands each message as a packet, with comments that tell its fate, for Wireshark and its
//! like; a replay passes these over.

mod blocks;
mod files;
pub mod format;
mod owners;
mod packet;
mod packets;
mod reader;
mod recorded;
mod recorder;
mod segment;
mod start;
mod waiting;

#[cfg(test)]
mod tests;

pub use files::Rotation;
pub use format::{Head, MARK_LEN, Node, is_mark};
pub use owners::{Telling, Told};
pub use reader::{Reader, by_trace, head};
pub use recorded::Recorded;
pub use recorder::Recorder;
pub use start::start;
