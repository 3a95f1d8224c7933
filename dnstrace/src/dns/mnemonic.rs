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

/// The record or query type that a user writes: a mnemonic in either case (`aaaa`), `TYPE65`, or `65`.
pub fn record_type_of(text: &str) -> Option<u16> {
    let upper = text.to_ascii_uppercase();
    let number = upper.strip_prefix("TYPE").unwrap_or(&upper);
    number.parse().ok().or_else(|| known_types().find(|(_, name)| *name == upper).map(|(code, _)| code))
}

/// Every type that has a mnemonic.
pub fn record_type_names() -> impl Iterator<Item = &'static str> {
    known_types().map(|(_, name)| name)
}

fn known_types() -> impl Iterator<Item = (u16, &'static str)> {
    (0..=u16::MAX).filter_map(|code| match RecordType::from(code) {
        RecordType::Unknown(_) => None,
        known => Some((code, known.into())),
    })
}

/// The largest RCODE: 12 bits with those of EDNS (RFC 6891, 6.1.3).
const LAST_RCODE: u16 = 0xfff;

/// The RCODE that a user writes: a mnemonic in either case (`nxdomain`), `RCODE3`, or `3`.
pub fn rcode_of(text: &str) -> Option<u16> {
    let upper = text.to_ascii_uppercase();
    let number: Option<u16> = upper.strip_prefix("RCODE").unwrap_or(&upper).parse().ok();
    match number {
        Some(number) => Some(number).filter(|number| *number <= LAST_RCODE),
        None => (0..=LAST_RCODE).find(|code| rcode(*code) == upper),
    }
}

/// Every RCODE that has a mnemonic.
pub fn rcode_names() -> impl Iterator<Item = Cow<'static, str>> {
    (0..=LAST_RCODE).map(rcode).filter(|name| matches!(name, Cow::Borrowed(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_can_be_written() {
        for code in 0..=u16::MAX {
            assert_eq!(record_type_of(&record_type(code)), Some(code));
        }
        for code in 0..=LAST_RCODE {
            assert_eq!(rcode_of(&rcode(code)), Some(code));
        }
        assert_eq!(
            (record_type_of("aaaa"), record_type_of("65"), record_type_of("type65")),
            (Some(28), Some(65), Some(65))
        );
        assert_eq!((rcode_of("nxdomain"), rcode_of("3"), rcode_of("rcode3")), (Some(3), Some(3), Some(3)));
    }

    #[test]
    fn what_is_no_name_is_none() {
        for text in ["", "AAAAA", "TYPE", "TYPE65536", "TYPE-1", "-1", "A A"] {
            assert_eq!(record_type_of(text), None, "{text}");
        }
        for text in ["", "NXDOMAINS", "RCODE", "4096", "RCODE4096"] {
            assert_eq!(rcode_of(text), None, "{text}");
        }
    }
}
