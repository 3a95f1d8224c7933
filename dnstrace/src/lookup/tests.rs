//! The tracker, fed by hand: a resolver's ways in miniature.

use std::net::SocketAddr;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::{
    dns::{Counts, Decoded, Defect, Flags, Message, Question, Record},
    event::{Direction, Flow, KernelTime, SocketMessage, Task, Transport},
    identify::Owner,
};

const MS: u64 = 1_000_000;

/// Builds observations of one client process.
#[derive(Clone)]
struct Client {
    local: SocketAddr,
    server: SocketAddr,
    netns: u32,
    pid: u32,
    tid: u32,
    socket: u64,
    transport: Transport,
}

fn client() -> Client {
    Client {
        local: "10.244.1.7:40000".parse().unwrap(),
        server: "10.96.0.10:53".parse().unwrap(),
        netns: 7,
        pid: 100,
        tid: 100,
        socket: 1,
        transport: Transport::Udp,
    }
}

impl Client {
    fn seen(
        &self,
        at: u64,
        direction: Direction,
        source: SocketAddr,
        destination: SocketAddr,
    ) -> SocketMessage {
        SocketMessage {
            time: KernelTime(at),
            direction,
            flow: Flow { source, destination, transport: self.transport },
            socket: self.socket,
            netns: self.netns,
            task: Task { cgroup: 1, pid: self.pid, tid: self.tid, comm: "curl".into() },
            arrived: None,
            payload: Bytes::new(),
            length: 40,
            gap: None,
        }
    }

    fn asks(&self, at: u64, id: u16, name: &str) -> Observation {
        let seen = self.seen(at, Direction::Sent, self.local, self.server);
        observation(seen, message(id, name, false))
    }

    fn gets(&self, at: u64, message: Message) -> Observation {
        observation(self.seen(at, Direction::Received, self.server, self.local), message)
    }
}

fn observation(seen: SocketMessage, message: Message) -> Observation {
    Observation { seen, decoded: Decoded { message: Some(message), defect: None }, owner: Owner::default() }
}

fn message(id: u16, name: &str, response: bool) -> Message {
    Message {
        id,
        response,
        opcode: 0,
        rcode: 0,
        flags: Flags::default(),
        question: Some(Question { name: name.into(), qtype: 1, qclass: 1 }),
        answers: Vec::new(),
        counts: Counts::default(),
        edns: None,
    }
}

fn answer(id: u16, name: &str) -> Message {
    let mut message = message(id, name, true);
    message.counts.answers = 1;
    message.answers.push(Record { name: name.into(), rtype: 1, ttl: 5, data: "10.96.3.4".into() });
    message
}

fn with_rcode(id: u16, name: &str, rcode: u16) -> Message {
    Message { rcode, ..message(id, name, true) }
}

/// Runs observations through a tracker to the end of the trace at `end`.
pub(crate) fn run(observations: Vec<Observation>, end: u64) -> Vec<Output> {
    let mut tracker = Tracker::new(Limits::default());
    let mut out = Vec::new();
    for observation in observations {
        tracker.message(observation, &mut out);
    }
    tracker.finish(KernelTime(end), &mut out);
    out
}

fn queries(out: &[Output]) -> Vec<&Query> {
    out.iter().filter_map(|o| if let Output::Query(query) = o { Some(&**query) } else { None }).collect()
}

fn strays(out: &[Output]) -> Vec<&StrayReason> {
    out.iter().filter_map(|o| if let Output::Stray(stray) = o { Some(&stray.reason) } else { None }).collect()
}

/// A letter for each attempt's fate.
fn fates(query: &Query) -> String {
    query
        .attempts
        .iter()
        .map(|attempt| match attempt.fate {
            Fate::Answered(_) => 'a',
            Fate::Unanswered { .. } => 'u',
            Fate::NotAwaited => 'n',
            Fate::Open => 'o',
            _ => '?',
        })
        .collect()
}

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
    let mut tracker = Tracker::new(Limits { queries: 10, ..Limits::default() });
    let mut out = Vec::new();
    let c = client();
    for id in 0..100 {
        tracker.message(c.asks(u64::from(id), id, &format!("{id}.")), &mut out);
    }
    assert_eq!(out.len(), 90);
    assert_eq!(tracker.totals(), Totals { evicted: 90, forgotten: 80 });
    tracker.finish(KernelTime(1_000), &mut out);
    let numbers: Vec<_> = queries(&out).iter().map(|q| q.number).collect();
    assert_eq!(numbers, (1..=100).collect::<Vec<_>>());
}

proptest! {
    /// Whatever comes in whatever order: every message is accounted for exactly once, as an attempt, an answer
    /// or a stray, and no finer clock changes a word.
    #[test]
    fn every_message_is_accounted_for_once(
        steps in proptest::collection::vec((0u64..4_000, 0u16..3, 0u8..3, 0u32..2, any::<bool>()), 0..80),
    ) {
        let mut time = 0;
        let mut feed = Vec::new();
        for (step, id, name, who, response) in steps {
            time += step * MS;
            let c = Client { netns: who, pid: who, ..client() };
            let name = format!("{name}.");
            feed.push(if response { c.gets(time, answer(id, &name)) } else { c.asks(time, id, &name) });
        }
        let count = feed.len();
        let end = time + 100_000 * MS;
        let out = run(feed.clone(), end);
        let mut accounted = strays(&out).len();
        for query in queries(&out) {
            accounted += query.attempts.len() + query.attempts_left_out as usize;
            accounted += query.attempts.iter().filter(|a| a.answer().is_some()).count();
        }
        prop_assert_eq!(accounted, count);

        let mut tracker = Tracker::new(Limits::default());
        let mut ticked = Vec::new();
        let mut now = 0;
        for observation in feed {
            while now < observation.seen.time.0 {
                tracker.advance(KernelTime(now), &mut ticked);
                now += 333 * MS;
            }
            tracker.message(observation, &mut ticked);
        }
        tracker.finish(KernelTime(end), &mut ticked);
        prop_assert_eq!(format!("{out:?}"), format!("{ticked:?}"));
    }
}
