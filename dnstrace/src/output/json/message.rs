//! A message that is no part of a query, as JSON.

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    dns::{opcode, rcode},
    lookup::{Stray, StrayReason},
    output::vocabulary,
};

use super::fields::{Ends, QuestionFields, Who, defect};

/// A message that is no part of a query.
#[derive(Serialize, JsonSchema)]
pub(super) struct MessageLine<'a> {
    /// Why it is no part of a query.
    reason: Reason,
    /// Number of the query that it came too late for, or from the wrong address; null of other reasons.
    query: Option<u64>,
    /// How late, in nanoseconds after the attempt; null unless `reason` is `late`.
    late_ns: Option<u64>,
    /// What the traced socket did with it.
    direction: vocabulary::Direction,
    #[serde(flatten)]
    ends: Ends,
    /// Over UDP or TCP.
    transport: vocabulary::Transport,
    #[serde(flatten)]
    who: Who<'a>,
    /// Bytes of the message, or of the stretch that was skipped.
    bytes: u32,
    /// What could not be read of it; null if all could.
    defect: Option<String>,
    /// DNS id; null if it is not DNS.
    id: Option<u16>,
    /// Whether it is a response; null like `id`.
    response: Option<bool>,
    /// Mnemonic of the OPCODE; null like `id`.
    opcode: Option<String>,
    /// Mnemonic of the RCODE; null unless it is a response.
    rcode: Option<String>,
    #[serde(flatten)]
    question: Option<QuestionFields<'a>>,
}

/// Why a message is no part of a query.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Reason {
    /// It is not DNS, or too little of it was captured to tell.
    Undecoded,
    /// It has no question that could be read.
    NoQuestion,
    /// A response whose query was not seen: sent before the trace began, lost by the capture, or never asked.
    QueryNotSeen,
    /// A response after its query had been answered.
    Surplus,
    /// A response that came when its query had been given up.
    Late,
    /// A response that came from the endpoint's address: nobody had translated it back to the one that was asked.
    Untranslated,
    /// Bytes of a TCP connection in which messages could not be told apart.
    StreamSkipped,
    /// A TCP connection that does not speak DNS.
    StreamNotDns,
}

impl<'a> MessageLine<'a> {
    pub(super) fn new(stray: &'a Stray) -> Self {
        let observation = &stray.observation;
        let seen = &observation.seen;
        let message = observation.decoded.message.as_ref();
        let (reason, query, late_ns) = match stray.reason {
            StrayReason::Undecoded => (Reason::Undecoded, None, None),
            StrayReason::NoQuestion => (Reason::NoQuestion, None, None),
            StrayReason::QueryNotSeen => (Reason::QueryNotSeen, None, None),
            StrayReason::Surplus { query } => (Reason::Surplus, Some(query), None),
            StrayReason::Late { query, after } => (Reason::Late, Some(query), Some(after)),
            StrayReason::Untranslated { query, .. } => (Reason::Untranslated, Some(query), None),
            StrayReason::StreamSkipped => (Reason::StreamSkipped, None, None),
            StrayReason::StreamNotDns => (Reason::StreamNotDns, None, None),
        };
        Self {
            reason,
            query,
            late_ns,
            direction: seen.direction.into(),
            ends: Ends::of(seen.flow),
            transport: seen.flow.transport.into(),
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
