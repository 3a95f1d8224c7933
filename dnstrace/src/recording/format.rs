//! How dnstrace's own entries lie in a pcapng file: each in a Custom Block, so that other programs pass them over.
//!
//! A Custom Block's data (all numbers little-endian, as is the whole file):
//!
//! | bytes | what |
//! |---|---|
//! | 4 | `dnst` |
//! | 4 | version of this layout: 1 |
//! | 4 | length of what follows |
//! | | a [`Line`] as MessagePack, structures as maps with the names of their fields |
//!
//! Fields are only ever added to what is written, and those that an older file lacks have a default: a newer dnstrace reads
//! what an older one wrote.

use std::net::IpAddr;

use pcap_parser::{CustomBlock, ToVec as _};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    directory::Version,
    event::{Event, KernelTime},
    identify::Owner,
    lookup::Sight,
    losses::Losses,
    source::Begin,
};

/// Type of a Custom Block that editors may copy to other files.
const CUSTOM: u32 = 0x0000_0bad;
/// The Private Enterprise Number that RFC 5612 keeps for examples and documentation: dnstrace has none of its own.
const ENTERPRISE: u32 = 32_473;
const MAGIC: [u8; 4] = *b"dnst";
/// Of the layout above.
const VERSION: u32 = 1;
/// Bytes of data before the line.
const PREFIX: usize = 12;
/// Bytes at the beginning of a block that tell it to be one of dnstrace's: type, length, number, magic.
pub const MARK_LEN: usize = 16;
/// The longest block that is written or read: an event has some kilobytes, the losses of a thousand namespaces some hundred.
pub const LONGEST: u32 = 4 << 20;

/// What a block holds. `E` is [`Event`]; while it is written, a reference to one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Line<E = Event> {
    /// The first of a segment.
    Begin(Box<Head>),
    Owner {
        cgroup: u64,
        owner: Owner,
    },
    /// All that is known so far of what an address is called.
    Names {
        address: IpAddr,
        versions: Vec<Version>,
    },
    Event(E),
    Time(KernelTime),
    Sight(Sight),
    /// The last of a segment that another one follows.
    GoesOn {
        /// Events of the whole trace up to here.
        events: u64,
    },
    /// The last of a trace.
    End {
        time: KernelTime,
        losses: Losses,
    },
}

/// The beginning of a segment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// Of the dnstrace that wrote it.
    pub version: String,
    /// Where it ran.
    pub node: Node,
    /// When the trace began: with the node's boot it tells traces apart.
    pub trace_began: KernelTime,
    /// Number of this segment within its trace, from 1.
    pub segment: u32,
    /// Events of the trace in the segments before.
    pub events_before: u64,
    /// Ports that were watched.
    pub ports: Vec<u16>,
    pub begin: Begin,
}

/// A node, and since when it has been running.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its host name, or what the environment variable `NODE_NAME` says.
    pub name: String,
    /// `/proc/sys/kernel/random/boot_id`: kernel times of another boot cannot be compared.
    pub boot_id: String,
}

/// Why a block of dnstrace's cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Garbled {
    #[error("it was written by a newer dnstrace (layout {0}): read it with that one")]
    Newer(u32),
    #[error("a block of it is shorter than it says")]
    Short,
    #[error("a block of it says what dnstrace does not write: {0}")]
    Content(#[from] rmp_serde::decode::Error),
}

/// Whether a block begins so that it is one of dnstrace's.
pub fn is_mark(bytes: &[u8]) -> bool {
    let word = |index: usize| bytes.get(4 * index..).and_then(|rest| rest.first_chunk::<4>());
    word(0) == Some(&CUSTOM.to_le_bytes())
        && word(2) == Some(&ENTERPRISE.to_le_bytes())
        && word(3) == Some(&MAGIC)
}

/// A whole block.
///
/// # Errors
/// If it would be longer than [`LONGEST`], or a library fails, which it does for no value of these types.
pub fn encode<E: Serialize>(line: &Line<E>) -> anyhow::Result<Vec<u8>> {
    let mut data = Vec::with_capacity(512);
    data.extend(MAGIC);
    data.extend(VERSION.to_le_bytes());
    data.extend([0; 4]);
    rmp_serde::encode::write_named(&mut data, line)?;
    let length = u32::try_from(data.len() - PREFIX)?;
    anyhow::ensure!(length < LONGEST - 64, "an entry of {length} bytes is too long");
    if let Some(place) = data.get_mut(8..PREFIX) {
        place.copy_from_slice(&length.to_le_bytes());
    }
    let mut block =
        CustomBlock { block_type: CUSTOM, block_len1: 0, pen: ENTERPRISE, data: &data, block_len2: 0 };
    block.to_vec().map_err(|error| anyhow::anyhow!("cannot make a block: {error}"))
}

/// What a Custom Block's number and data say; none if it is another program's.
///
/// # Errors
/// If it is dnstrace's and cannot be read.
pub fn decode<E: DeserializeOwned>(enterprise: u32, data: &[u8]) -> Result<Option<Line<E>>, Garbled> {
    if enterprise != ENTERPRISE || !data.starts_with(&MAGIC) {
        return Ok(None);
    }
    let word = |at: usize| data.get(at..)?.first_chunk::<4>().copied().map(u32::from_le_bytes);
    let (Some(version), Some(length)) = (word(4), word(8)) else { return Err(Garbled::Short) };
    if version != VERSION {
        return Err(Garbled::Newer(version));
    }
    let line = data.get(PREFIX..).and_then(|rest| rest.get(..length as usize)).ok_or(Garbled::Short)?;
    Ok(Some(rmp_serde::from_slice(line)?))
}
