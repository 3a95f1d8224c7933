//! Whose packet it is: among pods that share ports, ids and addresses.

use super::{packets::*, told::*, *};
use crate::event::{
    ConfirmResult::{Failed, Inserted},
    Connection,
};
use Direction::Received;

/// A second pod that uses the same port and ids.
fn twin(local: &str) -> Client {
    Client { local: local.parse().unwrap(), netns: 8, pid: 200, tid: 200, socket: 2, ..client() }
}

fn both_ask(one: &Client, other: &Client) -> Vec<Input> {
    vec![one.asks(0, 1, "a.").into(), other.asks(10, 1, "a.").into()]
}

fn with(mut inputs: Vec<Input>, more: impl IntoIterator<Item = Input>) -> Vec<Input> {
    inputs.extend(more);
    inputs
}

#[test]
fn twins_with_the_same_port_and_ids_and_trouble_of_one() {
    let (sick, well) = (client(), twin("10.244.1.8:40000"));
    let inputs = with(
        both_ask(&sick, &well),
        [
            well.is_inserted(2_000, 1, "a.", well.entry(0xa, NEAR)),
            sick.query(1, "a.").dropped(3_000, "NETFILTER_DROP"),
            well.gets(MS, answer(1, "a.")).into(),
        ],
    );
    expect(
        "twins",
        inputs,
        &["2 A a.: answered: inserted -> 10.244.1.9", "1 A a.: dropped 1: drop q NETFILTER_DROP"],
    );
}

#[test]
fn pods_with_the_same_address_are_told_apart_at_home_and_nowhere_else() {
    let (sick, well) = (client(), twin("10.244.1.7:40000"));
    let inputs = with(both_ask(&sick, &well), [sick.query(1, "a.").at(sick.netns).dropped(20, "QDISC_DROP")]);
    expect("at home", inputs, &["1 A a.: dropped 1: drop q QDISC_DROP", "2 A a.: unanswered"]);
    let entry = sick.entry(0xa, NEAR);
    let inputs = with(
        both_ask(&sick, &well),
        [
            sick.query(1, "a.").dropped(20, "QDISC_DROP"),
            sick.query(1, "a.").by(entry).confirmed(2_000, Failed),
            sick.query(1, "a.").by(entry).confirmed(3_000, Inserted),
            eviction(4_000, entry),
        ],
    );
    expect(
        "on the node",
        inputs,
        &[
            "Ambiguous: drop q QDISC_DROP",
            "Ambiguous: failed by no clash",
            "Ambiguous: thrown out",
            "1 A a.: unanswered",
            "2 A a.: unanswered",
        ],
    );
    // Also where the other one, which had asked before, does not wait any more.
    let inputs = vec![
        well.asks(0, 1, "a.").into(),
        well.gets(5, answer(1, "a.")).into(),
        sick.asks(10, 1, "a.").into(),
        sick.query(1, "a.").dropped(20, "QDISC_DROP"),
    ];
    expect("one waits", inputs, &["Ambiguous: drop q QDISC_DROP", "1 A a.: answered", "2 A a.: unanswered"]);
    // Where the flow of the one goes says nothing of the other's.
    let inputs = vec![
        sick.asks(0, 1, "a.").into(),
        sick.is_inserted(2_000, 1, "a.", entry),
        well.asks(3_000, 2, "b.").into(),
    ];
    expect("way", inputs, &["1 A a.: unanswered: inserted -> 10.244.1.9", "2 A b.: unanswered"]);
}

#[test]
fn loopback_and_link_local_clients_are_of_their_namespace() {
    let flows = [
        ("127.0.0.1:40000", "127.0.0.53:53"),
        ("10.244.1.7:40000", "127.0.0.53:53"),
        ("[::1]:40000", "[::1]:53"),
        ("169.254.1.1:40000", "10.96.0.10:53"),
        ("[fe80::1]:40000", "[fe80::2]:53"),
    ];
    for (address, server) in flows {
        let server: SocketAddr = server.parse().unwrap();
        let one = Client { local: address.parse().unwrap(), server, ..client() };
        let other = Client { server, ..twin(address) };
        let q = || one.query(1, "a.");
        let inputs = with(both_ask(&one, &other), [q().at(one.netns).dropped(20, "NO_SOCKET")]);
        expect(address, inputs, &["1 A a.: dropped 1: drop q NO_SOCKET", "2 A a.: unanswered"]);
        let inputs = vec![one.asks(0, 1, "a.").into(), q().at(3).dropped(20, "NO_SOCKET")];
        expect(address, inputs, &["NoAttempt: drop q NO_SOCKET", "1 A a.: unanswered"]);
    }
    // A server at a link-local address is asked from everywhere.
    let c = Client { server: "169.254.25.10:53".parse().unwrap(), ..client() };
    let inputs = vec![c.asks(0, 1, "a.").into(), c.query(1, "a.").dropped(20, "NETFILTER_DROP")];
    expect("node cache", inputs, &["1 A a.: dropped 1: drop q NETFILTER_DROP"]);
}

#[test]
fn a_and_aaaa_of_one_socket_with_one_id() {
    let c = client();
    let both = || vec![Input::from(c.asks(0, 1, "a.")), observed_of_type(c.asks(10, 1, "a."), 28).into()];
    let q = || c.query(1, "a.");
    let inputs = with(both(), [q().of_type(28).dropped(20, "QDISC_DROP")]);
    expect("AAAA", inputs, &["1 A a.: unanswered", "2 AAAA a.: dropped 1: drop q QDISC_DROP"]);
    let inputs = with(both(), [q().dropped(20, "QDISC_DROP")]);
    expect("A", inputs, &["1 A a.: dropped 1: drop q QDISC_DROP", "2 AAAA a.: unanswered"]);
    let inputs = with(both(), [q().without_question().dropped(20, "QDISC_DROP")]);
    expect(
        "either",
        inputs,
        &["Ambiguous: drop q QDISC_DROP", "1 A a.: unanswered", "2 AAAA a.: unanswered"],
    );
    let answered = Input::from(c.gets(15, answer(1, "a.")));
    let inputs = with(both(), [answered, q().without_question().dropped(20, "QDISC_DROP")]);
    expect("the other", inputs, &["1 A a.: answered", "2 AAAA a.: dropped 1: drop q QDISC_DROP"]);
}

#[test]
fn an_icmp_error_with_eight_bytes() {
    let c = client();
    let cut = |at| c.query(1, "a.").cut().at(c.netns).icmp(at, Received, 3, 1);
    let inputs = vec![c.asks(0, 1, "a.").into(), cut(20)];
    expect("one waits", inputs, &["1 A a.: rejected 1: icmp q received 3/1"]);
    let inputs = vec![c.asks(0, 1, "a.").into(), c.asks(10, 2, "b.").into(), cut(20)];
    expect(
        "two wait",
        inputs,
        &["Ambiguous: icmp q received 3/1", "1 A a.: unanswered", "2 A b.: unanswered"],
    );
    let inputs = vec![
        c.asks(0, 1, "a.").into(),
        c.asks(10, 2, "b.").into(),
        c.gets(15, answer(1, "a.")).into(),
        cut(20),
    ];
    expect("one of two waits", inputs, &["1 A a.: answered", "2 A b.: rejected 1: icmp q received 3/1"]);
    let inputs = vec![c.asks(0, 1, "a.").into(), cut(8_000 * MS)];
    expect("none waits", inputs, &["1 A a.: unanswered", "Ended { query: 1 }: icmp q received 3/1"]);
    expect("nobody", vec![cut(0)], &["NoAttempt: icmp q received 3/1"]);
    // About an answer, as the addresses say.
    let inputs = vec![c.asks(0, 1, "a.").into(), c.answer(1, "a.").cut().at(9).icmp(20, Received, 3, 3)];
    expect("answer", inputs, &["1 A a.: unanswered: icmp a received 3/3"]);
}

#[test]
fn a_packet_bears_the_addresses_of_where_it_is() {
    let c = client();
    let mut entry = c.entry(0xa, NEAR);
    entry.reply.destination = "192.0.2.1:41000".parse().unwrap();
    let confirmed = c.query(1, "a.").by(entry).confirmed(2_000, Inserted);
    let asked = || vec![Input::from(c.asks(0, 1, "a.")), confirmed.clone()];
    let q = || c.query(1, "a.");
    let (endpoint, node) = (NEAR, "192.0.2.1:41000");
    let rows = [
        ("as it was sent", q()),
        ("translated, with its entry", q().between("192.0.2.1:41000", NEAR).by(entry)),
        ("at the server, without", q().between(node, endpoint).at(9)),
        (
            "at the server, with an entry of that namespace",
            q().between(node, endpoint).at(9).by(Connection {
                ct: 0xd,
                original: q().between(node, endpoint).packet.flow,
                reply: q().between(endpoint, node).packet.flow,
            }),
        ),
        (
            "translated again by that namespace's entry",
            q().between(node, "127.0.0.1:5353").at(9).by(Connection {
                ct: 0xd,
                original: q().between(node, endpoint).packet.flow,
                reply: q().between("127.0.0.1:5353", node).packet.flow,
            }),
        ),
    ];
    for (name, packet) in rows {
        let inputs = with(asked(), [packet.dropped(3_000, "QDISC_DROP")]);
        expect(name, inputs, &["1 A a.: dropped 2: inserted, drop q QDISC_DROP -> 10.244.1.9"]);
    }
    // An answer that is a flow of its own, and translated as such.
    let answer = c.answer(1, "a.").between("192.0.2.1:999", node).by(Connection {
        ct: 0xd,
        original: q().between(endpoint, node).packet.flow,
        reply: q().between(node, "192.0.2.1:999").packet.flow,
    });
    let inputs = with(asked(), [answer.dropped(3_000, "QDISC_DROP")]);
    expect("answer", inputs, &["1 A a.: answer dropped 2: inserted, drop a QDISC_DROP -> 10.244.1.9"]);
    // The entry of the server's namespace is the attempt's, too.
    let entry = Connection {
        ct: 0xd,
        original: q().between(node, endpoint).packet.flow,
        reply: q().between(endpoint, node).packet.flow,
    };
    let inputs = with(asked(), [eviction(3_000, entry)]);
    expect("evicted", inputs, &["1 A a.: evicted 2: inserted, thrown out -> 10.244.1.9"]);
    let strangers = [
        ("another id", c.query(2, "a.")),
        ("another question", c.query(1, "b.")),
        ("another port", q().between("10.244.1.7:40001", "10.96.0.10:53")),
        ("another server", q().between("10.244.1.7:40000", "10.96.0.11:53")),
        ("another endpoint", q().between(node, FAR)),
        ("the way back", c.answer_from(FAR.parse().unwrap(), 1, "a.")),
    ];
    for (name, packet) in strangers {
        let inputs = with(asked(), [packet.dropped(3_000, "QDISC_DROP")]);
        let lines = told(&run_all(inputs, Sight::default()));
        assert_eq!(lines.len(), 2, "{name}");
        assert!(lines[0].starts_with("NoAttempt: drop"), "{name}: {lines:?}");
    }
}

#[test]
fn an_entry_older_than_the_trace_tells_the_endpoint_by_the_way() {
    let c = client();
    let inputs = vec![
        c.asks(0, 1, "a.").into(),
        c.query(1, "a.").between("10.244.1.7:40000", NEAR).by(c.entry(0xa, NEAR)).dropped(10, "QDISC_DROP"),
    ];
    expect("endpoint", inputs, &["1 A a.: dropped 1: drop q QDISC_DROP -> 10.244.1.9"]);
    // And corrects what was known of the flow.
    let inputs = vec![
        c.asks(0, 1, "a.").into(),
        c.is_inserted(2_000, 1, "a.", c.entry(0xa, NEAR)),
        c.asks(3_000, 2, "b.").into(),
        c.query(2, "b.").by(c.entry(0xa, FAR)).dropped(4_000, "QDISC_DROP"),
        // An entry that translates nothing, of the pod's own namespace, says nothing.
        c.query(2, "b.").at(c.netns).by(c.entry(0xc, "10.96.0.10:53")).dropped(5_000, "QDISC_DROP"),
    ];
    let line = "2 A b.: dropped 1: drop q QDISC_DROP, drop q QDISC_DROP -> 10.244.2.9";
    expect("new endpoint", inputs, &["1 A a.: unanswered: inserted -> 10.244.1.9", line]);
}

#[test]
fn every_namespace_on_the_way_has_its_entry() {
    let c = client();
    let server_entry = Connection {
        ct: 0xd,
        original: c.query(1, "a.").between("10.244.1.7:40000", NEAR).packet.flow,
        reply: c.query(1, "a.").between(NEAR, "10.244.1.7:40000").packet.flow,
    };
    let inputs = vec![
        c.asks(0, 1, "a.").into(),
        c.query(1, "a.").at(c.netns).by(c.entry(0xc, "10.96.0.10:53")).confirmed(2_000, Inserted),
        c.is_inserted(4_000, 1, "a.", c.entry(0xa, NEAR)),
        c.query(1, "a.").between("10.244.1.7:40000", NEAR).at(9).by(server_entry).confirmed(6_000, Inserted),
        // Much later by an entry that translates nothing.
        c.asks(100_000 * MS, 2, "b.").into(),
        c.query(2, "b.").by(c.entry(0xe, "10.96.0.10:53")).confirmed(100_001 * MS, Inserted),
    ];
    expect(
        "entries",
        inputs,
        &["1 A a.: unanswered: inserted, inserted, inserted -> 10.244.1.9", "2 A b.: unanswered: inserted"],
    );
}

#[test]
fn an_insertion_is_of_what_was_sent_before_it_began() {
    let c = client();
    let inputs = vec![
        c.asks(0, 1, "a.").into(),
        c.asks(3_500, 1, "a.").into(),
        // It began at 3000.
        c.is_inserted(4_000, 1, "a.", c.entry(0xa, NEAR)),
    ];
    expect("first", inputs, &["1 A a.: unanswered: inserted -> 10.244.1.9; unanswered"]);
}

#[test]
fn two_processes_at_one_port_in_turn() {
    let c = client();
    let other = Client { pid: 101, tid: 101, socket: 2, ..client() };
    let inputs = vec![
        c.asks(0, 1, "a.").into(),
        other.asks(1_000 * MS, 1, "a.").into(),
        c.query(1, "a.").dropped(1_001 * MS, "QDISC_DROP"),
    ];
    expect(
        "both wait",
        inputs,
        &["Ambiguous: drop q QDISC_DROP", "1 A a.: unanswered", "2 A a.: unanswered"],
    );
    let inputs = vec![
        c.asks(0, 1, "a.").into(),
        c.gets(MS, answer(1, "a.")).into(),
        other.asks(1_000 * MS, 1, "a.").into(),
        c.query(1, "a.").dropped(1_001 * MS, "QDISC_DROP"),
    ];
    expect("one waits", inputs, &["1 A a.: answered", "2 A a.: dropped 1: drop q QDISC_DROP"]);
}

#[test]
fn a_packet_is_not_of_an_attempt_sent_after_it() {
    let c = client();
    // Held up in the ring, so that it comes after its time.
    let inputs = vec![c.asks(10, 1, "a.").into(), c.query(1, "a.").dropped(5, "QDISC_DROP")];
    let lines = told(&run_all(inputs, Sight::default()));
    assert_eq!(lines, ["NoAttempt: drop q QDISC_DROP", "1 A a.: unanswered"]);
}

#[test]
fn what_comes_after_the_end_is_known() {
    let c = client();
    let inputs = vec![
        c.asks(0, 1, "a.").into(),
        c.gets(MS, answer(1, "a.")).into(),
        c.query(1, "a.").dropped(100 * MS, "NEIGH_FAILED"),
        c.query(1, "a.").dropped(40_000 * MS, "NEIGH_FAILED"),
    ];
    expect(
        "ended",
        inputs,
        &["1 A a.: answered", "Ended { query: 1 }: drop q NEIGH_FAILED", "NoAttempt: drop q NEIGH_FAILED"],
    );
}

#[test]
fn the_insertions_of_others_and_answers_are_not_told() {
    let c = client();
    let answer = c.answer_from(NEAR.parse().unwrap(), 1, "a.");
    let own = Connection { ct: 0xc, original: answer.packet.flow, reply: answer.packet.flow.reversed() };
    let inputs = vec![
        c.is_inserted(2_000, 5, "other.", c.entry(0xa, NEAR)),
        c.asks(3_000, 1, "a.").into(),
        answer.by(own).confirmed(4_000, Inserted),
    ];
    let lines = told(&run_all(inputs, Sight::default()));
    assert_eq!(lines, ["1 A a.: unanswered -> 10.244.1.9"]);
}
