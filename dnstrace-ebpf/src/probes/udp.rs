//! DNS messages over UDP, where they leave and reach a socket.
//!
//! `ip_send_skb`, `ip6_send_skb` and `skb_consume_udp` see the finished datagram in kernel memory, in the
//! task that sends or receives it, for every way of sending (sendto, sendmsg, sendmmsg, write, io_uring) and
//! of receiving. Checked on 5.10 to 7.2.

use aya_ebpf::{
    helpers::bpf_ktime_get_ns,
    macros::{kprobe, map},
    maps::{LruHashMap, PerCpuArray},
    programs::ProbeContext,
};
use dnstrace_ebpf::{
    config::Hook,
    wire::{MAX_PAYLOAD, MessageEvent, RECEIVED, SENT, kind, message_flag},
};

use super::{
    kernel::{IPPROTO_UDP, SkBuff, Skip, Sock, current_to, flow_to, watched},
    ring::{Record, WHOLE, count, header},
    send::note_sent,
    target::{remember, wanted},
    totals::total,
};

/// One record under construction a CPU. kprobe programs do not interrupt each other on a CPU.
#[map]
static MESSAGE: PerCpuArray<Record<MessageEvent, WHOLE>> = PerCpuArray::with_max_entries(1, 0);

/// When and where a packet was put into a socket's buffer.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Arrival {
    pub time_ns: u64,
    /// `skb->head` and the ports: an address may be another packet's by the time it is looked up.
    head: u64,
    ports: (u16, u16),
    pub netns: u32,
}

/// DNS packets in sockets' buffers, by the address of their `struct sk_buff`. The oldest goes when it is full: then the
/// wait of its message is not told.
#[map]
static ARRIVALS: LruHashMap<u64, Arrival> = LruHashMap::with_max_entries(65_536, 0);

/// `int ip_send_skb(struct net *net, struct sk_buff *skb)`, net/ipv4/ip_output.c, 5.10 to 7.2.
#[kprobe]
pub fn ip_send_skb(ctx: ProbeContext) -> u32 {
    count(&ctx, Hook::IpSendSkb, try_send(ctx.arg(1), Hook::IpSendSkb))
}

/// `int ip6_send_skb(struct sk_buff *skb)`, net/ipv6/ip6_output.c, 5.10 to 7.2.
#[kprobe]
pub fn ip6_send_skb(ctx: ProbeContext) -> u32 {
    count(&ctx, Hook::Ip6SendSkb, try_send(ctx.arg(0), Hook::Ip6SendSkb))
}

/// `void skb_consume_udp(struct sock *sk, struct sk_buff *skb, int len)`, net/ipv4/udp.c, 5.10 to 7.2.
#[kprobe]
pub fn skb_consume_udp(ctx: ProbeContext) -> u32 {
    count(&ctx, Hook::SkbConsumeUdp, try_consume(&ctx))
}

/// `int __udp_enqueue_schedule_skb(struct sock *sk, struct sk_buff *skb)`, net/ipv4/udp.c, 5.10 to 7.2: IPv6 as well.
/// It may still refuse the packet, which is then dropped at once.
#[kprobe]
pub fn udp_enqueue(ctx: ProbeContext) -> u32 {
    count(&ctx, Hook::UdpEnqueue, try_enqueue(&ctx))
}

#[inline(always)]
fn try_enqueue(ctx: &ProbeContext) -> Result<(), Skip> {
    let sock = Sock(ctx.arg(0).ok_or(Skip::NotOurs)?);
    let skb = SkBuff(ctx.arg(1).ok_or(Skip::NotOurs)?);
    let (sport, dport) = skb.udp_ports()?;
    if !watched(sport) && !watched(dport) {
        return Err(Skip::NotOurs);
    }
    // SAFETY: a helper without arguments.
    let time_ns = unsafe { bpf_ktime_get_ns() };
    let arrival = Arrival { time_ns, head: skb.head()?, ports: (sport, dport), netns: sock.netns()? };
    _ = ARRIVALS.insert(skb.0, arrival, 0);
    Err(Skip::NotOurs)
}

/// The arrival of a packet that leaves its socket's buffer now, if there was one.
#[inline(always)]
pub fn take_arrival(skb: SkBuff) -> Option<Arrival> {
    // SAFETY: only the packet's owner writes its entry, and that is who calls.
    let arrival = unsafe { ARRIVALS.get(skb.0) }.copied()?;
    _ = ARRIVALS.remove(skb.0);
    let is_same = skb.head() == Ok(arrival.head) && skb.udp_ports() == Ok(arrival.ports);
    is_same.then_some(arrival)
}

#[inline(always)]
fn try_send(skb: Option<u64>, hook: Hook) -> Result<(), Skip> {
    let skb = SkBuff(skb.ok_or(Skip::NotOurs)?);
    let sock = skb.sock()?;
    if sock.protocol()? != u16::from(IPPROTO_UDP) {
        return Err(Skip::NotOurs);
    }
    let netns = sock.netns()?;
    total(netns, |totals| match hook {
        Hook::Ip6SendSkb => totals.udp6_sent += 1,
        _ => totals.udp_sent += 1,
    });
    write_message(skb, sock, netns, SENT, hook)
}

#[inline(always)]
fn try_consume(ctx: &ProbeContext) -> Result<(), Skip> {
    let sock = Sock(ctx.arg(0).ok_or(Skip::NotOurs)?);
    let skb = SkBuff(ctx.arg(1).ok_or(Skip::NotOurs)?);
    let length: i32 = ctx.arg(2).ok_or(Skip::NotOurs)?;
    // A look without taking (MSG_PEEK) comes with a negative length; the packet will come by again.
    if length < 0 {
        return Err(Skip::NotOurs);
    }
    let netns = sock.netns()?;
    total(netns, |totals| totals.udp_received += 1);
    write_message(skb, sock, netns, RECEIVED, Hook::SkbConsumeUdp)
}

/// Writes the datagram in `skb` as a message of the current task.
#[inline(always)]
fn write_message(skb: SkBuff, sock: Sock, netns: u32, direction: u8, hook: Hook) -> Result<(), Skip> {
    let datagram = skb.datagram()?;
    let arrival = if direction == RECEIVED { take_arrival(skb) } else { None };
    let record = MESSAGE.get_ptr_mut(0).ok_or(Skip::Unreadable)?;
    // SAFETY: this CPU's own slot, and no other kprobe program runs on this CPU meanwhile.
    let record = unsafe { &mut *record };
    let cgroup = current_to(&mut record.head.task)?;
    if !wanted(&record.head.task, cgroup, netns)? {
        return Err(Skip::Unwanted);
    }
    flow_to(datagram.ip_header(), datagram.sport, datagram.dport, &mut record.head.flow)?;
    remember(&record.head.flow);
    record.head.header = header(kind::MESSAGE, hook);
    if direction == SENT {
        note_sent(sock, record.head.header.time_ns);
    }
    record.head.arrived_ns = arrival.map_or(0, |arrival| arrival.time_ns);
    record.head.sock = sock.0;
    record.head.netns = netns;
    record.head.direction = direction;
    record.head.segment = datagram.segment;
    record.head.length = datagram.length;
    let captured = record.copy_payload(datagram.payload, datagram.linear);
    record.head.flags = flags(captured, datagram.linear, datagram.length, datagram.segment);
    record.head.captured = captured;
    record.output(captured)
}

/// See [`message_flag`].
#[inline(always)]
fn flags(captured: u32, linear: u32, length: u32, segment: u16) -> u8 {
    let mut flags = 0;
    if linear < length && linear < MAX_PAYLOAD as u32 {
        flags |= message_flag::NONLINEAR;
    }
    if captured == 0 && linear != 0 {
        flags |= message_flag::UNREADABLE;
    }
    if segment != 0 {
        flags |= message_flag::SEGMENTED;
    }
    flags
}
