//! Streams, fed by hand: calls in, words out.

mod framing;
mod guess;
mod limits;
mod properties;
mod resync;
mod sequence;

use std::str::FromStr as _;

use bytes::Bytes;
use hickory_proto::{
    op::{Message as Built, MessageType, OpCode, Query},
    rr::{Name, RData, Record as ResourceRecord, RecordType, rdata::TXT},
};

use super::*;
use crate::event::{Task, TcpState, Transport};

const NETNS: u32 = 7;
const SOCKET: u64 = 77;

fn flow() -> Flow {
    Flow {
        source: "10.244.1.7:40000".parse().unwrap(),
        destination: "10.96.0.10:53".parse().unwrap(),
        transport: Transport::Tcp,
    }
}

fn task(tid: u32) -> Task {
    Task { cgroup: 1, pid: 100, tid, comm: "dig".into() }
}

fn query(id: u16, name: &str) -> Vec<u8> {
    let mut built = Built::new(id, MessageType::Query, OpCode::Query);
    built.add_query(Query::query(Name::from_str(name).unwrap(), RecordType::A));
    built.to_vec().unwrap()
}

/// An answer with about so many octets of TXT records.
fn answer(id: u16, name: &str, octets: usize) -> Vec<u8> {
    let mut built = Built::new(id, MessageType::Response, OpCode::Query);
    let owner = Name::from_str(name).unwrap();
    built.add_query(Query::query(owner.clone(), RecordType::TXT));
    for _ in 0..octets.div_ceil(200) {
        let text = TXT::new(vec!["x".repeat(octets.min(200))]);
        built.add_answer(ResourceRecord::from_rdata(owner.clone(), 30, RData::TXT(text)));
    }
    built.to_vec().unwrap()
}

/// With its length before it.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap();
    [&length.to_be_bytes(), message].concat()
}

/// Several, each with its length before it.
fn all(messages: &[Vec<u8>]) -> Vec<u8> {
    messages.iter().flat_map(|message| framed(message)).collect()
}

/// One direction of one connection, and what was said of it.
struct Line {
    streams: Streams,
    direction: Direction,
    flow: Flow,
    socket: u64,
    state: TcpState,
    /// Of the next byte.
    seq: u32,
    time: u64,
    tid: u32,
    out: Vec<Framed>,
}

impl Line {
    fn new(direction: Direction) -> Self {
        Self {
            streams: Streams::new(StreamLimits::default()),
            direction,
            flow: flow(),
            socket: SOCKET,
            state: TcpState::Established,
            seq: 1000,
            time: 0,
            tid: 1,
            out: Vec::new(),
        }
    }

    fn sent() -> Self {
        Self::new(Direction::Sent)
    }

    fn received() -> Self {
        Self::new(Direction::Received)
    }

    /// A line whose opening was seen.
    fn opened(mut self) -> Self {
        self.streams.opened(NETNS, self.socket, self.flow, KernelTime(0), &mut self.out);
        self
    }

    fn bytes(&mut self, bytes: &[u8]) -> StreamBytes {
        self.time += 1;
        let flow = if self.direction == Direction::Sent { self.flow } else { self.flow.reversed() };
        StreamBytes {
            time: KernelTime(self.time),
            direction: self.direction,
            flow,
            socket: self.socket,
            netns: NETNS,
            task: task(self.tid),
            state: self.state,
            seq: Some(self.seq),
            bytes: Bytes::copy_from_slice(bytes),
            length: u32::try_from(bytes.len()).unwrap(),
        }
    }

    fn push(&mut self, bytes: StreamBytes) {
        self.seq = bytes.seq.map_or(self.seq, |seq| seq.wrapping_add(bytes.length));
        self.streams.push(bytes, &mut self.out);
    }

    /// A call.
    fn call(&mut self, bytes: &[u8]) -> &mut Self {
        let bytes = self.bytes(bytes);
        self.push(bytes);
        self
    }

    /// A call of which only the first `captured` bytes are there.
    fn cut_call(&mut self, bytes: &[u8], captured: usize) -> &mut Self {
        let mut bytes = self.bytes(bytes);
        bytes.bytes.truncate(captured);
        self.push(bytes);
        self
    }

    /// A call that was not captured.
    fn lost_call(&mut self, bytes: &[u8]) -> &mut Self {
        self.seq = self.seq.wrapping_add(u32::try_from(bytes.len()).unwrap());
        self
    }

    /// The kernel took so many bytes fewer than were offered last.
    fn not_taken(&mut self, bytes: usize) -> &mut Self {
        self.seq = self.seq.wrapping_sub(u32::try_from(bytes).unwrap());
        self
    }

    fn end(&mut self) -> &mut Self {
        self.time += 1;
        self.streams.ended(NETNS, self.socket, KernelTime(self.time), &mut self.out);
        self
    }

    /// What was said since the last time: `1 q 29/29` for a whole query with id 1, `1 a 100/300` for the beginning of
    /// an answer, `skipped 5/12`, `not DNS 10/10`: bytes there, and bytes in all.
    fn said(&mut self) -> Vec<String> {
        self.out.drain(..).map(|framed| words(&framed)).collect()
    }
}

fn message_of(framed: &Framed) -> &SocketMessage {
    match framed {
        Framed::Message(message) | Framed::Skipped(message) | Framed::NotDns(message) => message,
    }
}

fn words(framed: &Framed) -> String {
    let message = message_of(framed);
    let what = match framed {
        Framed::Message(message) => match message.payload.get(..3) {
            Some(head) => {
                let kind = if head[2] & 0x80 == 0 { "q" } else { "a" };
                format!("{} {kind}", u16::from_be_bytes([head[0], head[1]]))
            }
            None => "message".to_owned(),
        },
        Framed::Skipped(_) => "skipped".to_owned(),
        Framed::NotDns(_) => "not DNS".to_owned(),
    };
    format!("{what} {}/{}", message.payload.len(), message.length)
}
