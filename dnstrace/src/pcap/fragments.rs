//! IP fragments, put together again.
//!
//! They come one right after the other. Of a datagram that is not whole after half a second the first fragment is told, since it
//! holds ports and question: `tcpdump port 53` captures no more of it, as the others bear no ports.

use std::net::IpAddr;

use etherparse::{IpNumber, defrag::IpDefragBuf};
use lru::LruCache;

use crate::event::KernelTime;

use super::ip::IpPacket;

/// How long is waited for the rest of a datagram, in nanoseconds.
pub const PATIENCE: u64 = 500_000_000;
/// Datagrams in pieces at the same time, and bytes kept of them. Beyond, the oldest is not waited for.
const MOST: usize = 4_096;
const MOST_BYTES: usize = 16 << 20;

/// Which datagram a fragment is of (RFC 791, RFC 8200).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    source: IpAddr,
    destination: IpAddr,
    protocol: IpNumber,
    id: u32,
}

/// What a datagram's IP packet carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// Of the fragment that completed it; of an incomplete one of the first that came.
    pub time: KernelTime,
    pub addresses: (IpAddr, IpAddr),
    pub protocol: IpNumber,
    /// All of it, or its beginning.
    pub data: Vec<u8>,
}

/// Datagrams of which fragments are missing.
#[derive(Debug)]
pub struct Fragments {
    /// By the time of their first fragment: they are not moved when they are looked at.
    partial: LruCache<Key, Partial>,
    bytes: usize,
    without_first: u64,
}

#[derive(Debug)]
struct Partial {
    since: KernelTime,
    buffer: IpDefragBuf,
    /// The first fragment, once it has come.
    first: Option<Vec<u8>>,
    /// It is of no concern.
    is_unwanted: bool,
}

impl Default for Fragments {
    fn default() -> Self {
        Self { partial: LruCache::unbounded(), bytes: 0, without_first: 0 }
    }
}

impl Fragments {
    /// Takes in a fragment. Appends to `out` what is whole with it, and what is not waited for any longer. `is_wanted` tells of a
    /// first fragment whether it is of concern.
    pub fn push(
        &mut self,
        time: KernelTime,
        packet: &IpPacket<'_>,
        is_wanted: impl FnOnce() -> bool,
        out: &mut Vec<Whole>,
    ) {
        let Some(place) = packet.fragment else { return };
        let IpPacket { source, destination, protocol, id, .. } = *packet;
        let key = Key { source, destination, protocol, id };
        if !self.partial.contains(&key) {
            self.partial.put(key, Partial::new(time, protocol));
        }
        let Some(partial) = self.partial.peek_mut(&key) else { return };
        let before = partial.bytes();
        if place.offset.value() == 0 {
            partial.is_unwanted = !is_wanted();
            partial.first = Some(packet.payload.to_vec());
        }
        if partial.is_unwanted {
            *partial = Partial { is_unwanted: true, ..Partial::new(partial.since, protocol) };
        } else if !packet.is_cut_off() {
            // What contradicts itself never becomes whole.
            _ = partial.buffer.add(place.offset, place.more, packet.payload);
        }
        let is_whole = partial.buffer.is_complete();
        self.bytes = (self.bytes + partial.bytes()).saturating_sub(before);
        if is_whole && let Some(partial) = self.take(&key) {
            let (data, _) = partial.buffer.take_bufs();
            out.push(Whole { time, addresses: (source, destination), protocol, data });
        }
        while self.partial.len() > MOST || self.bytes > MOST_BYTES {
            self.give_up_oldest(out);
        }
    }

    /// Event time has come to `now`: appends what is not waited for any longer.
    pub fn advance(&mut self, now: KernelTime, out: &mut Vec<Whole>) {
        while self.partial.peek_lru().is_some_and(|(_, oldest)| now.since(oldest.since) > PATIENCE) {
            self.give_up_oldest(out);
        }
    }

    /// There will be no further ones.
    pub fn finish(&mut self, out: &mut Vec<Whole>) {
        while !self.partial.is_empty() {
            self.give_up_oldest(out);
        }
    }

    /// Datagrams of which the first fragment was not captured, so that nobody knows what they were.
    pub fn without_first(&self) -> u64 {
        self.without_first
    }

    fn give_up_oldest(&mut self, out: &mut Vec<Whole>) {
        let Some(key) = self.partial.peek_lru().map(|(key, _)| *key) else { return };
        let Some(partial) = self.take(&key) else { return };
        match partial.first {
            _ if partial.is_unwanted => {}
            Some(data) => {
                let Key { source, destination, protocol, .. } = key;
                out.push(Whole { time: partial.since, addresses: (source, destination), protocol, data });
            }
            None => self.without_first += 1,
        }
    }

    fn take(&mut self, key: &Key) -> Option<Partial> {
        let partial = self.partial.pop(key)?;
        self.bytes = self.bytes.saturating_sub(partial.bytes());
        Some(partial)
    }
}

impl Partial {
    fn new(since: KernelTime, protocol: IpNumber) -> Self {
        let buffer = IpDefragBuf::new(protocol, Vec::new(), Vec::new());
        Self { since, buffer, first: None, is_unwanted: false }
    }

    fn bytes(&self) -> usize {
        self.buffer.data().len() + self.first.as_ref().map_or(0, Vec::len)
    }
}
