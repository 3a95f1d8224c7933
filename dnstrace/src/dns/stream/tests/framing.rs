//! Messages whose bytes were all seen.

use super::*;

#[test]
fn a_message_in_a_call_is_told_with_its_time_task_and_addresses() {
    for (mut line, flow) in [(Line::sent(), flow()), (Line::received(), flow().reversed())] {
        let message = query(4711, "a.example.");
        line.call(&framed(&message));
        let [Framed::Message(told)] = &line.out[..] else { panic!("{:?}", line.out) };
        assert_eq!(told.payload, message);
        assert_eq!(told.length as usize, message.len());
        assert_eq!((told.direction, told.flow), (line.direction, flow));
        assert_eq!((told.time, told.netns, told.socket), (KernelTime(1), NETNS, SOCKET));
        assert_eq!((&told.task, told.arrived, told.gap), (&task(1), None, None));
    }
}

#[test]
fn the_length_may_come_in_a_call_of_its_own() {
    for mut line in [Line::sent(), Line::received(), Line::received().opened()] {
        for id in [1, 2] {
            let bytes = framed(&query(id, "a.example."));
            line.call(&bytes[..2]).call(&bytes[2..]);
        }
        assert_eq!(line.said(), ["1 q 27/27", "2 q 27/27"]);
    }
}

#[test]
fn the_length_may_be_split() {
    for mut line in [Line::sent(), Line::sent().opened()] {
        let bytes = framed(&query(1, "a.example."));
        line.call(&bytes[..1]).call(&bytes[1..2]).call(&bytes[2..]);
        line.call(&bytes[..1]).call(&bytes[1..]);
        assert_eq!(line.said(), ["1 q 27/27", "1 q 27/27"]);
    }
}

#[test]
fn a_message_over_many_calls_is_told_by_the_last() {
    for mut line in [Line::received(), Line::received().opened()] {
        let bytes = framed(&answer(1, "a.example.", 60_000));
        for part in bytes.chunks(4096) {
            assert!(line.out.is_empty());
            line.tid += 1;
            line.call(part);
        }
        let [Framed::Message(told)] = &line.out[..] else { panic!("{:?}", line.out) };
        assert_eq!(told.payload, bytes[2..]);
        assert_eq!((told.time, told.task.tid), (KernelTime(line.time), line.tid));
    }
}

#[test]
fn one_byte_a_call_is_enough() {
    for mut line in [Line::sent(), Line::sent().opened()] {
        for byte in all(&[query(1, "a.example."), query(2, "b.example.")]) {
            line.call(&[byte]);
        }
        assert_eq!(line.said(), ["1 q 27/27", "2 q 27/27"]);
        assert!(line.end().said().is_empty());
    }
}

#[test]
fn several_messages_may_come_in_one_call() {
    let mut line = Line::sent();
    line.call(&all(&[query(1, "a."), query(2, "b."), query(3, "c.")]));
    assert_eq!(line.said(), ["1 q 19/19", "2 q 19/19", "3 q 19/19"]);
}

#[test]
fn a_call_may_end_one_message_and_begin_the_next() {
    let mut line = Line::received();
    let bytes = all(&[answer(3, "a.", 300), answer(1, "b.", 300), answer(2, "c.", 300)]);
    let length = (bytes.len() / 3 - 2).to_string();
    for part in bytes.chunks(501) {
        line.call(part);
    }
    assert_eq!(line.said(), ["3", "1", "2"].map(|id| format!("{id} a {length}/{length}")));
}

#[test]
fn both_directions_are_streams_of_their_own() {
    let mut line = Line::sent();
    let (question, reply) = (framed(&query(1, "a.")), framed(&answer(1, "a.", 50)));
    line.call(&question[..9]);
    line.direction = Direction::Received;
    line.seq = 9_000;
    line.call(&reply);
    line.direction = Direction::Sent;
    line.seq = 1_009;
    line.call(&question[9..]);
    assert_eq!(line.said(), [format!("1 a {0}/{0}", reply.len() - 2), "1 q 19/19".to_owned()]);
}

#[test]
fn a_message_without_bytes_is_told() {
    let mut line = Line::sent();
    line.call(&framed(&query(1, "a."))).call(&[0, 0]).call(&framed(&query(2, "a.")));
    line.call(&[&[0, 0][..], &framed(&query(3, "a."))].concat());
    assert_eq!(line.said(), ["1 q 19/19", "message 0/0", "2 q 19/19", "message 0/0", "3 q 19/19"]);
}

#[test]
fn a_stream_that_begins_without_bytes_is_no_reason_to_miss_the_rest() {
    for mut line in [Line::sent(), Line::sent().opened()] {
        line.call(&[0, 0]).call(&framed(&query(1, "a.")));
        assert_eq!(line.said(), ["skipped 2/2", "1 q 19/19"]);
    }
}

#[test]
fn a_single_message_that_is_not_dns_does_not_break_the_step() {
    let mut line = Line::sent();
    line.call(&framed(&query(1, "a."))).call(&framed(&[0xff; 30])).call(&framed(&query(2, "a.")));
    assert_eq!(line.said(), ["1 q 19/19", "65535 a 30/30", "2 q 19/19"]);
}

#[test]
fn a_header_alone_may_be_the_first_message_of_a_connection() {
    let mut refusal = answer(1, "a.", 0)[..12].to_vec();
    refusal[3] = 1; // FORMERR
    refusal[5] = 0; // no question
    let mut line = Line::received().opened();
    line.call(&framed(&refusal)).call(&framed(&answer(2, "a.", 0)));
    assert_eq!(line.said(), ["1 a 12/12", "2 a 19/19"]);
}

#[test]
fn the_end_of_a_connection_tells_what_is_unfinished() {
    let bytes = framed(&query(1, "a.example."));
    for (seen, told) in
        [(29, None), (20, Some("1 q 18/27")), (2, Some("message 0/27")), (1, Some("skipped 1/1"))]
    {
        let mut line = Line::sent();
        line.call(&bytes).said();
        line.call(&bytes[..seen]).said();
        line.end();
        if let Some(last) = line.out.last() {
            assert_eq!(message_of(last).time, KernelTime(3));
        }
        assert_eq!(line.said(), Vec::from_iter(told));
        assert!(line.end().said().is_empty());
    }
}

#[test]
fn the_end_of_the_trace_tells_what_is_unfinished_of_every_connection() {
    let mut line = Line::sent();
    line.call(&framed(&answer(1, "a.", 100))[..50]);
    line.socket += 1;
    line.call(&framed(&query(2, "a."))[..18]);
    line.streams.finish(KernelTime(9), &mut line.out);
    assert_eq!(line.said(), ["1 a 48/132", "skipped 18/18"]);
}
