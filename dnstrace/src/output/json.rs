//! JSON, an object a line.
//!
//! Shapes of their own, apart from the core's types: fields are only ever added within a schema version.
//! Times are RFC 3339 in UTC beside `ktime_ns`, nanoseconds of `CLOCK_MONOTONIC`; durations are nanoseconds.

use std::net::IpAddr;

use serde::Serialize;

use crate::{
    dns::{Defect, Message, opcode, rcode, record_class, record_type},
    event::{Direction, KernelTime, Task, Transport},
    identify::Owner,
    lookup::{Answer, Attempt, Fate, Outcome, Output, Query, Role, Stray, StrayReason},
    losses::Losses,
};

use super::{WallClock, answer, summary::Summary};

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
        Output::Packet(_) => Ok(String::new()),
    }
}

/// The summary at the end of the trace as a line of JSON, without the newline.
///
/// # Errors
/// As with [`line()`].
pub fn summary(
    summary: &Summary,
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
        counts: &'a super::summary::Counts,
        losses: &'a Losses,
    }
    serde_json::to_string(&SummaryLine {
        schema_version: SCHEMA_VERSION,
        kind: "summary",
        time: clock.rfc3339(end),
        ktime_ns: end.0,
        counts: summary.counts(),
        losses,
    })
}

#[derive(Serialize)]
struct QueryLine<'a> {
    schema_version: u32,
    kind: &'static str,
    number: u64,
    /// When the query was first sent (client) or received (server).
    time: String,
    ktime_ns: u64,
    role: &'static str,
    #[serde(flatten)]
    who: Who<'a>,
    #[serde(flatten)]
    question: QuestionFields<'a>,
    /// `answered`, `unanswered`, `pending`
    outcome: &'static str,
    rcode: Option<String>,
    rcode_number: Option<u16>,
    nodata: Option<bool>,
    latency_ns: Option<u64>,
    answers: Vec<RecordFields<'a>>,
    attempts: Vec<AttemptFields>,
    attempts_left_out: u32,
}

/// A message that is no part of a query.
#[derive(Serialize)]
struct MessageLine<'a> {
    schema_version: u32,
    kind: &'static str,
    time: String,
    ktime_ns: u64,
    /// `undecoded`, `no_question`, `query_not_seen`, `surplus`, `late`
    reason: &'static str,
    /// Number of the query it came too late for.
    query: Option<u64>,
    late_ns: Option<u64>,
    direction: &'static str,
    source: IpAddr,
    source_port: u16,
    destination: IpAddr,
    destination_port: u16,
    transport: &'static str,
    #[serde(flatten)]
    who: Who<'a>,
    bytes: u32,
    defect: Option<String>,
    id: Option<u16>,
    response: Option<bool>,
    opcode: Option<String>,
    rcode: Option<String>,
    #[serde(flatten)]
    question: Option<QuestionFields<'a>>,
}

/// Whose socket it was.
#[derive(Serialize)]
struct Who<'a> {
    namespace: Option<&'a str>,
    pod: Option<&'a str>,
    pod_uid: Option<&'a str>,
    container: Option<&'a str>,
    container_id: Option<&'a str>,
    unit: Option<&'a str>,
    pid: u32,
    tid: u32,
    comm: &'a str,
    netns: u32,
}

#[derive(Serialize)]
struct QuestionFields<'a> {
    qname: &'a str,
    qtype: String,
    qtype_number: u16,
    qclass: String,
}

#[derive(Serialize)]
struct RecordFields<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    rtype: String,
    ttl: u32,
    data: &'a str,
}

#[derive(Serialize)]
struct AttemptFields {
    time: String,
    ktime_ns: u64,
    /// Since the query's first attempt.
    offset_ns: u64,
    id: u16,
    client: IpAddr,
    client_port: u16,
    server: IpAddr,
    server_port: u16,
    transport: &'static str,
    bytes: u32,
    recursion_desired: bool,
    edns_udp_size: Option<u16>,
    /// `answered`, `unanswered`, `not_awaited`, `open`
    fate: &'static str,
    waited_ns: Option<u64>,
    answer: Option<AnswerFields>,
}

#[derive(Serialize)]
struct AnswerFields {
    time: String,
    ktime_ns: u64,
    latency_ns: u64,
    rcode: String,
    rcode_number: u16,
    bytes: u32,
    authoritative: bool,
    truncated: bool,
    recursion_available: bool,
    authentic_data: bool,
    answer_records: u16,
    authority_records: u16,
    additional_records: u16,
    defect: Option<String>,
}

impl<'a> QueryLine<'a> {
    fn new(query: &'a Query, clock: &WallClock) -> Self {
        let started = query.started();
        let message = query.answer().map(|answer| &answer.message);
        Self {
            schema_version: SCHEMA_VERSION,
            kind: "query",
            number: query.number,
            time: clock.rfc3339(started),
            ktime_ns: started.0,
            role: match query.role {
                Role::Client => "client",
                Role::Server => "server",
            },
            who: Who::new(&query.owner, &query.task, query.netns),
            question: QuestionFields::new(&query.question),
            outcome: match query.outcome {
                Outcome::Answered { .. } => "answered",
                Outcome::Unanswered => "unanswered",
                Outcome::Pending => "pending",
            },
            rcode: message.map(|message| rcode(message.rcode).into_owned()),
            rcode_number: message.map(|message| message.rcode),
            nodata: message.map(Message::is_nodata),
            latency_ns: query.latency(),
            answers: message.map(records).unwrap_or_default(),
            attempts: query
                .attempts
                .iter()
                .map(|attempt| AttemptFields::new(attempt, started, clock))
                .collect(),
            attempts_left_out: query.attempts_left_out,
        }
    }
}

fn records(message: &Message) -> Vec<RecordFields<'_>> {
    let fields = |record: &'_ crate::dns::Record| (record_type(record.rtype).into_owned(), record.ttl);
    message
        .answers
        .iter()
        .map(|record| {
            let (rtype, ttl) = fields(record);
            RecordFields { name: &record.name, rtype, ttl, data: &record.data }
        })
        .collect()
}

impl<'a> MessageLine<'a> {
    fn new(stray: &'a Stray, clock: &WallClock) -> Self {
        let observation = &stray.observation;
        let seen = &observation.seen;
        let message = observation.decoded.message.as_ref();
        let (reason, query, late_ns) = match stray.reason {
            StrayReason::Undecoded => ("undecoded", None, None),
            StrayReason::NoQuestion => ("no_question", None, None),
            StrayReason::QueryNotSeen => ("query_not_seen", None, None),
            StrayReason::Surplus { query } => ("surplus", Some(query), None),
            StrayReason::Late { query, after } => ("late", Some(query), Some(after)),
        };
        Self {
            schema_version: SCHEMA_VERSION,
            kind: "message",
            time: clock.rfc3339(seen.time),
            ktime_ns: seen.time.0,
            reason,
            query,
            late_ns,
            direction: match seen.direction {
                Direction::Sent => "sent",
                Direction::Received => "received",
            },
            source: seen.flow.source.ip(),
            source_port: seen.flow.source.port(),
            destination: seen.flow.destination.ip(),
            destination_port: seen.flow.destination.port(),
            transport: transport(seen.flow.transport),
            who: Who::new(&observation.owner, &seen.task, seen.netns),
            bytes: seen.length,
            defect: defect(observation.decoded.defect.as_ref()),
            id: message.map(|message| message.id),
            response: message.map(|message| message.response),
            opcode: message.map(|message| opcode(message.opcode).into_owned()),
            rcode: message
                .filter(|message| message.response)
                .map(|message| rcode(message.rcode).into_owned()),
            question: message.and_then(|message| message.question.as_ref()).map(QuestionFields::new),
        }
    }
}

impl<'a> Who<'a> {
    fn new(owner: &'a Owner, task: &'a Task, netns: u32) -> Self {
        let pod = owner.pod.as_ref();
        let container = owner.container.as_ref();
        Self {
            namespace: pod.and_then(|pod| pod.namespace.as_deref()),
            pod: pod.and_then(|pod| pod.name.as_deref()),
            pod_uid: pod.map(|pod| pod.uid.as_ref()),
            container: container.and_then(|container| container.name.as_deref()),
            container_id: container.map(|container| container.id.as_ref()),
            unit: owner.unit.as_deref(),
            pid: task.pid,
            tid: task.tid,
            comm: &task.comm,
            netns,
        }
    }
}

impl<'a> QuestionFields<'a> {
    fn new(question: &'a crate::dns::Question) -> Self {
        Self {
            qname: &question.name,
            qtype: record_type(question.qtype).into_owned(),
            qtype_number: question.qtype,
            qclass: record_class(question.qclass).into_owned(),
        }
    }
}

impl AttemptFields {
    fn new(attempt: &Attempt, started: KernelTime, clock: &WallClock) -> Self {
        let conversation = &attempt.conversation;
        let (client, server) = match conversation.role {
            Role::Client => (conversation.local, conversation.remote),
            Role::Server => (conversation.remote, conversation.local),
        };
        let (fate, waited_ns) = match &attempt.fate {
            Fate::Answered(_) => ("answered", None),
            Fate::AnsweredLate { after, .. } => ("answered_late", Some(*after)),
            Fate::SendFailed { .. } => ("send_failed", None),
            Fate::LostAtConntrack { .. } => ("lost_at_conntrack", None),
            Fate::Dropped { .. } => ("dropped", None),
            Fate::Rejected { .. } => ("rejected", None),
            Fate::AnswerDropped { .. } => ("answer_dropped", None),
            Fate::Evicted { .. } => ("evicted", None),
            Fate::Unknown { waited, .. } => ("unknown", Some(*waited)),
            Fate::Unanswered { waited } => ("unanswered", Some(*waited)),
            Fate::NotAwaited => ("not_awaited", None),
            Fate::Open => ("open", None),
        };
        Self {
            time: clock.rfc3339(attempt.time),
            ktime_ns: attempt.time.0,
            offset_ns: attempt.time.since(started),
            id: conversation.id,
            client: client.ip(),
            client_port: client.port(),
            server: server.ip(),
            server_port: server.port(),
            transport: transport(conversation.transport),
            bytes: attempt.length,
            recursion_desired: attempt.flags.recursion_desired,
            edns_udp_size: attempt.edns.map(|edns| edns.udp_size),
            fate,
            waited_ns,
            answer: attempt.answer().map(|answer| AnswerFields::new(answer, attempt.time, clock)),
        }
    }
}

impl AnswerFields {
    fn new(answer: &Answer, asked: KernelTime, clock: &WallClock) -> Self {
        let message = &answer.message;
        Self {
            time: clock.rfc3339(answer.time),
            ktime_ns: answer.time.0,
            latency_ns: answer.time.since(asked),
            rcode: rcode(message.rcode).into_owned(),
            rcode_number: message.rcode,
            bytes: answer.length,
            authoritative: message.flags.authoritative,
            truncated: message.flags.truncated,
            recursion_available: message.flags.recursion_available,
            authentic_data: message.flags.authentic_data,
            answer_records: message.counts.answers,
            authority_records: message.counts.authorities,
            additional_records: message.counts.additionals,
            defect: defect(answer.defect.as_ref()),
        }
    }
}

fn transport(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "udp",
        Transport::Tcp => "tcp",
    }
}

fn defect(defect: Option<&Defect>) -> Option<String> {
    defect.map(answer::defect)
}
