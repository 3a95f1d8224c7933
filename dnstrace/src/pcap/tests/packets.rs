//! What packets become.

use std::net::SocketAddr;

use etherparse::{IpNumber, Ipv4Header, Ipv6FragmentHeader, Ipv6Header, ip_number};

use super::*;
use crate::event::{Direction, Icmp, IcmpError, known_netns};

/// The fragments of an IP packet, with so many bytes each.
fn fragments(packet: &[u8], size: usize) -> Vec<Vec<u8>> {
    let (header, payload) = Ipv4Header::from_slice(packet).unwrap();
    let count = payload.len().div_ceil(size);
    let fragment = |(index, part): (usize, &[u8])| {
        let mut header = header.clone();
        header.dont_fragment = false;
        header.identification = 7;
        header.more_fragments = index + 1 < count;
        header.fragment_offset = u16::try_from(index * size / 8).unwrap().try_into().unwrap();
        header.set_payload_len(part.len()).unwrap();
        [header.to_bytes().to_vec(), part.to_vec()].concat()
    };
    payload.chunks(size).enumerate().map(fragment).collect()
}

fn long_query() -> Vec<u8> {
    [query(1, "example.com"), vec![0; 3_000]].concat()
}

/// A file of these packets, so many milliseconds after the start.
fn file(packets: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let packets: Vec<_> =
        packets.iter().map(|(time, data)| captured(START + time * MS, data.clone())).collect();
    pcap(RAW, &packets)
}

#[test]
fn a_client_sends_queries_and_receives_answers() {
    let [asked, answered] = &messages(pcap(RAW, &lookup(START, 1, "example.com")))[..] else { panic!() };
    assert_eq!((asked.direction, answered.direction), (Direction::Sent, Direction::Received));
    assert_eq!(asked.flow, answered.flow.reversed());
    assert_eq!((asked.socket, asked.netns), (answered.socket, answered.netns));
    assert_eq!(known_netns(asked.netns), None);
    assert!(!asked.task.is_known());
    // Between two servers the message tells.
    let between = udp((CLIENT, 53), (SERVER, 53), &response(1, "example.com", 0));
    let [message] = &messages(file(&[(0, between)]))[..] else { panic!() };
    assert_eq!(message.direction, Direction::Received);
    // Other ports are of no concern.
    assert_eq!(messages(file(&[(0, udp((CLIENT, 40_000), (SERVER, 80), b"GET /"))])), []);
}

#[test]
fn what_the_snapshot_length_cut_off_is_missing() {
    let packet = udp((CLIENT, 40_000), (SERVER, 53), &query(1, "example.com"));
    let cut = |to: usize| Captured { data: packet[..to].to_vec(), ..captured(START, packet.clone()) };
    let [message] = &messages(pcap(RAW, &[cut(20 + 8 + 14)]))[..] else { panic!() };
    assert_eq!((message.payload.len(), message.length as usize), (14, packet.len() - 28));
    // Not even the ports are there.
    let read = read(pcap(RAW, &[cut(22), cut(10)])).unwrap();
    assert_eq!((read.events.len(), read.end.losses.packets_unreadable), (0, 2));
}

#[test]
fn fragments_are_put_together_in_any_order() {
    let packet = udp((CLIENT, 40_000), (SERVER, 53), &long_query());
    let mut parts = fragments(&packet, 1_480);
    assert_eq!(parts.len(), 3);
    parts.rotate_left(1);
    let parts: Vec<_> = (0..).zip(parts).collect();
    let [message] = &messages(file(&parts))[..] else { panic!() };
    assert_eq!(message.payload, long_query());
    assert_eq!((message.length as usize, message.time.0 - START), (3_029, 2 * MS));
}

#[test]
fn fragments_of_ipv6_are_put_together() {
    let builder = PacketBuilder::ipv6([1; 16], [2; 16], 64).udp(40_000, 53);
    let mut packet = Vec::new();
    builder.write(&mut packet, &long_query()).unwrap();
    let (header, payload) = Ipv6Header::from_slice(&packet).unwrap();
    let part = |at: usize, part: &[u8], more| {
        let offset = u16::try_from(at / 8).unwrap().try_into().unwrap();
        let fragment = Ipv6FragmentHeader::new(ip_number::UDP, offset, more, 9).to_bytes();
        let mut header = header.clone();
        header.next_header = IpNumber::IPV6_FRAGMENTATION_HEADER;
        header.set_payload_length(fragment.len() + part.len()).unwrap();
        [header.to_bytes().as_slice(), &fragment, part].concat()
    };
    let parts = [part(0, &payload[..2_400], true), part(2_400, &payload[2_400..], false)];
    let [message] = &messages(file(&[(0, parts[0].clone()), (1, parts[1].clone())]))[..] else { panic!() };
    assert_eq!(message.payload, long_query());
}

#[test]
fn of_a_datagram_without_its_later_fragments_the_first_is_told() {
    let packet = udp((CLIENT, 40_000), (SERVER, 53), &long_query());
    let parts = fragments(&packet, 1_480);
    let file =
        file(&[(0, parts[0].clone()), (900, udp((CLIENT, 40_001), (SERVER, 53), &query(2, "b.example")))]);
    let [first, _] = &messages(file)[..] else { panic!() };
    assert_eq!((first.payload.len(), first.length as usize, first.time.0), (1_472, 3_029, START));
}

#[test]
fn a_datagram_without_its_first_fragment_is_counted() {
    let dns = fragments(&udp((CLIENT, 40_000), (SERVER, 53), &long_query()), 1_480);
    let read_ = read(file(&[(0, dns[1].clone()), (1, dns[2].clone())])).unwrap();
    assert_eq!((read_.events.len(), read_.end.losses.fragments_without_first), (0, 1));
    // Of other ports it is no loss.
    let others = fragments(&udp((CLIENT, 40_000), (SERVER, 80), &long_query()), 1_480);
    let read_ = read(file(&[(0, others[0].clone()), (1, others[1].clone())])).unwrap();
    assert_eq!((read_.events.len(), read_.end.losses.fragments_without_first), (0, 0));
}

#[test]
fn a_packet_at_several_interfaces_is_counted_once() {
    let [packet, _] = lookup(START, 1, "example.com");
    let at = |mac: u8, time: u64| {
        captured(START + time * MS, [[mac; 12].as_slice(), &[8, 0], &packet.data].concat())
    };
    let count = |packets: &[Captured]| {
        let read = read(pcap(ETHERNET, packets)).unwrap();
        (read.events.len(), read.end.notes)
    };
    let note = |packets: &str| vec![format!("{packets} captured at a further interface, counted once")];
    assert_eq!(count(&[at(1, 0), at(2, 1), at(3, 2)]), (1, note("2 packets")));
    // Twice the same way: it was sent twice. And each of them has its copy.
    assert_eq!(count(&[at(1, 0), at(1, 1)]), (2, vec![]));
    assert_eq!(count(&[at(1, 0), at(2, 0), at(1, 1), at(2, 1)]), (2, note("2 packets")));
    // A moment is short.
    assert_eq!(count(&[at(1, 0), at(2, 500)]), (2, vec![]));
    // With another identification it is another packet; with another checksum it is the same.
    let changed = |byte: usize| {
        let mut other = at(2, 1);
        other.data[byte] ^= 1;
        other
    };
    assert_eq!(count(&[at(1, 0), changed(14 + 5)]).0, 2);
    assert_eq!(count(&[at(1, 0), changed(14 + 20 + 7)]).0, 1);
}

#[test]
fn icmp_errors_are_about_what_they_quote() {
    let asked = udp((CLIENT, 40_000), (SERVER, 53), &query(1, "example.com"));
    let answered = udp((SERVER, 53), (CLIENT, 40_000), &response(1, "example.com", 0));
    let error = |quoted: &[u8]| {
        let mut packet = Vec::new();
        let icmp = PacketBuilder::ipv4(SERVER, CLIENT, 64).icmpv4_raw(3, 3, [0; 4]);
        icmp.write(&mut packet, quoted).unwrap();
        packet
    };
    let events = |quoted: &[u8]| read(file(&[(0, error(quoted))])).unwrap().events;
    let [Event::Icmp(icmp)] = &events(&asked)[..] else { panic!() };
    let Icmp { packet, direction, error: told, .. } = &**icmp;
    assert_eq!((*direction, *told), (Direction::Received, IcmpError::V4 { kind: 3, code: 3 }));
    assert_eq!(packet.payload, query(1, "example.com"));
    assert_eq!(packet.flow.source, SocketAddr::from((CLIENT, 40_000)));
    let [Event::Icmp(icmp)] = &events(&answered)[..] else { panic!() };
    assert_eq!(icmp.direction, Direction::Sent);
    // Cut off behind the ports; and of no concern.
    let [Event::Icmp(icmp)] = &events(&asked[..28])[..] else { panic!() };
    assert_eq!((icmp.packet.payload.len(), icmp.packet.length as usize), (0, asked.len() - 28));
    assert_eq!(events(&udp((CLIENT, 40_000), (SERVER, 80), b"x")), []);
}

#[test]
fn packets_are_put_into_the_order_of_their_time() {
    let ask = |port: u16| udp((CLIENT, port), (SERVER, 53), &query(port, "example.com"));
    let at = |times: &[(u64, u16)]| {
        let packets: Vec<_> = times.iter().map(|(time, port)| (*time, ask(*port))).collect();
        let read = read(file(&packets)).unwrap();
        let times: Vec<_> = read.events.iter().map(|event| (event.time().0 - START) / MS).collect();
        (times, read.end.losses.out_of_order)
    };
    assert_eq!(at(&[(10, 1), (5, 2), (900, 3), (7, 4)]), (vec![5, 7, 10, 900], 0));
    assert_eq!(at(&[(10, 1), (20, 5), (5_000, 2), (12, 3)]), (vec![10, 20, 12, 5_000], 1));
}
