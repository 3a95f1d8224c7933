//! Who holds the sockets, as a recording tells it.

use std::{collections::HashMap, num::NonZeroUsize};

use lru::LruCache;

use crate::{
    event::{CgroupMade, KernelTime, Task},
    identify::{Owner, Owners},
};

/// Cgroups that are remembered at the most. A writer tells again of one that it has forgotten, so a reader must remember as
/// many as a writer.
pub const CAPACITY: NonZeroUsize = NonZeroUsize::new(65_536).unwrap();

/// What was told of each cgroup, last.
#[derive(Debug)]
pub struct Told {
    owners: LruCache<u64, Owner>,
}

impl Default for Told {
    fn default() -> Self {
        // Bounded below: a bounded cache would take all its memory at once.
        Self { owners: LruCache::unbounded() }
    }
}

impl Told {
    /// Whether labels of any pod were told.
    pub fn has_labels(&self) -> bool {
        self.owners.iter().any(|(_, owner)| owner.pod.as_ref().is_some_and(|pod| pod.labels.is_some()))
    }

    /// Takes note. Returns whether that is new.
    pub fn tell(&mut self, cgroup: u64, owner: &Owner) -> bool {
        if self.owners.get(&cgroup) == Some(owner) {
            return false;
        }
        self.owners.put(cgroup, owner.clone());
        if self.owners.len() > CAPACITY.get() {
            self.owners.pop_lru();
        }
        true
    }
}

/// Owners as another one tells them, who remembers what was told, so that it can be recorded: before the event for which it
/// was asked. Within one event, who is asked twice says the same.
#[derive(Debug)]
pub struct Telling<O> {
    pub inner: O,
    /// None if nothing is recorded.
    told: Option<Told>,
    news: Vec<(u64, Owner)>,
    /// Since the last [`Self::take_news`].
    asked: HashMap<u64, Owner>,
}

impl<O> Telling<O> {
    pub fn new(inner: O, is_recorded: bool) -> Self {
        Self { inner, told: is_recorded.then(Told::default), news: Vec::new(), asked: HashMap::new() }
    }

    /// What has not been told before, of each cgroup.
    pub fn take_news(&mut self) -> Vec<(u64, Owner)> {
        self.asked.clear();
        std::mem::take(&mut self.news)
    }

    /// A new file begins, which is to be complete by itself: everything is news again.
    pub fn forget(&mut self) {
        self.told = self.told.take().map(|_| Told::default());
    }
}

impl<O: Owners> Owners for Telling<O> {
    fn note_cgroup(&mut self, made: &CgroupMade) {
        self.inner.note_cgroup(made);
    }

    fn owner(&mut self, task: &Task, time: KernelTime) -> Owner {
        let Some(told) = &mut self.told else { return self.inner.owner(task, time) };
        if let Some(owner) = self.asked.get(&task.cgroup) {
            return owner.clone();
        }
        let owner = self.inner.owner(task, time);
        if told.tell(task.cgroup, &owner) {
            self.news.push((task.cgroup, owner.clone()));
        }
        self.asked.insert(task.cgroup, owner.clone());
        owner
    }
}

impl Owners for Told {
    /// What a new cgroup is, an entry of its own tells.
    fn note_cgroup(&mut self, _made: &CgroupMade) {}

    fn owner(&mut self, task: &Task, _time: KernelTime) -> Owner {
        self.owners.get(&task.cgroup).cloned().unwrap_or_default()
    }
}
