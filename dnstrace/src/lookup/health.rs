//! Whether all went well: for those who look for trouble, and for colours. One judgement for both.

use crate::dns::{Message, rcodes};

use super::{
    Attempt, ConnectionEnd, Ending, Fate, Insertion, Lookup, Outcome, Output, Query, Step, Stray,
    StrayReason, TcpConnection, What,
};

/// How something fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// Nothing to complain of: NOERROR, with or without data, and NXDOMAIN are answers.
    Well,
    /// It came to a good end, or may yet, but a packet was lost, refused or late, or an attempt answered with an error.
    Troubled,
    /// No answer, an error such as SERVFAIL or REFUSED, or a connection that could not be opened.
    Failed,
}

impl Output {
    /// How it fared.
    pub fn health(&self) -> Health {
        match self {
            Self::Query(query) => query.health(),
            Self::Stray(stray) => stray.health(),
            // Only what was dropped, rejected or lost its entry is told of a packet alone.
            Self::Packet(_) => Health::Troubled,
            Self::Connection(connection) => connection.health(),
            Self::Lookup(lookup) => lookup.health(),
            Self::Loss(_) => Health::Failed,
        }
    }
}

impl Query {
    /// By its end, and by what befell its attempts before.
    pub fn health(&self) -> Health {
        let failed = match self.outcome {
            Outcome::Unanswered => true,
            Outcome::Pending => false,
            Outcome::Answered { .. } => self.answer().is_some_and(|answer| is_error(&answer.message)),
        };
        if failed {
            Health::Failed
        } else if self.attempts.iter().any(is_troubled) {
            Health::Troubled
        } else {
            Health::Well
        }
    }
}

impl Lookup {
    /// By its end, and by those of its queries.
    pub fn health(&self) -> Health {
        let failed = |ending| matches!(ending, Ending::Failed(_) | Ending::Unanswered);
        if failed(self.ending) {
            Health::Failed
        } else if self.queries().any(|query| failed(query.ending)) {
            Health::Troubled
        } else {
            Health::Well
        }
    }
}

impl Stray {
    fn health(&self) -> Health {
        let message = self.observation.decoded.message.as_ref();
        match self.reason {
            StrayReason::Undecoded
            | StrayReason::NoQuestion
            | StrayReason::Late { .. }
            | StrayReason::Untranslated { .. }
            | StrayReason::StreamNotDns => Health::Troubled,
            StrayReason::QueryNotSeen | StrayReason::Surplus { .. } if message.is_some_and(is_error) => {
                Health::Troubled
            }
            // What was skipped is a loss of the trace, not of the connection.
            StrayReason::QueryNotSeen | StrayReason::Surplus { .. } | StrayReason::StreamSkipped => {
                Health::Well
            }
        }
    }
}

impl TcpConnection {
    /// By whether it was opened, how it ended, and what befell its packets.
    pub fn health(&self) -> Health {
        let unopened = self.established.is_none() && self.seen_from_start && self.end.is_some();
        // A client that closes with bytes unread sends a RST, too (tcp_close): no trouble.
        let (broken, reset) = match self.end {
            Some(ConnectionEnd::Failed { .. }) => (true, false),
            Some(ConnectionEnd::Reset) => (false, true),
            Some(ConnectionEnd::Closed | ConnectionEnd::ClosedByPeer | ConnectionEnd::Aborted) | None => {
                (false, false)
            }
        };
        if unopened || broken {
            Health::Failed
        } else if reset || self.steps.iter().any(is_trouble) {
            Health::Troubled
        } else {
            Health::Well
        }
    }
}

/// Whether a response says that something failed.
fn is_error(message: &Message) -> bool {
    message.response && !matches!(message.rcode, rcodes::NOERROR | rcodes::NXDOMAIN)
}

fn is_troubled(attempt: &Attempt) -> bool {
    let died = match &attempt.fate {
        Fate::Answered(answer) => is_error(&answer.message),
        Fate::Open | Fate::NotAwaited => false,
        Fate::AnsweredLate { .. }
        | Fate::SendFailed { .. }
        | Fate::LostAtConntrack { .. }
        | Fate::Dropped { .. }
        | Fate::Rejected { .. }
        | Fate::AnswerDropped { .. }
        | Fate::Evicted { .. }
        | Fate::ConnectFailed { .. }
        | Fate::ConnectionLost { .. }
        | Fate::Unanswered { .. }
        | Fate::Unknown { .. } => true,
    };
    // The SYN is sent again before the query is.
    died || attempt.steps_left_out > 0
        || attempt
            .carrier
            .is_some_and(|carrier| carrier.queries_before == 0 && carrier.syn_retransmissions > 0)
        || attempt.steps.iter().any(is_trouble)
}

/// Whether a step cost a packet or its entry.
fn is_trouble(step: &Step) -> bool {
    match &step.what {
        What::Conntrack(entry) => matches!(entry.result, Insertion::Failed { .. }),
        // How a connection ended is judged with it.
        What::ConnectionEnded(_) => false,
        What::Dropped(_)
        | What::IcmpSent { .. }
        | What::IcmpReceived { .. }
        | What::SendFailed { .. }
        | What::Evicted
        | What::Retransmitted { .. }
        | What::ConnectFailed { .. } => true,
    }
}
