//! Where DNS packets die.

use aya_ebpf::{
    EbpfContext as _,
    helpers::generated::bpf_get_stack,
    macros::{map, raw_tracepoint},
    maps::PerCpuArray,
    programs::RawTracePointContext,
};
use dnstrace_ebpf::{
    config::Hook,
    wire::{DropEvent, Flow, MAX_FRAMES, NO_REASON, kind},
};

use super::{
    conntrack::take_table_full,
    kernel::{IPPROTO_UDP, SkBuff, Skip, TransportPacket, config},
    packet::{describe, excerpt},
    ring::{EXCERPT, Record, count, header},
    target::packet_wanted,
    udp::take_arrival,
};

/// A record under construction.
#[repr(C)]
struct Work {
    record: Record<DropEvent, EXCERPT>,
    scratch: Flow,
}

/// Two a CPU: unlike a kprobe's, the program may be interrupted by a softirq in which the tracepoint fires again. Since
/// 6.1 the kernel skips that inner run (and counts it in the program's `recursion_misses`).
#[map]
static DROP: PerCpuArray<Work> = PerCpuArray::with_max_entries(DEPTH, 0);
const DEPTH: u32 = 2;

/// How many programs of this hook are under way on this CPU.
#[map]
static BUSY: PerCpuArray<u32> = PerCpuArray::with_max_entries(1, 0);

/// `TRACE_EVENT(kfree_skb, TP_PROTO(struct sk_buff *skb, void *location, enum skb_drop_reason reason, struct sock
/// *rx_sk))`, include/trace/events/skb.h: the reason since 5.17, the socket since 6.11.
#[raw_tracepoint(tracepoint = "kfree_skb")]
pub fn kfree_skb(ctx: RawTracePointContext) -> i32 {
    // Whatever packet it was that found the table full: its time has come.
    let table_full = take_table_full();
    let skb = SkBuff(ctx.arg(0));
    // What has no readable headers is no DNS packet.
    let Ok(packet) = skb.packet() else { return 0 };
    if !packet.matters() {
        return 0;
    }
    let Some(busy) = BUSY.get_ptr_mut(0) else { return 0 };
    // SAFETY: this CPU's own slot; who interrupts puts it back as it was.
    let depth = unsafe { *busy };
    // SAFETY: likewise.
    unsafe { *busy = depth + 1 };
    let written = write_drop(&ctx, skb, &packet, depth, table_full);
    // SAFETY: likewise.
    unsafe { *busy = depth };
    count(&ctx, Hook::KfreeSkb, written) as i32
}

#[inline(always)]
fn write_drop(
    ctx: &RawTracePointContext,
    skb: SkBuff,
    packet: &TransportPacket,
    depth: u32,
    table_full: bool,
) -> Result<(), Skip> {
    let work = DROP.get_ptr_mut(depth).ok_or(Skip::Unreadable)?;
    // SAFETY: this CPU's slot of this depth.
    let work = unsafe { &mut *work };
    let head = &mut work.record.head;
    let arrival = if packet.protocol == IPPROTO_UDP { take_arrival(skb) } else { None };
    let netns = match arrival {
        Some(arrival) => arrival.netns,
        None => skb.netns(),
    };
    describe(skb, packet, netns, &mut head.packet)?;
    if !packet_wanted(&head.packet, &mut work.scratch) {
        return Err(Skip::Unwanted);
    }
    head.header = header(kind::DROP, Hook::KfreeSkb);
    head.arrived_ns = arrival.map_or(0, |arrival| arrival.time_ns);
    head.location = ctx.arg(1);
    head.reason = if config!(drop_reasons) != 0 { ctx.arg::<u64>(2) as u32 } else { NO_REASON };
    // Who found no room has no entry.
    head.table_full = u32::from(table_full && head.packet.connection.ct == 0);
    head.frames = [0; MAX_FRAMES];
    // SAFETY: the destination has the size that is given; the helper writes whole frames and returns their bytes.
    // Without them the place in netfilter is not told: no reason to lose the record.
    unsafe {
        bpf_get_stack(ctx.as_ptr(), head.frames.as_mut_ptr().cast(), size_of::<[u64; MAX_FRAMES]>() as u32, 0)
    };
    let captured = excerpt(packet, &mut work.record);
    work.record.head.packet.captured = captured;
    work.record.output(captured)
}
