//! Fields that several lines have in common.

use std::{net::IpAddr, sync::Arc};

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    directory::{Kind, Name, Peer},
    dns::{Defect, Question, record_class, record_type},
    event::{Flow, KernelTime, Task, known_netns},
    identify::{Labels, Owner},
    lookup::Role,
    output::{WallClock, answer},
};

/// When it was, by both clocks.
#[derive(Serialize, JsonSchema)]
pub(super) struct At {
    /// RFC 3339 in UTC, with nanoseconds.
    #[schemars(extend("format" = "date-time"))]
    time: String,
    /// The same as kernel time: nanoseconds of `CLOCK_MONOTONIC` on the node; of a capture, since 1970.
    ktime_ns: u64,
}

/// Whose socket it was.
#[derive(Serialize, JsonSchema)]
pub(super) struct Who<'a> {
    /// Name of the node: its host name, or what the environment variable NODE_NAME says. Null where no process was seen.
    node: Option<&'a str>,
    /// Namespace of the pod; null outside pods, and where it is not known.
    namespace: Option<&'a str>,
    /// Name of the pod; null outside pods, and where it is not known.
    pod: Option<&'a str>,
    /// UID of the pod; null outside pods.
    pod_uid: Option<&'a str>,
    /// Labels of the pod, those that its user gave it; null outside pods, and where nobody has told them.
    labels: Option<&'a Labels>,
    /// Name of the container; null outside containers, and where it is not known.
    container: Option<&'a str>,
    /// Id of the container as its runtime names it; null outside containers.
    container_id: Option<&'a str>,
    /// systemd unit of a process outside pods; null in pods.
    unit: Option<&'a str>,
    /// Process id on the node. Null where no process was seen: a connection that is older than the trace, or that a peer
    /// opened.
    pid: Option<u32>,
    /// Thread id on the node; null like `pid`.
    tid: Option<u32>,
    /// Name of the process (of its thread group leader, at most 15 bytes); null like `pid`.
    comm: Option<&'a str>,
    /// Inode number of the network namespace. Null of a capture, which knows none.
    netns: Option<u32>,
}

/// A Service or a pod.
#[derive(Serialize, JsonSchema)]
pub(super) struct NameFields<'a> {
    /// Its namespace.
    namespace: &'a str,
    /// Its name.
    name: &'a str,
}

/// What addresses were called when it was sent or opened, as the Kubernetes API had told until then (`--kube`). Null where that
/// was not known, or could be one of several.
#[derive(Serialize, JsonSchema)]
pub(super) struct PeerFields<'a> {
    /// The Service whose address the server's is.
    service: Option<NameFields<'a>>,
    /// The pod whose address the server's is, if a pod was asked without a Service. Null where the traced socket is the server's.
    server_pod: Option<NameFields<'a>>,
    /// The pod whose address the endpoint's is.
    endpoint_pod: Option<NameFields<'a>>,
    /// The pod whose address the client's is. Null where the traced socket is the client's.
    client_pod: Option<NameFields<'a>>,
}

/// What was asked.
#[derive(Serialize, JsonSchema)]
pub(super) struct QuestionFields<'a> {
    /// Name with the trailing dot, in the case that was sent, other bytes escaped as in zone files.
    qname: &'a str,
    /// Mnemonic of the type as IANA lists it, or `TYPE65280` (RFC 3597).
    qtype: String,
    /// The type as a number.
    qtype_number: u16,
    /// Mnemonic of the class, or `CLASS17`.
    qclass: String,
}

/// Two ends of a flow.
#[derive(Serialize, JsonSchema)]
pub(super) struct Ends {
    /// Address that sends.
    source: IpAddr,
    /// Its port.
    source_port: u16,
    /// Address that receives.
    destination: IpAddr,
    /// Its port.
    destination_port: u16,
}

impl At {
    pub(super) fn new(time: KernelTime, clock: &WallClock) -> Self {
        Self { time: clock.rfc3339(time), ktime_ns: time.0 }
    }
}

impl<'a> Who<'a> {
    pub(super) fn new(owner: &'a Owner, task: &'a Task, netns: u32) -> Self {
        Self::as_known(Some(owner), Some(task), netns)
    }

    pub(super) fn as_known(owner: Option<&'a Owner>, task: Option<&'a Task>, netns: u32) -> Self {
        let pod = owner.and_then(|owner| owner.pod.as_ref());
        let container = owner.and_then(|owner| owner.container.as_ref());
        let task = task.filter(|task| task.is_known());
        Self {
            node: owner.and_then(|owner| owner.node.as_deref()),
            namespace: pod.and_then(|pod| pod.namespace.as_deref()),
            pod: pod.and_then(|pod| pod.name.as_deref()),
            pod_uid: pod.map(|pod| pod.uid.as_ref()),
            labels: pod.and_then(|pod| pod.labels.as_deref()),
            container: container.and_then(|container| container.name.as_deref()),
            container_id: container.map(|container| container.id.as_ref()),
            unit: owner.and_then(|owner| owner.unit.as_deref()),
            pid: task.map(|task| task.pid),
            tid: task.map(|task| task.tid),
            comm: task.map(|task| task.comm.as_str()),
            netns: known_netns(netns),
        }
    }
}

impl<'a> NameFields<'a> {
    /// Of a name of this kind.
    pub(super) fn of(name: Option<&'a Arc<Name>>, kind: Kind) -> Option<Self> {
        let name = name.filter(|name| name.kind == kind)?;
        Some(Self { namespace: &name.namespace, name: &name.name })
    }
}

impl<'a> PeerFields<'a> {
    pub(super) fn new(peer: &'a Peer, role: Role) -> Self {
        let remote = peer.remote.as_ref();
        let (server, client) = match role {
            Role::Client => (remote, None),
            Role::Server => (None, remote),
        };
        Self {
            service: NameFields::of(server, Kind::Service),
            server_pod: NameFields::of(server, Kind::Pod),
            endpoint_pod: NameFields::of(peer.endpoint.as_ref(), Kind::Pod),
            client_pod: NameFields::of(client, Kind::Pod),
        }
    }
}

impl<'a> QuestionFields<'a> {
    pub(super) fn new(question: &'a Question) -> Self {
        Self {
            qname: &question.name,
            qtype: record_type(question.qtype).into_owned(),
            qtype_number: question.qtype,
            qclass: record_class(question.qclass).into_owned(),
        }
    }
}

impl Ends {
    pub(super) fn of(flow: Flow) -> Self {
        Self {
            source: flow.source.ip(),
            source_port: flow.source.port(),
            destination: flow.destination.ip(),
            destination_port: flow.destination.port(),
        }
    }
}

/// What could not be read of a message, in words.
pub(super) fn defect(defect: Option<&Defect>) -> Option<String> {
    defect.map(answer::defect)
}
