//! One direction of a connection: sequence numbers to positions, and whose bytes they were.

use bytes::Bytes;

use crate::event::{Direction, StreamBytes, Task, TcpState};

use super::framer::{Framer, Piece};

/// Nobody jumps so far within a connection: beyond, it is another connection of the same addresses.
const FAR: u32 = 1 << 24;

/// Bytes of one direction of a connection.
#[derive(Debug)]
pub struct Stream {
    framer: Framer,
    /// Sequence number of the framer's next byte; none before the first that is known.
    next_seq: Option<u32>,
    /// What was offered to go with the SYN, until it is known whether it did.
    with_syn: Bytes,
    /// In which the last bytes passed.
    task: Task,
}

/// What was found, and the task of its last bytes that were seen.
pub type Found = (Piece, Task);

impl Stream {
    /// `from_start`: the first bytes will be the first of the connection.
    pub fn new(from_start: bool, task: Task) -> Self {
        Self { framer: Framer::new(from_start), next_seq: None, with_syn: Bytes::new(), task }
    }

    /// Bytes that it keeps.
    pub fn kept(&self) -> usize {
        self.framer.kept() + self.with_syn.len()
    }

    /// Bytes that were not told of since the last time, as the stream does not speak DNS.
    pub fn take_ignored(&mut self) -> u64 {
        self.framer.take_ignored()
    }

    /// Whether these bytes belong to another connection of the same addresses.
    pub fn is_far_from(&self, bytes: &StreamBytes) -> bool {
        self.distance(bytes).is_some_and(|distance| distance.unsigned_abs() > FAR)
    }

    /// Takes in the next bytes, which are not far away.
    pub fn push(&mut self, bytes: &StreamBytes, out: &mut Vec<Found>) {
        let mut pieces = Vec::new();
        let seen =
            usize::try_from(bytes.length).map_or(bytes.bytes.len(), |most| most.min(bytes.bytes.len()));
        let seen = bytes.bytes.slice(..seen);
        let at = self.framer.next().saturating_add(self.place(bytes, &seen));
        if at > self.framer.next() {
            self.framer.miss(u32::try_from(at - self.framer.next()).unwrap_or(u32::MAX), &mut pieces);
        }
        out.extend(pieces.drain(..).map(|piece| (piece, self.task.clone())));
        self.task.clone_from(&bytes.task);

        // What a program was given cannot change any more; what it offered may not have been taken.
        let known = match bytes.direction {
            Direction::Sent => 0,
            Direction::Received => u32::try_from(self.framer.next() - at).unwrap_or(0).min(bytes.length),
        };
        if bytes.direction == Direction::Sent {
            self.framer.rewind(at);
        }
        let new = usize::try_from(known).ok().and_then(|known| seen.get(known..)).unwrap_or_default();
        if !new.is_empty() {
            self.framer.see(new, &mut pieces);
        }
        let missed = bytes.length - known - u32::try_from(new.len()).unwrap_or(0);
        if missed > 0 {
            self.framer.miss(missed, &mut pieces);
        }
        out.extend(pieces.into_iter().map(|piece| (piece, self.task.clone())));
        if let Some(seq) = bytes.seq {
            self.next_seq = Some(seq.wrapping_add(offset(self.framer.next() - at)));
        }
    }

    /// There will be no further bytes.
    pub fn end(mut self, out: &mut Vec<Found>) {
        let mut pieces = Vec::new();
        self.framer.end(&mut pieces);
        out.extend(pieces.into_iter().map(|piece| (piece, self.task.clone())));
    }

    /// How far from the framer's next byte these bytes begin.
    fn place(&mut self, bytes: &StreamBytes, seen: &Bytes) -> i64 {
        if bytes.seq.is_none() {
            if self.framer.next() == 0 {
                self.with_syn = seen.clone();
            }
            return 0;
        }
        let with_syn = std::mem::take(&mut self.with_syn);
        match self.distance(bytes) {
            Some(distance) => distance.into(),
            // The SYN went without data (no cookie yet): the program offers the same again.
            None if repeats(&with_syn, seen) => -self.framer.next(),
            None => 0,
        }
    }

    /// Likewise, by the sequence numbers, if both are known.
    fn distance(&self, bytes: &StreamBytes) -> Option<i32> {
        Some(bytes.seq?.wrapping_sub(self.next_seq?).cast_signed())
    }
}

/// A distance that goes round as sequence numbers do.
fn offset(distance: i64) -> u32 {
    u32::try_from(distance.rem_euclid(1 << 32)).unwrap_or(0)
}

/// Whether bytes are those that were offered before, or their beginning: no less than prefix and header of a message,
/// so that a later query of the same length is not taken for it.
fn repeats(before: &[u8], now: &[u8]) -> bool {
    const HEAD: usize = 14;
    let common = before.len().min(now.len());
    common > 0 && (common == before.len() || common >= HEAD) && before.get(..common) == now.get(..common)
}

/// Whether the kernel refuses to send in this state: `tcp_sendmsg_locked` fails with EPIPE (`sk_stream_wait_connect`,
/// 5.10 to 7.2). Before a connection is open it takes what goes with the SYN, or the program waits or tries again.
pub fn is_refused(bytes: &StreamBytes) -> bool {
    bytes.direction == Direction::Sent
        && match bytes.state {
            TcpState::Established | TcpState::CloseWait => false,
            TcpState::SynSent | TcpState::SynRecv | TcpState::NewSynRecv => false,
            TcpState::Close => bytes.seq.is_some(),
            TcpState::FinWait1 | TcpState::FinWait2 | TcpState::TimeWait => true,
            TcpState::LastAck | TcpState::Listen | TcpState::Closing => true,
        }
}

/// Whether the connection was not open yet, so that these are among its first bytes.
pub fn is_early(bytes: &StreamBytes) -> bool {
    match bytes.state {
        TcpState::SynSent | TcpState::SynRecv | TcpState::NewSynRecv => true,
        TcpState::Close => bytes.direction == Direction::Sent && bytes.seq.is_none(),
        _ => false,
    }
}
