//! Whose message it was, in every layout of cgroups.

use std::{thread, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Bench, Test, tracer::Said};
use crate::lab::{
    CLUSTER_DNS,
    cgroup::{CgroupDriver, Nesting, Qos, Runtime},
    clients::dig,
    pod::{Pod, PodOptions},
    process::run,
};

pub const TESTS: &[Test] = &[
    Test::new("pods of every driver, runtime and nesting have their names", pods_of_every_layout),
    Test::new("only the pod that was asked for is shown", only_the_pod_that_was_asked_for),
    Test::new("a pod that is made anew is followed", a_pod_that_is_made_anew_is_followed),
    Test::new("pods that are not there yet are waited for", a_pod_that_is_waited_for),
    Test::new("a hostNetwork pod is told from the host", a_host_network_pod_is_told_from_the_host),
    Test::new(
        "a process of the host in a pod's network namespace is both",
        a_host_process_in_a_pods_namespace,
    ),
    Test::new("--pid and --comm choose processes", pid_and_comm_choose_processes),
];

fn pods_of_every_layout(bench: &Bench) -> Result<()> {
    let mut pods = Vec::new();
    for driver in [CgroupDriver::Systemd, CgroupDriver::Cgroupfs] {
        for runtime in [Runtime::Containerd, Runtime::Crio, Runtime::Docker] {
            for nesting in [Nesting::None, Nesting::Kind] {
                let qos = [Qos::Guaranteed, Qos::Burstable, Qos::BestEffort][pods.len() % 3];
                let is_static = pods.len() % 4 == 3;
                let options =
                    PodOptions { driver, runtime, nesting, qos, is_static, ..PodOptions::default() };
                let name = format!("layout-{}", pods.len());
                pods.push(Pod::start(&bench.lab.node, "layouts", &name, &options)?);
            }
        }
    }
    let (lines, ()) = Said::lines_of(&["-A"], || {
        for pod in &pods {
            dig(pod, "app", &["+short", &format!("{}.test.cluster.local", pod.name)])?.success()?;
        }
        Ok(())
    })?;
    for pod in &pods {
        let query = of_name(lines.asked_by("dig"), &format!("{}.test.cluster.local.", pod.name))?;
        let container = pod.container("app")?;
        ensure!(query["namespace"] == "layouts" && query["pod"] == *pod.name, "{query}");
        ensure!(query["pod_uid"] == *pod.uid && query["container"] == "app", "{query}");
        ensure!(query["container_id"] == *container.id, "{query}");
    }
    Ok(())
}

fn of_name<'a>(mut queries: impl Iterator<Item = &'a Value>, name: &str) -> Result<&'a Value> {
    queries.find(|query| query["qname"] == name).with_context(|| format!("no query for {name}"))
}

fn only_the_pod_that_was_asked_for(bench: &Bench) -> Result<()> {
    let traffic = || {
        for (pod, container) in
            [(&bench.lab.cart, "cart"), (&bench.lab.cart, "proxy"), (&bench.lab.web, "web")]
        {
            dig(pod, container, &["+short", "api.shop.svc.cluster.local"])?.success()?;
        }
        Ok(())
    };
    let seen = |args: &[&str]| -> Result<Vec<String>> {
        let (lines, ()) = Said::lines_of(args, traffic)?;
        let who = |query: &Value| format!("{}:{}", query["pod"], query["container"]).replace('"', "");
        Ok(lines.queries.iter().map(who).collect())
    };
    ensure!(seen(&["--pod", "cart"])? == ["cart-7d4f:cart", "cart-7d4f:proxy"]);
    ensure!(seen(&["shop/web-0"])? == ["web-0:web"]);
    ensure!(seen(&["-n", "shop", "-p", "cart-7d4f", "-c", "proxy"])? == ["cart-7d4f:proxy"]);
    ensure!(seen(&["-n", "shop"])? == ["cart-7d4f:cart", "cart-7d4f:proxy", "web-0:web"]);
    ensure!(seen(&["-p", "cart-7d4f", "-p", "web"])? == ["cart-7d4f:cart", "cart-7d4f:proxy", "web-0:web"]);
    ensure!(seen(&["--host"])?.is_empty());
    Ok(())
}

fn a_pod_that_is_made_anew_is_followed(bench: &Bench) -> Result<()> {
    let start = || Pod::start(&bench.lab.node, "shop", "db-0", &PodOptions::default());
    let first = start()?;
    let (lines, ()) = Said::lines_of(&["-p", "db-0"], || {
        first.stop()?;
        let second = start()?;
        // As long as a runtime needs to start a container.
        thread::sleep(Duration::from_millis(500));
        dig(&second, "app", &["+short", "again.test.cluster.local"])?.success()?;
        dig(&bench.lab.web, "web", &["+short", "other.test.cluster.local"])?.success()?;
        Ok(())
    })?;
    let [query] = &lines.queries[..] else { anyhow::bail!("{} queries", lines.queries.len()) };
    ensure!(query["qname"] == "again.test.cluster.local." && query["pod"] == "db-0", "{query}");
    Ok(())
}

fn a_pod_that_is_waited_for(bench: &Bench) -> Result<()> {
    let (lines, ()) = Said::lines_of(&["-p", "shop/late", "--wait"], || {
        let start = |namespace, name| Pod::start(&bench.lab.node, namespace, name, &PodOptions::default());
        let (late, other) = (start("shop", "late-7d4f")?, start("blog", "late-7d4f")?);
        // As long as a runtime needs to start a container.
        thread::sleep(Duration::from_millis(500));
        dig(&other, "app", &["+short", "other.test.cluster.local"])?.success()?;
        dig(&late, "app", &["+short", "late.test.cluster.local"])?.success()?;
        Ok(())
    })?;
    let [query] = &lines.queries[..] else { anyhow::bail!("{} queries", lines.queries.len()) };
    ensure!(query["qname"] == "late.test.cluster.local." && query["namespace"] == "shop", "{query}");
    Ok(())
}

fn a_host_network_pod_is_told_from_the_host(bench: &Bench) -> Result<()> {
    let options = PodOptions { host_network: true, ..PodOptions::default() };
    let pod = Pod::start(&bench.lab.node, "kube-system", "node-agent", &options)?;
    let server = format!("@{CLUSTER_DNS}");
    let traffic = || {
        dig(&pod, "app", &["+short", "pod.test.cluster.local"])?.success()?;
        run(&["dig", &server, "+short", "host.test.cluster.local"])
    };
    let (lines, _) = Said::lines_of(&["-p", "node-agent"], traffic)?;
    ensure!(lines.queries.len() == 1 && lines.queries[0]["qname"] == "pod.test.cluster.local.", "{lines:?}");
    let (lines, _) = Said::lines_of(&["--host"], traffic)?;
    ensure!(lines.queries.len() == 1 && lines.queries[0]["qname"] == "host.test.cluster.local.", "{lines:?}");
    ensure!(lines.queries[0]["pod"].is_null(), "{lines:?}");
    Ok(())
}

fn a_host_process_in_a_pods_namespace(bench: &Bench) -> Result<()> {
    let netns = format!("--net=/proc/{}/ns/net", bench.lab.cart.netns().pid());
    let server = format!("@{CLUSTER_DNS}");
    let (lines, _) = Said::lines_of(&["-p", "cart-7d4f"], || {
        run(&["nsenter", &netns, "dig", &server, "+short", "api.shop.svc.cluster.local"])
    })?;
    let [query] = &lines.queries[..] else { anyhow::bail!("{} queries", lines.queries.len()) };
    ensure!(query["pod"].is_null() && query["comm"] == "dig", "{query}");
    ensure!(query["netns"] == bench.lab.cart.netns_inode()?, "{query}");
    Ok(())
}

fn pid_and_comm_choose_processes(bench: &Bench) -> Result<()> {
    let server = CLUSTER_DNS.to_string();
    let traffic = || {
        dig(&bench.lab.cart, "cart", &["+short", "a.test.cluster.local"])?.success()?;
        bench.clients.sockets(&bench.lab.cart, "cart", &["--server", &server, "--tag", "comm", "--bulk", "3"])
    };
    let (lines, _) = Said::lines_of(&["--comm", "sockets"], traffic)?;
    ensure!(lines.queries.len() == 3 && lines.asked_by("sockets").count() == 3, "{lines:?}");
    let pid = bench.lab.dns.servers[0].pid();
    let (lines, _) = Said::lines_of(&["--pid", &pid.to_string()], traffic)?;
    let is_its = |query: &Value| query["pid"] == pid && query["role"] == "server";
    ensure!(lines.queries.iter().all(is_its), "{lines:?}");
    Ok(())
}
