//! The server's side of a client's attempt, as JSON.

use serde::Serialize;

use crate::{
    dns::rcode,
    lookup::{Attempt, ServerSide},
    output::WallClock,
};

use super::Who;

/// What the server's socket saw of an attempt.
#[derive(Serialize)]
pub(super) struct ServerSideFields<'a> {
    /// Number of the server's own query.
    query: u64,
    #[serde(flatten)]
    who: Who<'a>,
    /// When its program received the query.
    time: String,
    ktime_ns: u64,
    /// From the client's socket to the server's program.
    there_ns: u64,
    /// When its program sent the answer; null if it had not when the client's query ended.
    answer_time: Option<String>,
    answer_ktime_ns: Option<u64>,
    /// Between the two: the server's own time.
    server_ns: Option<u64>,
    rcode: Option<String>,
    rcode_number: Option<u16>,
    /// From the server's socket to the client's program; null if no answer came.
    back_ns: Option<u64>,
}

impl<'a> ServerSideFields<'a> {
    pub(super) fn new(side: &'a ServerSide, attempt: &Attempt, clock: &WallClock) -> Self {
        let (answered, status) = side.answered.unzip();
        Self {
            query: side.query,
            who: Who::new(&side.owner, &side.task, side.netns),
            time: clock.rfc3339(side.received),
            ktime_ns: side.received.0,
            there_ns: side.received.since(attempt.time),
            answer_time: answered.map(|time| clock.rfc3339(time)),
            answer_ktime_ns: answered.map(|time| time.0),
            server_ns: answered.map(|time| time.since(side.received)),
            rcode: status.map(|status| rcode(status).into_owned()),
            rcode_number: status,
            back_ns: attempt.answer().zip(answered).map(|(answer, time)| answer.time.since(time)),
        }
    }
}
