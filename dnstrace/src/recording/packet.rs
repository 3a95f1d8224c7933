//! A message at a socket as the packet that it was, or might have been: its addresses, ports and payload are those of the
//! message, the rest of the headers is made up. Of TCP each message is one segment.

use std::net::IpAddr;

use etherparse::{IpNumber, Ipv4Header, Ipv6Header, TcpHeader, UdpHeader};

use crate::event::{SocketMessage, Transport};

const HOP_LIMIT: u8 = 64;
const WINDOW: u16 = 65_535;
/// Payload of IP beyond which the header of IPv4 cannot say how long it is; the same for both.
const MOST: usize = 65_535 - Ipv4Header::MIN_LEN;

/// Sequence numbers of a TCP segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub seq: u32,
    pub ack: u32,
}

/// A packet from its IP header on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    /// As captured.
    pub bytes: Vec<u8>,
    /// Bytes that the packet had.
    pub length: u32,
}

/// The packet of a message. None if there can be none: its ends are of two families, as of one that was never sent.
pub fn build(seen: &SocketMessage, place: Place) -> Option<Raw> {
    let tcp = seen.flow.transport == Transport::Tcp;
    let header_length = if tcp { TcpHeader::MIN_LEN } else { UdpHeader::LEN };
    let mut payload = Vec::with_capacity(seen.payload.len() + 2);
    if tcp {
        payload.extend(u16::try_from(seen.length).unwrap_or(u16::MAX).to_be_bytes());
    }
    payload.extend_from_slice(&seen.payload);
    payload.truncate(MOST - header_length);
    let length = (seen.length as usize + 2 * usize::from(tcp)).clamp(payload.len(), MOST - header_length);
    let body = Body { payload: &payload, length, place };
    let mut bytes = match (seen.flow.source.ip(), seen.flow.destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let protocol = if tcp { IpNumber::TCP } else { IpNumber::UDP };
            let (source, destination) = (source.octets(), destination.octets());
            let length = u16::try_from(header_length + length).ok()?;
            let mut ip = Ipv4Header::new(length, HOP_LIMIT, protocol, source, destination).ok()?;
            ip.header_checksum = ip.calc_header_checksum();
            let mut bytes = ip.to_bytes().to_vec();
            bytes.extend(body.transport(seen, &Checksum::V4(source, destination))?);
            bytes
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let ip = Ipv6Header {
                payload_length: u16::try_from(header_length + length).ok()?,
                next_header: if tcp { IpNumber::TCP } else { IpNumber::UDP },
                hop_limit: HOP_LIMIT,
                source: source.octets(),
                destination: destination.octets(),
                ..Ipv6Header::default()
            };
            let mut bytes = ip.to_bytes().to_vec();
            bytes.extend(body.transport(seen, &Checksum::V6(source.octets(), destination.octets()))?);
            bytes
        }
        _ => return None,
    };
    let headers = bytes.len();
    bytes.extend_from_slice(&payload);
    Some(Raw { bytes, length: u32::try_from(headers + length).ok()? })
}

/// What a checksum is made over, beside the segment.
enum Checksum {
    V4([u8; 4], [u8; 4]),
    V6([u8; 16], [u8; 16]),
}

/// What follows the IP header.
struct Body<'a> {
    payload: &'a [u8],
    /// Bytes that the payload had.
    length: usize,
    place: Place,
}

impl Body<'_> {
    /// The header of UDP or TCP. Its checksum is right where the payload is whole.
    fn transport(&self, seen: &SocketMessage, checksum: &Checksum) -> Option<Vec<u8>> {
        let (source_port, destination_port) = (seen.flow.source.port(), seen.flow.destination.port());
        match seen.flow.transport {
            Transport::Udp => {
                let length = u16::try_from(UdpHeader::LEN + self.length).ok()?;
                let mut header = UdpHeader { source_port, destination_port, length, checksum: 0 };
                header.checksum = match checksum {
                    Checksum::V4(from, to) => header.calc_checksum_ipv4_raw(*from, *to, self.payload),
                    Checksum::V6(from, to) => header.calc_checksum_ipv6_raw(*from, *to, self.payload),
                }
                .ok()?;
                Some(header.to_bytes().to_vec())
            }
            Transport::Tcp => {
                let mut header = TcpHeader::new(source_port, destination_port, self.place.seq, WINDOW);
                header.ack = true;
                header.psh = true;
                header.acknowledgment_number = self.place.ack;
                header.checksum = match checksum {
                    Checksum::V4(from, to) => header.calc_checksum_ipv4_raw(*from, *to, self.payload),
                    Checksum::V6(from, to) => header.calc_checksum_ipv6_raw(*from, *to, self.payload),
                }
                .ok()?;
                Some(header.to_bytes().to_vec())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use etherparse::{NetHeaders, PacketHeaders, TransportHeader};

    use super::*;
    use crate::event::{Direction, Flow, KernelTime, Task};

    fn message(source: &str, destination: &str, transport: Transport, length: u32) -> SocketMessage {
        SocketMessage {
            time: KernelTime(1),
            direction: Direction::Sent,
            flow: Flow {
                source: source.parse().unwrap(),
                destination: destination.parse().unwrap(),
                transport,
            },
            socket: 1,
            netns: 7,
            task: Task { cgroup: 1, pid: 1, tid: 1, comm: "dig".into() },
            arrived: None,
            payload: Bytes::from_static(b"twelve bytes"),
            length,
            gap: None,
        }
    }

    /// Reads it back as a stranger would: the checksum must be that of what the headers and the payload say.
    fn read_back(raw: &Raw) -> (TransportHeader, Vec<u8>) {
        let packet = PacketHeaders::from_ip_slice(&raw.bytes).unwrap();
        let payload = packet.payload.slice().to_vec();
        let transport = packet.transport.unwrap();
        let (told, right) = match (&packet.net.unwrap(), &transport) {
            (NetHeaders::Ipv4(ip, _), TransportHeader::Udp(udp)) => {
                assert_eq!(ip.header_checksum, ip.calc_header_checksum());
                (udp.checksum, udp.calc_checksum_ipv4(ip, &payload).unwrap())
            }
            (NetHeaders::Ipv4(ip, _), TransportHeader::Tcp(tcp)) => {
                (tcp.checksum, tcp.calc_checksum_ipv4(ip, &payload).unwrap())
            }
            (NetHeaders::Ipv6(ip, _), TransportHeader::Udp(udp)) => {
                (udp.checksum, udp.calc_checksum_ipv6(ip, &payload).unwrap())
            }
            (NetHeaders::Ipv6(ip, _), TransportHeader::Tcp(tcp)) => {
                (tcp.checksum, tcp.calc_checksum_ipv6(ip, &payload).unwrap())
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(told, right);
        (transport, payload)
    }

    #[test]
    fn a_stranger_reads_the_message() {
        let ends = [("10.244.1.7:40000", "10.96.0.10:53"), ("[fd00::7]:40000", "[fd00::10]:53")];
        for (source, destination) in ends {
            let udp = build(&message(source, destination, Transport::Udp, 12), Place::default()).unwrap();
            let (TransportHeader::Udp(header), payload) = read_back(&udp) else { panic!("{udp:?}") };
            assert_eq!((header.source_port, header.destination_port, header.length), (40_000, 53, 20));
            assert_eq!((&payload[..], udp.length as usize), (&b"twelve bytes"[..], udp.bytes.len()));

            let place = Place { seq: 7, ack: 9 };
            let tcp = build(&message(source, destination, Transport::Tcp, 12), place).unwrap();
            let (TransportHeader::Tcp(header), payload) = read_back(&tcp) else { panic!("{tcp:?}") };
            assert_eq!((header.sequence_number, header.acknowledgment_number), (7, 9));
            assert_eq!(payload, b"\0\x0ctwelve bytes");
        }
    }

    #[test]
    fn what_was_not_captured_is_said_to_be_missing() {
        let cut =
            build(&message("10.0.0.1:1", "10.0.0.2:53", Transport::Udp, 500), Place::default()).unwrap();
        assert_eq!((cut.bytes.len(), cut.length), (20 + 8 + 12, 20 + 8 + 500));
        // Beyond what a header can say.
        for transport in [Transport::Udp, Transport::Tcp] {
            let huge = build(&message("10.0.0.1:1", "10.0.0.2:53", transport, u32::MAX), Place::default());
            assert_eq!(huge.unwrap().length, 65_535);
        }
        let none = message("10.0.0.1:1", "[::1]:53", Transport::Udp, 12);
        assert_eq!(build(&none, Place::default()), None);
    }
}
