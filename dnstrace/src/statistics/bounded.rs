//! A table of so many keys at the most, and what those that found no room came to.

use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher as _},
};

use crate::event::KernelTime;

/// Keys without room that are told apart at the most; beyond, [`Bounded::refused`] is a lower bound.
const REFUSED: usize = 65_536;

/// What is counted of a key.
pub trait Tally: Clone + Default {
    /// How much it matters: what matters least is let go first.
    type Rank: Ord;

    fn rank(&self) -> Self::Rank;

    /// Adds what was counted of another key.
    fn absorb(&mut self, other: &Self);
}

/// Counts by key. Nothing that is counted is ever gone: it is with its key, or among the others.
///
/// Where there is no room for another key, a quarter of those that were silent for long enough is let go, those first that
/// matter least; if none was, the new key is counted among the others. So a key that comes back may have lost its past
/// to the others: what is told of a key is a floor.
#[derive(Clone, Debug)]
pub struct Bounded<K, V> {
    room: usize,
    /// Nanoseconds of silence after which a key may be let go.
    patience: u64,
    entries: HashMap<K, Entry<V>>,
    others: V,
    refused: HashSet<u64>,
    retired: V,
    retirements: u64,
    /// There is no use in looking for a key to let go before.
    full_until: KernelTime,
}

#[derive(Clone, Debug, Default)]
struct Entry<V> {
    tally: V,
    last: KernelTime,
}

impl<K: Clone + Hash + Ord, V: Tally> Bounded<K, V> {
    pub fn new(room: usize, patience: u64) -> Self {
        Self {
            room,
            patience,
            entries: HashMap::new(),
            others: V::default(),
            refused: HashSet::new(),
            retired: V::default(),
            retirements: 0,
            full_until: KernelTime(0),
        }
    }

    /// Where to count what happened to this key at `now`: its own tally, or that of the others.
    pub fn tally(&mut self, key: &K, now: KernelTime) -> &mut V {
        if !self.entries.contains_key(key) && !self.has_room(now) {
            self.refuse(key);
            return &mut self.others;
        }
        let entry = self.entries.entry(key.clone()).or_default();
        entry.last = entry.last.max(now);
        &mut entry.tally
    }

    /// The so many keys that matter most, in that order, and what all others came to.
    pub fn worst(&self, most: usize) -> (Vec<(&K, &V)>, V) {
        let mut worst: Vec<_> = self.iter().collect();
        worst.sort_by(|(a_key, a), (b_key, b)| b.rank().cmp(&a.rank()).then_with(|| a_key.cmp(b_key)));
        let mut others = self.all_others();
        for (_, tally) in worst.iter().skip(most) {
            others.absorb(tally);
        }
        worst.truncate(most);
        (worst, others)
    }

    /// What was counted of keys without a tally of their own.
    pub fn all_others(&self) -> V {
        let mut others = self.others.clone();
        others.absorb(&self.retired);
        others
    }

    /// All keys that have a tally of their own, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|(key, entry)| (key, &entry.tally))
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What was counted of keys that found no room. It only ever grows by what happens.
    pub fn others(&self) -> &V {
        &self.others
    }

    /// How many keys found no room.
    pub fn refused(&self) -> u64 {
        self.refused.len() as u64
    }

    /// What had been counted of keys when they were let go.
    pub fn retired(&self) -> &V {
        &self.retired
    }

    /// How often a key was let go.
    pub fn retirements(&self) -> u64 {
        self.retirements
    }

    fn has_room(&mut self, now: KernelTime) -> bool {
        if self.entries.len() >= self.room && now >= self.full_until {
            self.let_go(now);
        }
        self.entries.len() < self.room
    }

    fn refuse(&mut self, key: &K) {
        if self.refused.len() < REFUSED {
            // Without random keys: a replay counts the same.
            let mut hasher = DefaultHasher::new();
            key.hash(&mut hasher);
            self.refused.insert(hasher.finish());
        }
    }

    fn let_go(&mut self, now: KernelTime) {
        let is_silent = |last: KernelTime| last.plus(self.patience) <= now;
        let mut silent: Vec<_> = self
            .entries
            .iter()
            .filter(|(_, entry)| is_silent(entry.last))
            .map(|(key, entry)| (entry.tally.rank(), entry.last, key.clone()))
            .collect();
        silent.sort();
        for (.., key) in silent.into_iter().take((self.room / 4).max(1)) {
            if let Some(entry) = self.entries.remove(&key) {
                self.retired.absorb(&entry.tally);
                self.retirements += 1;
            }
        }
        let oldest = self.entries.values().map(|entry| entry.last).min().unwrap_or(now);
        self.full_until = oldest.plus(self.patience);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug, Default, PartialEq)]
    struct Count(u64);

    impl Tally for Count {
        type Rank = u64;

        fn rank(&self) -> u64 {
            self.0
        }

        fn absorb(&mut self, other: &Self) {
            self.0 += other.0;
        }
    }

    fn count(table: &mut Bounded<u32, Count>, key: u32, now: u64) {
        table.tally(&key, KernelTime(now)).0 += 1;
    }

    #[test]
    fn what_matters_least_goes_first() {
        let mut table = Bounded::new(4, 0);
        for key in [1, 1, 1, 2, 3, 3, 4, 4, 5] {
            count(&mut table, key, u64::from(key));
        }
        let mut kept: Vec<_> = table.iter().map(|(key, count)| (*key, count.0)).collect();
        kept.sort_unstable();
        assert_eq!(kept, [(1, 3), (3, 2), (4, 2), (5, 1)]);
        assert_eq!((table.retired(), table.retirements(), table.refused()), (&Count(1), 1, 0));
    }

    #[test]
    fn who_is_not_silent_keeps_its_place() {
        let mut table = Bounded::new(2, 10);
        for (key, now) in [(1, 0), (2, 5), (3, 9), (4, 9), (3, 9)] {
            count(&mut table, key, now);
        }
        assert_eq!((table.others(), table.refused(), table.retirements()), (&Count(3), 2, 0));
        count(&mut table, 3, 10);
        let mut kept: Vec<_> = table.iter().map(|(key, _)| *key).collect();
        kept.sort_unstable();
        assert_eq!((kept, table.retired()), (vec![2, 3], &Count(1)));
    }

    proptest! {
        #[test]
        fn nothing_that_is_counted_is_gone(
            events in prop::collection::vec((0u32..40, 0u64..5), 0..300), room in 1usize..12, patience in 0u64..30,
        ) {
            let mut table = Bounded::new(room, patience);
            let mut now = 0;
            for (key, passed) in &events {
                now += passed;
                count(&mut table, *key, now);
                prop_assert!(table.len() <= room);
            }
            let told: u64 = table.iter().map(|(_, count)| count.0).sum();
            prop_assert_eq!(told + table.others().0 + table.retired().0, events.len() as u64);
        }
    }
}
