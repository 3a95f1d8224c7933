//! A bounded memory: the oldest is forgotten first.

use std::hash::Hash;

use lru::LruCache;

/// Values by key, at most so many. A value's age counts from when it was last put or used.
#[derive(Debug)]
pub(super) struct Recent<K: Hash + Eq, V> {
    values: LruCache<K, V>,
    room: usize,
}

impl<K: Hash + Eq, V> Recent<K, V> {
    pub fn new(room: usize) -> Self {
        // Bounded below: a bounded cache would take all its memory at once.
        Self { values: LruCache::unbounded(), room }
    }

    /// Puts a value in the place of the one with its key. Returns what was forgotten for want of room.
    pub fn put(&mut self, key: K, value: V) -> Option<V> {
        self.values.put(key, value);
        if self.values.len() > self.room { self.values.pop_lru().map(|(_, oldest)| oldest) } else { None }
    }

    pub fn get(&self, key: &K) -> Option<&V> {
        self.values.peek(key)
    }

    /// Likewise; it counts as used.
    pub fn use_mut(&mut self, key: &K) -> Option<&mut V> {
        self.values.get_mut(key)
    }

    pub fn take(&mut self, key: &K) -> Option<V> {
        self.values.pop(key)
    }

    pub fn clear(&mut self) {
        self.values.clear();
    }

    /// For tests of its bounds.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.values.len()
    }
}
