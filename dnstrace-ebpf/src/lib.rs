//! The wire between kernel and user: the records that the eBPF programs write into the ring buffer, and the
//! read-only globals and maps that the loader hands to them. This is the only thing the two sides share.
//!
//! Every record begins with an [`EventHeader`]. All integers are in the CPU's byte order, as the kernel and
//! the loader run on the same machine; IP addresses are 16 bytes in network order, IPv4 in its v4-mapped form
//! (`::ffff:a.b.c.d`). No padding is implicit: each size is asserted below, on both sides of the wire.
#![no_std]

pub mod config;
pub mod wire;
