//! A lookup, as JSON: what a program asked for, with the numbers of its queries.

use std::net::IpAddr;

use serde::Serialize;

use crate::{
    dns::{rcode, record_type},
    identify::ResolverConfig,
    lookup::{Asked, AskedServer, Ending, Lookup, TriedName, TriedQuery},
    output::{WallClock, names},
};

use super::{SCHEMA_VERSION, Who};

/// What a program asked for: the queries for all the names that its resolver made of it. Every query of role `client` is
/// in exactly one lookup, whose line follows those of its queries.
#[derive(Serialize)]
pub(super) struct LookupLine<'a> {
    schema_version: u32,
    kind: &'static str,
    /// Serial number within the trace, from 1, in order of the first query.
    number: u64,
    /// When its first query was sent.
    time: String,
    ktime_ns: u64,
    #[serde(flatten)]
    who: Who<'a>,
    /// The name that the program gave to its resolver: with a trailing dot if it is asked as it is, without one if the search
    /// list applies. Null if several fit (see `asked_one_of`).
    asked: Option<&'a str>,
    /// The names that fit, where it is not known which of them the program gave: the first one that was tried was the last
    /// one, too. Empty otherwise.
    asked_one_of: &'a [String],
    /// How `asked` is known: `resolv_conf` (nothing else makes a resolver with this resolv.conf ask these names), `guess`
    /// (resolv.conf was not seen: by what the names have in common), `as_sent` (a query by itself).
    asked_by: &'static str,
    /// `found`, `nodata`, `nxdomain`, `failed`, `unanswered`, `pending`: of the name that counted.
    outcome: &'static str,
    /// Of outcome `failed`: SERVFAIL, REFUSED, ...
    rcode: Option<String>,
    /// From the first query to the last needed answer. Null if a query of the name that counted was not answered.
    latency_ns: Option<u64>,
    /// Data of the answers that counted: addresses, mostly.
    data: &'a [String],
    data_left_out: u32,
    /// The names that were tried, in this order.
    names: Vec<NameFields<'a>>,
    /// Index into `names` of the one that counted: the first with data, else the last.
    decisive: usize,
    /// Queries of all names.
    queries: u64,
    /// Of these, for other names than the one that counted.
    wasted_queries: u64,
    /// The time that those took.
    wasted_ns: u64,
    /// Whom it asked.
    servers: Vec<ServerFields>,
    servers_left_out: u32,
    /// Whether it asked a server that its resolv.conf does not name. Null if resolv.conf was not seen.
    asked_other_server: Option<bool>,
    /// Its resolv.conf. Null if it was not seen.
    resolver: Option<ResolverFields<'a>>,
}

#[derive(Serialize)]
struct NameFields<'a> {
    name: &'a str,
    /// As of the lookup: the best of its queries if there was data, else the worst.
    outcome: &'static str,
    queries: Vec<TriedQueryFields>,
}

#[derive(Serialize)]
struct TriedQueryFields {
    /// Of its line of kind `query`.
    number: u64,
    qtype: String,
    /// As of the lookup.
    outcome: &'static str,
    rcode: Option<String>,
    /// Since the lookup's first query.
    offset_ns: u64,
    /// To its answer; null if there was none.
    latency_ns: Option<u64>,
}

#[derive(Serialize)]
struct ServerFields {
    server: IpAddr,
    server_port: u16,
    transport: &'static str,
    /// Query messages to it.
    attempts: u32,
    /// Which nameserver of resolv.conf it is, from 0. Null if it is none of them, or resolv.conf was not seen.
    nameserver: Option<usize>,
}

/// The resolv.conf of the process's root, resolv.conf(5).
#[derive(Serialize)]
struct ResolverFields<'a> {
    nameservers: &'a [IpAddr],
    /// Without trailing dots.
    search: Vec<&'a str>,
    ndots: u32,
    timeout_s: u32,
    attempts: u32,
    /// Options beside these, as they are written there.
    options: Vec<&'static str>,
    /// `cluster_first` (as the kubelet writes it for this dnsPolicy), `node` (the node's, as for dnsPolicy Default), `own`
    like: &'static str,
}

impl<'a> LookupLine<'a> {
    pub(super) fn new(lookup: &'a Lookup, clock: &WallClock) -> Self {
        let (asked, asked_one_of, asked_by): (_, &[String], _) = match &lookup.asked {
            Asked::Known(name) => (Some(name.as_str()), &[], "resolv_conf"),
            Asked::OneOf(names) => (None, names, "resolv_conf"),
            Asked::Guessed(name) => (Some(name), &[], "guess"),
            Asked::AsSent(name) => (Some(name), &[], "as_sent"),
        };
        let waste = lookup.waste();
        Self {
            schema_version: SCHEMA_VERSION,
            kind: "lookup",
            number: lookup.number,
            time: clock.rfc3339(lookup.started),
            ktime_ns: lookup.started.0,
            who: Who::new(&lookup.owner, &lookup.task, lookup.netns),
            asked,
            asked_one_of,
            asked_by,
            outcome: names::ending(lookup.ending),
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
            outcome: names::ending(name.ending()),
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
            outcome: names::ending(query.ending),
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
            transport: names::transport(server.transport),
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
            options: resolver.flags.iter().map(|flag| names::resolver_flag(*flag)).collect(),
            like: names::likeness(resolver.likeness),
        }
    }
}

fn failure(ending: Ending) -> Option<String> {
    match ending {
        Ending::Failed(code) => Some(rcode(code).into_owned()),
        _ => None,
    }
}
