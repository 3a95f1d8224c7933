//! Messages to attempts and queries. Pure: messages and time come in, finished queries go out.
//!
//! [`Tracker`] keeps what is under way. Feed it in order of time: [`Tracker::message`] for each message,
//! [`Tracker::advance`] whenever event time has passed, [`Tracker::finish`] at the end. What it decides depends
//! on event time alone, so a replay decides the same.

mod conversation;
mod ended;
mod fate;
mod limits;
mod model;
mod open;
mod places;
mod step;
mod table;
mod tracker;

pub use conversation::{Conversation, Role};
pub use limits::{Limits, Totals};
pub use model::{
    Answer, Attempt, Fate, Observation, Outcome, Query, Stray, StrayPacket, StrayPacketReason, StrayReason,
};
pub use step::{
    Conntrack, Dropped, InsertFailure, Insertion, Leg, REPLY_ONLY_LIFE, Step, What, Winner, WinnerQuery,
};
pub use tracker::{Output, Tracker};

#[cfg(test)]
pub(crate) mod tests;
