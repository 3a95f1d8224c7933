//! JSON, an object a line.
//!
//! Shapes of their own, apart from the core's types: fields are only ever added within a schema version. The schema is
//! derived from them, with the comments of their fields as its descriptions.
//! Times are RFC 3339 in UTC beside `ktime_ns`, nanoseconds of `CLOCK_MONOTONIC`; durations are nanoseconds.

mod connection;
mod fields;
mod line;
mod lookup;
mod loss;
mod message;
mod packet;
mod query;
mod schema;
mod server_side;
mod step;
mod summary;

use crate::{event::KernelTime, lookup::Output, losses::Losses, statistics::Statistics};

use super::{Status, WallClock};
use connection::ConnectionLine;
use line::{Body, Line};
use lookup::LookupLine;
use loss::{LossLine, Lost};
use message::MessageLine;
use packet::PacketLine;
use query::QueryLine;
pub use schema::schema;
use summary::SummaryLine;

/// Version of the shapes below.
pub const SCHEMA_VERSION: u32 = 1;

/// One output of the core as a line of JSON, without the newline.
///
/// # Errors
/// If serde_json fails, which it does for no value of these types.
pub fn line(output: &Output, clock: &WallClock) -> serde_json::Result<String> {
    let body = match output {
        Output::Query(query) => Body::Query(QueryLine::new(query, clock)),
        Output::Stray(stray) => Body::Message(MessageLine::new(stray)),
        Output::Packet(packet) => Body::Packet(PacketLine::new(packet, clock)),
        Output::Connection(connection) => Body::Connection(ConnectionLine::new(connection, clock)),
        Output::Lookup(lookup) => Body::Lookup(LookupLine::new(lookup)),
        Output::Loss(loss) => {
            Body::Loss(LossLine::new(loss.since, Lost::RingFull { events: loss.events }, clock))
        }
    };
    Line::new(output.time(), clock, body).text()
}

/// How the trace fares as a line of JSON, without the newline.
///
/// # Errors
/// As with [`line()`].
pub fn status(status: &Status, time: KernelTime, clock: &WallClock) -> serde_json::Result<String> {
    Line::new(time, clock, Body::Status(status)).text()
}

/// That so many lines were not written, whose times are `since` to `until`, as a line of JSON, without the newline.
///
/// # Errors
/// As with [`line()`].
pub fn not_written(
    lines: u64,
    since: KernelTime,
    until: KernelTime,
    clock: &WallClock,
) -> serde_json::Result<String> {
    let lost = LossLine::new(since, Lost::StdoutFull { lines }, clock);
    Line::new(until, clock, Body::Loss(lost)).text()
}

/// What happened from `begin` to `end`, at the end of the trace or so far, as a line of JSON, without the newline.
///
/// # Errors
/// As with [`line()`].
pub fn summary(
    statistics: &Statistics,
    losses: &Losses,
    [begin, end]: [KernelTime; 2],
    is_final: bool,
    clock: &WallClock,
) -> serde_json::Result<String> {
    let summary = SummaryLine::new(statistics, losses, end.since(begin), is_final);
    Line::new(end, clock, Body::Summary(Box::new(summary))).text()
}
