//! Messages whose fate is not known yet: each is written as a packet when it is, with comments that tell it.

use lru::LruCache;

use crate::{
    event::{Flow, KernelTime, SocketMessage},
    lookup::{Attempt, Role},
    pipeline::Heard,
};

/// Messages that wait at the most, and bytes of their payload.
const MOST: usize = 65_536;
const MOST_BYTES: usize = 32 << 20;

/// What tells messages apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    time: KernelTime,
    netns: u32,
    flow: Flow,
    /// Several may come in one piece of a TCP stream.
    id: Option<u16>,
}

/// Bounded: what is the longest in here goes first.
#[derive(Debug)]
pub struct Waiting {
    messages: LruCache<Key, Heard>,
    bytes: usize,
}

impl Default for Waiting {
    fn default() -> Self {
        // Bounded below: a bounded cache would take all its memory at once.
        Self { messages: LruCache::unbounded(), bytes: 0 }
    }
}

impl Waiting {
    /// Takes in a message. Its payload is copied: it may be a small part of a large buffer.
    pub fn push(&mut self, mut heard: Heard) {
        heard.seen.payload = bytes::Bytes::copy_from_slice(&heard.seen.payload);
        self.bytes += heard.seen.payload.len();
        let key = Key::of(&heard.seen);
        if let Some(before) = self.messages.put(key, heard) {
            self.bytes = self.bytes.saturating_sub(before.seen.payload.len());
        }
    }

    /// The query message of an attempt.
    pub fn take_query(&mut self, netns: u32, attempt: &Attempt) -> Option<Heard> {
        self.take(&Key::query(netns, attempt))
    }

    /// The message that answered it.
    pub fn take_answer(&mut self, netns: u32, attempt: &Attempt) -> Option<Heard> {
        let query = Key::query(netns, attempt);
        self.take(&Key { time: attempt.answer()?.time, flow: query.flow.reversed(), ..query })
    }

    /// This very message.
    pub fn take_message(&mut self, seen: &SocketMessage) -> Option<Heard> {
        self.take(&Key::of(seen))
    }

    /// One that there is no room for.
    pub fn pop_surplus(&mut self) -> Option<Heard> {
        if self.messages.len() <= MOST && self.bytes <= MOST_BYTES { None } else { self.pop() }
    }

    /// One that is older than this: nobody will tell of it, as of the further messages of a zone transfer.
    pub fn pop_before(&mut self, time: KernelTime) -> Option<Heard> {
        let (_, oldest) = self.messages.peek_lru()?;
        if oldest.seen.time < time { self.pop() } else { None }
    }

    /// The one that has waited for the longest.
    pub fn pop(&mut self) -> Option<Heard> {
        let (_, heard) = self.messages.pop_lru()?;
        self.bytes = self.bytes.saturating_sub(heard.seen.payload.len());
        Some(heard)
    }

    fn take(&mut self, key: &Key) -> Option<Heard> {
        let heard = self.messages.pop(key)?;
        self.bytes = self.bytes.saturating_sub(heard.seen.payload.len());
        Some(heard)
    }
}

impl Key {
    fn of(seen: &SocketMessage) -> Self {
        let id = seen.payload.first_chunk::<2>().map(|id| u16::from_be_bytes(*id));
        Self { time: seen.time, netns: seen.netns, flow: seen.flow, id }
    }

    fn query(netns: u32, attempt: &Attempt) -> Self {
        let conversation = &attempt.conversation;
        let (source, destination) = match conversation.role {
            Role::Client => (conversation.local, conversation.remote),
            Role::Server => (conversation.remote, conversation.local),
        };
        let flow = Flow { source, destination, transport: conversation.transport };
        Self { time: attempt.time, netns, flow, id: conversation.id }
    }
}
