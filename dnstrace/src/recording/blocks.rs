//! The blocks of a recording, one after another.

use std::io::{self, Read};

use pcap_parser::{parse_block_le, pcapng::Block};

use super::format::{self, LONGEST, Line};
use crate::source::Unreadable;

/// Type and length in front, length behind.
const FRAME: usize = 12;

/// Reads a file of little-endian blocks and yields what dnstrace wrote into it.
pub struct Blocks {
    name: String,
    bytes: Box<dyn Read>,
    /// The block under work: its memory is used again.
    block: Vec<u8>,
}

/// What comes next.
#[derive(Debug)]
pub enum Next {
    Line(Box<Line>),
    /// The file ends between two blocks.
    End,
    /// It ends within a block: its writer was killed, or it is still being written.
    Cut,
}

impl Blocks {
    pub fn new(name: String, bytes: Box<dyn Read>) -> Self {
        Self { name, bytes, block: Vec::new() }
    }

    /// The next line. Blocks of others, and the packets beside the lines, are passed over.
    ///
    /// # Errors
    /// If the file cannot be read, or is garbled.
    pub fn next(&mut self) -> Result<Next, Unreadable> {
        loop {
            match self.read_block() {
                Ok(Some(true)) => {}
                Ok(Some(false)) => return Ok(Next::Cut),
                Ok(None) => return Ok(Next::End),
                Err(error) => return Err(self.unreadable(error)),
            }
            let line = match parse_block_le(&self.block) {
                Ok((_, Block::Custom(custom))) => format::decode(custom.pen, custom.data),
                Ok(_) => continue,
                Err(_) => return Err(self.unreadable("a block of it is garbled")),
            };
            match line {
                Ok(Some(line)) => return Ok(Next::Line(Box::new(line))),
                Ok(None) => {}
                Err(error) => return Err(self.unreadable(error)),
            }
        }
    }

    /// Reads a block. None at the end of the file, false if that comes too early.
    fn read_block(&mut self) -> io::Result<Option<bool>> {
        self.block.clear();
        self.fill(8)?;
        if self.block.is_empty() {
            return Ok(None);
        }
        let Some(length) = self.block.get(4..8).and_then(|length| length.first_chunk::<4>()) else {
            return Ok(Some(false));
        };
        let length = u32::from_le_bytes(*length);
        if length > LONGEST || (length as usize) < FRAME {
            return Err(io::Error::other(format!("a block of it says that it has {length} bytes")));
        }
        self.fill(length as usize)?;
        Ok(Some(self.block.len() == length as usize))
    }

    /// Reads until the block has so many bytes, or the file ends.
    fn fill(&mut self, length: usize) -> io::Result<()> {
        let missing = length.saturating_sub(self.block.len());
        (&mut self.bytes).take(missing as u64).read_to_end(&mut self.block).map(|_| ())
    }

    /// The file's, for the user.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// An error about this file.
    pub fn unreadable(&self, why: impl ToString) -> Unreadable {
        Unreadable { name: self.name.clone(), why: why.to_string() }
    }
}
