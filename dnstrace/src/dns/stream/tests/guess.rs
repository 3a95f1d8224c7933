//! What looks like a message.

use hickory_proto::{op::ResponseCode, rr::DNSClass};

use super::{
    super::guess::{
        Guess::{self, More, No, Yes},
        begins, is_other_protocol, may_begin,
    },
    *,
};

/// What is guessed of a message where one is due, and anywhere.
fn guesses(message: &Built) -> (Guess, Guess) {
    let bytes = framed(&message.to_vec().unwrap());
    (may_begin(&bytes), begins(&bytes))
}

fn message(message_type: MessageType, questions: usize) -> Built {
    let mut built = Built::new(1, message_type, OpCode::Query);
    for _ in 0..questions {
        built.add_query(Query::query(Name::from_str("a.example.").unwrap(), RecordType::A));
    }
    built
}

fn with_answer(mut built: Built, class: DNSClass) -> Built {
    let data = RData::TXT(TXT::new(vec!["x".repeat(200)]));
    let mut record = ResourceRecord::from_rdata(Name::from_str("a.example.").unwrap(), 30, data);
    record.dns_class = class;
    built.add_answer(record);
    built
}

fn with_error(mut built: Built) -> Built {
    built.metadata.response_code = ResponseCode::FormErr;
    built
}

#[test]
fn messages_as_they_are_met() {
    use MessageType::{Query, Response};
    for usual in [
        message(Query, 1),
        message(Response, 1),
        with_error(message(Response, 1)),
        with_answer(message(Response, 1), DNSClass::IN),
        with_answer(message(Response, 0), DNSClass::IN),
        with_error(message(Response, 0)),
    ] {
        assert_eq!(guesses(&usual), (Yes, Yes), "{usual}");
    }
}

#[test]
fn messages_that_prove_nothing_by_themselves() {
    use MessageType::{Query, Response};
    let mut of_no_class = message(Query, 1);
    of_no_class.queries[0].set_query_class(DNSClass::from(7));
    for odd in [
        of_no_class,
        message(Query, 0),
        message(Query, 2),
        message(Response, 0),
        with_error(message(Query, 1)),
        with_answer(message(Query, 0), DNSClass::IN),
        with_answer(message(Response, 0), DNSClass::from(7)),
    ] {
        assert_eq!(guesses(&odd), (Yes, No), "{odd}");
    }
}

#[test]
fn a_header_followed_by_what_it_does_not_announce_is_no_refusal() {
    let mut refusal = with_error(message(MessageType::Response, 0)).to_vec().unwrap();
    refusal.extend([0; 5]);
    assert_eq!(begins(&framed(&refusal)), No);
}

#[test]
fn too_few_bytes_wait_for_more() {
    let bytes = framed(&query(1, "a.example."));
    for end in 0..bytes.len() {
        assert_eq!(begins(&bytes[..end]), More, "{end}");
    }
    assert_eq!(begins(&bytes), Yes);
}

#[test]
fn what_cannot_be_a_message_is_known_as_soon_as_can_be() {
    for bytes in [&[0, 0][..], &[0, 11], &[&[0, 40][..], &[0xff; 12]].concat(), &[0xff; 14]] {
        assert_eq!((may_begin(bytes), begins(bytes)), (No, No), "{bytes:?}");
    }
}

#[test]
fn a_question_that_cannot_be_read_is_not_waited_for() {
    let mut bytes = framed(&answer(1, "a.example.", 5_000));
    bytes[14] = 0x80; // a label type that does not exist
    assert_eq!([&bytes[..40], &bytes[..400]].map(begins), [More, No]);
}

#[test]
fn no_message_is_taken_for_another_protocol() {
    for message in [query(1, "a."), answer(0x5353, "a.", 300)] {
        assert!(!is_other_protocol(&framed(&message)));
    }
}
