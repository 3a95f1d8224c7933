//! Payload bytes to DNS messages, with hickory-proto as the parser.
//!
//! [`decode`] never fails and never drops: what is not DNS, broken or cut off is said to be so, beside as much
//! of the message as could be read.

mod mnemonic;
mod name;
mod stream;

use std::fmt::Write as _;

use hickory_proto::{
    op::{Edns as OptRecord, Header, MessageType, Query},
    rr::{RData, Record as ResourceRecord},
    serialize::binary::{BinDecodable as _, BinDecoder},
};

pub use mnemonic::{
    opcode, rcode, rcode_names, rcode_of, record_class, record_type, record_type_names, record_type_of,
};
pub use name::present;
pub use stream::{Framed, StreamLimits, StreamTotals, Streams};

/// RCODE 0, 1, 2, 3, 4, 5.
pub mod rcodes {
    pub const NOERROR: u16 = 0;
    pub const FORMERR: u16 = 1;
    pub const SERVFAIL: u16 = 2;
    pub const NXDOMAIN: u16 = 3;
    pub const NOTIMP: u16 = 4;
    pub const REFUSED: u16 = 5;
}

/// What a payload turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The message, or as much of it as there is; none if the payload is not DNS at all.
    pub message: Option<Message>,
    /// What is wrong with it, if anything.
    pub defect: Option<Defect>,
}

/// Why a message could not be read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Defect {
    /// Not a DNS message: shorter than a header, or a header that cannot be one.
    NotDns,
    /// The capture ends before the message: so many bytes are missing.
    Cut { missing: u32 },
    /// The message itself is broken: what the parser said.
    Malformed(String),
}

/// A DNS message (RFC 1035, section 4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub id: u16,
    /// QR: a response, not a query.
    pub response: bool,
    /// OPCODE, 0 for a standard query.
    pub opcode: u8,
    /// RCODE, the extended bits of EDNS included.
    pub rcode: u16,
    pub flags: Flags,
    /// The question; the first one where there are several (no server answers those).
    pub question: Option<Question>,
    /// Answer section, as far as it could be read.
    pub answers: Vec<Record>,
    /// Records that the header announces in answer, authority and additional section.
    pub counts: Counts,
    pub edns: Option<Edns>,
}

/// Header bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// AA
    pub authoritative: bool,
    /// TC
    pub truncated: bool,
    /// RD
    pub recursion_desired: bool,
    /// RA
    pub recursion_available: bool,
    /// AD
    pub authentic_data: bool,
    /// CD
    pub checking_disabled: bool,
}

/// What the header says of the sections' sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub answers: u16,
    pub authorities: u16,
    pub additionals: u16,
}

/// What is asked. Equal if the same is asked: the name is kept in lower case, as DNS compares it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Question {
    /// In presentation form ([`present`]), lower case, with the trailing dot.
    pub name: String,
    /// QTYPE
    pub qtype: u16,
    /// QCLASS
    pub qclass: u16,
}

/// A resource record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Owner, in presentation form.
    pub name: String,
    /// TYPE
    pub rtype: u16,
    /// Seconds.
    pub ttl: u32,
    /// RDATA in presentation form. Comes from strangers, is not escaped.
    pub data: String,
}

/// EDNS (RFC 6891).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edns {
    pub version: u8,
    /// Largest UDP payload that the sender takes, in bytes.
    pub udp_size: u16,
    /// DO: DNSSEC records wanted.
    pub dnssec_ok: bool,
}

impl Message {
    /// NOERROR without a record of the type that was asked for, behind aliases or not: the name exists, the
    /// type does not. Only said of an answer section that was read whole.
    pub fn is_nodata(&self) -> bool {
        const ANY: u16 = 255;
        let Some(question) = &self.question else { return false };
        self.response
            && self.rcode == rcodes::NOERROR
            && !self.flags.truncated
            && self.answers.len() == usize::from(self.counts.answers)
            && !self.answers.iter().any(|record| record.rtype == question.qtype || question.qtype == ANY)
            && !self.is_referral()
    }

    /// An answer of an authoritative server that only names other servers.
    fn is_referral(&self) -> bool {
        !self.flags.authoritative && !self.flags.recursion_available && self.counts.authorities > 0
    }
}

/// Decodes `payload`, the captured part of a message of `length` bytes.
pub fn decode(payload: &[u8], length: u32) -> Decoded {
    let missing = length.saturating_sub(u32::try_from(payload.len()).unwrap_or(u32::MAX));
    let mut decoder = BinDecoder::new(payload);
    let header = match Header::read(&mut decoder) {
        Ok(header) if plausible(&header, length) => header,
        _ if missing > 0 && payload.len() < 12 => {
            return Decoded { message: None, defect: Some(Defect::Cut { missing }) };
        }
        _ => return Decoded { message: None, defect: Some(Defect::NotDns) },
    };
    let mut message = from_header(&header);
    let defect = match read_sections(&mut decoder, &header, &mut message) {
        Ok(()) => None,
        Err(_) if missing > 0 => Some(Defect::Cut { missing }),
        Err(error) => Some(Defect::Malformed(error.to_string())),
    };
    Decoded { message: Some(message), defect }
}

/// Octets of the smallest question (root name, type, class) and the smallest record.
const SMALLEST_QUESTION: u32 = 5;
const SMALLEST_RECORD: u32 = 11;

/// Whether a header can be a DNS header: an assigned opcode, and no more records than there is room for.
fn plausible(header: &Header, length: u32) -> bool {
    let counts = &header.counts;
    let records = u32::from(counts.answers) + u32::from(counts.authorities) + u32::from(counts.additionals);
    let room = length.saturating_sub(12);
    mnemonic::is_assigned_opcode(header.op_code.into())
        && u32::from(counts.queries) * SMALLEST_QUESTION + records * SMALLEST_RECORD <= room
}

fn from_header(header: &Header) -> Message {
    Message {
        id: header.id,
        response: header.message_type == MessageType::Response,
        opcode: header.op_code.into(),
        rcode: header.response_code.into(),
        flags: Flags {
            authoritative: header.authoritative,
            truncated: header.truncation,
            recursion_desired: header.recursion_desired,
            recursion_available: header.recursion_available,
            authentic_data: header.authentic_data,
            checking_disabled: header.checking_disabled,
        },
        question: None,
        answers: Vec::new(),
        counts: Counts {
            answers: header.counts.answers,
            authorities: header.counts.authorities,
            additionals: header.counts.additionals,
        },
        edns: None,
    }
}

/// Reads the sections in their order into `message`, which keeps what was read before an error.
fn read_sections(
    decoder: &mut BinDecoder<'_>,
    header: &Header,
    message: &mut Message,
) -> Result<(), hickory_proto::serialize::binary::DecodeError> {
    for _ in 0..header.counts.queries {
        let query = Query::read(decoder)?;
        message.question.get_or_insert_with(|| question(&query));
    }
    for _ in 0..header.counts.answers {
        let record = ResourceRecord::read(decoder)?;
        message.answers.push(resource(&record));
    }
    for _ in 0..header.counts.authorities {
        ResourceRecord::<RData>::read(decoder)?;
    }
    for _ in 0..header.counts.additionals {
        let record = ResourceRecord::read(decoder)?;
        if matches!(record.data, RData::OPT(_)) || is_empty_opt(&record) {
            let opt = OptRecord::from(&record);
            message.rcode |= u16::from(opt.rcode_high()) << 4;
            message.edns = Some(Edns {
                version: opt.version(),
                udp_size: opt.max_payload(),
                dnssec_ok: opt.flags().dnssec_ok,
            });
        }
    }
    Ok(())
}

/// An OPT record without options, which hickory reads as an update's placeholder.
fn is_empty_opt(record: &ResourceRecord) -> bool {
    const OPT: u16 = 41;
    matches!(record.data, RData::Update0(rtype) if u16::from(rtype) == OPT)
}

fn question(query: &Query) -> Question {
    Question {
        name: present(query.name()).to_ascii_lowercase(),
        qtype: query.query_type().into(),
        qclass: query.query_class().into(),
    }
}

/// Data in presentation form, up to where hickory has none for what it has read: there its `Display` fails, at which
/// `to_string` panics (found by fuzzing).
fn text(data: &RData) -> String {
    let mut text = String::new();
    if write!(text, "{data}").is_err() {
        text.push_str("...");
    }
    text
}

fn resource(record: &ResourceRecord) -> Record {
    Record {
        name: present(&record.name),
        rtype: record.record_type().into(),
        ttl: record.ttl,
        data: match &record.data {
            RData::CNAME(name) => present(name),
            RData::NS(name) => present(name),
            RData::PTR(name) => present(name),
            data => text(data),
        },
    }
}

#[cfg(test)]
mod tests;
