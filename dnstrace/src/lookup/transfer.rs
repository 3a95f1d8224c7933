//! Zone transfers (AXFR, RFC 5936; IXFR, RFC 1995): one query, an answer of many messages.

use crate::dns::{Message, Question, Record, rcodes};

const SOA: u16 = 6;
const IXFR: u16 = 251;
const AXFR: u16 = 252;

/// A transfer under way. It begins with the zone's SOA record and ends with the same; an incremental one has that
/// record once more, before the last additions.
#[derive(Clone, Debug)]
pub(super) struct Transfer {
    /// Index of the attempt that it answers.
    pub attempt: usize,
    is_incremental_query: bool,
    /// RDATA of the first SOA record.
    soa: String,
    /// Records seen.
    records: u64,
    /// How often the first record was among them.
    seen: u8,
    /// The second record was a SOA, too: differences follow.
    is_incremental: bool,
    has_failed: bool,
    /// Not all of its records were captured: the final one may be among them.
    is_cut: bool,
}

impl Transfer {
    /// The transfer that `message`, the answer to this attempt, begins, if it does.
    pub fn begun(attempt: usize, question: &Question, message: &Message) -> Option<Self> {
        let is_incremental_query = question.qtype == IXFR;
        let first = message.answers.first()?;
        let is_transfer = is_incremental_query || question.qtype == AXFR;
        if !is_transfer || message.rcode != rcodes::NOERROR || message.flags.truncated || first.rtype != SOA {
            return None;
        }
        let mut transfer = Self {
            attempt,
            is_incremental_query,
            soa: first.data.clone(),
            records: 0,
            seen: 0,
            is_incremental: false,
            has_failed: false,
            is_cut: false,
        };
        transfer.goes_on(message);
        Some(transfer)
    }

    /// Takes in a further message of it.
    pub fn goes_on(&mut self, message: &Message) {
        self.has_failed |= message.rcode != rcodes::NOERROR;
        self.is_cut |= message.answers.len() < usize::from(message.counts.answers);
        for record in &message.answers {
            self.records += 1;
            self.is_incremental |= self.is_incremental_query && self.records == 2 && record.rtype == SOA;
            self.seen = self.seen.saturating_add(u8::from(self.is_first(record)));
        }
    }

    /// Whether it is known that its final record has not come, although its connection has ended.
    pub fn has_broken_off(&self) -> bool {
        !self.is_complete() && !self.is_cut
    }

    /// Whether its final record was seen.
    pub fn is_complete(&self) -> bool {
        // That alone says that the client's zone is the newest.
        let is_up_to_date = self.is_incremental_query && self.records == 1;
        // An AXFR of an empty zone has two records, and both are the same.
        let wanted = if self.is_incremental && self.records > 2 { 3 } else { 2 };
        self.has_failed || is_up_to_date || self.seen >= wanted
    }

    fn is_first(&self, record: &Record) -> bool {
        record.rtype == SOA && record.data == self.soa
    }
}
