//! Bytes of TCP connections to DNS messages (RFC 1035, section 4.2.2: two octets of length, then the message).
//!
//! **A stream** is one direction of a connection at a socket: network namespace, socket address, flow. Sequence numbers
//! say where its bytes belong ([`direction`]). What a program offers again, because the kernel did not take all of it,
//! replaces what was offered before; a message is told once, when its last byte passes the socket or is offered to it.
//!
//! **In step** ([`framer`]) a message is known to begin where the last one ended. Where calls begin and end does not
//! matter. Bytes that were not seen (a call that was not captured, the tail of one that was captured in part) do not
//! break the step if they lie within one message: it is told with what was seen of it before them.
//!
//! **Out of step** ([`search`]) it is not known where a message begins: at the first bytes of a stream, and after bytes
//! that were not seen in which messages may have begun. A place is taken for the beginning of a message if the prefix is
//! followed by a header that can be one and a question that can be read ([`guess`]):
//!
//! - where a call begins, for most programs write a whole message in a call, or read the prefix alone and then the
//!   message;
//! - inside of a call, if moreover the message ends where the call does, or where another begins.
//!
//! Such a guess is on trial until a message ends where a call ends, or a second one follows. What lies before it is told
//! as [`Framed::Skipped`]: when step is found again, when the connection ends, or at 16 MiB.
//!
//! **Not DNS** is a stream that begins with TLS, HTTP or SSH; and one that was seen from its start
//! ([`Streams::opened`]) and brought no message up to its end, or in more bytes than the largest message has. It is told
//! once and ignored from then on.
//!
//! All of it is bounded: connections, and bytes kept of what is unfinished. The connection that was quiet for longest is
//! forgotten first, and counted.

mod direction;
mod framer;
mod guess;
mod search;
#[cfg(test)]
mod tests;

use lru::LruCache;

use crate::event::{Direction, Flow, KernelTime, SocketMessage, StreamBytes};

use self::{
    direction::{Found, Stream, is_early, is_refused},
    framer::Kind,
};

/// Bounds of [`Streams`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamLimits {
    /// Connections known at the same time.
    pub connections: usize,
    /// Bytes kept of unfinished messages, of all connections together.
    pub waiting: usize,
}

impl Default for StreamLimits {
    /// Room for 256 of the largest messages.
    fn default() -> Self {
        Self { connections: 65_536, waiting: 1 << 24 }
    }
}

/// What was not made out, since the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamTotals {
    /// Bytes told as [`Framed::Skipped`].
    pub skipped: u64,
    /// Bytes of streams that do not speak DNS.
    pub not_dns: u64,
    /// Connections forgotten for want of room. What was unfinished of them was told.
    pub forgotten: u64,
}

/// What bytes turn out to be. Its time is that of the event that completed it, its task that of its last bytes that were
/// seen.
#[derive(Clone, Debug, PartialEq)]
pub enum Framed {
    /// A whole message, or the beginning of one (`payload` shorter than `length`): the rest was not captured, or the
    /// stream ended.
    Message(SocketMessage),
    /// Bytes, `length` of them, in which messages could not be told apart. The payload is their beginning, or empty.
    Skipped(SocketMessage),
    /// The stream does not speak DNS: told once for each direction, with its beginning.
    NotDns(SocketMessage),
}

/// Network namespace and socket.
type Key = (u32, u64);

/// All streams.
#[derive(Debug)]
pub struct Streams {
    limits: StreamLimits,
    connections: LruCache<Key, Connection>,
    /// Bytes kept, of all connections.
    kept: usize,
    totals: StreamTotals,
}

#[derive(Debug)]
struct Connection {
    /// From the socket to its peer.
    flow: Flow,
    /// Its first bytes will be, or were, seen.
    from_start: bool,
    /// It is known to be open.
    is_open: bool,
    sent: Option<Stream>,
    received: Option<Stream>,
}

impl Streams {
    pub fn new(limits: StreamLimits) -> Self {
        // Bounded below: a bounded cache would take all its memory at once.
        Self { limits, connections: LruCache::unbounded(), kept: 0, totals: StreamTotals::default() }
    }

    /// A connection has come into the state Established. `flow`: from the socket to its peer. Without this a connection
    /// counts as one that was open before the trace: its first bytes may be the middle of a message.
    pub fn opened(&mut self, netns: u32, socket: u64, flow: Flow, time: KernelTime, out: &mut Vec<Framed>) {
        if let Some(connection) = self.connections.get_mut(&(netns, socket))
            && connection.flow == flow
            && !connection.is_open
        {
            // Bytes went with its SYN.
            connection.is_open = true;
            return;
        }
        self.ended(netns, socket, time, out);
        self.connections.put((netns, socket), Connection::new(flow, true, true));
        self.make_room(time, out);
    }

    /// Takes in bytes; appends what is complete with them.
    pub fn push(&mut self, bytes: StreamBytes, out: &mut Vec<Framed>) {
        if is_refused(&bytes) {
            return;
        }
        let key = (bytes.netns, bytes.socket);
        if self.connections.peek(&key).is_some_and(|connection| !connection.owns(&bytes)) {
            self.ended(bytes.netns, bytes.socket, bytes.time, out);
        }
        let connection = self
            .connections
            .get_or_insert_mut(key, || Connection::new(outward(&bytes), is_early(&bytes), !is_early(&bytes)));
        connection.is_open |= !is_early(&bytes);

        let before = connection.kept();
        let stream = connection.stream(&bytes);
        let mut found = Vec::new();
        stream.push(&bytes, &mut found);
        self.totals.not_dns += stream.take_ignored();
        let after = connection.kept();
        self.kept = (self.kept + after).saturating_sub(before);
        self.tell(found, key, bytes.flow, bytes.direction, bytes.time, out);
        self.make_room(bytes.time, out);
    }

    /// The connection of this socket has ended, in both directions. Tells what is unfinished.
    pub fn ended(&mut self, netns: u32, socket: u64, time: KernelTime, out: &mut Vec<Framed>) {
        if let Some(connection) = self.connections.pop(&(netns, socket)) {
            self.end((netns, socket), connection, time, out);
        }
    }

    /// The trace has ended. Tells what is unfinished.
    pub fn finish(&mut self, time: KernelTime, out: &mut Vec<Framed>) {
        while let Some((key, connection)) = self.connections.pop_lru() {
            self.end(key, connection, time, out);
        }
    }

    /// Bytes kept of what is unfinished, of all connections: at most [`StreamLimits::waiting`].
    pub fn kept(&self) -> usize {
        self.kept
    }

    /// What was not made out so far.
    pub fn totals(&self) -> StreamTotals {
        self.totals
    }

    /// Forgets connections until the rest is within the limits.
    fn make_room(&mut self, time: KernelTime, out: &mut Vec<Framed>) {
        while (self.connections.len() > self.limits.connections || self.kept > self.limits.waiting)
            && let Some((key, connection)) = self.connections.pop_lru()
        {
            self.totals.forgotten += 1;
            self.end(key, connection, time, out);
        }
    }

    fn end(&mut self, key: Key, connection: Connection, time: KernelTime, out: &mut Vec<Framed>) {
        self.kept = self.kept.saturating_sub(connection.kept());
        let Connection { flow, sent, received, .. } = connection;
        for (direction, flow, stream) in
            [(Direction::Sent, flow, sent), (Direction::Received, flow.reversed(), received)]
        {
            let mut found = Vec::new();
            if let Some(stream) = stream {
                stream.end(&mut found);
            }
            self.tell(found, key, flow, direction, time, out);
        }
    }

    fn tell(
        &mut self,
        found: Vec<Found>,
        (netns, socket): Key,
        flow: Flow,
        direction: Direction,
        time: KernelTime,
        out: &mut Vec<Framed>,
    ) {
        for (piece, task) in found {
            let (payload, length) = (piece.payload, piece.length);
            let arrived = None;
            let gap = None;
            let message =
                SocketMessage { time, direction, flow, socket, netns, task, arrived, payload, length, gap };
            out.push(match piece.kind {
                Kind::Message => Framed::Message(message),
                Kind::Skipped => {
                    self.totals.skipped += u64::from(length);
                    Framed::Skipped(message)
                }
                Kind::NotDns => {
                    self.totals.not_dns += u64::from(length);
                    Framed::NotDns(message)
                }
            });
        }
    }
}

impl Connection {
    fn new(flow: Flow, from_start: bool, is_open: bool) -> Self {
        Self { flow, from_start, is_open, sent: None, received: None }
    }

    /// Whether bytes of its socket are its own, and not of another connection.
    fn owns(&self, bytes: &StreamBytes) -> bool {
        let stream = match bytes.direction {
            Direction::Sent => &self.sent,
            Direction::Received => &self.received,
        };
        self.flow == outward(bytes) && !stream.as_ref().is_some_and(|stream| stream.is_far_from(bytes))
    }

    /// The stream of these bytes.
    fn stream(&mut self, bytes: &StreamBytes) -> &mut Stream {
        let stream = match bytes.direction {
            Direction::Sent => &mut self.sent,
            Direction::Received => &mut self.received,
        };
        stream.get_or_insert_with(|| Stream::new(self.from_start, bytes.task.clone()))
    }

    /// Bytes kept of it.
    fn kept(&self) -> usize {
        [&self.sent, &self.received].into_iter().flatten().map(Stream::kept).sum()
    }
}

/// The flow of these bytes from the socket to its peer.
fn outward(bytes: &StreamBytes) -> Flow {
    match bytes.direction {
        Direction::Sent => bytes.flow,
        Direction::Received => bytes.flow.reversed(),
    }
}
