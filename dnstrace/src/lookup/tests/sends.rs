//! Sends that fail or are repeated, and the server's side.

use super::{packets::*, told::*, *};
use crate::event::ConfirmResult::Inserted;
use Direction::{Received, Sent};

fn with(mut inputs: Vec<Input>, more: impl IntoIterator<Item = Input>) -> Vec<Input> {
    inputs.extend(more);
    inputs
}

#[test]
fn messages_that_were_never_sent_are_attempts() {
    let c = client();
    let unbound = Client { local: "0.0.0.0:40000".parse().unwrap(), ..client() };
    let next = Client { server: "10.96.0.11:53".parse().unwrap(), socket: 2, ..client() };
    let inputs = vec![
        unbound.fails_to_ask(0, 1, "a."),
        next.asks(10, 2, "a.").into(),
        next.gets(MS, answer(2, "a.")).into(),
    ];
    expect("the next nameserver", inputs, &["1 A a.: send failed 1: errno 1; answered"]);
    let inputs = vec![c.fails_to_ask(0, 1, "a."), c.fails_to_ask(10, 2, "a.")];
    expect("none", inputs, &["1 A a.: send failed 1: errno 1; send failed 1: errno 1"]);
    // It went nowhere, whereto its flow may lead.
    let inputs = vec![
        c.is_inserted(0, 9, "z.", c.entry(0xa, NEAR)),
        c.fails_to_ask(10, 1, "a."),
        c.asks(20, 2, "b.").into(),
    ];
    expect("no way", inputs, &["1 A a.: send failed 1: errno 1", "2 A b.: unanswered -> 10.244.1.9"]);
    let mut no_dns = c.asks(0, 1, "a.");
    no_dns.decoded.message = None;
    expect("no DNS", vec![Input::Unsent(5, no_dns)], &["NoAttempt: errno 1"]);
}

/// What is known to have failed is not waited for as long as an answer.
#[test]
fn the_resolver_that_knows_is_not_waited_for() {
    let c = client();
    let own = || c.query(1, "a.").at(c.netns);
    let ended = |inputs: Vec<Input>| queries(&run_all(inputs, Sight::default()))[0].ended.0 / MS;
    assert_eq!(ended(vec![c.fails_to_ask(0, 1, "a.")]), 1_000);
    assert_eq!(ended(vec![c.asks(0, 1, "a.").into(), c.is_refused(20, 0)]), 1_000);
    assert_eq!(ended(vec![c.asks(0, 1, "a.").into(), own().icmp(MS, Received, 3, 3)]), 3_001);
    // The sender is not told of an error that did not arrive, nor of a drop.
    assert_eq!(ended(vec![c.asks(0, 1, "a.").into(), own().icmp(MS, Sent, 3, 3)]), 6_000);
    assert_eq!(ended(vec![c.asks(0, 1, "a.").into(), own().dropped(MS, "QDISC_DROP")]), 6_000);
    // When the other server fails as well, nothing is left to wait for.
    let next = Client { server: "10.96.0.11:53".parse().unwrap(), ..client() };
    let mut tracker = Tracker::new(Limits::default(), Sight::default());
    let mut out = Vec::new();
    for input in [
        c.asks(0, 1, "a.").into(),
        own().dropped(MS, "QDISC_DROP"),
        next.asks(2 * MS, 1, "a.").into(),
        next.gets(3 * MS, with_rcode(1, "a.", 2)).into(),
    ] {
        input.feed(&mut tracker, &mut out);
    }
    tracker.advance(KernelTime(1_000 * MS), &mut out);
    assert_eq!(told(&out), ["1 A a.: dropped 1: drop q QDISC_DROP; answered"]);
    // And there may be another attempt that is waited for.
    let other = Client { server: "10.96.0.11:53".parse().unwrap(), ..client() };
    let both = [Input::from(c.asks(0, 1, "a.")), other.asks(5, 1, "a.").into()];
    assert_eq!(ended(with(both.to_vec(), [own().icmp(MS, Received, 3, 3)])), 6_000);
}

#[test]
fn a_resolver_that_was_refused_goes_on_at_once() {
    let c = client();
    let next = Client { server: "10.96.0.11:53".parse().unwrap(), socket: 2, tid: 5, ..client() };
    for refusal in [c.is_refused(20, 0), c.query(1, "a.").at(c.netns).icmp(20, Received, 3, 3)] {
        let inputs = vec![c.asks(0, 1, "a.").into(), refusal, next.asks(30, 2, "a.").into()];
        assert_eq!(queries(&run_all(inputs, Sight::default())).len(), 1);
    }
}

#[test]
fn what_befalls_a_servers_answer() {
    let c = client();
    let server: SocketAddr = NEAR.parse().unwrap();
    // Who serves, in its own namespace; the client is hidden behind the node's address.
    let hidden = Client { local: "192.0.2.1:40000".parse().unwrap(), ..client() };
    let at_server = Client { netns: 9, pid: 300, socket: 3, ..hidden.clone() };
    let mut entry = c.entry(0xa, NEAR);
    entry.reply.destination = hidden.local;
    let arrives = || {
        let seen = at_server.seen(10_000, Direction::Received, hidden.local, server);
        Input::from(observation(seen, message(1, "a.", false)))
    };
    let leaves = |at| {
        Input::from(observation(at_server.seen(at, Direction::Sent, server, hidden.local), answer(1, "a.")))
    };
    let dropped = |at| hidden.answer_from(server, 1, "a.").at(9).dropped(at, "NETFILTER_DROP");
    let asked = || vec![c.asks(0, 1, "a.").into(), c.query(1, "a.").by(entry).confirmed(2_000, Inserted)];

    // Seen by both: the client's is found by the translated addresses.
    let inputs = with(asked(), [arrives(), leaves(MS), dropped(MS + 1), at_server.is_refused(MS + 2, MS)]);
    expect(
        "both",
        inputs,
        &[
            "2 at server A a.: answered: drop a NETFILTER_DROP, errno 1",
            "1 A a.: answer dropped 2: inserted, drop a NETFILTER_DROP -> 10.244.1.9",
        ],
    );
    // Only the server is traced; what befell the query was not its matter.
    let inputs = vec![
        hidden.query(1, "a.").at(9).dropped(20, "UDP_CSUM"),
        arrives(),
        leaves(MS),
        dropped(MS + 1),
        dropped(100 * MS),
    ];
    expect(
        "server",
        inputs,
        &[
            "NoAttempt: drop q UDP_CSUM",
            "1 at server A a.: answered: drop a NETFILTER_DROP",
            "Ended { query: 1 }: drop a NETFILTER_DROP",
        ],
    );
    // On the node, by the entry.
    let inputs = vec![arrives(), leaves(MS), c.answer(1, "a.").by(entry).dropped(MS + 1, "NETFILTER_DROP")];
    expect("by entry", inputs, &["1 at server A a.: answered: drop a NETFILTER_DROP"]);
    // Asked the same again by the same client at once, it is another query.
    let again = observation(
        at_server.seen(2 * MS, Direction::Received, hidden.local, server),
        message(1, "a.", false),
    );
    let inputs = vec![arrives(), leaves(MS), again.into(), leaves(3 * MS)];
    expect("again", inputs, &["1 at server A a.: answered", "2 at server A a.: answered"]);
    // An answer that was never sent is its answer all the same.
    let unsent = observation(at_server.seen(MS, Direction::Sent, server, hidden.local), answer(1, "a."));
    let inputs = vec![arrives(), Input::Unsent(MS, unsent.clone())];
    expect("unsent", inputs, &["1 at server A a.: answered: errno 1"]);
    expect("unsent, unasked", vec![Input::Unsent(MS, unsent)], &["NoAttempt: errno 1"]);
}

#[test]
fn a_query_sent_again_after_it_was_dropped() {
    let c = client();
    let inputs = vec![
        c.asks(0, 1, "a.").into(),
        c.query(1, "a.").dropped(MS, "NETFILTER_DROP"),
        c.asks(5_000 * MS, 1, "a.").into(),
        c.is_inserted(5_001 * MS, 1, "a.", c.entry(0xa, FAR)),
        c.gets(5_002 * MS, answer(1, "a.")).into(),
    ];
    expect(
        "answered",
        inputs,
        &["1 A a.: dropped 1: drop q NETFILTER_DROP; answered: inserted -> 10.244.2.9"],
    );
    // Both packets wait for a neighbour and are dropped together: one drop each.
    let q = || c.query(1, "a.");
    let inputs = vec![
        c.asks(0, 1, "a.").into(),
        c.asks(2_500 * MS, 1, "a.").into(),
        q().dropped(3_000 * MS, "NEIGH_FAILED"),
        q().dropped(3_000 * MS, "NEIGH_FAILED"),
    ];
    expect("both", inputs, &["1 A a.: dropped 1: drop q NEIGH_FAILED; dropped 1: drop q NEIGH_FAILED"]);
}

#[test]
fn the_answer_is_the_older_attempts_if_the_newer_is_dead() {
    let c = client();
    let inputs = vec![
        c.asks(0, 1, "a.").into(),
        c.asks(5_000 * MS, 1, "a.").into(),
        c.query(1, "a.").dropped(5_001 * MS, "NETFILTER_DROP"),
        c.gets(5_002 * MS, answer(1, "a.")).into(),
    ];
    expect("older", inputs, &["1 A a.: answered; dropped 1: drop q NETFILTER_DROP"]);
    let inputs = vec![
        c.asks(0, 1, "a.").into(),
        c.asks(5_000 * MS, 1, "a.").into(),
        c.gets(5_002 * MS, answer(1, "a.")).into(),
    ];
    expect("newer", inputs, &["1 A a.: unanswered; answered"]);
}

#[test]
fn dropped_answers_are_of_those_that_may_be_answered() {
    let c = client();
    let dropped = |at| c.answer(1, "a.").dropped(at, "QDISC_DROP");
    let twice = || vec![Input::from(c.asks(0, 1, "a.")), c.asks(2_500 * MS, 1, "a.").into()];
    let inputs = with(twice(), [c.query(1, "a.").dropped(2_501 * MS, "NETFILTER_DROP"), dropped(3_000 * MS)]);
    expect(
        "the newer is dead",
        inputs,
        &["1 A a.: answer dropped 1: drop a QDISC_DROP; dropped 1: drop q NETFILTER_DROP"],
    );
    let inputs = with(twice(), [dropped(3_000 * MS), dropped(3_001 * MS)]);
    expect(
        "one each",
        inputs,
        &["1 A a.: answer dropped 1: drop a QDISC_DROP; answer dropped 1: drop a QDISC_DROP"],
    );
    let inputs = with(twice(), [c.gets(3_000 * MS, answer(1, "a.")).into(), dropped(3_001 * MS)]);
    expect("one is answered", inputs, &["1 A a.: answer dropped 1: drop a QDISC_DROP; answered"]);
}
