//! A query under way, and the ways of resolvers: what they send next, and how long to wait for it.

use crate::{
    dns::{Defect, Message, rcodes},
    event::KernelTime,
};

use super::{
    Attempt, ConnectionEnd, Fate, Leg, Query, Role, Step, What,
    fate::is_refusal,
    grouping::{Standing, ending},
    multicast::is_of_group,
    transfer::Transfer,
};

const MILLISECOND: u64 = 1_000_000;
pub(super) const SECOND: u64 = 1_000 * MILLISECOND;

/// After a good answer, time for the resolver's other messages of the same question: musl asks all its servers
/// at once, and the first may have answered before the last was asked. And for what befalls the answer that a server
/// has just sent.
pub(super) const SETTLE: u64 = 20 * MILLISECOND;
/// After the answer of a server over TCP: the kernel sends a segment again that was not acknowledged within 200 ms and
/// the round-trip time (`TCP_RTO_MIN`), which the query shall still tell.
const SETTLE_SERVER_TCP: u64 = 400 * MILLISECOND;
/// After the first answer to a query to a multicast group, for those of others. A responder that must share the name
/// waits for up to 0.5 s (RFC 6762, 6 and 7.2), a querier of LLMNR for 1 s (RFC 4795, 7).
const SETTLE_GROUP: u64 = SECOND;
/// After an answer that makes a resolver try the next server (SERVFAIL, REFUSED, ...).
const AFTER_ERROR: u64 = 100 * MILLISECOND;
/// After an answer with TC, for the retry over TCP.
const AFTER_TRUNCATED: u64 = 2 * SECOND;
/// After the system call that should have sent the query has failed, which the resolver is told: for what it tries
/// instead.
const AFTER_REFUSED: u64 = SECOND;
/// After a connection that could not be opened or that ended, likewise.
pub(super) const AFTER_CONNECTION: u64 = SECOND;
/// After a client has ended its own direction of the connection: whether it has closed the socket (it gave up) or only shut
/// that direction down (and reads on) is not told apart.
const AFTER_OWN_END: u64 = 5 * SECOND;
/// After an ICMP error, likewise. A socket that is not connected is not told, and so musl asks again after 2.5 s
/// only (`res_msend.c`: 5 s by 2 attempts).
const AFTER_REJECTED: u64 = 3 * SECOND;
/// No resolver's retransmission timer is shorter: an attempt that follows sooner was sent beside the one before
/// it, not after waiting for it. (c-ares, glibc, Go, musl, systemd-resolved: 0.5 s and more.)
pub(super) const SHORTEST_RETRY: u64 = 400 * MILLISECOND;
/// A resolver that retries with a new id (Go, dig) does so after its time-out, of at least this long.
const SHORTEST_TIMEOUT: u64 = SECOND;

#[derive(Debug)]
pub(super) struct OpenQuery {
    pub query: Query,
    pub deadline: KernelTime,
    /// The attempt whose answer satisfies the program.
    pub settled: Option<usize>,
    /// The TCP connection that its process opens to ask again: by that it is not over.
    pub opening: Option<u64>,
    /// The answer is a zone transfer.
    pub transfer: Option<Transfer>,
    /// Attempts whose answer may lie in bytes of their connection that were skipped.
    pub skipped: Vec<usize>,
}

impl OpenQuery {
    pub fn new(query: Query, deadline: KernelTime) -> Self {
        Self { query, deadline, settled: None, opening: None, transfer: None, skipped: Vec::new() }
    }

    /// Whether more messages of its answer are to come.
    pub fn is_transferring(&self) -> bool {
        self.transfer.as_ref().is_some_and(|transfer| !transfer.is_complete())
    }

    /// Whether `next`, which asks the same of the same process, is a further attempt of this query rather than
    /// a query of its own.
    pub fn continues(&self, next: &Attempt) -> bool {
        let Some(last) = self.query.attempts.last() else { return false };
        let same_id = last.conversation.id == next.conversation.id;
        if self.settled.is_some() {
            return same_id && last.socket == next.socket && !self.answered_by(next);
        }
        let waited = next.time.since(last.time);
        match &last.fate {
            Fate::Answered(_) => true,
            _ if known_failed_at(last).is_some() => true,
            _ if same_id => {
                last.socket == next.socket
                    || last.conversation.remote != next.conversation.remote
                    // glibc asks both queries of a pair again over TCP when the answer to one of them is truncated.
                    || last.conversation.transport != next.conversation.transport
                    || waited >= SHORTEST_RETRY
            }
            _ => waited >= SHORTEST_TIMEOUT,
        }
    }

    /// When it is clear that nothing more comes of it, if the resolver knows of each attempt that it failed.
    pub fn hopeless_at(&self) -> Option<KernelTime> {
        let waiting = |attempt: &&Attempt| matches!(attempt.fate, Fate::Open | Fate::SendFailed { .. });
        let mut last = None;
        for attempt in self.query.attempts.iter().filter(waiting) {
            last = last.max(Some(known_failed_at(attempt)?));
        }
        last
    }

    /// What its program knows of it.
    pub fn standing(&self) -> Standing {
        let attempts = &self.query.attempts;
        let answered = self.settled.or_else(|| attempts.iter().rposition(|a| a.answer().is_some()));
        let answer = answered.and_then(|index| attempts.get(index)?.answer());
        let last = attempts.iter().rfind(|attempt| matches!(attempt.fate, Fate::Open));
        match (answer, last) {
            (Some(answer), _) if self.settled.is_some() || last.is_none() => {
                Standing::Answered(answer.time, ending(&answer.message))
            }
            _ if self.hopeless_at().is_some() => Standing::Failed,
            (_, last) => Standing::Waiting(last.map_or_else(|| self.query.started(), |last| last.time)),
        }
    }

    /// Whether the server that `next` goes to has answered already.
    fn answered_by(&self, next: &Attempt) -> bool {
        self.query.attempts.iter().any(|attempt| {
            attempt.conversation.remote == next.conversation.remote && attempt.answer().is_some()
        })
    }
}

/// When the resolver will have answered to the failure of this attempt, if it knows of it.
pub(super) fn known_failed_at(attempt: &Attempt) -> Option<KernelTime> {
    let known = |step: &Step| match &step.what {
        What::SendFailed { .. } => Some(step.time.plus(AFTER_REFUSED)),
        // A peer that sends no more may still read.
        What::ConnectionEnded(ConnectionEnd::ClosedByPeer) if attempt.conversation.role == Role::Server => {
            None
        }
        What::ConnectionEnded(ConnectionEnd::Closed)
            if attempt.conversation.role == Role::Client && attempt.conversation.id.is_some() =>
        {
            Some(step.time.plus(AFTER_OWN_END))
        }
        What::ConnectFailed { .. } | What::ConnectionEnded(_) => Some(step.time.plus(AFTER_CONNECTION)),
        // The kernel tells it of a TCP connection when that is given up, not before.
        What::IcmpReceived { leg: Leg::Query, error } if attempt.carrier.is_none() && is_refusal(*error) => {
            Some(step.time.plus(AFTER_REJECTED))
        }
        _ => None,
    };
    attempt.steps.iter().filter_map(known).min()
}

/// How long to wait for what the resolver does after this answer; `None` if it takes it as final.
pub(super) fn patience(answer: &Message, defect: Option<&Defect>) -> Option<u64> {
    match answer.rcode {
        _ if answer.flags.truncated => Some(AFTER_TRUNCATED),
        rcodes::NOERROR | rcodes::NXDOMAIN if matches!(defect, Some(Defect::Malformed(_))) => {
            Some(AFTER_ERROR)
        }
        rcodes::NOERROR | rcodes::NXDOMAIN => None,
        _ => Some(AFTER_ERROR),
    }
}

/// How long to wait after the answer to this attempt for what belongs to it.
pub(super) fn settling(attempt: &Attempt) -> u64 {
    match attempt.conversation.role {
        Role::Client if is_of_group(&attempt.conversation) => SETTLE_GROUP,
        Role::Server if attempt.carrier.is_some() => SETTLE_SERVER_TCP,
        Role::Client | Role::Server => SETTLE,
    }
}
