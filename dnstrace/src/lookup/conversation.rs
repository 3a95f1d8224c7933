//! What belongs together on the wire.

use std::net::SocketAddr;

use crate::{
    dns::Message,
    event::{Direction, SocketMessage, Transport},
};

/// Which end of the conversation the traced socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// It asks.
    Client,
    /// It is asked.
    Server,
}

/// One DNS id between two ends, as one socket sees it: where a response finds its query.
///
/// Never the id alone nor the thread: pods share ids, ports and even addresses on purpose or by chance, so the
/// network namespace and both ends belong to it. The question is compared beside it, as a response may lack it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Conversation {
    /// Inode number of the traced socket's network namespace.
    pub netns: u32,
    pub role: Role,
    /// The traced socket's end.
    pub local: SocketAddr,
    /// The other end, as the traced socket sees it (the ClusterIP, not the endpoint).
    pub remote: SocketAddr,
    pub transport: Transport,
    /// DNS id; none of an attempt over TCP that had no connection to send its message on.
    pub id: Option<u16>,
}

impl Conversation {
    /// The conversation that `message`, seen as `seen`, belongs to.
    pub fn of(seen: &SocketMessage, message: &Message) -> Self {
        let (local, remote) = match seen.direction {
            Direction::Sent => (seen.flow.source, seen.flow.destination),
            Direction::Received => (seen.flow.destination, seen.flow.source),
        };
        let role = match (seen.direction, message.response) {
            (Direction::Sent, false) | (Direction::Received, true) => Role::Client,
            (Direction::Sent, true) | (Direction::Received, false) => Role::Server,
        };
        Self { netns: seen.netns, role, local, remote, transport: seen.flow.transport, id: Some(message.id) }
    }
}
