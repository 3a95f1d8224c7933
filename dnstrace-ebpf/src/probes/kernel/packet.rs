//! UDP and TCP packets by their own headers.

use dnstrace_ebpf::wire::{Flow, TcpHead};

use super::{IPPROTO_TCP, IPPROTO_UDP, Skip, encrypted, read, read_to, v4_mapped, watched};

/// Next header of IPv6 that stands before a fragment's.
const FRAGMENT: u8 = 44;
const IPV6_HEADER: u64 = 40;
const FRAGMENT_HEADER: u64 = 8;
pub const UDP_HEADER: u32 = 8;
/// Bits of IPv4's `frag_off` and of IPv6's that tell a fragment's place: only the first has ports.
const FRAG_OFF: u16 = 0x1fff;
const FRAG_OFF6: u16 = 0xfff8;

/// SYN in TCP's byte of flags.
const SYN: u8 = 2;

/// A UDP or TCP packet in kernel memory.
#[derive(Clone, Copy)]
pub struct TransportPacket {
    /// Address of the IP header.
    ip: u64,
    /// [`IPPROTO_UDP`] or [`IPPROTO_TCP`].
    pub protocol: u8,
    pub sport: u16,
    pub dport: u16,
    /// Of TCP, else zero.
    pub tcp: TcpHead,
    /// Address of the first byte of payload.
    pub payload: u64,
    /// Bytes of payload, as the headers say.
    pub length: u32,
    /// Bytes of it that can be read from `payload` on.
    pub linear: u32,
}

/// What an IP header says of what is behind it.
#[derive(Clone, Copy)]
struct Behind {
    protocol: u8,
    /// Address of the transport header.
    at: u64,
    /// Bytes from there to the end of the packet.
    length: u32,
}

impl TransportPacket {
    /// The packet whose IP header is at `ip`, if it is UDP or TCP. Extension headers of IPv6 other than a fragment's make
    /// it none of ours. How much of it can be read is not known yet: [`TransportPacket::ends_at`].
    #[inline(always)]
    pub fn at(ip: u64) -> Result<Self, Skip> {
        let version: u8 = read(ip, 0)?;
        let behind = match version >> 4 {
            4 => Behind::v4(ip, version)?,
            6 => Behind::v6(ip)?,
            _ => return Err(Skip::NotOurs),
        };
        match behind.protocol {
            IPPROTO_UDP => Self::udp(ip, behind),
            IPPROTO_TCP => Self::tcp(ip, behind),
            _ => Err(Skip::NotOurs),
        }
    }

    #[inline(always)]
    fn udp(ip: u64, behind: Behind) -> Result<Self, Skip> {
        let [sport, dport, length]: [u16; 3] = read(behind.at, 0)?;
        Ok(Self {
            ip,
            protocol: IPPROTO_UDP,
            sport: u16::from_be(sport),
            dport: u16::from_be(dport),
            tcp: TcpHead { seq: 0, flags: 0, reserved: [0; 3] },
            payload: behind.at + u64::from(UDP_HEADER),
            length: u32::from(u16::from_be(length)).saturating_sub(UDP_HEADER),
            linear: 0,
        })
    }

    #[inline(always)]
    fn tcp(ip: u64, behind: Behind) -> Result<Self, Skip> {
        let [sport, dport]: [u16; 2] = read(behind.at, 0)?;
        let seq: u32 = read(behind.at, 4)?;
        let [words, flags]: [u8; 2] = read(behind.at, 12)?;
        let header = u32::from(words >> 4) * 4;
        Ok(Self {
            ip,
            protocol: IPPROTO_TCP,
            sport: u16::from_be(sport),
            dport: u16::from_be(dport),
            tcp: TcpHead { seq: u32::from_be(seq), flags, reserved: [0; 3] },
            payload: behind.at + u64::from(header),
            length: behind.length.saturating_sub(header),
            linear: 0,
        })
    }

    /// Whether one of its ports, as they are now, is watched.
    #[inline(always)]
    pub fn is_dns(&self) -> bool {
        watched(self.sport) || watched(self.dport) || self.may_be_encrypted()
    }

    /// Whether it may belong to a connection of DNS over TLS or HTTPS: then its flow is remembered.
    #[inline(always)]
    pub fn may_be_encrypted(&self) -> bool {
        self.protocol == IPPROTO_TCP && (encrypted(self.sport) || encrypted(self.dport))
    }

    /// Whether its fate is anybody's: of TCP that of a SYN and of payload. Nobody waits for the others.
    #[inline(always)]
    pub fn matters(&self) -> bool {
        self.protocol == IPPROTO_UDP || self.tcp.flags & SYN != 0 || self.length != 0
    }

    /// Its memory ends at `end`.
    #[inline(always)]
    pub fn ends_at(self, end: u64) -> Self {
        let available = end.saturating_sub(self.payload);
        let linear = if available < u64::from(self.length) { available as u32 } else { self.length };
        Self { linear, ..self }
    }

    /// Writes both ends.
    #[inline(always)]
    pub fn flow_to(&self, flow: &mut Flow) -> Result<(), Skip> {
        flow_to(self.ip, self.protocol, self.sport, self.dport, flow)
    }
}

impl Behind {
    /// Behind an IPv4 header whose first byte is `first`.
    #[inline(always)]
    fn v4(ip: u64, first: u8) -> Result<Self, Skip> {
        let total: u16 = read(ip, 2)?;
        let protocol: u8 = read(ip, 9)?;
        let fragment: u16 = read(ip, 6)?;
        if u16::from_be(fragment) & FRAG_OFF != 0 {
            return Err(Skip::NotOurs);
        }
        let header = u32::from(first & 0xf) * 4;
        let length = u32::from(u16::from_be(total)).saturating_sub(header);
        Ok(Self { protocol, at: ip + u64::from(header), length })
    }

    #[inline(always)]
    fn v6(ip: u64) -> Result<Self, Skip> {
        let length: u16 = read(ip, 4)?;
        let length = u32::from(u16::from_be(length));
        let next: u8 = read(ip, 6)?;
        if next != FRAGMENT {
            return Ok(Self { protocol: next, at: ip + IPV6_HEADER, length });
        }
        let inner: u8 = read(ip + IPV6_HEADER, 0)?;
        let fragment: u16 = read(ip + IPV6_HEADER, 2)?;
        if u16::from_be(fragment) & FRAG_OFF6 != 0 {
            return Err(Skip::NotOurs);
        }
        let length = length.saturating_sub(FRAGMENT_HEADER as u32);
        Ok(Self { protocol: inner, at: ip + IPV6_HEADER + FRAGMENT_HEADER, length })
    }
}

/// Writes both ends, out of the IP header at `ip` and the ports.
#[inline(always)]
pub fn flow_to(ip: u64, protocol: u8, sport: u16, dport: u16, flow: &mut Flow) -> Result<(), Skip> {
    flow.sport = sport;
    flow.dport = dport;
    flow.protocol = protocol;
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
