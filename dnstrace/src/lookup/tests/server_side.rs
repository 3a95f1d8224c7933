//! Client and server both traced: one attempt with two sides.

use super::{packets::*, tcp::*, *};
use crate::event::ConfirmResult::Inserted;

/// The server behind `address`, in a namespace and process of its own, asked by `asker` (as it sees that).
fn server(address: &str, asker: &str) -> Server {
    let (local, server) = (address.parse().unwrap(), asker.parse().unwrap());
    Server(Client { local, server, netns: 9, pid: 200, tid: 200, socket: 3, ..client() })
}

/// Each client attempt's server side: the number of the server's query, when it was received, when it was answered.
fn sides(inputs: Vec<Input>) -> Vec<Option<(u64, u64, Option<u64>)>> {
    let out = run_all(inputs);
    let attempts = queries(&out).into_iter().filter(|query| query.role == Role::Client);
    let sides = attempts.flat_map(|query| &query.attempts).map(|attempt| {
        let side = attempt.server_side.as_ref()?;
        assert_eq!((side.netns, side.task.pid), (9, 200));
        Some((side.query, side.received.0, side.answered.map(|(time, _)| time.0)))
    });
    sides.collect()
}

fn run_all(inputs: Vec<Input>) -> Vec<Output> {
    let mut tracker = Tracker::new(Limits::default(), Sight::default());
    let mut out = Vec::new();
    for input in inputs {
        input.feed(&mut tracker, &mut out);
    }
    tracker.finish(KernelTime(60_000 * MS), &mut out);
    out
}

#[test]
fn a_query_is_followed_through_translation() {
    let (c, s) = (client(), server(NEAR, "10.244.1.7:40000"));
    let entry = c.entry(0xa, NEAR);
    let inputs = vec![
        c.asks(0, 1, "a.").into(),
        c.query(1, "a.").by(entry).confirmed(2_000, Inserted),
        s.is_asked(MS, 1, "a."),
        s.answers(4 * MS, 1, "a."),
        c.gets(5 * MS, answer(1, "a.")).into(),
    ];
    assert_eq!(sides(inputs), [Some((2, MS, Some(4 * MS)))]);
}

#[test]
fn a_query_sent_before_the_entry_of_its_flow_was_made_goes_by_it() {
    let (c, s) = (client(), server(NEAR, "10.244.1.7:40000"));
    // Both wait at the node's end of the veth pair: the second finds the entry of the first and makes none.
    let inputs = vec![
        c.asks(0, 1, "a.").into(),
        c.asks(100, 2, "b.").into(),
        c.is_inserted(2_000, 1, "a.", c.entry(0xa, NEAR)),
        s.is_asked(MS, 1, "a."),
        s.is_asked(MS + 1, 2, "b."),
        s.answers(4 * MS, 1, "a."),
        s.answers(4 * MS + 1, 2, "b."),
        c.gets(5 * MS, answer(1, "a.")).into(),
        c.gets(5 * MS + 1, answer(2, "b.")).into(),
    ];
    assert_eq!(endpoints(inputs.clone()), [Some(NEAR.to_owned()), Some(NEAR.to_owned())]);
    assert_eq!(sides(inputs), [Some((3, MS, Some(4 * MS))), Some((4, MS + 1, Some(4 * MS + 1)))]);
}

/// Of each client's attempt.
fn endpoints(inputs: Vec<Input>) -> Vec<Option<String>> {
    let out = run_all(inputs);
    let clients = queries(&out).into_iter().filter(|query| query.role == Role::Client);
    let attempts = clients.flat_map(|query| &query.attempts);
    attempts.map(|attempt| attempt.endpoint.map(|endpoint| endpoint.to_string())).collect()
}

#[test]
fn where_a_query_went_by_an_entry_older_than_the_trace_its_server_tells() {
    let (c, s) = (client(), server(NEAR, "10.244.1.7:40000"));
    let inputs = vec![
        c.asks(0, 1, "a.").into(),
        c.asks(100, 2, "b.").into(),
        s.is_asked(MS, 1, "a."),
        s.answers(4 * MS, 1, "a."),
        c.gets(5 * MS, answer(1, "a.")).into(),
    ];
    assert_eq!(endpoints(inputs.clone()), [Some(NEAR.to_owned()), None]);
    assert_eq!(sides(inputs), [Some((3, MS, Some(4 * MS))), None]);
}

#[test]
fn where_a_connection_older_than_the_trace_goes_its_server_tells() {
    let t = tcp();
    let s = Server(Client { local: NEAR.parse().unwrap(), ..tcp_server().0 });
    let inputs = vec![
        t.asks(0, 1, "a.").into(),
        s.is_asked(MS, 1, "a."),
        s.answers(3 * MS, 1, "a."),
        t.gets(4 * MS, answer(1, "a.")).into(),
        // What is asked from now on goes there, too.
        t.asks(5 * MS, 2, "b.").into(),
    ];
    assert_eq!(endpoints(inputs.clone()), [Some(NEAR.to_owned()), Some(NEAR.to_owned())]);
    assert_eq!(sides(inputs), [Some((2, MS, Some(3 * MS))), None]);
    // Two connections from the same port, and none is taken.
    let other = Client { server: "10.96.0.11:53".parse().unwrap(), socket: 9, ..tcp() };
    let inputs = vec![t.asks(0, 1, "a.").into(), other.asks(10, 1, "a.").into(), s.is_asked(MS, 1, "a.")];
    assert_eq!(endpoints(inputs), [None, None]);
}

#[test]
fn of_several_servers_asked_by_unknown_ways_none_is_taken() {
    // As musl asks: the same message to each of its servers.
    let (one, s) = (client(), server(NEAR, "10.244.1.7:40000"));
    let other = Client { server: "10.96.0.11:53".parse().unwrap(), ..client() };
    let both: Vec<Input> = vec![one.asks(0, 1, "a.").into(), other.asks(10, 1, "a.").into()];
    let inputs = [both.clone(), vec![s.is_asked(MS, 1, "a.")]].concat();
    assert_eq!(endpoints(inputs.clone()), [None, None]);
    assert_eq!(sides(inputs), [None, None]);
    // The way of one is known: it is the other one's.
    let known = one.is_inserted(20, 1, "a.", one.entry(0xa, FAR));
    let inputs = [both, vec![known, s.is_asked(MS, 1, "a.")]].concat();
    assert_eq!(endpoints(inputs), [Some(FAR.to_owned()), Some(NEAR.to_owned())]);
}

#[test]
fn what_the_server_did_not_do_is_known() {
    let (c, s) = (client(), server("10.96.0.10:53", "10.244.1.7:40000"));
    // It never answers; then its answer is lost; then the query does not come to it.
    let inputs = vec![
        c.asks(0, 1, "a.").into(),
        s.is_asked(MS, 1, "a."),
        c.asks(1_000 * MS, 2, "b.").into(),
        s.is_asked(1_001 * MS, 2, "b."),
        s.answers(1_002 * MS, 2, "b."),
        c.asks(2_000 * MS, 3, "c.").into(),
    ];
    assert_eq!(sides(inputs), [Some((2, MS, None)), Some((4, 1_001 * MS, Some(1_002 * MS))), None]);
}

#[test]
fn a_retransmission_is_the_attempt_that_came_before_its_arrival() {
    let (c, s) = (client(), server("10.96.0.10:53", "10.244.1.7:40000"));
    let inputs = vec![
        c.asks(0, 1, "a.").into(),
        c.asks(5_000 * MS, 1, "a.").into(),
        s.is_asked(5_001 * MS, 1, "a."),
        s.answers(5_002 * MS, 1, "a."),
        c.gets(5_003 * MS, answer(1, "a.")).into(),
    ];
    assert_eq!(sides(inputs), [None, Some((2, 5_001 * MS, Some(5_002 * MS)))]);
}

#[test]
fn pods_with_the_same_address_have_no_side_told() {
    let (one, s) = (client(), server("10.96.0.10:53", "10.244.1.7:40000"));
    let other = Client { netns: 8, pid: 201, socket: 2, ..client() };
    let inputs = vec![one.asks(0, 1, "a.").into(), other.asks(10, 1, "a.").into(), s.is_asked(MS, 1, "a.")];
    assert_eq!(sides(inputs), [None, None]);
    // Nor of another question, or of a query that comes after the answer.
    let inputs = vec![one.asks(0, 1, "a.").into(), s.is_asked(MS, 1, "b."), s.is_asked(MS + 1, 2, "a.")];
    assert_eq!(sides(inputs), [None]);
}

#[test]
fn pipelined_messages_of_a_connection_have_their_own_sides() {
    let (t, s) = (tcp(), tcp_server());
    let inputs = vec![
        t.asks(0, 1, "a.").into(),
        t.asks(10, 2, "b.").into(),
        s.is_asked(MS, 1, "a."),
        s.is_asked(2 * MS, 2, "b."),
        s.answers(3 * MS, 2, "b."),
        t.gets(4 * MS, answer(2, "b.")).into(),
    ];
    assert_eq!(sides(inputs), [Some((4, 2 * MS, Some(3 * MS))), Some((3, MS, None))]);
}

#[test]
fn nothing_is_left_when_all_has_ended() {
    let (c, s) = (client(), server("10.96.0.10:53", "10.244.1.7:40000"));
    let mut tracker = Tracker::new(Limits::default(), Sight::default());
    let mut out = Vec::new();
    for at in 0..100 {
        let id = u16::try_from(at).unwrap();
        Input::from(c.asks(at * MS, id, "a.")).feed(&mut tracker, &mut out);
        s.is_asked(at * MS + 1, id, "a.").feed(&mut tracker, &mut out);
        if at % 2 == 0 {
            s.answers(at * MS + 2, id, "a.").feed(&mut tracker, &mut out);
        }
    }
    assert_eq!(tracker.table.clients.len(), 50);
    tracker.advance(KernelTime(60_000 * MS), &mut out);
    assert!(tracker.table.clients.is_empty());
}
