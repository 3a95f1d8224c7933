//! Objects of Kubernetes to the holders of addresses.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

use super::Holder;

/// Addresses of objects that are remembered at the most.
pub const MOST_HOLDINGS: usize = 65_536;

/// An object of the API: its resource, namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    pub resource: &'static str,
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

/// That an object holds an address.
pub type Holding = (IpAddr, Holder);

/// Who holds an address from now on; nobody if there are none. In an order that does not depend on how it came to that.
pub type Changed = (IpAddr, Arc<[Holder]>);

/// Who holds which address by what objects say now. Bounded: what does not fit is counted.
#[derive(Debug)]
pub struct Index {
    /// Of each object the addresses that it holds; objects that hold none are not kept.
    objects: HashMap<ObjectId, BTreeSet<IpAddr>>,
    addresses: HashMap<IpAddr, BTreeMap<ObjectId, Vec<Holder>>>,
    holdings: usize,
    most: usize,
    left_out: u64,
}

impl Default for Index {
    fn default() -> Self {
        Self::with_room(MOST_HOLDINGS)
    }
}

impl Index {
    /// Remembers at most so many addresses of objects.
    pub fn with_room(most: usize) -> Self {
        Self { objects: HashMap::new(), addresses: HashMap::new(), holdings: 0, most, left_out: 0 }
    }

    /// An object is there, or has changed. Returns what that changed.
    pub fn put(&mut self, object: &ObjectId, holdings: Vec<Holding>) -> Vec<Changed> {
        let mut touched = self.take_out(object);
        for (address, holder) in holdings {
            if self.holdings >= self.most {
                self.left_out += 1;
                continue;
            }
            self.holdings += 1;
            touched.entry(address).or_insert_with(|| self.holders(address));
            self.objects.entry(object.clone()).or_default().insert(address);
            let holders = self.addresses.entry(address).or_default().entry(object.clone()).or_default();
            holders.push(holder);
            holders.sort();
        }
        self.changed(touched)
    }

    /// An object has gone.
    pub fn remove(&mut self, object: &ObjectId) -> Vec<Changed> {
        let touched = self.take_out(object);
        self.changed(touched)
    }

    /// These are all objects of a resource: others that were known have gone.
    pub fn replace(&mut self, resource: &str, objects: Vec<(ObjectId, Vec<Holding>)>) -> Vec<Changed> {
        let listed: BTreeSet<_> = objects.iter().map(|(object, _)| object).collect();
        let is_gone = |object: &&ObjectId| object.resource == resource && !listed.contains(object);
        let gone: Vec<_> = self.objects.keys().filter(is_gone).cloned().collect();
        let mut changed: Vec<_> = gone.iter().flat_map(|object| self.remove(object)).collect();
        for (object, holdings) in objects {
            changed.extend(self.put(&object, holdings));
        }
        changed
    }

    /// Addresses of objects for which there was no room, so far.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Who holds an address now.
    pub fn holders(&self, address: IpAddr) -> Vec<Holder> {
        self.addresses
            .get(&address)
            .map_or_else(Vec::new, |objects| objects.values().flatten().cloned().collect())
    }

    /// Takes an object's holdings out. Returns its addresses, with their holders before that.
    fn take_out(&mut self, object: &ObjectId) -> BTreeMap<IpAddr, Vec<Holder>> {
        let mut touched = BTreeMap::new();
        for address in self.objects.remove(object).unwrap_or_default() {
            touched.insert(address, self.holders(address));
            let Some(objects) = self.addresses.get_mut(&address) else { continue };
            self.holdings -= objects.remove(object).map_or(0, |holders| holders.len());
            if objects.is_empty() {
                self.addresses.remove(&address);
            }
        }
        touched
    }

    /// Those of the touched addresses that are held otherwise than before.
    fn changed(&self, touched: BTreeMap<IpAddr, Vec<Holder>>) -> Vec<Changed> {
        let now = touched.into_iter().map(|(address, before)| (address, before, self.holders(address)));
        now.filter(|(_, before, now)| before != now).map(|(address, _, now)| (address, now.into())).collect()
    }
}
