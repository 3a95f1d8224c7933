//! What befell a packet that is no part of a query under way, as JSON.

use serde::Serialize;

use crate::{
    lookup::{StrayPacket, StrayPacketReason},
    output::{WallClock, names},
};

use super::{
    QuestionFields, SCHEMA_VERSION, defect,
    step::{Ends, StepFields},
};

#[derive(Serialize)]
pub(super) struct PacketLine<'a> {
    schema_version: u32,
    kind: &'static str,
    time: String,
    ktime_ns: u64,
    /// `no_attempt`, `ambiguous`, `ended`
    reason: &'static str,
    /// Number of the ended query that it belongs to.
    query: Option<u64>,
    step: StepFields<'a>,
    /// As the packet's headers were.
    #[serde(flatten)]
    ends: Ends,
    transport: &'static str,
    defect: Option<String>,
    id: Option<u16>,
    response: Option<bool>,
    #[serde(flatten)]
    question: Option<QuestionFields<'a>>,
}

impl<'a> PacketLine<'a> {
    pub(super) fn new(stray: &'a StrayPacket, clock: &WallClock) -> Self {
        let message = stray.decoded.message.as_ref();
        let (reason, query) = match stray.reason {
            StrayPacketReason::NoAttempt => ("no_attempt", None),
            StrayPacketReason::Ambiguous => ("ambiguous", None),
            StrayPacketReason::Ended { query } => ("ended", Some(query)),
        };
        Self {
            schema_version: SCHEMA_VERSION,
            kind: "packet",
            time: clock.rfc3339(stray.step.time),
            ktime_ns: stray.step.time.0,
            reason,
            query,
            step: StepFields::new(&stray.step, None, clock),
            ends: Ends::of(stray.flow),
            transport: names::transport(stray.flow.transport),
            defect: defect(stray.decoded.defect.as_ref()),
            id: message.map(|message| message.id),
            response: message.map(|message| message.response),
            question: message.and_then(|message| message.question.as_ref()).map(QuestionFields::new),
        }
    }
}
