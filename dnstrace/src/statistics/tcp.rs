//! What went over TCP.

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    event::Transport,
    lookup::{Attempt, Leg, Protocol, Query, Role, Step, TcpConnection, What},
    output::words,
};

use super::{has_message, messages};

/// Counts of TCP, beside those of all queries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TcpCounts {
    /// Queries that traced processes sent over TCP, at once or in the end.
    pub queries: u64,
    /// Of these, those that had been answered over UDP with TC before.
    pub after_truncation: u64,
    /// Queries that traced servers received over TCP.
    pub served: u64,
    /// Query messages and answers.
    pub messages: u64,
    /// Attempts and connections whose SYN had to be sent again.
    pub syn_retransmitted: u64,
    /// Attempts of which TCP had to send a segment again.
    pub retransmitted: u64,
    /// Connections for DNS that could not be opened, so that nothing was asked.
    pub connections_failed: u64,
    /// Connections for DNS over TLS or HTTPS.
    pub encrypted: u64,
    /// Of these, those that could not be opened.
    pub encrypted_failed: u64,
    /// Streams, of which a connection has one in each direction, that do not speak DNS.
    pub not_dns: u64,
    /// Places of streams where bytes were skipped.
    pub skips: u64,
}

impl TcpCounts {
    pub(super) fn add_query(&mut self, query: &Query) {
        let over = |transport| move |attempt: &&Attempt| attempt.conversation.transport == transport;
        for attempt in query.attempts.iter().filter(over(Transport::Tcp)) {
            self.messages += messages(attempt);
            let again = words::opened_slowly(attempt) || attempt.steps.iter().any(words::is_syn_again);
            self.syn_retransmitted += u64::from(again);
            self.retransmitted += u64::from(attempt.steps.iter().any(is_data_again));
        }
        if !query.attempts.iter().filter(over(Transport::Tcp)).any(has_message) {
            return;
        }
        match query.role {
            Role::Client => {
                let is_truncated =
                    |attempt: &Attempt| attempt.answer().is_some_and(|answer| answer.message.flags.truncated);
                self.queries += 1;
                self.after_truncation +=
                    u64::from(query.attempts.iter().filter(over(Transport::Udp)).any(is_truncated));
            }
            Role::Server => self.served += 1,
        }
    }

    pub(super) fn add_connection(&mut self, tcp: &TcpConnection) {
        let failed = u64::from(words::is_unopened(tcp));
        match tcp.protocol {
            Protocol::Dns => self.connections_failed += failed,
            Protocol::Tls | Protocol::Https => {
                self.encrypted += 1;
                self.encrypted_failed += failed;
            }
        }
        self.syn_retransmitted += u64::from(words::syns_again(&tcp.steps) > 0);
    }
}

fn is_data_again(step: &Step) -> bool {
    matches!(step.what, What::Retransmitted { leg: Leg::Query | Leg::Answer })
}
