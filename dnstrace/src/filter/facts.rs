//! What a criterion can ask an output for.

use std::net::SocketAddr;

use crate::{
    dns::{Decoded, Message, rcodes},
    event::Flow,
    lookup::{
        Asked, Attempt, Ending, Lookup, Outcome, Output, Query, Role, Stray, StrayPacket, StrayReason,
        TcpConnection,
    },
};

/// A time that never came.
const NEVER: u64 = u64::MAX;

/// What is known of an output; none of what it has not.
#[derive(Default)]
pub(super) struct Facts<'a> {
    /// The name that was asked for; of a lookup, all that were tried for it.
    pub names: Vec<&'a str>,
    /// Likewise.
    pub types: Vec<u16>,
    /// Of the response that it ended with, or that it is.
    pub status: Option<Status>,
    /// Who was asked, and the endpoints behind.
    pub servers: Vec<SocketAddr>,
    /// Nanoseconds from the question to the answer, or that something had waited when it was given up.
    pub took: Option<u64>,
}

/// An RCODE, with NODATA apart from NOERROR.
#[derive(Clone, Copy)]
pub(super) struct Status {
    pub rcode: u16,
    pub nodata: bool,
}

impl Status {
    fn of(message: &Message) -> Self {
        Self { rcode: message.rcode, nodata: message.is_nodata() }
    }

    fn of_ending(ending: Ending) -> Option<Self> {
        let rcode = |rcode| Some(Self { rcode, nodata: false });
        match ending {
            Ending::Found => rcode(rcodes::NOERROR),
            Ending::NoData => Some(Self { rcode: rcodes::NOERROR, nodata: true }),
            Ending::NxDomain => rcode(rcodes::NXDOMAIN),
            Ending::Failed(code) => rcode(code),
            Ending::Unanswered | Ending::Pending => None,
        }
    }
}

impl<'a> Facts<'a> {
    pub fn of(output: &'a Output) -> Self {
        match output {
            Output::Query(query) => Self::of_query(query),
            Output::Stray(stray) => Self::of_stray(stray),
            Output::Packet(packet) => Self::of_packet(packet),
            Output::Connection(connection) => Self::of_connection(connection),
            Output::Lookup(lookup) => Self::of_lookup(lookup),
            Output::Loss(_) => {
                Self { names: Vec::new(), types: Vec::new(), status: None, servers: Vec::new(), took: None }
            }
        }
    }

    fn of_query(query: &'a Query) -> Self {
        Self {
            names: vec![&query.question.name],
            types: vec![query.question.qtype],
            status: query.answer().map(|answer| Status::of(&answer.message)),
            servers: query.attempts.iter().flat_map(asked).collect(),
            took: Some(match query.outcome {
                Outcome::Answered { .. } => query.latency().unwrap_or(0).max(opening(query)),
                Outcome::Unanswered => NEVER,
                Outcome::Pending => query.ended.since(query.started()),
            }),
        }
    }

    fn of_stray(stray: &'a Stray) -> Self {
        let observation = &stray.observation;
        let facts = Self::of_message(&observation.decoded, observation.seen.flow);
        match stray.reason {
            StrayReason::Late { after, .. } => Self { took: Some(after), ..facts },
            StrayReason::Untranslated { asked, .. } => {
                Self { servers: [facts.servers, vec![asked]].concat(), ..facts }
            }
            _ => facts,
        }
    }

    fn of_packet(packet: &'a StrayPacket) -> Self {
        Self::of_message(&packet.decoded, packet.flow)
    }

    fn of_connection(connection: &TcpConnection) -> Self {
        let servers = match connection.role {
            Role::Client => [Some(connection.remote), connection.endpoint],
            Role::Server => [Some(connection.local), None],
        };
        let took = match (connection.established, connection.end) {
            (Some(established), _) => established.since(connection.time),
            (None, Some(_)) => NEVER,
            (None, None) => connection.ended.since(connection.time),
        };
        Self {
            servers: servers.into_iter().flatten().collect(),
            took: connection.seen_from_start.then_some(took),
            ..Self::default()
        }
    }

    fn of_lookup(lookup: &'a Lookup) -> Self {
        let asked = match &lookup.asked {
            Asked::Known(name) | Asked::Guessed(name) | Asked::AsSent(name) => std::slice::from_ref(name),
            Asked::OneOf(names) => names,
        };
        let tried = lookup.names.iter().map(|tried| &tried.name);
        let addresses = lookup.servers.iter().map(|server| server.address);
        let waited = lookup.ended.since(lookup.started);
        Self {
            names: asked.iter().chain(tried).map(String::as_str).collect(),
            types: lookup.queries().map(|query| query.qtype).collect(),
            status: Status::of_ending(lookup.ending),
            servers: addresses.chain(lookup.endpoints.iter().copied()).collect(),
            took: Some(if lookup.ending == Ending::Unanswered { NEVER } else { waited }),
        }
    }

    fn of_message(decoded: &'a Decoded, flow: Flow) -> Self {
        let message = decoded.message.as_ref();
        let question = message.and_then(|message| message.question.as_ref());
        Self {
            names: question.map(|question| question.name.as_str()).into_iter().collect(),
            types: question.map(|question| question.qtype).into_iter().collect(),
            status: message.filter(|message| message.response).map(Status::of),
            servers: match message {
                Some(message) if message.response => vec![flow.source],
                Some(_) => vec![flow.destination],
                // Which end is the server's cannot be told.
                None => vec![flow.source, flow.destination],
            },
            took: None,
        }
    }
}

/// The server that an attempt was for, and the endpoint behind.
fn asked(attempt: &Attempt) -> impl Iterator<Item = SocketAddr> {
    let conversation = &attempt.conversation;
    let server = match conversation.role {
        Role::Client => conversation.remote,
        Role::Server => conversation.local,
    };
    [Some(server), attempt.endpoint].into_iter().flatten()
}

/// Nanoseconds in which the connection was opened that a query was the first to go over: its latency begins after that.
fn opening(query: &Query) -> u64 {
    let carrier = query.attempts.first().and_then(|attempt| attempt.carrier);
    let times = carrier.filter(|carrier| carrier.queries_before == 0);
    let times = times.and_then(|carrier| carrier.opened.zip(carrier.established));
    times.map_or(0, |(opened, established)| established.since(opened))
}
