//! Nodes by what they are called.

use std::collections::BTreeMap;

use super::escape;
use crate::identify::Owner;

/// The nodes of a trace: mostly the one that it was made on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nodes {
    /// Names by the inode number of the node's own network namespace. The only node needs none.
    names: BTreeMap<u32, Option<String>>,
}

impl Nodes {
    /// The node whose own network namespace has this inode number; none if that is not known.
    pub fn one(netns: Option<u32>) -> Self {
        Self { names: netns.into_iter().map(|netns| (netns, None)).collect() }
    }

    /// Those of a trace of `several` nodes, with their names; if these are none, the one.
    pub fn of(one: Option<u32>, several: &BTreeMap<u32, String>) -> Self {
        if several.is_empty() {
            return Self::one(one);
        }
        Self { names: several.iter().map(|(netns, name)| (*netns, Some(name.clone()))).collect() }
    }

    /// If it is a node's own network namespace: `on the node`, or of several, `on worker-2`.
    pub(super) fn place(&self, netns: u32) -> Option<String> {
        let name = self.names.get(&netns)?;
        Some(name.as_ref().map_or_else(|| "on the node".to_owned(), |name| format!("on {}", escape(name))))
    }

    /// Of several nodes, the one that holds the socket.
    pub(super) fn of_owner<'a>(&self, owner: &'a Owner) -> Option<&'a str> {
        let are_several = self.names.values().any(Option::is_some);
        owner.node.as_deref().filter(|_| are_several)
    }
}
