//! Every link that is known.

use super::*;

/// A header of Linux cooked, version 1, of a packet of this protocol.
fn cooked(protocol: u16) -> Vec<u8> {
    [[0; 14].as_slice(), &protocol.to_be_bytes()].concat()
}

#[test]
fn every_link_carries_the_same_packet() {
    const IPV4: [u8; 2] = [0x08, 0x00];
    let macs = [2; 12];
    let headers: Vec<(u32, Vec<u8>)> = vec![
        (1, [macs.as_slice(), &IPV4].concat()),
        // VLAN, and QinQ in both fashions.
        (1, [macs.as_slice(), &[0x81, 0, 0, 7], &IPV4].concat()),
        (1, [macs.as_slice(), &[0x88, 0xa8, 0, 7, 0x81, 0, 0, 8], &IPV4].concat()),
        (1, [macs.as_slice(), &[0x91, 0, 0, 7, 0x81, 0, 0, 8], &IPV4].concat()),
        (113, cooked(0x0800)),
        (113, [cooked(0x8100), [0, 7, 0x08, 0].to_vec()].concat()),
        (276, [IPV4.as_slice(), &[0; 18]].concat()),
        (0, vec![2, 0, 0, 0]),
        (0, vec![0, 0, 0, 2]),
        (108, vec![0, 0, 0, 2]),
        (12, vec![]),
        (14, vec![]),
        (101, vec![]),
        (228, vec![]),
    ];
    let [packet, _] = lookup(START, 1, "example.com");
    for (link, header) in headers {
        // Ethernet fills up short frames.
        let data = [header.clone(), packet.data.clone(), vec![0; 9]].concat();
        let [message] = &messages(pcap(link, &[captured(START, data)]))[..] else {
            panic!("{link} {header:?}")
        };
        assert_eq!(message.payload, query(1, "example.com"), "{link} {header:?}");
        assert_eq!((message.length as usize, message.gap), (message.payload.len(), None));
    }
}

#[test]
fn ipv6_is_read_on_each_link_that_has_it() {
    let mut packet = Vec::new();
    let builder = PacketBuilder::ipv6([1; 16], [2; 16], 64).udp(40_000, 53);
    builder.write(&mut packet, &query(1, "example.com")).unwrap();
    let ethernet = [[2; 12].as_slice(), &[0x86, 0xdd]].concat();
    for (link, header) in [
        (1, ethernet),
        (113, cooked(0x86dd)),
        (0, vec![0, 0, 0, 30]),
        (108, vec![0, 0, 0, 24]),
        (229, vec![]),
    ] {
        let data = [header, packet.clone()].concat();
        let [message] = &messages(pcap(link, &[captured(START, data)]))[..] else { panic!("{link}") };
        assert_eq!(message.payload, query(1, "example.com"), "{link}");
        assert!(message.flow.source.is_ipv6());
    }
}

#[test]
fn what_is_not_ip_is_passed_over_and_what_is_cut_off_is_counted() {
    let arp = [[2; 12].as_slice(), &[0x08, 0x06], &[0; 28]].concat();
    let short = vec![2; 13];
    let tag = [[2; 12].as_slice(), &[0x81, 0, 0]].concat();
    let read = read(pcap(ETHERNET, &[arp, short, tag].map(|data| captured(START, data)))).unwrap();
    assert_eq!((read.events.len(), read.end.losses.packets_unreadable), (0, 2));
}
