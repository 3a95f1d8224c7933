//! Flows of those who are not wanted.
//!
//! Where a whole namespace of Kubernetes is asked for, the kernel cannot know its pods, so everybody's packets are
//! seen. Messages tell whose they are; packets on their way do not, except by the flow of a message.

use lru::LruCache;

use crate::{
    event::{Connection, Event, Flow, Packet, SocketMessage, Transport},
    lookup::{Output, StrayPacketReason},
};

/// Flows remembered. What befalls a packet of one that was forgotten is shown, as a packet of nobody known.
const FLOWS: usize = 65_536;

/// A memory of flows, in the direction in which they were seen, and of sockets with TCP connections, by their network
/// namespace and kernel address.
#[derive(Debug)]
pub(super) struct Others {
    flows: LruCache<Flow, ()>,
    sockets: LruCache<(u32, u64), ()>,
}

impl Default for Others {
    fn default() -> Self {
        // Bounded below: a bounded cache would take all its memory at once.
        Self { flows: LruCache::unbounded(), sockets: LruCache::unbounded() }
    }
}

impl Others {
    /// Remembers the flow of a message that is not wanted.
    pub fn note(&mut self, seen: &SocketMessage) {
        self.remember(seen.flow);
        if seen.flow.transport == Transport::Tcp {
            self.note_socket(seen.netns, seen.socket);
        }
    }

    /// Remembers a socket whose connection is not wanted. Only the one who opens it is known to open it; what becomes
    /// of it later is known by the socket.
    pub fn note_socket(&mut self, netns: u32, socket: u64) {
        self.sockets.put((netns, socket), ());
        if self.sockets.len() > FLOWS {
            self.sockets.pop_lru();
        }
    }

    /// The kernel uses addresses again: now it is the socket of one who is wanted.
    pub fn forget_socket(&mut self, netns: u32, socket: u64) {
        self.sockets.pop(&(netns, socket));
    }

    pub fn has(&self, netns: u32, socket: u64) -> bool {
        self.sockets.contains(&(netns, socket))
    }

    /// Takes out of `out`, which came of `event`, what belongs to no attempt because its owner is not wanted.
    pub fn withhold(&mut self, flows: &Flows, out: &mut Vec<Output>) {
        if self.flows.is_empty() || !flows.any(|flow| self.knows(flow)) {
            return;
        }
        // Beyond translation they are known by the addresses that it makes.
        if let Some(entry) = flows.entry {
            self.remember(entry.reply);
        }
        out.retain(
            |output| !matches!(output, Output::Packet(stray) if stray.reason == StrayPacketReason::NoAttempt),
        );
    }

    fn knows(&self, flow: Flow) -> bool {
        self.flows.contains(&flow) || self.flows.contains(&flow.reversed())
    }

    fn remember(&mut self, flow: Flow) {
        self.flows.put(flow, ());
        if self.flows.len() > FLOWS {
            self.flows.pop_lru();
        }
    }
}

/// The addresses that a packet's event bears.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flows {
    headers: Option<Flow>,
    entry: Option<Connection>,
}

impl Flows {
    /// Of an event of a packet; none of others.
    pub fn of(event: &Event) -> Option<Self> {
        let of_packet = |packet: &Packet| Self {
            headers: Some(packet.flow),
            entry: packet.tracking.connection().copied(),
        };
        match event {
            Event::Confirm(confirm) => Some(of_packet(&confirm.packet)),
            Event::Drop(drop) => Some(of_packet(&drop.packet)),
            Event::Icmp(icmp) => Some(of_packet(&icmp.packet)),
            Event::Eviction(eviction) => Some(Self { headers: None, entry: Some(eviction.victim) }),
            Event::Message(_)
            | Event::Cgroup(_)
            | Event::Clash(_)
            | Event::SendFailure(_)
            | Event::Stream(_)
            | Event::Connection(_)
            | Event::Retransmission(_)
            | Event::ConnectFailure(_)
            | Event::Module { .. }
            | Event::Loss(_) => None,
        }
    }

    fn any(&self, is_known: impl Fn(Flow) -> bool) -> bool {
        let of_entry = self.entry.iter().flat_map(|entry| [entry.original, entry.reply]);
        self.headers.into_iter().chain(of_entry).any(is_known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dns::Decoded,
        event::{Direction, Eviction, KernelTime, Task},
        lookup::{Step, StrayPacket, What},
    };

    fn flow(source: &str, destination: &str) -> Flow {
        Flow {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            transport: Transport::Udp,
        }
    }

    fn message(flow: Flow) -> SocketMessage {
        SocketMessage {
            time: KernelTime(1),
            direction: Direction::Sent,
            flow,
            socket: 1,
            netns: 7,
            task: Task { cgroup: 1, pid: 1, tid: 1, comm: "curl".into() },
            arrived: None,
            payload: bytes::Bytes::new(),
            length: 0,
            gap: None,
        }
    }

    /// What is left of a packet of nobody known, with these flows.
    fn left(
        others: &mut Others,
        headers: Flow,
        entry: Option<Connection>,
        reason: StrayPacketReason,
    ) -> usize {
        let step = Step { time: KernelTime(2), netns: None, what: What::Evicted };
        let decoded = Decoded { message: None, defect: None };
        let mut out = vec![Output::Packet(Box::new(StrayPacket { step, flow: headers, decoded, reason }))];
        others.withhold(&Flows { headers: Some(headers), entry }, &mut out);
        out.len()
    }

    #[test]
    fn what_befalls_the_packets_of_others_is_withheld() {
        use StrayPacketReason::{Ended, NoAttempt};
        let mut others = Others::default();
        let asked = flow("10.244.1.7:40000", "10.96.0.10:53");
        let reply = flow("10.244.2.9:53", "192.0.2.1:40000");
        let entry = Connection { ct: 1, original: asked, reply };
        assert_eq!(left(&mut others, asked, None, NoAttempt), 1);
        others.note(&message(asked));
        assert_eq!(left(&mut others, asked, None, NoAttempt), 0);
        assert_eq!(left(&mut others, asked.reversed(), None, NoAttempt), 0);
        // Beyond translation, once an entry has told of it.
        assert_eq!(left(&mut others, reply, None, NoAttempt), 1);
        assert_eq!(left(&mut others, reply, Some(entry), NoAttempt), 0);
        assert_eq!(left(&mut others, reply.reversed(), None, NoAttempt), 0);
        // What belongs to a wanted query stays, and so does what is of another port.
        assert_eq!(left(&mut others, asked, None, Ended { query: 1 }), 1);
        assert_eq!(left(&mut others, flow("10.244.1.7:40001", "10.96.0.10:53"), None, NoAttempt), 1);
        let eviction = Eviction { time: KernelTime(3), netns: None, victim: entry };
        let flows = Flows::of(&Event::Eviction(Box::new(eviction))).unwrap();
        assert!(flows.any(|flow| flow == asked));
    }
}
