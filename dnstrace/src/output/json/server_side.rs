//! The server's side of a client's attempt, as JSON.

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    dns::rcode,
    lookup::{Attempt, ServerSide},
    output::WallClock,
};

use super::fields::{At, Who};

/// What the server's socket saw of an attempt. `time` is when its program received the query.
#[derive(Serialize, JsonSchema)]
pub(super) struct ServerSideFields<'a> {
    /// Number of the server's own query.
    query: u64,
    #[serde(flatten)]
    who: Who<'a>,
    #[serde(flatten)]
    at: At,
    /// Nanoseconds from the client's socket to the server's program. Of two nodes as exact as their clocks could be compared, which
    /// stderr tells, as is `back_ns`.
    there_ns: u64,
    /// When its program sent the answer; null if it had not when the client's query ended.
    #[schemars(extend("format" = "date-time"))]
    answer_time: Option<String>,
    /// The same as kernel time, in nanoseconds.
    answer_ktime_ns: Option<u64>,
    /// Nanoseconds between the two: the server's own time.
    server_ns: Option<u64>,
    /// Mnemonic of the answer's RCODE as IANA lists it; null like `answer_time`.
    rcode: Option<String>,
    /// The RCODE as a number, with the upper bits of EDNS; null like `answer_time`.
    rcode_number: Option<u16>,
    /// Nanoseconds from the server's socket to the client's program; null if no answer came.
    back_ns: Option<u64>,
}

impl<'a> ServerSideFields<'a> {
    pub(super) fn new(side: &'a ServerSide, attempt: &Attempt, clock: &WallClock) -> Self {
        let (answered, status) = side.answered.unzip();
        Self {
            query: side.query,
            who: Who::new(&side.owner, &side.task, side.netns),
            at: At::new(side.received, clock),
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
