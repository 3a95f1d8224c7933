//! What addresses are called in Kubernetes: of Services, and of the pods behind them. Pure: somebody else asks the API
//! server ([`crate::kube`]), or reads what a recording says.
//!
//! [`Index`] makes of objects who holds which address; [`Book`] remembers since when, so that a query is told with the
//! names that were known when it was sent, and a replay says the same.

mod book;
mod index;
#[cfg(test)]
mod tests;

use std::{fmt, net::SocketAddr, sync::Arc};

use serde::{Deserialize, Serialize};

pub use book::{Book, News, Version};
pub use index::{Changed, Holding, Index, MOST_HOLDINGS, ObjectId};

use crate::event::Transport;

/// What has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    Service,
    Pod,
}

/// The name of a Service or a pod. Strangers chose it: escape it for a terminal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Name {
    pub kind: Kind,
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl fmt::Display for Name {
    /// `kube-system/kube-dns`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Who holds an address, and what for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Holder {
    pub name: Arc<Name>,
    /// Ports at which it answers; other transports than these two are left out.
    pub ports: Vec<(u16, Transport)>,
    /// The address is its own, whatever the port: a ClusterIP, a pod's address. Else (an external address, an endpoint that
    /// may be a node's) it is at its ports alone.
    pub is_whole: bool,
}

/// The names of the other side of a socket, as they were when the query was sent, or the connection opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Of the other end, as the traced socket has it.
    pub remote: Option<Arc<Name>>,
    /// Of the endpoint that it was translated to.
    pub endpoint: Option<Arc<Name>>,
}

/// Whose name an address goes by at this port. Of several that could be meant, none is taken.
pub fn resolve(holders: &[Holder], port: u16, transport: Transport) -> Option<&Arc<Name>> {
    let answers = |holder: &&Holder| holder.ports.contains(&(port, transport));
    only(holders.iter().filter(answers))
        .unwrap_or_else(|| only(holders.iter().filter(|holder| holder.is_whole)).flatten())
}

/// The one name of all these, or that they have several; none if there are no holders.
fn only<'a>(mut holders: impl Iterator<Item = &'a Holder>) -> Option<Option<&'a Arc<Name>>> {
    let first = &holders.next()?.name;
    Some(holders.all(|other| other.name == *first).then_some(first))
}

/// The names of a peer: of the other end, and of the endpoint behind it. `name` tells who is called what.
pub fn peer(
    remote: SocketAddr,
    endpoint: Option<SocketAddr>,
    mut name: impl FnMut(SocketAddr) -> Option<Arc<Name>>,
) -> Peer {
    Peer { remote: name(remote), endpoint: endpoint.and_then(name) }
}
