//! What resolvers do about a server that refuses, fails, says nothing, or cuts its answer short.

use std::{net::Ipv4Addr, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{
    super::{Bench, Test},
    proof::{Expected, Proof, all},
    traced,
};
use crate::lab::{
    clients::{Client, dig},
    dns_server::Serve,
    pod::{Pod, PodOptions, ResolvConf},
    trouble::full_name,
};

pub const TESTS: &[Test] =
    &[Test::new("fates of queries whose first nameserver is no help", first_nameserver_is_no_help)];

/// A pod that asks a bad server first and a good one next.
struct Case {
    name: &'static str,
    /// How `e2e serve` misbehaves in the first server.
    args: &'static [&'static str],
    client: Client,
    /// The fate of the attempt at the first server, and its RCODE.
    fate: &'static str,
    rcode: Option<&'static str>,
}

const CASES: [Case; 4] = [
    Case {
        name: "refused",
        args: &["--rcode", "5"],
        client: Client::LookupGlibc,
        fate: "answered",
        rcode: Some("REFUSED"),
    },
    Case {
        name: "servfail",
        args: &["--rcode", "2"],
        client: Client::LookupGlibc,
        fate: "answered",
        rcode: Some("SERVFAIL"),
    },
    Case { name: "dead", args: &["--silent"], client: Client::LookupGlibc, fate: "unanswered", rcode: None },
    Case {
        name: "parallel",
        args: &["--silent"],
        client: Client::LookupMusl,
        fate: "not_awaited",
        rcode: None,
    },
];

/// The servers of the cases, a good one, and one that cuts answers short; and the pods that ask.
struct Cast {
    // Dropped in this order.
    _serves: Vec<Serve>,
    servers: Vec<Pod>,
    askers: Vec<Pod>,
}

impl Cast {
    fn start(bench: &Bench) -> Result<Self> {
        let names: Vec<_> = CASES
            .iter()
            .map(|case| case.name)
            .chain(["good", "truncate"])
            .map(|name| format!("{name}-dns"))
            .collect();
        let specs: Vec<_> =
            names.iter().map(|name| ("faults", name.as_str(), PodOptions::default())).collect();
        let servers = Pod::start_all(&bench.lab.node, &specs)?;
        let args = CASES.iter().map(|case| case.args).chain([&[][..], &["--truncate"]]);
        let serves =
            servers.iter().zip(args).map(|(pod, args)| Serve::start(pod, args)).collect::<Result<_>>()?;
        let good = servers[CASES.len()].ip;
        let specs: Vec<_> = CASES
            .iter()
            .zip(&servers)
            .map(|(case, bad)| ("shop", case.name, asker(&[bad.ip, good])))
            .collect();
        let askers = Pod::start_all(&bench.lab.node, &specs)?;
        Ok(Self { _serves: serves, servers, askers })
    }
}

fn asker(nameservers: &[Ipv4Addr]) -> PodOptions {
    let resolv_conf = ResolvConf {
        nameservers: nameservers.iter().map(|address| (*address).into()).collect(),
        search: Vec::new(),
        options: vec!["timeout:1".into()],
    };
    PodOptions { resolv_conf: Some(resolv_conf), ..PodOptions::default() }
}

fn first_nameserver_is_no_help(bench: &Bench) -> Result<()> {
    let cast = Cast::start(bench)?;
    let truncating = &cast.servers[CASES.len() + 1];
    let (proof, ()) = traced(bench, Duration::from_secs(2), |stage| {
        thread::scope(|scope| {
            let running = CASES.each_ref().map(|case| {
                let pod = cast.askers.iter().find(|pod| pod.name == case.name);
                scope.spawn(move || {
                    let name = format!("{}.", full_name(case.name));
                    let run = stage.clients.lookup(pod.context("no pod")?, "app", case.client, &[&name])?;
                    ensure!(run.tally.resolved == 1, "{run:?}");
                    Ok(())
                })
            });
            let name = full_name("truncated");
            dig(stage.pod(), "cart", &[&format!("@{}", truncating.ip), &name])?.success()?;
            running.into_iter().try_for_each(|thread| thread.join().ok().context("a thread died")?)
        })
    })?;
    let servers = |index: usize| [cast.servers[index].ip, cast.servers[CASES.len()].ip];
    all(std::array::from_fn::<_, { CASES.len() }, _>(|index| {
        went_on(&proof, &CASES[index], servers(index))
    }))?;
    was_truncated(&proof)
}

/// Both queries of the lookup were sent to both servers, and answered by the good one.
fn went_on(proof: &Proof, case: &Case, servers: [Ipv4Addr; 2]) -> Result<()> {
    let name = case.name;
    let queries = proof.queries(name, name);
    ensure!(queries.len() == 2, "{name}: {} queries: {queries:?}", queries.len());
    for query in queries {
        let steps: &[&str] = &[];
        let expected: [Expected; 2] = [(case.fate, steps), ("answered", steps)];
        let attempts = proof.attempts_besides_conntrack(query, name, &expected)?;
        let asked: Vec<_> = attempts.iter().map(|attempt| attempt["server"].as_str()).collect();
        let servers = servers.map(|address| address.to_string());
        ensure!(asked == [Some(servers[0].as_str()), Some(servers[1].as_str())], "{name}: {query}");
        ensure!(attempts[0]["answer"]["rcode"].as_str() == case.rcode, "{name}: {query}");
        ensure!(query["rcode"] == "NOERROR" && query["outcome"] == "answered", "{name}: {query}");
    }
    Ok(())
}

/// What was sent over UDP; the rest went over TCP.
fn was_truncated(proof: &Proof) -> Result<()> {
    let query: &Value = proof.query(super::SICK, "truncated")?;
    let attempt = &query["attempts"][0];
    ensure!(attempt["fate"] == "answered" && attempt["answer"]["truncated"] == true, "truncated: {query}");
    Ok(())
}
