//! Threads of a process, and processes, do not mix.

use super::*;

const NAMES: [&str; 4] =
    ["api.shop.svc.cluster.local.", "api.svc.cluster.local.", "api.cluster.local.", "api."];

/// Asks for all names, the last of which exists, each 3 ms after the one before.
fn expansion(resolver: &mut Resolver, at: u64) -> Vec<Observation> {
    let tries = (at..).step_by(3).zip(NAMES);
    let says = |name| if name == "api." { [Data, Data] } else { [Code(NXDOMAIN); 2] };
    tries.flat_map(|(at, name)| resolver.pair(at, name, says(name))).collect()
}

#[test]
fn two_threads_that_ask_for_the_same_at_the_same_time() {
    let glibc = resolver(KUBERNETES);
    for apart in 0..12 {
        let (mut one, mut two) = (glibc.thread(101), glibc.thread(102));
        let out = run(vec![expansion(&mut one, 0), expansion(&mut two, apart)]);
        let lookups = lookups(&out);
        assert_eq!(lookups.len(), 2, "{apart}: {:?}", told(&out));
        for lookup in &lookups {
            assert_eq!((lookup.queries().count(), lookup.latency()), (8, Some(11 * MS)), "{apart}");
            assert_eq!(lookup.asked, Asked::Known("api".into()), "{apart}");
        }
    }
}

#[test]
fn threads_that_ask_for_one_type_only() {
    let (mut one, mut two) = (resolver(KUBERNETES).thread(101), resolver(KUBERNETES).thread(102));
    let lets = |thread: &mut Resolver, at| {
        [thread.lets(at, A, NAMES[0], 1, Code(NXDOMAIN)), thread.lets(at + 2, A, NAMES[1], 1, Data)].concat()
    };
    let out = run(vec![lets(&mut one, 0), lets(&mut two, 0)]);
    let lookups = lookups(&out);
    assert_eq!(lookups.len(), 2, "{:?}", told(&out));
    assert!(lookups.iter().all(|lookup| lookup.latency() == Some(3 * MS)), "{:?}", told(&out));
}

#[test]
fn a_thread_that_begins_with_the_name_which_another_would_try_next() {
    let (mut one, mut two) = (resolver(KUBERNETES).thread(101), resolver(KUBERNETES).thread(102));
    let out = run(vec![
        one.pair(0, NAMES[0], [Code(NXDOMAIN); 2]),
        two.pair(2, NAMES[1], [Data, Data]),
        one.pair(5, NAMES[1], [Data, Data]),
    ]);
    let told = told(&out);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().any(|one| one.starts_with("api.svc.cluster.local. + 2 ms")), "{told:?}");
    assert!(told.iter().any(|one| one.starts_with("api + 7 ms")), "{told:?}");
}

#[test]
fn processes_do_not_mix() {
    let mut one = resolver(KUBERNETES);
    let mut two = Resolver { pid: 200, socket: 2, ..one.clone() };
    let out = run(vec![one.pair(0, NAMES[0], [Code(NXDOMAIN); 2]), two.pair(3, NAMES[1], [Data, Data])]);
    assert_eq!(lookups(&out).len(), 2);
}

#[test]
fn what_comes_after_a_while_is_a_lookup_of_its_own() {
    let mut glibc = resolver(KUBERNETES);
    let out = run(vec![
        glibc.pair(0, NAMES[0], [Code(NXDOMAIN); 2]),
        glibc.pair(1_500, NAMES[1], [Data, Data]),
        glibc.lets(3_000, A, "b.", 1, Data),
        glibc.lets(3_200, AAAA, "b.", 1, Data),
    ]);
    assert_eq!(lookups(&out).len(), 4, "{:?}", told(&out));
}

#[test]
fn a_lookup_follows_the_last_of_its_queries() {
    let mut glibc = resolver(KUBERNETES);
    let out = run(vec![expansion(&mut glibc, 0), glibc.pair(40, "b.", [Data, Data])]);
    let mut told = Vec::new();
    for output in &out {
        match output {
            Output::Query(query) => told.push(query.number),
            Output::Lookup(lookup) => {
                assert!(lookup.queries().all(|tried| told.contains(&tried.number)), "{lookup:?}");
            }
            _ => panic!("{output:?}"),
        }
    }
    assert_eq!((told.len(), lookups(&out).len()), (10, 2));
}
