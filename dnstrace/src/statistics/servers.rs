//! What servers did with the attempts that were sent to them.

use std::{cmp::Reverse, collections::BTreeMap, net::SocketAddr};

use crate::{
    directory::Peer,
    event::{KernelTime, Transport},
    lookup::{Attempt, Fate},
    output::words,
};

use super::{ByWord, Latency, Tally, add_words, is_error, is_lost, status};

/// A server as it was asked, and the endpoint that the question was translated to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerKey {
    pub server: SocketAddr,
    pub is_tcp: bool,
    /// None where it is not known.
    pub endpoint: Option<SocketAddr>,
}

/// What became of attempts of clients.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub attempts: u64,
    /// Of these, those that came to nothing (see [`is_lost`]).
    pub lost: u64,
    /// All by fate, in the words of JSON.
    pub fates: ByWord,
    /// Those that were answered, by RCODE.
    pub answers: ByWord,
    /// Of those that were answered, from the attempt on.
    pub latency: Latency,
    /// What server and endpoint were called last, if they had a name.
    pub peer: Peer,
    /// When that was: of the newest attempt with a name.
    named: KernelTime,
}

/// A server with its endpoints.
#[derive(Clone, Debug)]
pub struct OfServer {
    pub server: SocketAddr,
    pub transport: Transport,
    /// All that was sent there, wherever it went.
    pub all: Asked,
    /// By endpoint, where a translation was seen; the greatest loss first.
    pub endpoints: Vec<(SocketAddr, Asked)>,
}

impl ServerKey {
    pub(super) fn new(attempt: &Attempt) -> Self {
        let conversation = &attempt.conversation;
        let is_tcp = conversation.transport == Transport::Tcp;
        Self { server: conversation.remote, is_tcp, endpoint: attempt.endpoint }
    }
}

impl Asked {
    pub(super) fn add(&mut self, attempt: &Attempt) {
        self.attempts += 1;
        self.lost += u64::from(is_lost(&attempt.fate));
        self.name(&attempt.peer, attempt.time);
        *self.fates.entry(words::fate(&attempt.fate)).or_default() += 1;
        if let Fate::Answered(answer) = &attempt.fate {
            *self.answers.entry(status(&answer.message)).or_default() += 1;
            self.latency.record(answer.time.since(attempt.time));
        }
    }

    /// A newer name replaces an older one; what has none says nothing.
    fn name(&mut self, peer: &Peer, time: KernelTime) {
        let is_newer = time >= self.named;
        let Peer { remote, endpoint } = &mut self.peer;
        for (name, other) in [(remote, &peer.remote), (endpoint, &peer.endpoint)] {
            if other.is_some() && (is_newer || name.is_none()) && name != other {
                name.clone_from(other);
            }
        }
        if peer.remote.is_some() || peer.endpoint.is_some() {
            self.named = self.named.max(time);
        }
    }

    /// Answers that are no answer to the question: SERVFAIL, REFUSED and the like.
    pub fn errors(&self) -> u64 {
        self.answers.iter().filter(|(status, _)| is_error(status)).map(|(_, count)| count).sum()
    }
}

impl Tally for Asked {
    type Rank = (u64, u64);

    fn rank(&self) -> Self::Rank {
        (self.lost + self.errors(), self.attempts)
    }

    fn absorb(&mut self, other: &Self) {
        self.attempts += other.attempts;
        self.lost += other.lost;
        add_words(&mut self.fates, &other.fates);
        add_words(&mut self.answers, &other.answers);
        self.latency.absorb(&other.latency);
        self.name(&other.peer, other.named);
    }
}

/// Servers with their endpoints, the worst first.
pub(super) fn by_server<'a>(asked: impl Iterator<Item = (&'a ServerKey, &'a Asked)>) -> Vec<OfServer> {
    let mut servers: BTreeMap<(SocketAddr, bool), OfServer> = BTreeMap::new();
    for (key, asked) in asked {
        let transport = if key.is_tcp { Transport::Tcp } else { Transport::Udp };
        let server = servers.entry((key.server, key.is_tcp)).or_insert_with(|| OfServer {
            server: key.server,
            transport,
            all: Asked::default(),
            endpoints: Vec::new(),
        });
        server.all.absorb(asked);
        server.endpoints.extend(key.endpoint.map(|endpoint| (endpoint, asked.clone())));
    }
    let mut servers: Vec<_> = servers.into_values().collect();
    servers.sort_by_key(|server| Reverse(server.all.rank()));
    for server in &mut servers {
        server.endpoints.sort_by_key(|(endpoint, asked)| (Reverse(asked.rank()), *endpoint));
    }
    servers
}
