//! Who holds the sockets, as a recording tells it.

use std::num::NonZeroUsize;

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

impl Owners for Told {
    /// What a new cgroup is, an entry of its own tells.
    fn note_cgroup(&mut self, _made: &CgroupMade) {}

    fn owner(&mut self, task: &Task, _time: KernelTime) -> Owner {
        self.owners.get(&task.cgroup).cloned().unwrap_or_default()
    }
}
