//! dnstrace: every DNS lookup of a pod, and what became of each packet.
//!
//! One direction, one room a step; an event enters at the top and leaves at the bottom as words:
//!
//! - [`capture`]: the live kernel: offsets from BTF, attachment of the eBPF programs, the ring's reader
//! - [`source`]: where events come from, in the order of their time, with what was lost
//! - [`recording`]: what was traced as a file, which is a source again
//! - [`pcap`]: captures of others, packets to events
//! - [`event`]: the events themselves
//! - [`dns`]: payload bytes to DNS messages
//! - [`identify`]: cgroup and process to pod, container, host service
//! - [`directory`]: addresses to Services and pods, as the Kubernetes API ([`kube`]) has told
//! - [`lookup`]: messages to attempts and queries
//! - [`filter`]: which of them the user wants to see
//! - [`statistics`]: what it all comes to
//! - [`output`]: queries to what the user reads
//!
//! [`dns`], [`directory`], [`lookup`], [`filter`] and [`statistics`] are pure: events and time come in, values go out.

pub mod args;
pub mod capture;
pub mod cri;
pub mod directory;
pub mod dns;
pub mod doh;
pub mod event;
pub mod exit;
pub mod filter;
pub mod generate;
pub mod hooks;
pub mod identify;
pub mod kernel_counters;
pub mod kube;
pub mod lookup;
pub mod losses;
pub mod merge;
pub mod metrics;
pub mod output;
pub mod pcap;
pub mod pipeline;
pub mod printer;
pub mod recording;
pub mod replay;
pub mod sinks;
pub mod source;
pub mod statistics;
pub mod stderr;
pub mod stdout;
pub mod tellers;
pub mod terminal;
pub mod top;
pub mod trace;
