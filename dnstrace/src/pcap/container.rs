//! The containers: pcap and pcapng, block by block, from a file or a pipe.
//!
//! How long a block is says its head, so as many bytes are read as it has and no more are waited for: what comes through
//! a pipe is seen at once. What a block says is read by the crate pcap-parser.

use std::io::{self, Read};

use pcap_parser::{
    Block as Parsed, EnhancedPacketBlock, PcapHeader, SectionHeaderBlock, parse_block_be, parse_block_le,
    parse_pcap_frame, parse_pcap_frame_be, parse_pcap_frame_modified, parse_pcap_header,
};

use crate::event::KernelTime;

use super::{
    input::Input,
    interface::{Interface, LinkType},
};

/// No writer makes a larger block: Wireshark and libpcap take none that is.
const LARGEST_BLOCK: u32 = 16 << 20;
/// Interfaces of one section that are known at the most.
const MOST_INTERFACES: usize = 65_536;

const PCAP_HEADER: usize = 24;
/// Type and length of a block of pcapng.
const BLOCK_HEAD: usize = 8;
/// The shortest block of pcapng: type, length, length again.
const SHORTEST_BLOCK: u32 = 12;
/// Where the data of an enhanced packet block begin.
const PACKET_DATA: usize = 28;
/// The type of the packet block of old.
const OLD_PACKET: u32 = 2;
/// The type of a section header, the same in both byte orders.
const SECTION: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
const SECTION_BIG_ENDIAN: [u8; 4] = [0x1a, 0x2b, 0x3c, 0x4d];

/// Why a capture cannot be read, or not any further.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    #[error(transparent)]
    Read(#[from] io::Error),
    #[error("it begins neither as pcap nor as pcapng does")]
    NoCapture,
    #[error("it is damaged at byte {at}: {what}")]
    Damaged { at: u64, what: &'static str },
    #[error(
        "its packets are of link type {0}, which dnstrace does not know: it knows Ethernet, Linux cooked (tcpdump -i any), \
         raw IP and loopback"
    )]
    Link(LinkType),
}

/// A packet as it was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Nanoseconds since 1970.
    pub time: KernelTime,
    /// Number of the interface within the file; 0 of a pcap.
    pub interface: u32,
    pub link: LinkType,
    /// From the link's own header on, as far as it was captured.
    pub data: &'a [u8],
    /// Bytes that it had on the link.
    pub length: u32,
}

/// What a file holds, as far as it is of concern here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block<'a> {
    Frame(Frame<'a>),
    /// The capture had lost so many packets, of one interface, since it last said so.
    Dropped {
        time: KernelTime,
        packets: u64,
    },
    /// A packet that is not read: without a time, or of no interface that was described.
    Unreadable,
    /// Anything else.
    Other,
}

/// A file under way.
#[derive(Debug)]
pub struct Container<R> {
    input: Input<R>,
    kind: Kind,
    /// The file ends inside of a block.
    is_cut_off: bool,
}

#[derive(Debug)]
enum Kind {
    Pcap { header: PcapHeader, link: LinkType },
    Pcapng(Section),
}

/// A section of a pcapng, and the interfaces that were described in it.
#[derive(Debug, Default)]
struct Section {
    is_big_endian: bool,
    /// Interfaces of the sections before it.
    before: u32,
    interfaces: Vec<Interface>,
}

impl<R: Read> Container<R> {
    /// Reads the head of a file.
    ///
    /// # Errors
    /// If it is no capture, or a pcap of a link that is not known.
    pub fn open(reader: R) -> Result<Self, CaptureError> {
        let mut input = Input::new(reader);
        if !input.will_have(BLOCK_HEAD)? {
            return Err(CaptureError::NoCapture);
        }
        let kind = if input.data().starts_with(&SECTION) {
            Kind::Pcapng(Section::default())
        } else {
            input.will_have(PCAP_HEADER)?;
            let Ok((_, header)) = parse_pcap_header(input.data()) else {
                return Err(CaptureError::NoCapture);
            };
            let link = LinkType::of_pcap(header.network.0);
            if !link.is_known() {
                return Err(CaptureError::Link(link));
            }
            input.consume(PCAP_HEADER);
            Kind::Pcap { header, link }
        };
        Ok(Self { input, kind, is_cut_off: false })
    }

    /// The next block; none at the end of the file.
    ///
    /// # Errors
    /// If the file cannot be read or is damaged: then there is nothing more to be had from it.
    pub fn next(&mut self) -> Result<Option<Block<'_>>, CaptureError> {
        self.input.release();
        let (head, at) = match self.kind {
            Kind::Pcap { ref header, .. } => (record_head(header), self.input.position()),
            Kind::Pcapng(_) => (BLOCK_HEAD, self.input.position()),
        };
        if !self.has(head)? {
            return Ok(None);
        }
        let length = match &self.kind {
            Kind::Pcap { header, .. } => record_length(header, self.input.data()),
            Kind::Pcapng(section) => match section_order(&mut self.input)? {
                None => block_length(section.is_big_endian, self.input.data()),
                Some(is_big_endian) => block_length(is_big_endian, self.input.data()),
            },
        };
        let length = length.ok_or(CaptureError::Damaged { at, what: "a block of impossible length" })?;
        if !self.has(length)? {
            return Ok(None);
        }
        let damaged = CaptureError::Damaged { at, what: "a block that contradicts itself" };
        let data = self.input.take(length);
        match &mut self.kind {
            Kind::Pcap { header, link } => Ok(Some(record(header, *link, data).ok_or(damaged)?)),
            Kind::Pcapng(section) => section.block(data).ok_or(damaged).map(Some),
        }
    }

    /// Whether the file ended inside of a block: its writer was killed, or still writes.
    pub fn is_cut_off(&self) -> bool {
        self.is_cut_off
    }

    /// Whether so many bytes are there; else the file has ended.
    fn has(&mut self, length: usize) -> Result<bool, CaptureError> {
        let is_there = self.input.has(length)?;
        self.is_cut_off |= !is_there && !self.input.data().is_empty();
        Ok(is_there)
    }
}

/// Bytes before a packet in a pcap. The modified format of some old kernels has two fields more.
fn record_head(header: &PcapHeader) -> usize {
    if header.is_modified_format() { 24 } else { 16 }
}

/// Bytes of the record that begins here; none if no packet is as long.
fn record_length(header: &PcapHeader, data: &[u8]) -> Option<usize> {
    let captured = number(header.is_bigendian(), data.get(8..12)?)?;
    (captured <= LARGEST_BLOCK).then_some(record_head(header) + usize::try_from(captured).ok()?)
}

fn record<'a>(header: &PcapHeader, link: LinkType, data: &'a [u8]) -> Option<Block<'a>> {
    const MICROSECOND: u64 = 1_000;
    let parse = match (header.is_modified_format(), header.is_bigendian()) {
        (true, _) => parse_pcap_frame_modified,
        (false, true) => parse_pcap_frame_be,
        (false, false) => parse_pcap_frame,
    };
    let (_, record) = parse(data).ok()?;
    let unit = if header.is_nanosecond_precision() { 1 } else { MICROSECOND };
    let time = u64::from(record.ts_sec) * 1_000_000_000 + u64::from(record.ts_usec) * unit;
    let length = record.origlen.max(record.caplen);
    Some(Block::Frame(Frame { time: KernelTime(time), interface: 0, link, data: record.data, length }))
}

/// Whether a section begins here, and its byte order, which its length is written in already.
fn section_order<R: Read>(input: &mut Input<R>) -> Result<Option<bool>, CaptureError> {
    if !input.data().starts_with(&SECTION) {
        return Ok(None);
    }
    input.has(BLOCK_HEAD + SECTION_BIG_ENDIAN.len())?;
    let order = input.data().get(BLOCK_HEAD..BLOCK_HEAD + SECTION_BIG_ENDIAN.len());
    Ok(Some(order == Some(&SECTION_BIG_ENDIAN)))
}

/// Bytes of the block that begins here; none if no block is as long, or as short.
fn block_length(is_big_endian: bool, data: &[u8]) -> Option<usize> {
    let length = number(is_big_endian, data.get(4..BLOCK_HEAD)?)?;
    let is_possible = (SHORTEST_BLOCK..=LARGEST_BLOCK).contains(&length) && length.is_multiple_of(4);
    is_possible.then_some(usize::try_from(length).ok()?)
}

fn number(is_big_endian: bool, bytes: &[u8]) -> Option<u32> {
    let bytes = <[u8; 4]>::try_from(bytes).ok()?;
    Some(if is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
}

impl Section {
    /// Reads a whole block; none if it contradicts itself.
    fn block<'a>(&mut self, data: &'a [u8]) -> Option<Block<'a>> {
        // A section header is read in its own byte order.
        let parse = if self.is_big_endian { parse_block_be } else { parse_block_le };
        let (_, block) = parse(data).ok()?;
        match block {
            Parsed::SectionHeader(header) => self.begin(&header),
            Parsed::InterfaceDescription(described) => {
                if self.interfaces.len() >= MOST_INTERFACES {
                    return None;
                }
                self.interfaces.push(Interface::new(&described, self.is_big_endian));
            }
            Parsed::EnhancedPacket(packet) => return Some(self.enhanced(&packet, data)),
            // They bear no time, so they have no place among others; or are of before pcapng was published.
            Parsed::SimplePacket(_) => return Some(Block::Unreadable),
            Parsed::InterfaceStatistics(statistics) => {
                let interface =
                    usize::try_from(statistics.if_id).ok().and_then(|id| self.interfaces.get_mut(id));
                if let Some((time, packets)) = interface.and_then(|known| known.dropped(&statistics)) {
                    return Some(Block::Dropped { time, packets });
                }
            }
            Parsed::Unknown(unknown) if unknown.block_type == OLD_PACKET => return Some(Block::Unreadable),
            _ => {}
        }
        Some(Block::Other)
    }

    fn begin(&mut self, header: &SectionHeaderBlock<'_>) {
        self.is_big_endian = header.big_endian();
        self.before = self.before.saturating_add(u32::try_from(self.interfaces.len()).unwrap_or(u32::MAX));
        self.interfaces.clear();
    }

    fn enhanced<'a>(&self, packet: &EnhancedPacketBlock<'_>, data: &'a [u8]) -> Block<'a> {
        let interface = usize::try_from(packet.if_id).ok().and_then(|id| self.interfaces.get(id));
        let captured = usize::try_from(packet.caplen).ok();
        let data = captured.and_then(|captured| data.get(PACKET_DATA..)?.get(..captured));
        let (Some(interface), Some(data)) = (interface, data) else { return Block::Unreadable };
        Block::Frame(Frame {
            time: interface.time(packet.ts_high, packet.ts_low),
            interface: self.before.saturating_add(packet.if_id),
            link: interface.link,
            data,
            length: packet.origlen.max(packet.caplen),
        })
    }
}
