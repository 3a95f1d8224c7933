//! Queries and answers of one node by what both ends see of them.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher as _},
    net::SocketAddr,
};

use crate::{
    dns::{self, Question},
    event::{Direction, Event, SocketMessage, Transport},
};

/// Exchanges remembered of each side of a node at the most.
const MOST: usize = 65_536;

/// What does not change on the way, if nobody translates the client's address: that, the id and the question.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    client: SocketAddr,
    id: u16,
    question: Question,
}

/// Two times of one end, nanoseconds of the node's clock since the epoch.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    query: Option<u64>,
    answer: Option<u64>,
    /// The key stood for several exchanges: it tells of none.
    is_ambiguous: bool,
}

/// The exchanges of one node's clients and servers.
#[derive(Debug, Default)]
pub struct Exchanges {
    clients: Side,
    servers: Side,
}

/// Of a trace that is too long to remember all of it, every second exchange, or every fourth and so on, from its beginning to
/// its end: as clocks drift, each part of it counts. Which they are, both nodes agree on.
#[derive(Debug, Default)]
struct Side {
    known: HashMap<Key, Times>,
    /// Of the keys' hashes so many bits are zero.
    thinned: u32,
}

impl Side {
    fn get(&self, key: &Key) -> Option<&Times> {
        self.known.get(key)
    }

    /// The times of an exchange; none if it is not remembered. An answer alone begins none.
    fn times(&mut self, key: Key, is_answer: bool) -> Option<&mut Times> {
        if !self.takes(&key) || is_answer && !self.known.contains_key(&key) {
            return None;
        }
        if self.known.len() >= MOST && !self.known.contains_key(&key) {
            self.thinned += 1;
            let mut known = std::mem::take(&mut self.known);
            known.retain(|key, _| self.takes(key));
            self.known = known;
            if !self.takes(&key) {
                return None;
            }
        }
        Some(self.known.entry(key).or_default())
    }

    fn takes(&self, key: &Key) -> bool {
        // Without a seed: another one's would choose others.
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        hasher.finish().trailing_zeros() >= self.thinned
    }
}

/// Four times of one exchange, as NTP has them (RFC 5905, 8): nanoseconds since the epoch, the first and the last of the
/// client's clock, the others of the server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    pub sent: u64,
    pub received: u64,
    pub answered: u64,
    pub came_back: u64,
}

impl Exchanges {
    /// Takes note of an event of the node. `wall_offset` is what its wall clock is ahead of event time, in nanoseconds.
    pub fn note(&mut self, event: &Event, wall_offset: i64) {
        let Event::Message(seen) = event else { return };
        if seen.flow.transport == Transport::Udp {
            self.message(seen, seen.time.0.saturating_add_signed(wall_offset));
        }
    }

    fn message(&mut self, seen: &SocketMessage, time: u64) {
        let Some(message) = dns::decode(&seen.payload, seen.length).message else { return };
        let Some(question) = message.question else { return };
        let (side, client) = match (seen.direction, message.response) {
            (Direction::Sent, false) => (&mut self.clients, seen.flow.source),
            (Direction::Received, true) => (&mut self.clients, seen.flow.destination),
            (Direction::Received, false) => (&mut self.servers, seen.flow.source),
            (Direction::Sent, true) => (&mut self.servers, seen.flow.destination),
        };
        let key = Key { client, id: message.id, question };
        let Some(times) = side.times(key, message.response) else { return };
        let time_of = if message.response { &mut times.answer } else { &mut times.query };
        // Sent again, or the id used again.
        times.is_ambiguous |= time_of.replace(time).is_some();
    }

    /// Exchanges of this node's clients with the servers of `other`.
    pub fn with_servers_of<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = Sample> + 'a {
        self.clients.known.iter().filter_map(|(key, client)| {
            let server = other.servers.get(key)?;
            if client.is_ambiguous || server.is_ambiguous {
                return None;
            }
            Some(Sample {
                sent: client.query?,
                received: server.query?,
                answered: server.answer?,
                came_back: client.answer?,
            })
        })
    }
}
