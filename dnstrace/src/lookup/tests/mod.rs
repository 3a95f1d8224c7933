//! The tracker, fed by hand: a resolver's ways in miniature.

mod clashes;
mod connections;
mod encrypted;
mod limits;
mod messages;
mod multicast;
mod packets;
mod properties;
mod retries;
mod segments;
mod sends;
mod server_side;
mod streams;
mod tcp;
mod told;
mod transfers;
mod troubles;
mod whose;

use std::net::SocketAddr;

use bytes::Bytes;

use super::*;
use crate::{
    dns::{Counts, Decoded, Flags, Message, Question, Record},
    event::{Direction, Flow, KernelTime, SocketMessage, Task, Transport},
    identify::Owner,
};

const MS: u64 = 1_000_000;

/// Builds observations of one client process.
#[derive(Clone, Debug)]
struct Client {
    local: SocketAddr,
    server: SocketAddr,
    netns: u32,
    pid: u32,
    tid: u32,
    socket: u64,
    transport: Transport,
}

fn client() -> Client {
    Client {
        local: "10.244.1.7:40000".parse().unwrap(),
        server: "10.96.0.10:53".parse().unwrap(),
        netns: 7,
        pid: 100,
        tid: 100,
        socket: 1,
        transport: Transport::Udp,
    }
}

impl Client {
    fn seen(
        &self,
        at: u64,
        direction: Direction,
        source: SocketAddr,
        destination: SocketAddr,
    ) -> SocketMessage {
        SocketMessage {
            time: KernelTime(at),
            direction,
            flow: Flow { source, destination, transport: self.transport },
            socket: self.socket,
            netns: self.netns,
            task: Task { cgroup: 1, pid: self.pid, tid: self.tid, comm: "curl".into() },
            arrived: None,
            payload: Bytes::new(),
            length: 40,
            gap: None,
        }
    }

    fn asks(&self, at: u64, id: u16, name: &str) -> Observation {
        let seen = self.seen(at, Direction::Sent, self.local, self.server);
        observation(seen, message(id, name, false))
    }

    fn gets(&self, at: u64, message: Message) -> Observation {
        observation(self.seen(at, Direction::Received, self.server, self.local), message)
    }
}

fn observation(seen: SocketMessage, message: Message) -> Observation {
    Observation { seen, decoded: Decoded { message: Some(message), defect: None }, owner: Owner::default() }
}

fn message(id: u16, name: &str, response: bool) -> Message {
    Message {
        id,
        response,
        opcode: 0,
        rcode: 0,
        flags: Flags::default(),
        question: Some(Question { name: name.into(), qtype: 1, qclass: 1 }),
        answers: Vec::new(),
        counts: Counts::default(),
        edns: None,
    }
}

fn answer(id: u16, name: &str) -> Message {
    let mut message = message(id, name, true);
    message.counts.answers = 1;
    message.answers.push(Record { name: name.into(), rtype: 1, ttl: 5, data: "10.96.3.4".into() });
    message
}

fn with_rcode(id: u16, name: &str, rcode: u16) -> Message {
    Message { rcode, ..message(id, name, true) }
}

/// Runs observations through a tracker to the end of the trace at `end`.
pub(crate) fn run(observations: Vec<Observation>, end: u64) -> Vec<Output> {
    let mut tracker = Tracker::new(Limits::default(), Sight::default());
    let mut out = Vec::new();
    for observation in observations {
        tracker.message(observation, &mut out);
    }
    tracker.finish(KernelTime(end), &mut out);
    without_lookups(out)
}

/// Most tests are of queries; those of lookups are their own (`grouping::tests`).
pub(crate) fn without_lookups(mut out: Vec<Output>) -> Vec<Output> {
    out.retain(|output| !matches!(output, Output::Lookup(_)));
    out
}

fn queries(out: &[Output]) -> Vec<&Query> {
    out.iter().filter_map(|o| if let Output::Query(query) = o { Some(&**query) } else { None }).collect()
}

fn strays(out: &[Output]) -> Vec<&StrayReason> {
    out.iter().filter_map(|o| if let Output::Stray(stray) = o { Some(&stray.reason) } else { None }).collect()
}

/// A letter for each attempt's fate.
fn fates(query: &Query) -> String {
    query
        .attempts
        .iter()
        .map(|attempt| match attempt.fate {
            Fate::Answered(_) => 'a',
            Fate::Unanswered { .. } => 'u',
            Fate::NotAwaited => 'n',
            Fate::Open => 'o',
            _ => '?',
        })
        .collect()
}
