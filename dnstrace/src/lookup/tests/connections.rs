//! Queries over TCP connections, and how those end.

use super::{packets::*, tcp::*, told::*, *};
use crate::event::TcpState::{Close, CloseWait, Established, FinWait1, FinWait2, LastAck, SynSent};

#[test]
fn a_query_over_tcp_is_told_with_its_connection() {
    let t = tcp();
    let inputs = vec![
        t.opens(0),
        t.syn_is_inserted(10, t.entry(1, NEAR)),
        t.is_open(MS),
        t.asks(2 * MS, 1, "a.").into(),
        t.gets(3 * MS, answer(1, "a.")).into(),
        t.asks(4 * MS, 2, "b.").into(),
        t.gets(5 * MS, answer(2, "b.")).into(),
        t.closes(6 * MS),
        t.turns(7 * MS, FinWait2, Close),
    ];
    let out = run_all(inputs, Sight::default());
    // Its later query tells nothing of how it was opened, but where it goes.
    assert_eq!(told(&out), ["1 A a.: answered: inserted -> 10.244.1.9", "2 A b.: answered -> 10.244.1.9"]);
    let carriers: Vec<_> = queries(&out).iter().map(|query| query.attempts[0].carrier.unwrap()).collect();
    let carrier = Carrier {
        connection: 1,
        opened: Some(KernelTime(0)),
        established: Some(KernelTime(MS)),
        syn_retransmissions: 0,
        queries_before: 0,
    };
    assert_eq!(carriers, [carrier, Carrier { queries_before: 1, ..carrier }]);
}

#[test]
fn pipelined_queries_are_answered_in_any_order_each_on_its_connection() {
    let (t, u) = (tcp(), tcp().another(4));
    let inputs = vec![
        t.asks(0, 1, "a.").into(),
        t.asks(10, 2, "b.").into(),
        u.asks(20, 1, "c.").into(),
        t.asks(30, 1, "d.").into(),
        // The answer of one connection is none to the query of another with its id and question.
        u.gets(MS, answer(1, "a.")).into(),
        t.gets(2 * MS, answer(1, "d.")).into(),
        t.gets(3 * MS, answer(2, "b.")).into(),
        t.gets(4 * MS, answer(1, "a.")).into(),
        u.gets(5 * MS, answer(1, "c.")).into(),
    ];
    expect(
        "pipelined",
        inputs,
        &[
            "stray QueryNotSeen",
            "4 A d.: answered",
            "2 A b.: answered",
            "1 A a.: answered",
            "3 A c.: answered",
        ],
    );
}

#[test]
fn a_connection_older_than_the_trace_has_no_opening() {
    let t = tcp();
    let inputs = vec![t.asks(0, 1, "a.").into(), t.gets(MS, answer(1, "a.")).into(), t.closes(2 * MS)];
    let out = run_all(inputs, Sight::default());
    assert_eq!(told(&out), ["1 A a.: answered"]);
    let carrier = queries(&out)[0].attempts[0].carrier.unwrap();
    assert_eq!((carrier.opened, carrier.established), (None, None));
}

#[test]
fn a_socket_address_used_again_is_another_connection() {
    let t = tcp();
    let inputs = vec![
        t.asks(0, 1, "a.").into(),
        // Even between the same ends: its answer is of the one before.
        t.opens(MS),
        t.is_open(2 * MS),
        t.gets(3 * MS, answer(1, "a.")).into(),
        t.asks(4 * MS, 2, "b.").into(),
        // Or comes at another socket with the same ends, of which nothing else was seen.
        Client { socket: 9, ..tcp() }.gets(4 * MS + 1, answer(2, "b.")).into(),
        // And between others, without a word of its opening.
        Client { local: "10.244.1.7:50001".parse().unwrap(), ..tcp() }.asks(5 * MS, 3, "c.").into(),
    ];
    let out = run_all(inputs, Sight::default());
    let carriers = queries(&out).into_iter().map(|query| query.attempts[0].carrier.unwrap());
    assert_eq!(carriers.map(|carrier| carrier.connection).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(strays(&out), [&StrayReason::QueryNotSeen, &StrayReason::QueryNotSeen]);
}

#[test]
fn a_connection_that_ends_ends_what_waits_over_it() {
    let t = tcp();
    let ask = || t.asks(0, 1, "a.").into();
    let lost = |end: &str| format!("1 A a.: connection lost 1: ended {end}");
    expect("reset", vec![ask(), t.is_reset(MS)], &[&lost("Reset")]);
    expect("closed by the peer", vec![ask(), t.is_closed_by_peer(MS)], &[&lost("ClosedByPeer")]);
    expect("given up", vec![ask(), t.closes(5_000 * MS)], &[&lost("Closed")]);
    expect("aborted", vec![ask(), t.turns(MS, Established, Close)], &[&lost("Aborted")]);
    let mut timed_out = t.change(5_000 * MS, Established, Close);
    timed_out.error = Some(ETIMEDOUT);
    expect("timed out", vec![ask(), Input::Change(timed_out)], &[&lost("Failed { errno: 110 }")]);
    // Told once, as it was first known.
    let both = vec![
        ask(),
        t.is_closed_by_peer(MS),
        t.turns(2 * MS, CloseWait, LastAck),
        t.turns(3 * MS, LastAck, Close),
    ];
    expect("both", both, &[&lost("ClosedByPeer")]);
}

#[test]
fn a_client_that_has_shut_down_its_direction_may_read_on() {
    let t = tcp();
    let inputs = vec![t.asks(0, 1, "a.").into(), t.closes(MS), t.gets(1_500 * MS, answer(1, "a.")).into()];
    expect("half-closed", inputs, &["1 A a.: answered"]);
}

#[test]
fn an_answer_read_after_the_peer_has_closed_is_one() {
    let t = tcp();
    let inputs =
        vec![t.asks(0, 1, "a.").into(), t.is_closed_by_peer(MS), t.gets(900 * MS, answer(1, "a.")).into()];
    expect("read late", inputs, &["1 A a.: answered"]);
}

#[test]
fn a_query_sent_into_a_closed_connection_is_lost_when_that_is_reset() {
    let t = tcp();
    let mut reset = t.change(2 * MS, CloseWait, Close);
    reset.error = Some(32);
    let inputs = vec![t.is_closed_by_peer(0), t.asks(MS, 1, "a.").into(), Input::Change(reset)];
    expect("EPIPE", inputs, &["1 A a.: connection lost 1: ended Reset"]);
}

#[test]
fn a_query_goes_on_over_a_new_connection() {
    let (t, u) = (tcp(), tcp().another(4));
    let inputs = vec![
        t.asks(0, 1, "a.").into(),
        t.is_reset(MS),
        u.opens(2 * MS),
        t.data().at(NODE).dropped(3 * MS, "TCP_CLOSE"),
        // Which takes its time: the SYN was lost.
        u.sends_again(1_002 * MS, SynSent),
        u.is_open(1_003 * MS),
        u.asks(1_004 * MS, 7, "a.").into(),
        u.gets(1_005 * MS, answer(7, "a.")).into(),
    ];
    expect(
        "again",
        inputs,
        &["1 A a.: connection lost 1: ended Reset, drop q TCP_CLOSE; answered: again syn"],
    );
}

#[test]
fn a_server_tells_of_the_peer_that_went_before_its_answer() {
    let s = tcp_server();
    let with = |more: Vec<Input>| [vec![s.0.accepts(0), s.is_asked(MS, 1, "a.")], more].concat();
    let closed = || s.0.is_closed_by_peer(2 * MS);
    expect("in time", with(vec![s.answers(3 * MS, 1, "a.")]), &["1 at server A a.: answered"]);
    // It may have closed its own direction only.
    let late = with(vec![closed(), s.answers(4_000 * MS, 1, "a.")]);
    expect("late", late, &["1 at server A a.: answered: ended ClosedByPeer"]);
    let lost = "1 at server A a.: connection lost 1: ended ClosedByPeer";
    expect("never", with(vec![closed(), s.0.turns(9 * MS, LastAck, Close)]), &[lost]);
    expect("reset", with(vec![s.0.is_reset(3 * MS)]), &["1 at server A a.: connection lost 1: ended Reset"]);
}

#[test]
fn both_ends_of_a_connection_are_told_apart() {
    let (t, s) = (tcp(), tcp_server());
    let inputs = vec![
        t.asks(0, 1, "a.").into(),
        s.is_asked(MS, 1, "a."),
        s.answers(2 * MS, 1, "a."),
        t.gets(3 * MS, answer(1, "a.")).into(),
        t.turns(4 * MS, Established, FinWait1),
        s.0.is_closed_by_peer(5 * MS),
    ];
    expect("both", inputs, &["1 A a.: answered", "2 at server A a.: answered"]);
}

#[test]
fn while_events_were_lost_nothing_is_said_of_an_answer() {
    let t = tcp();
    let ask = || t.asks(0, 1, "a.").into();
    expect("lost", vec![ask(), loss(MS, 2 * MS, 3)], &["1 A a.: unknown, 3 lost"]);
    // The program may have closed because it had its answer.
    let closed = vec![ask(), loss(MS, 2 * MS, 3), t.closes(3 * MS)];
    expect("closed", closed, &["1 A a.: unknown, 3 lost: ended Closed"]);
}

#[test]
fn an_answer_that_comes_when_the_query_was_given_up_is_late() {
    let t = tcp();
    let inputs = vec![t.asks(0, 1, "a.").into(), t.gets(9_000 * MS, answer(1, "a.")).into()];
    let out = run_all(inputs, Sight::default());
    assert_eq!(told(&out)[0], "1 A a.: unanswered");
    assert_eq!(strays(&out), [&StrayReason::Late { query: 1, after: 9_000 * MS }]);
}
