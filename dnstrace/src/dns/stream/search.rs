//! The search for the beginning of a message, at the beginning of a stream and after a loss.

use bytes::Bytes;

use super::guess::{Guess, PREFIX, begins, is_other_protocol, length};

/// Bytes kept of the beginning of what is skipped, to show.
const BEGINNING: usize = 256;

/// So many bytes hold the beginning of a message, whatever was lost before them: more than the largest message with its
/// prefix.
const ENOUGH: u64 = 1 << 16 | 1 << 8;

/// What a search knows. Positions are those of [`super::framer::Framer`].
#[derive(Debug)]
pub struct Search {
    /// The first bytes of what is skipped, as far as they are known without a gap.
    beginning: Vec<u8>,
    /// The first byte of the search is the first of the connection, and nothing was lost since.
    from_start: bool,
    /// No message was found in this stream so far.
    is_fresh: bool,
    /// Bytes seen.
    seen: u64,
    /// Where calls began that may yet turn out to begin with a message.
    starts: Vec<i64>,
}

/// What a look at the held bytes brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A message begins at this position.
    Message {
        at: i64,
    },
    NotDns,
    /// Bytes before this position need not be held any longer.
    Keep {
        from: i64,
    },
}

impl Search {
    /// At the first byte that is seen of a stream.
    pub fn at_start(from_start: bool) -> Self {
        Self { beginning: Vec::new(), from_start, is_fresh: true, seen: 0, starts: Vec::new() }
    }

    /// In a stream that has spoken DNS before. `untold`: what begins there.
    pub fn within(untold: &[u8]) -> Self {
        let beginning = untold.get(..BEGINNING).unwrap_or(untold).to_vec();
        Self { beginning, from_start: false, is_fresh: false, seen: 0, starts: Vec::new() }
    }

    /// Bytes that it keeps.
    pub fn kept(&self) -> usize {
        self.beginning.len() + std::mem::size_of_val(self.starts.as_slice())
    }

    /// The first bytes of what is skipped.
    pub fn beginning(&self) -> &[u8] {
        &self.beginning
    }

    /// A call began at `position` and brought these bytes. `told`: where the search began.
    pub fn note_call(&mut self, position: i64, told: i64, bytes: &[u8]) {
        if usize::try_from(position - told).is_ok_and(|at| at == self.beginning.len()) {
            self.beginning.extend(bytes.iter().take(BEGINNING.saturating_sub(self.beginning.len())));
        }
        self.seen = self.seen.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.note_start(position);
    }

    /// A call began at `position`.
    pub fn note_start(&mut self, position: i64) {
        self.starts.push(position);
    }

    /// What is held so far is of no use any more: bytes behind it were not seen.
    pub fn lose(&mut self) {
        self.from_start = false;
        self.starts.clear();
    }

    /// Bytes from `next` on will be replaced.
    pub fn rewind(&mut self, next: i64, told: i64) {
        self.starts.retain(|start| *start < next);
        self.beginning.truncate(usize::try_from(next - told).unwrap_or(0));
    }

    /// Whether a connection was seen from its start, and none of its calls so far can have begun with a message.
    pub fn is_fruitless(&self) -> bool {
        self.from_start && self.seen > 0 && self.starts.is_empty()
    }

    /// The first bytes of what is skipped, at most so many.
    pub fn take_beginning(&mut self, most: usize) -> Bytes {
        let mut beginning = std::mem::take(&mut self.beginning);
        beginning.truncate(most);
        beginning.into()
    }

    /// Looks for a message in `held`, which begins at position `from`: first where calls begin, then between.
    pub fn look(&mut self, held: &[u8], from: i64) -> Verdict {
        let at = |position: i64| usize::try_from(position - from).ok().and_then(|offset| held.get(offset..));
        let mut open = Vec::new();
        for start in std::mem::take(&mut self.starts) {
            let bytes = at(start).unwrap_or_default();
            match begins(bytes) {
                Guess::Yes => return Verdict::Message { at: start },
                Guess::More => open.push(start),
                Guess::No if self.is_fresh && is_other_protocol(bytes) => return Verdict::NotDns,
                Guess::No => {}
            }
        }
        self.starts = open;
        if let Some(start) = self.starts.first() {
            return Verdict::Keep { from: *start };
        }
        let offset = |offset: usize| from.saturating_add(i64::try_from(offset).unwrap_or(i64::MAX));
        match chained(held) {
            Some(inside) => Verdict::Message { at: offset(inside) },
            None if self.is_fruitless() && self.seen > ENOUGH => Verdict::NotDns,
            None => Verdict::Keep { from: offset(held.len()) },
        }
    }
}

/// Where inside of these bytes a message begins that ends where they end, or where another one begins.
fn chained(bytes: &[u8]) -> Option<usize> {
    (1..bytes.len()).find(|offset| {
        let rest = bytes.get(*offset..).unwrap_or_default();
        // The count of questions: most bytes fail here already.
        matches!(rest, [_, _, _, _, _, _, 0, 0 | 1, ..])
            && begins(rest) == Guess::Yes
            && behind(rest).is_some_and(|behind| behind.is_empty() || begins(behind) == Guess::Yes)
    })
}

/// What follows the message that begins these bytes; none if they end before it does.
fn behind(bytes: &[u8]) -> Option<&[u8]> {
    bytes.get(PREFIX + length(bytes)?..)
}
