//! A query with its attempts, as JSON.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    dns::{Message, Record, rcode, record_type},
    event::KernelTime,
    lookup::{Answer, Attempt, Carrier, Fate, Query, Role},
    output::{WallClock, vocabulary},
};

use super::{
    fields::{At, PeerFields, QuestionFields, Who, defect},
    server_side::ServerSideFields,
    step::StepFields,
};

/// A query with its attempts.
#[derive(Serialize, JsonSchema)]
pub(super) struct QueryLine<'a> {
    /// Serial number within the trace, from 1, in order of the first attempt.
    number: u64,
    /// Whether the traced socket asked or was asked.
    role: vocabulary::Role,
    #[serde(flatten)]
    who: Who<'a>,
    #[serde(flatten)]
    question: QuestionFields<'a>,
    /// How it ended.
    outcome: vocabulary::Outcome,
    /// Mnemonic of the answer's RCODE as IANA lists it; null without an answer.
    rcode: Option<String>,
    /// The RCODE as a number, with the upper bits of EDNS; null like `rcode`.
    rcode_number: Option<u16>,
    /// Whether the answer is NOERROR without a record of the type that was asked for; null like `rcode`.
    nodata: Option<bool>,
    /// Nanoseconds from the first attempt to the answer; null without one.
    latency_ns: Option<u64>,
    /// Records of the answer section, as far as they could be read.
    answers: Vec<RecordFields<'a>>,
    /// In order of time.
    attempts: Vec<AttemptFields<'a>>,
    /// Attempts beyond those that are kept.
    attempts_left_out: u32,
}

/// A resource record.
#[derive(Serialize, JsonSchema)]
struct RecordFields<'a> {
    /// Whose it is, with the trailing dot.
    name: &'a str,
    /// Mnemonic of its type, or `TYPE65280`.
    #[serde(rename = "type")]
    rtype: String,
    /// Seconds for which it may be kept.
    ttl: u32,
    /// RDATA as zone files write it.
    data: &'a str,
}

/// One query message to one server, and what became of it. `time` is when the socket sent it (client) or the program
/// received it (server); if the connection that it needed could not be opened, when that was tried.
#[derive(Serialize, JsonSchema)]
struct AttemptFields<'a> {
    #[serde(flatten)]
    at: At,
    /// Nanoseconds since the query's first attempt.
    offset_ns: u64,
    /// DNS id. Null if there was no connection to send a message on.
    id: Option<u16>,
    /// Address that asks.
    client: IpAddr,
    /// Its port.
    client_port: u16,
    /// Address that is asked.
    server: IpAddr,
    /// Its port.
    server_port: u16,
    /// Over UDP or TCP.
    transport: vocabulary::Transport,
    /// Bytes of the query message; null like `id`.
    bytes: Option<u32>,
    /// Flag RD; null like `id`.
    recursion_desired: Option<bool>,
    /// Largest answer over UDP that the client says it takes, in bytes (EDNS); null without EDNS.
    edns_udp_size: Option<u16>,
    /// The endpoint behind the server's address (that of a Service, say): by the translation that was seen, or by the socket that
    /// received the query; null if neither was seen.
    endpoint: Option<IpAddr>,
    /// Its port; null like `endpoint`.
    endpoint_port: Option<u16>,
    #[serde(flatten)]
    peer: PeerFields<'a>,
    /// The TCP connection that it went over; null of UDP.
    connection: Option<CarrierFields>,
    /// What became of it.
    fate: vocabulary::Fate,
    /// Index into `steps` of the one that decided the fate; null if none did.
    fate_step: Option<usize>,
    /// Nanoseconds for which no answer was seen: until it came too late, the next attempt, or the time-out. Null of other
    /// fates than `answered_late`, `unanswered`, `unknown`.
    waited_ns: Option<u64>,
    /// Events lost while it was waited for; null unless `fate` is `unknown`.
    events_lost: Option<u64>,
    /// What befell its packets, in order of time; of a server's attempt, what befell its answer.
    steps: Vec<StepFields<'a>>,
    /// Steps beyond those that are kept.
    steps_left_out: u32,
    /// Of a client's attempt, what its server's socket saw of it; null where that was not traced, or the query not seen
    /// there.
    server_side: Option<ServerSideFields<'a>>,
    /// The response to it; null without one in time.
    answer: Option<AnswerFields>,
}

/// The TCP connection of an attempt, as it was when the query was sent.
#[derive(Serialize, JsonSchema)]
struct CarrierFields {
    /// Serial number of the connection within the trace.
    number: u64,
    /// When its SYN was sent; null at a server, and if that was before the trace.
    #[schemars(extend("format" = "date-time"))]
    opened: Option<String>,
    /// The same as kernel time, in nanoseconds.
    opened_ktime_ns: Option<u64>,
    /// When it was open; null if that was not seen.
    #[schemars(extend("format" = "date-time"))]
    established: Option<String>,
    /// The same as kernel time, in nanoseconds.
    established_ktime_ns: Option<u64>,
    /// Nanoseconds from the SYN to the open connection; null if one of them was not seen.
    connect_ns: Option<u64>,
    /// How often its SYN was sent again.
    syn_retransmissions: u32,
    /// Queries that went over it before this one.
    queries_before: u64,
}

/// A response. `time` is when the program received it (client) or the socket sent it (server).
#[derive(Serialize, JsonSchema)]
struct AnswerFields {
    #[serde(flatten)]
    at: At,
    /// Nanoseconds since the attempt.
    latency_ns: u64,
    /// Of it, in the socket's buffer, not yet read by the program; null if its arrival there was not seen.
    socket_wait_ns: Option<u64>,
    /// Mnemonic of the RCODE as IANA lists it.
    rcode: String,
    /// The RCODE as a number, with the upper bits of EDNS.
    rcode_number: u16,
    /// Bytes of the message.
    bytes: u32,
    /// Flag AA.
    authoritative: bool,
    /// Flag TC.
    truncated: bool,
    /// Flag RA.
    recursion_available: bool,
    /// Flag AD.
    authentic_data: bool,
    /// Records that its header counts in the answer section.
    answer_records: u16,
    /// Likewise in the authority section.
    authority_records: u16,
    /// Likewise in the additional section.
    additional_records: u16,
    /// What could not be read of it; null if all could.
    defect: Option<String>,
    /// Messages of the answer beyond this one: of a zone transfer, or of other responders to a multicast query.
    further_messages: u64,
}

impl<'a> QueryLine<'a> {
    pub(super) fn new(query: &'a Query, clock: &WallClock) -> Self {
        let started = query.started();
        let message = query.answer().map(|answer| &answer.message);
        Self {
            number: query.number,
            role: query.role.into(),
            who: Who::new(&query.owner, &query.task, query.netns),
            question: QuestionFields::new(&query.question),
            outcome: query.outcome.into(),
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
            at: At::new(attempt.time, clock),
            offset_ns: attempt.time.since(started),
            id: conversation.id,
            client: client.ip(),
            client_port: client.port(),
            server: server.ip(),
            server_port: server.port(),
            transport: conversation.transport.into(),
            bytes: conversation.id.map(|_| attempt.length),
            recursion_desired: conversation.id.map(|_| attempt.flags.recursion_desired),
            edns_udp_size: attempt.edns.map(|edns| edns.udp_size),
            endpoint: attempt.endpoint.map(|endpoint| endpoint.ip()),
            endpoint_port: attempt.endpoint.map(|endpoint| endpoint.port()),
            peer: PeerFields::new(&attempt.peer, conversation.role),
            connection: attempt.carrier.map(|carrier| CarrierFields::new(&carrier, clock)),
            fate: (&attempt.fate).into(),
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
            at: At::new(answer.time, clock),
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
