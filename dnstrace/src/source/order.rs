//! Events into the order of their time.
//!
//! CPUs write into one ring: each takes the time first and its place in the ring then, so that two events may
//! stand in the ring the wrong way round, by as long as a CPU can be kept from running between the two.

use std::{cmp::Ordering, collections::BinaryHeap};

use crate::event::KernelTime;

/// Holds events (or what becomes events) back until none earlier is to be expected.
#[derive(Debug)]
pub struct Order<T> {
    held: BinaryHeap<Held<T>>,
    /// Arrival number of the next event: equal times keep the order of their arrival.
    next: u64,
    /// Up to here everything has been released.
    released: KernelTime,
    /// Events that came after later ones had been released.
    late: u64,
}

#[derive(Debug)]
struct Held<T> {
    time: KernelTime,
    arrival: u64,
    event: T,
}

impl<T> Default for Order<T> {
    fn default() -> Self {
        Self { held: BinaryHeap::new(), next: 0, released: KernelTime::default(), late: 0 }
    }
}

impl<T> Order<T> {
    /// Takes in an event of this time.
    pub fn push(&mut self, time: KernelTime, event: T) {
        if time < self.released {
            self.late += 1;
        }
        self.held.push(Held { time, arrival: self.next, event });
        self.next += 1;
    }

    /// The next event and its time, if that is not after `until`.
    pub fn pop(&mut self, until: KernelTime) -> Option<(KernelTime, T)> {
        if self.held.peek()?.time > until {
            return None;
        }
        let held = self.held.pop()?;
        self.released = self.released.max(held.time);
        Some((held.time, held.event))
    }

    /// How many events are held back.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Events so far that came too late to be put into their place: released out of order.
    pub fn late(&self) -> u64 {
        self.late
    }
}

impl<T> Ord for Held<T> {
    /// The greatest is the earliest, as the heap is a max-heap.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.time, other.arrival).cmp(&(self.time, self.arrival))
    }
}

impl<T> PartialOrd for Held<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Held<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Held<T> {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(order: &mut Order<u64>, until: u64) -> Vec<(u64, u64)> {
        std::iter::from_fn(|| order.pop(KernelTime(until))).map(|(time, event)| (time.0, event)).collect()
    }

    #[test]
    fn what_may_still_be_overtaken_is_held() {
        let mut order = Order::default();
        order.push(KernelTime(20), 1);
        order.push(KernelTime(10), 2);
        assert_eq!(all(&mut order, 15), [(10, 2)]);
        order.push(KernelTime(5), 3);
        assert_eq!(order.held(), 2);
        assert_eq!(all(&mut order, 30), [(5, 3), (20, 1)]);
        assert_eq!(order.late(), 1);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_equal_times_keep_their_order(times in proptest::collection::vec(0u64..20, 0..100)) {
            let mut order = Order::default();
            let mut expected: Vec<_> = (0u64..).zip(&times).map(|(index, time)| (*time, index)).collect();
            for (time, index) in &expected { order.push(KernelTime(*time), *index); }
            expected.sort_unstable();
            prop_assert_eq!(all(&mut order, u64::MAX), expected);
        }
    }
}
