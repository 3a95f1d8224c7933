//! Fuzz targets: what holds of whatever bytes come in from outside.
//!
//! A target is a function `check` of bytes that panics if something does not hold. `cargo xtask fuzz` lets libFuzzer look for
//! such bytes; ordinary tests run [`seeds`], and what was found once (`found/`), through all targets.
//!
//! | target | bytes | what holds |
//! |---|---|---|
//! | [`event`] | a record of the kernel | decoded or refused; no payload longer than its message; the same after a recording |
//! | [`dns`] | a DNS message | names are safe to show; what is cut off changes nothing before it |
//! | [`stream`] | calls on TCP connections | messages come out as they went in, however torn; memory is bounded |
//! | [`file`] | a recording, a capture | read to an end or refused; what is shown is safe |
//! | [`trace`] | records of a whole trace | every line and number of it is safe, and JSON is JSON |

pub mod dns;
pub mod event;
pub mod file;
pub mod seeds;
pub mod shown;
pub mod stream;
pub mod trace;

/// A target, by its name.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 5] = [
    ("event", event::check),
    ("dns", dns::check),
    ("stream", stream::check),
    ("file", file::check),
    ("trace", trace::check),
];
