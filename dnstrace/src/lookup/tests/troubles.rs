//! The scenarios: what is told of a query that meets trouble, and of healthy ones beside it.

use super::{packets::*, told::*, *};
use Direction::{Received, Sent};

/// A client whose query is inserted and sent to the near endpoint.
fn asked(c: &Client) -> Vec<Input> {
    vec![c.asks(0, 1, "a.").into(), c.is_inserted(2_000, 1, "a.", c.entry(0xa, NEAR))]
}

fn with(mut inputs: Vec<Input>, more: impl IntoIterator<Item = Input>) -> Vec<Input> {
    inputs.extend(more);
    inputs
}

#[test]
fn queries_that_die_on_the_way_out() {
    let c = client();
    let q = || c.query(1, "a.");
    let asked_only = || vec![Input::from(c.asks(0, 1, "a."))];
    let own = || c.query(1, "a.").at(c.netns);
    let rows = [
        ("s8 rule", vec![q().dropped(MS, "NETFILTER_DROP")], "dropped 1: drop q NETFILTER_DROP"),
        ("s8 sysctl", vec![q().dropped(MS, "IP_INADDRERRORS")], "dropped 1: drop q IP_INADDRERRORS"),
        (
            "s9",
            vec![
                q().icmp(MS, Sent, 3, 3),
                q().dropped(MS + 1, "NETFILTER_DROP"),
                own().icmp(MS + 2, Received, 3, 3),
            ],
            "rejected 3: icmp q sent 3/3, drop q NETFILTER_DROP, icmp q received 3/3",
        ),
        (
            "rejected, but the ICMP error did not arrive",
            vec![q().icmp(MS, Sent, 3, 3), q().dropped(MS + 1, "NETFILTER_DROP")],
            "rejected 1: icmp q sent 3/3, drop q NETFILTER_DROP",
        ),
        (
            "a redirect is no rejection",
            vec![q().icmp(MS, Sent, 5, 1), own().icmp(MS + 2, Received, 5, 1)],
            "unanswered: icmp q sent 5/1, icmp q received 5/1",
        ),
        (
            "s10 no room",
            vec![q().dropped(MS, "NETFILTER_DROP").for_a_full_table()],
            "dropped 1: drop q NETFILTER_DROP full",
        ),
        ("s18 reverse path", vec![q().dropped(MS, "IP_RPFILTER")], "dropped 1: drop q IP_RPFILTER"),
        ("s18 qdisc", vec![own().dropped(MS, "QDISC_DROP")], "dropped 1: drop q QDISC_DROP"),
        (
            "s18 neighbour",
            vec![
                q().icmp(3_000 * MS, Sent, 3, 1),
                q().dropped(3_000 * MS + 1, "NEIGH_FAILED"),
                own().icmp(3_000 * MS + 2, Received, 3, 1),
            ],
            "rejected 3: icmp q sent 3/1, drop q NEIGH_FAILED, icmp q received 3/1",
        ),
        (
            "dropped at home",
            vec![own().dropped(10, "NETFILTER_DROP"), c.is_refused(20, 0)],
            "dropped 1: drop q NETFILTER_DROP, errno 1",
        ),
        (
            "rejected at home",
            vec![
                own().icmp(10, Sent, 3, 3),
                own().dropped(11, "NETFILTER_DROP"),
                c.is_refused(20, 0),
                own().icmp(30, Received, 3, 3),
            ],
            "rejected 4: icmp q sent 3/3, drop q NETFILTER_DROP, errno 1, icmp q received 3/3",
        ),
        ("refused by whom is not seen", vec![c.is_refused(20, 0)], "send failed 1: errno 1"),
        ("another message is refused", vec![c.is_refused(20, 1)], "unanswered"),
        (
            "a copy for tcpdump",
            vec![q().dropped(10, "PACKET_SOCK_ERROR"), q().dropped_in(20, "tpacket_rcv")],
            "unanswered: drop q PACKET_SOCK_ERROR, drop q tpacket_rcv",
        ),
    ];
    for (name, more, line) in rows {
        expect(name, with(asked_only(), more), &[&format!("1 A a.: {line}")]);
    }
}

#[test]
fn answers_that_die_on_the_way_back() {
    let c = client();
    let a = || c.answer(1, "a.");
    let home = || c.answer(1, "a.").at(c.netns);
    let rows = [
        (
            "s18 buffer full",
            vec![home().dropped(MS, "SOCKET_RCVBUFF")],
            "answer dropped 2: inserted, drop a SOCKET_RCVBUFF",
        ),
        (
            "s18 buffer full, an old kernel",
            vec![home().dropped_in(MS, "udp_queue_rcv_one_skb").unread_since(MS - 1)],
            "answer dropped 2: inserted, drop a udp_queue_rcv_one_skb",
        ),
        (
            "s18 checksum, found on reading",
            vec![home().dropped(2 * MS, "UDP_CSUM").unread_since(MS)],
            "answer dropped 2: inserted, drop a UDP_CSUM",
        ),
        (
            "on the node",
            vec![a().by(c.entry(0xa, NEAR)).dropped(MS, "NETFILTER_DROP")],
            "answer dropped 2: inserted, drop a NETFILTER_DROP",
        ),
        (
            "s20 the socket has gone",
            vec![home().icmp(3_000 * MS, Sent, 3, 3), home().dropped(3_000 * MS, "NO_SOCKET")],
            "late 3000 by 3: inserted, icmp a sent 3/3, drop a NO_SOCKET",
        ),
        (
            "s20 the socket has gone, an old kernel",
            vec![home().dropped_in(3_000 * MS, "__udp4_lib_rcv")],
            "late 3000 by 2: inserted, drop a __udp4_lib_rcv",
        ),
        (
            "s20 the socket was closed over it",
            vec![home().dropped(3_000 * MS, "SOCKET_CLOSE").unread_since(2_000 * MS)],
            "late 2000 by 2: inserted, drop a SOCKET_CLOSE",
        ),
        (
            "no socket, but in another namespace: it went astray",
            vec![a().dropped(MS, "NO_SOCKET")],
            "answer dropped 2: inserted, drop a NO_SOCKET",
        ),
        (
            "not translated back yet",
            vec![c.answer_from(NEAR.parse().unwrap(), 1, "a.").at(9).dropped(MS, "NETFILTER_DROP")],
            "answer dropped 2: inserted, drop a NETFILTER_DROP",
        ),
    ];
    for (name, more, line) in rows {
        expect(name, with(asked(&c), more), &[&format!("1 A a.: {line} -> 10.244.1.9")]);
    }
}

#[test]
fn an_answer_that_is_read_decides_whatever_befell_a_copy() {
    let c = client();
    let inputs = with(
        asked(&c),
        [
            c.query(1, "a.").dropped(MS, "QDISC_DROP"),
            c.answer(1, "a.").dropped(MS, "QDISC_DROP"),
            c.gets(2 * MS, answer(1, "a.")).into(),
        ],
    );
    let line = "1 A a.: answered: inserted, drop q QDISC_DROP, drop a QDISC_DROP -> 10.244.1.9";
    expect("copies", inputs, &[line]);
}

#[test]
fn copies_that_a_bridge_floods_are_told_of_a_query_without_answer_only() {
    let c = client();
    let flooded =
        [c.query(1, "a.").dropped(MS, "OTHERHOST"), c.query(1, "a.").at(9).dropped(MS + 1, "OTHERHOST")];
    let unanswered = with(asked(&c), flooded.clone());
    let line = "1 A a.: unanswered: inserted, drop q OTHERHOST, drop q OTHERHOST -> 10.244.1.9";
    expect("nobody took it", unanswered, &[line]);
    let answered = with(with(asked(&c), flooded.clone()), [c.gets(2 * MS, answer(1, "a.")).into()]);
    expect("somebody took it", answered, &["1 A a.: answered: inserted -> 10.244.1.9"]);
    expect("of nobody known", flooded.to_vec(), &[]);
}

#[test]
fn s5_one_dead_upstream_of_several() {
    let pod = client();
    let cache = |server: &str, socket| Client {
        local: "192.0.2.1:41000".parse().unwrap(),
        server: server.parse().unwrap(),
        netns: NODE,
        pid: 1,
        tid: 1,
        socket,
        transport: Transport::Udp,
    };
    let (dead, well) = (cache("1.2.4.8:53", 5), cache("192.0.2.53:53", 6));
    let listening: SocketAddr = "169.254.25.10:53".parse().unwrap();
    let pod = Client { server: listening, ..pod };
    let arrived = Client { netns: NODE, pid: 1, tid: 1, socket: 4, ..pod.clone() };
    let inputs = vec![
        pod.asks(0, 1, "a.").into(),
        observation(arrived.seen(10, Direction::Received, pod.local, listening), message(1, "a.", false))
            .into(),
        dead.asks(20, 7, "a.").into(),
        well.asks(2_000 * MS, 8, "a.").into(),
        well.gets(2_001 * MS, answer(8, "a.")).into(),
        observation(arrived.seen(2_002 * MS, Direction::Sent, listening, pod.local), answer(1, "a.")).into(),
        pod.gets(2_003 * MS, answer(1, "a.")).into(),
    ];
    expect("s5", inputs, &["3 A a.: unanswered; answered", "2 at server A a.: answered", "1 A a.: answered"]);
}

#[test]
fn s17_a_stale_entry_sends_the_flow_on_to_a_dead_endpoint() {
    let c = client();
    let inputs = with(
        asked(&c),
        [
            c.asks(5_000 * MS, 1, "a.").into(),
            // Another question by the same port; no packet but the first is inserted.
            c.asks(20_000 * MS, 2, "b.").into(),
            // A new entry.
            c.asks(300_000 * MS, 3, "c.").into(),
            c.is_inserted(300_001 * MS, 3, "c.", c.entry(0xb, FAR)),
        ],
    );
    expect(
        "s17",
        inputs,
        &[
            "1 A a.: unanswered: inserted -> 10.244.1.9; unanswered -> 10.244.1.9",
            "2 A b.: unanswered -> 10.244.1.9",
            "3 A c.: unanswered: inserted -> 10.244.2.9",
        ],
    );
    // Used again and again, the entry lives on.
    let inputs =
        with(asked(&c), [c.asks(100_000 * MS, 2, "b.").into(), c.asks(200_000 * MS, 3, "c.").into()]);
    let lines = told(&run_all(inputs, Sight::default()));
    assert_eq!(lines[2], "3 A c.: unanswered -> 10.244.1.9");
    // Used again after its entry must have gone, the flow goes nobody knows where.
    let inputs = with(asked(&c), [c.asks(200_000 * MS, 2, "b.").into()]);
    expect("old", inputs, &["1 A a.: unanswered: inserted -> 10.244.1.9", "2 A b.: unanswered"]);
}

#[test]
fn s10_entries_thrown_out() {
    let c = client();
    let entry = c.entry(0xa, NEAR);
    let aaaa = observed_of_type(c.asks(10, 2, "a."), 28);
    let inputs = vec![
        c.asks(0, 1, "a.").into(),
        aaaa.into(),
        c.is_inserted(2_000, 1, "a.", entry),
        eviction(MS, entry),
        c.asks(5_000 * MS, 1, "a.").into(),
        c.gets(5_001 * MS, answer(1, "a.")).into(),
    ];
    expect(
        "both queries of the flow, and not the retry",
        inputs,
        &[
            "1 A a.: evicted 2: inserted, thrown out -> 10.244.1.9; answered",
            "2 AAAA a.: evicted 1: thrown out",
        ],
    );
    let inputs = with(
        asked(&c),
        [
            eviction(MS, entry),
            c.answer_from(NEAR.parse().unwrap(), 1, "a.").at(c.netns).dropped(2 * MS, "NO_SOCKET"),
        ],
    );
    expect(
        "its answer dies",
        inputs,
        &["1 A a.: answer dropped 3: inserted, thrown out, drop a NO_SOCKET from 10.244.1.9 -> 10.244.1.9"],
    );
    let inputs = with(
        asked(&c),
        [c.gets(MS, answer(1, "a.")).into(), eviction(2 * MS, entry), eviction(50 * MS, entry)],
    );
    expect(
        "nobody waits",
        inputs,
        &["1 A a.: answered: inserted, thrown out -> 10.244.1.9", "Ended { query: 1 }: thrown out"],
    );
    expect("nobody's", vec![eviction(2 * MS, entry)], &["NoAttempt: thrown out"]);
}

#[test]
fn a_gap_makes_fates_unknown() {
    let c = client();
    let inputs = with(asked(&c), [loss(MS, 2 * MS, 7)]);
    expect("waiting", inputs, &["1 A a.: unknown, 7 lost: inserted -> 10.244.1.9"]);
    let inputs = with(asked(&c), [c.query(1, "a.").dropped(MS, "QDISC_DROP"), loss(MS, 2 * MS, 7)]);
    expect("what was seen stands", inputs, &["1 A a.: dropped 2: inserted, drop q QDISC_DROP -> 10.244.1.9"]);
    let inputs = with(asked(&c), [loss(MS, 2 * MS, 7), c.gets(3 * MS, answer(1, "a.")).into()]);
    expect("answered", inputs, &["1 A a.: answered: inserted -> 10.244.1.9"]);
    let inputs = vec![loss(0, MS, 7), c.asks(2 * MS, 1, "a.").into()];
    expect("before", inputs, &["1 A a.: unanswered"]);
    // What the flow's entry was is not known any more.
    let inputs = with(
        asked(&c),
        [
            c.gets(MS, answer(1, "a.")).into(),
            loss(2 * MS, 3 * MS, 1),
            c.asks(100 * MS, 2, "b.").into(),
            c.gets(101 * MS, answer(2, "b.")).into(),
        ],
    );
    expect("the flow", inputs, &["1 A a.: answered: inserted -> 10.244.1.9", "2 A b.: answered"]);
}
