//! The values that the tracker makes: queries with their attempts and fates.

use std::net::SocketAddr;

use crate::{
    directory::Peer,
    dns::{Decoded, Defect, Edns, Flags, Message, Question},
    event::{Flow, KernelTime, SocketMessage, Task, Transport},
    identify::Owner,
};

use super::{ConnectionEnd, Conversation, Role, Step};

/// A message with all that is known of it: what the tracker is fed.
#[derive(Clone, Debug)]
pub struct Observation {
    pub seen: SocketMessage,
    pub decoded: Decoded,
    pub owner: Owner,
}

/// One question of one process (or one client of a server), with all its attempts.
#[derive(Clone, Debug)]
pub struct Query {
    /// Serial number within the trace, from 1, in order of the first attempt.
    pub number: u64,
    /// Whether the traced socket asked or was asked.
    pub role: Role,
    pub question: Question,
    /// Pod, container or host service of the process.
    pub owner: Owner,
    /// The process that asked (client) or took the query in (server).
    pub task: Task,
    /// Inode number of its network namespace.
    pub netns: u32,
    /// In order of time, at least one.
    pub attempts: Vec<Attempt>,
    /// Attempts beyond what is kept (see `Limits::attempts`).
    pub attempts_left_out: u32,
    pub outcome: Outcome,
    /// Kernel time at which the outcome was clear: of the answer, or of the end of waiting.
    pub ended: KernelTime,
}

/// One query message to one server, and what became of it.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// When the socket sent it (client) or the program received it (server). If the connection that it needed could
    /// not be opened: when that was tried.
    pub time: KernelTime,
    /// Without an id if there never was a message, as its TCP connection was not opened: the retry of a truncated
    /// answer. `length`, `flags` and `edns` say nothing then.
    pub conversation: Conversation,
    /// Kernel address of the socket.
    pub socket: u64,
    /// Thread that sent or received it.
    pub tid: u32,
    /// Bytes of the query message.
    pub length: u32,
    pub flags: Flags,
    pub edns: Option<Edns>,
    /// The endpoint behind the address that was asked, where a translation was seen, or the server's socket that received it.
    pub endpoint: Option<SocketAddr>,
    /// What both are called in Kubernetes: the pipeline fills it in when the query is told.
    pub peer: Peer,
    /// The TCP connection that it went over.
    pub carrier: Option<Carrier>,
    /// Of a client's attempt, what its server's socket saw of it, where that is traced as well.
    pub server_side: Option<Box<ServerSide>>,
    /// What befell its packets, in order of time. Of a server's attempt: what befell its answer. Of the first attempt
    /// over a TCP connection also what befell that while it was opened, before `time`.
    pub steps: Vec<Step>,
    /// Steps beyond what is kept (see `Limits::steps`).
    pub steps_left_out: u32,
    pub fate: Fate,
}

/// The TCP connection of an attempt, as it was when the query was sent; of one that went with the SYN (TCP Fast Open), as it
/// was opened then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carrier {
    /// Serial number of the connection within the trace, from 1.
    pub connection: u64,
    /// When its SYN was sent; none at a server, and if that was before the trace.
    pub opened: Option<KernelTime>,
    /// When it was open; none if that was not seen.
    pub established: Option<KernelTime>,
    /// How often its SYN had to be sent again.
    pub syn_retransmissions: u32,
    /// Queries that went over it before this one.
    pub queries_before: u64,
}

/// The other side of a client's attempt: as its server had it.
#[derive(Clone, Debug)]
pub struct ServerSide {
    /// Number of the server's own query.
    pub query: u64,
    /// Of the server's process.
    pub owner: Owner,
    pub task: Task,
    /// Inode number of its network namespace.
    pub netns: u32,
    /// When its program received the query.
    pub received: KernelTime,
    /// When its program sent the answer, and with which RCODE; none if it had not when the client's query ended.
    pub answered: Option<(KernelTime, u16)>,
}

/// What became of an attempt. Where several are true the cause is told: a query that was rejected was dropped as well,
/// and where it was lost in the sender's own namespace the system call failed for that.
#[derive(Clone, Debug)]
pub enum Fate {
    /// Still waiting when the query ended or the trace did.
    Open,
    /// A response came, of whatever RCODE. Of a server's attempt: its program answered; what befell that answer on
    /// its way back is told by the steps.
    Answered(Answer),
    /// A response came so many nanoseconds after the query was sent, when the program no longer waited for it:
    /// its socket was closed, or it never read what had arrived. The step tells which.
    AnsweredLate { after: u64, step: usize },
    /// The kernel refused to send the query, and where it was lost was not seen. The step tells the errno.
    SendFailed { step: usize },
    /// The query was lost at conntrack insertion. The step tells why.
    LostAtConntrack { step: usize },
    /// The query was dropped on its way, without an ICMP error. The step tells where.
    Dropped { step: usize },
    /// An ICMP error came back for the query (or was sent back, if its arrival was not seen).
    Rejected { step: usize },
    /// The answer was dropped on its way. The step tells where.
    AnswerDropped { step: usize },
    /// The connection tracking entry was thrown out before the answer came; the answer was not seen again.
    Evicted { step: usize },
    /// The TCP connection could not be opened. The step tells the errno ([`super::What::ConnectFailed`]), or that the
    /// program gave it up ([`super::What::ConnectionEnded`]).
    ConnectFailed { step: usize },
    /// The TCP connection ended before the answer came. The step tells how.
    ConnectionLost { step: usize },
    /// None came for `waited` nanoseconds: until the resolver tried again, or the time-out.
    Unanswered { waited: u64 },
    /// None was seen for `waited` nanoseconds, but `lost` events were lost meanwhile, or stretches of its connection's
    /// bytes skipped: its fate may be among them.
    Unknown { waited: u64, lost: u64 },
    /// Another attempt of the query was answered before this one could be expected to be (a resolver that asks
    /// all its servers at once).
    NotAwaited,
}

/// A response.
#[derive(Clone, Debug)]
pub struct Answer {
    /// When the program received it (client) or the socket sent it (server).
    pub time: KernelTime,
    /// When it had been put into the socket's buffer, if that was seen.
    pub arrived: Option<KernelTime>,
    pub message: Message,
    /// What could not be read of it.
    pub defect: Option<Defect>,
    /// Bytes of the message.
    pub length: u32,
    /// Messages of the answer beyond this one: of a zone transfer, or of other responders to a multicast query.
    pub further_messages: u64,
}

/// How a query ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// By the answer to this attempt (an index into `attempts`).
    Answered { attempt: usize },
    /// No attempt was answered in time.
    Unanswered,
    /// The trace ended first.
    Pending,
}

impl Query {
    /// When it was first sent or received.
    pub fn started(&self) -> KernelTime {
        self.attempts.first().map_or(self.ended, |attempt| attempt.time)
    }

    /// The answer that ended it.
    pub fn answer(&self) -> Option<&Answer> {
        match self.outcome {
            Outcome::Answered { attempt } => self.attempts.get(attempt)?.answer(),
            Outcome::Unanswered | Outcome::Pending => None,
        }
    }

    /// Nanoseconds from the first attempt to the answer that ended it.
    pub fn latency(&self) -> Option<u64> {
        self.answer().map(|answer| answer.time.since(self.started()))
    }

    /// The server's end of the attempt that ended it, else of the last one.
    pub fn server(&self) -> Option<(SocketAddr, Transport)> {
        let attempt = match self.outcome {
            Outcome::Answered { attempt } => self.attempts.get(attempt),
            Outcome::Unanswered | Outcome::Pending => self.attempts.last(),
        }?;
        let conversation = &attempt.conversation;
        let server = match conversation.role {
            Role::Client => conversation.remote,
            Role::Server => conversation.local,
        };
        Some((server, conversation.transport))
    }
}

impl Attempt {
    /// The response to it.
    pub fn answer(&self) -> Option<&Answer> {
        match &self.fate {
            Fate::Answered(answer) => Some(answer),
            _ => None,
        }
    }

    /// Likewise, to be changed.
    pub(super) fn answer_mut(&mut self) -> Option<&mut Answer> {
        match &mut self.fate {
            Fate::Answered(answer) => Some(answer),
            _ => None,
        }
    }
}

/// A message that is no part of a query: shown for what it is, never dropped.
#[derive(Clone, Debug)]
pub struct Stray {
    pub observation: Observation,
    pub reason: StrayReason,
}

/// Why a message is no part of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StrayReason {
    /// It is not DNS, or too little of it was captured to tell.
    Undecoded,
    /// A message without a question that could be read.
    NoQuestion,
    /// A response whose query was not seen: sent before the trace began, lost by the capture, or never asked.
    QueryNotSeen,
    /// A response after its query had ended: a second answer (a server or network that duplicates, or the
    /// answer of a server that was asked in parallel). The query's number.
    Surplus { query: u64 },
    /// A response that came so many nanoseconds after its attempt, when the query had been given up.
    Late { query: u64, after: u64 },
    /// A response to an attempt of this query that came from the endpoint's address: nobody had translated it back to
    /// the one that was `asked`. A socket that is not connected takes it in; its program does not (musl).
    Untranslated { query: u64, asked: SocketAddr },
    /// Bytes of a TCP connection between which the messages cannot be told apart: it was open before the trace, or
    /// part of it was not captured. The observation's `length` says how many were skipped.
    StreamSkipped,
    /// A TCP connection that does not speak DNS. The observation holds its beginning.
    StreamNotDns,
}

/// A TCP connection that has something to tell beside its queries: it could not be opened, or it is encrypted.
#[derive(Clone, Debug)]
pub struct TcpConnection {
    /// Serial number within the trace, from 1.
    pub number: u64,
    /// Whether the traced socket opened it or was connected to.
    pub role: Role,
    pub protocol: Protocol,
    /// Of the process that opened it; none if that was not seen (opened before the trace, or by a peer).
    pub owner: Option<Owner>,
    pub task: Option<Task>,
    /// Inode number of the socket's network namespace.
    pub netns: u32,
    /// The traced socket's end; the port is 0 where it never had one.
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// The endpoint behind `remote`, as of an attempt.
    pub endpoint: Option<SocketAddr>,
    /// What both are called in Kubernetes, as of an attempt.
    pub peer: Peer,
    /// When its SYN was sent, or the kernel refused to send one; else when it was first seen.
    pub time: KernelTime,
    /// Whether it was seen from its beginning; else it was opened before `time`.
    pub seen_from_start: bool,
    pub established: Option<KernelTime>,
    /// What befell its packets, in order of time: SYNs sent again, drops, ICMP errors, conntrack insertion.
    pub steps: Vec<Step>,
    pub steps_left_out: u32,
    /// Bytes that the peer has acknowledged, and that came from it.
    pub bytes_acked: u64,
    pub bytes_received: u64,
    /// The kernel's smoothed round-trip time, in microseconds.
    pub rtt_us: Option<u32>,
    /// How it ended; none if that was not seen: it was still open when the trace ended, or was forgotten for want of
    /// room, or its end was lost. What could not be opened was reset, failed with an errno, or its program gave up.
    pub end: Option<ConnectionEnd>,
    /// When it ended, or was last seen.
    pub ended: KernelTime,
}

/// What a TCP connection speaks, by its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    Dns,
    /// DNS over TLS (RFC 7858): what it carries cannot be seen.
    Tls,
    /// To port 443 of a well-known resolver: DNS over HTTPS (RFC 8484), most likely. Cannot be seen either.
    Https,
}

/// A thing that befell a DNS packet that is no part of a query under way: shown for what it is, never dropped.
#[derive(Clone, Debug)]
pub struct StrayPacket {
    pub step: Step,
    /// As the packet's headers were.
    pub flow: Flow,
    /// The packet's DNS message, as far as it was captured.
    pub decoded: Decoded,
    pub reason: StrayPacketReason,
}

/// Why it is no part of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StrayPacketReason {
    /// No attempt was seen that it could belong to: sent by another node or namespace, before the trace, or by
    /// somebody who is not traced.
    NoAttempt,
    /// It could belong to several.
    Ambiguous,
    /// It belongs to the query of this number, which has ended.
    Ended { query: u64 },
}
