use std::{net::Ipv4Addr, str::FromStr as _};

use hickory_proto::{
    op::{Edns as OptRecord, Message as Built, OpCode, Query, ResponseCode},
    rr::{Name, RData, Record as ResourceRecord, RecordType, rdata},
};
use proptest::prelude::*;

use super::*;

fn query(name: &str) -> Built {
    let mut built = Built::new(4711, MessageType::Query, OpCode::Query);
    built.metadata.recursion_desired = true;
    built.add_query(Query::query(Name::from_str(name).unwrap(), RecordType::A));
    built
}

fn answer(name: &str, addresses: &[Ipv4Addr]) -> Built {
    let mut built = query(name);
    built.metadata.message_type = MessageType::Response;
    built.metadata.recursion_available = true;
    for address in addresses {
        let owner = Name::from_str(name).unwrap();
        built.add_answer(ResourceRecord::from_rdata(owner, 30, RData::A(rdata::A(*address))));
    }
    built
}

fn whole(payload: &[u8]) -> Decoded {
    decode(payload, u32::try_from(payload.len()).unwrap())
}

#[test]
fn a_query_is_read_whole_and_its_name_folded() {
    let mut built = query("API.Shop.svc.cluster.local.");
    let mut edns = OptRecord::new();
    edns.set_max_payload(4096).set_dnssec_ok(true);
    built.set_edns(edns);
    let decoded = whole(&built.to_vec().unwrap());
    assert_eq!(decoded.defect, None);
    let message = decoded.message.unwrap();
    assert_eq!((message.id, message.response), (4711, false));
    assert_eq!(
        message.question,
        Some(Question { name: "api.shop.svc.cluster.local.".into(), qtype: 1, qclass: 1 })
    );
    assert_eq!(message.edns, Some(Edns { version: 0, udp_size: 4096, dnssec_ok: true }));
    assert!(message.flags.recursion_desired && !message.flags.truncated);
}

#[test]
fn an_answer_has_its_records() {
    let payload = answer("a.example.", &[Ipv4Addr::new(10, 96, 3, 4), Ipv4Addr::new(10, 96, 3, 5)]);
    let message = whole(&payload.to_vec().unwrap()).message.unwrap();
    assert!(message.response && !message.is_nodata());
    let data: Vec<_> = message.answers.iter().map(|record| (record.ttl, record.data.as_str())).collect();
    assert_eq!(data, [(30, "10.96.3.4"), (30, "10.96.3.5")]);
}

#[test]
fn nodata_is_noerror_without_answer_but_not_a_referral_nor_nxdomain() {
    let mut built = answer("a.example.", &[]);
    assert!(whole(&built.to_vec().unwrap()).message.unwrap().is_nodata());
    built.metadata.response_code = ResponseCode::NXDomain;
    let message = whole(&built.to_vec().unwrap()).message.unwrap();
    assert_eq!((message.rcode, message.is_nodata()), (rcodes::NXDOMAIN, false));
}

#[test]
fn nodata_may_follow_an_alias() {
    let mut built = answer("a.example.", &[]);
    let alias = RData::CNAME(rdata::CNAME(Name::from_str("b.example.").unwrap()));
    built.add_answer(ResourceRecord::from_rdata(Name::from_str("a.example.").unwrap(), 30, alias));
    let message = whole(&built.to_vec().unwrap()).message.unwrap();
    assert!(message.is_nodata());
    assert_eq!(message.answers[0].data, "b.example.");
}

#[test]
fn the_extended_rcode_is_put_together() {
    let mut built = answer("a.example.", &[]);
    built.metadata.response_code = ResponseCode::BADVERS;
    built.set_edns(OptRecord::new());
    let message = whole(&built.to_vec().unwrap()).message.unwrap();
    assert_eq!(rcode(message.rcode), "BADVERS");
}

#[test]
fn a_capture_that_ends_early_keeps_what_it_has_and_says_what_is_missing() {
    let payload =
        answer("a.example.", &[Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)]).to_vec().unwrap();
    let length = u32::try_from(payload.len()).unwrap();
    let decoded = decode(&payload[..payload.len() - 3], length);
    assert_eq!(decoded.defect, Some(Defect::Cut { missing: 3 }));
    let message = decoded.message.unwrap();
    assert_eq!(message.answers.len(), 1);
    assert_eq!(message.counts.answers, 2);
    assert_eq!(
        decode(&payload[..5], length),
        Decoded { message: None, defect: Some(Defect::Cut { missing: length - 5 }) }
    );
}

#[test]
fn a_broken_message_keeps_its_question() {
    let mut payload = answer("a.example.", &[Ipv4Addr::new(10, 0, 0, 1)]).to_vec().unwrap();
    let end = payload.len();
    payload[end - 5] = 200; // RDLENGTH beyond the end
    let decoded = whole(&payload);
    assert!(matches!(decoded.defect, Some(Defect::Malformed(_))), "{decoded:?}");
    assert_eq!(decoded.message.unwrap().question.unwrap().name, "a.example.");
}

#[test]
fn data_that_cannot_be_written_as_text_is_no_end() {
    // Found by fuzzing.
    #[rustfmt::skip]
    let payload = [
        0x12, 0x67, 0x80, 0x00, 0x00, 0x01, 0x00, 0x05, 0x00, 0x00, 0x00, 0x00, 0x03, 0x77, 0x77, 0x77,
        0x07, 0x65, 0x78, 0x60, 0x6d, 0x70, 0x6c, 0x65, 0x03, 0x63, 0x6f, 0x6d, 0x00, 0x00, 0x01, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xff, 0x90, 0x00, 0x00, 0x00, 0x00, 0xff, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x29, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x11, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x09, 0x00, 0x0a,
        0x04, 0xff, 0xff, 0xff, 0x01,
    ];
    assert!(whole(&payload).message.is_some());
}

#[test]
fn what_is_not_dns_is_not_called_dns() {
    for payload in [&b""[..], b"hello", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", &[0xff; 40]] {
        assert_eq!(whole(payload), Decoded { message: None, defect: Some(Defect::NotDns) }, "{payload:?}");
    }
}

#[test]
fn hostile_names_are_escaped() {
    let name = Name::from_labels([&b"a.b"[..], b"\x1b[31m", b"\xff;"]).unwrap();
    assert_eq!(present(&name), "a\\.b.\\027[31m.\\255\\;.");
    assert_eq!(present(&Name::root()), ".");
}

#[test]
fn numbers_without_a_name_are_shown_as_numbers() {
    assert_eq!(record_type(28), "AAAA");
    assert_eq!(record_type(65_280), "TYPE65280");
    assert_eq!(record_class(1), "IN");
    assert_eq!(record_class(7), "CLASS7");
    assert_eq!(opcode(9), "OPCODE9");
    assert_eq!(rcode(3841), "RCODE3841");
}

proptest! {
    #[test]
    fn no_bytes_can_break_it(payload in proptest::collection::vec(any::<u8>(), 0..600), more in 0u32..70_000) {
        let length = u32::try_from(payload.len()).unwrap().saturating_add(more);
        let _ = decode(&payload, length);
    }

    #[test]
    fn nor_can_a_flipped_byte_of_a_real_message(at in 0usize..60, byte in any::<u8>(), cut in 0usize..60) {
        let mut payload = answer("a.b.example.", &[Ipv4Addr::new(10, 0, 0, 1)]).to_vec().unwrap();
        if let Some(place) = payload.get_mut(at) { *place = byte; }
        payload.truncate(cut);
        let _ = decode(&payload, 60);
    }
}
