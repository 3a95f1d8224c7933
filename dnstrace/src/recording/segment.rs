//! One file of a recording: its blocks, as bytes. What is in it can be read by Wireshark without dnstrace.

use std::borrow::Cow;

use anyhow::{Result, anyhow};
use lru::LruCache;
use pcap_parser::{
    EnhancedPacketBlock, InterfaceDescriptionBlock, Linktype, OptionCode, PcapNGOption, SectionHeaderBlock,
    ToVec,
};

use super::packet::Raw;
use crate::{event::Direction, output::escape, pipeline::Heard};

/// Interfaces that are remembered at the most: one that comes again after so many others is described again.
const INTERFACES: usize = 4096;
/// Bytes of a comment. Wireshark shows no more in a line.
const COMMENT: usize = 1000;
/// Comments of a packet: an attempt has up to 32 steps.
const COMMENTS: usize = 64;
/// 10^-9 s.
const NANOSECONDS: u8 = 9;
/// The option `epb_flags`, whose lowest two bits tell the direction.
const FLAGS: OptionCode = OptionCode(2);

/// The part of a file that its later blocks depend on: which interfaces have been described.
#[derive(Debug)]
pub struct Section {
    /// Number of the interface of each network namespace.
    interfaces: LruCache<u32, u32>,
    next_interface: u32,
    /// The node's own network namespace.
    host_netns: Option<u32>,
    clock_offset_ns: i64,
}

impl Section {
    pub fn new(host_netns: Option<u32>, clock_offset_ns: i64) -> Self {
        // Bounded below: a bounded cache would take all its memory at once.
        Self { interfaces: LruCache::unbounded(), next_interface: 0, host_netns, clock_offset_ns }
    }

    /// The block that a file begins with. Whatever was described before is forgotten.
    ///
    /// # Errors
    /// If the library fails, which it does for no value of these types; the same below.
    pub fn header(&mut self) -> Result<Vec<u8>> {
        self.interfaces.clear();
        self.next_interface = 0;
        let application = concat!("dnstrace ", env!("CARGO_PKG_VERSION"));
        encode(&mut SectionHeaderBlock {
            block_type: 0,
            block_len1: 0,
            bom: 0x1a2b_3c4d,
            major_version: 1,
            minor_version: 0,
            section_len: -1,
            options: vec![option(OptionCode::ShbUserAppl, application.as_bytes())],
            block_len2: 0,
        })
    }

    /// The blocks of a packet: before the first one of a network namespace, that of its interface.
    ///
    /// # Errors
    /// As above.
    pub fn packet(&mut self, heard: &Heard, raw: &Raw, comments: &[String]) -> Result<Vec<u8>> {
        let mut blocks = Vec::new();
        let if_id = match self.interfaces.get(&heard.seen.netns) {
            Some(number) => *number,
            None => self.describe(heard, &mut blocks)?,
        };
        let time = heard.seen.time.0.saturating_add_signed(self.clock_offset_ns);
        let inbound = match heard.seen.direction {
            Direction::Received => 1u32,
            Direction::Sent => 2,
        };
        let mut options: Vec<_> =
            comments.iter().take(COMMENTS).map(|comment| text(OptionCode::Comment, comment)).collect();
        options.push(option(FLAGS, &inbound.to_le_bytes()));
        blocks.extend(encode(&mut EnhancedPacketBlock {
            block_type: 0,
            block_len1: 0,
            if_id,
            ts_high: (time >> 32) as u32,
            ts_low: (time & u64::from(u32::MAX)) as u32,
            caplen: u32::try_from(raw.bytes.len())?,
            origlen: raw.length,
            data: &raw.bytes,
            options,
            block_len2: 0,
        })?);
        Ok(blocks)
    }

    /// Appends the block of an interface, named after its network namespace. Returns its number.
    fn describe(&mut self, heard: &Heard, blocks: &mut Vec<u8>) -> Result<u32> {
        let netns = heard.seen.netns;
        let name = if self.host_netns == Some(netns) { "node".to_owned() } else { format!("netns {netns}") };
        let owner = heard.owner.to_string();
        let owner = escape(&owner);
        blocks.extend(encode(&mut InterfaceDescriptionBlock {
            block_type: 0,
            block_len1: 0,
            linktype: Linktype::RAW,
            reserved: 0,
            snaplen: 0,
            options: vec![text(OptionCode::IfName, &name), text(OptionCode::IfDescription, &owner)],
            block_len2: 0,
            if_tsresol: NANOSECONDS,
            if_tsoffset: 0,
        })?);
        let number = self.next_interface;
        self.next_interface += 1;
        self.interfaces.put(netns, number);
        if self.interfaces.len() > INTERFACES {
            self.interfaces.pop_lru();
        }
        Ok(number)
    }
}

fn encode(block: &mut impl ToVec) -> Result<Vec<u8>> {
    block.to_vec().map_err(|error| anyhow!("cannot make a block: {error}"))
}

/// A text, cut at a border of characters.
fn text(code: OptionCode, text: &str) -> PcapNGOption<'static> {
    let end = text.floor_char_boundary(COMMENT);
    option(code, text.get(..end).unwrap_or_default().as_bytes())
}

/// An option of less than 64 KiB.
fn option(code: OptionCode, value: &[u8]) -> PcapNGOption<'static> {
    let len = u16::try_from(value.len()).unwrap_or(u16::MAX);
    let value = value.get(..usize::from(len)).unwrap_or_default().to_vec();
    PcapNGOption { code, len, value: Cow::Owned(value) }
}
