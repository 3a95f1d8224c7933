//! The ways of resolvers, in miniature: each query with its answer, and the lookups that they make.

mod properties;
mod resolvers;
mod threads;

use std::sync::Arc;

use super::*;
use crate::{
    dns::{Counts, Decoded, Flags, Message, Question, Record, rcodes::NXDOMAIN, record_type},
    event::{Direction, Flow, SocketMessage, Task, Transport},
    identify::{Owner, ResolverConfig},
    lookup::{Limits, Observation, Output, Sight, Tracker},
};

const MS: u64 = 1_000_000;
const A: u16 = 1;
const AAAA: u16 = 28;
const SERVFAIL: u16 = 2;

pub const KUBERNETES: &str = "search shop.svc.cluster.local svc.cluster.local cluster.local\n\
                              nameserver 10.96.0.10\noptions ndots:5\n";

/// A thread with a socket, and the messages that it has sent and received so far.
#[derive(Clone)]
struct Resolver {
    pid: u32,
    tid: u32,
    socket: u64,
    server: &'static str,
    config: Option<Arc<ResolverConfig>>,
    next_id: u16,
}

fn resolver(resolv_conf: &str) -> Resolver {
    let config = (!resolv_conf.is_empty()).then(|| ResolverConfig::parse(resolv_conf.as_bytes()).into());
    Resolver { pid: 100, tid: 100, socket: 1, server: "10.96.0.10:53", config, next_id: 1 }
}

/// What a server says.
#[derive(Clone, Copy)]
enum Says {
    Data,
    NoData,
    Code(u16),
}
use Says::{Code, Data, NoData};

impl Resolver {
    fn seen(&self, at: u64, response: bool, message: Message) -> Observation {
        let local = format!("10.244.1.7:{}", 40_000 + self.socket).parse().unwrap();
        let server = self.server.parse().unwrap();
        let (source, destination) = if response { (server, local) } else { (local, server) };
        Observation {
            seen: SocketMessage {
                time: KernelTime(at),
                direction: if response { Direction::Received } else { Direction::Sent },
                flow: Flow { source, destination, transport: Transport::Udp },
                socket: self.socket,
                netns: 7,
                task: Task { cgroup: 1, pid: self.pid, tid: self.tid, comm: "curl".into() },
                arrived: None,
                payload: bytes::Bytes::new(),
                length: 40,
                gap: None,
            },
            decoded: Decoded { message: Some(message), defect: None },
            owner: Owner { resolver: self.config.clone(), ..Owner::default() },
        }
    }

    /// A query, and its id.
    fn asks(&mut self, at: u64, qtype: u16, name: &str) -> (Observation, u16) {
        let id = self.next_id;
        self.next_id += 1;
        (self.seen(at * MS, false, message(id, qtype, name, None)), id)
    }

    /// A query and its answer, `after` so many milliseconds.
    fn lets(&mut self, at: u64, qtype: u16, name: &str, after: u64, says: Says) -> Vec<Observation> {
        let (query, id) = self.asks(at, qtype, name);
        let answer = self.seen((at + after) * MS, true, message(id, qtype, name, Some(says)));
        vec![query, answer]
    }

    /// A and AAAA from one socket at once, answered in 1 and 2 ms.
    fn pair(&mut self, at: u64, name: &str, says: [Says; 2]) -> Vec<Observation> {
        let mut both = self.lets(at, A, name, 1, says[0]);
        both.extend(self.lets(at, AAAA, name, 2, says[1]));
        both
    }

    /// The same process in another thread, with a socket of its own.
    fn thread(&self, tid: u32) -> Self {
        Self { tid, socket: u64::from(tid), next_id: 1, ..self.clone() }
    }
}

fn message(id: u16, qtype: u16, name: &str, says: Option<Says>) -> Message {
    let data = if qtype == AAAA { "fd00::1" } else { "10.96.3.4" };
    let record = Record { name: name.into(), rtype: qtype, ttl: 5, data: data.into() };
    let answers = if matches!(says, Some(Data)) { vec![record] } else { Vec::new() };
    Message {
        id,
        response: says.is_some(),
        opcode: 0,
        rcode: if let Some(Code(code)) = says { code } else { 0 },
        flags: Flags { recursion_available: true, ..Flags::default() },
        question: Some(Question { name: name.into(), qtype, qclass: 1 }),
        counts: Counts { answers: u16::try_from(answers.len()).unwrap(), ..Counts::default() },
        answers,
        edns: None,
    }
}

fn lookups(out: &[Output]) -> Vec<&Lookup> {
    out.iter().filter_map(|o| if let Output::Lookup(lookup) = o { Some(&**lookup) } else { None }).collect()
}

/// Feeds messages in order of their time, and ends the trace long after.
fn run(feed: Vec<Vec<Observation>>) -> Vec<Output> {
    run_until(feed, 100_000)
}

fn run_until(feed: Vec<Vec<Observation>>, end: u64) -> Vec<Output> {
    let mut feed = feed.concat();
    feed.sort_by_key(|observation| observation.seen.time);
    let mut tracker = Tracker::new(Limits::default(), Sight::default());
    let mut out = Vec::new();
    for observation in feed {
        tracker.message(observation, &mut out);
    }
    tracker.finish(KernelTime(end * MS), &mut out);
    out
}

/// `api: found by api.svc.cluster.local. in 12 ms: api.shop.svc.cluster.local. A x AAAA x, ...; wasted 2 in 5 ms`
fn told(out: &[Output]) -> Vec<String> {
    lookups(out).into_iter().map(words).collect()
}

fn words(lookup: &Lookup) -> String {
    let asked = match &lookup.asked {
        Asked::Known(name) => name.clone(),
        Asked::OneOf(names) => names.join(" or "),
        Asked::Guessed(name) => format!("{name}?"),
        Asked::AsSent(name) => format!("({name})"),
    };
    let letter = |ending| match ending {
        Ending::Found => "+",
        Ending::NoData => "0",
        Ending::NxDomain => "x",
        Ending::Failed(_) => "!",
        Ending::Unanswered => "?",
        Ending::Pending => "...",
    };
    let names = lookup.names.iter().map(|tried| {
        let queries = tried
            .queries
            .iter()
            .map(|query| format!(" {}{}", record_type(query.qtype), letter(query.ending)));
        format!("{}{}", tried.name, queries.collect::<String>())
    });
    let latency = lookup.latency().map_or_else(|| "-".to_owned(), |latency| format!("{} ms", latency / MS));
    let waste = lookup.waste();
    format!(
        "{asked} {} {latency}: {}; {} wasted in {} ms",
        letter(lookup.ending),
        names.collect::<Vec<_>>().join(", "),
        waste.queries,
        waste.time / MS
    )
}
