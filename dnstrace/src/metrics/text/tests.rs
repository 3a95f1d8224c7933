//! The text, word for word, and that it holds together.

use insta::assert_snapshot;

use super::*;
use crate::{
    identify::Owner,
    lookup::{Output, Query},
    losses::{HookLosses, Losses},
    metrics::process::Usage,
    output::tests::zoo,
    statistics::Statistics,
};

fn text(outputs: &[Output], losses: Losses) -> String {
    let mut statistics = Statistics::default();
    for output in outputs {
        statistics.add(output);
    }
    let usage = Usage { cpu_seconds: 1.25, resident_bytes: 12_345_678 };
    write(&Snapshot { statistics, losses }, Some(usage))
}

#[test]
fn every_count_is_a_metric() {
    let hooks = vec![HookLosses { hook: "ip_send_skb".into(), ring_full: 12, unreadable: 1, skipped: 2 }];
    let losses = Losses { hooks, queries_evicted: 3, ..Losses::default() };
    let text = text(&zoo::all(), losses);
    assert!(text.ends_with("# EOF\n"));
    assert_snapshot!(text.replace(env!("CARGO_PKG_VERSION"), "VERSION"));
}

#[test]
fn a_histogram_has_the_buckets_that_its_users_expect() {
    let text = text(&zoo::all(), Losses::default());
    let of_lookups = text.lines().filter(|line| line.starts_with("dns_lookup_duration_seconds_bucket"));
    let buckets: Vec<_> =
        of_lookups.filter_map(|line| line.split("le=\"").nth(1)?.split('"').next()).collect();
    let expected =
        ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1.0", "2.5", "5.0", "10.0", "+Inf"];
    assert_eq!(buckets, expected);
}

#[test]
fn what_strangers_named_cannot_end_a_label() {
    let owner = Owner { unit: Some("a\\x2d\"} 1\n# EOF".into()), ..Owner::default() };
    let query = zoo::query("a.", vec![zoo::attempt(0, vec![], zoo::answer(1, None))]);
    let text = text(&zoo::outputs(vec![Query { owner, ..query }]), Losses::default());
    assert!(text.contains(r#"pod="a\\x2d\"} 1\n# EOF""#), "{text}");
    assert_eq!(text.lines().filter(|line| *line == "# EOF").count(), 1);
}
