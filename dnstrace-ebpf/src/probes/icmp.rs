//! ICMP errors about DNS packets, where they are sent and where they reach the socket's side.

use aya_ebpf::{
    macros::{kprobe, map},
    maps::PerCpuArray,
    programs::ProbeContext,
};
use dnstrace_ebpf::{
    config::Hook,
    wire::{Flow, IcmpEvent, RECEIVED, SENT, kind},
};

use super::{
    kernel::{SkBuff, Skip, UdpPacket},
    packet::{describe, excerpt},
    ring::{EXCERPT, Record, count, header},
    target::packet_wanted,
};

/// A record under construction.
#[repr(C)]
struct Work {
    record: Record<IcmpEvent, EXCERPT>,
    scratch: Flow,
}

/// One a CPU. kprobe programs do not interrupt each other on a CPU.
#[map]
static ICMP: PerCpuArray<Work> = PerCpuArray::with_max_entries(1, 0);

/// What an error says.
#[derive(Clone, Copy)]
struct Error {
    version: u8,
    direction: u8,
    icmp_type: u8,
    icmp_code: u8,
}

/// `void __icmp_send(struct sk_buff *skb_in, int type, int code, __be32 info, ...)`, net/ipv4/icmp.c, 5.10 to 7.2.
/// The kernel may still think better of it (rate limit, no route back).
#[kprobe]
pub fn icmp_send(ctx: ProbeContext) -> u32 {
    count(&ctx, Hook::IcmpSend, try_send(&ctx, 4, Hook::IcmpSend))
}

/// `void icmp6_send(struct sk_buff *skb, u8 type, u8 code, __u32 info, ...)`, net/ipv6/icmp.c, 5.10 to 7.2.
#[kprobe]
pub fn icmp6_send(ctx: ProbeContext) -> u32 {
    count(&ctx, Hook::Icmp6Send, try_send(&ctx, 6, Hook::Icmp6Send))
}

/// `int __udp4_lib_err(struct sk_buff *skb, u32 info, struct udp_table *udptable)`, net/ipv4/udp.c, 5.10 to 6.18, and
/// `int udp_err(struct sk_buff *skb, u32 info)` on 7.2, which has no other: data at the IP header of the packet that the
/// error is about.
#[kprobe]
pub fn udp4_lib_err(ctx: ProbeContext) -> u32 {
    count(&ctx, Hook::Udp4Err, try_receive(&ctx))
}

/// `int __udp6_lib_err(struct sk_buff *skb, struct inet6_skb_parm *opt, u8 type, u8 code, int offset, __be32 info,
/// struct udp_table *udptable)`, net/ipv6/udp.c, 5.10 to 6.18, and `udpv6_err` without the table on 7.2: likewise.
#[kprobe]
pub fn udp6_lib_err(ctx: ProbeContext) -> u32 {
    count(&ctx, Hook::Udp6Err, try_receive6(&ctx))
}

#[inline(always)]
fn try_send(ctx: &ProbeContext, version: u8, hook: Hook) -> Result<(), Skip> {
    let skb = SkBuff(ctx.arg(0).ok_or(Skip::NotOurs)?);
    let icmp_type: u64 = ctx.arg(1).ok_or(Skip::NotOurs)?;
    let icmp_code: u64 = ctx.arg(2).ok_or(Skip::NotOurs)?;
    let udp = skb.udp_packet().map_err(|_| Skip::NotOurs)?;
    let error = Error { version, direction: SENT, icmp_type: icmp_type as u8, icmp_code: icmp_code as u8 };
    write_icmp(skb, &udp, error, hook)
}

#[inline(always)]
fn try_receive(ctx: &ProbeContext) -> Result<(), Skip> {
    let skb = SkBuff(ctx.arg(0).ok_or(Skip::NotOurs)?);
    let udp = skb.inner_udp_packet().map_err(|_| Skip::NotOurs)?;
    let (icmp_type, icmp_code) = skb.icmp()?;
    let error = Error { version: 4, direction: RECEIVED, icmp_type, icmp_code };
    write_icmp(skb, &udp, error, Hook::Udp4Err)
}

#[inline(always)]
fn try_receive6(ctx: &ProbeContext) -> Result<(), Skip> {
    let skb = SkBuff(ctx.arg(0).ok_or(Skip::NotOurs)?);
    let icmp_type: u64 = ctx.arg(2).ok_or(Skip::NotOurs)?;
    let icmp_code: u64 = ctx.arg(3).ok_or(Skip::NotOurs)?;
    let udp = skb.inner_udp_packet().map_err(|_| Skip::NotOurs)?;
    let error =
        Error { version: 6, direction: RECEIVED, icmp_type: icmp_type as u8, icmp_code: icmp_code as u8 };
    write_icmp(skb, &udp, error, Hook::Udp6Err)
}

#[inline(always)]
fn write_icmp(skb: SkBuff, udp: &UdpPacket, error: Error, hook: Hook) -> Result<(), Skip> {
    let work = ICMP.get_ptr_mut(0).ok_or(Skip::Unreadable)?;
    // SAFETY: this CPU's own slot, and no other kprobe program runs on this CPU meanwhile.
    let work = unsafe { &mut *work };
    let head = &mut work.record.head;
    describe(skb, udp, skb.netns(), &mut head.packet)?;
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
    let captured = excerpt(udp, &mut work.record);
    work.record.head.packet.captured = captured;
    work.record.output(captured)
}
