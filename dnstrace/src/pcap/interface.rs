//! An interface as a capture describes it: its link, and how it tells the time.

use std::fmt;

use pcap_parser::{InterfaceDescriptionBlock, InterfaceStatisticsBlock, OptionCode, PcapNGOption};

use crate::event::KernelTime;

const SECOND: u128 = 1_000_000_000;

/// What the packets of an interface begin with, by the numbers of <https://www.tcpdump.org/linktypes.html>.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkType(pub u32);

impl LinkType {
    /// BSD loopback: a family in the byte order of who captured it.
    pub const NULL: Self = Self(0);
    pub const ETHERNET: Self = Self(1);
    /// Raw IP, as some systems number it in their files.
    pub const RAW_OPENBSD: Self = Self(14);
    pub const RAW_BSD: Self = Self(12);
    pub const RAW: Self = Self(101);
    /// OpenBSD loopback: a family in network byte order.
    pub const LOOP: Self = Self(108);
    /// Linux cooked: `tcpdump -i any`.
    pub const LINUX_SLL: Self = Self(113);
    pub const IPV4: Self = Self(228);
    pub const IPV6: Self = Self(229);
    /// Linux cooked, version 2: with the interface's index.
    pub const LINUX_SLL2: Self = Self(276);

    /// From the header of a pcap, whose upper half says something else (the length of a frame check sequence).
    pub fn of_pcap(network: i32) -> Self {
        Self(network.cast_unsigned() & 0xffff)
    }

    /// Whether [`super::link`] reads it.
    pub fn is_known(self) -> bool {
        matches!(
            self,
            Self::NULL
                | Self::ETHERNET
                | Self::RAW_OPENBSD
                | Self::RAW_BSD
                | Self::RAW
                | Self::LOOP
                | Self::LINUX_SLL
                | Self::IPV4
                | Self::IPV6
                | Self::LINUX_SLL2
        )
    }
}

impl fmt::Display for LinkType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An interface of a section.
#[derive(Debug)]
pub struct Interface {
    pub link: LinkType,
    clock: Clock,
    is_big_endian: bool,
    /// Packets that it had dropped when that was last said, and when that was.
    dropped: u64,
}

/// How 64 bits tell the time.
#[derive(Clone, Copy, Debug)]
struct Clock {
    units_per_second: u128,
    /// Seconds.
    offset: i64,
}

impl Interface {
    pub fn new(described: &InterfaceDescriptionBlock<'_>, is_big_endian: bool) -> Self {
        let link = LinkType(described.linktype.0.cast_unsigned());
        let resolution = bytes_of(&described.options, OptionCode::IfTsresol).and_then(<[u8]>::first);
        let offset = number_of(&described.options, OptionCode::IfTsoffset, is_big_endian);
        let clock = Clock {
            units_per_second: resolution.map_or(1_000_000, |resolution| units_per_second(*resolution)),
            offset: offset.map_or(0, u64::cast_signed),
        };
        Self { link, clock, is_big_endian, dropped: 0 }
    }

    /// Nanoseconds since 1970 of a time of this interface.
    pub fn time(&self, high: u32, low: u32) -> KernelTime {
        let units = u128::from(high) << 32 | u128::from(low);
        let nanoseconds = units.saturating_mul(SECOND) / self.clock.units_per_second;
        let seconds = i128::from(self.clock.offset) * SECOND.cast_signed();
        let time = nanoseconds.cast_signed().saturating_add(seconds).max(0);
        KernelTime(u64::try_from(time).unwrap_or(u64::MAX))
    }

    /// When and how many packets more the capture has lost than it had said before; none if it has lost none.
    pub fn dropped(&mut self, statistics: &InterfaceStatisticsBlock<'_>) -> Option<(KernelTime, u64)> {
        let of = |code| number_of(&statistics.options, code, self.is_big_endian).unwrap_or(0);
        let dropped = of(OptionCode::IsbIfDrop).saturating_add(of(OptionCode::IsbOsDrop));
        let more = dropped.saturating_sub(self.dropped);
        self.dropped = self.dropped.max(dropped);
        (more > 0).then(|| (self.time(statistics.ts_high, statistics.ts_low), more))
    }
}

/// The resolution of an interface's clock: a power of ten, or with the upper bit of two. (pcap-parser 0.17 refuses the
/// latter.)
fn units_per_second(resolution: u8) -> u128 {
    const BINARY: u8 = 0x80;
    let exponent = u32::from(resolution & !BINARY);
    let base: u128 = if resolution & BINARY == 0 { 10 } else { 2 };
    // Finer than any 64 bits can tell: everything is in the first second.
    base.checked_pow(exponent).unwrap_or(u128::MAX)
}

fn bytes_of<'a>(options: &'a [PcapNGOption<'_>], code: OptionCode) -> Option<&'a [u8]> {
    options.iter().find(|option| option.code == code)?.as_bytes().ok()
}

/// An option of 64 bits, in the section's byte order. (pcap-parser 0.17 takes all for little-endian.)
fn number_of(options: &[PcapNGOption<'_>], code: OptionCode, is_big_endian: bool) -> Option<u64> {
    let bytes = <[u8; 8]>::try_from(bytes_of(options, code)?).ok()?;
    Some(if is_big_endian { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) })
}
