//! The values that grouping makes: what a program asked for, and what that took.

use std::net::SocketAddr;

use crate::{
    event::{KernelTime, Task, Transport},
    identify::Owner,
};

/// What a program asked for, `getaddrinfo("api")` for example: the queries for all the names that its resolver made of
/// it. Every client query is in exactly one.
#[derive(Clone, Debug)]
pub struct Lookup {
    /// Serial number within the trace, from 1, in order of the first query.
    pub number: u64,
    pub asked: Asked,
    pub owner: Owner,
    /// The process, and the thread of the first query.
    pub task: Task,
    /// Inode number of its network namespace.
    pub netns: u32,
    /// The names that were tried, in this order; at least one.
    pub names: Vec<TriedName>,
    /// Which of `names` counted: the first with an answer that has data, else the last.
    pub decisive: usize,
    pub ending: Ending,
    /// Data of the answers that counted (addresses, mostly), as the answers have it; comes from strangers, is not
    /// escaped.
    pub data: Vec<String>,
    /// Of it, beyond what is kept.
    pub data_left_out: u32,
    /// Whom it asked, in order of the first attempt.
    pub servers: Vec<AskedServer>,
    /// Servers beyond what is kept.
    pub servers_left_out: u32,
    /// Who was behind these servers' addresses, each once, in order of the first attempt: the first few.
    pub endpoints: Vec<SocketAddr>,
    pub started: KernelTime,
    /// Of the last needed answer; where one was waited for in vain, when that was clear.
    pub ended: KernelTime,
}

/// The name that the program gave to its resolver, as far as that shows: the wire bears only what the resolver made of
/// it. A name that ends with a dot is asked as it is; others are combined with the search list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Only this one makes a resolver with this resolv.conf ask what was asked.
    Known(String),
    /// Each of these does: the first name that was tried was the last one, too.
    OneOf(Vec<String>),
    /// The resolv.conf was not seen: what the names that were tried have in common.
    Guessed(String),
    /// A query by itself, of a process that answers queries (a cache), or without anything to tell by.
    AsSent(String),
}

/// A name that was tried, with its queries: one for each type.
#[derive(Clone, Debug)]
pub struct TriedName {
    /// In presentation form, lower case, with the trailing dot.
    pub name: String,
    /// In order of their start; at least one.
    pub queries: Vec<TriedQuery>,
}

/// A query of a lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TriedQuery {
    /// Its serial number within the trace.
    pub number: u64,
    pub qtype: u16,
    pub started: KernelTime,
    /// Of its answer, or when it was given up.
    pub ended: KernelTime,
    pub ending: Ending,
}

/// How a query, a name or a lookup ended, for the program: of two queries for one name the later one of these tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// The name does not exist.
    NxDomain,
    /// The name exists, without what was asked for.
    NoData,
    /// The server said so: SERVFAIL, REFUSED, ... An RCODE.
    Failed(u16),
    /// No answer was seen.
    Unanswered,
    /// The trace ended first.
    Pending,
    /// There was data.
    Found,
}

/// A server that a lookup asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskedServer {
    pub address: SocketAddr,
    pub transport: Transport,
    /// Query messages to it.
    pub attempts: u32,
    /// Which nameserver of its resolv.conf it is, from 0; none if it is none of them, or resolv.conf was not seen.
    pub nameserver: Option<usize>,
}

/// What could not help: queries for other names than the one that counted, and the time they took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waste {
    pub queries: u64,
    /// Nanoseconds.
    pub time: u64,
}

impl Lookup {
    /// Queries of all its names.
    pub fn queries(&self) -> impl Iterator<Item = &TriedQuery> {
        self.names.iter().flat_map(|name| &name.queries)
    }

    /// Nanoseconds from the first query to the last needed answer; none if one of those never came.
    pub fn latency(&self) -> Option<u64> {
        let waited_in_vain =
            |query: &TriedQuery| matches!(query.ending, Ending::Unanswered | Ending::Pending);
        let decisive = self.names.get(self.decisive)?;
        (!decisive.queries.iter().any(waited_in_vain)).then(|| self.ended.since(self.started))
    }

    /// What the names cost that did not count.
    pub fn waste(&self) -> Waste {
        let others = self.names.iter().enumerate().filter(|(index, _)| *index != self.decisive);
        let queries = others.map(|(_, name)| name.queries.len() as u64).sum();
        let begun = |index: usize| Some(self.names.get(index)?.queries.first()?.started);
        let before = begun(self.decisive).map_or(0, |begun| begun.since(self.started));
        let later = self.names.iter().skip(self.decisive + 1).flat_map(|name| &name.queries);
        let last = later.map(|query| query.ended).max();
        let after = begun(self.decisive + 1).zip(last).map_or(0, |(begun, last)| last.since(begun));
        Waste { queries, time: before.saturating_add(after) }
    }

    /// Whether it asked a server that its resolv.conf does not name; none if resolv.conf was not seen.
    pub fn asks_others(&self) -> Option<bool> {
        self.owner.resolver.as_ref().map(|_| self.servers.iter().any(|server| server.nameserver.is_none()))
    }
}

impl TriedName {
    /// As the program sees it: found if there was data, else by the worst of its queries.
    pub fn ending(&self) -> Ending {
        self.queries.iter().map(|query| query.ending).max().unwrap_or(Ending::Pending)
    }
}

impl Asked {
    /// One name for it: where several fit, the one that was sent.
    pub fn name(&self) -> &str {
        match self {
            Self::Known(name) | Self::Guessed(name) | Self::AsSent(name) => name,
            Self::OneOf(names) => names.last().map_or("", String::as_str),
        }
    }
}
