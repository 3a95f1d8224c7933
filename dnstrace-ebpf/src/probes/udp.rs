//! DNS messages over UDP, where they leave and reach a socket.
//!
//! `ip_send_skb`, `ip6_send_skb` and `skb_consume_udp` see the finished datagram in kernel memory, in the
//! task that sends or receives it, for every way of sending (sendto, sendmsg, sendmmsg, write, io_uring) and
//! of receiving. Checked on 5.10 to 7.2.

use aya_ebpf::{
    helpers::bpf_ktime_get_ns,
    macros::map,
    maps::{LruHashMap, PerCpuArray},
};
use dnstrace_ebpf::{
    config::Hook,
    wire::{MAX_PAYLOAD, MessageEvent, RECEIVED, SENT, kind, message_flag},
};

use super::{
    entry::{Arguments, at_entry},
    kernel::{IPPROTO_UDP, Message, SkBuff, Skip, Sock, current_to, flow_to, watched},
    receive::{begin, under_way},
    ring::{Record, WHOLE, header},
    send::{being_sent, note_sent},
    target::{remember, wanted},
    totals::total,
};

/// Records under construction: one a CPU for each program, [`Hook::IpSendSkb`] to [`Hook::SkbConsumeUdp`].
#[map]
static MESSAGE: PerCpuArray<Record<MessageEvent, WHOLE>> = PerCpuArray::with_max_entries(3, 0);

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

at_entry!(
    /// `int ip_send_skb(struct net *net, struct sk_buff *skb)`, net/ipv4/ip_output.c, 5.10 to 7.2.
    ip_send_skb,
    ip_send_skb_fentry,
    Hook::IpSendSkb,
    |ctx| try_send(SkBuff(ctx.argument(1)), Hook::IpSendSkb)
);

at_entry!(
    /// `int ip6_send_skb(struct sk_buff *skb)`, net/ipv6/ip6_output.c, 5.10 to 7.2.
    ip6_send_skb,
    ip6_send_skb_fentry,
    Hook::Ip6SendSkb,
    |ctx| try_send(SkBuff(ctx.argument(0)), Hook::Ip6SendSkb)
);

at_entry!(
    /// `void skb_consume_udp(struct sock *sk, struct sk_buff *skb, int len)`, net/ipv4/udp.c, 5.10 to 7.2.
    skb_consume_udp,
    skb_consume_udp_fentry,
    Hook::SkbConsumeUdp,
    |ctx| try_consume(ctx)
);

at_entry!(
    /// `int __udp_enqueue_schedule_skb(struct sock *sk, struct sk_buff *skb)`, net/ipv4/udp.c, 5.10 to 7.2: IPv6 as well.
    /// It may still refuse the packet, which is then dropped at once.
    udp_enqueue,
    udp_enqueue_fentry,
    Hook::UdpEnqueue,
    |ctx| try_enqueue(ctx)
);

at_entry!(
    /// `int udp_recvmsg(struct sock *sk, struct msghdr *msg, size_t len, ...)`, net/ipv4/udp.c, 5.10 to 7.2.
    udp_recvmsg,
    udp_recvmsg_fentry,
    Hook::UdpRecvmsg,
    |ctx| try_begin(ctx)
);

at_entry!(
    /// `int udpv6_recvmsg(struct sock *sk, struct msghdr *msg, size_t len, ...)`, net/ipv6/udp.c, 5.10 to 7.2.
    udpv6_recvmsg,
    udpv6_recvmsg_fentry,
    Hook::Udpv6Recvmsg,
    |ctx| try_begin(ctx)
);

/// Notes where a datagram will be put, should it be DNS: what came in several pieces of memory is whole only there.
#[inline(always)]
fn try_begin(ctx: &impl Arguments) -> Result<(), Skip> {
    let sock = Sock(ctx.argument(0));
    let remote = sock.remote_port()?;
    // Who is not connected may receive from anybody.
    if remote != 0 && !watched(remote) && !watched(sock.local_port()?) {
        return Err(Skip::NotOurs);
    }
    begin(sock, Message(ctx.argument(1)).buffers()?, 0);
    Err(Skip::NotOurs)
}

#[inline(always)]
fn try_enqueue(ctx: &impl Arguments) -> Result<(), Skip> {
    let sock = Sock(ctx.argument(0));
    let skb = SkBuff(ctx.argument(1));
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
fn try_send(skb: SkBuff, hook: Hook) -> Result<(), Skip> {
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
fn try_consume(ctx: &impl Arguments) -> Result<(), Skip> {
    let sock = Sock(ctx.argument(0));
    let skb = SkBuff(ctx.argument(1));
    let length = ctx.argument(2) as i32;
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
    let record = MESSAGE.get_ptr_mut(hook as u32).ok_or(Skip::Unreadable)?;
    // SAFETY: this CPU's slot of this program.
    let record = unsafe { &mut *record };
    let cgroup = current_to(&mut record.head.task)?;
    if !wanted(&record.head.task, cgroup, netns)? {
        return Err(Skip::Unwanted);
    }
    let flow = &mut record.head.flow;
    flow_to(datagram.ip_header(), IPPROTO_UDP, datagram.sport, datagram.dport, flow)?;
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
    let mut captured = record.copy_payload(datagram.payload, datagram.linear);
    let mut readable = datagram.linear;
    if readable < datagram.length && readable < MAX_PAYLOAD as u32 {
        let (base, length) = memory_of_program(sock, direction, datagram.length);
        let whole = record.copy_user_payload(base, length);
        if whole > captured {
            captured = whole;
            readable = whole;
        } else {
            captured = record.copy_payload(datagram.payload, datagram.linear);
        }
    }
    record.head.flags = flags(captured, readable, datagram.length, datagram.segment);
    record.head.captured = captured;
    record.output(captured)
}

/// Where the current program has a datagram of this length that it has just sent or received, and how much of it lies
/// there in one piece; (0, 0) if that is not known.
#[inline(always)]
fn memory_of_program(sock: Sock, direction: u8, length: u32) -> (u64, u32) {
    let (base, room) = if direction == SENT {
        being_sent(sock)
    } else {
        under_way(sock).and_then(|receiving| receiving.buffers.first()).unwrap_or((0, 0))
    };
    // What is sent in several calls (MSG_MORE) is not all there.
    if direction == SENT && room != u64::from(length) {
        return (0, 0);
    }
    (base, if room < u64::from(length) { room as u32 } else { length })
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
