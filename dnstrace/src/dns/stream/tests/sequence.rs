//! Where bytes belong.

use super::*;

#[test]
fn sequence_numbers_go_round() {
    let mut line = Line::sent();
    line.seq = u32::MAX - 30;
    for id in 1..=4 {
        line.call(&framed(&query(id, "a.example.")));
    }
    assert_eq!(line.said(), ["1 q 27/27", "2 q 27/27", "3 q 27/27", "4 q 27/27"]);
}

#[test]
fn what_the_kernel_did_not_take_is_offered_again_and_told_once() {
    let bytes = all(&[query(1, "a."), query(2, "b."), query(3, "c.")]);
    for taken in 0..=bytes.len() {
        let mut line = Line::sent();
        line.call(&bytes).not_taken(bytes.len() - taken).call(&bytes[taken..]);
        line.call(&framed(&query(4, "d.")));
        assert_eq!(line.said(), ["1 q 19/19", "2 q 19/19", "3 q 19/19", "4 q 19/19"], "{taken}");
        assert!(line.end().said().is_empty());
    }
}

#[test]
fn new_bytes_replace_what_was_not_taken() {
    let (long, other) = (framed(&query(1, "a.example.")), framed(&query(2, "b.example.")));
    let mut line = Line::sent();
    line.call(&framed(&query(9, "a.")));
    line.call(&long[..20]).not_taken(20).call(&other);
    assert_eq!(line.said(), ["9 q 19/19", "2 q 27/27"]);
}

#[test]
fn bytes_in_part_may_be_offered_again_in_smaller_calls() {
    let bytes = framed(&answer(1, "a.example.", 9_000));
    let mut line = Line::sent();
    line.call(&bytes[..4096]).call(&bytes[4096..8192]).call(&bytes[8192..]);
    let back = bytes.len() - 5_000;
    line.not_taken(back).call(&bytes[5_000..6_000]).call(&bytes[6_000..]);
    line.call(&framed(&query(2, "a.")));
    let length = bytes.len() - 2;
    assert_eq!(line.said(), [format!("1 a {length}/{length}"), "2 q 19/19".to_owned()]);
}

#[test]
fn received_bytes_told_twice_are_taken_once() {
    let bytes = all(&[answer(1, "a.", 100), answer(2, "b.", 100)]);
    let length = bytes.len() / 2 - 2;
    let mut line = Line::received();
    line.call(&bytes[..150]).not_taken(150).call(&bytes[..100]).not_taken(50).call(&bytes[50..]);
    assert_eq!(line.said(), [1, 2].map(|id| format!("{id} a {length}/{length}")));
}

#[test]
fn a_socket_address_with_another_flow_is_another_connection() {
    let bytes = framed(&query(1, "a."));
    let mut line = Line::sent();
    line.call(&bytes).call(&bytes[..15]);
    line.flow.source.set_port(40_001);
    line.seq = 7_000_000;
    line.call(&framed(&query(2, "a.")));
    assert_eq!(line.said(), ["1 q 19/19", "1 q 13/19", "2 q 19/19"]);
}

#[test]
fn the_same_socket_address_in_another_namespace_is_another_connection() {
    let (first, second) = (framed(&query(1, "a.")), framed(&query(2, "a.")));
    let mut line = Line::sent();
    line.call(&first[..15]);
    let mut other = line.bytes(&second);
    (other.netns, other.seq) = (NETNS + 1, Some(5));
    line.streams.push(other, &mut line.out);
    line.call(&first[15..]);
    assert_eq!(line.said(), ["2 q 19/19", "1 q 19/19"]);
}

#[test]
fn sequence_numbers_far_away_are_another_connection() {
    for far in [1 << 30, 3 << 30] {
        let bytes = framed(&query(1, "a."));
        let mut line = Line::sent();
        line.call(&bytes).call(&bytes[..15]);
        line.seq = line.seq.wrapping_add(far);
        line.call(&framed(&query(2, "a.")));
        assert_eq!(line.said(), ["1 q 19/19", "1 q 13/19", "2 q 19/19"]);
        assert_eq!(line.streams.totals(), StreamTotals::default());
    }
}

#[test]
fn a_connection_that_is_opened_anew_begins_anew() {
    let bytes = framed(&query(1, "a."));
    let mut line = Line::sent();
    line.call(&bytes).call(&bytes[..15]);
    let mut line = line.opened();
    line.seq += 5;
    line.call(&framed(&query(2, "a.")));
    assert_eq!(line.said(), ["1 q 19/19", "1 q 13/19", "2 q 19/19"]);
}

/// Offers `bytes` with the SYN, then opens the connection.
fn with_syn(state: TcpState, bytes: &[u8]) -> Line {
    let mut line = Line::sent();
    line.state = state;
    let mut early = line.bytes(bytes);
    early.seq = None;
    line.push(early);
    line.state = TcpState::Established;
    line.opened()
}

#[test]
fn what_goes_with_the_syn_is_continued_by_the_first_sequence_number() {
    let (first, second) = (framed(&query(1, "a.")), framed(&query(2, "a.")));
    for state in [TcpState::Close, TcpState::SynSent] {
        for split in [2, 15, first.len()] {
            let mut line = with_syn(state, &first[..split]);
            if split < first.len() {
                line.call(&first[split..]);
            }
            line.call(&second);
            assert_eq!(line.said(), ["1 q 19/19", "2 q 19/19"], "{split}");
        }
    }
}

#[test]
fn what_the_syn_did_not_take_is_offered_again_and_told_once() {
    let (first, second) = (framed(&query(1, "a.")), framed(&query(2, "a.")));
    let mut whole = with_syn(TcpState::Close, &first);
    whole.call(&first).call(&second);
    assert_eq!(whole.said(), ["1 q 19/19", "2 q 19/19"]);
    let mut with_more = with_syn(TcpState::Close, &first);
    with_more.call(&all(&[query(1, "a."), query(2, "a.")]));
    assert_eq!(with_more.said(), ["1 q 19/19", "2 q 19/19"]);
    let mut prefix = with_syn(TcpState::SynSent, &first[..2]);
    prefix.call(&first[..2]).call(&first[2..]);
    assert_eq!(prefix.said(), ["1 q 19/19"]);
}

#[test]
fn the_length_of_a_later_query_is_not_taken_for_a_repetition() {
    let (first, second) = (framed(&query(1, "a.")), framed(&query(2, "a.")));
    let mut line = with_syn(TcpState::Close, &first);
    line.call(&second[..2]).call(&second[2..]);
    assert_eq!(line.said(), ["1 q 19/19", "2 q 19/19"]);
}

#[test]
fn a_server_may_read_what_came_with_the_syn_before_the_connection_is_open() {
    let bytes = framed(&query(1, "a."));
    let mut line = Line::received();
    line.state = TcpState::SynRecv;
    line.call(&bytes[..10]);
    line.state = TcpState::Established;
    let mut line = line.opened();
    line.call(&bytes[10..]);
    assert_eq!(line.said(), ["1 q 19/19"]);
}

#[test]
fn a_connection_that_was_open_and_is_opened_again_begins_anew() {
    let bytes = framed(&query(1, "a."));
    let mut line = Line::sent();
    line.state = TcpState::SynSent;
    line.call(&bytes[..10]);
    line.state = TcpState::Established;
    line.call(&bytes[10..15]);
    let mut line = line.opened();
    line.call(&bytes[15..]).call(&framed(&query(2, "a.")));
    assert_eq!(line.said(), ["skipped 15/15", "skipped 6/6", "2 q 19/19"]);
}

#[test]
fn a_connection_that_never_opened_leaves_its_socket_to_another() {
    let mut line = Line::sent();
    line.state = TcpState::SynSent;
    line.call(&framed(&query(1, "a."))[..10]);
    line.state = TcpState::Established;
    line.flow.source.set_port(40_001);
    let mut line = line.opened();
    line.call(&[0xff; 100]).end();
    assert_eq!(line.said(), ["skipped 10/10", "not DNS 100/100"]);
}

#[test]
fn what_the_kernel_refuses_to_send_is_no_message() {
    use TcpState::*;
    for state in [Close, FinWait1, FinWait2, TimeWait, LastAck, Listen, Closing] {
        let mut line = Line::sent();
        line.state = state;
        line.call(&framed(&query(1, "a."))).end();
        assert!(line.said().is_empty(), "{state:?}");
    }
    for state in [Established, CloseWait, SynSent, SynRecv, NewSynRecv] {
        let mut line = Line::sent();
        line.state = state;
        line.call(&framed(&query(1, "a.")));
        assert_eq!(line.said(), ["1 q 19/19"], "{state:?}");
    }
}

#[test]
fn what_was_there_when_the_connection_ended_may_still_be_read() {
    for state in [TcpState::FinWait2, TcpState::CloseWait, TcpState::Close] {
        let mut line = Line::received();
        line.state = state;
        line.call(&framed(&answer(1, "a.", 0)));
        assert_eq!(line.said(), ["1 a 19/19"]);
    }
}
