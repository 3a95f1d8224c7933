//! What becomes of a flow's first packet at insertion into connection tracking, and who is thrown out of a full table.
//!
//! All in net/netfilter/nf_conntrack_core.c, a module in all distribution kernels. Checked on 5.10 to 7.2.

use aya_ebpf::{
    helpers::bpf_ktime_get_ns,
    macros::{kprobe, kretprobe, map},
    maps::{LruHashMap, PerCpuArray},
    programs::{ProbeContext, RetProbeContext},
};
use dnstrace_ebpf::{
    config::Hook,
    wire::{ClashEvent, ConfirmEvent, EvictionEvent, confirm, kind},
};

use super::{
    kernel::{CONFIRMED, Conn, NAT_CLASH, SkBuff, Skip, TupleHash, call_at_entry, call_at_return},
    packet::{describe, excerpt},
    ring::{EXCERPT, Record, count, header, output},
    target::{flow_wanted, packet_wanted, remember, reverse_to},
    totals::total,
};

/// An insertion under way.
#[repr(C)]
#[derive(Clone, Copy)]
struct Pending {
    skb: u64,
    ct: u64,
    began_ns: u64,
    netns: u32,
    /// 1: a DNS packet that is wanted; the rest is in `CONFIRMING`.
    wanted: u32,
}

/// Insertions under way, by the function's call ([`call_at_entry`]). What a missed return leaves behind goes first.
#[map]
static PENDING: LruHashMap<u64, Pending> = LruHashMap::with_max_entries(4096, 0);

/// The records of those that are wanted, likewise.
#[map]
static CONFIRMING: LruHashMap<u64, ConfirmEvent> = LruHashMap::with_max_entries(1024, 0);

/// One record of each kind under construction a CPU. kprobe programs do not interrupt each other on a CPU.
#[map]
static CONFIRM: PerCpuArray<Record<ConfirmEvent, EXCERPT>> = PerCpuArray::with_max_entries(1, 0);
#[map]
static CLASH: PerCpuArray<ClashEvent> = PerCpuArray::with_max_entries(1, 0);
#[map]
static EVICTION: PerCpuArray<EvictionEvent> = PerCpuArray::with_max_entries(1, 0);

/// A CPU's search for an entry to throw out.
#[repr(C)]
#[derive(Clone, Copy)]
struct Search {
    /// When the search under way began; 0: none is.
    began_ns: u64,
    /// When a search ended without success: the table is full; 0 once the packet it was for has been found.
    failed_ns: u64,
}

#[map]
static SEARCH: PerCpuArray<Search> = PerCpuArray::with_max_entries(1, 0);

/// An insertion or a search takes microseconds. What is older is left over from a return that was missed.
const STALE_NS: u64 = 200_000_000;
/// `IP_CT_IS_REPLY`: from here on a packet is of the reply direction, and nothing is inserted.
const IP_CT_IS_REPLY: u32 = 3;

/// `int __nf_conntrack_confirm(struct sk_buff *skb)`
#[kprobe]
pub fn nf_conntrack_confirm(ctx: ProbeContext) -> u32 {
    count(&ctx, Hook::Confirm, try_confirm(&ctx))
}

/// Its return: the verdict.
#[kretprobe]
pub fn nf_conntrack_confirm_return(ctx: RetProbeContext) -> u32 {
    count(&ctx, Hook::Confirm, try_confirm_return(&ctx))
}

/// `static int nf_ct_resolve_clash(struct sk_buff *skb, struct nf_conntrack_tuple_hash *h, u32 reply_hash)`, since
/// 5.7; a third parameter of another kind before.
#[kprobe]
pub fn nf_ct_resolve_clash(ctx: ProbeContext) -> u32 {
    count(&ctx, Hook::ResolveClash, try_clash(&ctx))
}

/// `static noinline int early_drop(struct net *net, unsigned int hash)`: called when the table is full.
#[kprobe]
pub fn early_drop(ctx: ProbeContext) -> u32 {
    _ = ctx;
    if let Some(search) = SEARCH.get_ptr_mut(0) {
        // SAFETY: this CPU's own slot; a helper without arguments.
        unsafe { (*search).began_ns = bpf_ktime_get_ns() };
    }
    0
}

/// Its return: whether an entry was thrown out.
#[kretprobe]
pub fn early_drop_return(ctx: RetProbeContext) -> u32 {
    let evicted: u64 = ctx.ret();
    if let Some(search) = SEARCH.get_ptr_mut(0) {
        // SAFETY: as above.
        let (search, now) = unsafe { (&mut *search, bpf_ktime_get_ns()) };
        search.began_ns = 0;
        // `bool` up to 5.x, `int` since: the low byte holds both.
        search.failed_ns = if evicted & 0xff == 0 { now } else { 0 };
    }
    0
}

/// `bool nf_ct_delete(struct nf_conn *ct, u32 portid, int report)`
#[kprobe]
pub fn nf_ct_delete(ctx: ProbeContext) -> u32 {
    count(&ctx, Hook::CtDelete, try_delete(&ctx))
}

#[inline(always)]
fn try_confirm(ctx: &ProbeContext) -> Result<(), Skip> {
    let skb = SkBuff(ctx.arg(0).ok_or(Skip::NotOurs)?);
    let tracking = skb.tracking()?;
    let conn = Conn(tracking.conn());
    if conn.0 == 0 || tracking.info() >= IP_CT_IS_REPLY {
        return Err(Skip::NotOurs);
    }
    let key = call_at_entry(ctx);
    // SAFETY: a helper without arguments.
    let began_ns = unsafe { bpf_ktime_get_ns() };
    let netns = conn.netns()?;
    let told = if conn.is_dns()? { describe_confirm(skb, netns, key, began_ns) } else { Err(Skip::NotOurs) };
    let pending = Pending { skb: skb.0, ct: conn.0, began_ns, netns, wanted: u32::from(told == Ok(())) };
    PENDING.insert(key, pending, 0).map_err(|_| Skip::Unreadable)?;
    // What is told is counted at the return.
    told.and(Err(Skip::NotOurs))
}

/// Fills the record of a wanted DNS packet, for the return.
#[inline(always)]
fn describe_confirm(skb: SkBuff, netns: u32, key: u64, began_ns: u64) -> Result<(), Skip> {
    let record = CONFIRM.get_ptr_mut(0).ok_or(Skip::Unreadable)?;
    // SAFETY: this CPU's own slot, and no other kprobe program runs on this CPU meanwhile.
    let head = unsafe { &mut (*record).head };
    let packet = skb.packet()?;
    describe(skb, &packet, netns, &mut head.packet)?;
    // The answer will come from the reply tuple's source: what is not translated back is known by it.
    let clash = CLASH.get_ptr_mut(0).ok_or(Skip::Unreadable)?;
    // SAFETY: as above; here it is only room for a flow.
    let scratch = unsafe { &mut (*clash).winner.original };
    if !packet_wanted(&head.packet, scratch) {
        return Err(Skip::Unwanted);
    }
    reverse_to(&head.packet.connection.reply, scratch);
    remember(scratch);
    head.began_ns = began_ns;
    // By reference: the stack has no room for a copy.
    let head: &ConfirmEvent = head;
    CONFIRMING.insert(key, head, 0).map_err(|_| Skip::Unreadable)
}

#[inline(always)]
fn try_confirm_return(ctx: &RetProbeContext) -> Result<(), Skip> {
    let key = call_at_return(ctx);
    // SAFETY: only this call, whose stack it is, writes or removes the value.
    let pending = unsafe { PENDING.get(key) }.copied().ok_or(Skip::NotOurs)?;
    _ = PENDING.remove(key);
    let verdict: u64 = ctx.ret();
    let result = match judge(&pending, verdict as u32) {
        Ok(result) => result,
        Err(why) => {
            _ = CONFIRMING.remove(key);
            return Err(why);
        }
    };
    total(pending.netns, |totals| match result.what {
        confirm::MERGED | confirm::REPLY_ONLY => totals.clashes_resolved += 1,
        confirm::FAILED => totals.insert_failed += 1,
        _ => {}
    });
    if pending.wanted == 0 {
        return Err(Skip::NotOurs);
    }
    let written = write_confirm(&pending, key, result);
    _ = CONFIRMING.remove(key);
    written
}

/// An insertion's result: see [`confirm`].
#[derive(Clone, Copy)]
struct Judgement {
    what: u8,
    ct_after: u64,
}

/// Compares the packet's entry and its status after the function with before.
#[inline(always)]
fn judge(pending: &Pending, verdict: u32) -> Result<Judgement, Skip> {
    /// `NF_DROP` in the low byte; the rest may hold an errno.
    const VERDICT_MASK: u32 = 0xff;
    // SAFETY: a helper without arguments.
    let age = unsafe { bpf_ktime_get_ns() }.saturating_sub(pending.began_ns);
    let ct_after = SkBuff(pending.skb).tracking()?.conn();
    let status = Conn(ct_after).status().unwrap_or(0);
    let what = if age > STALE_NS {
        confirm::UNKNOWN
    } else if verdict & VERDICT_MASK == 0 {
        confirm::FAILED
    } else if ct_after != pending.ct {
        confirm::MERGED
    } else if status & NAT_CLASH != 0 {
        confirm::REPLY_ONLY
    } else if status & CONFIRMED != 0 {
        confirm::INSERTED
    } else {
        confirm::UNKNOWN
    };
    Ok(Judgement { what, ct_after })
}

#[inline(always)]
fn write_confirm(pending: &Pending, key: u64, result: Judgement) -> Result<(), Skip> {
    let record = CONFIRM.get_ptr_mut(0).ok_or(Skip::Unreadable)?;
    // SAFETY: this CPU's own slot, and no other kprobe program runs on this CPU meanwhile.
    let record = unsafe { &mut *record };
    // SAFETY: only this call, whose stack it is, writes or removes the value.
    record.head = *unsafe { CONFIRMING.get(key) }.ok_or(Skip::Unreadable)?;
    record.head.header = header(kind::CONFIRM, Hook::Confirm);
    record.head.ct_after = result.ct_after;
    record.head.result = result.what;
    record.head.reserved = [0; 7];
    let packet = SkBuff(pending.skb).packet()?;
    let captured = excerpt(&packet, record);
    record.head.packet.captured = captured;
    record.output(captured)
}

#[inline(always)]
fn try_clash(ctx: &ProbeContext) -> Result<(), Skip> {
    let skb = SkBuff(ctx.arg(0).ok_or(Skip::NotOurs)?);
    let winner = TupleHash(ctx.arg(1).ok_or(Skip::NotOurs)?);
    let loser = Conn(skb.tracking()?.conn());
    if !loser.is_dns()? {
        return Err(Skip::NotOurs);
    }
    let record = CLASH.get_ptr_mut(0).ok_or(Skip::Unreadable)?;
    // SAFETY: this CPU's own slot, and no other kprobe program runs on this CPU meanwhile.
    let record = unsafe { &mut *record };
    winner.conn()?.connection_to(&mut record.winner)?;
    record.header = header(kind::CLASH, Hook::ResolveClash);
    record.loser = loser.0;
    output(record)
}

#[inline(always)]
fn try_delete(ctx: &ProbeContext) -> Result<(), Skip> {
    let search = SEARCH.get_ptr_mut(0).ok_or(Skip::NotOurs)?;
    // SAFETY: this CPU's own slot; a helper without arguments.
    let (began, now) = unsafe { ((*search).began_ns, bpf_ktime_get_ns()) };
    if began == 0 || now.saturating_sub(began) > STALE_NS {
        return Err(Skip::NotOurs);
    }
    let victim = Conn(ctx.arg(0).ok_or(Skip::NotOurs)?);
    // The search removes expired entries as well: nobody waits for those.
    if !victim.is_dns()? || victim.is_expired()? {
        return Err(Skip::NotOurs);
    }
    let record = EVICTION.get_ptr_mut(0).ok_or(Skip::Unreadable)?;
    // SAFETY: this CPU's own slot, and no other kprobe program runs on this CPU meanwhile.
    let record = unsafe { &mut *record };
    victim.connection_to(&mut record.victim)?;
    record.netns = victim.netns()?;
    if !flow_wanted(&record.victim.original, record.netns) {
        return Err(Skip::Unwanted);
    }
    record.header = header(kind::EVICTION, Hook::CtDelete);
    record.reserved = 0;
    output(record)
}

/// Whether this CPU found the table full a moment ago: then for the packet that is dropped now. Tells so once.
#[inline(always)]
pub fn take_table_full() -> bool {
    let Some(search) = SEARCH.get_ptr_mut(0) else { return false };
    // SAFETY: this CPU's own slot; a helper without arguments.
    let (search, now) = unsafe { (&mut *search, bpf_ktime_get_ns()) };
    if search.failed_ns == 0 {
        return false;
    }
    let age = now.saturating_sub(search.failed_ns);
    search.failed_ns = 0;
    age < STALE_NS
}
