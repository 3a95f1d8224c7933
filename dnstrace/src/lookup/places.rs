//! Attempts by the addresses and the id that their packets bear.

use std::{
    collections::{BTreeSet, HashMap},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use crate::event::Flow;

use super::{Conversation, Role};

/// An attempt: the number of its query and its index there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Place {
    pub query: u64,
    pub attempt: usize,
}

impl Place {
    pub const FIRST: Self = Self { query: 0, attempt: 0 };
    pub const LAST: Self = Self { query: u64::MAX, attempt: usize::MAX };
}

/// Whose addresses they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum View {
    /// Of a client's attempt, as its socket has them.
    Client,
    /// Of a server's attempt, as its socket has them.
    Server,
    /// Of a client's attempt, as connection tracking has made them: the endpoint's, and perhaps the node's.
    Translated,
    /// Of a client's attempt, its own alone: the other end is left out ([`of_source`]).
    Source,
}

/// A [`View`], the addresses from client to server, the id.
type Key = (View, Flow, u16);

/// Addresses kept of one attempt: each namespace that it is translated in adds one, and there are rarely two.
pub(super) const KEYS: usize = 6;

/// The index. It knows nothing of namespaces: an address may occur in several, so a place that is found here is only
/// a candidate.
#[derive(Debug, Default)]
pub(super) struct Places {
    index: BTreeSet<(View, Flow, u16, Place)>,
    keys: HashMap<Place, Vec<Key>>,
}

impl Places {
    /// Adds an attempt, or further addresses of one.
    pub fn add(&mut self, place: Place, view: View, flow: Flow, id: u16) {
        let keys = self.keys.entry(place).or_default();
        if keys.len() < KEYS && !keys.contains(&(view, flow, id)) {
            keys.push((view, flow, id));
            self.index.insert((view, flow, id, place));
        }
    }

    /// Removes an attempt with all its addresses.
    pub fn remove(&mut self, place: Place) {
        for (view, flow, id) in self.keys.remove(&place).unwrap_or_default() {
            self.index.remove(&(view, flow, id, place));
        }
    }

    /// Attempts with these addresses; with this id, if one is given.
    pub fn at(&self, view: View, flow: Flow, id: Option<u16>) -> impl Iterator<Item = Place> {
        let (first, last) = id.map_or((0, u16::MAX), |id| (id, id));
        let range = (view, flow, first, Place::FIRST)..=(view, flow, last, Place::LAST);
        self.index.range(range).map(|(.., place)| *place)
    }

    /// Entries, for tests of its bounds.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Attempts, likewise.
    #[cfg(test)]
    pub fn attempts(&self) -> usize {
        self.keys.len()
    }
}

/// What the flows that leave one socket have in common: their source, and no destination.
pub(super) fn of_source(flow: &Flow) -> Flow {
    let nowhere = match flow.source.ip() {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    Flow { destination: SocketAddr::new(nowhere, 0), ..*flow }
}

impl Conversation {
    /// From the client to the server, as the traced socket has the addresses.
    pub(super) fn flow(&self) -> Flow {
        let (source, destination) = match self.role {
            Role::Client => (self.local, self.remote),
            Role::Server => (self.remote, self.local),
        };
        Flow { source, destination, transport: self.transport }
    }

    pub(super) fn view(&self) -> View {
        match self.role {
            Role::Client => View::Client,
            Role::Server => View::Server,
        }
    }
}
