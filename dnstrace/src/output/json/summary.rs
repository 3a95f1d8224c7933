//! What the trace came to, as JSON.

use std::{net::IpAddr, sync::Arc};

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    directory::{Kind, Name},
    losses::Losses,
    output::names,
    statistics::{Asked, Asking, ByWord, Counts, Latency, OfOwner, OwnerKey, Statistics, Tally as _},
};

/// Servers, pods and names that are told, the worst first; those that are left out are told together.
const TOLD: usize = 20;

/// What was counted.
#[derive(Serialize, JsonSchema)]
pub(super) struct SummaryLine<'a> {
    /// Whether the trace has ended: of several summaries (asked for with SIGUSR1) the last one.
    #[serde(rename = "final")]
    is_final: bool,
    /// Since the trace began.
    duration_ns: u64,
    #[serde(flatten)]
    counts: &'a Counts,
    /// Of answered client queries, from the first attempt on.
    latency: LatencyFields,
    /// Servers that were asked.
    servers: Vec<ServerFields>,
    /// Those that are left out, together.
    other_servers: AskedFields,
    /// Pods, and what runs outside pods.
    pods: Vec<PodFields<'a>>,
    /// Likewise.
    other_pods: PodTotals,
    /// Names that were asked for.
    names: Vec<NameFields<'a>>,
    /// Likewise.
    other_names: AskingFields,
    /// What was lost, by place and cause.
    losses: &'a Losses,
}

/// Latencies; null where there is none.
#[derive(Serialize, JsonSchema)]
struct LatencyFields {
    /// How many.
    count: u64,
    /// All together.
    sum_ns: u64,
    /// Half of them took no longer.
    p50_ns: Option<u64>,
    /// Nine of ten.
    p90_ns: Option<u64>,
    /// 99 of 100.
    p99_ns: Option<u64>,
    /// The longest.
    max_ns: Option<u64>,
    /// Those that hold something.
    buckets: Vec<BucketFields>,
}

/// Latencies up to `le_ms` and over that of the bucket before.
#[derive(Serialize, JsonSchema)]
struct BucketFields {
    /// In milliseconds; null: longer than the last but one.
    le_ms: Option<u64>,
    /// How many.
    count: u64,
}

/// A server that was asked.
#[derive(Serialize, JsonSchema)]
struct ServerFields {
    /// As it was asked.
    server: IpAddr,
    /// Likewise.
    server_port: u16,
    /// `udp` or `tcp`
    transport: &'static str,
    /// The Service whose address it was last (`--kube`); null if that is not known.
    service: Option<OwnedName>,
    /// The pod whose address it was last, likewise.
    pod: Option<OwnedName>,
    #[serde(flatten)]
    asked: AskedFields,
    /// Where the attempts were translated to.
    endpoints: Vec<EndpointFields>,
}

/// An endpoint behind it.
#[derive(Serialize, JsonSchema)]
struct EndpointFields {
    /// Where the attempts were translated to.
    endpoint: IpAddr,
    /// Likewise.
    endpoint_port: u16,
    /// The pod whose address it was last (`--kube`); null if that is not known.
    pod: Option<OwnedName>,
    #[serde(flatten)]
    asked: AskedFields,
}

/// A Service or a pod.
#[derive(Serialize, JsonSchema)]
struct OwnedName {
    /// Its namespace.
    namespace: Arc<str>,
    /// Its name.
    name: Arc<str>,
}

/// Attempts of clients.
#[derive(Serialize, JsonSchema)]
struct AskedFields {
    /// All that were sent there.
    attempts: u64,
    /// Of these, those that came to nothing; an answer that came too late is lost as well.
    lost: u64,
    /// By what became of them.
    fates: ByWord,
    /// Of those that were answered, by RCODE.
    answers: ByWord,
    /// Of those that were answered, from the attempt on.
    latency: LatencyFields,
}

/// A pod, or what runs outside pods.
#[derive(Serialize, JsonSchema)]
struct PodFields<'a> {
    /// Null outside pods, and if the pod's name is not known.
    namespace: Option<&'a str>,
    /// The pod; outside pods the systemd unit or container, or `host`.
    name: &'a str,
    #[serde(flatten)]
    totals: PodTotals,
}

/// What it asked and was asked.
#[derive(Serialize, JsonSchema)]
struct PodTotals {
    #[serde(flatten)]
    asked: AskingFields,
    /// Its queries by RCODE of the answer.
    answers: ByWord,
    /// Its attempts by what became of them.
    fates: ByWord,
    /// Of its answered queries, from the first attempt on.
    latency: LatencyFields,
    /// Queries that its servers took in.
    served: u64,
    /// Of these, not answered.
    served_unanswered: u64,
    /// The servers' own time.
    served_latency: LatencyFields,
}

/// A name that was asked for.
#[derive(Serialize, JsonSchema)]
struct NameFields<'a> {
    /// In lower case.
    qname: &'a str,
    #[serde(flatten)]
    asked: AskingFields,
}

/// Queries of clients.
#[derive(Serialize, JsonSchema)]
struct AskingFields {
    /// All of them.
    queries: u64,
    /// Of these, not answered, or with an RCODE other than NOERROR and NXDOMAIN.
    failed: u64,
    /// Of these, not answered.
    unanswered: u64,
    /// Attempts that came to nothing, of queries that were answered in the end, too.
    attempts_lost: u64,
    /// From the first attempt to the end, of all together.
    waited_ns: u64,
    /// Of the longest.
    longest_ns: u64,
}

impl<'a> SummaryLine<'a> {
    /// Of `duration` nanoseconds.
    pub fn new(statistics: &'a Statistics, losses: &'a Losses, duration_ns: u64, is_final: bool) -> Self {
        let (servers, other_servers) = servers(statistics);
        let (pods, other_pods) = pods(statistics);
        let (names, other_names) = names_of(statistics);
        Self {
            is_final,
            duration_ns,
            counts: statistics.counts(),
            latency: LatencyFields::new(statistics.latency()),
            servers,
            other_servers,
            pods,
            other_pods,
            names,
            other_names,
            losses,
        }
    }
}

impl OwnedName {
    /// Of a name of this kind.
    fn of(name: &Option<Arc<Name>>, kind: Kind) -> Option<Self> {
        let name = name.as_ref().filter(|name| name.kind == kind)?;
        Some(Self { namespace: name.namespace.clone(), name: name.name.clone() })
    }
}

fn servers(statistics: &Statistics) -> (Vec<ServerFields>, AskedFields) {
    let servers = statistics.servers();
    let mut others = statistics.other_servers();
    for server in servers.iter().skip(TOLD) {
        others.absorb(&server.all);
    }
    let told = servers.into_iter().take(TOLD).map(|server| ServerFields {
        server: server.server.ip(),
        server_port: server.server.port(),
        transport: names::transport(server.transport),
        service: OwnedName::of(&server.all.peer.remote, Kind::Service),
        pod: OwnedName::of(&server.all.peer.remote, Kind::Pod),
        asked: AskedFields::new(&server.all),
        endpoints: server
            .endpoints
            .iter()
            .take(TOLD)
            .map(|(endpoint, asked)| EndpointFields {
                endpoint: endpoint.ip(),
                endpoint_port: endpoint.port(),
                pod: OwnedName::of(&asked.peer.endpoint, Kind::Pod),
                asked: AskedFields::new(asked),
            })
            .collect(),
    });
    (told.collect(), AskedFields::new(&others))
}

fn pods(statistics: &Statistics) -> (Vec<PodFields<'_>>, PodTotals) {
    let (told, others) = statistics.owners().worst(TOLD);
    let told = told.into_iter().map(|(OwnerKey { namespace, name }, owner)| PodFields {
        namespace: namespace.as_deref(),
        name,
        totals: PodTotals::new(owner),
    });
    (told.collect(), PodTotals::new(&others))
}

fn names_of(statistics: &Statistics) -> (Vec<NameFields<'_>>, AskingFields) {
    let (told, others) = statistics.names().worst(TOLD);
    let told = told.into_iter().map(|(qname, asked)| NameFields { qname, asked: AskingFields::new(asked) });
    (told.collect(), AskingFields::new(&others))
}

impl LatencyFields {
    fn new(latency: &Latency) -> Self {
        let buckets = latency.buckets().filter(|(_, count)| *count > 0);
        Self {
            count: latency.count(),
            sum_ns: latency.sum(),
            p50_ns: latency.quantile(0.5),
            p90_ns: latency.quantile(0.9),
            p99_ns: latency.quantile(0.99),
            max_ns: (latency.count() > 0).then(|| latency.longest()),
            buckets: buckets.map(|(le_ms, count)| BucketFields { le_ms, count }).collect(),
        }
    }
}

impl AskedFields {
    fn new(asked: &Asked) -> Self {
        Self {
            attempts: asked.attempts,
            lost: asked.lost,
            fates: asked.fates.clone(),
            answers: asked.answers.clone(),
            latency: LatencyFields::new(&asked.latency),
        }
    }
}

impl PodTotals {
    fn new(owner: &OfOwner) -> Self {
        Self {
            asked: AskingFields::new(&owner.asked),
            answers: owner.answers.clone(),
            fates: owner.fates.clone(),
            latency: LatencyFields::new(&owner.latency),
            served: owner.served.queries,
            served_unanswered: owner.served.unanswered,
            served_latency: LatencyFields::new(&owner.served.latency),
        }
    }
}

impl AskingFields {
    fn new(asking: &Asking) -> Self {
        Self {
            queries: asking.queries,
            failed: asking.failed,
            unanswered: asking.unanswered,
            attempts_lost: asking.lost,
            waited_ns: asking.waited,
            longest_ns: asking.longest,
        }
    }
}
