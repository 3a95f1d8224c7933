//! Truncated answers and what the resolver does about them; connections that cannot be opened.

use super::{packets::*, tcp::*, told::*, *};
use crate::event::TcpState::SynSent;

/// An answer over UDP is truncated, and then.
fn truncated_then(then: Vec<Input>) -> Vec<Input> {
    [is_truncated(0, 1, "a."), then].concat()
}

/// One SYN after the other is lost.
fn opens_slowly(t: &Client) -> Vec<Input> {
    vec![
        t.opens(2 * MS),
        t.sends_again(1_002 * MS, SynSent),
        t.sends_again(3_002 * MS, SynSent),
        t.sends_again(7_002 * MS, SynSent),
    ]
}

#[test]
fn a_truncated_answer_and_its_retry_are_one_query() {
    let t = tcp();
    let asks = |at, id| vec![t.asks(at, id, "a.").into(), t.gets(at + MS, answer(id, "a.")).into()];
    let quick = vec![t.opens(2 * MS), t.is_open(3 * MS)];
    let told = &["1 A a.: answered; answered"];
    expect("same id", truncated_then([quick.clone(), asks(4 * MS, 1)].concat()), told);
    expect("another id", truncated_then([quick, asks(4 * MS, 2)].concat()), told);
    expect("an older connection", truncated_then(asks(4 * MS, 2)), told);
    let slow = [opens_slowly(&t), vec![t.is_open(7_003 * MS)], asks(7_004 * MS, 1)].concat();
    expect("slowly", truncated_then(slow), &["1 A a.: answered; answered: again syn, again syn, again syn"]);
}

#[test]
fn a_query_is_asked_again_over_tcp_when_the_other_of_its_pair_was_truncated() {
    let t = tcp();
    let inputs = vec![
        client().asks(0, 1, "a.").into(),
        client().asks(1, 2, "b.").into(),
        client().gets(MS, truncated(1, "a.")).into(),
        t.opens(2 * MS),
        t.is_open(3 * MS),
        t.asks(4 * MS, 1, "a.").into(),
        t.asks(4 * MS + 1, 2, "b.").into(),
        t.gets(5 * MS, answer(1, "a.")).into(),
        t.gets(5 * MS + 1, answer(2, "b.")).into(),
    ];
    expect("pair", inputs, &["1 A a.: answered; answered", "2 A b.: not awaited; answered"]);
}

#[test]
fn a_retry_that_is_not_answered_is_told_by_itself() {
    let t = tcp();
    let with = |more: Vec<Input>| {
        let asks = vec![t.opens(2 * MS), t.is_open(3 * MS), t.asks(4 * MS, 1, "a.").into()];
        truncated_then([asks, more].concat())
    };
    expect("silence", with(vec![]), &["1 A a.: answered; unanswered"]);
    expect("loss", with(vec![loss(5 * MS, 6 * MS, 2)]), &["1 A a.: answered; unknown, 2 lost"]);
    expect("reset", with(vec![t.is_reset(5 * MS)]), &["1 A a.: answered; connection lost 1: ended Reset"]);
}

#[test]
fn a_retry_that_cannot_connect_is_an_attempt_without_a_message() {
    let t = tcp();
    let failed = |then: Vec<Input>, how: &str| {
        let told = format!("1 A a.: answered; unopened connect failed {how}");
        expect(how, truncated_then(then), &[&told]);
    };
    let inserted = || vec![t.opens(2 * MS), t.syn_is_inserted(2 * MS + 10_000, t.entry(1, NEAR))];
    failed(
        [inserted(), vec![t.fails(3 * MS, ECONNREFUSED)]].concat(),
        "2: inserted, connect errno 111 -> 10.244.1.9",
    );
    // No SYN was sent at all.
    failed(vec![t.cannot_connect(2 * MS, EHOSTUNREACH)], "1: connect errno 113");
    // The kernel says so twice.
    let at_once =
        || vec![t.opens(2 * MS), t.gives_up(2 * MS + 1), t.cannot_connect(2 * MS + 2, EHOSTUNREACH)];
    failed(at_once(), "1: connect errno 113");
    let twice =
        vec![t.opens(2 * MS), t.fails(2 * MS + 1, EHOSTUNREACH), t.cannot_connect(2 * MS + 2, EHOSTUNREACH)];
    failed(twice, "1: connect errno 113");
    failed(
        [opens_slowly(&t), vec![t.fails(9_000 * MS, ETIMEDOUT)]].concat(),
        "4: again syn, again syn, again syn, connect errno 110",
    );
    let given_up = vec![t.opens(2 * MS), t.sends_again(1_002 * MS, SynSent), t.gives_up(2_000 * MS)];
    failed(given_up, "2: again syn, ended Closed");
    // Its socket's memory is the next one's.
    let next = Client { server: "10.96.0.11:53".parse().unwrap(), ..t.clone() };
    let reused =
        vec![t.opens(2 * MS), t.gives_up(2_000 * MS), next.opens(2_000 * MS + 9), next.is_open(2_001 * MS)];
    failed(reused, "1: ended Closed");
}

#[test]
fn an_attempt_without_a_message_knows_its_ends_and_times() {
    let t = tcp();
    let inserted = vec![t.opens(2 * MS), t.syn_is_inserted(2 * MS + 10_000, t.entry(1, NEAR))];
    let inputs = truncated_then([inserted, vec![t.fails(3 * MS, ECONNREFUSED)]].concat());
    let out = run_all(inputs, Sight::default());
    let [query] = queries(&out)[..] else { panic!("{out:?}") };
    assert_eq!(query.outcome, Outcome::Answered { attempt: 0 });
    let attempt = &query.attempts[1];
    assert_eq!((attempt.time, attempt.conversation.local), (KernelTime(2 * MS), t.local));
    let carrier = attempt.carrier.unwrap();
    assert_eq!((carrier.opened, carrier.established), (Some(KernelTime(2 * MS)), None));
}

#[test]
fn a_retry_whose_connection_does_not_come_is_told_when_it_is_waited_for_no_longer() {
    let t = tcp();
    let dropped = vec![t.opens(2 * MS), t.syn().dropped(2 * MS + 10, "NETFILTER_DROP")];
    let told = &["1 A a.: answered; unopened dropped 1: drop syn NETFILTER_DROP"];
    expect("dropped", truncated_then(dropped), told);
    // What becomes of it then is not told again.
    let later = [opens_slowly(&t), vec![t.fails(60_000 * MS, ETIMEDOUT)]].concat();
    let told = &["1 A a.: answered; unopened unanswered: again syn, again syn, again syn"];
    expect("much later", truncated_then(later), told);
}

#[test]
fn after_a_failed_connection_the_next_server_is_asked_for_the_same_query() {
    let t = tcp();
    let failed = || vec![t.opens(2 * MS), t.fails(3 * MS, ECONNREFUSED)];
    let other: SocketAddr = "10.96.0.11:53".parse().unwrap();
    let over_udp = Client { server: other, ..client() };
    let asked =
        vec![over_udp.asks(500 * MS, 1, "a.").into(), over_udp.gets(501 * MS, answer(1, "a.")).into()];
    let told = "1 A a.: answered; unopened connect failed 1: connect errno 111; ";
    expect("udp", truncated_then([failed(), asked].concat()), &[&format!("{told}answered")]);
    let over_tcp = Client { server: other, ..t.another(4) };
    let refused = vec![over_tcp.opens(4 * MS), over_tcp.fails(5 * MS, ECONNREFUSED)];
    let again = format!("{told}unopened connect failed 1: connect errno 111");
    expect("tcp", truncated_then([failed(), refused].concat()), &[&again]);
}

#[test]
fn a_pair_opens_one_connection_or_one_each() {
    let (t, u) = (tcp(), tcp().another(4));
    let pair = || [is_truncated(0, 1, "a."), is_truncated(2 * MS, 2, "b.")].concat();
    let failed = "answered; unopened connect failed 1: connect errno 111";
    let (a, b) = (format!("1 A a.: {failed}"), format!("2 A b.: {failed}"));
    let one = vec![t.opens(4 * MS), t.fails(5 * MS, ECONNREFUSED)];
    expect("one", [pair(), one].concat(), &[&a, &b]);
    let each = vec![
        t.opens(4 * MS),
        u.opens(4 * MS + 1),
        t.fails(5 * MS, ECONNREFUSED),
        u.fails(6 * MS, ECONNREFUSED),
    ];
    expect("one each", [pair(), each].concat(), &[&a, &b]);
}

#[test]
fn a_connection_of_another_process_server_or_namespace_is_none_of_the_query() {
    let t = tcp();
    let others = [
        Client { pid: 101, ..t.clone() },
        Client { netns: 8, ..t.clone() },
        Client { server: "10.96.0.11:53".parse().unwrap(), ..t },
    ];
    for other in others {
        let then = vec![other.opens(2 * MS), other.fails(3 * MS, ECONNREFUSED)];
        let alone = "connection 1 Dns: connect errno 111; Reset";
        expect("other", truncated_then(then), &[alone, "1 A a.: answered"]);
    }
}

#[test]
fn a_connection_that_could_ask_nothing_is_shown_by_itself_once() {
    let t = tcp();
    let refused = vec![
        t.opens(0),
        t.syn_is_inserted(10, t.entry(1, NEAR)),
        t.syn().dropped(20, "NETFILTER_DROP"),
        t.sends_again(1_000 * MS, SynSent),
        t.fails(1_001 * MS, ECONNREFUSED),
    ];
    let out = run_all(refused, Sight::default());
    let words = "inserted, drop syn NETFILTER_DROP, again syn, connect errno 111 -> 10.244.1.9; Reset";
    assert_eq!(told(&out), [format!("connection 1 Dns: {words}")]);
    let [Output::Connection(connection)] = &out[..] else { panic!() };
    assert_eq!((connection.time, connection.ended), (KernelTime(0), KernelTime(1_001 * MS)));
    assert_eq!((connection.local, connection.seen_from_start), (t.local, true));
    assert_eq!(connection.task.as_ref().map(|task| task.pid), Some(100));
}

#[test]
fn ways_not_to_open_a_connection() {
    let t = tcp();
    let failed = |errno| format!("connection 1 Dns: connect errno {errno}; Failed {{ errno: {errno} }}");
    expect("at once", vec![t.cannot_connect(0, EPERM)], &[&failed(1)]);
    expect("older", vec![t.fails(MS, ETIMEDOUT)], &[&failed(110)]);
    expect("given up", vec![t.opens(0), t.gives_up(MS)], &["connection 1 Dns: ended Closed; Closed"]);
    expect("still opening", vec![t.opens(0)], &["connection 1 Dns"]);
    let again = vec![t.opens(0), t.gives_up(MS), t.opens(2 * MS), t.is_open(3 * MS)];
    expect("tried again at once", again, &["connection 1 Dns: ended Closed; Closed"]);
    let other = Client { server: "10.96.0.11:53".parse().unwrap(), ..t.clone() };
    let then = vec![t.opens(0), t.gives_up(MS), other.cannot_connect(2 * MS, EPERM)];
    let told =
        ["connection 1 Dns: ended Closed; Closed", "connection 2 Dns: connect errno 1; Failed { errno: 1 }"];
    expect("another at once", then, &told);
    expect("none of them", vec![t.opens(0), t.is_open(MS), t.closes(2 * MS)], &[]);
}
