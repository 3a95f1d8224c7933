//! Filters: what they show is what they say, and the rest is counted.

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{Bench, Test, tracer::Tracer};
use crate::lab::clients::dig_batch;

pub const TESTS: &[Test] = &[Test::new("filters show what they say and count the rest", two_filters)];

/// Two traces of the same lookups: one of everything, one through two filters.
fn two_filters(bench: &Bench) -> Result<()> {
    let traced = ["-p", "cart-7d4f", "-o", "json"];
    let whole = Tracer::start(&traced)?;
    let filtered = Tracer::start(&[&traced[..], &["--rcode", "nxdomain", "--type", "AAAA"]].concat())?;
    let names =
        ["api.shop.svc.cluster.local", "nowhere.shop.svc.cluster.local", "nobody.shop.svc.cluster.local"];
    let types = ["A", "AAAA"];
    let questions: Vec<_> =
        names.iter().flat_map(|name| types.map(|qtype| format!("{name} {qtype}"))).collect();
    dig_batch(&bench.lab.cart, "cart", &["+short"], &questions)?.success()?;
    let said = [whole.end(Signal::SIGINT)?, filtered.end(Signal::SIGINT)?];
    let [whole, shown] = [said[0].lines()?, said[1].lines()?];

    let wanted = |query: &&Value| query["rcode"] == "NXDOMAIN" && query["qtype"] == "AAAA";
    let names = |queries: &mut dyn Iterator<Item = &Value>| {
        let mut names: Vec<_> = queries.map(|query| query["qname"].to_string()).collect();
        names.sort();
        names
    };
    let [expected, got] = [names(&mut whole.queries.iter().filter(wanted)), names(&mut shown.queries.iter())];
    ensure!(whole.queries.len() == questions.len(), "{} of {}", whole.queries.len(), questions.len());
    ensure!(expected.len() == 2 && got == expected, "{got:?}, not {expected:?}");

    let (all, rest) = (&whole.summary, &shown.summary);
    ensure!(
        all["hidden"]["queries"] == 0 && rest["queries"] == 2 && rest["hidden"]["queries"] == 4,
        "{rest}"
    );
    let by = &rest["hidden"]["by_filter"];
    // Each by the first that it failed: of three A queries two are NXDOMAIN, of three AAAA queries one is not.
    ensure!(by["type"].as_u64() >= Some(3) && by["rcode"].as_u64() >= Some(1), "{rest}");
    ensure!(
        said[1].stderr.contains("4 queries") && said[1].stderr.contains("hidden by filters"),
        "{}",
        said[1].stderr
    );
    Ok(())
}
