//! Bytes that were not seen, connections older than the trace, and what is not DNS.

use super::*;

fn bytes() -> Vec<u8> {
    framed(&answer(1, "a.example.", 3_000))
}

fn next() -> Vec<u8> {
    framed(&query(2, "a."))
}

/// A line in step.
fn in_step() -> Line {
    let mut line = Line::received();
    line.call(&framed(&query(9, "a.")));
    line.said();
    line
}

#[test]
fn a_loss_within_a_message_cuts_it_and_does_not_break_the_step() {
    let (bytes, length) = (bytes(), bytes().len() - 2);
    let mut line = in_step();
    line.call(&bytes[..1000]).lost_call(&bytes[1000..2000]);
    line.tid = 2;
    line.call(&[&bytes[2000..], &next()].concat());
    assert_eq!(message_of(&line.out[0]).task, task(2));
    assert_eq!(message_of(&line.out[0]).payload, bytes[2..1000]);
    assert_eq!(line.said(), [format!("1 a 998/{length}"), "2 q 19/19".to_owned()]);
}

#[test]
fn a_loss_up_to_the_end_of_a_message_cuts_it_and_does_not_break_the_step() {
    let (bytes, length) = (bytes(), bytes().len() - 2);
    let mut line = in_step();
    line.call(&bytes[..2]).lost_call(&bytes[2..]);
    line.tid = 2;
    // Out of step it would not be taken for a message.
    line.call(&[0, 0]);
    assert_eq!(message_of(&line.out[0]).task, task(1));
    assert_eq!(message_of(&line.out[0]).time, KernelTime(3));
    assert_eq!(line.said(), [format!("message 0/{length}"), "message 0/0".to_owned()]);
}

#[test]
fn a_missing_tail_is_known_at_once() {
    let (bytes, length) = (bytes(), bytes().len() - 2);
    let mut line = in_step();
    line.cut_call(&bytes, 500);
    assert_eq!(line.said(), [format!("1 a 498/{length}")]);
    line.cut_call(&bytes[..2000], 500).call(&bytes[2000..]).call(&next());
    assert_eq!(line.said(), [format!("1 a 498/{length}"), "2 q 19/19".to_owned()]);
}

#[test]
fn a_missing_tail_with_further_messages_ends_the_step_until_the_next_call() {
    let (bytes, length) = (bytes(), bytes().len() - 2);
    let mut line = in_step();
    line.cut_call(&[&bytes[..], &next(), &next()].concat(), 500);
    line.call(&next());
    assert_eq!(line.said(), [format!("1 a 498/{length}"), "skipped 0/42".into(), "2 q 19/19".into()]);
}

#[test]
fn a_loss_of_whole_messages_is_skipped() {
    let mut line = in_step();
    line.lost_call(&bytes()).call(&next());
    assert_eq!(line.said(), [format!("skipped 0/{}", bytes().len()), "2 q 19/19".into()]);
    assert_eq!(line.streams.totals().skipped, bytes().len() as u64);
}

#[test]
fn a_loss_of_half_a_length_is_skipped_with_it() {
    let mut line = in_step();
    line.call(&bytes()[..1]).lost_call(&bytes()[1..]).call(&next());
    assert_eq!(line.said(), [format!("skipped 1/{}", bytes().len()), "2 q 19/19".into()]);
}

#[test]
fn out_of_step_the_next_call_that_begins_with_a_message_is_found() {
    let bytes = bytes();
    let mut line = in_step();
    line.lost_call(&bytes[..1000]).call(&bytes[1000..2000]).call(&bytes[2000..]).call(&next());
    assert_eq!(line.said(), [format!("skipped 0/{}", bytes.len()), "2 q 19/19".into()]);
}

#[test]
fn out_of_step_a_length_in_a_call_of_its_own_is_found() {
    let bytes = bytes();
    for mut line in [in_step(), Line::received()] {
        line.lost_call(&bytes[..2]).call(&bytes[2..]).call(&next()[..2]).call(&next()[2..]).call(&next());
        let [skipped, first, second] = &line.said()[..] else { panic!("three") };
        assert!(skipped.starts_with("skipped"), "{skipped}");
        assert_eq!([first, second], ["2 q 19/19", "2 q 19/19"]);
    }
}

#[test]
fn out_of_step_a_message_that_ends_where_its_call_ends_is_found() {
    let bytes = bytes();
    let mut line = Line::received();
    line.call(&[&bytes[2800..], &next()].concat());
    let skipped = bytes.len() - 2800;
    assert_eq!(line.said(), [format!("skipped {0}/{skipped}", skipped.min(256)), "2 q 19/19".into()]);
}

#[test]
fn out_of_step_a_message_that_another_one_follows_is_found() {
    let bytes = bytes();
    let mut line = Line::received();
    line.call(&[&bytes[3000..], &next(), &bytes[..1500]].concat()).call(&bytes[1500..]);
    let (skipped, length) = (bytes.len() - 3000, bytes.len() - 2);
    let told = [format!("skipped {skipped}/{skipped}"), "2 q 19/19".into(), format!("1 a {length}/{length}")];
    assert_eq!(line.said(), told);
}

#[test]
fn a_zone_transfer_older_than_the_trace_is_found_by_its_records() {
    let mut further = Built::from_vec(&answer(1, "a.", 2_000)).unwrap();
    further.queries.clear();
    let further = further.to_vec().unwrap();
    let framed = framed(&further);
    let mut line = Line::received();
    line.call(&framed[1_000..]).call(&framed).call(&framed);
    let (skipped, length) = (framed.len() - 1_000, further.len());
    let told = format!("1 a {length}/{length}");
    assert_eq!(line.said(), [format!("skipped 256/{skipped}"), told.clone(), told]);
}

#[test]
fn a_wrong_guess_is_given_up_when_no_message_follows() {
    // The end of a message that looks like one, with more of the same behind it.
    let lookalike = framed(&query(5, "b."));
    let mut line = Line::received();
    line.call(&[&lookalike[..], &[0xff; 40]].concat()).call(&next());
    assert_eq!(line.said(), ["5 q 19/19", "skipped 40/40", "2 q 19/19"]);
}

#[test]
fn two_messages_in_a_row_that_cannot_be_dns_end_the_step() {
    let mut line = in_step();
    line.call(&framed(&[0xff; 20])).call(&framed(&[0xff; 20])).call(&next());
    assert_eq!(line.said(), ["65535 a 20/20", "skipped 22/22", "2 q 19/19"]);
}

#[test]
fn what_is_skipped_is_told_when_the_connection_ends() {
    let mut line = Line::received();
    line.call(&bytes()[100..400]).call(&bytes()[400..]).end();
    assert_eq!(line.said(), [format!("skipped 256/{}", bytes().len() - 100)]);
}

#[test]
fn what_is_skipped_for_long_is_told_meanwhile() {
    let mut line = Line::received();
    let part = vec![0xff; 1 << 20];
    for _ in 0..40 {
        line.cut_call(&part, 100);
    }
    line.end();
    assert_eq!(line.said(), ["skipped 100/16777316", "skipped 0/16777216", "skipped 0/8388508"]);
    assert_eq!(line.streams.totals().skipped, 40 << 20);
}

#[test]
fn what_was_offered_beyond_a_loss_may_be_offered_again() {
    let bytes = bytes();
    let mut line = Line::sent();
    line.call(&framed(&query(9, "a."))).cut_call(&[&bytes[..], &next()].concat(), 500);
    // The kernel took 2,000 bytes.
    line.not_taken(bytes.len() + next().len() - 2_000).call(&[&bytes[2_000..], &next()].concat());
    line.call(&framed(&query(3, "a.")));
    let length = bytes.len() - 2;
    assert_eq!(
        line.said(),
        ["9 q 19/19".into(), format!("1 a 498/{length}"), "2 q 19/19".into(), "3 q 19/19".into()]
    );
}

#[test]
fn bytes_offered_again_from_within_a_loss_leave_what_was_seen_before_it() {
    let (bytes, length) = (bytes(), bytes().len() - 2);
    let mut line = Line::sent();
    line.call(&framed(&query(9, "a."))).cut_call(&bytes[..2_000], 500).not_taken(500).call(&bytes[1_500..]);
    assert_eq!(line.said(), ["9 q 19/19".into(), format!("1 a 498/{length}")]);
}

#[test]
fn bytes_told_and_offered_again_in_part_do_not_end_the_step() {
    let bytes = bytes();
    let mut line = Line::sent();
    line.call(&bytes)
        .not_taken(bytes.len())
        .cut_call(&bytes[..2_000], 100)
        .call(&bytes[2_000..])
        .call(&[0, 0]);
    assert_eq!(line.said(), [format!("1 a {0}/{0}", bytes.len() - 2), "message 0/0".into()]);
}

#[test]
fn a_guessed_message_that_is_cut_proves_nothing() {
    let (bytes, length) = (bytes(), bytes().len() - 2);
    let mut line = Line::received();
    line.cut_call(&bytes, 500).call(&framed(&[0xff; 20])).call(&next());
    assert_eq!(line.said(), [format!("1 a 498/{length}"), "skipped 22/22".into(), "2 q 19/19".into()]);
}

#[test]
fn the_call_that_gives_a_wrong_guess_away_may_begin_with_a_message() {
    let lookalike = framed(&query(5, "b."));
    let (bytes, length) = (bytes(), bytes().len() - 2);
    let mut line = Line::received();
    line.call(&[&lookalike[..], &[0xff; 2]].concat()).call(&bytes[..1000]).call(&bytes[1000..]);
    assert_eq!(line.said(), ["5 q 19/19".into(), "skipped 2/2".into(), format!("1 a {length}/{length}")]);
}

#[test]
fn what_was_skipped_and_offered_anew_is_shown_as_it_is_now() {
    let mut line = Line::sent();
    line.call(&[0xff; 50]).not_taken(40).call(&[0xfe; 20]).end();
    let [Framed::Skipped(skipped)] = &line.out[..] else { panic!("{:?}", line.out) };
    assert_eq!(skipped.payload, [[0xff; 10], [0xfe; 10], [0xfe; 10]].concat());
}

#[test]
fn an_answer_without_its_length_is_not_taken_for_a_message() {
    // Two octets further on, its header looks like one: its id as the length, its counts and name as counts.
    let body = answer(0xf000, "a.example.", 100);
    let (skipped, length) = (body.len(), bytes().len() - 2);
    let mut line = Line::received();
    line.call(&body).call(&bytes());
    assert_eq!(line.said(), [format!("skipped {skipped}/{skipped}"), format!("1 a {length}/{length}")]);
}

#[test]
fn a_stream_that_spoke_dns_remains_dns() {
    let mut line = in_step();
    line.lost_call(&bytes()[..100]).call(HTTP).call(&next());
    let skipped = 100 + HTTP.len();
    assert_eq!(line.said(), [format!("skipped 0/{skipped}"), "2 q 19/19".into()]);
}

#[test]
fn bytes_on_both_sides_of_a_loss_are_not_put_together() {
    let bytes = next();
    let mut line = Line::received();
    line.call(&[&[0, 100][..], &bytes[..10]].concat()).lost_call(&[0; 3]).call(&bytes[10..]).end();
    assert_eq!(line.said(), ["skipped 12/26"]);
}

#[test]
fn a_start_that_was_seen_in_part_does_not_make_a_connection_not_dns() {
    let mut line = Line::sent().opened();
    line.cut_call(&[0xff; 100], 50).call(&[0xff; 50]).end();
    assert_eq!(line.said(), ["skipped 50/150"]);
}

const HTTP: &[u8] = b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n";
const TLS: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x8f\x61\x3b\x0e\x91\x22\x4a\xc0\x2f";
const SSH: &[u8] = b"SSH-2.0-OpenSSH_9.6\r\n";

#[test]
fn another_protocol_is_told_once_a_direction_and_ignored() {
    for first in [HTTP, TLS, SSH, b"HTTP/1.1 200 OK\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        for mut line in [Line::sent(), Line::sent().opened()] {
            line.call(first).call(&[7; 5000]).call(&next());
            line.end();
            assert_eq!(line.said(), [format!("not DNS {0}/{0}", first.len())]);
            let ignored = first.len() + 5000 + next().len();
            assert_eq!(line.streams.totals(), StreamTotals { not_dns: ignored as u64, ..Default::default() });
        }
    }
}

#[test]
fn another_protocol_may_come_in_small_calls() {
    let mut line = Line::received().opened();
    for byte in SSH {
        line.call(&[*byte]);
    }
    assert_eq!(line.said().len(), 1);
    assert!(line.end().said().is_empty());
}

#[test]
fn the_other_direction_has_its_own_say() {
    let mut line = Line::sent().opened();
    line.call(HTTP);
    line.direction = Direction::Received;
    line.call(&framed(&answer(1, "a.", 0)));
    assert_eq!(line.said(), [format!("not DNS {0}/{0}", HTTP.len()), "1 a 19/19".into()]);
}

#[test]
fn an_unknown_protocol_is_not_dns_if_its_start_was_seen() {
    let mut line = Line::sent().opened();
    for _ in 0..800 {
        line.call(&[0xff; 100]);
    }
    assert_eq!(line.said(), ["not DNS 256/65800"]);
    assert!(line.end().said().is_empty());
    assert_eq!(line.streams.totals().not_dns, 80_000);
    let mut short = Line::sent().opened();
    short.call(&[0xff; 100]).end();
    assert_eq!(short.said(), ["not DNS 100/100"]);
}

#[test]
fn an_unknown_beginning_is_skipped_if_the_start_was_not_seen() {
    let mut line = Line::sent();
    for _ in 0..20 {
        line.call(&[0xff; 100]);
    }
    line.end();
    assert_eq!(line.said(), ["skipped 256/2000"]);
}

#[test]
fn a_lost_first_call_does_not_make_a_connection_not_dns() {
    let bytes = bytes();
    let mut line = Line::received().opened();
    line.lost_call(&bytes[..2]).call(&bytes[2..]).call(&next()[..2]).call(&next()[2..]);
    assert_eq!(line.said(), [format!("skipped 256/{}", bytes.len() - 2), "2 q 19/19".into()]);
}

#[test]
fn too_little_to_tell_is_not_called_anything_else() {
    let mut line = Line::sent().opened();
    line.call(&[0, 29]).end();
    assert_eq!(line.said(), ["skipped 2/2"]);
}
