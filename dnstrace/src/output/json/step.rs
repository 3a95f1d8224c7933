//! What befell a packet, as JSON.

use std::net::IpAddr;

use serde::Serialize;

use crate::{
    dns::record_type,
    event::{Flow, IcmpError, KernelTime, TableFull, known_netns},
    lookup::{Conntrack, Dropped, InsertFailure, Insertion, Leg, Step, What, Winner},
    output::{WallClock, names},
};

#[derive(Serialize)]
pub(super) struct StepFields<'a> {
    time: String,
    ktime_ns: u64,
    /// Since the query's first attempt, or the connection's begin: negative of what opened the connection of a first
    /// attempt. None where the step is part of neither.
    offset_ns: Option<i64>,
    /// Inode number of the network namespace where it happened.
    netns: Option<u32>,
    #[serde(flatten)]
    what: WhatFields<'a>,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum WhatFields<'a> {
    Conntrack(ConntrackFields<'a>),
    Drop(DropFields<'a>),
    Icmp(IcmpFields),
    SendFailed {
        /// Positive.
        errno: u16,
        /// `EPERM`
        error: String,
    },
    Evicted,
    Retransmitted {
        /// `query`, `answer`, `syn`, `syn_ack`
        of: &'static str,
    },
    ConnectFailed {
        /// Positive.
        errno: u16,
        /// `ECONNREFUSED`
        error: String,
    },
    ConnectionEnded {
        /// `closed`, `closed_by_peer`, `aborted`, `reset`, `failed`
        end: &'static str,
        /// Positive; of `failed` only.
        errno: Option<u16>,
        /// `ETIMEDOUT`
        error: Option<String>,
    },
}

#[derive(Serialize)]
struct ConntrackFields<'a> {
    /// `inserted`, `clash_merged`, `clash_reply_only`, `insert_failed`, `untracked`, `unknown`
    outcome: &'static str,
    original: Ends,
    reply: Ends,
    /// The entry that was there first, of clashes.
    winner: Option<WinnerFields<'a>>,
    /// Why insertion failed: `clash`, `other`, `unknown`
    cause: Option<&'static str>,
}

#[derive(Serialize)]
struct WinnerFields<'a> {
    original: Ends,
    reply: Ends,
    /// Number of the query that it was made for.
    query: Option<u64>,
    qname: Option<&'a str>,
    qtype: Option<String>,
    same_socket: Option<bool>,
}

#[derive(Serialize)]
struct DropFields<'a> {
    /// `query`, `answer`, `syn`, `syn_ack`
    of: &'static str,
    reason: Option<&'a str>,
    function: Option<&'a str>,
    netfilter_hook: Option<&'static str>,
    table_full: Option<TableFields>,
    arrived_ktime_ns: Option<u64>,
    /// Where an answer came from whose source was not translated back.
    untranslated_source: Option<IpAddr>,
    untranslated_source_port: Option<u16>,
}

#[derive(Serialize)]
struct TableFields {
    count: Option<u64>,
    max: Option<u64>,
}

#[derive(Serialize)]
struct IcmpFields {
    of: &'static str,
    direction: &'static str,
    #[serde(rename = "type")]
    kind: u8,
    code: u8,
    name: String,
}

/// Two ends of a flow.
#[derive(Serialize)]
pub(super) struct Ends {
    source: IpAddr,
    source_port: u16,
    destination: IpAddr,
    destination_port: u16,
}

impl<'a> StepFields<'a> {
    /// `started` is when the query's first attempt was sent, or the connection began.
    pub(super) fn new(step: &'a Step, started: Option<KernelTime>, clock: &WallClock) -> Self {
        Self {
            time: clock.rfc3339(step.time),
            ktime_ns: step.time.0,
            offset_ns: started.and_then(|started| signed(step.time, started)),
            netns: step.netns.and_then(known_netns),
            what: WhatFields::new(&step.what),
        }
    }
}

/// Nanoseconds from `origin` to `time`.
fn signed(time: KernelTime, origin: KernelTime) -> Option<i64> {
    i64::try_from(i128::from(time.0) - i128::from(origin.0)).ok()
}

impl<'a> WhatFields<'a> {
    fn new(what: &'a What) -> Self {
        match what {
            What::Conntrack(entry) => Self::Conntrack(ConntrackFields::new(entry)),
            What::Dropped(dropped) => Self::Drop(DropFields::new(dropped)),
            What::IcmpSent { leg, error } => Self::Icmp(IcmpFields::new(*leg, "sent", *error)),
            What::IcmpReceived { leg, error } => Self::Icmp(IcmpFields::new(*leg, "received", *error)),
            What::SendFailed { errno } => Self::SendFailed { errno: *errno, error: names::errno(*errno) },
            What::Evicted => Self::Evicted,
            What::Retransmitted { leg } => Self::Retransmitted { of: names::leg(*leg) },
            What::ConnectFailed { errno } => {
                Self::ConnectFailed { errno: *errno, error: names::errno(*errno) }
            }
            What::ConnectionEnded(end) => {
                let errno = names::end_errno(*end);
                let end = names::connection_end(*end);
                Self::ConnectionEnded { end, errno, error: errno.map(names::errno) }
            }
        }
    }
}

impl<'a> ConntrackFields<'a> {
    fn new(entry: &'a Conntrack) -> Self {
        let (outcome, winner, cause) = match &entry.result {
            Insertion::Inserted => ("inserted", None, None),
            Insertion::Merged { winner } => ("clash_merged", winner.as_ref(), None),
            Insertion::ReplyOnly { winner } => ("clash_reply_only", winner.as_ref(), None),
            Insertion::Failed { why } => match why {
                InsertFailure::Clash(winner) => ("insert_failed", Some(winner), Some("clash")),
                InsertFailure::NoClash => ("insert_failed", None, Some("other")),
                InsertFailure::Unknown => ("insert_failed", None, Some("unknown")),
            },
            Insertion::Unknown => ("unknown", None, None),
            Insertion::Untracked => ("untracked", None, None),
        };
        Self {
            outcome,
            original: Ends::of(entry.original),
            reply: Ends::of(entry.reply),
            winner: winner.map(WinnerFields::new),
            cause,
        }
    }
}

impl<'a> WinnerFields<'a> {
    fn new(winner: &'a Winner) -> Self {
        let query = winner.query.as_ref();
        Self {
            original: Ends::of(winner.original),
            reply: Ends::of(winner.reply),
            query: query.map(|query| query.number),
            qname: query.map(|query| query.question.name.as_str()),
            qtype: query.map(|query| record_type(query.question.qtype).into_owned()),
            same_socket: query.map(|query| query.same_socket),
        }
    }
}

impl<'a> DropFields<'a> {
    fn new(dropped: &'a Dropped) -> Self {
        let place = &dropped.place;
        Self {
            of: names::leg(dropped.leg),
            reason: place.reason.as_deref(),
            function: place.function.as_deref(),
            netfilter_hook: place.hook.map(names::netfilter_hook),
            table_full: dropped.table_full.map(|TableFull { count, max }| TableFields { count, max }),
            arrived_ktime_ns: dropped.arrived.map(|time| time.0),
            untranslated_source: dropped.untranslated.map(|source| source.ip()),
            untranslated_source_port: dropped.untranslated.map(|source| source.port()),
        }
    }
}

impl IcmpFields {
    fn new(leg: Leg, direction: &'static str, error: IcmpError) -> Self {
        let (IcmpError::V4 { kind, code } | IcmpError::V6 { kind, code }) = error;
        Self { of: names::leg(leg), direction, kind, code, name: names::icmp(error).into_owned() }
    }
}

impl Ends {
    pub(super) fn of(flow: Flow) -> Self {
        Self {
            source: flow.source.ip(),
            source_port: flow.source.port(),
            destination: flow.destination.ip(),
            destination_port: flow.destination.port(),
        }
    }
}
