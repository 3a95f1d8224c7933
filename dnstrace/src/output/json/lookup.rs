//! A lookup, as JSON: what a program asked for, with the numbers of its queries.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    dns::{rcode, record_type},
    identify::ResolverConfig,
    lookup::{Asked, AskedServer, Ending, Lookup, TriedName, TriedQuery},
    output::vocabulary,
};

use super::fields::Who;

/// What a program asked for: the queries for all the names that its resolver made of it. Every query of role `client` is
/// in exactly one lookup, whose line follows those of its queries.
#[derive(Serialize, JsonSchema)]
pub(super) struct LookupLine<'a> {
    /// Serial number within the trace, from 1, in order of the first query.
    number: u64,
    #[serde(flatten)]
    who: Who<'a>,
    /// The name that the program gave to its resolver: with a trailing dot if it is asked as it is, without one if the search
    /// list applies. Null if several fit (see `asked_one_of`).
    asked: Option<&'a str>,
    /// The names that fit, where it is not known which of them the program gave: the first one that was tried was the last
    /// one, too. Empty otherwise.
    asked_one_of: &'a [String],
    /// How `asked` is known.
    asked_by: AskedBy,
    /// How the name ended that counted.
    outcome: vocabulary::Ending,
    /// Mnemonic of the RCODE: SERVFAIL, REFUSED, ...; null unless `outcome` is `failed`.
    rcode: Option<String>,
    /// Nanoseconds from the first query to the last needed answer. Null if a query of the name that counted was not answered.
    latency_ns: Option<u64>,
    /// Data of the answers that counted: addresses, mostly.
    data: &'a [String],
    /// Those beyond what is kept.
    data_left_out: u32,
    /// The names that were tried, in this order.
    names: Vec<NameFields<'a>>,
    /// Index into `names` of the one that counted: the first with data, else the last.
    decisive: usize,
    /// Queries of all names.
    queries: u64,
    /// Of these, for other names than the one that counted.
    wasted_queries: u64,
    /// The nanoseconds that those took.
    wasted_ns: u64,
    /// Whom it asked.
    servers: Vec<ServerFields>,
    /// Servers beyond those that are kept.
    servers_left_out: u32,
    /// Whether it asked a server that its resolv.conf does not name. Null if resolv.conf was not seen.
    asked_other_server: Option<bool>,
    /// Its resolv.conf. Null if it was not seen.
    resolver: Option<ResolverFields<'a>>,
}

/// How `asked` is known.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum AskedBy {
    /// Nothing else makes a resolver with this resolv.conf ask these names.
    ResolvConf,
    /// resolv.conf was not seen: by what the names have in common.
    Guess,
    /// A query by itself.
    AsSent,
}

/// A name that was tried.
#[derive(Serialize, JsonSchema)]
struct NameFields<'a> {
    /// With the trailing dot.
    name: &'a str,
    /// As of the lookup: the best of its queries if there was data, else the worst.
    outcome: vocabulary::Ending,
    /// Its queries, in order of time.
    queries: Vec<TriedQueryFields>,
}

/// A query for one of the names.
#[derive(Serialize, JsonSchema)]
struct TriedQueryFields {
    /// Number of its line of kind `query`.
    number: u64,
    /// Mnemonic of its type.
    qtype: String,
    /// As of the lookup.
    outcome: vocabulary::Ending,
    /// As of the lookup.
    rcode: Option<String>,
    /// Nanoseconds since the lookup's first query.
    offset_ns: u64,
    /// Nanoseconds to its answer; null if there was none.
    latency_ns: Option<u64>,
}

/// A server that was asked.
#[derive(Serialize, JsonSchema)]
struct ServerFields {
    /// Its address.
    server: IpAddr,
    /// Its port.
    server_port: u16,
    /// Over UDP or TCP.
    transport: vocabulary::Transport,
    /// Query messages to it.
    attempts: u32,
    /// Which nameserver of resolv.conf it is, from 0. Null if it is none of them, or resolv.conf was not seen.
    nameserver: Option<usize>,
}

/// The resolv.conf of the process's root, resolv.conf(5).
#[derive(Serialize, JsonSchema)]
struct ResolverFields<'a> {
    /// Its nameservers, in this order.
    nameservers: &'a [IpAddr],
    /// Its search list, in this order, without trailing dots.
    search: Vec<&'a str>,
    /// A name with so many dots is first tried as it is.
    ndots: u32,
    /// Seconds until a server is given up for the next.
    timeout_s: u32,
    /// How often the servers are asked.
    attempts: u32,
    /// Options beside these, as they are written there.
    options: Vec<vocabulary::ResolverFlag>,
    /// Whose it looks like.
    like: vocabulary::Likeness,
}

impl<'a> LookupLine<'a> {
    pub(super) fn new(lookup: &'a Lookup) -> Self {
        let (asked, asked_one_of, asked_by): (_, &[String], _) = match &lookup.asked {
            Asked::Known(name) => (Some(name.as_str()), &[], AskedBy::ResolvConf),
            Asked::OneOf(names) => (None, names, AskedBy::ResolvConf),
            Asked::Guessed(name) => (Some(name), &[], AskedBy::Guess),
            Asked::AsSent(name) => (Some(name), &[], AskedBy::AsSent),
        };
        let waste = lookup.waste();
        Self {
            number: lookup.number,
            who: Who::new(&lookup.owner, &lookup.task, lookup.netns),
            asked,
            asked_one_of,
            asked_by,
            outcome: lookup.ending.into(),
            rcode: failure(lookup.ending),
            latency_ns: lookup.latency(),
            data: &lookup.data,
            data_left_out: lookup.data_left_out,
            names: lookup.names.iter().map(|name| NameFields::new(name, lookup)).collect(),
            decisive: lookup.decisive,
            queries: lookup.queries().count() as u64,
            wasted_queries: waste.queries,
            wasted_ns: waste.time,
            servers: lookup.servers.iter().map(ServerFields::new).collect(),
            servers_left_out: lookup.servers_left_out,
            asked_other_server: lookup.asks_others(),
            resolver: lookup.owner.resolver.as_deref().map(ResolverFields::new),
        }
    }
}

impl<'a> NameFields<'a> {
    fn new(name: &'a TriedName, lookup: &Lookup) -> Self {
        Self {
            name: &name.name,
            outcome: name.ending().into(),
            queries: name.queries.iter().map(|query| TriedQueryFields::new(query, lookup)).collect(),
        }
    }
}

impl TriedQueryFields {
    fn new(query: &TriedQuery, lookup: &Lookup) -> Self {
        let is_answered = !matches!(query.ending, Ending::Unanswered | Ending::Pending);
        Self {
            number: query.number,
            qtype: record_type(query.qtype).into_owned(),
            outcome: query.ending.into(),
            rcode: failure(query.ending),
            offset_ns: query.started.since(lookup.started),
            latency_ns: is_answered.then(|| query.ended.since(query.started)),
        }
    }
}

impl ServerFields {
    fn new(server: &AskedServer) -> Self {
        Self {
            server: server.address.ip(),
            server_port: server.address.port(),
            transport: server.transport.into(),
            attempts: server.attempts,
            nameserver: server.nameserver,
        }
    }
}

impl<'a> ResolverFields<'a> {
    fn new(resolver: &'a ResolverConfig) -> Self {
        Self {
            nameservers: &resolver.nameservers,
            search: resolver.search.iter().map(|domain| &**domain).collect(),
            ndots: resolver.ndots,
            timeout_s: resolver.timeout,
            attempts: resolver.attempts,
            options: resolver.flags.iter().map(|flag| (*flag).into()).collect(),
            like: resolver.likeness.into(),
        }
    }
}

fn failure(ending: Ending) -> Option<String> {
    match ending {
        Ending::Failed(code) => Some(rcode(code).into_owned()),
        _ => None,
    }
}
