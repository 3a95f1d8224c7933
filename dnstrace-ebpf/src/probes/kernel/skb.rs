//! Packets in memory.

use dnstrace_ebpf::config::ABSENT;

use super::{Conn, Skip, Sock, TransportPacket, netns_inum, offset, packet::UDP_HEADER, read, watched};

/// `struct sk_buff *`
#[derive(Clone, Copy)]
pub struct SkBuff(pub u64);

/// Where the parts of a UDP datagram at a socket lie in memory.
pub struct Datagram {
    /// `skb->head`
    pub head: u64,
    pub sport: u16,
    pub dport: u16,
    /// Offset of the IP header from `head`.
    pub network: u16,
    /// Address of the first byte of payload.
    pub payload: u64,
    /// Bytes of payload.
    pub length: u32,
    /// Bytes of it that follow each other from `payload` on (the packet's linear part).
    pub linear: u32,
    /// `gso_size`: bytes of each message where the packet holds several, else 0.
    pub segment: u16,
}

/// `ETH_P_IP`
const ETH_P_IP: u16 = 0x0800;
/// `ETH_P_IPV6`
const ETH_P_IPV6: u16 = 0x86dd;

/// A packet's connection tracking word, `skb->_nfct`: the address of its `struct nf_conn` and, in the low bits, an
/// `enum ip_conntrack_info`.
#[derive(Clone, Copy)]
pub struct Tracking(u64);

impl Tracking {
    /// Address of the `struct nf_conn`; 0: none.
    pub fn conn(self) -> u64 {
        self.0 & !7
    }

    /// `enum ip_conntrack_info`: below 3 the original direction, then replies; 7 untracked.
    pub fn info(self) -> u32 {
        (self.0 & 7) as u32
    }
}

impl SkBuff {
    /// `skb->sk`
    #[inline(always)]
    pub fn sock(self) -> Result<Sock, Skip> {
        let sock: u64 = read(self.0, offset!(skb_sk))?;
        if sock == 0 { Err(Skip::NotOurs) } else { Ok(Sock(sock)) }
    }

    /// `skb->_nfct`. A kernel without it, or without BTF of what it points to, has no connection tracking for us.
    #[inline(always)]
    pub fn tracking(self) -> Result<Tracking, Skip> {
        if offset!(skb_nfct) == ABSENT as usize {
            return Err(Skip::NotOurs);
        }
        read(self.0, offset!(skb_nfct)).map(Tracking)
    }

    /// `dev_net(skb->dev)->ns.inum`; 0 if there is no device, or none that can be read: a packet in a UDP socket's
    /// buffer keeps something else in its place.
    #[inline(always)]
    pub fn device_netns(self) -> u32 {
        let Ok(dev) = read::<u64>(self.0, offset!(skb_dev)) else { return 0 };
        if dev == 0 {
            return 0;
        }
        read(dev, offset!(dev_net)).and_then(netns_inum).unwrap_or(0)
    }

    /// Network namespace: the device's, else that of the socket it belongs to; 0 if neither tells.
    #[inline(always)]
    pub fn netns(self) -> u32 {
        match self.device_netns() {
            0 => self.sock().and_then(Sock::netns).unwrap_or(0),
            netns => netns,
        }
    }

    /// `skb->head`
    #[inline(always)]
    pub fn head(self) -> Result<u64, Skip> {
        read(self.0, offset!(skb_head))
    }

    /// Source and destination port of the UDP header that `transport_header` points to, CPU order.
    #[inline(always)]
    pub fn udp_ports(self) -> Result<(u16, u16), Skip> {
        let head = self.head()?;
        let transport: u16 = read(self.0, offset!(skb_transport_header))?;
        let ports: [u8; 4] = read(head, usize::from(transport))?;
        Ok((u16::from_be_bytes([ports[0], ports[1]]), u16::from_be_bytes([ports[2], ports[3]])))
    }

    /// The UDP datagram of this packet, whose `transport_header` is set, if one of its ports is watched.
    ///
    /// True of `ip_send_skb` (data at the IP header) and of `skb_consume_udp` (data at the payload): offsets
    /// are taken from the head, so both give the same.
    #[inline(always)]
    pub fn datagram(self) -> Result<Datagram, Skip> {
        let (sport, dport) = self.udp_ports()?;
        if !watched(sport) && !watched(dport) {
            return Err(Skip::NotOurs);
        }
        let head = self.head()?;
        let transport: u16 = read(self.0, offset!(skb_transport_header))?;
        let network: u16 = read(self.0, offset!(skb_network_header))?;
        let data: u64 = read(self.0, offset!(skb_data))?;
        let total: u32 = read(self.0, offset!(skb_len))?;
        let nonlinear: u32 = read(self.0, offset!(skb_data_len))?;
        let payload = head + u64::from(transport) + u64::from(UDP_HEADER);
        let before = payload.wrapping_sub(data) as u32;
        let length = total.saturating_sub(before);
        let end: u32 = read(self.0, offset!(skb_end))?;
        let segment: u16 = read(head + u64::from(end), offset!(shinfo_gso_size))?;
        let linear = length.saturating_sub(nonlinear);
        Ok(Datagram { head, sport, dport, network, payload, length, linear, segment })
    }

    /// Address behind the last byte of the packet's linear part.
    #[inline(always)]
    fn linear_end(self) -> Result<u64, Skip> {
        let data: u64 = read(self.0, offset!(skb_data))?;
        let total: u32 = read(self.0, offset!(skb_len))?;
        let nonlinear: u32 = read(self.0, offset!(skb_data_len))?;
        Ok(data + u64::from(total.saturating_sub(nonlinear)))
    }

    /// The packet whose IP header `network_header` points to, wherever in the stack, if one of its ports is watched, now
    /// or before translation. The transport header is found through the IP header: on the way in and through, nobody
    /// may have set `transport_header` yet.
    #[inline(always)]
    pub fn packet(self) -> Result<TransportPacket, Skip> {
        let protocol: u16 = read(self.0, offset!(skb_protocol))?;
        let protocol = u16::from_be(protocol);
        if protocol != ETH_P_IP && protocol != ETH_P_IPV6 {
            return Err(Skip::NotOurs);
        }
        let head = self.head()?;
        let network: u16 = read(self.0, offset!(skb_network_header))?;
        let packet = TransportPacket::at(head + u64::from(network))?;
        if !packet.is_dns() && !self.is_of_dns_entry() {
            return Err(Skip::NotOurs);
        }
        Ok(packet.ends_at(self.linear_end()?))
    }

    /// Whether the packet belongs to an entry of connection tracking that is DNS: behind a Service its ports may be
    /// others (53 to 5353).
    #[inline(always)]
    fn is_of_dns_entry(self) -> bool {
        match self.tracking() {
            Ok(tracking) if tracking.conn() != 0 => Conn(tracking.conn()).is_dns().unwrap_or(false),
            _ => false,
        }
    }

    /// The packet whose IP header `skb->data` points to: one inside an ICMP error. Likewise.
    #[inline(always)]
    pub fn inner_packet(self) -> Result<TransportPacket, Skip> {
        let data: u64 = read(self.0, offset!(skb_data))?;
        let packet = TransportPacket::at(data)?;
        if !packet.is_dns() {
            return Err(Skip::NotOurs);
        }
        Ok(packet.ends_at(self.linear_end()?))
    }

    /// Type and code of the ICMP header that `transport_header` points to.
    #[inline(always)]
    pub fn icmp(self) -> Result<(u8, u8), Skip> {
        let head = self.head()?;
        let transport: u16 = read(self.0, offset!(skb_transport_header))?;
        let [kind, code]: [u8; 2] = read(head, usize::from(transport))?;
        Ok((kind, code))
    }
}

impl Datagram {
    /// The IP header's address, for [`super::flow_to`].
    #[inline(always)]
    pub fn ip_header(&self) -> u64 {
        self.head + u64::from(self.network)
    }
}
