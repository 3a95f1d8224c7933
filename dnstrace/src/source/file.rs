//! A file or a pipe, and what is in it, by its first bytes.

use std::{
    fs::File,
    io::{self, BufReader, Cursor, Read},
    path::Path,
};

use super::Unreadable;
use crate::recording;

/// Read at a time.
const CHUNK: usize = 256 << 10;
/// The head of a pcapng file that is looked at: its section header, with options, is shorter than this.
const MOST: u32 = 64 << 10;
/// Type of the block that every pcapng file begins with; reads the same in both byte orders.
const SECTION_HEADER: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
/// How files of libpcap begin: microseconds and nanoseconds, in both byte orders.
const PCAP: [[u8; 4]; 4] =
    [[0xd4, 0xc3, 0xb2, 0xa1], [0xa1, 0xb2, 0xc3, 0xd4], [0x4d, 0x3c, 0xb2, 0xa1], [0xa1, 0xb2, 0x3c, 0x4d]];

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A capture in the format of libpcap.
    Pcap,
    /// A capture in the format pcapng.
    Pcapng,
    /// Written by dnstrace: pcapng with blocks of its own.
    Recording,
}

/// An opened file.
pub struct Input {
    /// For the user: the path, or `standard input`.
    pub name: String,
    pub kind: Kind,
    /// From the first byte on. Buffered.
    pub bytes: Box<dyn Read + Send>,
    /// It may be written while it is read: what is known so far is to be told at once.
    pub is_live: bool,
}

impl Input {
    /// Opens a file, or standard input by the name `-`, and finds out what it is. Reads no more of a pipe than that needs.
    ///
    /// # Errors
    /// If it cannot be opened or read, or is none that dnstrace knows.
    pub fn open(path: &Path) -> Result<Self, Unreadable> {
        let name = name(path);
        let unreadable = |why: String| Unreadable { name: name.clone(), why };
        if path == Path::new("-") {
            return Self::new(name, BufReader::with_capacity(CHUNK, io::stdin()), true);
        }
        let file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
        let metadata = file.metadata().map_err(|error| unreadable(error.to_string()))?;
        if metadata.is_dir() {
            return Err(unreadable("it is a directory".to_owned()));
        }
        Self::new(name, BufReader::with_capacity(CHUNK, file), !metadata.is_file())
    }

    /// Bytes as if they were a file of this name.
    ///
    /// # Errors
    /// If they are nothing that dnstrace knows.
    pub fn of_bytes(name: &str, bytes: impl Read + Send + 'static) -> Result<Self, Unreadable> {
        Self::new(name.to_owned(), bytes, false)
    }

    fn new(name: String, mut bytes: impl Read + Send + 'static, is_live: bool) -> Result<Self, Unreadable> {
        match recognize(&mut bytes) {
            Ok((head, Some(kind))) => {
                Ok(Self { name, kind, bytes: Box::new(Cursor::new(head).chain(bytes)), is_live })
            }
            Ok((head, None)) if head.is_empty() => Err(Unreadable { name, why: "it is empty".to_owned() }),
            Ok((_, None)) => Err(Unreadable {
                name,
                why: "it is neither a pcap nor a pcapng file: give what dnstrace -w, tcpdump -w or Wireshark wrote"
                    .to_owned(),
            }),
            Err(error) => Err(Unreadable { name, why: error.to_string() }),
        }
    }
}

/// How a file is called towards the user.
pub fn name(path: &Path) -> String {
    if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() }
}

/// What begins so, and the bytes that had to be read to know.
fn recognize(bytes: &mut impl Read) -> io::Result<(Vec<u8>, Option<Kind>)> {
    let mut head = Vec::new();
    read_up_to(bytes, &mut head, 4)?;
    let Some(magic) = head.first_chunk::<4>() else { return Ok((head, None)) };
    if PCAP.contains(magic) {
        return Ok((head, Some(Kind::Pcap)));
    }
    if *magic != SECTION_HEADER {
        return Ok((head, None));
    }
    // Type, length in the byte order of the section: dnstrace writes little-endian sections alone.
    read_up_to(bytes, &mut head, 8)?;
    let length = head.get(4..).and_then(|length| length.first_chunk().copied()).map_or(0, u32::from_le_bytes);
    if length > MOST {
        return Ok((head, Some(Kind::Pcapng)));
    }
    read_up_to(bytes, &mut head, length as usize + recording::MARK_LEN)?;
    let is_ours = head.get(length as usize..).is_some_and(recording::is_mark);
    Ok((head, Some(if is_ours { Kind::Recording } else { Kind::Pcapng })))
}

/// Reads until `head` has so many bytes, or the file ends.
fn read_up_to(bytes: &mut impl Read, head: &mut Vec<u8>, length: usize) -> io::Result<()> {
    let missing = length.saturating_sub(head.len());
    bytes.take(missing as u64).read_to_end(head).map(|_| ())
}
