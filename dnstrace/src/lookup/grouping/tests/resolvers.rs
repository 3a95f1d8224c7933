//! What each resolver library does with a name, as its sources have it.

use super::*;

#[test]
fn glibc_tries_the_search_list_in_order() {
    let mut glibc = resolver(KUBERNETES);
    let out = run(vec![
        glibc.pair(0, "example.com.shop.svc.cluster.local.", [Code(NXDOMAIN); 2]),
        glibc.pair(3, "example.com.svc.cluster.local.", [Code(NXDOMAIN); 2]),
        glibc.pair(6, "example.com.cluster.local.", [Code(NXDOMAIN); 2]),
        glibc.pair(9, "example.com.", [Data, Data]),
        glibc.pair(500, "api.shop.svc.cluster.local.", [Data, NoData]),
    ]);
    assert_eq!(
        told(&out),
        [
            "example.com + 11 ms: example.com.shop.svc.cluster.local. Ax AAAAx, example.com.svc.cluster.local. Ax AAAAx, \
         example.com.cluster.local. Ax AAAAx, example.com. A+ AAAA+; 6 wasted in 9 ms",
            "api or api.shop.svc.cluster.local. + 2 ms: api.shop.svc.cluster.local. A+ AAAA0; 0 wasted in 0 ms",
        ]
    );
    let first = lookups(&out)[0];
    assert_eq!(first.data, ["10.96.3.4", "fd00::1"]);
    let [server] = first.servers[..] else { panic!("{first:?}") };
    assert_eq!((server.attempts, server.nameserver, first.asks_others()), (8, Some(0), Some(false)));
}

#[test]
fn a_name_that_does_not_exist_is_one_lookup_that_wasted_all_but_the_last_name() {
    let mut glibc = resolver(KUBERNETES);
    let suffixes = [".shop.svc.cluster.local.", ".svc.cluster.local.", ".cluster.local.", "."];
    let tries = (0..).step_by(3).zip(suffixes);
    let feed = tries.map(|(at, suffix)| glibc.pair(at, &format!("nope{suffix}"), [Code(NXDOMAIN); 2]));
    let out = run(feed.collect());
    let [lookup] = lookups(&out)[..] else { panic!("{out:?}") };
    assert_eq!((&lookup.asked, lookup.ending), (&Asked::Known("nope".into()), Ending::NxDomain));
    assert_eq!((lookup.waste().queries, lookup.waste().time, lookup.latency()), (6, 9 * MS, Some(11 * MS)));
}

#[test]
fn one_that_stops_after_nxdomain_was_given_with_its_dot() {
    let mut glibc = resolver(KUBERNETES);
    let out = run(vec![glibc.pair(0, "api.shop.svc.cluster.local.", [Code(NXDOMAIN); 2])]);
    assert_eq!(
        told(&out),
        ["api.shop.svc.cluster.local. x 2 ms: api.shop.svc.cluster.local. Ax AAAAx; 0 wasted in 0 ms"]
    );
    // But if the trace ends meanwhile, nobody knows.
    let mut glibc = resolver(KUBERNETES);
    let out = run_until(vec![glibc.pair(0, "api.shop.svc.cluster.local.", [Code(NXDOMAIN); 2])], 10);
    assert!(told(&out)[0].starts_with("api or api.shop.svc.cluster.local. x"), "{:?}", told(&out));
}

#[test]
fn glibc_goes_on_after_nodata_and_after_servfail_and_tells_the_worst() {
    let mut glibc = resolver(KUBERNETES);
    let out = run(vec![
        glibc.pair(0, "api.shop.svc.cluster.local.", [NoData, NoData]),
        glibc.pair(3, "api.svc.cluster.local.", [Code(SERVFAIL), Code(SERVFAIL)]),
        glibc.pair(200, "api.cluster.local.", [Code(NXDOMAIN); 2]),
        glibc.pair(203, "api.", [Code(NXDOMAIN); 2]),
    ]);
    let [lookup] = lookups(&out)[..] else { panic!("{:?}", told(&out)) };
    assert_eq!((lookup.ending, lookup.decisive, lookup.names.len()), (Ending::Failed(SERVFAIL), 1, 4));
    assert_eq!((lookup.waste().queries, lookup.waste().time), (6, 8 * MS));
}

#[test]
fn musl_stops_at_nodata() {
    let mut musl = resolver(KUBERNETES);
    let out = run(vec![
        musl.pair(0, "web.shop.svc.cluster.local.", [NoData, NoData]),
        musl.pair(5, "api.shop.svc.cluster.local.", [Code(NXDOMAIN); 2]),
        musl.pair(8, "api.svc.cluster.local.", [Data, Data]),
    ]);
    assert_eq!(
        told(&out),
        [
            "api + 5 ms: api.shop.svc.cluster.local. Ax AAAAx, api.svc.cluster.local. A+ AAAA+; 2 wasted in 3 ms",
            "web or web.shop.svc.cluster.local. 0 2 ms: web.shop.svc.cluster.local. A0 AAAA0; 0 wasted in 0 ms",
        ]
    );
}

#[test]
fn musl_asks_all_servers_at_once() {
    let mut musl = resolver("search a.example\nnameserver 10.96.0.10\nnameserver 10.96.0.11\n");
    let (first, id) = musl.asks(0, A, "x.a.example.");
    let second = Resolver { server: "10.96.0.11:53", ..musl.clone() }.seen(
        0,
        false,
        message(id, A, "x.a.example.", None),
    );
    let answer = musl.seen(MS, true, message(id, A, "x.a.example.", Some(Code(NXDOMAIN))));
    let stray = Resolver { server: "8.8.8.8:53", ..musl.clone() }.lets(3, A, "x.", 1, Data);
    let out = run(vec![vec![first, second, answer], stray]);
    let [lookup] = lookups(&out)[..] else { panic!("{:?}", told(&out)) };
    let servers: Vec<_> = lookup.servers.iter().map(|s| (s.nameserver, s.attempts)).collect();
    assert_eq!(servers, [(Some(0), 1), (Some(1), 1), (None, 1)]);
    assert_eq!((lookup.asks_others(), lookup.queries().count()), (Some(true), 2));
}

#[test]
fn single_request_asks_for_aaaa_when_a_is_answered_or_given_up() {
    let mut glibc = resolver(KUBERNETES);
    let name = "api.shop.svc.cluster.local.";
    let out = run(vec![glibc.lets(0, A, name, 40, Data), glibc.lets(41, AAAA, name, 30, Data)]);
    assert_eq!(told(&out), [format!("api or {name} + 71 ms: {name} A+ AAAA+; 0 wasted in 0 ms")]);
    // A dead server: the A is given up after 5 s, while it may still be answered.
    let (lost, _) = glibc.asks(1_000, A, name);
    let out = run(vec![vec![lost], glibc.lets(6_000, AAAA, name, 2, Data)]);
    assert_eq!(told(&out), [format!("api or {name} + -: {name} A? AAAA+; 0 wasted in 0 ms")]);
}

#[test]
fn a_name_that_was_given_up_is_followed_by_the_next() {
    let mut glibc = resolver(KUBERNETES);
    let (lost, id) = glibc.asks(0, A, "api.shop.svc.cluster.local.");
    let again = glibc.seen(5_000 * MS, false, message(id, A, "api.shop.svc.cluster.local.", None));
    let out = run(vec![vec![lost, again], glibc.lets(10_000, A, "api.", 1, Code(NXDOMAIN))]);
    assert_eq!(told(&out), ["api ? -: api.shop.svc.cluster.local. A?, api. Ax; 1 wasted in 1 ms"]);
}

#[test]
fn go_asks_from_two_sockets_in_any_threads() {
    let go = resolver(KUBERNETES);
    let [mut one, mut two, mut three] = [101, 102, 103].map(|tid| go.thread(tid));
    let out = run(vec![
        one.lets(0, A, "api.x.shop.svc.cluster.local.", 2, Code(NXDOMAIN)),
        two.lets(0, AAAA, "api.x.shop.svc.cluster.local.", 3, Code(NXDOMAIN)),
        three.lets(4, A, "api.x.svc.cluster.local.", 2, Data),
        one.lets(4, AAAA, "api.x.svc.cluster.local.", 3, Data),
    ]);
    assert_eq!(
        told(&out),
        [
            "api.x + 7 ms: api.x.shop.svc.cluster.local. Ax AAAAx, api.x.svc.cluster.local. A+ AAAA+; 2 wasted in 4 ms"
        ]
    );
}

#[test]
fn c_ares_has_many_lookups_in_one_thread_and_socket() {
    let mut ares = resolver(KUBERNETES);
    let out = run(vec![
        ares.pair(0, "a.shop.svc.cluster.local.", [Code(NXDOMAIN); 2]),
        ares.pair(1, "b.shop.svc.cluster.local.", [Code(NXDOMAIN); 2]),
        ares.pair(3, "a.svc.cluster.local.", [Data, Data]),
        ares.pair(4, "b.svc.cluster.local.", [Data, Data]),
    ]);
    let out = told(&out);
    assert!(out.len() == 2 && out[0].starts_with("a + 5 ms") && out[1].starts_with("b + 5 ms"), "{out:?}");
}

#[test]
fn enough_dots_and_the_search_list_after() {
    let mut glibc = resolver("search a.example\nnameserver 10.96.0.10\n");
    let out = run(vec![
        glibc.pair(0, "www.b.", [Code(NXDOMAIN); 2]),
        glibc.pair(3, "www.b.a.example.", [Data, Data]),
        glibc.pair(500, "www.c.", [Code(NXDOMAIN); 2]),
    ]);
    assert_eq!(
        told(&out),
        [
            "www.b + 5 ms: www.b. Ax AAAAx, www.b.a.example. A+ AAAA+; 2 wasted in 3 ms",
            "www.c. x 2 ms: www.c. Ax AAAAx; 0 wasted in 0 ms",
        ]
    );
}

#[test]
fn types_that_are_no_addresses_go_by_themselves() {
    const TXT: u16 = 16;
    let mut dig = resolver(KUBERNETES);
    let out = run(vec![
        dig.lets(0, TXT, "x.shop.svc.cluster.local.", 1, Code(NXDOMAIN)),
        dig.lets(2, A, "x.shop.svc.cluster.local.", 1, Data),
        dig.lets(4, TXT, "x.svc.cluster.local.", 1, Data),
    ]);
    let told = told(&out);
    assert!(
        told.len() == 2 && told.iter().any(|one| one.starts_with("x + 5 ms") && one.contains("TXT")),
        "{told:?}"
    );
}

#[test]
fn without_resolv_conf_it_is_a_guess_or_nothing() {
    let mut unknown = resolver("");
    let out = run(vec![
        unknown.pair(0, "api.shop.svc.cluster.local.", [Code(NXDOMAIN); 2]),
        unknown.pair(3, "api.svc.cluster.local.", [Code(NXDOMAIN); 2]),
        unknown.pair(6, "api.", [Data, Data]),
        unknown.pair(2_000, "www.example.com.", [Code(NXDOMAIN); 2]),
        unknown.pair(2_003, "www.example.org.", [Data, Data]),
    ]);
    let told = told(&out);
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[0].starts_with("api? + 8 ms") && told[0].ends_with("4 wasted in 6 ms"), "{told:?}");
    assert!(told.iter().any(|one| one.starts_with("(www.example.com.) x")), "{told:?}");
    assert_eq!(lookups(&out)[0].asks_others(), None);
}

#[test]
fn what_a_cache_asks_are_queries_by_themselves() {
    let mut cache = resolver(KUBERNETES);
    let (query, _) = cache.asks(0, A, "api.shop.svc.cluster.local.");
    let mut asked = query.clone();
    asked.seen.direction = Direction::Received;
    asked.seen.flow = asked.seen.flow.reversed();
    let out = run(vec![
        vec![asked],
        cache.pair(1, "api.shop.svc.cluster.local.", [Code(NXDOMAIN); 2]),
        cache.pair(4, "api.svc.cluster.local.", [Data, Data]),
    ]);
    let told = told(&out);
    assert_eq!(told.len(), 4, "{told:?}");
    assert!(told.iter().all(|one| one.starts_with("(api.")), "{told:?}");
}
