//! Zone transfers: an answer of many messages.

use super::{packets::*, tcp::*, told::*, *};

const SOA: u16 = 6;
const IXFR: u16 = 251;
const AXFR: u16 = 252;

/// A message of a transfer: `new` and `old` are SOA records, all else addresses.
fn part(qtype: u16, records: &[&str]) -> Message {
    let mut message = of_type(message(1, "z.", true), qtype);
    let record = |data: &&str| {
        let rtype = if matches!(*data, "new" | "old") { SOA } else { 1 };
        Record { name: "z.".into(), rtype, ttl: 5, data: (*data).into() }
    };
    message.answers = records.iter().map(record).collect();
    message.counts.answers = u16::try_from(records.len()).unwrap();
    message
}

/// A query and its answer in these messages, one each three seconds; and then.
fn transfer(qtype: u16, parts: &[&[&str]], then: Vec<Input>) -> Vec<Output> {
    let t = tcp();
    let mut inputs = vec![observed_of_type(t.asks(0, 1, "z."), qtype).into()];
    for (index, records) in parts.iter().enumerate() {
        let mut message = part(qtype, records);
        if index > 0 {
            message.question = None;
        }
        inputs.push(t.gets(3_000 * MS * (1 + index as u64), message).into());
    }
    run_all([inputs, then].concat(), Sight::default())
}

fn further(out: &[Output]) -> u64 {
    let [query] = queries(out)[..] else { panic!("{out:?}") };
    query.attempts[0].answer().unwrap().further_messages
}

#[test]
fn all_messages_of_a_transfer_are_one_answer() {
    let cases: [(u16, &[&[&str]]); 6] = [
        (AXFR, &[&["new", "1", "2"], &["3"], &["4", "new"]]),
        (AXFR, &[&["new", "1", "2", "new"]]),
        (AXFR, &[&["new"], &["1"], &["new"]]),
        (IXFR, &[&["new", "1"], &["2", "new"]]),
        (IXFR, &[&["new", "old", "1"], &["new", "2"], &["new"]]),
        (IXFR, &[&["new"]]),
    ];
    for (qtype, parts) in cases {
        let out = transfer(qtype, parts, Vec::new());
        assert_eq!((out.len(), further(&out)), (1, parts.len() as u64 - 1), "{parts:?}");
        let [query] = queries(&out)[..] else { panic!("{out:?}") };
        assert_eq!(query.latency(), Some(3_000 * MS));
    }
}

#[test]
fn what_comes_after_the_final_record_is_no_part_of_it() {
    let late = tcp().gets(60_000 * MS, part(AXFR, &["9"])).into();
    for parts in [&[&["new", "new"][..]][..], &[&["new", "1"], &["new"]]] {
        let out = transfer(AXFR, parts, vec![Input::clone(&late)]);
        assert!(matches!(strays(&out)[..], [StrayReason::Surplus { query: 1 } | StrayReason::QueryNotSeen]));
        assert_eq!(further(&out), parts.len() as u64 - 1);
    }
}

#[test]
fn a_transfer_that_breaks_off_says_so() {
    let t = tcp();
    let out = transfer(AXFR, &[&["new", "1"], &["2"]], vec![t.is_reset(6_001 * MS)]);
    assert_eq!((told(&out), further(&out)), (vec!["1 AXFR z.: answered: ended Reset".to_owned()], 1));
    let whole = transfer(AXFR, &[&["new", "1"], &["new"]], vec![t.closes(6_001 * MS)]);
    assert_eq!(told(&whole), ["1 AXFR z.: answered"]);
    let silent = transfer(AXFR, &[&["new", "1"], &["2"]], Vec::new());
    assert_eq!((told(&silent), further(&silent)), (vec!["1 AXFR z.: answered".to_owned()], 1));
}

#[test]
fn whether_a_transfer_has_broken_off_is_not_known_if_part_of_it_was_not_captured() {
    let t = tcp();
    let mut cut = part(AXFR, &["2"]);
    cut.counts.answers = 9;
    let out = transfer(AXFR, &[&["new", "1"]], vec![t.gets(3_001 * MS, cut).into(), t.closes(3_002 * MS)]);
    assert_eq!((told(&out), further(&out)), (vec!["1 AXFR z.: answered".to_owned()], 1));
}

#[test]
fn a_transfer_that_fails_on_its_way_is_over() {
    let t = tcp();
    let failed = of_type(with_rcode(1, "z.", 2), AXFR);
    let out = transfer(AXFR, &[&["new", "1"]], vec![t.gets(3_001 * MS, failed).into()]);
    assert_eq!(further(&out), 1);
    let refused = of_type(with_rcode(1, "z.", 5), AXFR);
    let inputs = vec![observed_of_type(t.asks(0, 1, "z."), AXFR).into(), t.gets(MS, refused).into()];
    expect("refused", inputs, &["1 AXFR z.: answered"]);
}

#[test]
fn a_server_sends_a_transfer() {
    let s = tcp_server();
    let sends = |at, records: &[&str]| {
        let seen = s.0.seen(at, Direction::Sent, s.0.local, s.0.server);
        observation(seen, part(AXFR, records)).into()
    };
    let asked = observation(
        s.0.seen(0, Direction::Received, s.0.server, s.0.local),
        of_type(message(1, "z.", false), AXFR),
    );
    let inputs =
        vec![asked.into(), sends(MS, &["new", "1"]), sends(3_000 * MS, &["2"]), sends(4_000 * MS, &["new"])];
    let out = run_all(inputs, Sight::default());
    assert_eq!((told(&out), further(&out)), (vec!["1 at server AXFR z.: answered".to_owned()], 2));
}
