//! Objects of the API, as far as they say who holds an address.

use std::{net::IpAddr, sync::Arc};

use serde::Deserialize;

use crate::{
    directory::{Holder, Holding, Kind, Name, ObjectId},
    event::Transport,
    identify::{ContainerFacts, Labels, PodFacts},
};

/// What is listed and watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Of one node.
    Pods,
    Services,
    EndpointSlices,
}

/// An object of any of these: each has other fields.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Object {
    pub metadata: Metadata,
    spec: Spec,
    status: Status,
    endpoints: Option<Vec<Endpoint>>,
    /// Of an EndpointSlice.
    ports: Option<Vec<Port>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Metadata {
    pub name: String,
    pub namespace: String,
    pub resource_version: String,
    uid: String,
    labels: Option<Labels>,
    annotations: Option<Annotations>,
}

/// The annotations that tell something.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Annotations {
    /// Of the mirror of a static pod: what cgroups call it.
    #[serde(rename = "kubernetes.io/config.hash")]
    config_hash: Option<String>,
}

/// Of a Service or a pod.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<String>,
    #[serde(rename = "clusterIPs")]
    cluster_ips: Option<Vec<String>>,
    #[serde(rename = "externalIPs")]
    external_ips: Option<Vec<String>>,
    ports: Option<Vec<Port>>,
    host_network: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    load_balancer: LoadBalancer,
    phase: Option<String>,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    #[serde(rename = "podIPs")]
    pod_ips: Option<Vec<Address>>,
    container_statuses: Option<Vec<ContainerStatus>>,
    init_container_statuses: Option<Vec<ContainerStatus>>,
    ephemeral_container_statuses: Option<Vec<ContainerStatus>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ContainerStatus {
    name: String,
    /// `containerd://` and 64 hex digits; nothing before it runs.
    #[serde(rename = "containerID")]
    id: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LoadBalancer {
    ingress: Option<Vec<Address>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Address {
    ip: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Port {
    port: Option<u16>,
    protocol: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Endpoint {
    addresses: Option<Vec<String>>,
    target_ref: Option<TargetRef>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TargetRef {
    kind: String,
    namespace: Option<String>,
    name: String,
}

impl Resource {
    /// As the API names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pods => "pods",
            Self::Services => "services",
            Self::EndpointSlices => "endpointslices",
        }
    }

    /// Where the objects of all namespaces are.
    pub fn path(self) -> &'static str {
        match self {
            Self::Pods => "/api/v1/pods",
            Self::Services => "/api/v1/services",
            Self::EndpointSlices => "/apis/discovery.k8s.io/v1/endpointslices",
        }
    }

    /// Which of its objects this is.
    pub fn id(self, object: &Object) -> ObjectId {
        let Metadata { name, namespace, .. } = &object.metadata;
        ObjectId { resource: self.name(), namespace: namespace.as_str().into(), name: name.as_str().into() }
    }

    /// The addresses that an object of it holds, or says to be held.
    pub fn holdings(self, object: &Object) -> Vec<Holding> {
        match self {
            Self::Pods => object.of_pod(),
            Self::Services => object.of_service(),
            Self::EndpointSlices => object.of_slice(),
        }
    }

    /// What a pod is, if it is one.
    pub fn facts(self, object: &Object) -> Option<PodFacts> {
        (self == Self::Pods).then(|| object.facts())
    }
}

impl Object {
    fn called(&self, kind: Kind) -> Arc<Name> {
        let Metadata { name, namespace, .. } = &self.metadata;
        Arc::new(Name { kind, namespace: namespace.as_str().into(), name: name.as_str().into() })
    }

    fn facts(&self) -> PodFacts {
        let Metadata { name, namespace, uid, labels, annotations, .. } = &self.metadata;
        let hash = annotations.as_ref().and_then(|annotations| annotations.config_hash.clone());
        let Status { container_statuses, init_container_statuses, ephemeral_container_statuses, .. } =
            &self.status;
        let statuses = [container_statuses, init_container_statuses, ephemeral_container_statuses];
        let containers = statuses.into_iter().flatten().flatten().filter_map(|container| {
            let (_, id) = container.id.as_deref()?.split_once("://")?;
            Some(ContainerFacts { id: id.to_owned(), name: container.name.as_str().into() })
        });
        PodFacts {
            uid: hash.unwrap_or_else(|| uid.clone()),
            namespace: namespace.as_str().into(),
            name: name.as_str().into(),
            labels: Some(Arc::new(labels.clone().unwrap_or_default())),
            containers: containers.collect(),
        }
    }

    /// A pod's own addresses. On the node's network it has none, and when it has ended another one may have them.
    fn of_pod(&self) -> Vec<Holding> {
        let has_ended = matches!(self.status.phase.as_deref(), Some("Succeeded" | "Failed"));
        if self.spec.host_network || has_ended {
            return Vec::new();
        }
        let several = self.status.pod_ips.iter().flatten().filter_map(|address| address.ip.as_deref());
        let mut addresses = parsed(several.chain(self.status.pod_ip.as_deref()));
        addresses.sort();
        addresses.dedup();
        let holder = Holder { name: self.called(Kind::Pod), ports: Vec::new(), is_whole: true };
        addresses.into_iter().map(|address| (address, holder.clone())).collect()
    }

    /// ClusterIPs are a Service's own; its external addresses may be a node's, or of several Services. A headless Service has
    /// none (`None`).
    fn of_service(&self) -> Vec<Holding> {
        let Spec { cluster_ip, cluster_ips, external_ips, .. } = &self.spec;
        let mut own = parsed(cluster_ips.iter().flatten().chain(cluster_ip).map(String::as_str));
        own.sort();
        own.dedup();
        let balancer = self.status.load_balancer.ingress.iter().flatten();
        let balancer = balancer.filter_map(|address| address.ip.as_deref());
        let external = parsed(external_ips.iter().flatten().map(String::as_str).chain(balancer));
        let holder =
            Holder { name: self.called(Kind::Service), ports: ports(&self.spec.ports), is_whole: true };
        let at_ports = Holder { is_whole: false, ..holder.clone() };
        let own = own.into_iter().map(|address| (address, holder.clone()));
        own.chain(external.into_iter().map(|address| (address, at_ports.clone()))).collect()
    }

    /// Endpoints are pods at their ports: an address may be a node's, of a pod on its network.
    fn of_slice(&self) -> Vec<Holding> {
        let ports = ports(&self.ports);
        let mut holdings = Vec::new();
        for endpoint in self.endpoints.iter().flatten() {
            let Some(pod) = endpoint.target_ref.as_ref().filter(|target| target.kind == "Pod") else {
                continue;
            };
            let namespace = pod.namespace.as_deref().unwrap_or(&self.metadata.namespace).into();
            let name = Arc::new(Name { kind: Kind::Pod, namespace, name: pod.name.as_str().into() });
            let holder = Holder { name, ports: ports.clone(), is_whole: false };
            let addresses = parsed(endpoint.addresses.iter().flatten().map(String::as_str));
            holdings.extend(addresses.into_iter().map(|address| (address, holder.clone())));
        }
        holdings
    }
}

/// Those that are addresses: `None`, an empty text or a host name is none.
fn parsed<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<IpAddr> {
    texts.filter_map(|text| text.parse().ok()).collect()
}

/// Ports of UDP and TCP, which is what a port speaks that does not say.
fn ports(ports: &Option<Vec<Port>>) -> Vec<(u16, Transport)> {
    let known = |Port { port, protocol }: &Port| {
        let transport = match protocol.as_deref() {
            Some("UDP") => Transport::Udp,
            Some("TCP") | None => Transport::Tcp,
            Some(_) => return None,
        };
        Some(((*port)?, transport))
    };
    ports.iter().flatten().filter_map(known).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// `address name ports`, a line each.
    fn told(resource: Resource, object: serde_json::Value) -> Vec<String> {
        let object: Object = serde_json::from_value(object).unwrap();
        let line = |(address, Holder { name, ports, is_whole }): Holding| {
            let ports: Vec<_> =
                ports.iter().map(|(port, transport)| format!(" {port}/{transport:?}")).collect();
            format!("{address} {name}{}{}", ports.concat(), if is_whole { " whole" } else { "" })
        };
        resource.holdings(&object).into_iter().map(line).collect()
    }

    #[test]
    fn a_service_holds_its_cluster_and_external_addresses() {
        let service = json!({
            "metadata": {"namespace": "kube-system", "name": "kube-dns", "resourceVersion": "7"},
            "spec": {
                "clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10", "fd00:96::a"], "type": "LoadBalancer",
                "externalIPs": ["192.0.2.7"],
                "ports": [
                    {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
                    {"name": "dns-tcp", "port": 53, "targetPort": "dns"},
                    {"name": "sctp", "port": 9, "protocol": "SCTP"}
                ]
            },
            "status": {"loadBalancer": {"ingress": [{"ip": "198.51.100.1"}, {"hostname": "lb.example"}]}}
        });
        assert_eq!(
            told(Resource::Services, service),
            [
                "10.96.0.10 kube-system/kube-dns 53/Udp 53/Tcp whole",
                "fd00:96::a kube-system/kube-dns 53/Udp 53/Tcp whole",
                "192.0.2.7 kube-system/kube-dns 53/Udp 53/Tcp",
                "198.51.100.1 kube-system/kube-dns 53/Udp 53/Tcp",
            ]
        );
        let headless = json!({
            "metadata": {"namespace": "shop", "name": "db"},
            "spec": {"clusterIP": "None", "clusterIPs": ["None"], "ports": null}, "status": {"loadBalancer": {}}
        });
        assert!(told(Resource::Services, headless).is_empty());
    }

    #[test]
    fn a_pod_holds_its_addresses_unless_they_are_its_nodes_or_it_has_ended() {
        let pod = |spec: serde_json::Value, phase: &str| {
            json!({
                "metadata": {"namespace": "shop", "name": "cart-7d4f"}, "spec": spec,
                "status": {"phase": phase, "hostIP": "192.0.2.1", "podIP": "10.244.1.9",
                    "podIPs": [{"ip": "10.244.1.9"}, {"ip": "fd00:244::9"}]}
            })
        };
        let running = told(Resource::Pods, pod(json!({"nodeName": "worker-1"}), "Running"));
        assert_eq!(running, ["10.244.1.9 shop/cart-7d4f whole", "fd00:244::9 shop/cart-7d4f whole"]);
        assert!(told(Resource::Pods, pod(json!({"hostNetwork": true}), "Running")).is_empty());
        assert!(told(Resource::Pods, pod(json!({}), "Succeeded")).is_empty());
        let pending = json!({"metadata": {"namespace": "shop", "name": "x"}, "status": {"podIP": null}});
        assert!(told(Resource::Pods, pending).is_empty());
    }

    #[test]
    fn a_pod_is_known_by_what_cgroups_call_it() {
        let pod: Object = serde_json::from_value(json!({
            "metadata": {"namespace": "kube-system", "name": "etcd-node", "uid": "0c8d", "labels": {"tier": "x"},
                "annotations": {"kubernetes.io/config.hash": "d4a5", "other": "y"}},
            "spec": {"hostNetwork": true},
            "status": {"containerStatuses": [{"name": "etcd", "containerID": "containerd://4f1a"}, {"name": "late"}]}
        }))
        .unwrap();
        let facts = Resource::Pods.facts(&pod).unwrap();
        let container = ContainerFacts { id: "4f1a".to_owned(), name: "etcd".into() };
        assert_eq!((facts.uid.as_str(), facts.containers), ("d4a5", vec![container]));
        assert_eq!(facts.labels.unwrap()["tier"], "x");
        let bare: Object = serde_json::from_value(json!({"metadata": {"uid": "0c8d"}})).unwrap();
        let facts = Resource::Pods.facts(&bare).unwrap();
        assert_eq!((facts.uid.as_str(), facts.labels.map(|labels| labels.len())), ("0c8d", Some(0)));
        assert_eq!(Resource::Services.facts(&bare), None);
    }

    #[test]
    fn endpoints_are_pods_at_their_ports() {
        let slice = json!({
            "metadata": {"namespace": "kube-system", "name": "kube-dns-x2v4z"}, "addressType": "IPv4",
            "endpoints": [
                {"addresses": ["10.244.1.2"], "conditions": {"ready": true}, "nodeName": "worker-1",
                 "targetRef": {"kind": "Pod", "namespace": "kube-system", "name": "coredns-5d7"}},
                {"addresses": ["192.0.2.50"]},
                {"addresses": ["192.0.2.51"], "targetRef": {"kind": "Node", "name": "worker-1"}}
            ],
            "ports": [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "any", "port": null}]
        });
        assert_eq!(told(Resource::EndpointSlices, slice), ["10.244.1.2 kube-system/coredns-5d7 53/Udp"]);
        let empty = json!({"metadata": {"namespace": "shop", "name": "x"}, "endpoints": null, "ports": null});
        assert!(told(Resource::EndpointSlices, empty).is_empty());
    }
}
