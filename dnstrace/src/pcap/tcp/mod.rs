//! TCP connections as their segments tell them, from the client's side: what its socket would have seen.

mod connection;
mod direction;
#[cfg(test)]
mod tests;

use lru::LruCache;

use crate::event::{Event, KernelTime};

use self::connection::{Ends, Known, Socket};
use super::{Watch, copies::Place, hosts::Hosts, transport::Segment};

/// Connections that are known at the same time.
const MOST: usize = 65_536;
/// Bytes that wait for their turn, of all connections.
const MOST_BYTES: usize = 32 << 20;

/// All connections, by client and server. The one that was quiet for longest is forgotten first.
#[derive(Debug)]
pub struct Connections {
    known: LruCache<Ends, Known>,
    /// Number of the next connection: stands for its socket.
    next: u64,
    kept: usize,
    forgotten: u64,
}

impl Default for Connections {
    fn default() -> Self {
        // Bounded below: a bounded cache would take all its memory at once.
        Self { known: LruCache::unbounded(), next: 1, kept: 0, forgotten: 0 }
    }
}

impl Connections {
    /// Takes in a segment that was captured at `place`. Appends what it tells.
    pub fn segment(
        &mut self,
        time: KernelTime,
        place: Place,
        segment: Segment,
        (watch, hosts): (&Watch, &mut Hosts),
        out: &mut Vec<Event>,
    ) {
        let ends = self.ends(&segment, watch);
        let is_from_client = ends.client == segment.flow.source;
        let begins = segment.head.syn && segment.head.ack != is_from_client;
        let is_other = |known: &Known| segment.head.syn && is_from_client && known.is_other_than(&segment);
        let is_new = begins && self.known.peek(&ends).is_none_or(is_other);
        if is_new || (segment.length > 0 && !self.known.contains(&ends)) {
            let socket = Socket { number: self.next, netns: hosts.netns(ends.client.ip()) };
            self.next += 1;
            self.add(Known::new(ends, socket, watch.is_encrypted(&segment.flow)), time, out);
        }
        let Some(known) = self.known.get_mut(&ends) else { return };
        let before = known.kept();
        known.segment(time, place, segment, is_from_client, out);
        self.kept = (self.kept + known.kept()).saturating_sub(before);
        if self.kept > MOST_BYTES {
            let kept = known.kept();
            known.skip_all(time, out);
            self.kept = self.kept.saturating_sub(kept);
        }
    }

    /// There will be no further ones, at `time`: what still waits for others does not.
    pub fn finish(&mut self, time: KernelTime, out: &mut Vec<Event>) {
        while let Some((_, mut known)) = self.known.pop_lru() {
            known.skip_all(time, out);
        }
        self.kept = 0;
    }

    /// Connections forgotten for want of room.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    fn add(&mut self, known: Known, time: KernelTime, out: &mut Vec<Event>) {
        if let Some(mut before) = self.known.put(known.ends(), known) {
            self.forget(&mut before, time, out);
        }
        while self.known.len() > MOST
            && let Some((_, mut oldest)) = self.known.pop_lru()
        {
            self.forgotten += u64::from(!oldest.is_closed());
            self.forget(&mut oldest, time, out);
        }
    }

    fn forget(&mut self, known: &mut Known, time: KernelTime, out: &mut Vec<Event>) {
        self.kept = self.kept.saturating_sub(known.kept());
        known.skip_all(time, out);
    }

    /// Who asks whom. Where both ports are a server's, it is as it was before, or as the SYN says.
    fn ends(&self, segment: &Segment, watch: &Watch) -> Ends {
        let (source, destination) = (segment.flow.source, segment.flow.destination);
        let there = Ends { client: source, server: destination };
        let back = Ends { client: destination, server: source };
        let both_serve =
            watch.is_from_client(&segment.flow, &[]) && watch.is_from_client(&segment.flow.reversed(), &[]);
        let is_there = match (both_serve, segment.head.syn) {
            (false, _) => watch.is_from_client(&segment.flow, &[]),
            (true, true) => !segment.head.ack,
            (true, false) => !self.known.contains(&back),
        };
        if is_there { there } else { back }
    }
}
