//! Hosts by their addresses: they stand in the place of network namespaces, so that two that ask the same are two.

use std::net::IpAddr;

use lru::LruCache;

use crate::event::captured_host;

/// Hosts that are remembered at the most. One that was forgotten is another host when it comes again.
const MOST: usize = 65_536;

/// The hosts that have asked.
#[derive(Debug)]
pub struct Hosts {
    numbers: LruCache<IpAddr, u32>,
    next: u32,
}

impl Default for Hosts {
    fn default() -> Self {
        // Bounded below: a bounded cache would take all its memory at once.
        Self { numbers: LruCache::unbounded(), next: 0 }
    }
}

impl Hosts {
    /// What stands for the network namespace of the host with this address.
    pub fn netns(&mut self, address: IpAddr) -> u32 {
        if let Some(number) = self.numbers.get(&address) {
            return captured_host(*number);
        }
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.numbers.put(address, number);
        if self.numbers.len() > MOST {
            self.numbers.pop_lru();
        }
        captured_host(number)
    }
}
