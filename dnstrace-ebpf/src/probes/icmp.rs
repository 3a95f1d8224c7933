//! ICMP errors about DNS packets, where they are sent and where they reach the socket's side.

use aya_ebpf::{macros::map, maps::PerCpuArray};
use dnstrace_ebpf::{
    config::Hook,
    wire::{Flow, IcmpEvent, RECEIVED, SENT, kind},
};

use super::{
    entry::{Arguments, at_entry},
    kernel::{SkBuff, Skip, TransportPacket},
    packet::{describe, excerpt},
    ring::{EXCERPT, Record, header},
    target::packet_wanted,
};

/// A record under construction.
#[repr(C)]
struct Work {
    record: Record<IcmpEvent, EXCERPT>,
    scratch: Flow,
}

/// One a CPU for each program, [`Hook::IcmpSend`] to [`Hook::Udp6Err`].
#[map]
static ICMP: PerCpuArray<Work> = PerCpuArray::with_max_entries(4, 0);

/// What an error says.
#[derive(Clone, Copy)]
struct Error {
    version: u8,
    direction: u8,
    icmp_type: u8,
    icmp_code: u8,
}

at_entry!(
    /// `void __icmp_send(struct sk_buff *skb_in, int type, int code, __be32 info, ...)`, net/ipv4/icmp.c, 5.10 to 7.2.
    /// The kernel may still think better of it (rate limit, no route back).
    icmp_send,
    icmp_send_fentry,
    Hook::IcmpSend,
    |ctx| try_send(ctx, 4, Hook::IcmpSend)
);

at_entry!(
    /// `void icmp6_send(struct sk_buff *skb, u8 type, u8 code, __u32 info, ...)`, net/ipv6/icmp.c, 5.10 to 7.2.
    icmp6_send,
    icmp6_send_fentry,
    Hook::Icmp6Send,
    |ctx| try_send(ctx, 6, Hook::Icmp6Send)
);

at_entry!(
    /// `int __udp4_lib_err(struct sk_buff *skb, u32 info, struct udp_table *udptable)`, net/ipv4/udp.c, 5.10 to 6.18, and
    /// `int udp_err(struct sk_buff *skb, u32 info)` on 7.2, which has no other: data at the IP header of the packet that
    /// the error is about.
    udp4_lib_err,
    udp4_lib_err_fentry,
    Hook::Udp4Err,
    |ctx| try_receive(ctx)
);

at_entry!(
    /// `int __udp6_lib_err(struct sk_buff *skb, struct inet6_skb_parm *opt, u8 type, u8 code, int offset, __be32 info,
    /// struct udp_table *udptable)`, net/ipv6/udp.c, 5.10 to 6.18, and `udpv6_err` without the table on 7.2: likewise.
    udp6_lib_err,
    udp6_lib_err_fentry,
    Hook::Udp6Err,
    |ctx| try_receive6(ctx)
);

#[inline(always)]
fn try_send(ctx: &impl Arguments, version: u8, hook: Hook) -> Result<(), Skip> {
    let skb = SkBuff(ctx.argument(0));
    let (icmp_type, icmp_code) = (ctx.argument(1), ctx.argument(2));
    let packet = skb.packet().map_err(|_| Skip::NotOurs)?;
    let error = Error { version, direction: SENT, icmp_type: icmp_type as u8, icmp_code: icmp_code as u8 };
    write_icmp(skb, &packet, error, hook)
}

#[inline(always)]
fn try_receive(ctx: &impl Arguments) -> Result<(), Skip> {
    let skb = SkBuff(ctx.argument(0));
    let packet = skb.inner_packet().map_err(|_| Skip::NotOurs)?;
    let (icmp_type, icmp_code) = skb.icmp()?;
    let error = Error { version: 4, direction: RECEIVED, icmp_type, icmp_code };
    write_icmp(skb, &packet, error, Hook::Udp4Err)
}

#[inline(always)]
fn try_receive6(ctx: &impl Arguments) -> Result<(), Skip> {
    let skb = SkBuff(ctx.argument(0));
    let (icmp_type, icmp_code) = (ctx.argument(2), ctx.argument(3));
    let packet = skb.inner_packet().map_err(|_| Skip::NotOurs)?;
    let error =
        Error { version: 6, direction: RECEIVED, icmp_type: icmp_type as u8, icmp_code: icmp_code as u8 };
    write_icmp(skb, &packet, error, Hook::Udp6Err)
}

#[inline(always)]
fn write_icmp(skb: SkBuff, packet: &TransportPacket, error: Error, hook: Hook) -> Result<(), Skip> {
    let work = ICMP.get_ptr_mut(hook as u32 - Hook::IcmpSend as u32).ok_or(Skip::Unreadable)?;
    // SAFETY: this CPU's slot of this program.
    let work = unsafe { &mut *work };
    let head = &mut work.record.head;
    describe(skb, packet, skb.netns(), &mut head.packet)?;
    if error.direction == RECEIVED {
        // The entry is of the ICMP packet, not of the one inside.
        head.packet.connection.ct = 0;
        head.packet.ctinfo = 0;
    }
    if !packet_wanted(&head.packet, &mut work.scratch) {
        return Err(Skip::Unwanted);
    }
    head.header = header(kind::ICMP, hook);
    head.version = error.version;
    head.direction = error.direction;
    head.icmp_type = error.icmp_type;
    head.icmp_code = error.icmp_code;
    head.reserved = 0;
    let captured = excerpt(packet, &mut work.record);
    work.record.head.packet.captured = captured;
    work.record.output(captured)
}
