//! A connection: how it comes and goes.

use std::net::SocketAddr;

use bytes::Bytes;

use crate::{
    event::{
        ConnectionChange, Direction as Way, Event, Flow, KernelTime, Retransmission, StreamBytes, Task,
        TcpState, Transport,
    },
    pcap::{copies::Place, transport::Segment},
};

use super::direction::{Direction, Stretch};

const ECONNRESET: u16 = 104;
const ECONNREFUSED: u16 = 111;

/// Who asks whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ends {
    pub client: SocketAddr,
    pub server: SocketAddr,
}

/// Stands for the client's socket.
#[derive(Clone, Copy, Debug)]
pub struct Socket {
    pub number: u64,
    pub netns: u32,
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing was told of it: it is new, or older than the capture.
    Unknown,
    /// The SYN was sent.
    Opening,
    Open,
    /// The client sends no more.
    ClientEnded,
    /// The server sends no more.
    ServerEnded,
    Closed,
}

/// What is known of a connection.
#[derive(Debug)]
pub struct Known {
    ends: Ends,
    socket: Socket,
    is_encrypted: bool,
    phase: Phase,
    /// Sequence number of the client's SYN, if it was seen.
    syn: Option<u32>,
    /// Where the client's newest bytes, or its SYN, were captured: only there are they seen to be sent again. Elsewhere
    /// segments may have been cut in another way (segmentation offload), and are no copies of the same bytes for all that.
    place: Option<Place>,
    sent: Direction,
    received: Direction,
    /// Bytes of both directions that were told.
    bytes_sent: u64,
    bytes_received: u64,
}

impl Known {
    pub fn new(ends: Ends, socket: Socket, is_encrypted: bool) -> Self {
        Self {
            ends,
            socket,
            is_encrypted,
            phase: Phase::Unknown,
            syn: None,
            place: None,
            sent: Direction::default(),
            received: Direction::default(),
            bytes_sent: 0,
            bytes_received: 0,
        }
    }

    pub fn ends(&self) -> Ends {
        self.ends
    }

    /// Bytes that wait for their turn.
    pub fn kept(&self) -> usize {
        self.sent.kept() + self.received.kept()
    }

    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Whether this SYN of a client opens another connection of the same addresses.
    pub fn is_other_than(&self, syn: &Segment) -> bool {
        self.syn != Some(syn.head.seq)
    }

    /// Takes in a segment of it.
    pub fn segment(
        &mut self,
        time: KernelTime,
        place: Place,
        segment: Segment,
        is_from_client: bool,
        out: &mut Vec<Event>,
    ) {
        if self.phase == Phase::Closed {
            return;
        }
        let head = segment.head;
        match (head.syn, is_from_client) {
            (true, true) => self.syn(time, place, head.seq, out),
            (true, false) => self.syn_ack(time, &segment, out),
            (false, _) if self.phase == Phase::Opening && (is_from_client || !head.rst) => {
                self.established(time, out)
            }
            (false, _) => {}
        }
        if let Some(seq) = segment.acknowledges {
            self.acknowledge(time, seq, is_from_client, out);
        }
        if head.rst {
            return self.reset(time, is_from_client, out);
        }
        self.carries(time, place, segment, is_from_client, out);
        self.ended(time, out);
    }

    /// Tells what has come, whatever is missing before it.
    pub fn skip_all(&mut self, time: KernelTime, out: &mut Vec<Event>) {
        let (mut sent, mut received) = (Vec::new(), Vec::new());
        self.sent.skip_all(&mut sent);
        self.received.skip_all(&mut received);
        self.tell(time, Way::Sent, sent, out);
        self.tell(time, Way::Received, received, out);
    }

    fn syn(&mut self, time: KernelTime, place: Place, seq: u32, out: &mut Vec<Event>) {
        if self.syn == Some(seq) {
            if self.place == Some(place) {
                out.push(self.retransmission(time, TcpState::SynSent));
            }
            return;
        }
        self.syn = Some(seq);
        self.place = Some(place);
        self.sent.begin(seq.wrapping_add(1));
        self.change(time, (TcpState::Close, TcpState::SynSent), None, out);
        self.phase = Phase::Opening;
    }

    fn syn_ack(&mut self, time: KernelTime, segment: &Segment, out: &mut Vec<Event>) {
        if matches!(self.phase, Phase::Unknown | Phase::Opening) {
            self.received.begin(segment.head.seq.wrapping_add(1));
            self.established(time, out);
        }
    }

    fn established(&mut self, time: KernelTime, out: &mut Vec<Event>) {
        self.change(time, (TcpState::SynSent, TcpState::Established), None, out);
        self.phase = Phase::Open;
    }

    /// What one end has of the other's bytes.
    fn acknowledge(&mut self, time: KernelTime, seq: u32, is_from_client: bool, out: &mut Vec<Event>) {
        let mut stretches = Vec::new();
        if is_from_client {
            self.received.acknowledge(time, seq, &mut stretches);
            self.tell(time, Way::Received, stretches, out);
        } else {
            self.sent.acknowledge(time, seq, &mut stretches);
            self.tell(time, Way::Sent, stretches, out);
        }
    }

    /// The bytes of a segment, and that they are the last.
    fn carries(
        &mut self,
        time: KernelTime,
        place: Place,
        segment: Segment,
        is_from_client: bool,
        out: &mut Vec<Event>,
    ) {
        let Segment { head, payload, length, .. } = segment;
        let seq = head.seq.wrapping_add(u32::from(head.syn));
        let bytes = if self.is_encrypted { Bytes::new() } else { payload };
        let stretch = Stretch { seq, bytes, length };
        let mut stretches = Vec::new();
        let direction = if is_from_client { &mut self.sent } else { &mut self.received };
        let is_again = direction.push(time, stretch, &mut stretches);
        if head.fin {
            direction.end(seq.wrapping_add(length));
        }
        let way = if is_from_client { Way::Sent } else { Way::Received };
        if is_from_client && is_again && self.place == Some(place) && !head.syn {
            out.push(self.retransmission(time, TcpState::Established));
        } else if is_from_client && length > 0 && !is_again {
            self.place = Some(place);
        }
        self.tell(time, way, stretches, out);
    }

    /// Tells who sends no more.
    fn ended(&mut self, time: KernelTime, out: &mut Vec<Event>) {
        use TcpState::{Close, CloseWait, Established, FinWait1, FinWait2, LastAck};
        loop {
            let (next, change) = match (self.phase, self.sent.is_over(), self.received.is_over()) {
                (Phase::Unknown | Phase::Open, true, _) => (Phase::ClientEnded, (Established, FinWait1)),
                (Phase::Unknown | Phase::Open, false, true) => (Phase::ServerEnded, (Established, CloseWait)),
                (Phase::ClientEnded, _, true) => (Phase::Closed, (FinWait2, Close)),
                (Phase::ServerEnded, true, _) => (Phase::Closed, (LastAck, Close)),
                _ => return,
            };
            self.change(time, change, None, out);
            self.phase = next;
        }
    }

    fn reset(&mut self, time: KernelTime, is_from_client: bool, out: &mut Vec<Event>) {
        self.skip_all(time, out);
        let (from, refused) = match self.phase {
            Phase::Opening => (TcpState::SynSent, ECONNREFUSED),
            Phase::ClientEnded => (TcpState::FinWait1, ECONNRESET),
            Phase::ServerEnded => (TcpState::CloseWait, ECONNRESET),
            Phase::Unknown | Phase::Open | Phase::Closed => (TcpState::Established, ECONNRESET),
        };
        let error = (!is_from_client).then_some(refused);
        self.change(time, (from, TcpState::Close), error, out);
        self.phase = Phase::Closed;
    }

    fn tell(&mut self, time: KernelTime, direction: Way, stretches: Vec<Stretch>, out: &mut Vec<Event>) {
        let flow = match direction {
            Way::Sent => self.flow(),
            Way::Received => self.flow().reversed(),
        };
        let state = if self.phase == Phase::Opening { TcpState::SynSent } else { TcpState::Established };
        for Stretch { seq, bytes, length } in stretches {
            let told = match direction {
                Way::Sent => &mut self.bytes_sent,
                Way::Received => &mut self.bytes_received,
            };
            *told = told.saturating_add(u64::from(length));
            if self.is_encrypted {
                continue;
            }
            out.push(Event::Stream(StreamBytes {
                time,
                direction,
                flow,
                socket: self.socket.number,
                netns: self.socket.netns,
                task: Task::unknown(),
                state,
                seq: Some(seq),
                bytes,
                length,
            }));
        }
    }

    fn change(
        &self,
        time: KernelTime,
        (from, to): (TcpState, TcpState),
        error: Option<u16>,
        out: &mut Vec<Event>,
    ) {
        // The kernel counts the SYN and an acknowledged FIN with the bytes.
        let fin = u64::from(error.is_none() && matches!(from, TcpState::FinWait2 | TcpState::LastAck));
        out.push(Event::Connection(ConnectionChange {
            time,
            socket: self.socket.number,
            netns: self.socket.netns,
            flow: self.flow(),
            from,
            to,
            task: (to == TcpState::SynSent).then(Task::unknown),
            encrypted: self.is_encrypted,
            error,
            bytes_acked: self.bytes_sent + 1 + fin,
            bytes_received: self.bytes_received,
            rtt_us: None,
        }));
    }

    fn retransmission(&self, time: KernelTime, state: TcpState) -> Event {
        let Socket { number: socket, netns } = self.socket;
        let (flow, encrypted) = (self.flow(), self.is_encrypted);
        Event::Retransmission(Retransmission { time, socket, netns, flow, state, encrypted })
    }

    /// From the client to the server.
    fn flow(&self) -> Flow {
        Flow { source: self.ends.client, destination: self.ends.server, transport: Transport::Tcp }
    }
}
