//! Captures made by hand.

mod containers;
mod hostile;
mod links;
mod packets;
mod told;

use std::io::{Cursor, Read};

use etherparse::PacketBuilder;

use crate::{
    event::{Event, SocketMessage},
    source::{
        Begin, End, Entries as _, Entry, Unreadable,
        file::{Input, Kind},
    },
};

use super::{Capture, Watch};

pub const SECOND: u64 = 1_000_000_000;
pub const MS: u64 = 1_000_000;
/// When the captures below begin.
pub const START: u64 = 1_700_000_000 * SECOND;
pub const CLIENT: [u8; 4] = [10, 244, 1, 7];
pub const SERVER: [u8; 4] = [10, 96, 0, 10];
pub const ETHERNET: u32 = 1;
pub const RAW: u32 = 101;

/// A packet as it is put into a file.
#[derive(Clone, Debug)]
pub struct Captured {
    pub time: u64,
    pub interface: u32,
    pub data: Vec<u8>,
    /// On the wire.
    pub length: usize,
}

pub fn captured(time: u64, data: Vec<u8>) -> Captured {
    Captured { time, interface: 0, length: data.len(), data }
}

/// How a file is written.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    pub is_big_endian: bool,
}

pub const LITTLE: Order = Order { is_big_endian: false };
pub const BIG: Order = Order { is_big_endian: true };

impl Order {
    pub fn u16(self, value: u16) -> Vec<u8> {
        if self.is_big_endian { value.to_be_bytes().to_vec() } else { value.to_le_bytes().to_vec() }
    }

    pub fn u32(self, value: usize) -> Vec<u8> {
        let value = u32::try_from(value).unwrap();
        if self.is_big_endian { value.to_be_bytes().to_vec() } else { value.to_le_bytes().to_vec() }
    }

    pub fn u64(self, value: u64) -> Vec<u8> {
        if self.is_big_endian { value.to_be_bytes().to_vec() } else { value.to_le_bytes().to_vec() }
    }

    /// A block of pcapng.
    pub fn block(self, kind: usize, body: &[u8]) -> Vec<u8> {
        let padding = vec![0; body.len().wrapping_neg() % 4];
        let length = self.u32(12 + body.len() + padding.len());
        [self.u32(kind), length.clone(), body.to_vec(), padding, length].concat()
    }

    pub fn option(self, code: u16, value: &[u8]) -> Vec<u8> {
        let padding = vec![0; value.len().wrapping_neg() % 4];
        let length = u16::try_from(value.len()).unwrap();
        [self.u16(code), self.u16(length), value.to_vec(), padding].concat()
    }

    pub fn section(self) -> Vec<u8> {
        let body = [self.u32(0x1a2b_3c4d), self.u16(1), self.u16(0), self.u64(u64::MAX)].concat();
        self.block(0x0a0d_0d0a, &body)
    }

    pub fn interface(self, link: u32, options: &[Vec<u8>]) -> Vec<u8> {
        let end = if options.is_empty() { Vec::new() } else { self.option(0, &[]) };
        let link = u16::try_from(link).unwrap();
        self.block(1, &[self.u16(link), self.u16(0), self.u32(0), options.concat(), end].concat())
    }

    /// An enhanced packet block; `units` is its time as the interface counts it.
    pub fn packet(self, packet: &Captured, units: u64) -> Vec<u8> {
        let (high, low) = (units >> 32, units & 0xffff_ffff);
        let numbers =
            [packet.interface as usize, high as usize, low as usize, packet.data.len(), packet.length];
        self.block(6, &[numbers.map(|number| self.u32(number)).concat(), packet.data.clone()].concat())
    }
}

/// A pcap with nanoseconds.
pub fn pcap(link: u32, packets: &[Captured]) -> Vec<u8> {
    pcap_in(LITTLE, 1, link, packets)
}

/// A pcap in this byte order, its times in units of so many nanoseconds.
pub fn pcap_in(order: Order, unit: u64, link: u32, packets: &[Captured]) -> Vec<u8> {
    let magic = if unit == 1 { 0xa1b2_3c4d } else { 0xa1b2_c3d4 };
    let mut file = [order.u32(magic), order.u16(2), order.u16(4)].concat();
    file.extend([0, 0, 65_535, link as usize].map(|number| order.u32(number)).concat());
    for packet in packets {
        let (seconds, rest) = (packet.time / SECOND, packet.time % SECOND / unit);
        let head = [seconds as usize, rest as usize, packet.data.len(), packet.length];
        file.extend(head.map(|number| order.u32(number)).concat());
        file.extend(&packet.data);
    }
    file
}

/// A query for `name`, of type A.
pub fn query(id: u16, name: &str) -> Vec<u8> {
    message(id, [0x01, 0x00], name)
}

/// A response without records; NOERROR is 0.
pub fn response(id: u16, name: &str, rcode: u8) -> Vec<u8> {
    message(id, [0x81, 0x80 | rcode], name)
}

fn message(id: u16, flags: [u8; 2], name: &str) -> Vec<u8> {
    let mut message = [id.to_be_bytes(), flags, [0, 1], [0, 0], [0, 0], [0, 0]].concat();
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).unwrap());
        message.extend(label.bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    message
}

/// An IP packet with a datagram.
pub fn udp(from: ([u8; 4], u16), to: ([u8; 4], u16), payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ipv4(from.0, to.0, 64).udp(from.1, to.1);
    let mut packet = Vec::new();
    builder.write(&mut packet, payload).unwrap();
    packet
}

/// The query and the response of one lookup, two milliseconds apart.
pub fn lookup(time: u64, id: u16, name: &str) -> [Captured; 2] {
    let (client, server) = ((CLIENT, 40_000 + id), (SERVER, 53));
    [
        captured(time, udp(client, server, &query(id, name))),
        captured(time + 2 * MS, udp(server, client, &response(id, name, 0))),
    ]
}

/// What was read of a file.
#[derive(Debug)]
pub struct Whole {
    pub begin: Begin,
    pub events: Vec<Event>,
    pub end: End,
}

/// Reads a file.
pub fn read(file: Vec<u8>) -> Result<Whole, Unreadable> {
    read_from(Cursor::new(file))
}

pub fn read_from(bytes: impl Read + Send + 'static) -> Result<Whole, Unreadable> {
    let input = Input { name: "x.pcap".to_owned(), kind: Kind::Pcap, bytes: Box::new(bytes), is_live: false };
    let mut capture = Capture::open(input, Watch { ports: vec![53] })?;
    let Some(Entry::Begin(begin)) = capture.next()? else { panic!("it does not begin") };
    let mut events = Vec::new();
    loop {
        match capture.next()? {
            Some(Entry::Event(event)) => events.push(event),
            Some(Entry::Time(_)) => {}
            Some(Entry::End(end)) => {
                assert_eq!(capture.next().unwrap(), None);
                return Ok(Whole { begin: *begin, events, end: *end });
            }
            other => panic!("{other:?}"),
        }
    }
}

/// The messages of a file, which holds nothing else.
pub fn messages(file: Vec<u8>) -> Vec<SocketMessage> {
    let message = |event| match event {
        Event::Message(message) => message,
        other => panic!("{other:?}"),
    };
    read(file).unwrap().events.into_iter().map(message).collect()
}
