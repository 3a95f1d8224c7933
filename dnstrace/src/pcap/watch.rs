//! Which packets are of concern, by their ports.

use std::net::SocketAddr;

use crate::event::{Flow, Transport};

/// DNS over TLS (RFC 7858).
const TLS: u16 = 853;
/// QR: the first bit of the third byte of a message (RFC 1035, 4.1.1).
const RESPONSE: (usize, u8) = (2, 0x80);

/// Which packets are of concern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// Ports that speak DNS over UDP and TCP.
    pub ports: Vec<u16>,
}

impl Watch {
    /// Whether a packet is to or from one of these ports.
    pub fn wants(&self, flow: &Flow) -> bool {
        self.is_dns(flow.source) || self.is_dns(flow.destination) || self.is_encrypted(flow)
    }

    /// Whether what the packet carries cannot be seen. A port that is said to speak plain DNS is taken at the user's word.
    pub fn is_encrypted(&self, flow: &Flow) -> bool {
        flow.transport == Transport::Tcp
            && !self.is_dns(flow.source)
            && !self.is_dns(flow.destination)
            && (flow.source.port() == TLS || flow.destination.port() == TLS)
    }

    /// Whether a client sent it: it goes to the port of a server. Where it comes from one, too (two servers, multicast DNS),
    /// the message itself tells.
    pub fn is_from_client(&self, flow: &Flow, message: &[u8]) -> bool {
        let (from_server, to_server) =
            (self.is_server(flow.source, flow), self.is_server(flow.destination, flow));
        if from_server && to_server {
            let (byte, bit) = RESPONSE;
            return message.get(byte).is_none_or(|flags| flags & bit == 0);
        }
        to_server
    }

    fn is_server(&self, end: SocketAddr, flow: &Flow) -> bool {
        self.is_dns(end) || (self.is_encrypted(flow) && end.port() == TLS)
    }

    fn is_dns(&self, end: SocketAddr) -> bool {
        self.ports.contains(&end.port())
    }
}
