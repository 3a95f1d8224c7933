//! Totals of a trace.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    event::Transport,
    filter::Hidden,
    lookup::{Fate, Insertion, Outcome, Query, Role, Step, Stray, StrayReason, What},
    output::words,
};

use super::{LookupCounts, TcpCounts, has_message, messages};

/// What is counted.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Counts {
    /// Queries that traced processes sent.
    pub queries: u64,
    /// Of these, by RCODE of the answer; NODATA apart from NOERROR.
    pub answers: BTreeMap<String, u64>,
    /// Of these, without an answer.
    pub unanswered: u64,
    /// Of these, without an answer yet when the trace ended.
    pub pending: u64,
    /// Of these, sent more than once.
    pub retried: u64,
    /// Attempts that were waited for in vain.
    pub attempts_unanswered: u64,
    /// Queries that traced servers received.
    pub served: u64,
    /// Of these, not answered by the server.
    pub served_unanswered: u64,
    /// Messages that are no part of a query: not DNS, malformed, or answers that nothing waited for.
    pub strays: u64,
    /// Messages in all: query messages (those that were not sent, too), their answers, and strays.
    pub messages: u64,
    /// Attempts of client queries by fate, in the words of JSON.
    pub fates: BTreeMap<&'static str, u64>,
    /// What connection tracking did to packets.
    pub conntrack: ConntrackCounts,
    /// Packets whose conntrack entry was inserted as it should be.
    pub conntrack_inserted: u64,
    /// Packets that a rule says not to track (NOTRACK).
    pub conntrack_untracked: u64,
    /// What went over TCP.
    pub tcp: TcpCounts,
    /// What programs asked for, and what their search lists cost.
    pub lookups: LookupCounts,
    /// Drops, failed insertions, ICMP errors and evictions that belong to no attempt under way.
    pub packets: u64,
    /// What filters hid: counted nowhere else.
    pub hidden: Hidden,
}

/// What connection tracking did to packets, whoever they belonged to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ConntrackCounts {
    /// Clashes where the packet went on with the entry that was there first.
    pub clashes_merged: u64,
    /// Clashes where only the reply direction was inserted, for one second.
    pub clashes_reply_only: u64,
    /// Packets dropped because their entry could not be inserted.
    pub failed_insertions: u64,
    /// Packets dropped because the table was full.
    pub table_full: u64,
    /// Entries thrown out to make room for others.
    pub evictions: u64,
}

impl Counts {
    pub(super) fn add_query(&mut self, query: &Query) {
        self.tcp.add_query(query);
        self.messages +=
            query.attempts.iter().map(messages).sum::<u64>() + u64::from(query.attempts_left_out);
        for step in query.attempts.iter().flat_map(|attempt| &attempt.steps) {
            self.add_step(step);
        }
        if query.role == Role::Server {
            self.served += 1;
            self.served_unanswered += u64::from(query.answer().is_none());
            return;
        }
        self.queries += 1;
        self.retried += u64::from(query.attempts.iter().filter(|attempt| has_message(attempt)).count() > 1);
        for attempt in &query.attempts {
            *self.fates.entry(words::fate(&attempt.fate)).or_default() += 1;
        }
        let in_vain = query.attempts.iter().filter(|a| matches!(a.fate, Fate::Unanswered { .. })).count();
        self.attempts_unanswered += in_vain as u64;
        match (query.outcome, query.answer()) {
            (Outcome::Answered { .. }, Some(answer)) => {
                *self.answers.entry(words::status(&answer.message)).or_default() += 1;
            }
            (Outcome::Unanswered, _) => self.unanswered += 1,
            (Outcome::Answered { .. } | Outcome::Pending, _) => self.pending += 1,
        }
    }

    pub(super) fn add_stray(&mut self, stray: &Stray) {
        match stray.reason {
            StrayReason::StreamSkipped => self.tcp.skips += 1,
            StrayReason::StreamNotDns => self.tcp.not_dns += 1,
            _ => {
                self.strays += 1;
                self.messages += 1;
                let is_tcp = stray.observation.seen.flow.transport == Transport::Tcp;
                self.tcp.messages += u64::from(is_tcp);
            }
        }
    }

    pub(super) fn add_step(&mut self, step: &Step) {
        let conntrack = &mut self.conntrack;
        match &step.what {
            What::Conntrack(entry) => match entry.result {
                Insertion::Merged { .. } => conntrack.clashes_merged += 1,
                Insertion::ReplyOnly { .. } => conntrack.clashes_reply_only += 1,
                Insertion::Failed { .. } => conntrack.failed_insertions += 1,
                Insertion::Inserted => self.conntrack_inserted += 1,
                Insertion::Untracked => self.conntrack_untracked += 1,
                Insertion::Unknown => {}
            },
            What::Dropped(dropped) => conntrack.table_full += u64::from(dropped.table_full.is_some()),
            What::Evicted => conntrack.evictions += 1,
            What::IcmpSent { .. }
            | What::IcmpReceived { .. }
            | What::SendFailed { .. }
            | What::Retransmitted { .. }
            | What::ConnectFailed { .. }
            | What::ConnectionEnded(_) => {}
        }
    }
}
