//! Messages that the kernel refuses to send: `udp_sendmsg` and `udpv6_sendmsg`, entry and return.
//!
//! Where the packet was built before the refusal (dropped by a rule, or at insertion into connection tracking, in the
//! sender's own namespace) its message has been written by `udp`, and the record here says what became of it. Where it
//! was not (no route) the record brings the message out of the program's memory.

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid,
    macros::map,
    maps::{LruHashMap, PerCpuArray},
};
use dnstrace_ebpf::{
    config::Hook,
    wire::{Flow, SENT, SendFailureEvent, kind, message_flag},
};

use super::{
    entry::{Arguments, Returned, at_entry, at_return},
    kernel::{Message, Skip, Sock, current_to, watched},
    ring::{Record, WHOLE, header},
    target::wanted,
};

/// A system call under way.
#[repr(C)]
#[derive(Clone, Copy)]
struct Call {
    sock: u64,
    /// When its message was written: 0, not yet.
    sent_ns: u64,
    /// Where the program has the message, and its length.
    base: u64,
    length: u64,
    /// Both ends as the program gave them.
    flow: Flow,
}

/// System calls under way, by thread. A thread is in one at a time (`udpv6_sendmsg` calls `udp_sendmsg` for v4-mapped
/// addresses: that one tells).
#[map]
static CALLS: LruHashMap<u64, Call> = LruHashMap::with_max_entries(16_384, 0);

/// Under construction: one a CPU for each program, see [`slot`].
#[map]
static SEND_FAILURE: PerCpuArray<Record<SendFailureEvent, WHOLE>> = PerCpuArray::with_max_entries(2, 0);
#[map]
static CALL: PerCpuArray<Call> = PerCpuArray::with_max_entries(2, 0);

/// Of the two functions' programs.
#[inline(always)]
fn slot(hook: Hook) -> u32 {
    u32::from(hook as u32 == Hook::Udpv6Sendmsg as u32)
}

at_entry!(
    /// `int udp_sendmsg(struct sock *sk, struct msghdr *msg, size_t len)`, net/ipv4/udp.c, 5.10 to 7.2.
    udp_sendmsg,
    udp_sendmsg_fentry,
    Hook::UdpSendmsg,
    |ctx| try_enter(ctx, Hook::UdpSendmsg)
);

at_return!(
    /// Its return: bytes, or a negative errno.
    udp_sendmsg_return,
    udp_sendmsg_fexit,
    Hook::UdpSendmsg,
    |ctx| try_return(ctx, Hook::UdpSendmsg)
);

at_entry!(
    /// `int udpv6_sendmsg(struct sock *sk, struct msghdr *msg, size_t len)`, net/ipv6/udp.c, 5.10 to 7.2.
    udpv6_sendmsg,
    udpv6_sendmsg_fentry,
    Hook::Udpv6Sendmsg,
    |ctx| try_enter(ctx, Hook::Udpv6Sendmsg)
);

at_return!(
    /// Its return.
    udpv6_sendmsg_return,
    udpv6_sendmsg_fexit,
    Hook::Udpv6Sendmsg,
    |ctx| try_return(ctx, Hook::Udpv6Sendmsg)
);

/// Arguments of both functions.
const ARGUMENTS: usize = 3;

/// Notes that the current thread's call has built its packet, written as the message of this time.
#[inline(always)]
pub fn note_sent(sock: Sock, time_ns: u64) {
    let thread = bpf_get_current_pid_tgid();
    if let Some(call) = CALLS.get_ptr_mut(thread) {
        // SAFETY: only the thread itself writes its entry.
        let call = unsafe { &mut *call };
        if call.sock == sock.0 {
            call.sent_ns = time_ns;
        }
    }
}

/// Where the current thread has the message that it is sending from this socket, and its length; (0, 0) if it is sending
/// none that is watched.
#[inline(always)]
pub fn being_sent(sock: Sock) -> (u64, u64) {
    // SAFETY: only the thread itself writes its entry.
    match unsafe { CALLS.get(bpf_get_current_pid_tgid()) } {
        Some(call) if call.sock == sock.0 => (call.base, call.length),
        _ => (0, 0),
    }
}

#[inline(always)]
fn try_enter(ctx: &impl Arguments, hook: Hook) -> Result<(), Skip> {
    let sock = Sock(ctx.argument(0));
    let message = Message(ctx.argument(1));
    let thread = bpf_get_current_pid_tgid();
    if !watched(sock.local_port()?) && !watched(message.port_to(sock)?) {
        // Left behind by a call whose return was missed: this one's return must not take it for its own.
        // SAFETY: only the thread itself writes its entry.
        if unsafe { CALLS.get(thread) }.is_some() {
            _ = CALLS.remove(thread);
        }
        return Err(Skip::NotOurs);
    }
    let call = CALL.get_ptr_mut(slot(hook)).ok_or(Skip::Unreadable)?;
    // SAFETY: this CPU's slot of this program.
    let call = unsafe { &mut *call };
    sock.flow_to(&mut call.flow)?;
    message.destination_to(&mut call.flow)?;
    (call.base, call.length) = message.buffers()?.first()?;
    call.sock = sock.0;
    call.sent_ns = 0;
    // A full LRU map forgets another call: should that one fail, it is not told.
    let call: &Call = call;
    _ = CALLS.insert(thread, call, 0);
    Err(Skip::NotOurs)
}

#[inline(always)]
fn try_return(ctx: &impl Returned, hook: Hook) -> Result<(), Skip> {
    let thread = bpf_get_current_pid_tgid();
    // SAFETY: only the thread itself writes its entry.
    let call = unsafe { CALLS.get(thread) }.ok_or(Skip::NotOurs)?;
    let returned = ctx.returned(ARGUMENTS) as i32;
    let written =
        if returned < 0 { write_failure(call, returned.unsigned_abs(), hook) } else { Err(Skip::NotOurs) };
    _ = CALLS.remove(thread);
    written
}

#[inline(always)]
fn write_failure(call: &Call, errno: u32, hook: Hook) -> Result<(), Skip> {
    let record = SEND_FAILURE.get_ptr_mut(slot(hook)).ok_or(Skip::Unreadable)?;
    // SAFETY: this CPU's slot of this program.
    let record = unsafe { &mut *record };
    let sock = Sock(call.sock);
    let netns = sock.netns()?;
    let cgroup = current_to(&mut record.head.message.task)?;
    if !wanted(&record.head.message.task, cgroup, netns)? {
        return Err(Skip::Unwanted);
    }
    let unsent = call.sent_ns == 0;
    let captured = if unsent { record.copy_user_payload(call.base, call.length as u32) } else { 0 };
    record.head.errno = errno;
    record.head.sent_ns = call.sent_ns;
    record.head.reserved = 0;
    let message = &mut record.head.message;
    message.header = header(kind::SEND_FAILURE, hook);
    message.sock = call.sock;
    message.netns = netns;
    message.direction = SENT;
    message.flags = if unsent && captured == 0 { message_flag::UNREADABLE } else { 0 };
    message.segment = 0;
    message.flow = call.flow;
    message.arrived_ns = 0;
    message.length = call.length as u32;
    message.captured = captured;
    record.output(captured)
}
