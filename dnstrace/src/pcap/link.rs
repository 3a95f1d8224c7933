//! From the link's header to the IP packet behind it.

use etherparse::{EtherType, Ethernet2HeaderSlice, SingleVlanHeaderSlice, ether_type};

use super::interface::LinkType;

/// Address families of a loopback's header: AF_INET; AF_INET6 of Linux, NetBSD and OpenBSD, FreeBSD, macOS.
const FAMILIES: [u32; 5] = [2, 10, 24, 28, 30];

/// What is behind a link's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried<'a> {
    /// An IP packet, most likely.
    Ip(&'a [u8]),
    /// Something else: ARP, for example.
    Other,
    /// The packet was cut off before that could be told.
    CutOff,
}

/// What a packet of such a link carries.
pub fn carried(link: LinkType, data: &[u8]) -> Carried<'_> {
    match link {
        LinkType::ETHERNET => match Ethernet2HeaderSlice::from_slice(data) {
            Ok(header) => behind(header.ether_type(), data.get(header.slice().len()..)),
            Err(_) => Carried::CutOff,
        },
        LinkType::LINUX_SLL => cooked(data, 14..16, 16),
        LinkType::LINUX_SLL2 => cooked(data, 0..2, 20),
        LinkType::NULL | LinkType::LOOP => loopback(data),
        LinkType::RAW | LinkType::RAW_BSD | LinkType::RAW_OPENBSD | LinkType::IPV4 | LinkType::IPV6 => {
            Carried::Ip(data)
        }
        _ => Carried::Other,
    }
}

/// Linux cooked: a header of so many bytes with the protocol somewhere in it.
fn cooked(data: &[u8], protocol: std::ops::Range<usize>, header: usize) -> Carried<'_> {
    let protocol = data.get(protocol).and_then(|bytes| <[u8; 2]>::try_from(bytes).ok());
    match protocol {
        Some(protocol) => behind(EtherType(u16::from_be_bytes(protocol)), data.get(header..)),
        None => Carried::CutOff,
    }
}

/// A loopback's header is an address family, in whichever byte order.
fn loopback(data: &[u8]) -> Carried<'_> {
    let Some((family, packet)) = data.split_first_chunk::<4>() else { return Carried::CutOff };
    let is_ip =
        FAMILIES.contains(&u32::from_be_bytes(*family)) || FAMILIES.contains(&u32::from_le_bytes(*family));
    if is_ip { Carried::Ip(packet) } else { Carried::Other }
}

/// What is behind a header that says `kind`, and behind the VLAN tags that follow it.
fn behind(mut kind: EtherType, mut data: Option<&[u8]>) -> Carried<'_> {
    loop {
        let Some(rest) = data else { return Carried::CutOff };
        match kind {
            ether_type::IPV4 | ether_type::IPV6 => return Carried::Ip(rest),
            ether_type::VLAN_TAGGED_FRAME
            | ether_type::PROVIDER_BRIDGING
            | ether_type::VLAN_DOUBLE_TAGGED_FRAME => match SingleVlanHeaderSlice::from_slice(rest) {
                Ok(tag) => (kind, data) = (tag.ether_type(), rest.get(tag.slice().len()..)),
                Err(_) => return Carried::CutOff,
            },
            _ => return Carried::Other,
        }
    }
}
