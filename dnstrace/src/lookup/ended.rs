//! What is remembered of a query that has ended: enough to know what comes late.

use std::net::SocketAddr;

use crate::{dns::Question, event::KernelTime};

use super::{Outcome, Query};

#[derive(Debug)]
pub(super) struct EndedQuery {
    pub question: Question,
    pub answered: bool,
    pub attempts: Vec<EndedAttempt>,
    /// When it is forgotten.
    pub deadline: KernelTime,
}

#[derive(Debug)]
pub(super) struct EndedAttempt {
    pub time: KernelTime,
    pub netns: u32,
    pub socket: u64,
    /// The other end, as the traced socket had it.
    pub remote: SocketAddr,
    /// The number of the TCP connection that it went over.
    pub connection: Option<u64>,
}

impl EndedQuery {
    pub fn of(query: &Query, deadline: KernelTime) -> Self {
        let attempts = query.attempts.iter();
        let attempts = attempts.map(|attempt| EndedAttempt {
            time: attempt.time,
            netns: attempt.conversation.netns,
            socket: attempt.socket,
            remote: attempt.conversation.remote,
            connection: attempt.carrier.map(|carrier| carrier.connection),
        });
        Self {
            question: query.question.clone(),
            answered: matches!(query.outcome, Outcome::Answered { .. }),
            attempts: attempts.collect(),
            deadline,
        }
    }
}
