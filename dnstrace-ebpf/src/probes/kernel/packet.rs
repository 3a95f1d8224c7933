//! UDP packets by their own headers.

use dnstrace_ebpf::wire::Flow;

use super::{IPPROTO_UDP, Skip, read, read_to, v4_mapped, watched};

/// Next header of IPv6 that stands before a fragment's.
const FRAGMENT: u8 = 44;
const IPV6_HEADER: u64 = 40;
const FRAGMENT_HEADER: u64 = 8;
pub const UDP_HEADER: u32 = 8;
/// Bits of IPv4's `frag_off` and of IPv6's that tell a fragment's place: only the first has ports.
const FRAG_OFF: u16 = 0x1fff;
const FRAG_OFF6: u16 = 0xfff8;

/// A UDP packet in kernel memory.
#[derive(Clone, Copy)]
pub struct UdpPacket {
    /// Address of the IP header.
    ip: u64,
    pub sport: u16,
    pub dport: u16,
    /// Address of the first byte of payload.
    pub payload: u64,
    /// Bytes of payload, as the UDP header says.
    pub length: u32,
    /// Bytes of it that can be read from `payload` on.
    pub linear: u32,
}

impl UdpPacket {
    /// The packet whose IP header is at `ip`, if it is UDP. Extension headers of IPv6 other than a fragment's make it
    /// none of ours. How much of it can be read is not known yet: [`UdpPacket::ends_at`].
    #[inline(always)]
    pub fn at(ip: u64) -> Result<Self, Skip> {
        let version: u8 = read(ip, 0)?;
        let udp = match version >> 4 {
            4 => Self::behind_v4(ip, version)?,
            6 => Self::behind_v6(ip)?,
            _ => return Err(Skip::NotOurs),
        };
        let [sport, dport, length]: [u16; 3] = read(udp, 0)?;
        let (sport, dport) = (u16::from_be(sport), u16::from_be(dport));
        let payload = udp + u64::from(UDP_HEADER);
        let length = u32::from(u16::from_be(length)).saturating_sub(UDP_HEADER);
        Ok(Self { ip, sport, dport, payload, length, linear: 0 })
    }

    /// Whether one of its ports, as they are now, is watched.
    #[inline(always)]
    pub fn is_dns(&self) -> bool {
        watched(self.sport) || watched(self.dport)
    }

    /// Its memory ends at `end`.
    #[inline(always)]
    pub fn ends_at(self, end: u64) -> Self {
        let available = end.saturating_sub(self.payload);
        let linear = if available < u64::from(self.length) { available as u32 } else { self.length };
        Self { linear, ..self }
    }

    /// Address of the UDP header behind an IPv4 header whose first byte is `first`.
    #[inline(always)]
    fn behind_v4(ip: u64, first: u8) -> Result<u64, Skip> {
        let protocol: u8 = read(ip, 9)?;
        let fragment: u16 = read(ip, 6)?;
        if protocol != IPPROTO_UDP || u16::from_be(fragment) & FRAG_OFF != 0 {
            return Err(Skip::NotOurs);
        }
        Ok(ip + u64::from(first & 0xf) * 4)
    }

    #[inline(always)]
    fn behind_v6(ip: u64) -> Result<u64, Skip> {
        let next: u8 = read(ip, 6)?;
        if next == IPPROTO_UDP {
            return Ok(ip + IPV6_HEADER);
        }
        if next != FRAGMENT {
            return Err(Skip::NotOurs);
        }
        let inner: u8 = read(ip + IPV6_HEADER, 0)?;
        let fragment: u16 = read(ip + IPV6_HEADER, 2)?;
        if inner != IPPROTO_UDP || u16::from_be(fragment) & FRAG_OFF6 != 0 {
            return Err(Skip::NotOurs);
        }
        Ok(ip + IPV6_HEADER + FRAGMENT_HEADER)
    }

    /// Writes both ends.
    #[inline(always)]
    pub fn flow_to(&self, flow: &mut Flow) -> Result<(), Skip> {
        flow_to(self.ip, self.sport, self.dport, flow)
    }
}

/// Writes both ends, out of the IP header at `ip` and the ports.
#[inline(always)]
pub fn flow_to(ip: u64, sport: u16, dport: u16, flow: &mut Flow) -> Result<(), Skip> {
    flow.sport = sport;
    flow.dport = dport;
    flow.protocol = IPPROTO_UDP;
    flow.reserved = [0; 3];
    let version: u8 = read(ip, 0)?;
    match version >> 4 {
        4 => {
            flow.saddr = v4_mapped(read(ip, 12)?);
            flow.daddr = v4_mapped(read(ip, 16)?);
            Ok(())
        }
        6 => {
            read_to(&mut flow.saddr, ip, 8)?;
            read_to(&mut flow.daddr, ip, 24)
        }
        _ => Err(Skip::NotOurs),
    }
}
