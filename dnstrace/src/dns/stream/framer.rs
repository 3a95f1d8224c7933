//! Framing: where in the bytes of one direction the messages begin and end.

use bytes::{Buf as _, Bytes, BytesMut};

use super::{
    guess::{self, Guess, PREFIX, may_begin},
    search::{Search, Verdict},
};

/// What was found in a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    pub kind: Kind,
    /// The first ones of `length` bytes, as far as they were seen.
    pub payload: Bytes,
    /// Of a message: without its prefix.
    pub length: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Message,
    Skipped,
    NotDns,
}

/// Skipped bytes are told at the latest when there are so many, for a stream in which no message is ever found.
const SKIPPED_AT_ONCE: i64 = 1 << 24;

/// The bytes of one direction. Positions are counted from the first byte that was seen.
#[derive(Debug)]
pub struct Framer {
    /// What lies before it is told.
    told: i64,
    /// Where the next bytes are expected.
    next: i64,
    /// Bytes seen and not told. While [`Framing::InStep`] they begin at `told`, and if they end before `next`, the
    /// bytes between were not seen; while searching they end at `next`.
    held: BytesMut,
    framing: Framing,
    /// Bytes not told of, as the stream does not speak DNS.
    ignored: u64,
}

#[derive(Debug)]
enum Framing {
    /// A message, behind its prefix, begins at `told`.
    InStep(Trust),
    Searching(Search),
    NotDns,
}

/// How sure it is that a message begins where it is thought to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// It was guessed.
    Guessed,
    /// The one before it was guessed; this one has to look like a message as well.
    OnTrial,
    /// The framing has proved itself. A single message that cannot be DNS is the sender's fault (`odd`: there was
    /// one just now), two in a row are not.
    Sure { odd: bool },
}

impl Framer {
    /// `from_start`: the first bytes will be the first of the connection.
    pub fn new(from_start: bool) -> Self {
        let framing = Framing::Searching(Search::at_start(from_start));
        Self { told: 0, next: 0, held: BytesMut::new(), framing, ignored: 0 }
    }

    /// Where the next bytes are expected.
    pub fn next(&self) -> i64 {
        self.next
    }

    /// Bytes that were not told of since the last time, as the stream does not speak DNS.
    pub fn take_ignored(&mut self) -> u64 {
        std::mem::take(&mut self.ignored)
    }

    /// Bytes that it keeps.
    pub fn kept(&self) -> usize {
        let of_search = match &self.framing {
            Framing::Searching(search) => search.kept(),
            Framing::InStep(_) | Framing::NotDns => 0,
        };
        self.held.len() + of_search
    }

    /// The bytes that come next replace those from `position` on. What was told of these remains told.
    pub fn rewind(&mut self, position: i64) {
        let unseen = length(self.next - self.held_end());
        let back = length(self.next - position);
        self.held.truncate(self.held.len().saturating_sub(back.saturating_sub(unseen)));
        self.next = self.next.min(position);
        if let Framing::Searching(search) = &mut self.framing {
            search.rewind(self.next, self.told);
        }
    }

    /// The next bytes, from the beginning of a call or a part of it.
    pub fn see(&mut self, bytes: &[u8], out: &mut Vec<Piece>) {
        let known = length(self.told - self.next).min(bytes.len());
        self.next += position(known);
        let bytes = bytes.get(known..).unwrap_or_default();
        let rest = self.see_cut_message(bytes, out);
        let (call, from) = (self.next, self.held_from());
        self.next += position(rest.len());
        self.held.extend_from_slice(rest);
        match &mut self.framing {
            Framing::InStep(_) => {}
            Framing::Searching(search) => search.note_call(call, self.told, rest),
            Framing::NotDns => return self.ignore(),
        }
        while self.frame(call, out) || self.search(out) {}
        if self.held_from() != from {
            // What is left is mostly little, and its memory would be that of all.
            self.held = BytesMut::from(self.held.as_ref());
        }
    }

    /// The next `count` bytes were not seen.
    pub fn miss(&mut self, count: u32, out: &mut Vec<Piece>) {
        self.next += i64::from(count);
        if count == 0 || self.next <= self.told {
            return;
        }
        match &mut self.framing {
            Framing::InStep(_) => match self.message_end() {
                Some(end) if self.next < end => {}
                Some(end) => {
                    self.tell_cut_message(end, out);
                    if self.next > end {
                        self.lose_step(None);
                    }
                }
                None => self.lose_step(None),
            },
            Framing::Searching(search) => {
                search.lose();
                self.held.clear();
            }
            Framing::NotDns => self.ignore(),
        }
    }

    /// There will be no further bytes: tells what is unfinished.
    pub fn end(&mut self, out: &mut Vec<Piece>) {
        match &self.framing {
            Framing::NotDns => {}
            Framing::InStep(_) => match self.message_end() {
                Some(end) => self.tell_message(end, out),
                None => self.tell_rest(Kind::Skipped, self.held.clone().freeze(), out),
            },
            Framing::Searching(search) => {
                let kind = if search.is_fruitless() { Kind::NotDns } else { Kind::Skipped };
                self.tell_rest(kind, Bytes::copy_from_slice(search.beginning()), out);
            }
        }
    }

    /// While the message that is under way lacks bytes in its middle: takes the rest of it. Returns what follows it.
    fn see_cut_message<'a>(&mut self, bytes: &'a [u8], out: &mut Vec<Piece>) -> &'a [u8] {
        if !matches!(self.framing, Framing::InStep(_)) || self.held_end() == self.next {
            return bytes;
        }
        let Some(end) = self.message_end() else { return bytes };
        let (of_message, rest) = bytes.split_at_checked(length(end - self.next)).unwrap_or((bytes, &[]));
        self.next += position(of_message.len());
        if self.next == end {
            self.tell_cut_message(end, out);
        }
        rest
    }

    /// Tells whole messages while in step. Returns whether it is no longer so.
    fn frame(&mut self, call: i64, out: &mut Vec<Piece>) -> bool {
        while let Framing::InStep(trust) = self.framing {
            if trust == Trust::OnTrial && may_begin(&self.held) == Guess::No {
                self.lose_step(Some(call));
                return true;
            }
            let Some(end) =
                self.message_end().filter(|end| *end <= self.next && self.held_end() == self.next)
            else {
                return false;
            };
            let Some(message) = self.held.get(..length(end - self.told)) else { return false };
            let odd = may_begin(message) != Guess::Yes;
            if odd && trust == (Trust::Sure { odd: true }) {
                self.lose_step(Some(call));
                return true;
            }
            self.tell_message(end, out);
            self.framing = Framing::InStep(match trust {
                // Nobody ends a call where a message ends by chance.
                Trust::Guessed if end < self.next => Trust::OnTrial,
                _ => Trust::Sure { odd },
            });
        }
        false
    }

    /// Looks for a message while out of step. Returns whether one was found.
    fn search(&mut self, out: &mut Vec<Piece>) -> bool {
        let from = self.held_from();
        let Framing::Searching(search) = &mut self.framing else { return false };
        match search.look(&self.held, from) {
            Verdict::Message { at } => {
                let beginning = search.take_beginning(length(at - self.told));
                self.tell_up_to(at, Kind::Skipped, beginning, out);
                self.held.advance(length(at - from).min(self.held.len()));
                self.framing = Framing::InStep(Trust::Guessed);
                return true;
            }
            Verdict::NotDns => {
                let beginning = search.take_beginning(usize::MAX);
                self.tell_up_to(self.next, Kind::NotDns, beginning, out);
                self.framing = Framing::NotDns;
                self.held.clear();
            }
            Verdict::Keep { from: keep } => {
                self.held.advance(length(keep - from).min(self.held.len()));
                if keep - self.told >= SKIPPED_AT_ONCE {
                    let beginning = search.take_beginning(usize::MAX);
                    self.tell_up_to(keep, Kind::Skipped, beginning, out);
                }
            }
        }
        false
    }

    /// Where messages begin is not known any more. `call`: where the call began whose bytes are held.
    fn lose_step(&mut self, call: Option<i64>) {
        let mut search = Search::within(&self.held);
        match call {
            Some(call) if call > self.told => search.note_start(call),
            Some(_) => {}
            None => self.held.clear(),
        }
        self.framing = Framing::Searching(search);
    }

    /// Nothing is to be told of what was seen or missed.
    fn ignore(&mut self) {
        self.ignored += u64::try_from(self.next - self.told).unwrap_or(0);
        self.told = self.told.max(self.next);
        self.held.clear();
    }

    /// Where the message ends that begins at `told`, if its prefix is there.
    fn message_end(&self) -> Option<i64> {
        Some(self.told + position(PREFIX + guess::length(&self.held)?))
    }

    /// Tells the message that begins at `told` and ends at `end`, and takes it out of what is held.
    fn tell_message(&mut self, end: i64, out: &mut Vec<Piece>) {
        let seen = length(end - self.told).min(self.held.len());
        let payload = Bytes::copy_from_slice(self.held.get(PREFIX..seen).unwrap_or_default());
        let length = u32::try_from(end - self.told - position(PREFIX)).unwrap_or(u32::MAX);
        out.push(Piece { kind: Kind::Message, payload, length });
        self.held.advance(seen);
        self.told = end;
    }

    /// Likewise, while bytes are missing from it.
    fn tell_cut_message(&mut self, end: i64, out: &mut Vec<Piece>) {
        self.tell_message(end, out);
        if let Framing::InStep(trust @ Trust::Guessed) = &mut self.framing {
            *trust = Trust::OnTrial;
        }
    }

    fn tell_rest(&mut self, kind: Kind, payload: Bytes, out: &mut Vec<Piece>) {
        self.tell_up_to(self.next, kind, payload, out);
        self.held.clear();
    }

    /// Tells what lies before `end` as skipped or not DNS; in several pieces where one cannot count it.
    fn tell_up_to(&mut self, end: i64, kind: Kind, mut payload: Bytes, out: &mut Vec<Piece>) {
        while end > self.told {
            let length = u32::try_from(end - self.told).unwrap_or(u32::MAX);
            out.push(Piece { kind, payload: std::mem::take(&mut payload), length });
            self.told += i64::from(length);
        }
    }

    /// Where the held bytes begin and end.
    fn held_from(&self) -> i64 {
        match self.framing {
            Framing::InStep(_) => self.told,
            Framing::Searching(_) | Framing::NotDns => self.next - position(self.held.len()),
        }
    }

    fn held_end(&self) -> i64 {
        self.held_from() + position(self.held.len())
    }
}

/// A distance between positions as a length; 0 for one that leads back.
fn length(distance: i64) -> usize {
    usize::try_from(distance.max(0)).unwrap_or(usize::MAX)
}

/// A length as a distance between positions.
fn position(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}
