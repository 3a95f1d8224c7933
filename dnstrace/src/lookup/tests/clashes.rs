//! Clashes in connection tracking (S1, S22): who lost, to whom, and what came of it.

use super::{packets::*, told::*, *};
use crate::event::{
    ConfirmResult::{self, *},
    Connection,
};

const A: u16 = 1;
const AAAA: u16 = 28;

/// A and AAAA of one socket.
fn pair(c: &Client) -> Vec<Input> {
    vec![
        c.asks(0, 1, "a.").into(),
        observed_of_type(c.asks(100, 2, "a."), AAAA).into(),
        c.is_inserted(MS, 1, "a.", c.entry(0xa, NEAR)),
    ]
}

fn aaaa(c: &Client) -> Pkt {
    c.query(2, "a.").of_type(AAAA)
}

fn answers(c: &Client, at: u64, id: u16, qtype: u16) -> Input {
    c.gets(at, of_type(answer(id, "a."), qtype)).into()
}

#[test]
fn s1_one_of_two_is_lost_and_the_retry_is_answered() {
    let c = client();
    let lost = c.entry(0xb, NEAR);
    let mut inputs = pair(&c);
    inputs.extend([
        clash(MS + 500, 0xb, c.entry(0xa, NEAR)),
        aaaa(&c).by(lost).confirmed(MS + 600, Failed),
        // The same packet: told already.
        aaaa(&c).by(lost).dropped(MS + 700, "NETFILTER_DROP"),
        answers(&c, 2 * MS, 1, A),
        observed_of_type(c.asks(5_000 * MS, 2, "a."), AAAA).into(),
        answers(&c, 5_001 * MS, 2, AAAA),
    ]);
    expect(
        "s1",
        inputs,
        &[
            "1 A a.: answered: inserted -> 10.244.1.9",
            "2 AAAA a.: lost 1: failed by 1 A same -> 10.244.1.9; answered -> 10.244.1.9",
        ],
    );
}

#[test]
fn s22_the_answer_of_the_clash_loser_comes_after_its_entry_has_gone() {
    let c = client();
    let own = c.entry(0xb, FAR);
    let mut inputs = pair(&c);
    let from = FAR.parse().unwrap();
    let answer = c.answer_from(from, 2, "a.").of_type(AAAA).at(c.netns);
    inputs.extend([
        clash(MS + 500, 0xb, c.entry(0xa, NEAR)),
        aaaa(&c).by(own).confirmed(MS + 600, ReplyOnly),
        answers(&c, 2_000 * MS, 1, A),
        answer.clone().icmp(2_000 * MS + 1, Direction::Sent, 3, 3),
        answer.dropped(2_000 * MS + 2, "NO_SOCKET"),
    ]);
    expect(
        "s22",
        inputs,
        &[
            "1 A a.: answered: inserted -> 10.244.1.9",
            "2 AAAA a.: answer dropped 3: reply only by 1 A same, icmp a sent 3/3, drop a NO_SOCKET from \
             10.244.2.9 -> 10.244.2.9",
        ],
    );
}

#[test]
fn an_untranslated_answer_dies_in_forward_as_a_flow_of_its_own() {
    let c = client();
    let answer = c.answer_from(FAR.parse().unwrap(), 2, "a.").of_type(AAAA);
    let new = Connection { ct: 0xc, original: answer.packet.flow, reply: answer.packet.flow.reversed() };
    let mut inputs = pair(&c);
    inputs.extend([
        clash(MS + 500, 0xb, c.entry(0xa, NEAR)),
        aaaa(&c).by(c.entry(0xb, FAR)).confirmed(MS + 600, ReplyOnly),
        answers(&c, 2_000 * MS, 1, A),
        answer.by(new).dropped(2_000 * MS + 2, "NETFILTER_DROP"),
    ]);
    expect(
        "forward",
        inputs,
        &[
            "1 A a.: answered: inserted -> 10.244.1.9",
            "2 AAAA a.: answer dropped 2: reply only by 1 A same, drop a NETFILTER_DROP from 10.244.2.9 -> \
             10.244.2.9",
        ],
    );
}

#[test]
fn a_socket_that_is_not_connected_takes_in_the_untranslated_answer() {
    let c = client();
    let untranslated = |at| {
        let seen = c.seen(at, Direction::Received, FAR.parse().unwrap(), c.local);
        Input::from(observation(seen, of_type(answer(2, "a."), AAAA)))
    };
    let mut inputs = pair(&c);
    inputs.extend([
        clash(MS + 500, 0xb, c.entry(0xa, NEAR)),
        aaaa(&c).by(c.entry(0xb, FAR)).confirmed(MS + 600, ReplyOnly),
        answers(&c, 2_000 * MS, 1, A),
        untranslated(2_100 * MS),
        untranslated(9_000 * MS),
    ]);
    let stray = "stray Untranslated { query: 2, asked: 10.96.0.10:53 }";
    expect(
        "musl",
        inputs,
        &[
            "1 A a.: answered: inserted -> 10.244.1.9",
            stray,
            "2 AAAA a.: unanswered: reply only by 1 A same -> 10.244.2.9",
            stray,
        ],
    );
}

/// The loser's result with or without its clash seen, and what is told of it.
#[test]
fn every_outcome_has_its_winner() {
    type Row = (&'static str, bool, ConfirmResult, &'static str);
    let rows: [Row; 7] = [
        ("merged", true, Merged { ct: 0xa }, "answered: merged with 1 A same -> 10.244.1.9"),
        ("merged, clash not seen", false, Merged { ct: 0xa }, "answered: merged with 1 A same -> 10.244.1.9"),
        ("merged with an entry unseen", false, Merged { ct: 0xf }, "answered: merged with unseen"),
        ("reply only", true, ReplyOnly, "answered: reply only by 1 A same -> 10.244.2.9"),
        ("reply only, clash not seen", false, ReplyOnly, "answered: reply only by unseen -> 10.244.2.9"),
        ("failed without a clash", false, Failed, "answered: failed by no clash -> 10.244.2.9"),
        ("not known", true, Unknown, "answered: not known -> 10.244.2.9"),
    ];
    for (name, is_seen, result, told) in rows {
        let c = client();
        let mut inputs = pair(&c);
        if is_seen {
            inputs.push(clash(MS + 500, 0xb, c.entry(0xa, NEAR)));
        }
        inputs.extend([
            aaaa(&c).by(c.entry(0xb, FAR)).confirmed(MS + 600, result),
            answers(&c, 2 * MS, 1, A),
            answers(&c, 2 * MS, 2, AAAA),
        ]);
        expect(name, inputs, &["1 A a.: answered: inserted -> 10.244.1.9", &format!("2 AAAA a.: {told}")]);
    }
}

#[test]
fn the_winners_insertion_may_return_after_the_losers() {
    for (result, told) in [
        (Merged { ct: 0xa }, "merged with 1 A same -> 10.244.1.9"),
        (ReplyOnly, "reply only by 1 A same -> 10.244.2.9"),
        (Failed, "failed by 1 A same -> 10.244.2.9"),
    ] {
        for is_seen in [true, false] {
            if !is_seen && !matches!(result, Merged { .. }) {
                continue;
            }
            let c = client();
            let mut inputs: Vec<Input> =
                vec![c.asks(0, 1, "a.").into(), observed_of_type(c.asks(100, 2, "a."), AAAA).into()];
            if is_seen {
                inputs.push(clash(1_000, 0xb, c.entry(0xa, NEAR)));
            }
            inputs.extend([
                aaaa(&c).by(c.entry(0xb, FAR)).confirmed(1_600, result),
                // It began before the other lost.
                c.is_inserted(1_900, 1, "a.", c.entry(0xa, NEAR)),
                answers(&c, 2 * MS, 2, AAAA),
            ]);
            let out = run_all(inputs, Sight::default());
            let lines = self::told(&out);
            assert_eq!(lines[0], format!("2 AAAA a.: answered: {told}"), "{result:?} {is_seen}");
        }
    }
}

#[test]
fn the_winner_is_not_who_made_an_earlier_entry_at_its_address() {
    let c = client();
    let at = 1_000 * MS;
    let inputs = vec![
        c.asks(0, 9, "z.").into(),
        c.is_inserted(2_000, 9, "z.", c.entry(0xa, NEAR)),
        c.gets(MS, answer(9, "z.")).into(),
        // That entry has gone; one of the same flow is made there.
        c.asks(at, 1, "a.").into(),
        observed_of_type(c.asks(at + 100, 2, "a."), AAAA).into(),
        clash(at + 1_000, 0xb, c.entry(0xa, NEAR)),
        aaaa(&c).by(c.entry(0xb, FAR)).confirmed(at + 1_600, Failed),
        c.is_inserted(at + 1_900, 1, "a.", c.entry(0xa, NEAR)),
    ];
    expect(
        "earlier",
        inputs,
        &[
            "1 A z.: answered: inserted -> 10.244.1.9",
            "2 A a.: unanswered: inserted -> 10.244.1.9",
            "3 AAAA a.: lost 1: failed by 2 A same -> 10.244.2.9",
        ],
    );
}

#[test]
fn an_address_used_again_is_no_winner() {
    let c = client();
    let other =
        Client { local: "10.244.1.8:40000".parse().unwrap(), netns: 8, socket: 2, pid: 200, ..client() };
    let mut inputs = pair(&c);
    // The entry at 0xa has gone; the winner there is of another flow.
    inputs.extend([
        clash(MS + 500, 0xb, other.entry(0xa, NEAR)),
        aaaa(&c).by(c.entry(0xb, NEAR)).confirmed(MS + 600, Failed),
        answers(&c, 2 * MS, 1, A),
    ]);
    let lines = told(&run_all(inputs, Sight::default()));
    assert_eq!(lines[1], "2 AAAA a.: lost 1: failed by stranger 10.244.1.8:40000 -> 10.244.1.9");
    // And one that was made after the loser had lost is not the one it lost to.
    let inputs = vec![
        c.asks(0, 1, "a.").into(),
        clash(1_000, 0xb, c.entry(0xa, FAR)),
        c.query(1, "a.").by(c.entry(0xb, NEAR)).confirmed(1_500, Failed),
        observed_of_type(c.asks(10_000, 2, "a."), AAAA).into(),
        aaaa(&c).by(c.entry(0xa, FAR)).confirmed(20_000, Inserted),
    ];
    let lines = told(&run_all(inputs, Sight::default()));
    assert!(lines[0].contains("failed by stranger 10.244.1.7:40000"), "{lines:?}");
}

#[test]
fn a_clash_of_another_insertion_is_none_of_this_one() {
    let c = client();
    let mut inputs = pair(&c);
    inputs.extend([
        clash(MS + 500, 0xb, c.entry(0xa, NEAR)),
        // It began at MS + 1000.
        aaaa(&c).by(c.entry(0xb, FAR)).confirmed(MS + 2_000, Failed),
    ]);
    let lines = told(&run_all(inputs, Sight::default()));
    assert_eq!(lines[1], "2 AAAA a.: lost 1: failed by no clash -> 10.244.2.9");
}

#[test]
fn who_made_an_entry_is_not_known_after_a_gap() {
    let c = client();
    let mut inputs = pair(&c);
    inputs.extend([
        loss(MS + 100, MS + 200, 1),
        clash(MS + 1_500, 0xb, c.entry(0xa, NEAR)),
        aaaa(&c).by(c.entry(0xb, FAR)).confirmed(MS + 2_000, Failed),
    ]);
    let lines = told(&run_all(inputs, Sight::default()));
    assert_eq!(lines[1], "2 AAAA a.: lost 1: failed by stranger 10.244.1.7:40000 -> 10.244.2.9");
}

#[test]
fn what_was_lost_went_nowhere() {
    let c = client();
    let stranger = Client { local: "10.244.1.8:40000".parse().unwrap(), ..client() };
    let lost = c.query(1, "a.").by(c.entry(0xb, NEAR));
    let inputs = vec![
        c.asks(0, 1, "a.").into(),
        clash(4_500, 0xb, stranger.entry(0xa, NEAR)),
        lost.confirmed(5_000, Failed),
        // Another packet: its entry is now at that address.
        stranger.query(9, "z.").by(stranger.entry(0xb, NEAR)).dropped(5_500, "NETFILTER_DROP"),
        // What looks like the query beyond translation is not it.
        c.query(1, "a.").between("10.244.1.7:40000", NEAR).at(9).dropped(6_000, "UDP_CSUM"),
        // The next one is inserted anew, or so it should be.
        c.asks(5_000 * MS, 1, "a.").into(),
    ];
    expect(
        "lost",
        inputs,
        &[
            "NoAttempt: drop q NETFILTER_DROP",
            "NoAttempt: drop q UDP_CSUM",
            "1 A a.: lost 1: failed by stranger 10.244.1.8:40000 -> 10.244.1.9; unanswered",
        ],
    );
}

#[test]
fn a_pod_may_lose_to_another_pod() {
    let c = client();
    let other =
        Client { local: "10.244.1.8:40000".parse().unwrap(), netns: 8, socket: 2, pid: 200, ..client() };
    // Both are masqueraded to one port of the node.
    let hidden = |c: &Client, ct| {
        let mut entry = c.entry(ct, FAR);
        entry.reply.destination = "192.0.2.1:40000".parse().unwrap();
        entry
    };
    let inputs = vec![
        other.asks(0, 9, "b.").into(),
        other.is_inserted(2_000, 9, "b.", hidden(&other, 0xa)),
        c.asks(3_000, 1, "a.").into(),
        clash(4_000, 0xb, hidden(&other, 0xa)),
        c.query(1, "a.").by(hidden(&c, 0xb)).confirmed(4_500, Failed),
        other.gets(MS, answer(9, "b.")).into(),
    ];
    expect(
        "masqueraded",
        inputs,
        &["1 A b.: answered: inserted -> 10.244.2.9", "2 A a.: lost 1: failed by 1 A other -> 10.244.2.9"],
    );
}

#[test]
fn whether_there_was_a_clash_is_not_known_where_it_cannot_be_seen_or_was_lost() {
    let c = client();
    let failed = |at| c.query(1, "a.").by(c.entry(0xb, NEAR)).confirmed(at, Failed);
    let asked = || vec![Input::from(c.asks(0, 1, "a."))];
    let blind = Sight { clashes: false };
    let lines = ["1 A a.: lost 1: failed -> 10.244.1.9"];
    expect_with("blind", [asked(), vec![failed(5_000)]].concat(), blind, &lines);
    expect("lost before", [asked(), vec![loss(4_000, 4_900, 1), failed(5_000)]].concat(), &lines);
    expect("lost after", [asked(), vec![failed(5_000), loss(4_900, 6_000, 1)]].concat(), &lines);
    let lines = ["1 A a.: lost 1: failed by no clash -> 10.244.1.9"];
    expect("lost elsewhere", [asked(), vec![failed(5_000), loss(5_500, 6_000, 1)]].concat(), &lines);
}

#[test]
fn a_packet_of_nobody_known_that_is_lost_is_told_once() {
    let c = client();
    let lost = c.query(1, "a.").by(c.entry(0xb, NEAR));
    let inputs = vec![
        c.is_inserted(1_000, 3, "b.", c.entry(0xa, NEAR)),
        clash(4_900, 0xb, c.entry(0xa, NEAR)),
        lost.clone().confirmed(5_000, Failed),
        lost.clone().dropped(5_100, "NETFILTER_DROP"),
        // Another packet that meets another end.
        lost.dropped(5_200, "NETFILTER_DROP"),
    ];
    expect(
        "nobody",
        inputs,
        &["NoAttempt: failed by stranger 10.244.1.7:40000", "NoAttempt: drop q NETFILTER_DROP"],
    );
}
