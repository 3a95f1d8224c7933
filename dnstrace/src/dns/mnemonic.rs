//! IANA's names for DNS numbers. A number without a name is shown the way of RFC 3597.

use std::borrow::Cow;

use hickory_proto::rr::{DNSClass, RecordType};

/// Mnemonic of an RCODE as IANA spells it (`NXDOMAIN`), `RCODE23` for one without.
pub fn rcode(code: u16) -> Cow<'static, str> {
    Cow::Borrowed(match code {
        0 => "NOERROR",
        1 => "FORMERR",
        2 => "SERVFAIL",
        3 => "NXDOMAIN",
        4 => "NOTIMP",
        5 => "REFUSED",
        6 => "YXDOMAIN",
        7 => "YXRRSET",
        8 => "NXRRSET",
        9 => "NOTAUTH",
        10 => "NOTZONE",
        11 => "DSOTYPENI",
        16 => "BADVERS",
        17 => "BADKEY",
        18 => "BADTIME",
        19 => "BADMODE",
        20 => "BADNAME",
        21 => "BADALG",
        22 => "BADTRUNC",
        23 => "BADCOOKIE",
        other => return Cow::Owned(format!("RCODE{other}")),
    })
}

/// Mnemonic of a record or query type (`AAAA`), `TYPE65280` for one without.
pub fn record_type(code: u16) -> Cow<'static, str> {
    match RecordType::from(code) {
        RecordType::Unknown(code) => Cow::Owned(format!("TYPE{code}")),
        known => Cow::Borrowed(known.into()),
    }
}

/// Mnemonic of a class (`IN`), `CLASS7` for one without.
pub fn record_class(code: u16) -> Cow<'static, str> {
    match DNSClass::from(code) {
        DNSClass::IN => Cow::Borrowed("IN"),
        DNSClass::CH => Cow::Borrowed("CH"),
        DNSClass::HS => Cow::Borrowed("HS"),
        DNSClass::NONE => Cow::Borrowed("NONE"),
        DNSClass::ANY => Cow::Borrowed("ANY"),
        _ => Cow::Owned(format!("CLASS{code}")),
    }
}

/// Mnemonic of an OPCODE (`QUERY`), `OPCODE9` for one without.
pub fn opcode(code: u8) -> Cow<'static, str> {
    Cow::Borrowed(match code {
        0 => "QUERY",
        1 => "IQUERY",
        2 => "STATUS",
        4 => "NOTIFY",
        5 => "UPDATE",
        6 => "DSO",
        other => return Cow::Owned(format!("OPCODE{other}")),
    })
}

/// Whether IANA has assigned this OPCODE.
pub fn is_assigned_opcode(code: u8) -> bool {
    matches!(code, 0..=2 | 4..=6)
}
