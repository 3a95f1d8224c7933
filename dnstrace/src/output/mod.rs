//! Queries to what the user reads: [`table`] for eyes, [`json`] for programs, [`comment`] for the packets of a recording,
//! [`summary`] for the end.
//!
//! Each is a function of what the core says and of [`WallClock`]: no file, no terminal, no clock here.

mod answer;
mod attempt;
pub mod comment;
mod connection;
mod escape;
pub mod json;
mod lookup;
mod names;
mod nodes;
mod server_side;
mod sick;
mod status;
mod step;
pub mod summary;
pub mod table;
mod units;
mod vocabulary;

pub use escape::escape;
pub use nodes::Nodes;
pub use status::{AttachedHook, EndReason, MissingHook, NameSource, Started, Status};
pub use units::WallClock;

/// Words of the summary, for whoever shows the same counts otherwise.
pub(crate) mod summary_words {
    pub(crate) use super::{
        step::endpoint,
        summary::{
            latency::quantiles,
            servers::{address, quantiles as server_quantiles, trouble},
            totals::{by_ending, conntrack, fates},
        },
        units::duration,
    };
}

/// Words and judgements that [`crate::statistics`] counts by: those that the lines are made of.
pub(crate) mod words {
    pub(crate) use super::{
        answer::status,
        connection::{is_syn_again, opened_slowly, syns_again},
        names::{fate, transport},
        sick::sick,
    };
    use crate::lookup::TcpConnection;

    /// Whether a connection could not be opened.
    pub(crate) fn is_unopened(connection: &TcpConnection) -> bool {
        super::connection::unopened(connection).is_some()
    }
}

#[cfg(test)]
pub(crate) mod tests;
