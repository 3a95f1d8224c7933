//! `--kube`: names of Services and pods, against an API server of the test's own.

use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{
    Bench, Test,
    recording::{file, replayed, told},
    tracer::{self, Said, Tracer},
};
use crate::{
    api_server::{ApiServer, Manner},
    lab::{CLUSTER_DNS, CLUSTER_DNS6, clients::dig, default_lab::endpoints, pod::Pod},
};

pub const TESTS: &[Test] = &[
    Test::new("Services and pods are called what they were called then", names),
    Test::new("what the API server refuses is said, and the rest is told", refused),
    Test::new("an API server that never answers keeps no trace waiting", silent),
];

const NODE: &str = "worker-1";
/// For what was put into the API server to show in a lookup.
const PATIENCE: Duration = Duration::from_secs(60);

/// The cluster DNS under a name, with its usual addresses.
fn service(name: &str) -> Value {
    let ports =
        |protocol: &str| json!({"name": protocol, "protocol": protocol, "port": 53, "targetPort": 53});
    json!({
        "kind": "Service", "apiVersion": "v1",
        "metadata": {"name": name, "namespace": "kube-system", "uid": "5a1b", "labels": {"k8s-app": "kube-dns"}},
        "spec": {
            "type": "ClusterIP", "clusterIP": CLUSTER_DNS.to_string(),
            "clusterIPs": [CLUSTER_DNS.to_string(), CLUSTER_DNS6.to_string()],
            "ports": [ports("UDP"), ports("TCP")]
        },
        "status": {"loadBalancer": {}}
    })
}

/// The endpoints of the cluster DNS, of one family.
fn slice(pods: &[Pod], family: &str) -> Value {
    let is_wanted = |address: &std::net::IpAddr| address.is_ipv4() == (family == "IPv4");
    let endpoint = |pod: &Pod| {
        let addresses = endpoints(std::slice::from_ref(pod)).into_iter().filter(is_wanted);
        let addresses: Vec<_> = addresses.map(|address| address.to_string()).collect();
        json!({
            "addresses": addresses, "conditions": {"ready": true, "serving": true, "terminating": false},
            "nodeName": NODE, "targetRef": {"kind": "Pod", "namespace": pod.namespace, "name": pod.name, "uid": pod.uid}
        })
    };
    let port = |protocol: &str| json!({"name": protocol, "protocol": protocol, "port": 53});
    json!({
        "kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1", "addressType": family,
        "metadata": {"name": format!("kube-dns-{}", family.to_lowercase()), "namespace": "kube-system",
            "labels": {"kubernetes.io/service-name": "kube-dns"}},
        "endpoints": pods.iter().map(endpoint).collect::<Vec<_>>(), "ports": [port("UDP"), port("TCP")]
    })
}

fn pod(pod: &Pod) -> Value {
    json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid, "labels": {"app": "of-the-api"}},
        "spec": {"nodeName": NODE, "containers": []},
        "status": {"phase": "Running", "hostIP": "192.0.2.1", "podIP": pod.ip.to_string(),
            "podIPs": [{"ip": pod.ip.to_string()}, {"ip": pod.ip6.to_string()}]}
    })
}

/// An API server that knows the lab.
fn api_server(bench: &Bench, manner: Manner) -> Result<ApiServer> {
    let server = ApiServer::start(manner)?;
    server.store.apply("services", service("kube-dns"));
    for family in ["IPv4", "IPv6"] {
        server.store.apply("endpointslices", slice(&bench.lab.dns.pods, family));
    }
    for known in bench.lab.pods() {
        server.store.apply("pods", pod(known));
    }
    Ok(server)
}

/// A trace that asks this API server.
fn trace(server: &ApiServer, args: &[&str]) -> Result<Tracer> {
    let mut command = Command::new("dnstrace");
    command.env("NODE_NAME", NODE).args(tracer::attach_options());
    command.args(["-A", "-o", "json", "--kube", "--kubeconfig"]).arg(server.kubeconfig()).args(args);
    Tracer::started(&mut command)
}

fn ask(bench: &Bench) -> Result<()> {
    dig(&bench.lab.cart, "cart", &["+short", "api.shop.svc.cluster.local"])?.success()?;
    Ok(())
}

/// Asks until this was told of it.
fn ask_until(bench: &Bench, tracer: &Tracer, words: &str) -> Result<()> {
    let started = Instant::now();
    while !tracer.so_far()?.stdout.contains(words) {
        ensure!(started.elapsed() < PATIENCE, "never {words}: {:?}", tracer.so_far()?.stderr);
        ask(bench)?;
        thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

fn called(name: &str) -> String {
    format!(r#""service":{{"namespace":"kube-system","name":"{name}"}}"#)
}

fn names(bench: &Bench) -> Result<()> {
    let server = api_server(bench, Manner::Tls)?;
    let recording = file("kube");
    let tracer = trace(&server, &["-w", recording.to_str().context("an odd path")?])?;
    ask_until(bench, &tracer, &called("kube-dns"))?;
    // As Services are renamed: another one has the address from now on.
    server.store.delete("services", "kube-system", "kube-dns");
    server.store.apply("services", service("dns-2"));
    ask_until(bench, &tracer, &called("dns-2"))?;
    // What happens while connections are cut is not missed.
    server.store.cut();
    server.store.delete("services", "kube-system", "dns-2");
    server.store.apply("services", service("dns-3"));
    ask_until(bench, &tracer, &called("dns-3"))?;
    // Nor what is forgotten there before it was told.
    server.store.cut();
    server.store.delete("services", "kube-system", "dns-3");
    server.store.apply("services", service("dns-4"));
    server.store.compact();
    ask_until(bench, &tracer, &called("dns-4"))?;
    let live = tracer.end(Signal::SIGINT)?;
    ensure!(live.status.success() && !live.stderr.contains("API"), "{}", live.stderr);
    judge(bench, &live)?;
    let again = replayed(&[&recording], &["-o", "json"])?;
    let (live, again) = (told(&live), told(&again));
    let differs = live.iter().zip(&again).find(|(live, again)| live != again);
    ensure!(differs.is_none() && live.len() == again.len(), "{differs:?}");
    Ok(())
}

/// The names follow one another, each attempt has its endpoint's, and each server knows its client's.
fn judge(bench: &Bench, said: &Said) -> Result<()> {
    let lines = said.lines()?;
    let (mut seen, mut clients) = (Vec::new(), 0);
    for query in lines.asked_by("dig") {
        let attempt = &query["attempts"][0];
        let service = attempt["service"]["name"].as_str().unwrap_or("none");
        if seen.last().is_none_or(|last| *last != service) {
            seen.push(service);
        }
        let at = |pod: &&Pod| attempt["endpoint"] == pod.ip.to_string();
        let endpoint = bench.lab.dns.pods.iter().find(at).context("an endpoint that is none")?;
        ensure!(service == "none" || attempt["endpoint_pod"]["name"] == endpoint.name.as_str(), "{attempt}");
        ensure!(attempt["client_pod"].is_null() && attempt["server_pod"].is_null(), "{attempt}");
    }
    // Between two names the address may have had none.
    let named: Vec<_> = seen.iter().filter(|name| **name != "none").copied().collect();
    ensure!(named == ["kube-dns", "dns-2", "dns-3", "dns-4"], "{seen:?}");
    for query in lines.queries.iter().filter(|query| query["role"] == "server") {
        let client = &query["attempts"][0]["client_pod"];
        ensure!(client.is_null() || client["name"] == "cart-7d4f", "{query}");
        clients += u32::from(!client.is_null());
    }
    ensure!(clients > 0, "no server knows its client's name");
    let last = lines.asked_by("dig").last().context("nothing was asked")?;
    ensure!(last["labels"]["app"] == "of-the-api", "{last}");
    let summary = &lines.summary["servers"][0];
    ensure!(summary["service"]["name"] == "dns-4", "{summary}");
    ensure!(said.stderr.contains("10.96.0.10:53/udp [kube-system/dns-4]"), "{}", said.stderr);
    Ok(())
}

fn refused(bench: &Bench) -> Result<()> {
    let server = api_server(bench, Manner::Plain)?;
    server.store.refuse("services");
    let tracer = trace(&server, &[])?;
    ask_until(bench, &tracer, r#""endpoint_pod":{"namespace":"kube-system""#)?;
    let said = tracer.end(Signal::SIGINT)?;
    let lines: Vec<_> = said.stderr.lines().filter(|line| line.contains("403")).collect();
    let is_clear = |line: &&str| line.contains("services is forbidden") && line.contains("ClusterRole");
    ensure!(lines.len() == 1 && lines.iter().all(is_clear), "{}", said.stderr);
    let lines = said.lines()?;
    ensure!(lines.asked_by("dig").all(|query| query["attempts"][0]["service"].is_null()));
    let failed = lines.statuses.iter().filter(|status| status["event"] == "source_failed");
    ensure!(failed.count() == 1, "{:?}", lines.statuses);
    Ok(())
}

fn silent(bench: &Bench) -> Result<()> {
    let server = ApiServer::start(Manner::Silent)?;
    let tracer = trace(&server, &[])?;
    for _ in 0..5 {
        ask(bench)?;
    }
    let said = tracer.end(Signal::SIGINT)?;
    ensure!(said.status.success() && said.stderr.contains("nothing was lost"), "{}", said.stderr);
    let lines = said.lines()?;
    ensure!(lines.asked_by("dig").count() == 5, "{}", said.stdout);
    ensure!(lines.asked_by("dig").all(|query| query["attempts"][0]["service"].is_null()));
    // What cannot be found is said, too, and the trace goes on.
    let mut command = Command::new("dnstrace");
    command.env_remove("KUBECONFIG").env("HOME", "/nonexistent").args(tracer::attach_options());
    let tracer = Tracer::started(command.args(["-p", "cart-7d4f", "-o", "json", "--kube"]))?;
    ask(bench)?;
    let said = tracer.end(Signal::SIGINT)?;
    ensure!(said.lines()?.asked_by("dig").count() == 1, "{}", said.stdout);
    ensure!(said.stderr.matches("no kubeconfig found").count() == 1, "{}", said.stderr);
    Ok(())
}
