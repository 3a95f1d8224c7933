//! From captured packets to events: headers off, fragments together, copies out, into the order of their time, and through the
//! TCP connections.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::SocketAddr,
};

use crate::{
    event::{Direction, Event, KernelTime, Loss, SocketMessage, Task},
    source::Order,
};

use super::{
    Watch,
    container::Frame,
    copies::{Copies, Place},
    fragments::{Fragments, Whole},
    hosts::Hosts,
    ip::{self, IpPacket},
    link::{self, Carried},
    tcp::Connections,
    transport::{self, Carries, Read},
};

/// How long a packet is held back for an earlier one that comes after it, in nanoseconds: of another interface, or of fragments.
/// Longer than [`super::fragments`] waits.
const WINDOW: u64 = 1_000_000_000;
/// Packets that are held back at the most, and bytes of them.
const MOST: usize = 65_536;
const MOST_BYTES: usize = 64 << 20;

/// A packet of concern, in its place.
#[derive(Debug)]
struct Packet {
    place: Place,
    carries: Carries,
}

/// Packets on their way to events.
#[derive(Debug)]
pub struct Assembly {
    watch: Watch,
    fragments: Fragments,
    copies: Copies,
    order: Order<Held>,
    /// Bytes that are held back.
    held: usize,
    hosts: Hosts,
    connections: Connections,
    /// Of the newest packet.
    newest: KernelTime,
    /// Packets that could not be read.
    unreadable: u64,
    /// Packets that the capture had lost, by its own word.
    dropped: u64,
    /// When it last said so, or began.
    dropped_until: Option<KernelTime>,
}

/// What is held back.
#[derive(Debug)]
enum Held {
    Packet(Packet),
    Loss(Loss),
}

/// What was not read, and what was read twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub dropped: u64,
    pub unreadable: u64,
    pub out_of_order: u64,
    pub fragments: u64,
    pub connections: u64,
    pub copies: u64,
}

impl Assembly {
    pub fn new(watch: Watch) -> Self {
        Self {
            watch,
            fragments: Fragments::default(),
            copies: Copies::default(),
            order: Order::default(),
            held: 0,
            hosts: Hosts::default(),
            connections: Connections::default(),
            newest: KernelTime::default(),
            unreadable: 0,
            dropped: 0,
            dropped_until: None,
        }
    }

    /// Takes in a packet. Appends the events that are due with it.
    pub fn frame(&mut self, frame: &Frame<'_>, out: &mut Vec<Event>) {
        self.newest = self.newest.max(frame.time);
        self.dropped_until.get_or_insert(frame.time);
        match link::carried(frame.link, frame.data) {
            Carried::Ip(packet) => self.ip(frame, packet),
            Carried::CutOff => self.unreadable += 1,
            Carried::Other => {}
        }
        self.release(self.until(), out);
    }

    /// A packet was there that nothing can be made of.
    pub fn unreadable(&mut self) {
        self.unreadable += 1;
    }

    /// The capture had lost packets up to this time.
    pub fn dropped(&mut self, time: KernelTime, packets: u64, out: &mut Vec<Event>) {
        self.dropped = self.dropped.saturating_add(packets);
        let since = self.dropped_until.replace(time).unwrap_or(time).min(time);
        self.order.push(time, Held::Loss(Loss { since, time, events: packets }));
        self.release(self.until(), out);
    }

    /// Time has come to `now` without a packet.
    pub fn idle(&mut self, now: KernelTime, out: &mut Vec<Event>) {
        self.newest = self.newest.max(now);
        self.release(self.until(), out);
    }

    /// Everything that is still there.
    pub fn finish(&mut self, out: &mut Vec<Event>) {
        let mut wholes = Vec::new();
        self.fragments.finish(&mut wholes);
        self.wholes(wholes);
        self.release(KernelTime(u64::MAX), out);
        self.connections.finish(self.newest, out);
    }

    /// Event time has come to here.
    pub fn until(&self) -> KernelTime {
        KernelTime(self.newest.0.saturating_sub(WINDOW))
    }

    /// The time of the newest packet.
    pub fn newest(&self) -> KernelTime {
        self.newest
    }

    pub fn totals(&self) -> Totals {
        Totals {
            dropped: self.dropped,
            unreadable: self.unreadable,
            out_of_order: self.order.late(),
            fragments: self.fragments.without_first(),
            connections: self.connections.forgotten(),
            copies: self.copies.copies(),
        }
    }

    fn ip(&mut self, frame: &Frame<'_>, data: &[u8]) {
        let header = frame.data.len().saturating_sub(data.len());
        let length = frame.length.saturating_sub(u32::try_from(header).unwrap_or(u32::MAX));
        let Some(packet) = ip::read(data, length) else {
            self.unreadable += 1;
            return;
        };
        let place = self.copies.place(frame.interface, frame.data.get(..header).unwrap_or_default());
        if packet.fragment.is_some() {
            return self.fragment(frame.time, place, &packet);
        }
        match read(frame.time, &packet, &self.watch) {
            Read::Wanted(carries) => {
                if !self.copies.is_copy(place, frame.time, &packet) {
                    self.hold(frame.time, Packet { place, carries });
                }
            }
            Read::Unwanted => {}
            Read::Unreadable => self.unreadable += 1,
        }
    }

    fn fragment(&mut self, time: KernelTime, place: Place, packet: &IpPacket<'_>) {
        if self.copies.is_copy(place, time, packet) {
            return;
        }
        let mut wholes = Vec::new();
        let watch = &self.watch;
        let is_wanted = || matches!(read(time, packet, watch), Read::Wanted(_));
        self.fragments.push(time, packet, is_wanted, &mut wholes);
        self.wholes(wholes);
    }

    /// What fragments have come to.
    fn wholes(&mut self, wholes: Vec<Whole>) {
        for Whole { time, addresses, protocol, data } in wholes {
            let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
            match transport::read(time, addresses, (protocol, &data, length), &self.watch) {
                Read::Wanted(carries) => {
                    // Fragments of a TCP segment are of one place, whichever.
                    let place = self.copies.place(0, &[]);
                    self.hold(time, Packet { place, carries });
                }
                Read::Unwanted => {}
                Read::Unreadable => self.unreadable += 1,
            }
        }
    }

    fn hold(&mut self, time: KernelTime, packet: Packet) {
        self.held += packet.bytes();
        self.order.push(time, Held::Packet(packet));
    }

    /// Lets go of what is due, and of the earliest if too much is held.
    fn release(&mut self, until: KernelTime, out: &mut Vec<Event>) {
        let mut wholes = Vec::new();
        self.fragments.advance(self.newest, &mut wholes);
        self.wholes(wholes);
        loop {
            let is_too_much = self.order.held() > MOST || self.held > MOST_BYTES;
            let until = if is_too_much { KernelTime(u64::MAX) } else { until };
            match self.order.pop(until) {
                Some((time, Held::Packet(packet))) => {
                    self.held = self.held.saturating_sub(packet.bytes());
                    self.tell(time, packet, out);
                }
                Some((_, Held::Loss(loss))) => out.push(Event::Loss(loss)),
                None => return,
            }
        }
    }

    fn tell(&mut self, time: KernelTime, Packet { place, carries }: Packet, out: &mut Vec<Event>) {
        match carries {
            Carries::Datagram { flow, payload, length } => {
                let is_from_client = self.watch.is_from_client(&flow, &payload);
                let direction = if is_from_client { Direction::Sent } else { Direction::Received };
                let client = if is_from_client { flow.source } else { flow.destination };
                out.push(Event::Message(SocketMessage {
                    time,
                    direction,
                    flow,
                    socket: socket_of(client),
                    netns: self.hosts.netns(client.ip()),
                    task: Task::unknown(),
                    arrived: None,
                    payload,
                    length,
                    gap: None,
                }));
            }
            Carries::Segment(segment) => {
                self.connections.segment(time, place, segment, (&self.watch, &mut self.hosts), out);
            }
            Carries::Error(mut error) => {
                // It is about what the client has sent, or was sent back by it.
                let client = match error.direction {
                    Direction::Received => error.packet.flow.source,
                    Direction::Sent => error.packet.flow.destination,
                };
                error.packet.netns = Some(self.hosts.netns(client.ip()));
                out.push(Event::Icmp(error));
            }
        }
    }
}

/// Stands for a client's UDP socket: the same for the same address and port, and no number of a TCP connection.
fn socket_of(client: SocketAddr) -> u64 {
    let mut hasher = DefaultHasher::new();
    client.hash(&mut hasher);
    hasher.finish() | 1 << 63
}

impl Packet {
    fn bytes(&self) -> usize {
        match &self.carries {
            Carries::Datagram { payload, .. } => payload.len(),
            Carries::Segment(segment) => segment.payload.len(),
            Carries::Error(icmp) => icmp.packet.payload.len(),
        }
    }
}

fn read(time: KernelTime, packet: &IpPacket<'_>, watch: &Watch) -> Read {
    let addresses = (packet.source, packet.destination);
    transport::read(time, addresses, (packet.protocol, packet.payload, packet.length), watch)
}
