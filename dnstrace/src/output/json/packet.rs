//! What befell a packet that is no part of a query under way, as JSON.

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    lookup::{StrayPacket, StrayPacketReason},
    output::{WallClock, vocabulary},
};

use super::{
    fields::{Ends, QuestionFields, defect},
    step::StepFields,
};

/// What befell a packet that is no part of a query under way.
#[derive(Serialize, JsonSchema)]
pub(super) struct PacketLine<'a> {
    /// Why it is no part of a query under way.
    reason: Reason,
    /// Number of the ended query that it belongs to; null of other reasons.
    query: Option<u64>,
    /// What befell it.
    step: StepFields<'a>,
    /// As the packet's headers were.
    #[serde(flatten)]
    ends: Ends,
    /// Over UDP or TCP.
    transport: vocabulary::Transport,
    /// What could not be read of its message; null if all could.
    defect: Option<String>,
    /// DNS id; null if there is no message that could be read.
    id: Option<u16>,
    /// Whether it is a response; null like `id`.
    response: Option<bool>,
    #[serde(flatten)]
    question: Option<QuestionFields<'a>>,
}

/// Why a packet is no part of a query under way.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Reason {
    /// No attempt is known that it could belong to.
    NoAttempt,
    /// It could belong to several.
    Ambiguous,
    /// Its query had ended.
    Ended,
}

impl<'a> PacketLine<'a> {
    pub(super) fn new(stray: &'a StrayPacket, clock: &WallClock) -> Self {
        let message = stray.decoded.message.as_ref();
        let (reason, query) = match stray.reason {
            StrayPacketReason::NoAttempt => (Reason::NoAttempt, None),
            StrayPacketReason::Ambiguous => (Reason::Ambiguous, None),
            StrayPacketReason::Ended { query } => (Reason::Ended, Some(query)),
        };
        Self {
            reason,
            query,
            step: StepFields::new(&stray.step, None, clock),
            ends: Ends::of(stray.flow),
            transport: stray.flow.transport.into(),
            defect: defect(stray.decoded.defect.as_ref()),
            id: message.map(|message| message.id),
            response: message.map(|message| message.response),
            question: message.and_then(|message| message.question.as_ref()).map(QuestionFields::new),
        }
    }
}
