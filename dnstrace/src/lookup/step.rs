//! What befell an attempt on its way.

use std::net::SocketAddr;

use crate::{
    dns::Question,
    event::{Connection, DropPlace, Flow, IcmpError, KernelTime, TableFull},
};

/// One thing that befell a packet of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub time: KernelTime,
    /// Inode number of the network namespace where it happened, if the kernel told.
    pub netns: Option<u32>,
    pub what: What,
}

/// Which of an attempt's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Leg {
    /// The query, on its way to the server.
    Query,
    /// The response, on its way back.
    Answer,
    /// The SYN that opens the attempt's TCP connection.
    Syn,
    /// Its answer, from the server.
    SynAck,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The query came to be inserted into connection tracking.
    Conntrack(Conntrack),
    Dropped(Dropped),
    /// An ICMP error about a packet of the attempt was sent.
    IcmpSent {
        leg: Leg,
        error: IcmpError,
    },
    /// One came in at the sender of the packet that it is about.
    IcmpReceived {
        leg: Leg,
        error: IcmpError,
    },
    /// The system call that should have sent the query failed with this errno; of a server's attempt, the answer.
    SendFailed {
        errno: u16,
    },
    /// The query's connection tracking entry was thrown out of the full table: its answer will not be translated.
    Evicted,
    /// The kernel sent a segment of the attempt's TCP connection again, as nobody had acknowledged it: at the client
    /// its SYN or query, at the server its answer.
    Retransmitted {
        leg: Leg,
    },
    /// The TCP connection could not be opened: the positive errno that the program is told.
    ConnectFailed {
        errno: u16,
    },
    /// The TCP connection ended while the attempt waited.
    ConnectionEnded(ConnectionEnd),
}

/// How a TCP connection ended, as one of its sockets saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnectionEnd {
    /// The socket's own program closed it (a FIN was sent first).
    Closed,
    /// The peer closed it (a FIN came first).
    ClosedByPeer,
    /// The socket's own program gave it up (a RST was sent).
    Aborted,
    /// The peer gave it up (a RST came): `ECONNRESET`, or `ECONNREFUSED` where it was not open yet.
    Reset,
    /// The kernel gave it up with this positive errno: `ETIMEDOUT` when nothing was acknowledged any more,
    /// `EHOSTUNREACH` and others when an ICMP error said so.
    Failed { errno: u16 },
}

/// A packet was dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    pub leg: Leg,
    pub place: DropPlace,
    /// When it had been put into the socket's buffer: dropped unread.
    pub arrived: Option<KernelTime>,
    /// The connection tracking table had no room for its entry.
    pub table_full: Option<TableFull>,
    /// An answer whose source nobody had translated back: it came from here instead of from the server asked, and
    /// either found no socket or was taken for the first packet of a flow of its own.
    pub untranslated: Option<SocketAddr>,
}

/// What insertion into connection tracking came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conntrack {
    /// The entry's tuple as the client sent it.
    pub original: Flow,
    /// The tuple of the answer that is expected.
    pub reply: Flow,
    pub result: Insertion,
}

/// The outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Insertion {
    Inserted,
    /// The query goes on with the winner's entry, to the winner's endpoint.
    Merged {
        winner: Option<Winner>,
    },
    /// Only the reply direction was inserted, for one second ([`REPLY_ONLY_LIFE`]).
    ReplyOnly {
        winner: Option<Winner>,
    },
    /// The query was dropped: that needs no step of its own.
    Failed {
        why: InsertFailure,
    },
    /// It could not be told.
    Unknown,
    /// Nothing was to be inserted: a rule says not to track the query (NOTRACK). `original` and `reply` are its own
    /// addresses, there and back.
    Untracked,
}

impl Insertion {
    /// The entry that was there first, if it clashed with one that was seen.
    pub fn winner(&self) -> Option<&Winner> {
        match self {
            Self::Merged { winner } | Self::ReplyOnly { winner } => winner.as_ref(),
            Self::Failed { why: InsertFailure::Clash(winner) } => Some(winner),
            Self::Failed { .. } | Self::Inserted | Self::Unknown | Self::Untracked => None,
        }
    }

    /// Says for which query the winner's entry was made.
    pub(super) fn complete(&mut self, entry: &Connection, query: WinnerQuery) {
        match self {
            Self::Merged { winner } | Self::ReplyOnly { winner } => match winner {
                Some(winner) => winner.query = Some(query),
                None => {
                    let (original, reply) = (entry.original, entry.reply);
                    *winner = Some(Winner { original, reply, query: Some(query) });
                }
            },
            Self::Failed { why: InsertFailure::Clash(winner) } => winner.query = Some(query),
            Self::Failed { .. } | Self::Inserted | Self::Unknown | Self::Untracked => {}
        }
    }
}

/// How long an entry lives whose reply direction alone was inserted, in nanoseconds: 1 s
/// (`__nf_ct_resolve_clash` sets `ct->timeout` to `HZ`; `nf_ct_resolve_clash_harder`, 5.7 to 7.2).
pub const REPLY_ONLY_LIFE: u64 = 1_000_000_000;

/// Why an entry could not be inserted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InsertFailure {
    /// Another entry had its tuple.
    Clash(Winner),
    /// No clash was seen: the hash chain was too long, or a netfilter extension had changed meanwhile.
    NoClash,
    /// Clashes cannot be seen on this kernel, or the event of it was lost.
    Unknown,
}

/// The entry that was there first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Winner {
    pub original: Flow,
    pub reply: Flow,
    /// The query that it was made for, if that was seen.
    pub query: Option<WinnerQuery>,
}

/// The query that won a clash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WinnerQuery {
    /// Its number.
    pub number: u64,
    pub question: Question,
    /// It was sent by the socket of the one that lost.
    pub same_socket: bool,
}
