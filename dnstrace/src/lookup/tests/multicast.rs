//! Queries to a multicast group.

use super::{packets::*, told::*, *};

const MDNS: &str = "224.0.0.251:5353";

fn asker(server: &str) -> Client {
    Client { server: server.parse().unwrap(), ..client() }
}

/// What `c` gets from a responder's own address.
fn gets_from(c: &Client, at: u64, responder: &str, message: Message) -> Input {
    observation(c.seen(at, Direction::Received, responder.parse().unwrap(), c.local), message).into()
}

/// A response of multicast DNS to the group.
fn to_group(c: &Client, at: u64, responder: &str, name: &str) -> Input {
    let mut message = answer(0, name);
    message.question = None;
    let seen = c.seen(at, Direction::Received, responder.parse().unwrap(), MDNS.parse().unwrap());
    observation(seen, message).into()
}

fn further(out: &[Output], query: usize) -> u64 {
    queries(out)[query].attempts[0].answer().unwrap().further_messages
}

#[test]
fn a_query_of_llmnr_is_answered_by_whoever_has_the_name() {
    let c = asker("[ff02::1:3]:5355");
    let inputs = vec![
        c.asks(0, 1, "host.").into(),
        gets_from(&c, MS, "192.0.2.7:5355", answer(2, "host.")),
        gets_from(&c, 2 * MS, "192.0.2.7:5355", answer(1, "other.")),
        gets_from(&c, 3 * MS, "192.0.2.7:5355", answer(1, "host.")),
        gets_from(&c, 400 * MS, "192.0.2.8:5355", answer(1, "host.")),
    ];
    let out = run_all(inputs, Sight::default());
    assert_eq!(told(&out), ["stray QueryNotSeen", "stray QueryNotSeen", "1 A host.: answered"]);
    assert_eq!((further(&out, 0), queries(&out)[0].latency()), (1, Some(3 * MS)));
}

#[test]
fn a_query_of_multicast_dns_is_answered_by_a_record_without_id_or_question() {
    let c = Client { local: "192.0.2.1:5353".parse().unwrap(), ..asker(MDNS) };
    let inputs = vec![
        c.asks(0, 0, "a.local.").into(),
        observed_of_type(c.asks(10, 0, "b.local."), 28).into(),
        to_group(&c, MS, "192.0.2.7:5353", "c.local."),
        // An address of the other family.
        to_group(&c, 2 * MS, "192.0.2.7:5353", "b.local."),
        to_group(&c, 120 * MS, "192.0.2.7:5353", "A.local."),
        to_group(&c, 130 * MS, "192.0.2.8:5353", "a.local."),
        gets_from(&c, 140 * MS, "192.0.2.9:5353", answer(0, "a.local.")),
    ];
    let out = run_all(inputs, Sight::default());
    let strange = "stray QueryNotSeen";
    assert_eq!(told(&out), [strange, strange, "1 A a.local.: answered", "2 AAAA b.local.: unanswered"]);
    assert_eq!(further(&out, 0), 2);
}

#[test]
fn one_response_answers_several_questions() {
    let c = Client { local: "192.0.2.1:5353".parse().unwrap(), ..asker(MDNS) };
    let inputs = vec![
        c.asks(0, 0, "a.local.").into(),
        observed_of_type(c.asks(10, 0, "a.local."), 255).into(),
        to_group(&c, MS, "192.0.2.7:5353", "a.local."),
    ];
    expect("both", inputs, &["1 A a.local.: answered", "2 ANY a.local.: answered"]);
}

#[test]
fn the_answer_of_one_socket_is_not_anothers() {
    let c = asker(MDNS);
    let other = Client { socket: 9, ..c.clone() };
    let inputs = vec![c.asks(0, 0, "a.local.").into(), to_group(&other, MS, "192.0.2.7:5353", "a.local.")];
    expect("other", inputs, &["stray QueryNotSeen", "1 A a.local.: unanswered"]);
    // To a single server there is no group that answers.
    let c = client();
    let inputs = vec![c.asks(0, 1, "a.").into(), gets_from(&c, MS, "192.0.2.7:53", answer(1, "a."))];
    expect("single", inputs, &["stray QueryNotSeen", "1 A a.: unanswered"]);
}

#[test]
fn a_responder_answers_the_group_from_its_own_address() {
    let s = Client { local: "192.0.2.7:5353".parse().unwrap(), socket: 5, ..asker(MDNS) };
    let asked = s.seen(0, Direction::Received, "192.0.2.1:5353".parse().unwrap(), s.server);
    let mut answered = answer(0, "a.local.");
    answered.question = None;
    let inputs = vec![
        observation(asked, message(0, "a.local.", false)).into(),
        observation(s.seen(MS, Direction::Sent, s.local, s.server), answered).into(),
    ];
    expect("responder", inputs, &["1 at server A a.local.: answered"]);
}
