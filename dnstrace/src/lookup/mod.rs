//! Messages to attempts and queries, and what befell them on their way. Pure: events and time come in, finished
//! queries go out.
//!
//! [`Tracker`] keeps what is under way. Feed it in order of time: its method for each kind of event,
//! [`Tracker::advance`] whenever event time has passed, [`Tracker::finish`] at the end. What it decides depends
//! on event time alone, so a replay decides the same.
//!
//! A TCP connection is no query of its own: [`TcpConnection`] tells of those that carry none that could be seen. What
//! befalls a connection is told by the queries over it.

mod befall;
mod confirm;
mod connect;
mod connections;
mod conversation;
mod ended;
mod entries;
mod fate;
mod find;
mod gaps;
mod grouping;
mod health;
mod known;
mod limits;
mod model;
mod multicast;
mod open;
mod places;
mod recent;
mod retry;
mod segments;
mod server_side;
mod step;
mod streams;
mod table;
mod tracker;
mod transfer;

pub use conversation::{Conversation, Role};
pub use grouping::{Asked, AskedServer, Ending, Lookup, TriedName, TriedQuery, Waste};
pub use health::Health;
pub use limits::{Limits, Sight, Totals};
pub use model::{
    Answer, Attempt, Carrier, Fate, Observation, Outcome, Protocol, Query, ServerSide, Stray, StrayPacket,
    StrayPacketReason, StrayReason, TcpConnection,
};
pub use step::{
    ConnectionEnd, Conntrack, Dropped, InsertFailure, Insertion, Leg, REPLY_ONLY_LIFE, Step, What, Winner,
    WinnerQuery,
};
pub use tracker::{Output, Tracker};

#[cfg(test)]
pub(crate) mod tests;
