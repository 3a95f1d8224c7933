//! What the container runtime tells of pods: names where the kubelet's directories tell none, and labels.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{
    Bench, Test,
    refusals::refused,
    tracer::{Lines, Said},
};
use crate::lab::{
    clients::dig,
    containerd::{Containerd, LookupPod},
    pod::{Pod, PodOptions},
};

pub const TESTS: &[Test] = &[
    Test::new("a container runtime tells names and labels, and labels select", names_and_labels),
    Test::new("names that nobody tells are missing, and why is said", names_that_nobody_tells),
];

/// A pod of the namespace shop whose log directories are not where they tell its name.
fn hidden<'a>(name: &'a str, labels: &'a [(&'a str, &'a str)], args: &'a [&'a str]) -> LookupPod<'a> {
    LookupPod { namespace: "shop", name, container: "lookup", labels, has_usual_logs: false, args }
}

fn names_and_labels(bench: &Bench) -> Result<()> {
    let containerd = Containerd::start(&bench.lab.node, &bench.clients)?;
    let cart = [("app", "cart"), ("tier", "web")];
    let first = containerd.create_lookup(&hidden("cart-1", &cart, &["--bulk", "20", "first"]))?;
    let other = containerd.create_lookup(&hidden("db-0", &[("app", "db")], &["--bulk", "20", "other"]))?;

    refusals()?;
    let recording = std::env::temp_dir().join("cri.pcapng");
    let recording = recording.to_str().context("an odd path")?;
    let args = ["-l", "app=cart,tier in (web,api),!x", "-w", recording];
    let (lines, late) = Said::lines_of(&args, || {
        // What was there when the trace began is known from its first query on.
        for pod in [&first, &other] {
            pod.start()?;
            pod.wait()?;
        }
        // What starts later is known as soon as the runtime has told: certainly before it has asked so often.
        let late = containerd.run_lookup(&hidden("cart-2", &cart, &["--bulk", "60", "late"]))?;
        late.wait()?;
        Ok((late.uid.clone(), late.container_id.clone()))
    })?;
    let of = |tag: &str| of_tag(&lines, tag);
    ensure!(of("other").is_empty(), "{:?}", of("other"));
    ensure!(of("first").len() == 40, "{} queries of 40", of("first").len());
    for query in of("first") {
        named(query, "cart-1")?;
        ensure!(query["container_id"] == *first.container_id && query["pod_uid"] == *first.uid, "{query}");
    }
    let of_late = of("late");
    ensure!(of_late.len() == 120, "{} queries of 120", of_late.len());
    let unnamed = unnamed(&of_late, &late)?;
    let replayed = replayed(&["-r", recording, "-l", "tier=web"])?;
    ensure!(replayed == 160 - unnamed, "{replayed} queries replayed");
    ensure!(self::replayed(&["-r", recording, "-l", "!tier"])? == 0);
    Ok(())
}

/// What is refused while the runtime knows cart-1 and db-0.
fn refusals() -> Result<()> {
    // By name, too, where only the runtime knows it.
    refused(&["dnstrace", "-p", "shop/crat-1"], 5, &["did you mean shop/cart-1"])?;
    refused(&["dnstrace", "-l", "app=crat"], 5, &["no pod with labels app=crat"])?;
    refused(
        &["dnstrace", "-l", "app=cart", "--cri-socket", "none"],
        7,
        &["labels of the pods are not known"],
    )?;
    let file = "/run/no-runtime.sock";
    refused(&["dnstrace", "-l", "app=cart", "--cri-socket", file], 7, &[file, "No such file"])
}

/// How many queries of cart-2, whose UID and container's id are these, were asked before its name was known.
fn unnamed(queries: &[&Value], (uid, container): &(String, String)) -> Result<usize> {
    for query in queries {
        ensure!(query["pod_uid"] == **uid && query["container_id"] == **container, "{query}");
    }
    let unnamed = queries.iter().take_while(|query| query["pod"].is_null()).count();
    println!("           {unnamed} of {} queries were asked before the name was known", queries.len());
    ensure!(unnamed < queries.len(), "no name in {} queries", queries.len());
    queries.iter().skip(unnamed).try_for_each(|query| named(query, "cart-2"))?;
    Ok(unnamed)
}

fn of_tag<'a>(lines: &'a Lines, tag: &str) -> Vec<&'a Value> {
    let end = format!(".{tag}.test.cluster.local.");
    let is_its = |query: &&Value| query["qname"].as_str().is_some_and(|name| name.ends_with(&end));
    lines.asked_by("lookup-musl").filter(is_its).collect()
}

fn named(query: &Value, pod: &str) -> Result<()> {
    ensure!(query["namespace"] == "shop" && query["pod"] == pod && query["container"] == "lookup", "{query}");
    ensure!(query["labels"] == json!({"app": "cart", "tier": "web"}), "{query}");
    Ok(())
}

/// Queries that a replay tells.
fn replayed(args: &[&str]) -> Result<usize> {
    let output = std::process::Command::new("dnstrace").args(args).args(["-o", "json"]).output()?;
    ensure!(output.status.success(), "{output:?}");
    Ok(String::from_utf8_lossy(&output.stdout).matches("\"kind\":\"query\"").count())
}

fn names_that_nobody_tells(bench: &Bench) -> Result<()> {
    let options = PodOptions { host_network: true, ..PodOptions::default() };
    let pod = Pod::start(&bench.lab.node, "shop", "nameless", &options)?;
    fs::remove_dir_all(format!("/var/log/pods/shop_nameless_{}", pod.uid))?;
    let ask = |pod: &Pod, container: &str| {
        dig(pod, container, &["+short", "api.shop.svc.cluster.local"])?.success()
    };
    let failures = |lines: &Lines| -> Vec<Value> {
        lines.statuses.iter().filter(|status| status["event"] == "source_failed").cloned().collect()
    };
    let (lines, _) = Said::lines_of(&["-A"], || {
        ask(&bench.lab.cart, "cart")?;
        ask(&pod, "app")?;
        ask(&pod, "app")
    })?;
    let [status] = &failures(&lines)[..] else { anyhow::bail!("{:?}", lines.statuses) };
    ensure!(status["source"] == "container_runtime", "{status}");
    let its: Vec<_> = lines.asked_by("dig").filter(|query| query["pod_uid"] == *pod.uid).collect();
    ensure!(its.len() == 2 && its.iter().all(|query| query["pod"].is_null()), "{lines:?}");
    // Where names are known nobody is bothered with it.
    let (lines, _) = Said::lines_of(&["-p", "cart-7d4f"], || ask(&bench.lab.cart, "cart"))?;
    ensure!(failures(&lines).is_empty(), "{:?}", lines.statuses);
    Ok(())
}
