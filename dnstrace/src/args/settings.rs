//! What the command line means to the rooms that it sets up.

use std::time::Duration;

use dnstrace_ebpf::{
    config::{Config, MAX_PORTS, target as bits},
    wire::COMM_LEN,
};

use super::{
    Args,
    usage::{self, UsageError},
};
use crate::{identify::Selection, lookup::Limits};

/// Ports of DNS over TLS (RFC 7858) and over HTTPS.
const TLS: u16 = 853;
const HTTPS: u16 = 443;
/// The programs' settings, as far as the command line alone decides them.
///
/// # Errors
/// If they make no sense.
pub fn config(args: &Args) -> Result<Config, UsageError> {
    let mut config = Config::EVERYTHING;
    if args.protocol.ports.len() > MAX_PORTS {
        return Err(UsageError::TooManyPorts(args.protocol.ports.len()));
    }
    if args.protocol.ports.contains(&0) {
        return Err(UsageError::PortZero);
    }
    usage::check(args)?;
    for (place, port) in config.ports.iter_mut().zip(&args.protocol.ports) {
        *place = *port;
    }
    // A port that is said to speak plain DNS is taken at the user's word.
    let encrypted = [(TLS, true), (HTTPS, args.doh)];
    for (place, (port, wanted)) in config.encrypted_ports.iter_mut().zip(encrypted) {
        *place = if wanted && !args.protocol.ports.contains(&port) { port } else { 0 };
    }
    if let Some(pid) = args.selection.pid {
        config.target |= bits::PROCESS;
        config.pid = pid;
    }
    if let Some(comm) = &args.selection.comm {
        config.target |= bits::COMM;
        for (place, byte) in config.comm.iter_mut().take(COMM_LEN - 1).zip(comm.bytes()) {
            *place = byte;
        }
    }
    Ok(config)
}

/// The tracker's limits, with this time-out in nanoseconds or its own.
pub fn limits(timeout: Option<u64>) -> Limits {
    let limits = Limits::default();
    Limits { timeout: timeout.unwrap_or(limits.timeout), ..limits }
}

/// A duration in nanoseconds.
pub fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Which pods the command line names.
pub fn selection(args: &Args) -> Selection {
    let of_options = args.selection.selection();
    let pods = args.target.iter().cloned().chain(of_options.pods).collect();
    Selection { pods, wait: args.wait, ..of_options }
}
