//! What befell a packet, as JSON.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    dns::record_type,
    event::{IcmpError, KernelTime, TableFull, known_netns},
    lookup::{Conntrack, Dropped, InsertFailure, Insertion, Leg, Step, What, Winner},
    output::{WallClock, names, vocabulary},
};

use super::fields::{At, Ends};

/// One thing that befell a packet. `time` is when.
#[derive(Serialize, JsonSchema)]
pub(super) struct StepFields<'a> {
    #[serde(flatten)]
    at: At,
    /// Nanoseconds since the query's first attempt, or the connection's begin: negative of what opened the connection of a
    /// first attempt. Null where the step is part of neither.
    offset_ns: Option<i64>,
    /// Inode number of the network namespace where it happened; null if the kernel did not tell.
    netns: Option<u32>,
    #[serde(flatten)]
    what: WhatFields<'a>,
}

/// What happened.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum WhatFields<'a> {
    /// The packet came to be inserted into connection tracking.
    Conntrack(ConntrackFields<'a>),
    /// The packet was dropped.
    Drop(DropFields<'a>),
    /// An ICMP error about the packet was sent, or came in at the packet's sender.
    Icmp(IcmpFields),
    /// The system call that should have sent the query (of a server's attempt, the answer) failed.
    SendFailed {
        /// Positive.
        errno: u16,
        /// Its name: `EPERM`.
        error: String,
    },
    /// The conntrack entry was thrown out of the full table: the answer will not be translated.
    Evicted,
    /// The kernel sent a segment again, as nobody had acknowledged it.
    Retransmitted {
        /// Of which packet.
        of: vocabulary::Leg,
    },
    /// The TCP connection could not be opened.
    ConnectFailed {
        /// Positive: what the program is told.
        errno: u16,
        /// Its name: `ECONNREFUSED`.
        error: String,
    },
    /// The TCP connection ended while the attempt waited.
    ConnectionEnded {
        /// How.
        end: vocabulary::ConnectionEnd,
        /// Why the kernel gave it up: positive; null unless `end` is `failed`.
        errno: Option<u16>,
        /// Its name: `ETIMEDOUT`; null like `errno`.
        error: Option<String>,
    },
}

/// What insertion into connection tracking came to.
#[derive(Serialize, JsonSchema)]
struct ConntrackFields<'a> {
    /// The outcome.
    outcome: InsertionWord,
    /// The entry's tuple as the client sent it.
    original: Ends,
    /// The tuple of the answer that is expected.
    reply: Ends,
    /// The entry that was there first; null unless they clashed and it is known.
    winner: Option<WinnerFields<'a>>,
    /// Why insertion failed; null unless it did.
    cause: Option<FailureWord>,
}

/// What insertion into connection tracking came to.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum InsertionWord {
    /// It went well.
    Inserted,
    /// An equal entry was there first: the packet goes on with that, to that one's endpoint.
    ClashMerged,
    /// Another entry was there first: only the reply direction was inserted, for one second.
    ClashReplyOnly,
    /// The packet was dropped.
    InsertFailed,
    /// Nothing was to be inserted: a rule says not to track the packet (NOTRACK).
    Untracked,
    /// It could not be told.
    Unknown,
}

/// Why insertion into connection tracking failed.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum FailureWord {
    /// Another entry was there first, and could not be shared.
    Clash,
    /// Not by a clash.
    Other,
    /// It could not be told.
    Unknown,
}

/// The entry that was there first.
#[derive(Serialize, JsonSchema)]
struct WinnerFields<'a> {
    /// The entry's tuple as the client sent it.
    original: Ends,
    /// The tuple of the answer that is expected.
    reply: Ends,
    /// Number of the query that it was made for; null if that is not known.
    query: Option<u64>,
    /// That query's name; null like `query`.
    qname: Option<&'a str>,
    /// That query's type; null like `query`.
    qtype: Option<String>,
    /// Whether that query was sent from the same socket; null like `query`.
    same_socket: Option<bool>,
}

/// Where and why a packet was dropped.
#[derive(Serialize, JsonSchema)]
struct DropFields<'a> {
    /// Which packet.
    of: vocabulary::Leg,
    /// The kernel's name of its reason, without `SKB_DROP_REASON_`; null where it gives none.
    reason: Option<&'a str>,
    /// The kernel function that dropped it; null if that is not known.
    function: Option<&'a str>,
    /// The netfilter hook where a rule dropped it; null if none did, or it is not known.
    netfilter_hook: Option<vocabulary::NetfilterHook>,
    /// The full conntrack table; null if that was not the cause.
    table_full: Option<TableFields>,
    /// When it had been put into the socket's buffer, in nanoseconds of kernel time: dropped unread. Else null.
    arrived_ktime_ns: Option<u64>,
    /// Where an answer came from whose source was not translated back; else null.
    untranslated_source: Option<IpAddr>,
    /// Its port; null like `untranslated_source`.
    untranslated_source_port: Option<u16>,
}

/// How full the conntrack table was, a moment later.
#[derive(Serialize, JsonSchema)]
struct TableFields {
    /// Entries (`nf_conntrack_count`); null if that could not be read.
    count: Option<u64>,
    /// Entries that it has room for (`nf_conntrack_max`); null if that could not be read.
    max: Option<u64>,
}

/// An ICMP error.
#[derive(Serialize, JsonSchema)]
struct IcmpFields {
    /// About which packet.
    of: vocabulary::Leg,
    /// Sent by whoever could not deliver the packet, or received by its sender.
    direction: vocabulary::Direction,
    /// Type of ICMP, or of ICMPv6.
    #[serde(rename = "type")]
    kind: u8,
    /// Code within the type.
    code: u8,
    /// What they say: `port unreachable`.
    name: String,
}

impl<'a> StepFields<'a> {
    /// `started` is when the query's first attempt was sent, or the connection began.
    pub(super) fn new(step: &'a Step, started: Option<KernelTime>, clock: &WallClock) -> Self {
        Self {
            at: At::new(step.time, clock),
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
            What::IcmpSent { leg, error } => {
                Self::Icmp(IcmpFields::new(*leg, vocabulary::Direction::Sent, *error))
            }
            What::IcmpReceived { leg, error } => {
                Self::Icmp(IcmpFields::new(*leg, vocabulary::Direction::Received, *error))
            }
            What::SendFailed { errno } => Self::SendFailed { errno: *errno, error: names::errno(*errno) },
            What::Evicted => Self::Evicted,
            What::Retransmitted { leg } => Self::Retransmitted { of: (*leg).into() },
            What::ConnectFailed { errno } => {
                Self::ConnectFailed { errno: *errno, error: names::errno(*errno) }
            }
            What::ConnectionEnded(end) => {
                let errno = names::end_errno(*end);
                Self::ConnectionEnded { end: (*end).into(), errno, error: errno.map(names::errno) }
            }
        }
    }
}

impl<'a> ConntrackFields<'a> {
    fn new(entry: &'a Conntrack) -> Self {
        let (outcome, winner, cause) = match &entry.result {
            Insertion::Inserted => (InsertionWord::Inserted, None, None),
            Insertion::Merged { winner } => (InsertionWord::ClashMerged, winner.as_ref(), None),
            Insertion::ReplyOnly { winner } => (InsertionWord::ClashReplyOnly, winner.as_ref(), None),
            Insertion::Failed { why } => match why {
                InsertFailure::Clash(winner) => {
                    (InsertionWord::InsertFailed, Some(winner), Some(FailureWord::Clash))
                }
                InsertFailure::NoClash => (InsertionWord::InsertFailed, None, Some(FailureWord::Other)),
                InsertFailure::Unknown => (InsertionWord::InsertFailed, None, Some(FailureWord::Unknown)),
            },
            Insertion::Unknown => (InsertionWord::Unknown, None, None),
            Insertion::Untracked => (InsertionWord::Untracked, None, None),
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
            of: dropped.leg.into(),
            reason: place.reason.as_deref(),
            function: place.function.as_deref(),
            netfilter_hook: place.hook.map(Into::into),
            table_full: dropped.table_full.map(|TableFull { count, max }| TableFields { count, max }),
            arrived_ktime_ns: dropped.arrived.map(|time| time.0),
            untranslated_source: dropped.untranslated.map(|source| source.ip()),
            untranslated_source_port: dropped.untranslated.map(|source| source.port()),
        }
    }
}

impl IcmpFields {
    fn new(leg: Leg, direction: vocabulary::Direction, error: IcmpError) -> Self {
        let (IcmpError::V4 { kind, code } | IcmpError::V6 { kind, code }) = error;
        Self { of: leg.into(), direction, kind, code, name: names::icmp(error).into_owned() }
    }
}
