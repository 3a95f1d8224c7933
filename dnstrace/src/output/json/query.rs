//! A query with its attempts, as JSON.

use std::net::IpAddr;

use serde::Serialize;

use crate::{
    dns::{Message, Record, rcode, record_type},
    event::KernelTime,
    lookup::{Answer, Attempt, Carrier, Fate, Outcome, Query, Role},
    output::{WallClock, names},
};

use super::{QuestionFields, SCHEMA_VERSION, Who, defect, server_side::ServerSideFields, step::StepFields};

#[derive(Serialize)]
pub(super) struct QueryLine<'a> {
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
    attempts: Vec<AttemptFields<'a>>,
    attempts_left_out: u32,
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
struct AttemptFields<'a> {
    time: String,
    ktime_ns: u64,
    /// Since the query's first attempt.
    offset_ns: u64,
    /// Null if there was no connection to send a message on.
    id: Option<u16>,
    client: IpAddr,
    client_port: u16,
    server: IpAddr,
    server_port: u16,
    transport: &'static str,
    /// Null like `id`.
    bytes: Option<u32>,
    recursion_desired: Option<bool>,
    edns_udp_size: Option<u16>,
    /// The endpoint behind the server's address, if a translation was seen.
    endpoint: Option<IpAddr>,
    endpoint_port: Option<u16>,
    /// Of TCP.
    connection: Option<CarrierFields>,
    /// `answered`, `answered_late`, `send_failed`, `rejected`, `lost_at_conntrack`, `dropped`, `answer_dropped`,
    /// `evicted`, `connect_failed`, `connection_lost`, `unanswered`, `not_awaited`, `open`, `unknown`
    fate: &'static str,
    /// Index into `steps` of the one that decided the fate.
    fate_step: Option<usize>,
    /// How long no answer was seen: until it came too late, the next attempt, or the time-out.
    waited_ns: Option<u64>,
    /// Of fate `unknown`: events lost while it was waited for.
    events_lost: Option<u64>,
    steps: Vec<StepFields<'a>>,
    steps_left_out: u32,
    /// Of a client's attempt, what its server's socket saw of it; null where that was not traced, or the query not seen
    /// there.
    server_side: Option<ServerSideFields<'a>>,
    answer: Option<AnswerFields>,
}

/// The TCP connection of an attempt, as it was when the query was sent.
#[derive(Serialize)]
struct CarrierFields {
    /// Serial number of the connection within the trace.
    number: u64,
    /// When its SYN was sent; null at a server, and if that was before the trace.
    opened: Option<String>,
    opened_ktime_ns: Option<u64>,
    established: Option<String>,
    established_ktime_ns: Option<u64>,
    /// From the SYN to the open connection.
    connect_ns: Option<u64>,
    syn_retransmissions: u32,
    /// Queries that went over it before this one.
    queries_before: u64,
}

#[derive(Serialize)]
struct AnswerFields {
    time: String,
    ktime_ns: u64,
    latency_ns: u64,
    /// Of it, in the socket's buffer, not yet read by the program.
    socket_wait_ns: Option<u64>,
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
    /// Messages of the answer beyond this one: of a zone transfer, or of other responders to a multicast query.
    further_messages: u64,
}

impl<'a> QueryLine<'a> {
    pub(super) fn new(query: &'a Query, clock: &WallClock) -> Self {
        let started = query.started();
        let message = query.answer().map(|answer| &answer.message);
        Self {
            schema_version: SCHEMA_VERSION,
            kind: "query",
            number: query.number,
            time: clock.rfc3339(started),
            ktime_ns: started.0,
            role: names::role(query.role),
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
    let answers = message.answers.iter();
    answers
        .map(|Record { name, rtype, ttl, data }| RecordFields {
            name,
            rtype: record_type(*rtype).into_owned(),
            ttl: *ttl,
            data,
        })
        .collect()
}

impl<'a> AttemptFields<'a> {
    fn new(attempt: &'a Attempt, started: KernelTime, clock: &WallClock) -> Self {
        let conversation = &attempt.conversation;
        let (client, server) = match conversation.role {
            Role::Client => (conversation.local, conversation.remote),
            Role::Server => (conversation.remote, conversation.local),
        };
        let (waited_ns, events_lost) = match attempt.fate {
            Fate::AnsweredLate { after: waited, .. } | Fate::Unanswered { waited } => (Some(waited), None),
            Fate::Unknown { waited, lost } => (Some(waited), Some(lost)),
            _ => (None, None),
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
            transport: names::transport(conversation.transport),
            bytes: conversation.id.map(|_| attempt.length),
            recursion_desired: conversation.id.map(|_| attempt.flags.recursion_desired),
            edns_udp_size: attempt.edns.map(|edns| edns.udp_size),
            endpoint: attempt.endpoint.map(|endpoint| endpoint.ip()),
            endpoint_port: attempt.endpoint.map(|endpoint| endpoint.port()),
            connection: attempt.carrier.map(|carrier| CarrierFields::new(&carrier, clock)),
            fate: names::fate(&attempt.fate),
            fate_step: fate_step(&attempt.fate),
            waited_ns,
            events_lost,
            steps: attempt.steps.iter().map(|step| StepFields::new(step, Some(started), clock)).collect(),
            steps_left_out: attempt.steps_left_out,
            server_side: attempt
                .server_side
                .as_deref()
                .map(|side| ServerSideFields::new(side, attempt, clock)),
            answer: attempt.answer().map(|answer| AnswerFields::new(answer, attempt.time, clock)),
        }
    }
}

fn fate_step(fate: &Fate) -> Option<usize> {
    match fate {
        Fate::AnsweredLate { step, .. }
        | Fate::SendFailed { step }
        | Fate::LostAtConntrack { step }
        | Fate::Dropped { step }
        | Fate::Rejected { step }
        | Fate::AnswerDropped { step }
        | Fate::Evicted { step }
        | Fate::ConnectFailed { step }
        | Fate::ConnectionLost { step } => Some(*step),
        Fate::Open
        | Fate::Answered(_)
        | Fate::Unanswered { .. }
        | Fate::Unknown { .. }
        | Fate::NotAwaited => None,
    }
}

impl CarrierFields {
    fn new(carrier: &Carrier, clock: &WallClock) -> Self {
        let Carrier { connection, opened, established, syn_retransmissions, queries_before } = *carrier;
        Self {
            number: connection,
            opened: opened.map(|time| clock.rfc3339(time)),
            opened_ktime_ns: opened.map(|time| time.0),
            established: established.map(|time| clock.rfc3339(time)),
            established_ktime_ns: established.map(|time| time.0),
            connect_ns: opened.zip(established).map(|(opened, established)| established.since(opened)),
            syn_retransmissions,
            queries_before,
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
            socket_wait_ns: answer.arrived.map(|arrived| answer.time.since(arrived)),
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
            further_messages: answer.further_messages,
        }
    }
}
