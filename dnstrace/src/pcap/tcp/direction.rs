//! One direction of a TCP connection: its segments in the order of the stream.
//!
//! A segment that comes before its turn waits for those before it. It waits in vain if they were not captured, which is clear
//! once the other end has acknowledged them; where its segments were not captured either, after a while. What is missing then is
//! left out, and [`crate::dns::Streams`] tells it by the sequence numbers.

use std::collections::BTreeMap;

use bytes::{Buf as _, Bytes};

use crate::event::KernelTime;

/// How long segments wait for those before them, in nanoseconds: a few retransmissions.
const PATIENCE: u64 = 3_000_000_000;
/// Segments, and bytes of them, that wait in one direction.
const MOST: usize = 256;
const MOST_BYTES: usize = 256 << 10;
/// Nobody jumps so far within a connection: beyond, it is another connection of the same addresses.
const FAR: u64 = 1 << 24;
/// Position of the first byte that is known: what lies before it has one, too.
const START: u64 = 1 << 32;

/// Bytes of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Sequence number of the first one.
    pub seq: u32,
    /// As captured: the first ones of `length`, or all.
    pub bytes: Bytes,
    pub length: u32,
}

/// A place in the stream.
#[derive(Clone, Copy, Debug)]
struct Place {
    position: u64,
    seq: u32,
}

/// What is known of one direction.
#[derive(Debug, Default)]
pub struct Direction {
    /// Of the next byte whose turn it is; none before the first one that is known.
    next: Option<Place>,
    /// By position.
    waiting: BTreeMap<u64, Stretch>,
    kept: usize,
    /// Since when the first of them waits.
    since: KernelTime,
    /// The other end has everything before this.
    acknowledged: u64,
    /// Where it ends.
    fin: Option<u64>,
}

impl Direction {
    /// The next byte is the one with this sequence number.
    pub fn begin(&mut self, seq: u32) {
        *self = Self { next: Some(Place { position: START, seq }), ..Self::default() };
    }

    /// Bytes that wait.
    pub fn kept(&self) -> usize {
        self.kept
    }

    /// Takes in what a segment carries. Appends to `out` whose turn has come. Whether it begins with bytes that came before.
    pub fn push(&mut self, time: KernelTime, stretch: Stretch, out: &mut Vec<Stretch>) -> bool {
        if stretch.length == 0 {
            return false;
        }
        let Some(at) = self.position(stretch.seq) else {
            self.skip_all(out);
            self.begin(stretch.seq);
            return self.push(time, stretch, out);
        };
        let next = self.next.map_or(START, |next| next.position);
        let is_probe = stretch.length == 1 && at + 1 == next;
        let is_known = self.waiting.get(&at).is_some_and(|other| other.length >= stretch.length);
        if at + u64::from(stretch.length) <= next || is_known {
            return !is_probe;
        }
        if self.waiting.is_empty() {
            self.since = time;
        }
        self.kept += stretch.bytes.len();
        if let Some(shorter) = self.waiting.insert(at, stretch) {
            self.kept = self.kept.saturating_sub(shorter.bytes.len());
        }
        self.deliver(out);
        self.lose_patience(time, out);
        at < next
    }

    /// The other end expects the byte with this sequence number next.
    pub fn acknowledge(&mut self, time: KernelTime, seq: u32, out: &mut Vec<Stretch>) {
        if let Some(position) = self.position(seq) {
            self.acknowledged = self.acknowledged.max(position);
            self.lose_patience(time, out);
        }
    }

    /// It ends before the byte with this sequence number.
    pub fn end(&mut self, seq: u32) {
        self.fin = self.position(seq);
    }

    /// Whether all of it has come, or will not be seen any more.
    pub fn is_over(&self) -> bool {
        let known = self.next.map_or(0, |next| next.position).max(self.acknowledged);
        self.waiting.is_empty() && self.fin.is_some_and(|fin| fin <= known)
    }

    /// Does not wait any longer for what is missing.
    pub fn skip_all(&mut self, out: &mut Vec<Stretch>) {
        while !self.waiting.is_empty() {
            self.skip(out);
        }
    }

    /// The position of a byte; none if it is far from all that is known. The first one that is asked for is where it begins.
    fn position(&mut self, seq: u32) -> Option<u64> {
        let next = *self.next.get_or_insert(Place { position: START, seq });
        let distance = i64::from(seq.wrapping_sub(next.seq).cast_signed());
        if distance.unsigned_abs() > FAR {
            return None;
        }
        next.position.checked_add_signed(distance)
    }

    /// Hands over those whose turn has come.
    fn deliver(&mut self, out: &mut Vec<Stretch>) {
        let Some(mut next) = self.next else { return };
        while let Some(first) = self.waiting.first_entry()
            && *first.key() <= next.position
        {
            let at = *first.key();
            let stretch = first.remove();
            self.kept = self.kept.saturating_sub(stretch.bytes.len());
            if let Some(new) = stretch.from(next.position - at) {
                next.position += u64::from(new.length);
                next.seq = next.seq.wrapping_add(new.length);
                out.push(new);
            }
        }
        self.next = Some(next);
    }

    /// Leaves out what is missing if it will not come any more, or the rest has waited long enough.
    fn lose_patience(&mut self, time: KernelTime, out: &mut Vec<Stretch>) {
        while let Some((at, _)) = self.waiting.first_key_value() {
            let is_too_much = self.kept > MOST_BYTES || self.waiting.len() > MOST;
            if *at > self.acknowledged && time.since(self.since) <= PATIENCE && !is_too_much {
                return;
            }
            self.skip(out);
            self.since = time;
        }
    }

    /// Leaves out what is missing before the first that waits.
    fn skip(&mut self, out: &mut Vec<Stretch>) {
        if let Some((at, first)) = self.waiting.first_key_value() {
            self.next = Some(Place { position: *at, seq: first.seq });
        }
        self.deliver(out);
    }
}

impl Stretch {
    /// Without its first bytes; none if nothing is left.
    fn from(mut self, begin: u64) -> Option<Self> {
        let begin = u32::try_from(begin).ok().filter(|begin| *begin < self.length)?;
        self.seq = self.seq.wrapping_add(begin);
        self.length -= begin;
        let captured = usize::try_from(begin).map_or(self.bytes.len(), |begin| begin.min(self.bytes.len()));
        self.bytes.advance(captured);
        Some(self)
    }
}
