//! JSON, an object a line.
//!
//! Shapes of their own, apart from the core's types: fields are only ever added within a schema version.
//! Times are RFC 3339 in UTC beside `ktime_ns`, nanoseconds of `CLOCK_MONOTONIC`; durations are nanoseconds.

mod connection;
mod lookup;
mod message;
mod packet;
mod query;
mod server_side;
mod step;

use serde::Serialize;

use crate::{
    dns::{Defect, Question, record_class, record_type},
    event::{KernelTime, Task, known_netns},
    identify::Owner,
    lookup::Output,
    losses::Losses,
    statistics::{Counts, Statistics},
};

use super::{WallClock, answer};
use connection::ConnectionLine;
use lookup::LookupLine;
use message::MessageLine;
use packet::PacketLine;
use query::QueryLine;

/// Version of the shapes below.
pub const SCHEMA_VERSION: u32 = 1;

/// One output of the core as a line of JSON, without the newline.
///
/// # Errors
/// If serde_json fails, which it does for no value of these types.
pub fn line(output: &Output, clock: &WallClock) -> serde_json::Result<String> {
    match output {
        Output::Query(query) => serde_json::to_string(&QueryLine::new(query, clock)),
        Output::Stray(stray) => serde_json::to_string(&MessageLine::new(stray, clock)),
        Output::Packet(packet) => serde_json::to_string(&PacketLine::new(packet, clock)),
        Output::Connection(connection) => serde_json::to_string(&ConnectionLine::new(connection, clock)),
        Output::Lookup(lookup) => serde_json::to_string(&LookupLine::new(lookup, clock)),
    }
}

/// The summary at the end of the trace as a line of JSON, without the newline.
///
/// # Errors
/// As with [`line()`].
pub fn summary(
    statistics: &Statistics,
    losses: &Losses,
    end: KernelTime,
    clock: &WallClock,
) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct SummaryLine<'a> {
        schema_version: u32,
        kind: &'static str,
        time: String,
        ktime_ns: u64,
        #[serde(flatten)]
        counts: &'a Counts,
        losses: &'a Losses,
    }
    serde_json::to_string(&SummaryLine {
        schema_version: SCHEMA_VERSION,
        kind: "summary",
        time: clock.rfc3339(end),
        ktime_ns: end.0,
        counts: statistics.counts(),
        losses,
    })
}

/// Whose socket it was.
#[derive(Serialize)]
struct Who<'a> {
    /// Name of the node: its host name, or what the environment variable NODE_NAME says.
    node: Option<&'a str>,
    namespace: Option<&'a str>,
    pod: Option<&'a str>,
    pod_uid: Option<&'a str>,
    container: Option<&'a str>,
    container_id: Option<&'a str>,
    unit: Option<&'a str>,
    /// Of its process: null where none was seen (a connection that is older than the trace, or that a peer opened).
    pid: Option<u32>,
    tid: Option<u32>,
    comm: Option<&'a str>,
    /// Null of a capture, which knows none.
    netns: Option<u32>,
}

#[derive(Serialize)]
struct QuestionFields<'a> {
    qname: &'a str,
    qtype: String,
    qtype_number: u16,
    qclass: String,
}

impl<'a> Who<'a> {
    fn new(owner: &'a Owner, task: &'a Task, netns: u32) -> Self {
        Self::as_known(Some(owner), Some(task), netns)
    }

    fn as_known(owner: Option<&'a Owner>, task: Option<&'a Task>, netns: u32) -> Self {
        let pod = owner.and_then(|owner| owner.pod.as_ref());
        let container = owner.and_then(|owner| owner.container.as_ref());
        let task = task.filter(|task| task.is_known());
        Self {
            node: owner.and_then(|owner| owner.node.as_deref()),
            namespace: pod.and_then(|pod| pod.namespace.as_deref()),
            pod: pod.and_then(|pod| pod.name.as_deref()),
            pod_uid: pod.map(|pod| pod.uid.as_ref()),
            container: container.and_then(|container| container.name.as_deref()),
            container_id: container.map(|container| container.id.as_ref()),
            unit: owner.and_then(|owner| owner.unit.as_deref()),
            pid: task.map(|task| task.pid),
            tid: task.map(|task| task.tid),
            comm: task.map(|task| task.comm.as_str()),
            netns: known_netns(netns),
        }
    }
}

impl<'a> QuestionFields<'a> {
    fn new(question: &'a Question) -> Self {
        Self {
            qname: &question.name,
            qtype: record_type(question.qtype).into_owned(),
            qtype_number: question.qtype,
            qclass: record_class(question.qclass).into_owned(),
        }
    }
}

fn defect(defect: Option<&Defect>) -> Option<String> {
    defect.map(answer::defect)
}
