//! What holds of whatever is asked.

use std::collections::BTreeSet;

use proptest::{collection::vec, prelude::*};

use super::*;

const NAMES: [&str; 6] = [
    "api.shop.svc.cluster.local.",
    "api.svc.cluster.local.",
    "api.cluster.local.",
    "api.",
    "www.shop.svc.cluster.local.",
    "www.",
];

/// Queries of some threads with or without answers, in order of time.
fn course() -> impl Strategy<Value = Vec<Observation>> {
    let one = (0u64..1_500, 0u32..4, any::<bool>(), 0usize..6, any::<bool>(), 0u64..40, 0u8..5, 0u8..20);
    vec(one, 0..40).prop_map(|queries| {
        let (mut at, mut id) = (0, 0);
        let mut feed = Vec::new();
        for (step, thread, is_known, name, is_v6, after, says, is_served) in queries {
            at += step * step / 1_000;
            id += 1;
            let config = if is_known { KUBERNETES } else { "" };
            let mut resolver = Resolver { pid: 100 + thread / 3, ..resolver(config).thread(thread) };
            resolver.next_id = id;
            let qtype = if is_v6 { AAAA } else { A };
            let says = [Data, NoData, Code(NXDOMAIN), Code(SERVFAIL)].get(usize::from(says)).copied();
            let mut messages = match says {
                Some(says) => resolver.lets(at, qtype, NAMES[name], after, says),
                None => vec![resolver.asks(at, qtype, NAMES[name]).0],
            };
            if is_served == 0 {
                messages[0].seen.direction = Direction::Received;
                messages.truncate(1);
            }
            feed.extend(messages);
        }
        feed.sort_by_key(|observation| observation.seen.time);
        feed
    })
}

fn run_ticked(feed: &[Observation], limits: Limits, tick: Option<u64>) -> Vec<Output> {
    let mut tracker = Tracker::new(limits, Sight::default());
    let (mut out, mut now) = (Vec::new(), 0);
    for observation in feed {
        while let Some(tick) = tick
            && now < observation.seen.time.0
        {
            tracker.advance(KernelTime(now), &mut out);
            now += tick;
        }
        tracker.message(observation.clone(), &mut out);
        tracker.check_bounds();
    }
    tracker.finish(KernelTime(1_000_000 * MS), &mut out);
    tracker.advance(KernelTime(u64::MAX), &mut out);
    tracker.check_empty();
    out
}

/// Every client query is in exactly one lookup, of its own process, and none is told before its queries.
fn check(out: &[Output]) {
    let mut told = BTreeSet::new();
    let mut grouped = BTreeSet::new();
    for output in out {
        match output {
            Output::Query(query) if query.role == Role::Client => {
                assert!(told.insert((query.number, query.netns, query.task.pid)));
            }
            Output::Lookup(lookup) => {
                let whose = |number| (number, lookup.netns, lookup.task.pid);
                assert!(lookup.queries().all(|tried| grouped.insert(whose(tried.number))));
                assert!(lookup.decisive < lookup.names.len());
                let found = lookup.names.iter().filter(|name| name.ending() == Ending::Found).count();
                assert!(found == 0 || lookup.ending == Ending::Found);
                let total = lookup.queries().count() as u64;
                assert!(lookup.waste().queries < total && lookup.ended >= lookup.started);
            }
            _ => {}
        }
    }
    assert_eq!(told, grouped);
}

proptest! {
    #[test]
    fn every_client_query_is_in_one_lookup_whatever_the_clock(feed in course(), tick in 1u64..3_000) {
        let out = run_ticked(&feed, Limits::default(), None);
        check(&out);
        let ticked = run_ticked(&feed, Limits::default(), Some(tick * MS));
        prop_assert_eq!(format!("{out:?}"), format!("{ticked:?}"));
    }

    #[test]
    fn likewise_where_there_is_little_room(feed in course()) {
        let limits = Limits { queries: 3, ..Limits::default() };
        check(&run_ticked(&feed, limits, None));
    }
}
