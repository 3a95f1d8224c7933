//! Recordings: a trace in a pcapng file, from which it can be told again.
//!
//! Every event that the pipeline is fed is in it, in blocks of dnstrace's own ([`format`]), so that a replay decides the same
//! as the trace did.

mod blocks;
pub mod format;
mod owners;
mod reader;

pub use format::{Head, MARK_LEN, Node, is_mark};
pub use owners::Told;
pub use reader::{Reader, by_trace, head};
