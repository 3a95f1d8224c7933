//! Lookups as the user reads them.

use insta::assert_snapshot;

use super::{MS, clock, observation, owner};
use crate::{
    dns::{Message, Record},
    event::KernelTime,
    identify::ResolverConfig,
    lookup::{Limits, Lookup, Observation, Output, Sight, Tracker},
    losses::Losses,
    output::{json, summary, table::Table},
    statistics::Statistics,
};

const KUBERNETES: &str =
    "search shop.svc.cluster.local svc.cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n";
const ELSEWHERE: &str = "nameserver 192.0.2.1\nsearch corp.example\noptions ndots:2 edns0 trust-ad\n";

/// A query of a process with this resolv.conf, and its answer 1 ms later.
fn asked(resolv_conf: &str, at: u64, id: u16, name: &str, says: Result<&[&str], u16>) -> [Observation; 2] {
    let message = |response, data: &[&str]| Message { id, ..super::message(response, name, data) };
    let answer = match says {
        Ok(data) => message(true, data),
        Err(rcode) => Message { rcode, ..message(true, &[]) },
    };
    [observation(at * MS, message(false, &[])), observation((at + 1) * MS, answer)].map(|mut seen| {
        let resolver =
            (!resolv_conf.is_empty()).then(|| ResolverConfig::parse(resolv_conf.as_bytes()).into());
        seen.owner.resolver = resolver;
        seen
    })
}

/// A search list that costs two queries; a server that resolv.conf does not name; a guess; a query without an answer; a
/// name and data that mean harm.
fn outputs() -> Vec<Output> {
    let hostile = "\u{1b}[31mred";
    let [query, mut answer] = asked("", 9_000, 8, &format!("{hostile}."), Ok(&["10.0.0.1"]));
    let message = answer.decoded.message.as_mut().unwrap();
    message.answers = vec![Record { data: hostile.into(), ..message.answers[0].clone() }];
    let feed = [
        asked(KUBERNETES, 0, 1, "example.com.shop.svc.cluster.local.", Err(3)),
        asked(KUBERNETES, 2, 2, "example.com.svc.cluster.local.", Err(3)),
        asked(
            KUBERNETES,
            4,
            3,
            "example.com.",
            Ok(&["192.0.2.80", "192.0.2.81", "192.0.2.82", "192.0.2.83"]),
        ),
        asked(ELSEWHERE, 2_000, 4, "db.corp.example.", Ok(&[])),
        asked("", 4_000, 5, "api.shop.svc.cluster.local.", Err(3)),
        asked("", 4_002, 6, "api.svc.cluster.local.", Err(2)),
        [query, answer],
    ];
    let mut feed = feed.concat();
    feed.push(asked(KUBERNETES, 20_000, 9, "dead.shop.svc.cluster.local.", Ok(&[]))[0].clone());
    let mut tracker = Tracker::new(Limits::default(), Sight::default());
    let mut out = Vec::new();
    for observation in feed {
        tracker.message(observation, &mut out);
    }
    tracker.finish(KernelTime(60_000 * MS), &mut out);
    out
}

fn lookups(out: &[Output]) -> Vec<&Lookup> {
    out.iter().filter_map(|o| if let Output::Lookup(lookup) = o { Some(&**lookup) } else { None }).collect()
}

#[test]
fn a_line_a_lookup_and_sick_queries() {
    let mut table = Table::new(clock()).by_lookup(true);
    assert_snapshot!(outputs().iter().map(|output| table.lines(output)).collect::<String>());
}

#[test]
fn a_table_of_queries_has_no_lookups() {
    let out = outputs();
    let lines = |out: &[&Output]| {
        let mut table = Table::new(clock());
        out.iter().map(|output| table.lines(output)).collect::<String>()
    };
    let queries: Vec<_> = out.iter().filter(|output| !matches!(output, Output::Lookup(_))).collect();
    assert_eq!(lines(&out.iter().collect::<Vec<_>>()), lines(&queries));
    assert_eq!(lookups(&out).len(), 5);
}

#[test]
fn json_names_the_queries_of_a_lookup() {
    let out = outputs();
    let lines: Vec<_> = out.iter().filter(|output| matches!(output, Output::Lookup(_))).collect();
    let lines: Vec<_> = lines.iter().map(|output| json::line(output, &clock()).unwrap()).collect();
    assert_snapshot!(lines.join("\n"));
}

#[test]
fn the_summary_tells_what_search_lists_cost_and_who_asks_whom() {
    let mut statistics = Statistics::default();
    for output in &outputs() {
        statistics.add(output);
    }
    let text = summary::text(&statistics, KernelTime(0), KernelTime(60_000 * MS), &Losses::default());
    assert_snapshot!(text);
}

#[test]
fn pods_and_names_beyond_those_shown_are_added_up() {
    let mut statistics = Statistics::default();
    let out = outputs();
    for (index, lookup) in lookups(&out).into_iter().cycle().take(50).enumerate() {
        let mut lookup = lookup.clone();
        let mut pod = (**owner().pod.as_ref().unwrap()).clone();
        pod.name = Some(format!("pod-{index}").into());
        lookup.owner.pod = Some(pod.into());
        statistics.add(&Output::Lookup(lookup.into()));
    }
    let text = summary::text(&statistics, KernelTime(0), KernelTime(60_000 * MS), &Losses::default());
    assert_snapshot!(text);
}
