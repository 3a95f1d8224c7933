//! What befalls the segments of connections.

use super::{packets::*, tcp::*, told::*, *};
use crate::event::{
    ConfirmResult,
    TcpState::{Close, Established, FinWait2, SynSent},
};

#[test]
fn what_befell_the_opening_is_told_by_the_first_query() {
    let t = tcp();
    let with = |more: Vec<Input>| {
        let opening = vec![
            t.opens(0),
            t.syn().dropped(10, "NETFILTER_DROP"),
            t.sends_again(1_000 * MS, SynSent),
            t.syn().by(t.entry(1, FAR)).confirmed(1_000 * MS + 20, ConfirmResult::Failed),
            t.sends_again(3_000 * MS, SynSent),
            t.syn_is_inserted(3_000 * MS + 20, t.entry(2, NEAR)),
            t.segment_back(true).dropped(3_001 * MS, "TCP_CSUM"),
            t.syn().icmp(3_002 * MS, Direction::Received, 3, 1),
            t.is_open(4_000 * MS),
            t.asks(4_001 * MS, 1, "a.").into(),
            t.asks(4_002 * MS, 2, "b.").into(),
        ];
        [opening, more].concat()
    };
    let first = |fate: &str| {
        format!(
            "1 A a.: {fate}: drop syn NETFILTER_DROP, again syn, failed by no clash, again syn, inserted, \
             drop syn-ack TCP_CSUM, icmp syn received 3/1 -> 10.244.1.9"
        )
    };
    // It was opened all the same: none of it is why nothing came back.
    expect("silent", with(vec![]), &[&first("unanswered"), "2 A b.: unanswered -> 10.244.1.9"]);
    let answers =
        vec![t.gets(4_003 * MS, answer(1, "a.")).into(), t.gets(4_004 * MS, answer(2, "b.")).into()];
    expect("answered", with(answers), &[&first("answered"), "2 A b.: answered -> 10.244.1.9"]);
}

#[test]
fn a_lost_segment_is_a_step_of_what_waits() {
    let t = tcp();
    let told = |name: &str, more: Vec<Input>, words: &str| {
        let asked =
            vec![t.asks(0, 1, "a.").into(), t.asks(10, 2, "b.").into(), t.gets(20, answer(2, "b.")).into()];
        let next = vec![t.asks(9_000 * MS, 3, "c.").into(), t.gets(9_001 * MS, answer(3, "c.")).into()];
        let a = format!("1 A a.: {words}");
        expect(name, [asked, more, next].concat(), &["2 A b.: answered", &a, "3 A c.: answered"]);
    };
    let dropped = |at| t.data().dropped(at, "QDISC_DROP");
    let again = || t.sends_again(201 * MS, Established);
    told("query", vec![dropped(MS)], "dropped 1: drop q QDISC_DROP");
    told("answer", vec![t.data_back().dropped(MS, "QDISC_DROP")], "answer dropped 1: drop a QDISC_DROP");
    told("icmp", vec![t.data().icmp(MS, Direction::Sent, 3, 1)], "rejected 1: icmp q sent 3/1");
    // Sent again and not lost again: that it was lost is not why no answer came.
    told("again", vec![dropped(MS), again()], "unanswered: drop q QDISC_DROP, again q");
    let lost_again = vec![dropped(MS), again(), dropped(202 * MS)];
    told("lost again", lost_again, "dropped 3: drop q QDISC_DROP, again q, drop q QDISC_DROP");
    // That it is sent again may be told when it is lost already.
    let before = vec![dropped(MS), dropped(201 * MS - 10_000), again()];
    told("lost before", before, "dropped 2: drop q QDISC_DROP, drop q QDISC_DROP, again q");
}

#[test]
fn an_answer_shows_what_delayed_it() {
    let t = tcp();
    let delayed = |leg: Input| {
        vec![
            t.asks(0, 1, "a.").into(),
            leg,
            t.sends_again(201 * MS, Established),
            t.gets(202 * MS, answer(1, "a.")).into(),
        ]
    };
    let query = delayed(t.data().dropped(MS, "QDISC_DROP"));
    expect("query", query, &["1 A a.: answered: drop q QDISC_DROP, again q"]);
    let answer = delayed(t.data_back().dropped(MS, "QDISC_DROP"));
    expect("answer", answer, &["1 A a.: answered: drop a QDISC_DROP, again q"]);
}

#[test]
fn a_program_that_gave_up_does_not_hide_what_was_lost() {
    let t = tcp();
    let ask = || t.asks(0, 1, "a.").into();
    let inputs = vec![ask(), t.data().dropped(MS, "QDISC_DROP"), t.closes(5_000 * MS)];
    expect("gave up", inputs, &["1 A a.: dropped 1: drop q QDISC_DROP, ended Closed"]);
    let late = t.data_back().at(7).dropped(5_001 * MS, "TCP_ABORT_ON_DATA");
    let told = &["1 A a.: late 5001 by 2: ended Closed, drop a TCP_ABORT_ON_DATA"];
    expect("too late", vec![ask(), t.closes(5_000 * MS), late], told);
}

#[test]
fn a_segment_that_came_before_is_no_trouble() {
    let t = tcp();
    for reason in ["TCP_OLD_DATA", "TCP_OFOMERGE", "TCP_OLD_SEQUENCE"] {
        let inputs = vec![
            t.asks(0, 1, "a.").into(),
            t.data_back().dropped(2 * MS, reason),
            t.gets(3 * MS, answer(1, "a.")).into(),
            t.data_back().dropped(300 * MS, reason),
        ];
        expect(reason, inputs, &["1 A a.: answered"]);
    }
}

#[test]
fn a_segment_of_a_connection_over_which_nothing_waits_is_shown_by_itself() {
    let t = tcp();
    let asked = vec![t.asks(0, 1, "a.").into(), t.gets(MS, answer(1, "a.")).into()];
    let stray = vec![t.data_back().dropped(100 * MS, "NO_SOCKET")];
    let told = &["1 A a.: answered", "Ended { query: 1 }: drop a NO_SOCKET"];
    expect("after", [asked, stray.clone()].concat(), told);
    expect("nobody's", stray, &["NoAttempt: drop a NO_SOCKET"]);
}

#[test]
fn a_segment_finds_its_connection_beyond_translation() {
    let t = tcp();
    let entry = t.entry(1, NEAR);
    let told = |name: &str, segment: Pkt, words: &str| {
        let opened =
            vec![t.opens(0), t.syn_is_inserted(10, entry), t.is_open(MS), t.asks(2 * MS, 1, "a.").into()];
        let dropped = vec![segment.dropped(3 * MS, "QDISC_DROP")];
        let words = format!("1 A a.: {words} QDISC_DROP -> 10.244.1.9");
        expect(name, [opened, dropped].concat(), &[&words]);
    };
    let client = "10.244.1.7:50000";
    told("there", t.data().between(client, NEAR), "dropped 2: inserted, drop q");
    told("back", t.data_back().between(NEAR, client), "answer dropped 2: inserted, drop a");
    told("by its entry", t.data().between(client, NEAR).by(entry), "dropped 2: inserted, drop q");
    let back = t.data().between(NEAR, client).by(entry);
    told("back by its entry", back, "answer dropped 2: inserted, drop a");
    // Taken for the first segment of a connection of its own.
    let anew = crate::event::Connection { ct: 9, original: entry.reply, reply: entry.reply.reversed() };
    let untracked = t.data().between(NEAR, client).by(anew);
    told("back by an entry of its own", untracked, "answer dropped 2: inserted, drop a");
}

#[test]
fn a_segment_is_of_its_own_namespace_or_of_none() {
    let (t, twin) = (tcp(), Client { netns: 8, pid: 300, socket: 9, ..tcp() });
    let told = |netns| {
        let dropped = t.data().at(netns).dropped(MS, "QDISC_DROP");
        told(&run_all(
            vec![t.asks(0, 1, "a.").into(), twin.asks(1, 1, "a.").into(), dropped],
            Sight::default(),
        ))
    };
    assert_eq!(told(8), ["1 A a.: unanswered", "2 A a.: dropped 1: drop q QDISC_DROP"]);
    assert_eq!(told(NODE)[0], "Ambiguous: drop q QDISC_DROP");
}

#[test]
fn a_syn_finds_its_connection_before_the_port_is_known_unless_there_are_two() {
    let (t, u) = (tcp(), tcp().another(4));
    let inserted = || t.syn_is_inserted(10_000, t.entry(1, NEAR));
    let then = || vec![t.is_open(MS), t.asks(2 * MS, 1, "a.").into(), t.gets(3 * MS, answer(1, "a.")).into()];
    let one = [vec![t.opens(0), inserted()], then()].concat();
    expect("one", one, &["1 A a.: answered: inserted -> 10.244.1.9"]);
    // Where the flow goes is known all the same, by the time its port is.
    let two = [vec![t.opens(0), u.opens(1), inserted()], then(), vec![u.is_open(4 * MS)]].concat();
    expect("two", two, &["1 A a.: answered -> 10.244.1.9"]);
}

#[test]
fn what_a_server_sends_again_is_its_answer() {
    let s = tcp_server();
    let inputs = vec![
        s.0.accepts(0),
        s.is_asked(MS, 1, "a."),
        s.answers(2 * MS, 1, "a."),
        s.0.data().dropped(2 * MS + 10, "QDISC_DROP"),
        s.0.sends_again(205 * MS, Established),
    ];
    expect("again", inputs, &["1 at server A a.: answered: drop a QDISC_DROP, again a"]);
}

#[test]
fn an_entry_thrown_out_is_missed_by_what_waits_or_by_the_next_query() {
    let t = tcp();
    let thrown = |at| eviction(at, t.entry(1, NEAR));
    let asked = || t.asks(0, 1, "a.").into();
    expect("waits", vec![asked(), thrown(MS)], &["1 A a.: evicted 1: thrown out"]);
    let next = t.asks(100 * MS, 2, "b.").into();
    let idle = vec![asked(), t.gets(1, answer(1, "a.")).into(), thrown(MS), next];
    expect("next", idle, &["1 A a.: answered", "2 A b.: evicted 1: thrown out"]);
    expect("nobody's", vec![thrown(0)], &["NoAttempt: thrown out"]);
}

#[test]
fn a_connection_that_is_not_tracked_says_so() {
    let t = tcp();
    let inputs = vec![
        t.opens(0),
        t.syn().confirmed(10, ConfirmResult::Untracked),
        t.is_open(MS),
        t.asks(2 * MS, 1, "a.").into(),
        t.gets(3 * MS, answer(1, "a.")).into(),
    ];
    expect("untracked", inputs, &["1 A a.: answered: untracked"]);
}

#[test]
fn a_query_that_goes_with_the_syn_is_told_what_befalls_that() {
    let t = tcp();
    // It has no port by then.
    let mut sends = t.clone();
    sends.local.set_port(0);
    let with = |more: Vec<Input>| {
        let mut opens = t.change(10, Close, SynSent);
        opens.task = Some(t.task());
        let again = t.sends_again(1_000 * MS, SynSent);
        [vec![sends.asks(0, 1, "a.").into(), Input::Change(opens), again], more].concat()
    };
    let opened = vec![t.is_open(1_001 * MS), t.gets(1_002 * MS, answer(1, "a.")).into()];
    expect("opened", with(opened), &["1 A a.: answered: again syn"]);
    let failed = vec![t.fails(1_001 * MS, ECONNREFUSED)];
    expect("failed", with(failed), &["1 A a.: connect failed 2: again syn, connect errno 111"]);
    // The socket had another connection to the same server before.
    let before = Client { local: "10.244.1.7:50001".parse().unwrap(), ..tcp() };
    let mut asks = sends.clone();
    asks.local = "0.0.0.0:0".parse().unwrap();
    let inputs = vec![
        before.opens(0),
        before.is_open(1),
        before.closes(2),
        before.turns(3, FinWait2, Close),
        asks.asks(MS, 1, "a.").into(),
        t.opens(MS + 1),
        t.is_open(2 * MS),
        t.gets(3 * MS, answer(1, "a.")).into(),
    ];
    let out = run_all(inputs, Sight::default());
    assert_eq!(told(&out), ["1 A a.: answered"]);
    let carrier = queries(&out)[0].attempts[0].carrier.unwrap();
    let (opened, established) = (Some(KernelTime(MS + 1)), Some(KernelTime(2 * MS)));
    assert_eq!((carrier.opened, carrier.established, carrier.queries_before), (opened, established, 0));
}
