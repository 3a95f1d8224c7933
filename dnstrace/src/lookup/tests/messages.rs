//! Resolvers' messages, and what becomes of them.

use super::{packets::NEAR, *};
use crate::dns::Defect;
use crate::filter::Filter;

#[test]
fn a_query_and_its_answer() {
    let c = client();
    let out = run(vec![c.asks(0, 1, "a."), c.gets(MS, answer(1, "a."))], 60_000 * MS);
    let [query] = queries(&out)[..] else { panic!("{out:?}") };
    assert_eq!((query.number, query.role, query.latency()), (1, Role::Client, Some(MS)));
    assert_eq!(query.outcome, Outcome::Answered { attempt: 0 });
    assert_eq!(query.server(), Some((c.server, Transport::Udp)));
    assert!(strays(&out).is_empty());
}

#[test]
fn a_pair_of_one_socket_is_two_queries_even_with_one_id() {
    let c = client();
    let mut aaaa = c.asks(10, 1, "a.");
    if let Some(Message { question: Some(question), .. }) = &mut aaaa.decoded.message {
        question.qtype = 28;
    }
    let mut reply = answer(1, "a.");
    reply.question.as_mut().unwrap().qtype = 28;
    let out =
        run(vec![c.asks(0, 1, "a."), aaaa, c.gets(MS, reply), c.gets(2 * MS, answer(1, "a."))], 60_000 * MS);
    let latencies: Vec<_> = queries(&out).iter().map(|q| (q.question.qtype, q.latency().unwrap())).collect();
    assert_eq!(latencies, [(28, MS - 10), (1, 2 * MS)]);
}

#[test]
fn glibc_sends_again_after_five_seconds_on_the_same_socket() {
    let c = client();
    let out = run(
        vec![c.asks(0, 1, "a."), c.asks(5_003 * MS, 1, "a."), c.gets(5_004 * MS, answer(1, "a."))],
        60_000 * MS,
    );
    let [query] = queries(&out)[..] else { panic!("{out:?}") };
    assert_eq!(query.latency(), Some(5_004 * MS));
    assert_eq!(fates(query), "ua");
    assert!(matches!(query.attempts[0].fate, Fate::Unanswered { waited } if waited == 5_003 * MS));
}

#[test]
fn musl_asks_all_servers_at_once_and_takes_the_first_answer() {
    let first = client();
    let second = Client { server: "10.96.0.11:53".parse().unwrap(), ..client() };
    let out = run(
        vec![
            first.asks(0, 1, "a."),
            first.gets(MS, answer(1, "a.")),
            second.asks(MS + 1, 1, "a."),
            second.gets(3 * MS, answer(1, "a.")),
        ],
        60_000 * MS,
    );
    let [query] = queries(&out)[..] else { panic!("{out:?}") };
    assert_eq!((fates(query).as_str(), query.latency()), ("aa", Some(MS)));
    let out = run(
        vec![first.asks(0, 1, "a."), second.asks(1, 1, "a."), second.gets(3 * MS, answer(1, "a."))],
        60_000 * MS,
    );
    assert_eq!(fates(queries(&out)[0]), "na");
}

#[test]
fn go_asks_again_with_another_id_and_socket() {
    let c = client();
    let again = Client { local: "10.244.1.7:40001".parse().unwrap(), socket: 2, tid: 105, ..client() };
    let out = run(
        vec![c.asks(0, 1, "a."), again.asks(5_000 * MS, 2, "a."), again.gets(5_001 * MS, answer(2, "a."))],
        60_000 * MS,
    );
    assert_eq!(queries(&out).len(), 1);
    assert_eq!(fates(queries(&out)[0]), "ua");
}

#[test]
fn two_threads_that_ask_the_same_are_two_queries() {
    let c = client();
    let other = Client { local: "10.244.1.7:40001".parse().unwrap(), socket: 2, tid: 105, ..client() };
    let out = run(
        vec![
            c.asks(0, 1, "a."),
            other.asks(10, 2, "a."),
            c.gets(MS, answer(1, "a.")),
            other.gets(2 * MS, answer(2, "a.")),
        ],
        60_000 * MS,
    );
    let latencies: Vec<_> = queries(&out).iter().filter_map(|q| q.latency()).collect();
    assert_eq!(latencies, [MS, 2 * MS - 10]);
}

#[test]
fn pods_that_share_address_port_and_id_do_not_mix() {
    let c = client();
    let other = Client { netns: 8, pid: 200, ..client() };
    let out = run(
        vec![
            c.asks(0, 1, "a."),
            other.asks(5, 1, "a."),
            other.gets(MS, answer(1, "a.")),
            c.gets(2 * MS, answer(1, "a.")),
        ],
        60_000 * MS,
    );
    let seen: Vec<_> = queries(&out).iter().map(|q| (q.netns, q.latency().unwrap())).collect();
    assert_eq!(seen, [(8, MS - 5), (7, 2 * MS)]);
}

#[test]
fn the_same_id_again_after_the_answer_is_a_new_query() {
    let c = client();
    let out = run(
        vec![
            c.asks(0, 1, "a."),
            c.gets(MS, answer(1, "a.")),
            c.asks(2 * MS, 1, "a."),
            c.gets(5 * MS, answer(1, "a.")),
        ],
        60_000 * MS,
    );
    let latencies: Vec<_> = queries(&out).iter().filter_map(|q| q.latency()).collect();
    assert_eq!(latencies, [MS, 3 * MS]);
    assert!(strays(&out).is_empty());
}

#[test]
fn truncated_over_udp_and_again_over_tcp_is_one_query() {
    let c = client();
    let tcp = Client {
        transport: Transport::Tcp,
        socket: 2,
        local: "10.244.1.7:50000".parse().unwrap(),
        ..client()
    };
    let mut truncated = message(1, "a.", true);
    truncated.flags.truncated = true;
    let out = run(
        vec![
            c.asks(0, 1, "a."),
            c.gets(MS, truncated),
            tcp.asks(3 * MS, 9, "a."),
            tcp.gets(4 * MS, answer(9, "a.")),
        ],
        60_000 * MS,
    );
    let [query] = queries(&out)[..] else { panic!("{out:?}") };
    assert_eq!((fates(query).as_str(), query.latency()), ("aa", Some(4 * MS)));
    assert_eq!(query.server().unwrap().1, Transport::Tcp);
}

#[test]
fn an_error_sends_the_resolver_to_the_next_server() {
    let c = client();
    let next = Client { server: "10.96.0.11:53".parse().unwrap(), ..client() };
    let out = run(
        vec![
            c.asks(0, 1, "a."),
            c.gets(MS, with_rcode(1, "a.", 2)),
            next.asks(2 * MS, 1, "a."),
            next.gets(3 * MS, answer(1, "a.")),
        ],
        60_000 * MS,
    );
    let [query] = queries(&out)[..] else { panic!("{out:?}") };
    assert_eq!((fates(query).as_str(), query.answer().unwrap().message.rcode), ("aa", 0));
    let out = run(vec![c.asks(0, 1, "a."), c.gets(MS, with_rcode(1, "a.", 5))], 60_000 * MS);
    assert_eq!(queries(&out)[0].answer().unwrap().message.rcode, 5);
}

#[test]
fn no_answer_is_said_after_the_time_out_and_a_late_one_is_known() {
    let c = client();
    let out = run(vec![c.asks(0, 1, "a."), c.gets(9_000 * MS, answer(1, "a."))], 60_000 * MS);
    let [query] = queries(&out)[..] else { panic!("{out:?}") };
    assert_eq!((query.outcome, query.ended), (Outcome::Unanswered, KernelTime(6_000 * MS)));
    assert_eq!(fates(query), "u");
    assert_eq!(strays(&out), [&StrayReason::Late { query: 1, after: 9_000 * MS }]);
}

#[test]
fn a_query_under_way_at_the_end_is_pending() {
    let c = client();
    let out = run(vec![c.asks(0, 1, "a.")], 2 * MS);
    assert_eq!(queries(&out)[0].outcome, Outcome::Pending);
    assert_eq!(fates(queries(&out)[0]), "o");
}

#[test]
fn answers_without_a_query_and_second_answers_are_strays() {
    let c = client();
    let out = run(
        vec![
            c.gets(0, answer(1, "a.")),
            c.asks(1, 2, "b."),
            c.gets(2, answer(2, "b.")),
            c.gets(3, answer(2, "b.")),
            c.gets(4, answer(2, "other.")),
        ],
        60_000 * MS,
    );
    assert_eq!(
        strays(&out),
        [&StrayReason::QueryNotSeen, &StrayReason::Surplus { query: 1 }, &StrayReason::QueryNotSeen]
    );
    assert_eq!(queries(&out).len(), 1);
}

#[test]
fn a_server_sees_the_query_of_its_client() {
    let c = client();
    let server: SocketAddr = "10.244.1.9:53".parse().unwrap();
    let arrived = observation(c.seen(0, Direction::Received, c.local, server), message(1, "a.", false));
    let again = observation(c.seen(MS, Direction::Received, c.local, server), message(1, "a.", false));
    let left = observation(c.seen(3 * MS, Direction::Sent, server, c.local), answer(1, "a."));
    let out = run(vec![arrived, again, left], 60_000 * MS);
    let [query] = queries(&out)[..] else { panic!("{out:?}") };
    assert_eq!((query.role, query.server()), (Role::Server, Some((server, Transport::Udp))));
    assert_eq!((query.attempts.len(), query.latency()), (2, Some(3 * MS)));
}

#[test]
fn what_is_not_dns_is_a_stray() {
    let c = client();
    let seen = c.seen(0, Direction::Sent, c.local, c.server);
    let decoded = Decoded { message: None, defect: Some(Defect::NotDns) };
    let out = run(vec![Observation { seen, decoded, owner: Owner::default() }], MS);
    assert_eq!(strays(&out), [&StrayReason::Undecoded]);
}

#[test]
fn the_table_is_bounded_and_what_is_evicted_is_counted() {
    let mut tracker = Tracker::new(Limits { queries: 10, ..Limits::default() }, Sight::default());
    let mut out = Vec::new();
    let c = client();
    for id in 0..100 {
        tracker.message(c.asks(u64::from(id), id, &format!("{id}.")), &mut out);
    }
    assert_eq!(queries(&out).len(), 90);
    assert_eq!(tracker.totals(), Totals { evicted: 90, forgotten: 80, connections: 0, lookups: 90 });
    tracker.finish(KernelTime(1_000), &mut out);
    let numbers: Vec<_> = queries(&out).iter().map(|q| q.number).collect();
    assert_eq!(numbers, (1..=100).collect::<Vec<_>>());
}

#[test]
fn a_lookup_is_found_by_the_endpoint_that_its_query_went_to() {
    let c = client();
    let mut tracker = Tracker::new(Limits::default(), Sight::default());
    let mut out = Vec::new();
    for input in [
        c.asks(0, 1, "a.").into(),
        c.is_inserted(2_000, 1, "a.", c.entry(0xa, NEAR)),
        c.gets(5 * MS, answer(1, "a.")).into(),
    ] {
        input.feed(&mut tracker, &mut out);
    }
    tracker.finish(KernelTime(1_000 * MS), &mut out);
    let shown = |server: &str| {
        let filter = Filter { servers: vec![server.parse().unwrap()], ..Filter::default() };
        let shown = out.iter().filter(|output| filter.hides(output).is_none());
        shown.map(|output| matches!(output, Output::Lookup(_))).collect::<Vec<_>>()
    };
    for server in [NEAR, "10.96.0.10"] {
        assert_eq!(shown(server), [false, true], "the query and its lookup, by {server}");
    }
    assert!(shown("10.96.0.11").is_empty());
}
