//! Recordings of several nodes as one trace.
//!
//! Nodes number their sockets, namespaces and control groups each for itself, and their clocks differ by what NTP leaves. Both
//! are put right ([`translate`], [`clock`]) while the recordings are read side by side ([`merged`]); the rest of dnstrace takes
//! their events for those of one machine: an attempt that left one node finds its server's side on another.

mod clock;
mod exchange;
mod merged;
mod translate;

pub use merged::Merged;

#[cfg(test)]
mod tests;
