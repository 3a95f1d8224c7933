//! IP packets, whole or in fragments.

use std::net::IpAddr;

use etherparse::{IpFragOffset, IpNumber, Ipv6ExtensionSlice, LaxIpSlice};

/// An IP packet as it was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpPacket<'a> {
    pub source: IpAddr,
    pub destination: IpAddr,
    /// What it carries.
    pub protocol: IpNumber,
    /// The identification of IPv4, or of the fragment header of IPv6; else 0.
    pub id: u32,
    /// Of a fragment: its place.
    pub fragment: Option<Fragment>,
    /// What was captured of what it carries.
    pub payload: &'a [u8],
    /// Bytes of what it carries. (Where the kernel captured a packet before it was given its length, as many as are there.)
    pub length: u32,
}

/// The place of a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    pub offset: IpFragOffset,
    pub more: bool,
}

impl IpPacket<'_> {
    /// Whether some of it was not captured.
    pub fn is_cut_off(&self) -> bool {
        usize::try_from(self.length).is_ok_and(|length| self.payload.len() < length)
    }
}

/// Reads an IP packet, `length` bytes long on the wire; none if it is none, or was cut off within its headers.
pub fn read(data: &[u8], length: u32) -> Option<IpPacket<'_>> {
    // What stopped it before the payload is a broken extension header.
    let (slice, None) = LaxIpSlice::from_slice(data).ok()? else { return None };
    let (source, destination) = (slice.source_addr(), slice.destination_addr());
    let (protocol, payload) = (slice.payload().ip_number, slice.payload().payload);
    let read = match &slice {
        LaxIpSlice::Ipv4(v4) => {
            let header = v4.header();
            let headers = header.slice().len() + v4.extensions().auth.map_or(0, |auth| auth.slice().len());
            let fragment = header
                .is_fragmenting_payload()
                .then(|| Fragment { offset: header.fragments_offset(), more: header.more_fragments() });
            (u32::from(header.identification()), fragment, headers, u32::from(header.total_len()))
        }
        LaxIpSlice::Ipv6(v6) => {
            let (id, fragment) = fragment_of(v6.extensions().clone());
            let base = v6.header().slice().len();
            let total = match v6.header().payload_length() {
                0 => 0,
                length => u32::from(length).saturating_add(u32::try_from(base).ok()?),
            };
            (id, fragment, base + v6.extensions().slice().len(), total)
        }
    };
    let (id, fragment, headers, total) = read;
    let headers = u32::try_from(headers).ok()?;
    let captured = u32::try_from(payload.len()).ok()?;
    // Segmentation offload: no length yet.
    let whole = if total < headers { length } else { total };
    let length = whole.saturating_sub(headers).max(captured);
    Some(IpPacket { source, destination, protocol, id, fragment, payload, length })
}

/// The fragment header of IPv6, if there is one.
fn fragment_of(extensions: etherparse::Ipv6ExtensionsSlice<'_>) -> (u32, Option<Fragment>) {
    let header = extensions.into_iter().find_map(|extension| match extension {
        Ipv6ExtensionSlice::Fragment(fragment) => Some(fragment.to_header()),
        _ => None,
    });
    let Some(header) = header else { return (0, None) };
    // An atomic fragment (RFC 6946) is whole.
    let is_part = header.more_fragments || header.fragment_offset.value() != 0;
    let fragment =
        is_part.then_some(Fragment { offset: header.fragment_offset, more: header.more_fragments });
    (header.identification, fragment)
}
