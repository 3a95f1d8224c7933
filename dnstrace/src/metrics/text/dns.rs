//! What the trace saw of DNS.

use std::fmt;

use super::{Families, Labels};
use crate::{
    output::words,
    statistics::{Asked, ByWord, Latency, OfOwner, OwnerKey, Statistics},
};

/// What is counted together for want of room.
const OTHER: &str = "other";

pub(super) fn write(families: &mut Families<'_>, statistics: &Statistics) -> fmt::Result {
    asked(families, statistics)?;
    servers(families, statistics)?;
    served(families, statistics)?;
    packets(families, statistics)
}

/// What pods asked.
fn asked(families: &mut Families<'_>, statistics: &Statistics) -> fmt::Result {
    let owners = owners(statistics, |owner| owner.asked.queries > 0);
    let owners = || owners.iter().map(|(labels, owner)| (labels, *owner));
    families.histograms(
        "dns_lookup_duration",
        "Time from the first attempt of a query to the answer that ended it.",
        owners().map(|(labels, owner)| (labels.clone(), &owner.latency)),
    )?;
    families.counters(
        "dns_queries",
        "Queries that were sent, by RCODE of the answer; none: nobody answered.",
        owners().flat_map(|(labels, owner)| {
            let unanswered = (owner.asked.unanswered > 0).then_some(("none", owner.asked.unanswered));
            let answers = owner.answers.iter().map(|(rcode, count)| (*rcode, *count)).chain(unanswered);
            with_each(labels, "rcode", answers)
        }),
    )?;
    families.counters(
        "dns_attempts",
        "Attempts of queries, by what became of them.",
        owners().flat_map(|(labels, owner)| by_fate(labels, &owner.fates)),
    )
}

/// What servers did with it.
fn servers(families: &mut Families<'_>, statistics: &Statistics) -> fmt::Result {
    let name = |server: &crate::statistics::OfServer| {
        format!("{}/{}", server.server, words::transport(server.transport))
    };
    let mut servers: Vec<(Labels, Asked)> = statistics
        .servers()
        .into_iter()
        .map(|server| (vec![("server", name(&server))], server.all))
        .collect();
    servers.sort_by(|(a, _), (b, _)| a.cmp(b));
    let others = statistics.servers_without_room();
    if others.attempts > 0 {
        servers.push((vec![("server", OTHER.to_owned())], others.clone()));
    }
    families.histograms(
        "dns_server_duration",
        "Time from an attempt to its answer, by the server that was asked.",
        servers.iter().map(|(labels, asked)| (labels.clone(), &asked.latency)),
    )?;
    families.counters(
        "dns_server_attempts",
        "Attempts by the server that was asked, and what became of them.",
        servers.iter().flat_map(|(labels, asked)| by_fate(labels, &asked.fates)),
    )?;
    families.counters(
        "dns_server_answers",
        "Answers by the server that was asked, and RCODE.",
        servers.iter().flat_map(|(labels, asked)| {
            with_each(labels, "rcode", asked.answers.iter().map(|(rcode, count)| (*rcode, *count)))
        }),
    )
}

/// What traced servers were asked.
fn served(families: &mut Families<'_>, statistics: &Statistics) -> fmt::Result {
    let owners = owners(statistics, |owner| owner.served.queries > 0);
    let latencies: Vec<(Labels, &Latency)> =
        owners.iter().map(|(labels, owner)| (labels.clone(), &owner.served.latency)).collect();
    families.histograms(
        "dns_served_duration",
        "A traced server's own time: from the query's reception to the answer's send.",
        latencies,
    )?;
    families.counters(
        "dns_served_queries",
        "Queries that traced servers received.",
        owners.iter().map(|(labels, owner)| (labels.clone(), owner.served.queries)),
    )?;
    families.counters(
        "dns_served_unanswered",
        "Queries that traced servers received and did not answer.",
        owners.iter().map(|(labels, owner)| (labels.clone(), owner.served.unanswered)),
    )
}

/// What befell packets and connections, whoever they belonged to.
fn packets(families: &mut Families<'_>, statistics: &Statistics) -> fmt::Result {
    let counts = statistics.counts();
    let (conntrack, tcp) = (&counts.conntrack, &counts.tcp);
    families.counters(
        "dns_conntrack_outcomes",
        "What connection tracking did to DNS packets.",
        with_each(
            &Labels::new(),
            "outcome",
            [
                ("inserted", counts.conntrack_inserted),
                ("untracked", counts.conntrack_untracked),
                ("clash_merged", conntrack.clashes_merged),
                ("clash_reply_only", conntrack.clashes_reply_only),
                ("insertion_failed", conntrack.failed_insertions),
                ("table_full", conntrack.table_full),
                ("evicted", conntrack.evictions),
            ],
        ),
    )?;
    families.counters(
        "dns_connections_failed",
        "TCP connections that could not be opened.",
        with_each(
            &Labels::new(),
            "protocol",
            [("dns", tcp.connections_failed), ("encrypted", tcp.encrypted_failed)],
        ),
    )?;
    let single = [
        ("dns_encrypted_connections", "Connections for DNS over TLS or HTTPS.", tcp.encrypted),
        ("dns_tcp_queries", "Queries that were sent over TCP, at once or in the end.", tcp.queries),
        ("dns_tcp_syn_retransmitted", "Connections whose SYN was sent again.", tcp.syn_retransmitted),
        ("dns_tcp_retransmitted", "Attempts of which TCP sent a segment again.", tcp.retransmitted),
        ("dns_messages", "DNS messages seen at sockets.", counts.messages),
        ("dns_stray_messages", "Messages that are no part of a query.", counts.strays),
        ("dns_stray_packets", "Drops, ICMP errors and the like of no query under way.", counts.packets),
    ];
    for (name, help, count) in single {
        families.counters(name, help, [(Labels::new(), count)])?;
    }
    Ok(())
}

/// Those owners with their labels, in order; the others last.
fn owners(statistics: &Statistics, wanted: impl Fn(&OfOwner) -> bool) -> Vec<(Labels, &OfOwner)> {
    let table = statistics.owners();
    let mut owners: Vec<_> = table
        .iter()
        .filter(|(_, owner)| wanted(owner))
        .map(|(OwnerKey { namespace, name }, owner)| {
            (labels(namespace.as_deref().unwrap_or_default(), name), owner)
        })
        .collect();
    owners.sort_by(|(a, _), (b, _)| a.cmp(b));
    if wanted(table.others()) {
        owners.push((labels(OTHER, OTHER), table.others()));
    }
    owners
}

fn labels(namespace: &str, pod: &str) -> Labels {
    vec![("namespace", namespace.to_owned()), ("pod", pod.to_owned())]
}

fn by_fate(labels: &Labels, fates: &ByWord) -> Vec<(Labels, u64)> {
    with_each(labels, "fate", fates.iter().map(|(fate, count)| (*fate, *count)))
}

/// A sample for each word.
fn with_each(
    labels: &Labels,
    label: &'static str,
    words: impl IntoIterator<Item = (&'static str, u64)>,
) -> Vec<(Labels, u64)> {
    let with = |word: &str| labels.iter().cloned().chain([(label, word.to_owned())]).collect();
    words.into_iter().map(|(word, count)| (with(word), count)).collect()
}
