//! The live kernel: what it can be asked for, the attachment of the eBPF programs, and the reader of the ring.
//!
//! In this order: [`preflight`] refuses what cannot work, [`offsets`] asks the kernel's BTF for its layout,
//! [`attach`] loads and attaches what [`hooks`] lists, [`ring`] reads, with [`names`] for the kernel's numbers. `counts` is what
//! the programs count beside their records. [`diagnostics`] are the programs' own messages.

pub mod attach;
pub mod btf;
mod counts;
pub mod diagnostics;
pub mod hooks;
pub mod kallsyms;
pub mod names;
pub mod offsets;
pub mod preflight;
mod programs;
pub mod ring;

pub use attach::{Attached, Capture, CaptureError, Missing, Request};
pub use programs::{AttachMode, Way};
