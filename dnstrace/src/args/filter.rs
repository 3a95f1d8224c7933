//! Options that pick what is shown.

use std::time::Duration;

use clap::Args;

use crate::filter::{Filter, NamePattern, RcodePattern, ServerPattern, TypePattern};

/// What is hidden is counted in the summary, which counts all else of what is shown only.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Filters (each must hold; what they hide is counted in the summary)")]
pub struct FilterArgs {
    /// Only names of this pattern: '*.example.com', 'api.*'; * any text, ? one character, {a,b} either. May be repeated:
    /// any of them.
    #[arg(long = "name", value_name = "GLOB")]
    pub names: Vec<NamePattern>,

    /// Only this query type: A, HTTPS, TYPE65; may be repeated.
    #[arg(long = "type", value_name = "TYPE")]
    pub types: Vec<TypePattern>,

    /// Only queries that ended with this RCODE, as the table shows it: NXDOMAIN, NODATA (apart from NOERROR), or a number (0
    /// is both); may be repeated.
    #[arg(long = "rcode", value_name = "RCODE")]
    pub rcodes: Vec<RcodePattern>,

    /// Only queries to this server, or answered by it behind a Service: IP, IP:PORT or a network (10.244.0.0/16); may be
    /// repeated.
    #[arg(long = "server", value_name = "ADDRESS")]
    pub servers: Vec<ServerPattern>,

    /// Only what took longer than this (or the opening of its TCP connection did), or was never answered: 100ms, 2s.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub slower_than: Option<Duration>,

    /// Only what went wrong: no answer, an error such as SERVFAIL or REFUSED, or a packet that was lost, refused or late on
    /// the way, even if a later attempt was answered.
    #[arg(long)]
    pub failed: bool,
}

impl FilterArgs {
    /// The filter that they make.
    pub fn filter(&self) -> Filter {
        let Self { names, types, rcodes, servers, slower_than, failed } = self.clone();
        Filter { names, types, rcodes, servers, slower_than, failed }
    }
}
