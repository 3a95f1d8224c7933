//! Names for numbers and values, the same in every format.

use std::borrow::Cow;

use nix::errno::Errno;

use crate::{
    event::{IcmpError, NetfilterHook, Transport},
    lookup::{ConnectionEnd, Fate},
};

use super::vocabulary;

/// A fate as JSON and the summary's counts name it.
pub(crate) fn fate(fate: &Fate) -> &'static str {
    vocabulary::Fate::from(fate).into()
}

/// The errno with which the kernel gave a connection up.
pub(super) fn end_errno(end: ConnectionEnd) -> Option<u16> {
    match end {
        ConnectionEnd::Failed { errno } => Some(errno),
        ConnectionEnd::Closed
        | ConnectionEnd::ClosedByPeer
        | ConnectionEnd::Aborted
        | ConnectionEnd::Reset => None,
    }
}

pub(crate) fn transport(transport: Transport) -> &'static str {
    vocabulary::Transport::from(transport).into()
}

/// A netfilter hook as nft and iptables users know it.
pub(super) fn netfilter_hook(hook: NetfilterHook) -> &'static str {
    vocabulary::NetfilterHook::from(hook).into()
}

/// `EPERM`; the number in digits where there is no such errno.
pub(super) fn errno(errno: u16) -> String {
    match Errno::from_raw(i32::from(errno)) {
        Errno::UnknownErrno => errno.to_string(),
        known => format!("{known:?}"),
    }
}

/// `EPERM (Operation not permitted)`, `errno 4711`.
pub(super) fn errno_explained(errno: u16) -> String {
    match Errno::from_raw(i32::from(errno)) {
        Errno::UnknownErrno => format!("errno {errno}"),
        known => format!("{known:?} ({})", known.desc()),
    }
}

/// What an ICMP error says, after RFC 792, 1122, 1812 (IPv4) and 4443 (IPv6): `port unreachable`; `type 3 code 99`
/// where they have no such error.
pub(super) fn icmp(error: IcmpError) -> Cow<'static, str> {
    let (known, kind, code) = match error {
        IcmpError::V4 { kind, code } => (icmp_v4(kind, code), kind, code),
        IcmpError::V6 { kind, code } => (icmp_v6(kind, code), kind, code),
    };
    known.map_or_else(|| Cow::Owned(format!("type {kind} code {code}")), Cow::Borrowed)
}

fn icmp_v4(kind: u8, code: u8) -> Option<&'static str> {
    Some(match (kind, code) {
        (3, 0) => "net unreachable",
        (3, 1) => "host unreachable",
        (3, 2) => "protocol unreachable",
        (3, 3) => "port unreachable",
        (3, 4) => "fragmentation needed",
        (3, 5) => "source route failed",
        (3, 6) => "net unknown",
        (3, 7) => "host unknown",
        (3, 8) => "source host isolated",
        (3, 9) => "net prohibited",
        (3, 10) => "host prohibited",
        (3, 11) => "net unreachable for this type of service",
        (3, 12) => "host unreachable for this type of service",
        (3, 13) => "admin prohibited",
        (3, 14) => "host precedence violation",
        (3, 15) => "precedence cutoff",
        (4, 0) => "source quench",
        (11, 0) => "time to live exceeded",
        (11, 1) => "fragment reassembly time exceeded",
        (12, _) => "parameter problem",
        _ => return None,
    })
}

fn icmp_v6(kind: u8, code: u8) -> Option<&'static str> {
    Some(match (kind, code) {
        (1, 0) => "no route",
        (1, 1) => "admin prohibited",
        (1, 2) => "beyond the scope of the source address",
        (1, 3) => "address unreachable",
        (1, 4) => "port unreachable",
        (1, 5) => "source address refused by policy",
        (1, 6) => "reject route",
        (2, _) => "packet too big",
        (3, 0) => "hop limit exceeded",
        (3, 1) => "fragment reassembly time exceeded",
        (4, _) => "parameter problem",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errnos_have_the_names_of_the_headers() {
        let cases = [
            (1, "EPERM", "EPERM (Operation not permitted)"),
            (11, "EAGAIN", "EAGAIN (Try again)"),
            (22, "EINVAL", "EINVAL (Invalid argument)"),
            (97, "EAFNOSUPPORT", "EAFNOSUPPORT (Address family not supported by protocol)"),
            (101, "ENETUNREACH", "ENETUNREACH (Network is unreachable)"),
            (113, "EHOSTUNREACH", "EHOSTUNREACH (No route to host)"),
            (4711, "4711", "errno 4711"),
        ];
        for (number, name, explained) in cases {
            assert_eq!(errno(number), name);
            assert_eq!(errno_explained(number), explained);
        }
    }

    #[test]
    fn icmp_errors_have_the_names_of_the_standards() {
        let cases = [
            (IcmpError::V4 { kind: 3, code: 3 }, "port unreachable"),
            (IcmpError::V4 { kind: 3, code: 13 }, "admin prohibited"),
            (IcmpError::V4 { kind: 8, code: 0 }, "type 8 code 0"),
            (IcmpError::V6 { kind: 1, code: 4 }, "port unreachable"),
            (IcmpError::V6 { kind: 3, code: 3 }, "type 3 code 3"),
        ];
        for (error, name) in cases {
            assert_eq!(icmp(error), name);
        }
    }
}
