//! The summary as JSON.

use schemars::JsonSchema;
use serde::Serialize;

use crate::{losses::Losses, statistics::Counts};

/// What was counted.
#[derive(Serialize, JsonSchema)]
pub(super) struct SummaryLine<'a> {
    #[serde(flatten)]
    pub counts: &'a Counts,
    /// What was lost, by place and cause.
    pub losses: &'a Losses,
}
