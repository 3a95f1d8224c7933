//! The line itself: the head that all have, and what each kind adds to it.

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    event::KernelTime,
    output::{Status, WallClock},
};

use super::{
    SCHEMA_VERSION, connection::ConnectionLine, fields::At, lookup::LookupLine, loss::LossLine,
    message::MessageLine, packet::PacketLine, query::QueryLine, summary::SummaryLine,
};

/// A line of `dnstrace -o json`.
///
/// Within a schema version fields and kinds are only added: ignore what you do not know.
#[derive(Serialize, JsonSchema)]
pub(super) struct Line<'a> {
    /// Version of these shapes.
    #[schemars(extend("const" = SCHEMA_VERSION))]
    schema_version: u32,
    #[serde(flatten)]
    at: At,
    #[serde(flatten)]
    body: Body<'a>,
}

/// What the line is about.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Body<'a> {
    /// A question of one process, or of one client of a server, with all its attempts; told when it has ended. `time` is
    /// when it was first sent (client) or received (server).
    Query(QueryLine<'a>),
    /// What a program asked for: the queries for all the names that its resolver made of it. Every query of role `client` is
    /// in exactly one lookup, whose line follows those of its queries. `time` is when its first query was sent.
    Lookup(LookupLine<'a>),
    /// A TCP connection that has something to tell beside its queries: it could not be opened, or it is encrypted.
    /// `time` is when its SYN was sent, or the kernel refused to send one; else when it was first seen.
    Connection(ConnectionLine<'a>),
    /// A message that is no part of a query: not DNS, malformed, or an answer that nothing waited for. `time` is when the
    /// socket sent or received it.
    Message(MessageLine<'a>),
    /// What befell a packet that is no part of a query under way. `time` is when that was.
    Packet(PacketLine<'a>),
    /// Something was lost: as it happens, or as soon as it can be told. `time` is the end of the stretch of time that it
    /// concerns.
    Loss(LossLine),
    /// How the trace itself fares: it begins, sees more than before, ends.
    Status(&'a Status),
    /// What was counted: the last line of a trace; before, whenever SIGUSR1 asks for it. `time` is up to when it tells.
    Summary(Box<SummaryLine<'a>>),
}

impl<'a> Line<'a> {
    pub(super) fn new(time: KernelTime, clock: &WallClock, body: Body<'a>) -> Self {
        Self { schema_version: SCHEMA_VERSION, at: At::new(time, clock), body }
    }

    /// As text, without the newline.
    pub(super) fn text(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }
}
