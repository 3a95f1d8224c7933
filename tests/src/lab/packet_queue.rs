//! Packets held in the node's netfilter between NAT and the confirmation of their conntrack entry, and let go in an
//! order of the test's choice: what on a real node needs two CPUs and luck.

use std::{
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddrV4},
    sync::atomic::{AtomicU16, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nfq::{Message, Queue, Verdict};

use super::rules::{NftTable, Place};

/// How long a packet may take to get into the queue.
const PATIENCE: Duration = Duration::from_secs(20);
/// Stands for the client's port while a packet goes back into the kernel; nobody uses it (tcpmux).
const MASK: u16 = 1;

/// Holds the datagrams that one client port sends. Dropped, it lets go what it still holds.
#[derive(Debug)]
pub struct PacketQueue {
    // Dropped in this order: the kernel drops what is held by a table that goes.
    held: Held,
    table: NftTable<'static>,
    client: SocketAddrV4,
}

struct Held {
    number: u16,
    queue: Queue,
    messages: Vec<Message>,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").field("number", &self.number).field("messages", &self.messages).finish()
    }
}

/// A held datagram with its addresses after NAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldPacket {
    pub source: SocketAddrV4,
    pub destination: SocketAddrV4,
    /// The DNS message's id.
    pub id: u16,
}

impl PacketQueue {
    /// Holds what comes from this client (its own address, before NAT) from now on.
    pub fn hold(client: SocketAddrV4) -> Result<Self> {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut queue = Queue::open().context("no NFQUEUE")?;
        queue.bind(number).context("cannot bind an NFQUEUE")?;
        queue.set_nonblocking(true);
        let (address, port) = (client.ip(), client.port());
        // After NAT at 100; the entry is confirmed at the hook's very end.
        let table = NftTable::load(
            Place::Node,
            &format!("hold{number}"),
            &format!(
                "chain hold {{ type filter hook postrouting priority 110;
                   meta l4proto udp ct original ip saddr {address} ct original proto-src {port} queue num {number}
                 }}
                 chain unmask {{ type filter hook postrouting priority 120;
                   ip saddr {address} udp sport {MASK} udp sport set {port}
                 }}"
            ),
        )?;
        Ok(Self { held: Held { number, queue, messages: Vec::new() }, table, client })
    }

    /// Waits until it holds so many packets, and returns them in the order they came.
    pub fn wait_for(&mut self, count: usize) -> Result<Vec<HeldPacket>> {
        let started = Instant::now();
        while self.held.messages.len() < count {
            let held = self.held.messages.len();
            ensure!(started.elapsed() < PATIENCE, "{held} packets of {} held, not {count}", self.client);
            if !self.held.receive()? {
                thread::sleep(Duration::from_millis(5));
            }
        }
        self.held.messages.iter().map(|message| parse(message.get_payload())).collect()
    }

    /// Holds no more packets; those it holds stay.
    pub fn hold_no_more(&self) -> Result<()> {
        self.table.empty_chain("hold")
    }

    /// Lets the packet with this DNS id go on its way.
    pub fn release(&mut self, id: u16) -> Result<()> {
        let message = self.take(id)?;
        self.held.accept(message)
    }

    /// As [`Self::release`], hidden from a look at the conntrack table.
    ///
    /// Up to some kernel after 6.1, `nf_conntrack_update` looks a packet up again when it leaves the queue, and gives
    /// it the entry that another packet of the same flow has put there meanwhile: nothing is left to clash. So the
    /// packet goes back with another source port, which a rule behind the queue sets right.
    pub fn release_unseen(&mut self, id: u16) -> Result<()> {
        let mut message = self.take(id)?;
        let at = header_length(message.get_payload())?;
        let header = message.get_payload_mut().get_mut(at..at + 8).context("no UDP header")?;
        let [port, checksum] = [[header[0], header[1]], [header[6], header[7]]].map(u16::from_be_bytes);
        header[..2].copy_from_slice(&MASK.to_be_bytes());
        header[6..8].copy_from_slice(&updated(checksum, port, MASK).to_be_bytes());
        self.held.accept(message)
    }

    fn take(&mut self, id: u16) -> Result<Message> {
        let has_id = |message: &Message| parse(message.get_payload()).is_ok_and(|packet| packet.id == id);
        let index = self.held.messages.iter().position(has_id);
        Ok(self.held.messages.remove(index.with_context(|| format!("no packet with id {id} is held"))?))
    }
}

impl Held {
    /// Takes one packet in, if there is one.
    fn receive(&mut self) -> Result<bool> {
        match self.queue.recv() {
            Ok(message) => self.messages.push(message),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error).context("cannot read an NFQUEUE"),
        }
        Ok(true)
    }

    fn accept(&mut self, mut message: Message) -> Result<()> {
        message.set_verdict(Verdict::Accept);
        self.queue.verdict(message).context("no verdict on a held packet")
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // The kernel drops what is in a queue that closes.
        while self.receive().is_ok_and(|received| received) {}
        for message in std::mem::take(&mut self.messages) {
            if let Err(error) = self.accept(message) {
                eprintln!("a held packet is lost: {error:#}");
            }
        }
    }
}

fn parse(packet: &[u8]) -> Result<HeldPacket> {
    let field = |at: usize| -> Result<u16> {
        let bytes = packet.get(at..at + 2).context("a packet too short for DNS")?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    };
    let address = |at: usize| -> Result<Ipv4Addr> {
        let [high, low] = [field(at)?, field(at + 2)?];
        Ok(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
    };
    let udp = header_length(packet)?;
    Ok(HeldPacket {
        source: SocketAddrV4::new(address(12)?, field(udp)?),
        destination: SocketAddrV4::new(address(16)?, field(udp + 2)?),
        id: field(udp + 8)?,
    })
}

/// A checksum after one of the 16-bit words below it has changed (RFC 1624).
fn updated(checksum: u16, before: u16, after: u16) -> u16 {
    let sum = u32::from(!checksum) + u32::from(!before) + u32::from(after);
    let folded = (sum & 0xffff) + (sum >> 16);
    !(((folded & 0xffff) + (folded >> 16)) as u16)
}

/// The length of an IPv4 header.
fn header_length(packet: &[u8]) -> Result<usize> {
    Ok(usize::from(packet.first().context("an empty packet")? & 0xf) * 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_updated_as_in_rfc_1624() {
        assert_eq!(updated(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    #[test]
    fn a_held_packet_is_read() {
        let mut packet =
            b"\x45\x00\x00\x20\x00\x00\x00\x00\x40\x11\x00\x00\x0a\xf4\x01\x02\x0a\x60\x00\x0a".to_vec();
        packet.extend(b"\x9c\x41\x00\x35\x00\x0c\x00\x00\x12\x34\x01\x00");
        let held = HeldPacket {
            source: "10.244.1.2:40001".parse().unwrap(),
            destination: "10.96.0.10:53".parse().unwrap(),
            id: 0x1234,
        };
        assert_eq!(parse(&packet).unwrap(), held);
        assert!((0..packet.len() - 2).all(|length| parse(&packet[..length]).is_err()));
    }
}
