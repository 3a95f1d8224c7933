//! Both formats, in both byte orders, and what is wrong with files.

use std::io::{self, Read};

use super::*;

/// Times and lengths of the messages in a file.
fn times(file: Vec<u8>) -> Vec<u64> {
    messages(file).iter().map(|message| message.time.0 - START).collect()
}

/// Hands over a byte at a time, as a slow pipe does.
struct Drops(Cursor<Vec<u8>>);

impl Read for Drops {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let one = buffer.len().min(1);
        self.0.read(&mut buffer[..one])
    }
}

#[test]
fn a_pcap_is_read_in_every_byte_order_and_resolution() {
    let packets = lookup(START + 1_000, 1, "example.com");
    for order in [LITTLE, BIG] {
        for unit in [1, 1_000] {
            assert_eq!(
                times(pcap_in(order, unit, RAW, &packets)),
                [1_000, 2 * MS + 1_000],
                "{order:?} {unit}"
            );
        }
    }
    // The upper half of the link type is not of it.
    assert_eq!(times(pcap(RAW | 0x5000_0000, &packets)).len(), 2);
}

#[test]
fn a_pcapng_is_read_with_the_clock_of_each_interface() {
    const SECONDS: u64 = START / SECOND;
    let [packet, _] = lookup(0, 1, "example.com");
    let at = |interface| Captured { interface, ..packet.clone() };
    for order in [LITTLE, BIG] {
        let file = [
            order.section(),
            order.interface(RAW, &[]),
            order.interface(RAW, &[order.option(9, &[9])]),
            order.interface(RAW, &[order.option(9, &[0x80 | 10])]),
            order.interface(RAW, &[order.option(14, &order.u64(SECONDS))]),
            // Of one that was not described.
            order.packet(&at(4), 0),
            order.packet(&at(0), START / 1_000 + 1),
            order.packet(&at(1), START + 2 * SECOND),
            order.packet(&at(2), (SECONDS + 4) << 10 | 512),
            order.packet(&at(3), 6_000_000),
            // Another section, in the other order.
            BIG.section(),
            BIG.interface(RAW, &[]),
            BIG.packet(&at(0), START / 1_000 + 8_000_000),
        ];
        let read = read(file.concat()).unwrap();
        let times: Vec<_> = read.events.iter().map(|event| event.time().0 - START).collect();
        assert_eq!(times, [1_000, 2 * SECOND, 4 * SECOND + SECOND / 2, 6 * SECOND, 8 * SECOND], "{order:?}");
        assert_eq!(read.end.losses.packets_unreadable, 1);
        assert_eq!((read.begin.time.0 - START, read.end.time.0 - START), (1_000, 8 * SECOND));
    }
}

#[test]
fn however_slowly_a_file_comes_it_says_the_same() {
    let file = pcap(RAW, &lookup(START, 1, "example.com"));
    let slowly = read_from(Drops(Cursor::new(file.clone()))).unwrap();
    assert_eq!(slowly.events, read(file).unwrap().events);
    let [one, _] = lookup(START, 1, "example.com");
    let file = [LITTLE.section(), LITTLE.interface(RAW, &[]), LITTLE.packet(&one, START / 1_000)].concat();
    assert_eq!(read_from(Drops(Cursor::new(file.clone()))).unwrap().events, read(file).unwrap().events);
}

#[test]
fn what_is_whole_of_a_file_that_ends_early_is_read() {
    let mut file = pcap(RAW, &lookup(START, 1, "example.com"));
    assert_eq!(read(file.clone()).unwrap().end.notes, [""; 0]);
    file.truncate(file.len() - 1);
    let read = read(file).unwrap();
    assert_eq!(read.events.len(), 1);
    assert_eq!(read.end.notes, ["x.pcap ends within a packet: its writer was killed, or is still at work"]);
}

#[test]
fn what_is_before_damage_is_read() {
    let packets = lookup(START, 1, "example.com");
    let mut file = pcap(RAW, &packets);
    let second = 24 + 16 + packets[0].data.len();
    file[second + 8..second + 12].copy_from_slice(&[0xff; 4]);
    let read = read(file).unwrap();
    assert_eq!(read.events.len(), 1);
    let note = format!(
        "x.pcap: it is damaged at byte {second}: a block of impossible length; what follows was not read"
    );
    assert_eq!(read.end.notes, [note]);
}

#[test]
fn what_is_no_capture_or_of_an_unknown_link_is_refused() {
    let why = |file: Vec<u8>| read(file).unwrap_err().to_string();
    assert_eq!(
        why(b"hello, world: no capture at all".to_vec()),
        "cannot read x.pcap: it begins neither as pcap nor as pcapng does"
    );
    assert_eq!(why(Vec::new()), "cannot read x.pcap: it begins neither as pcap nor as pcapng does");
    assert!(why(pcap(127, &[])).contains("link type 127"), "{}", why(pcap(127, &[])));
    // Other interfaces of the file are read.
    let [one, _] = lookup(START, 1, "example.com");
    let other = Captured { interface: 1, ..one.clone() };
    let file = [
        LITTLE.section(),
        LITTLE.interface(RAW, &[]),
        LITTLE.interface(127, &[]),
        LITTLE.packet(&one, START / 1_000),
        LITTLE.packet(&other, START / 1_000),
    ];
    let read = read(file.concat()).unwrap();
    assert_eq!(read.events.len(), 1);
    assert!(
        read.end.notes[0].starts_with("x.pcap: 1 packets were not read: its packets are of link type 127")
    );
}

#[test]
fn what_the_capture_lost_is_a_loss() {
    let [one, two] = lookup(START, 1, "example.com");
    let statistics = |order: Order, units: u64, dropped: u64| {
        let time =
            [(units >> 32) as usize, (units & 0xffff_ffff) as usize].map(|half| order.u32(half)).concat();
        let options =
            [order.option(5, &order.u64(dropped)), order.option(7, &order.u64(1)), order.option(0, &[])];
        order.block(5, &[order.u32(0), time, options.concat()].concat())
    };
    for order in [LITTLE, BIG] {
        let file = [
            order.section(),
            order.interface(RAW, &[]),
            order.packet(&one, START / 1_000),
            statistics(order, START / 1_000 + 1_000, 3),
            order.packet(&two, START / 1_000 + 2_000),
            // It counts from the beginning.
            statistics(order, START / 1_000 + 3_000, 5),
        ];
        let read = read(file.concat()).unwrap();
        assert_eq!(read.end.losses.packets_not_captured, 6, "{order:?}");
        let losses = read.events.iter().filter_map(|event| match event {
            Event::Loss(loss) => Some((loss.since.0 - START, loss.time.0 - START, loss.events)),
            _ => None,
        });
        let losses: Vec<_> = losses.collect();
        assert_eq!(losses, [(0, MS, 4), (MS, 3 * MS, 2)]);
    }
}
