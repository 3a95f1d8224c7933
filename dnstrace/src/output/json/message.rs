//! A message that is no part of a query, as JSON.

use std::net::IpAddr;

use serde::Serialize;

use crate::{
    dns::{opcode, rcode},
    event::Direction,
    lookup::{Stray, StrayReason},
    output::{WallClock, names},
};

use super::{QuestionFields, SCHEMA_VERSION, Who, defect};

/// A message that is no part of a query.
#[derive(Serialize)]
pub(super) struct MessageLine<'a> {
    schema_version: u32,
    kind: &'static str,
    time: String,
    ktime_ns: u64,
    /// `undecoded`, `no_question`, `query_not_seen`, `surplus`, `late`, `untranslated`; of a TCP connection also
    /// `stream_skipped` (`bytes` in which messages could not be told apart) and `stream_not_dns`
    reason: &'static str,
    /// Number of the query it came too late for, or from the wrong address.
    query: Option<u64>,
    late_ns: Option<u64>,
    direction: &'static str,
    source: IpAddr,
    source_port: u16,
    destination: IpAddr,
    destination_port: u16,
    transport: &'static str,
    #[serde(flatten)]
    who: Who<'a>,
    bytes: u32,
    defect: Option<String>,
    id: Option<u16>,
    response: Option<bool>,
    opcode: Option<String>,
    rcode: Option<String>,
    #[serde(flatten)]
    question: Option<QuestionFields<'a>>,
}

impl<'a> MessageLine<'a> {
    pub(super) fn new(stray: &'a Stray, clock: &WallClock) -> Self {
        let observation = &stray.observation;
        let seen = &observation.seen;
        let message = observation.decoded.message.as_ref();
        let (reason, query, late_ns) = match stray.reason {
            StrayReason::Undecoded => ("undecoded", None, None),
            StrayReason::NoQuestion => ("no_question", None, None),
            StrayReason::QueryNotSeen => ("query_not_seen", None, None),
            StrayReason::Surplus { query } => ("surplus", Some(query), None),
            StrayReason::Late { query, after } => ("late", Some(query), Some(after)),
            StrayReason::Untranslated { query, .. } => ("untranslated", Some(query), None),
            StrayReason::StreamSkipped => ("stream_skipped", None, None),
            StrayReason::StreamNotDns => ("stream_not_dns", None, None),
        };
        Self {
            schema_version: SCHEMA_VERSION,
            kind: "message",
            time: clock.rfc3339(seen.time),
            ktime_ns: seen.time.0,
            reason,
            query,
            late_ns,
            direction: match seen.direction {
                Direction::Sent => "sent",
                Direction::Received => "received",
            },
            source: seen.flow.source.ip(),
            source_port: seen.flow.source.port(),
            destination: seen.flow.destination.ip(),
            destination_port: seen.flow.destination.port(),
            transport: names::transport(seen.flow.transport),
            who: Who::new(&observation.owner, &seen.task, seen.netns),
            bytes: seen.length,
            defect: defect(observation.decoded.defect.as_ref()),
            id: message.map(|message| message.id),
            response: message.map(|message| message.response),
            opcode: message.map(|message| opcode(message.opcode).into_owned()),
            rcode: message
                .filter(|message| message.response)
                .map(|message| rcode(message.rcode).into_owned()),
            question: message.and_then(|message| message.question.as_ref()).map(QuestionFields::new),
        }
    }
}
