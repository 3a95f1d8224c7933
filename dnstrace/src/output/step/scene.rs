//! What a step is seen against.

use crate::{
    event::{Flow, Transport, known_netns},
    identify::Owner,
    lookup::{Attempt, Query, Role, Step, TcpConnection},
    output::Nodes,
};

/// Whose packet it was that something befell, as far as words depend on it.
#[derive(Clone, Copy)]
pub(in crate::output) struct Scene<'a> {
    pub nodes: &'a Nodes,
    home: Option<Home>,
    pub transport: Transport,
    /// Of the traced socket; of a packet that belongs to nobody, a client's.
    pub role: Role,
    /// The attempt that it befell; none for a connection, and for a packet that belongs to no attempt under way.
    pub of: Option<Of<'a>>,
    /// All that befell the attempt or the connection.
    pub steps: &'a [Step],
}

/// A step's attempt.
#[derive(Clone, Copy)]
pub(in crate::output) struct Of<'a> {
    pub query: &'a Query,
    pub attempt: &'a Attempt,
}

/// The network namespace of the traced socket.
#[derive(Clone, Copy)]
struct Home {
    netns: u32,
    is_pod: bool,
}

impl Home {
    fn new(netns: u32, owner: Option<&Owner>) -> Self {
        Self { netns, is_pod: owner.is_some_and(|owner| owner.pod.is_some()) }
    }
}

impl<'a> Scene<'a> {
    pub fn of_attempt(nodes: &'a Nodes, query: &'a Query, attempt: &'a Attempt) -> Self {
        Self {
            nodes,
            home: Some(Home::new(query.netns, Some(&query.owner))),
            transport: attempt.conversation.transport,
            role: query.role,
            of: Some(Of { query, attempt }),
            steps: &attempt.steps,
        }
    }

    pub fn of_connection(nodes: &'a Nodes, connection: &'a TcpConnection) -> Self {
        Self {
            nodes,
            home: Some(Home::new(connection.netns, connection.owner.as_ref())),
            transport: Transport::Tcp,
            role: connection.role,
            of: None,
            steps: &connection.steps,
        }
    }

    /// Of a packet that is no part of a query under way.
    pub fn of_packet(nodes: &'a Nodes, flow: Flow) -> Self {
        Self { nodes, home: None, transport: flow.transport, role: Role::Client, of: None, steps: &[] }
    }

    /// A network namespace, by what it is to the reader.
    pub fn place(&self, netns: Option<u32>) -> Option<String> {
        let netns = known_netns(netns?)?;
        if let Some(place) = self.nodes.place(netns) {
            return Some(place);
        }
        Some(match self.home.filter(|home| home.netns == netns) {
            Some(Home { is_pod: true, .. }) => "in the pod".to_owned(),
            Some(_) => "in its network namespace".to_owned(),
            None => format!("in netns {netns}"),
        })
    }
}
