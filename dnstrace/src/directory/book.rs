//! Since when addresses are held by whom.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, SocketAddr},
    num::NonZeroUsize,
    sync::Arc,
};

use lru::LruCache;
use serde::{Deserialize, Serialize};

use super::{Holder, Name, resolve};
use crate::event::{KernelTime, Transport};

/// Addresses that are remembered at the most, with those that nobody holds any more, which go first.
const CAPACITY: NonZeroUsize = NonZeroUsize::new(2 * super::MOST_HOLDINGS).unwrap();
/// Of each address, so many changes back.
const VERSIONS: usize = 8;

/// Who held an address from some time on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    pub since: KernelTime,
    /// Nobody, if there are none.
    pub holders: Arc<[Holder]>,
}

/// All that is known of an address, which a recording has to tell again.
pub type News = (IpAddr, Vec<Version>);

/// An address, on a node by name where several are one trace: what was known to one is not said to have been known to another.
type Key = (Option<Arc<str>>, IpAddr);

/// Names of addresses, as they were known at any time.
#[derive(Debug, Default)]
pub struct Book {
    /// In order of time.
    addresses: HashMap<Key, VecDeque<Version>>,
    /// Those that nobody holds any more, in the order in which that was learned, perhaps more than once.
    gone: VecDeque<IpAddr>,
    told: Option<Told>,
}

/// What a recording knows of it.
#[derive(Debug)]
struct Told {
    addresses: LruCache<IpAddr, ()>,
    news: Vec<News>,
}

impl Default for Told {
    fn default() -> Self {
        // Bounded by hand: a bounded cache would take all its memory at once.
        Self { addresses: LruCache::unbounded(), news: Vec::new() }
    }
}

impl Book {
    /// Keeps from now on what a recording has to tell, for [`Self::take_news`].
    pub fn keep_news(&mut self) {
        self.told.get_or_insert_default();
    }

    /// From `since` on the address is held by these.
    pub fn learn(&mut self, address: IpAddr, holders: Arc<[Holder]>, since: KernelTime) {
        let key = (None, address);
        if !self.addresses.contains_key(&key) && (holders.is_empty() || !self.make_room()) {
            return;
        }
        if holders.is_empty() {
            self.gone.push_back(address);
        }
        let versions = self.addresses.entry(key).or_default();
        match versions.back_mut() {
            Some(last) if last.holders == holders => return,
            // Learned at once: nobody was told of the one before.
            Some(last) if last.since == since => last.holders = holders,
            _ => versions.push_back(Version { since, holders }),
        }
        if versions.len() > VERSIONS {
            versions.pop_front();
        }
        let news = (address, versions.iter().cloned().collect());
        if let Some(told) = self.told.as_mut().filter(|told| told.addresses.contains(&address)) {
            told.news.push(news);
        }
    }

    /// All that a recording knows of an address, of the node that it was made on where there are several.
    pub fn replace(&mut self, node: Option<Arc<str>>, address: IpAddr, versions: Vec<Version>) {
        let key = (node, address);
        if self.addresses.contains_key(&key) || self.make_room() {
            let newest = versions.len().saturating_sub(VERSIONS);
            self.addresses.insert(key, versions.into_iter().skip(newest).collect());
        }
    }

    /// What an address was called at `time`, to a socket of this node.
    pub fn name(
        &mut self,
        node: Option<&Arc<str>>,
        address: SocketAddr,
        transport: Transport,
        time: KernelTime,
    ) -> Option<Arc<Name>> {
        if self.addresses.is_empty() {
            return None;
        }
        let ip = address.ip();
        let of_node = node.and_then(|node| self.addresses.get(&(Some(node.clone()), ip)));
        let versions = of_node.or_else(|| self.addresses.get(&(None, ip)))?;
        if let Some(told) = &mut self.told {
            told.tell(ip, versions);
        }
        let version = versions.iter().rev().find(|version| version.since <= time)?;
        resolve(&version.holders, address.port(), transport).cloned()
    }

    /// What is to be recorded before the event that it was asked for: of addresses that were asked for the first time, and of
    /// those whenever they change.
    pub fn take_news(&mut self) -> Vec<News> {
        self.told.as_mut().map(|told| std::mem::take(&mut told.news)).unwrap_or_default()
    }

    /// A new file begins, which is to be complete by itself: everything is news again.
    pub fn forget(&mut self) {
        self.told = self.told.take().map(|_| Told::default());
    }

    /// Whether one more address can be remembered, if need be instead of one that nobody holds.
    fn make_room(&mut self) -> bool {
        while self.addresses.len() >= CAPACITY.get() {
            let Some(address) = self.gone.pop_front() else { return false };
            let key = (None, address);
            let is_gone =
                |versions: &VecDeque<Version>| versions.back().is_some_and(|last| last.holders.is_empty());
            if self.addresses.get(&key).is_some_and(is_gone) {
                self.addresses.remove(&key);
                if let Some(told) = &mut self.told {
                    told.forget(address);
                }
            }
        }
        // Of an address that comes and goes, one entry does.
        if self.gone.len() > CAPACITY.get() {
            self.gone.pop_front();
        }
        true
    }
}

impl Told {
    /// The address was asked for.
    fn tell(&mut self, address: IpAddr, versions: &VecDeque<Version>) {
        if self.addresses.get(&address).is_some() {
            return;
        }
        self.news.push((address, versions.iter().cloned().collect()));
        self.addresses.put(address, ());
        if self.addresses.len() > CAPACITY.get() {
            self.addresses.pop_lru();
        }
    }

    /// Nothing is known of the address any more.
    fn forget(&mut self, address: IpAddr) {
        if self.addresses.pop(&address).is_some() {
            self.news.push((address, Vec::new()));
        }
    }
}
