//! What a file yields, whoever wrote it: a recording of dnstrace, or a capture of packets.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    directory::Version,
    event::{Event, KernelTime},
    filter::Filter,
    identify::{Owner, Scope, Selector},
    lookup::Sight,
    losses::Losses,
};

/// One thing that a file tells, in the order in which it is told. The first is [`Entry::Begin`], the last [`Entry::End`].
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// How the trace was made.
    Begin(Box<Begin>),
    /// From here on this is who holds the sockets of a cgroup.
    Owner { cgroup: u64, owner: Owner },
    /// All that is known so far of what an address is called; of several nodes, to which of them.
    Names { node: Option<Arc<str>>, address: IpAddr, versions: Vec<Version> },
    /// In the order of their time, but for those that came too late to be put into it.
    Event(Event),
    /// Event time has come to here: what waited until then has waited in vain, even if an earlier event follows.
    Time(KernelTime),
    /// What the trace can see has changed.
    Sight(Sight),
    /// Nothing follows.
    End(Box<End>),
}

/// How a trace was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Begin {
    pub time: KernelTime,
    /// What is to be added to a [`KernelTime`] to have nanoseconds since 1970: of a recording what `CLOCK_REALTIME` was ahead
    /// of `CLOCK_MONOTONIC`, of a capture 0, as its times are such nanoseconds already.
    pub clock_offset_ns: i64,
    /// Nanoseconds after which a query counted as unanswered; none if the file does not say.
    pub timeout: Option<u64>,
    /// The trace ended when it had told of this many queries.
    pub count: Option<u64>,
    /// Which it told of, as far as `count` is concerned: what was hidden is in the file all the same.
    #[serde(default)]
    pub filter: Filter,
    /// What could be seen.
    pub sight: Sight,
    /// Inode number of the node's own network namespace, if known.
    pub host_netns: Option<u32>,
    /// Of a trace of several nodes, their own network namespaces and their names.
    #[serde(default)]
    pub nodes: BTreeMap<u32, String>,
    /// Of those that were captured, only pods of this namespace are wanted,
    pub namespace: Option<String>,
    /// and only pods with such labels.
    #[serde(default)]
    pub selector: Option<Selector>,
    /// Of a trace of several nodes, likewise, by the names of the nodes.
    #[serde(default)]
    pub scopes: BTreeMap<String, Scope>,
    /// For the user, behind the file's name: `a recording of node-1: pod shop/cart-7d4f on port 53`. Comes from the file: not
    /// escaped.
    pub description: String,
}

impl Begin {
    /// Which pods are wanted of those that were captured.
    pub fn scope(&self) -> Scope {
        Scope { namespace: self.namespace.clone(), selector: self.selector.clone() }
    }
}

/// How a trace ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct End {
    pub time: KernelTime,
    /// What its source lost. What the pipeline gives up while it works on the entries is not in it.
    pub losses: Losses,
    /// What else is to be told, a line each: that the file ends early, say. Not escaped.
    pub notes: Vec<String>,
}

/// A file, read from its beginning as a stream.
pub trait Entries {
    /// The next entry; none after [`Entry::End`].
    ///
    /// A file that ends in the middle is no error: its last entry is an [`Entry::End`] with a note.
    ///
    /// # Errors
    /// If the file cannot be read, or nothing can be made of it.
    fn next(&mut self) -> Result<Option<Entry>, Unreadable>;
}

/// Why a file cannot be read, in a line that names the file and says what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {name}: {why}")]
pub struct Unreadable {
    /// The file's, as the user gave it.
    pub name: String,
    pub why: String,
}
