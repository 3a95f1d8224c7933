//! Names for numbers and values, the same in every format.

use std::borrow::Cow;

use nix::errno::Errno;

use crate::{
    event::{IcmpError, NetfilterHook, Transport},
    identify::{Likeness, ResolverFlag},
    lookup::{ConnectionEnd, Ending, Fate, Leg, Protocol, Role},
};

/// A fate as JSON and the summary's counts name it.
pub(crate) fn fate(fate: &Fate) -> &'static str {
    match fate {
        Fate::Open => "open",
        Fate::Answered(_) => "answered",
        Fate::AnsweredLate { .. } => "answered_late",
        Fate::SendFailed { .. } => "send_failed",
        Fate::LostAtConntrack { .. } => "lost_at_conntrack",
        Fate::Dropped { .. } => "dropped",
        Fate::Rejected { .. } => "rejected",
        Fate::AnswerDropped { .. } => "answer_dropped",
        Fate::Evicted { .. } => "evicted",
        Fate::Unanswered { .. } => "unanswered",
        Fate::Unknown { .. } => "unknown",
        Fate::NotAwaited => "not_awaited",
        Fate::ConnectFailed { .. } => "connect_failed",
        Fate::ConnectionLost { .. } => "connection_lost",
    }
}

/// How a TCP connection ended, as JSON names it.
pub(super) fn connection_end(end: ConnectionEnd) -> &'static str {
    match end {
        ConnectionEnd::Closed => "closed",
        ConnectionEnd::ClosedByPeer => "closed_by_peer",
        ConnectionEnd::Aborted => "aborted",
        ConnectionEnd::Reset => "reset",
        ConnectionEnd::Failed { .. } => "failed",
    }
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

/// What a TCP connection speaks, as JSON names it.
pub(super) fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Dns => "dns",
        Protocol::Tls => "tls",
        Protocol::Https => "https",
    }
}

pub(super) fn role(role: Role) -> &'static str {
    match role {
        Role::Client => "client",
        Role::Server => "server",
    }
}

pub(super) fn ending(ending: Ending) -> &'static str {
    match ending {
        Ending::Found => "found",
        Ending::NoData => "nodata",
        Ending::NxDomain => "nxdomain",
        Ending::Failed(_) => "failed",
        Ending::Unanswered => "unanswered",
        Ending::Pending => "pending",
    }
}

/// As resolv.conf(5) has it.
pub(super) fn resolver_flag(flag: ResolverFlag) -> &'static str {
    match flag {
        ResolverFlag::Rotate => "rotate",
        ResolverFlag::UseVc => "use-vc",
        ResolverFlag::SingleRequest => "single-request",
        ResolverFlag::SingleRequestReopen => "single-request-reopen",
        ResolverFlag::Edns0 => "edns0",
        ResolverFlag::TrustAd => "trust-ad",
        ResolverFlag::NoAaaa => "no-aaaa",
        ResolverFlag::NoTldQuery => "no-tld-query",
    }
}

/// Whose resolv.conf one looks like.
pub(super) fn likeness(likeness: Likeness) -> &'static str {
    match likeness {
        Likeness::ClusterFirst => "cluster_first",
        Likeness::Node => "node",
        Likeness::Own => "own",
    }
}

pub(super) fn leg(leg: Leg) -> &'static str {
    match leg {
        Leg::Query => "query",
        Leg::Answer => "answer",
        Leg::Syn => "syn",
        Leg::SynAck => "syn_ack",
    }
}

pub(super) fn transport(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "udp",
        Transport::Tcp => "tcp",
    }
}

/// A netfilter hook as nft and iptables users know it.
pub(super) fn netfilter_hook(hook: NetfilterHook) -> &'static str {
    match hook {
        NetfilterHook::Prerouting => "PREROUTING",
        NetfilterHook::Input => "INPUT",
        NetfilterHook::Forward => "FORWARD",
        NetfilterHook::Output => "OUTPUT",
        NetfilterHook::Postrouting => "POSTROUTING",
    }
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
