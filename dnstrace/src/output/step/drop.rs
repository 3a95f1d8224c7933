//! Drops in words.

use crate::{
    event::{DropPlace, TableFull},
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

/// What was dropped. An attempt is a query: that needs no word.
fn subject(leg: Leg, scene: &Scene) -> &'static str {
    match (leg, scene.of) {
        (Leg::Query, Some(_)) => "dropped",
        (Leg::Answer, Some(_)) => "its answer was dropped",
        (Leg::Query, None) => "query dropped",
        (Leg::Answer, None) => "answer dropped",
        (Leg::Syn, _) => "SYN dropped",
        (Leg::SynAck, _) => "SYN-ACK dropped",
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
        (Some("NO_SOCKET"), _) => Some(no_socket(dropped)),
        // ip_error (net/ipv4/route.c) gives this reason where the interface does not forward, since 5.19.
        (Some("IP_INADDRERRORS"), Some("ip_error")) => Some("not for this host, and IP forwarding is off"),
        (Some(reason), _) => reason_words(reason),
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
fn is_netfilter(place: &DropPlace) -> bool {
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
    dropped.leg == Leg::Query && scene.of.is_some_and(|of| of.attempt.steps.iter().any(failed))
}

fn no_socket(dropped: &Dropped) -> &'static str {
    match (dropped.leg, dropped.untranslated) {
        (Leg::Query | Leg::Syn, _) => "no socket listens there",
        (Leg::Answer | Leg::SynAck, Some(_)) => "no socket expects it from there",
        (Leg::Answer | Leg::SynAck, None) => "no socket waits for it any more",
    }
}

/// `enum skb_drop_reason` (include/net/dropreason-core.h) for people, as far as a DNS packet can meet it.
fn reason_words(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "SOCKET_RCVBUFF" => "the socket's receive buffer was full",
        "PROTO_MEM" => "the memory for UDP was used up (net.ipv4.udp_mem)",
        "SOCKET_FILTER" => "refused by a filter of the socket or its cgroup",
        "UDP_CSUM" => "wrong UDP checksum",
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
