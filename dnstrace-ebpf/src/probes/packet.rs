//! What records of packets on their way have in common.

use dnstrace_ebpf::wire::Packet;

use super::{
    kernel::{Conn, SkBuff, Skip, TransportPacket},
    ring::{EXCERPT, Record},
};

/// Writes headers and connection of the packet in `skb`, seen in `netns`. Payload is [`excerpt`]'s business.
#[inline(always)]
pub fn describe(skb: SkBuff, packet: &TransportPacket, netns: u32, to: &mut Packet) -> Result<(), Skip> {
    packet.flow_to(&mut to.flow)?;
    to.netns = netns;
    to.tcp = packet.tcp;
    to.length = packet.length;
    to.captured = 0;
    to.ctinfo = 0;
    to.connection.ct = 0;
    // A kernel without connection tracking has no such field.
    let Ok(tracking) = skb.tracking() else { return Ok(()) };
    to.ctinfo = tracking.info();
    if tracking.conn() != 0 {
        // A template (`nf_ct_tmpl_alloc`) has empty tuples: userspace makes nothing of it.
        Conn(tracking.conn()).connection_to(&mut to.connection)?;
    }
    Ok(())
}

/// Copies the beginning of the payload. Returns how many bytes: [`Packet::captured`].
#[inline(always)]
pub fn excerpt<H>(packet: &TransportPacket, record: &mut Record<H, EXCERPT>) -> u32 {
    record.copy_payload(packet.payload, packet.linear)
}
