//! Events into the order of their time.
//!
//! CPUs write into one ring: each takes the time first and its place in the ring then, so that two events may
//! stand in the ring the wrong way round, by as long as a CPU can be kept from running between the two.

use std::{cmp::Ordering, collections::BinaryHeap};

use crate::event::{Event, KernelTime};

/// Holds events back until none earlier is to be expected.
#[derive(Debug, Default)]
pub struct Order {
    held: BinaryHeap<Held>,
    /// Arrival number of the next event: equal times keep the order of their arrival.
    next: u64,
    /// Up to here everything has been released.
    released: KernelTime,
    /// Events that came after later ones had been released.
    late: u64,
}

#[derive(Debug)]
struct Held {
    time: KernelTime,
    arrival: u64,
    event: Event,
}

impl Order {
    /// Takes in an event.
    pub fn push(&mut self, event: Event) {
        let time = event.time();
        if time < self.released {
            self.late += 1;
        }
        self.held.push(Held { time, arrival: self.next, event });
        self.next += 1;
    }

    /// The next event, if it is not after `until`.
    pub fn pop(&mut self, until: KernelTime) -> Option<Event> {
        if self.held.peek()?.time > until {
            return None;
        }
        let held = self.held.pop()?;
        self.released = self.released.max(held.time);
        Some(held.event)
    }

    /// Events so far that came too late to be put into their place: released out of order.
    pub fn late(&self) -> u64 {
        self.late
    }
}

impl Ord for Held {
    /// The greatest is the earliest, as the heap is a max-heap.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.time, other.arrival).cmp(&(self.time, self.arrival))
    }
}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Held {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::CgroupMade;

    fn event(time: u64, cgroup: u64) -> Event {
        Event::Cgroup(CgroupMade { time: KernelTime(time), cgroup, hierarchy: 0, path: String::new() })
    }

    fn all(order: &mut Order, until: u64) -> Vec<(u64, u64)> {
        std::iter::from_fn(|| order.pop(KernelTime(until)))
            .map(|event| match event {
                Event::Cgroup(made) => (made.time.0, made.cgroup),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn what_may_still_be_overtaken_is_held() {
        let mut order = Order::default();
        order.push(event(20, 1));
        order.push(event(10, 2));
        assert_eq!(all(&mut order, 15), [(10, 2)]);
        order.push(event(5, 3));
        assert_eq!(all(&mut order, 30), [(5, 3), (20, 1)]);
        assert_eq!(order.late(), 1);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_equal_times_keep_their_order(times in proptest::collection::vec(0u64..20, 0..100)) {
            let mut order = Order::default();
            let mut expected: Vec<_> = (0u64..).zip(&times).map(|(index, time)| (*time, index)).collect();
            for (time, index) in &expected { order.push(event(*time, *index)); }
            expected.sort_unstable();
            prop_assert_eq!(all(&mut order, u64::MAX), expected);
        }
    }
}
