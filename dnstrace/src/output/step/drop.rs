//! Drops in words.

use crate::{
    event::{DropPlace, TableFull, Transport},
    lookup::{Conntrack, Dropped, Insertion, Leg, Step, What},
};

use super::{Scene, escape, names, since_query, units, way_back_lost};

/// Reasons that say no more than what is said anyway.
const NETFILTER: &str = "NETFILTER_DROP";
const UNSPECIFIED: &str = "NOT_SPECIFIED";

/// `dropped by netfilter in FORWARD (nf_hook_slow)`
pub(super) fn words(dropped: &Dropped, step: &Step, scene: &Scene) -> String {
    let how = match (dropped.table_full, dropped.untranslated, dropped.arrived) {
        (Some(full), ..) => return format!("{}: {}", subject(dropped.leg, scene), table_full(full)),
        (None, Some(source), _) => {
            let came = since_query(step.time, scene).map(|time| format!(" after {time}")).unwrap_or_default();
            let lost = way_back_lost(step.time, scene).map(|lost| format!(", when {lost}"));
            let lost = lost.unwrap_or_default();
            let whose = if scene.of.is_some() { "its answer" } else { "answer" };
            format!("{whose} came{came}{lost}: not translated back (still from {source}), dropped")
        }
        (None, None, Some(arrived)) => {
            let waited = units::duration(step.time.since(arrived));
            format!("{} after {waited} in the socket's buffer, not read", subject(dropped.leg, scene))
        }
        (None, None, None) => subject(dropped.leg, scene).to_owned(),
    };
    format!("{how}{}{}", why(dropped, step, scene), evidence(&dropped.place))
}

/// What was dropped. An attempt is a query: that needs no word. Over TCP a segment may hold a part of a message, and is
/// sent again.
fn subject(leg: Leg, scene: &Scene) -> &'static str {
    match (leg, scene.transport, scene.of) {
        (Leg::Syn, ..) => "SYN dropped",
        (Leg::SynAck, ..) => "SYN-ACK dropped",
        (Leg::Query, Transport::Udp, Some(_)) => "dropped",
        (Leg::Answer, Transport::Udp, Some(_)) => "its answer was dropped",
        (Leg::Query, Transport::Udp, None) => "query dropped",
        (Leg::Answer, Transport::Udp, None) => "answer dropped",
        (Leg::Query, Transport::Tcp, Some(_)) => {
            "a segment of its connection was dropped on its way to the server"
        }
        (Leg::Answer, Transport::Tcp, Some(_)) => "a segment of its connection was dropped on its way back",
        (Leg::Query, Transport::Tcp, None) => "segment to the server dropped",
        (Leg::Answer, Transport::Tcp, None) => "segment from the server dropped",
    }
}

/// `conntrack table full (262144 of 262144 entries)`
fn table_full(full: TableFull) -> String {
    match (full.count, full.max) {
        (Some(count), Some(max)) => format!("conntrack table full ({count} of {max} entries)"),
        (None, Some(max)) => format!("conntrack table full (at most {max} entries)"),
        (Some(count), None) => format!("conntrack table full ({count} entries)"),
        (None, None) => "conntrack table full".to_owned(),
    }
}

/// ` by netfilter in FORWARD`, `: the socket's receive buffer was full`; empty if the kernel's own name has to do.
fn why(dropped: &Dropped, step: &Step, scene: &Scene) -> String {
    let place = &dropped.place;
    if is_netfilter(place) {
        let cause = if follows_failed_insertion(dropped, step, scene) { " for that" } else { "" };
        let hook = place.hook.map(|hook| format!(" in {}", names::netfilter_hook(hook)));
        return format!("{cause} by netfilter{}", hook.unwrap_or_default());
    }
    let known = match (place.reason.as_deref(), place.function.as_deref()) {
        (None | Some(UNSPECIFIED), Some(function)) => function_words(function),
        (Some("NO_SOCKET"), _) => Some(no_socket(dropped, scene)),
        // ip_error (net/ipv4/route.c) gives this reason where the interface does not forward, since 5.19.
        (Some("IP_INADDRERRORS"), Some("ip_error")) => Some("not for this host, and IP forwarding is off"),
        (Some(reason), _) => match scene.transport {
            Transport::Udp => udp_reason_words(reason),
            Transport::Tcp => tcp_reason_words(reason),
        }
        .or_else(|| reason_words(reason)),
        (None, None) => None,
    };
    known.map(|known| format!(": {known}")).unwrap_or_default()
}

/// ` (NO_SOCKET, __udp4_lib_rcv)`: what the kernel itself says.
fn evidence(place: &DropPlace) -> String {
    let telling = |reason: &&str| !matches!(*reason, NETFILTER | UNSPECIFIED);
    let reason = place.reason.as_deref().filter(telling);
    let names: Vec<_> = reason.into_iter().chain(place.function.as_deref()).map(escape).collect();
    if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) }
}

/// Kernels without reasons (before 5.17) tell it by functions that drop for nothing else.
pub(in crate::output) fn is_netfilter(place: &DropPlace) -> bool {
    place.reason.as_deref() == Some(NETFILTER)
        || place.hook.is_some()
        || matches!(place.function.as_deref(), Some("nf_hook_slow" | "nft_do_chain"))
}

/// Whether the drop is how the kernel carries out that the insertion failed.
fn follows_failed_insertion(dropped: &Dropped, step: &Step, scene: &Scene) -> bool {
    let failed = |earlier: &Step| {
        earlier.netns == step.netns
            && earlier.time <= step.time
            && matches!(&earlier.what, What::Conntrack(Conntrack { result: Insertion::Failed { .. }, .. }))
    };
    matches!(dropped.leg, Leg::Query | Leg::Syn) && scene.steps.iter().any(failed)
}

fn no_socket(dropped: &Dropped, scene: &Scene) -> &'static str {
    match (dropped.leg, scene.transport, dropped.untranslated) {
        (Leg::Syn, ..) | (Leg::Query, Transport::Udp, _) => "no socket listens there",
        (Leg::Query, Transport::Tcp, _) => "the server does not have this connection",
        (Leg::Answer | Leg::SynAck, _, Some(_)) => "no socket expects it from there",
        (Leg::Answer | Leg::SynAck, _, None) => "no socket waits for it any more",
    }
}

fn udp_reason_words(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "PROTO_MEM" => "the memory for UDP was used up (net.ipv4.udp_mem)",
        "UDP_CSUM" => "wrong UDP checksum",
        _ => return None,
    })
}

fn tcp_reason_words(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "PROTO_MEM" => "the memory for TCP was used up (net.ipv4.tcp_mem)",
        "TCP_CSUM" => "wrong TCP checksum",
        "TCP_LISTEN_OVERFLOW" => "too many connections waited to be accepted (listen backlog)",
        "SOCKET_BACKLOG" => "too many segments waited for the socket while its program used it",
        "SOCKET_CLOSE" | "TCP_CLOSE" => "the socket was closed",
        "TCP_ABORT_ON_DATA" => "the socket had been closed before it came",
        "TCP_RESET" => "it resets the connection",
        "TCP_ZEROWINDOW" => "the receiver's window was full: its program does not read",
        "TCP_OVERWINDOW" => "beyond the receiver's window",
        "TCP_OFO_QUEUE_PRUNE" | "TCP_OFO_DROP" => "the socket's receive buffer was full",
        "TCP_OLD_DATA" => "a copy of what had come before",
        "TCP_OLD_SEQUENCE" | "TCP_INVALID_SEQUENCE" | "TCP_INVALID_END_SEQUENCE" => {
            "outside the receiver's window"
        }
        "TCP_OLD_ACK" | "TCP_TOO_OLD_ACK" => "its acknowledgement is an old one",
        "TCP_ACK_UNSENT_DATA" | "TCP_INVALID_ACK_SEQUENCE" => "it acknowledges what was never sent",
        "TCP_RFC7323_PAWS" | "TCP_RFC7323_PAWS_ACK" | "TCP_RFC7323_TW_PAWS" => {
            "its timestamp is older than the connection's last one (PAWS)"
        }
        "TCP_RFC7323_TSECR" => "it echoes a timestamp that was never sent",
        "TCP_FLAGS" | "TCP_INVALID_SYN" => "its TCP flags do not fit the connection's state",
        "TCP_MINTTL" => "its time to live is below the socket's minimum",
        _ => return None,
    })
}

/// `enum skb_drop_reason` (include/net/dropreason-core.h, up to 7.2) for people, as far as a DNS packet can meet it.
fn reason_words(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "SOCKET_RCVBUFF" => "the socket's receive buffer was full",
        "SOCKET_FILTER" => "refused by a filter of the socket or its cgroup",
        "IP_CSUM" => "wrong IP checksum",
        "SKB_CSUM" => "its checksum could not be computed",
        "IP_INHDR" => "broken IP header",
        "PKT_TOO_SMALL" => "shorter than its headers say",
        "PKT_TOO_BIG" => "larger than the MTU",
        "OTHERHOST" => "sent to another host's MAC address",
        "BPF_CGROUP_EGRESS" => "refused by a cgroup's BPF program",
        "TC_INGRESS" => "refused by traffic control (tc) on arrival",
        "TC_EGRESS" => "refused by traffic control (tc) on leaving",
        "XDP" => "refused by an XDP program",
        "XFRM_POLICY" => "refused by an IPsec policy",
        "IP_RPFILTER" => "refused by the reverse-path filter: the way back is another one",
        "IP_INNOROUTES" | "IP_OUTNOROUTES" => "no route",
        "NEIGH_FAILED" => "no next hop: it does not answer ARP or ND",
        "NEIGH_QUEUEFULL" => "no next hop yet, and too many packets wait for it",
        "NEIGH_DEAD" => "no next hop: its neighbour entry was removed",
        "NEIGH_CREATEFAIL" => "no next hop: its neighbour entry could not be made",
        "QDISC_DROP" | "QDISC_OVERLIMIT" => "refused by the interface's queue (qdisc)",
        "CPU_BACKLOG" => "too many packets waited for this CPU (net.core.netdev_max_backlog)",
        "FULL_RING" => "the device's ring was full",
        "DEV_READY" => "the device was not up",
        "NOMEM" => "no memory",
        "QUEUE_PURGE" => "the queue that it waited in was emptied",
        "IPV6DISABLED" => "IPv6 is off on the interface",
        _ => return None,
    })
}

/// Where the kernel gives no reason: functions that drop for one kind of thing only.
fn function_words(function: &str) -> Option<&'static str> {
    Some(match function {
        // The input of every route that is an error (net/ipv4/route.c).
        "ip_error" => "no route onward: none, one that refuses it, or IP forwarding is off",
        _ => return None,
    })
}
