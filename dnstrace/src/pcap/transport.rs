//! UDP, TCP and ICMP: what of an IP packet is of concern here, if anything is.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use etherparse::{IpNumber, TcpHeaderSlice, UdpHeaderSlice, ip_number};

use crate::event::{Direction, Flow, Icmp, IcmpError, KernelTime, Packet, TcpHead, Tracking, Transport};

use super::{Watch, ip};

const UDP_HEADER: u32 = 8;
/// Of an error message, before the packet that it is about.
const ICMP_HEADER: usize = 8;

/// What a packet of concern carries.
#[derive(Clone, Debug, PartialEq)]
pub enum Carries {
    /// Payload as captured, and how long it was.
    Datagram {
        flow: Flow,
        payload: Bytes,
        length: u32,
    },
    Segment(Segment),
    Error(Box<Icmp>),
}

/// A TCP segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    pub flow: Flow,
    pub head: TcpHead,
    /// Sequence number that the sender expects next, if it says so.
    pub acknowledges: Option<u32>,
    /// As captured: the first ones of `length`, or all.
    pub payload: Bytes,
    pub length: u32,
}

/// What was made of an IP packet.
#[derive(Clone, Debug, PartialEq)]
pub enum Read {
    Wanted(Carries),
    /// Of other ports, or of another protocol.
    Unwanted,
    /// It was cut off before that could be told, or contradicts itself.
    Unreadable,
}

/// Reads what is behind the headers of an IP packet at `time`: `data` is as much of it as was captured, of `length` bytes.
pub fn read(
    time: KernelTime,
    (source, destination): (IpAddr, IpAddr),
    (protocol, data, length): (IpNumber, &[u8], u32),
    watch: &Watch,
) -> Read {
    let transport = match protocol {
        ip_number::UDP => Transport::Udp,
        ip_number::TCP => Transport::Tcp,
        ip_number::ICMP | ip_number::IPV6_ICMP => return error(time, protocol, data, watch),
        _ => return Read::Unwanted,
    };
    let Some(ports) = data.first_chunk::<4>() else { return Read::Unreadable };
    let flow = flow((source, destination), *ports, transport);
    if !watch.wants(&flow) {
        return Read::Unwanted;
    }
    let carries = match transport {
        Transport::Udp => datagram(flow, data),
        Transport::Tcp => segment(flow, data, length),
    };
    carries.map_or(Read::Unreadable, Read::Wanted)
}

fn flow((source, destination): (IpAddr, IpAddr), ports: [u8; 4], transport: Transport) -> Flow {
    let [a, b, c, d] = ports;
    Flow {
        source: SocketAddr::new(source, u16::from_be_bytes([a, b])),
        destination: SocketAddr::new(destination, u16::from_be_bytes([c, d])),
        transport,
    }
}

fn datagram(flow: Flow, data: &[u8]) -> Option<Carries> {
    let header = UdpHeaderSlice::from_slice(data).ok()?;
    let length = u32::from(header.length()).checked_sub(UDP_HEADER)?;
    let payload = data.get(header.slice().len()..)?;
    let payload = payload.get(..usize::try_from(length).ok()?).unwrap_or(payload);
    Some(Carries::Datagram { flow, payload: Bytes::copy_from_slice(payload), length })
}

fn segment(flow: Flow, data: &[u8], length: u32) -> Option<Carries> {
    let header = TcpHeaderSlice::from_slice(data).ok()?;
    let payload = data.get(header.slice().len()..)?;
    let length = length.checked_sub(u32::try_from(header.slice().len()).ok()?)?;
    Some(Carries::Segment(Segment {
        flow,
        head: head(&header),
        acknowledges: header.ack().then(|| header.acknowledgment_number()),
        payload: Bytes::copy_from_slice(payload),
        length,
    }))
}

fn head(header: &TcpHeaderSlice<'_>) -> TcpHead {
    TcpHead {
        seq: header.sequence_number(),
        syn: header.syn(),
        ack: header.ack(),
        fin: header.fin(),
        rst: header.rst(),
    }
}

/// An ICMP error about a packet of concern.
fn error(time: KernelTime, protocol: IpNumber, data: &[u8], watch: &Watch) -> Read {
    let (Some([kind, code]), Some(about)) = (data.first_chunk::<2>().copied(), data.get(ICMP_HEADER..))
    else {
        return Read::Unwanted;
    };
    let error = match (protocol, kind) {
        // Unreachable, source quench, redirect, time exceeded, parameter problem.
        (ip_number::ICMP, 3..=5 | 11 | 12) => IcmpError::V4 { kind, code },
        // All below 128 are errors (RFC 4443, 2.1).
        (ip_number::IPV6_ICMP, 0..=127) => IcmpError::V6 { kind, code },
        _ => return Read::Unwanted,
    };
    match about_packet(about, watch) {
        Some((packet, is_from_client)) => {
            // It comes to who sent the packet: of a query that is the client, of an answer the server.
            let direction = if is_from_client { Direction::Received } else { Direction::Sent };
            Read::Wanted(Carries::Error(Box::new(Icmp { time, packet, direction, error })))
        }
        None => Read::Unwanted,
    }
}

/// The packet that an ICMP error is about, as much as that quotes of it, and whether a client sent it.
fn about_packet(quoted: &[u8], watch: &Watch) -> Option<(Packet, bool)> {
    let packet = ip::read(quoted, u32::try_from(quoted.len()).ok()?)?;
    let transport = match packet.protocol {
        ip_number::UDP => Transport::Udp,
        ip_number::TCP => Transport::Tcp,
        _ => return None,
    };
    if packet.fragment.is_some_and(|fragment| fragment.offset.value() != 0) {
        return None;
    }
    let flow = flow((packet.source, packet.destination), *packet.payload.first_chunk()?, transport);
    if !watch.wants(&flow) {
        return None;
    }
    let (tcp, header) = match transport {
        Transport::Udp => (None, usize::try_from(UDP_HEADER).ok()?),
        Transport::Tcp => match TcpHeaderSlice::from_slice(packet.payload) {
            Ok(header) => (Some(head(&header)), header.slice().len()),
            // Eight bytes of it, as RFC 792 asks for.
            Err(_) => {
                let seq = u32::from_be_bytes(*packet.payload.get(4..)?.first_chunk()?);
                let head = TcpHead { seq, syn: false, ack: false, fin: false, rst: false };
                (Some(head), packet.payload.len())
            }
        },
    };
    let payload = Bytes::copy_from_slice(packet.payload.get(header..).unwrap_or_default());
    let length = packet.length.saturating_sub(u32::try_from(header).ok()?);
    let is_from_client = watch.is_from_client(&flow, &payload);
    let packet = Packet {
        flow,
        netns: None,
        tracking: Tracking::None,
        tcp,
        length: length.max(u32::try_from(payload.len()).ok()?),
        payload,
    };
    Some((packet, is_from_client))
}
