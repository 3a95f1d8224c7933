//! What filters hid: counted, so that nobody takes what is shown for all that happened.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::lookup::Output;

use super::Criterion;

/// How many outputs were hidden. Each is counted once by kind, and once by the first criterion that it failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Hidden {
    /// Queries, at clients and servers.
    pub queries: u64,
    /// Messages that are no part of a query.
    pub messages: u64,
    /// Packets of no query under way.
    pub packets: u64,
    /// TCP connections that have something to tell beside their queries.
    pub connections: u64,
    /// What programs asked for.
    pub lookups: u64,
    /// By the name of the option, without its dashes.
    pub by_filter: BTreeMap<&'static str, u64>,
}

impl Hidden {
    /// Counts an output that this criterion hid.
    pub fn add(&mut self, output: &Output, by: Criterion) {
        let kind = match output {
            Output::Query(_) => &mut self.queries,
            Output::Stray(_) => &mut self.messages,
            Output::Packet(_) => &mut self.packets,
            Output::Connection(_) => &mut self.connections,
            Output::Lookup(_) => &mut self.lookups,
            // Never hidden.
            Output::Loss(_) => return,
        };
        *kind += 1;
        *self.by_filter.entry(by.option()).or_default() += 1;
    }

    /// A line for the summary, with its newline; empty if nothing was hidden.
    pub fn text(&self) -> String {
        let kinds = [
            (self.queries, "query", "queries"),
            (self.messages, "message", "messages"),
            (self.packets, "packet", "packets"),
            (self.connections, "connection", "connections"),
            (self.lookups, "lookup", "lookups"),
        ];
        let kinds = kinds.iter().filter(|(count, ..)| *count > 0);
        let kinds: Vec<_> = kinds
            .map(|(count, one, many)| format!("{count} {}", if *count == 1 { one } else { many }))
            .collect();
        if kinds.is_empty() {
            return String::new();
        }
        let by: Vec<_> =
            self.by_filter.iter().map(|(option, count)| format!("{count} by --{option}")).collect();
        format!("{} hidden by filters ({}): not counted above\n", kinds.join(", "), by.join(", "))
    }
}
