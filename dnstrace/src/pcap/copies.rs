//! Packets that were captured more than once: on a node's interfaces one after the other (`tcpdump -i any`: veth, bridge, eth0),
//! or at two ports of a switch.
//!
//! A copy has the addresses, the identification and the content of the packet before it, and another link header, or another
//! interface. What comes twice the same way is no copy: then somebody has sent it twice.

use std::{
    hash::{BuildHasher as _, Hash as _, Hasher as _, RandomState},
    net::IpAddr,
};

use etherparse::{IpFragOffset, IpNumber, ip_number};
use lru::LruCache;

use crate::event::KernelTime;

use super::ip::IpPacket;

/// How long a packet takes through a node at the most, in nanoseconds. Less than any resolver's retransmission timer.
const MOMENT: u64 = 200_000_000;
/// Packets that are remembered at the most.
const MOST: usize = 65_536;
/// Interfaces that a packet is seen at, at the most.
const MOST_PLACES: usize = 16;

/// Where a packet was captured: its interface and link header, as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u64);

/// What a packet has in common with its copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    source: IpAddr,
    destination: IpAddr,
    protocol: IpNumber,
    id: u32,
    offset: Option<IpFragOffset>,
    content: u64,
}

#[derive(Debug)]
struct Seen {
    time: KernelTime,
    places: Vec<Place>,
}

/// The packets of a moment ago.
#[derive(Debug)]
pub struct Copies {
    recent: LruCache<Key, Seen>,
    /// Of a start that nobody can foresee: what is a copy is no stranger's choice.
    hash: RandomState,
    copies: u64,
}

impl Default for Copies {
    fn default() -> Self {
        // Bounded below: a bounded cache would take all its memory at once.
        Self { recent: LruCache::unbounded(), hash: RandomState::new(), copies: 0 }
    }
}

impl Copies {
    /// The place of packets of this interface with this link header.
    pub fn place(&self, interface: u32, header: &[u8]) -> Place {
        Place(self.hash.hash_one((interface, header)))
    }

    /// Whether the packet was seen a moment ago, elsewhere.
    pub fn is_copy(&mut self, place: Place, time: KernelTime, packet: &IpPacket<'_>) -> bool {
        let key = self.key(packet);
        if let Some(seen) = self.recent.get_mut(&key)
            && time.since(seen.time).max(seen.time.since(time)) <= MOMENT
            && seen.places.len() < MOST_PLACES
            && !seen.places.contains(&place)
        {
            seen.places.push(place);
            self.copies += 1;
            return true;
        }
        self.recent.put(key, Seen { time, places: vec![place] });
        if self.recent.len() > MOST {
            self.recent.pop_lru();
        }
        false
    }

    /// Copies so far.
    pub fn copies(&self) -> u64 {
        self.copies
    }

    fn key(&self, packet: &IpPacket<'_>) -> Key {
        let IpPacket { source, destination, protocol, id, fragment, payload, length } = *packet;
        let offset = fragment.map(|fragment| fragment.offset);
        let mut hasher = self.hash.build_hasher();
        // It is filled in on the way, where the network card does not do it.
        let checksum = match protocol {
            _ if offset.is_some_and(|offset| offset.value() != 0) => 0..0,
            ip_number::UDP => 6..8,
            ip_number::TCP => 16..18,
            _ => 2..4,
        };
        payload.get(..checksum.start).hash(&mut hasher);
        payload.get(checksum.end..).hash(&mut hasher);
        length.hash(&mut hasher);
        Key { source, destination, protocol, id, offset, content: hasher.finish() }
    }
}
