//! The live kernel: what it can be asked for, attachment, and the reader of the ring.

pub mod btf;
pub mod kallsyms;
