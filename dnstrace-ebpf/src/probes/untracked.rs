//! Queries that arrive at their socket without connection tracking (NOTRACK, as NodeLocal DNSCache has it): nothing is
//! inserted for them, which is told where insertion would be.

use aya_ebpf::{macros::map, maps::PerCpuArray};
use dnstrace_ebpf::{
    config::Hook,
    wire::{ConfirmEvent, Flow, confirm, kind},
};

use super::{
    entry::{Arguments, at_entry},
    kernel::{SkBuff, Skip, watched},
    packet::{describe, excerpt},
    ring::{EXCERPT, Record, header},
    target::packet_wanted,
};

/// A record under construction.
#[repr(C)]
struct Work {
    record: Record<ConfirmEvent, EXCERPT>,
    scratch: Flow,
}

/// One a CPU for each program.
#[map]
static UNTRACKED: PerCpuArray<Work> = PerCpuArray::with_max_entries(2, 0);

/// `IP_CT_UNTRACKED`
const IP_CT_UNTRACKED: u32 = 7;

at_entry!(
    /// `int __udp4_lib_rcv(struct sk_buff *skb, struct udp_table *udptable, int proto)`, net/ipv4/udp.c, 5.10 to 6.18, and
    /// `int udp_rcv(struct sk_buff *skb)`, which 7.2 has alone: the packet still has what connection tracking gave it.
    udp4_receive,
    udp4_receive_fentry,
    Hook::Udp4Receive,
    |ctx| try_receive(ctx, 0, Hook::Udp4Receive)
);

at_entry!(
    /// `int __udp6_lib_rcv(struct sk_buff *skb, struct udp_table *udptable, int proto)`, net/ipv6/udp.c, 5.10 to 6.18, and
    /// `udpv6_rcv` on 7.2: likewise.
    udp6_receive,
    udp6_receive_fentry,
    Hook::Udp6Receive,
    |ctx| try_receive(ctx, 1, Hook::Udp6Receive)
);

/// Writes a query that arrives untracked; all else has had its insertion.
#[inline(always)]
fn try_receive(ctx: &impl Arguments, slot: u32, hook: Hook) -> Result<(), Skip> {
    let skb = SkBuff(ctx.argument(0));
    let tracking = skb.tracking().map_err(|_| Skip::NotOurs)?;
    if tracking.conn() != 0 || tracking.info() != IP_CT_UNTRACKED {
        return Err(Skip::NotOurs);
    }
    let packet = skb.packet().map_err(|_| Skip::NotOurs)?;
    if !watched(packet.dport) {
        return Err(Skip::NotOurs);
    }
    let work = UNTRACKED.get_ptr_mut(slot).ok_or(Skip::Unreadable)?;
    // SAFETY: this CPU's slot of this program.
    let work = unsafe { &mut *work };
    let head = &mut work.record.head;
    describe(skb, &packet, skb.netns(), &mut head.packet)?;
    if !packet_wanted(&head.packet, &mut work.scratch) {
        return Err(Skip::Unwanted);
    }
    head.header = header(kind::CONFIRM, hook);
    head.began_ns = head.header.time_ns;
    head.ct_after = 0;
    head.result = confirm::UNTRACKED;
    head.reserved = [0; 7];
    let captured = excerpt(&packet, &mut work.record);
    work.record.head.packet.captured = captured;
    work.record.output(captured)
}
