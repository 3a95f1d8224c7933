//! What programs asked for, by the resolvers of glibc and musl, against what each is known to make of a name.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{
    Bench, Test,
    tracer::{Lines, Said},
};
use crate::lab::{
    CLUSTER_DNS,
    clients::{Client, dig},
    pod::{Pod, PodOptions, ResolvConf},
};

pub const TESTS: &[Test] = &[
    Test::new("lookups are what glibc and musl were asked for", lookups_of_two_resolvers),
    Test::new("who asks another server than its resolv.conf names is told", who_asks_another_server),
];

/// A name, whether it resolves, and the names that are tried for it.
struct Asked {
    name: &'static str,
    resolves: bool,
    tried: &'static [&'static str],
}

/// In the namespace `shop`, with three search domains and ndots 5.
const ASKED: [Asked; 5] = [
    Asked { name: "api", resolves: true, tried: &["api.shop.svc.cluster.local."] },
    Asked {
        name: "kubernetes.default",
        resolves: true,
        tried: &["kubernetes.default.shop.svc.cluster.local.", "kubernetes.default.svc.cluster.local."],
    },
    Asked {
        name: "example.com",
        resolves: true,
        tried: &[
            "example.com.shop.svc.cluster.local.",
            "example.com.svc.cluster.local.",
            "example.com.cluster.local.",
            "example.com.",
        ],
    },
    Asked { name: "example.com.", resolves: true, tried: &["example.com."] },
    Asked {
        name: "nowhere",
        resolves: false,
        tried: &[
            "nowhere.shop.svc.cluster.local.",
            "nowhere.svc.cluster.local.",
            "nowhere.cluster.local.",
            "nowhere.",
        ],
    },
];

fn lookups_of_two_resolvers(bench: &Bench) -> Result<()> {
    let names = ASKED.each_ref().map(|asked| asked.name);
    let (lines, ()) = Said::lines_of(&["-p", "cart-7d4f"], || {
        for client in [Client::LookupGlibc, Client::LookupMusl] {
            let run = bench.clients.lookup(&bench.lab.cart, "cart", client, &names)?;
            ensure!((run.tally.lookups, run.tally.resolved) == (5, 4), "{run:?}");
        }
        Ok(())
    })?;
    for comm in ["lookup-glibc", "lookup-musl"] {
        let lookups: Vec<_> = lines.lookups.iter().filter(|lookup| lookup["comm"] == comm).collect();
        ensure!(lookups.len() == ASKED.len(), "{comm}: {} lookups", lookups.len());
        for (lookup, asked) in lookups.into_iter().zip(&ASKED) {
            one_lookup(&lines, lookup, asked)?;
        }
    }
    each_query_is_in_one(&lines)?;
    // Of 12 names 7 were in vain, each with A and AAAA, by each resolver.
    let counts = &lines.summary["lookups"];
    ensure!(counts["told"] == 10 && counts["wasted_queries"] == 28, "{counts}");
    ensure!(counts["wasted_ns"].as_u64() > Some(0) && counts["guessed_queries"] == 0, "{counts}");
    Ok(())
}

fn one_lookup(lines: &Lines, lookup: &Value, asked: &Asked) -> Result<()> {
    let absolute = asked.tried.last().context("nothing was tried")?;
    match asked.tried {
        // Whoever asks for the full name without the search list sends the same.
        ["api.shop.svc.cluster.local."] => {
            ensure!(lookup["asked"].is_null(), "{lookup}");
            ensure!(lookup["asked_one_of"] == serde_json::json!([asked.name, absolute]), "{lookup}");
        }
        _ => ensure!(lookup["asked"] == asked.name, "{lookup}"),
    }
    ensure!(lookup["asked_by"] == "resolv_conf", "{lookup}");
    ensure!(lookup["outcome"] == if asked.resolves { "found" } else { "nxdomain" }, "{lookup}");
    ensure!(lookup["latency_ns"].as_u64() > Some(0), "{lookup}");
    ensure!(lookup["data"].as_array().is_some_and(|data| data.is_empty() != asked.resolves), "{lookup}");
    let tried = lookup["names"].as_array().context("no names")?;
    ensure!(tried.iter().map(|name| &name["name"]).eq(asked.tried.iter()), "{lookup}");
    for name in tried {
        let mut queries = Vec::new();
        for tried in name["queries"].as_array().context("no queries")? {
            let query = query(lines, tried)?;
            ensure!(query["qname"] == name["name"] && query["qtype"] == tried["qtype"], "{query} {lookup}");
            ensure!(query["pid"] == lookup["pid"] && query["pod"] == lookup["pod"], "{query} {lookup}");
            queries.push(tried["qtype"].as_str().unwrap_or_default());
        }
        queries.sort_unstable();
        ensure!(queries == ["A", "AAAA"], "{lookup}");
    }
    let in_vain = 2 * (asked.tried.len() - 1);
    ensure!(lookup["wasted_queries"] == in_vain && lookup["queries"] == in_vain + 2, "{lookup}");
    let [server] = &lookup["servers"].as_array().context("no servers")?[..] else {
        anyhow::bail!("{lookup}")
    };
    ensure!(server["server"] == CLUSTER_DNS.to_string() && server["nameserver"] == 0, "{lookup}");
    ensure!(lookup["asked_other_server"] == false, "{lookup}");
    ensure!(lookup["resolver"]["like"] == "cluster_first" && lookup["resolver"]["ndots"] == 5, "{lookup}");
    Ok(())
}

/// The line of a query that a lookup names.
fn query<'a>(lines: &'a Lines, tried: &Value) -> Result<&'a Value> {
    let mut queries = lines.queries.iter();
    queries.find(|query| query["number"] == tried["number"]).with_context(|| format!("no query {tried}"))
}

/// Every client query is in exactly one lookup.
fn each_query_is_in_one(lines: &Lines) -> Result<()> {
    let sorted = |mut numbers: Vec<u64>| {
        numbers.sort_unstable();
        numbers
    };
    let asked = lines.queries.iter().filter(|query| query["role"] == "client");
    let asked = sorted(asked.filter_map(|query| query["number"].as_u64()).collect());
    let names = lines.lookups.iter().flat_map(|lookup| lookup["names"].as_array().into_iter().flatten());
    let tried = names.flat_map(|name| name["queries"].as_array().into_iter().flatten());
    let tried = sorted(tried.filter_map(|tried| tried["number"].as_u64()).collect());
    ensure!(asked == tried, "queries {asked:?}, in lookups {tried:?}");
    Ok(())
}

/// A pod with dnsPolicy None has its own resolv.conf, and one with Default the node's; dig asks whom it likes.
fn who_asks_another_server(bench: &Bench) -> Result<()> {
    let own = ResolvConf {
        nameservers: vec!["192.0.2.53".parse()?, CLUSTER_DNS.into()],
        search: vec!["corp.example".into()],
        options: vec!["ndots:1".into()],
    };
    let start = |name: &str, resolv_conf: ResolvConf| {
        let options = PodOptions { resolv_conf: Some(resolv_conf), ..PodOptions::default() };
        Pod::start(&bench.lab.node, "policies", name, &options)
    };
    let (own, default) = (start("own-dns", own)?, start("default-dns", of_node()?)?);
    let service = CLUSTER_DNS.to_string();
    let endpoint = bench.lab.dns.pods.first().context("no DNS server")?.ip.to_string();
    let (said, ()) = Said::of(&["-n", "policies", "-o", "json"], || {
        for (pod, server, name) in [
            (&own, &service, "www.example.com"),
            (&own, &endpoint, "mail.example.com"),
            (&default, &service, "example.com"),
        ] {
            dig(pod, "app", &[&format!("@{server}"), "+short", name])?.success()?;
        }
        Ok(())
    })?;
    let lines = said.lines()?;
    each_query_is_in_one(&lines)?;
    let of_name = |name: &str| {
        let mut lookups = lines.lookups.iter();
        lookups.find(|lookup| lookup["asked"] == name).with_context(|| format!("{name}: {lines:?}"))
    };
    let second = of_name("www.example.com.")?;
    ensure!(second["servers"][0]["nameserver"] == 1 && second["asked_other_server"] == false, "{second}");
    ensure!(
        second["resolver"]["like"] == "own" && second["resolver"]["search"][0] == "corp.example",
        "{second}"
    );
    let other = of_name("mail.example.com.")?;
    ensure!(other["servers"][0]["nameserver"].is_null() && other["asked_other_server"] == true, "{other}");
    ensure!(of_name("example.com.")?["resolver"]["like"] == "node", "{lines:?}");
    for words in [
        format!("policies/own-dns: asked {endpoint}:53 (once), not named by its resolv.conf"),
        "policies/default-dns: its resolv.conf is the node's (".to_owned(),
    ] {
        ensure!(said.stderr.contains(&words), "{words}: {}", said.stderr);
    }
    Ok(())
}

/// The node's resolv.conf, as the kubelet hands it on.
fn of_node() -> Result<ResolvConf> {
    let path = "/proc/1/root/etc/resolv.conf";
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let words = |keyword: &str| -> Vec<String> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(keyword));
        lines.flat_map(str::split_whitespace).map(str::to_owned).collect()
    };
    let nameservers = words("nameserver ");
    let nameservers = nameservers.iter().map(|address| Ok(address.parse()?)).collect::<Result<_>>()?;
    Ok(ResolvConf { nameservers, search: words("search "), options: Vec::new() })
}
