//! Bytes of a file or a pipe, as many at a time as are asked for.

use std::io::{self, ErrorKind, Read};

/// Read at once where so much is there.
const CHUNK: usize = 64 << 10;

/// What was read and not taken yet.
#[derive(Debug)]
pub struct Input<R> {
    reader: R,
    buffer: Vec<u8>,
    /// Where in the buffer lies what was not taken.
    start: usize,
    /// What was taken last and may still be looked at.
    taken: usize,
    /// Bytes taken since the beginning.
    position: u64,
    is_at_end: bool,
}

impl<R: Read> Input<R> {
    pub fn new(reader: R) -> Self {
        Self { reader, buffer: Vec::new(), start: 0, taken: 0, position: 0, is_at_end: false }
    }

    /// Whether so many bytes are there; waits for them until the end.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn has(&mut self, length: usize) -> io::Result<bool> {
        while self.data().len() < length && !self.is_at_end {
            self.fill(length)?;
        }
        Ok(self.data().len() >= length)
    }

    /// Likewise, where it is waited for patiently though nothing comes ([`super::pipe`]).
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn will_have(&mut self, length: usize) -> io::Result<bool> {
        loop {
            match self.has(length) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                other => return other,
            }
        }
    }

    /// All that is there and was not taken.
    pub fn data(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    /// How many bytes were taken.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Takes so many bytes, which are there, and lets go of them.
    pub fn consume(&mut self, length: usize) {
        self.take(length);
        self.release();
    }

    /// Takes so many bytes, which are there. They stay until [`Self::release`].
    pub fn take(&mut self, length: usize) -> &[u8] {
        self.taken = length.min(self.data().len());
        self.data().get(..self.taken).unwrap_or_default()
    }

    /// Lets go of what was taken.
    pub fn release(&mut self) {
        let taken = std::mem::take(&mut self.taken);
        self.start += taken;
        self.position = self.position.saturating_add(u64::try_from(taken).unwrap_or(u64::MAX));
    }

    /// Reads once, whatever comes, with room for `length` bytes.
    fn fill(&mut self, length: usize) -> io::Result<()> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let filled = self.buffer.len();
        self.buffer.resize(length.max(filled + CHUNK), 0);
        let read = match self.reader.read(self.buffer.get_mut(filled..).unwrap_or_default()) {
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(None),
            other => other.map(Some),
        };
        self.buffer.truncate(filled + read.as_ref().ok().copied().flatten().unwrap_or(0));
        self.is_at_end = read? == Some(0);
        Ok(())
    }
}
