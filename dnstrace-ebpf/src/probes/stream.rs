//! Bytes of TCP connections that carry DNS, at the sockets: in the task that sends or receives them, out of its own memory.
//!
//! What is sent is seen where the socket is locked and the next byte's sequence number is known. What is received is seen
//! when it has been copied to where the program wants it (`tcp_recvmsg` says where; `tcp_cleanup_rbuf` is called when a
//! part or all of it is there). Checked on 5.10 to 7.2.

use core::hint::black_box;

use aya_ebpf::{
    helpers::bpf_ktime_get_ns,
    macros::map,
    maps::{LruHashMap, PerCpuArray},
};
use dnstrace_ebpf::{
    config::Hook,
    wire::{Flow, MAX_PAYLOAD, RECEIVED, SENT, StreamEvent, kind, stream_flag},
};

use super::{
    entry::{Arguments, at_entry},
    kernel::{Buffers, Message, Skip, Sock, config, current_to, watched},
    receive::{begin, forget, under_way},
    ring::{Record, WHOLE, header},
    target::{remember, reverse_to, wanted},
};

/// Records under construction: one a CPU for each program that writes.
#[map]
static STREAM: PerCpuArray<Work> = PerCpuArray::with_max_entries(2, 0);
const SENDING: u32 = 0;
const CLEANING: u32 = 1;

#[repr(C)]
struct Work {
    record: Record<StreamEvent, WHOLE>,
    /// The connection as its socket has it, whatever the direction.
    flow: Flow,
    cursor: Cursor,
}

/// What one socket's program has made the capture read lately.
#[repr(C)]
#[derive(Clone, Copy)]
struct Budget {
    since_ns: u64,
    bytes: u64,
}

/// By socket. A zone transfer must not take the ring away from everybody else: beyond [`BUDGET`] bytes in
/// [`BUDGET_NS`] only the beginning of what each call carries is captured.
#[map]
static BUDGETS: LruHashMap<u64, Budget> = LruHashMap::with_max_entries(16_384, 0);
const BUDGET: u64 = 1 << 20;
const BUDGET_NS: u64 = 1_000_000_000;
/// Bytes of each call that are captured then: the message's length and its beginning.
const BEGINNING: u32 = 512;

/// Records of one call at the most: each holds one piece of the program's memory, up to [`MAX_PAYLOAD`] bytes of it. What
/// is beyond is told as not captured.
const MAX_RECORDS: u32 = 8;

/// `MSG_PEEK`: the bytes will come by again. `MSG_TRUNC`: they were not put anywhere.
const NOT_TAKEN: u64 = 0x02 | 0x20;
/// `MSG_FASTOPEN`
const MSG_FASTOPEN: u32 = 0x2000_0000;
/// TCP states, include/net/tcp_states.h.
const TCP_SYN_SENT: u8 = 2;
const TCP_CLOSE: u8 = 7;

at_entry!(
    /// `int tcp_sendmsg_locked(struct sock *sk, struct msghdr *msg, size_t size)`, net/ipv4/tcp.c, 5.10 to 7.2: IPv6 as
    /// well.
    tcp_sendmsg,
    tcp_sendmsg_fentry,
    Hook::TcpSendmsg,
    |ctx| try_send(ctx)
);

at_entry!(
    /// `int tcp_recvmsg(struct sock *sk, struct msghdr *msg, size_t len, int flags, int *addr_len)`, net/ipv4/tcp.c; an
    /// `int nonblock` before `flags` up to 5.18.
    tcp_recvmsg,
    tcp_recvmsg_fentry,
    Hook::TcpRecvmsg,
    |ctx| try_begin(ctx)
);

at_entry!(
    /// `void tcp_cleanup_rbuf(struct sock *sk, int copied)`, net/ipv4/tcp.c, 5.10 to 7.2: `copied` bytes of this call have
    /// reached the program's memory so far.
    tcp_cleanup_rbuf,
    tcp_cleanup_rbuf_fentry,
    Hook::TcpCleanupRbuf,
    |ctx| try_receive(ctx)
);

/// Whether the socket's connection carries DNS.
#[inline(always)]
fn is_dns(sock: Sock) -> Result<bool, Skip> {
    Ok(watched(sock.tcp_local_port()?) || watched(sock.remote_port()?))
}

#[inline(always)]
fn try_send(ctx: &impl Arguments) -> Result<(), Skip> {
    let sock = Sock(ctx.argument(0));
    let message = Message(ctx.argument(1));
    let state = sock.state()?;
    // With TCP_FASTOPEN_CONNECT the socket has been told to connect, and waits for these bytes to do it.
    let with_syn = state == TCP_SYN_SENT || state == TCP_CLOSE && message.flags()? & MSG_FASTOPEN != 0;
    if !(is_dns(sock)? || with_syn && watched(message.port_to(sock)?)) {
        return Err(Skip::NotOurs);
    }
    let work = STREAM.get_ptr_mut(SENDING).ok_or(Skip::Unreadable)?;
    // SAFETY: this CPU's slot of this program.
    let work = unsafe { &mut *work };
    let head = &mut work.record.head;
    head.direction = SENT;
    head.state = state;
    head.flags = if with_syn { stream_flag::WITH_SYN } else { 0 };
    head.seq = sock.write_seq()?;
    sock.tcp_flow_to(&mut head.flow)?;
    if with_syn {
        message.destination_to(&mut head.flow)?;
    }
    whose(sock, head)?;
    remember(&head.flow);
    let size = ctx.argument(2) as u32;
    let limit = limit(sock.0, 0, size);
    write_bytes(work, Cursor::new(message.buffers()?, 0, limit, size), Hook::TcpSendmsg)
}

#[inline(always)]
fn try_begin(ctx: &impl Arguments) -> Result<(), Skip> {
    let sock = Sock(ctx.argument(0));
    if !is_dns(sock)? {
        return Err(Skip::NotOurs);
    }
    // Each way reads its own place: to the verifier that must be a constant, and the other one need not exist.
    let flags =
        if config!(tcp_recv_flags) == 4 { black_box(ctx.argument(4)) } else { black_box(ctx.argument(3)) };
    if flags & NOT_TAKEN != 0 {
        forget();
        return Err(Skip::NotOurs);
    }
    begin(sock, Message(ctx.argument(1)).buffers()?, sock.copied_seq()?);
    Err(Skip::NotOurs)
}

#[inline(always)]
fn try_receive(ctx: &impl Arguments) -> Result<(), Skip> {
    let sock = Sock(ctx.argument(0));
    let copied = ctx.argument(1) as i32;
    if copied <= 0 || !is_dns(sock)? {
        return Err(Skip::NotOurs);
    }
    let copied = copied as u32;
    let receiving = under_way(sock)?;
    if copied <= receiving.told {
        return Err(Skip::NotOurs);
    }
    let next = sock.copied_seq()?;
    // Bytes that went another way (splice), by a call that left its memory behind, are nowhere to be read.
    let in_memory = next.wrapping_sub(copied) == receiving.seq;
    let (buffers, begin) = (receiving.buffers, receiving.told);
    receiving.told = copied;
    let work = STREAM.get_ptr_mut(CLEANING).ok_or(Skip::Unreadable)?;
    // SAFETY: this CPU's slot of this program.
    let work = unsafe { &mut *work };
    let head = &mut work.record.head;
    head.direction = RECEIVED;
    head.state = sock.state()?;
    head.flags = 0;
    head.seq = next.wrapping_sub(copied - begin);
    sock.tcp_flow_to(&mut work.flow)?;
    whose(sock, head)?;
    remember(&work.flow);
    reverse_to(&work.flow, &mut head.flow);
    let limit = if in_memory { limit(sock.0, begin, copied) } else { begin };
    write_bytes(work, Cursor::new(buffers, begin, limit, copied), Hook::TcpCleanupRbuf)
}

/// Fills in socket and task, if they are wanted.
#[inline(always)]
fn whose(sock: Sock, head: &mut StreamEvent) -> Result<(), Skip> {
    head.sock = sock.0;
    head.netns = sock.netns()?;
    head.reserved = 0;
    head.reserved2 = 0;
    let cgroup = current_to(&mut head.task)?;
    if wanted(&head.task, cgroup, head.netns)? { Ok(()) } else { Err(Skip::Unwanted) }
}

/// Where the telling of a call's bytes has come to. In memory, so that each round of it begins the same to the verifier,
/// which else follows every way through all rounds.
#[repr(C)]
struct Cursor {
    buffers: Buffers,
    /// Bytes of the piece at hand that are not told: told before, or not this call's.
    skip: u64,
    /// The piece at hand.
    piece: u32,
    /// Bytes told, those of the call that came before included.
    at: u32,
    /// As far as they are captured.
    limit: u32,
    /// As far as there are any.
    end: u32,
}

impl Cursor {
    /// Of a call's bytes those from `begin` on, up to `end`, captured as far as `limit`.
    #[inline(always)]
    fn new(buffers: Buffers, begin: u32, limit: u32, end: u32) -> Self {
        Self { buffers, skip: u64::from(begin), piece: 0, at: begin, limit, end }
    }
}

/// Writes bytes of a call: a record for each piece of memory; at last one for what is not captured.
#[inline(always)]
fn write_bytes(work: &mut Work, cursor: Cursor, hook: Hook) -> Result<(), Skip> {
    work.cursor = cursor;
    let flags = work.record.head.flags;
    let mut round = 0;
    while round < MAX_RECORDS && write_piece(work, hook)? {
        work.record.head.flags = flags;
        round += 1;
    }
    let cursor = &work.cursor;
    let rest = cursor.end - cursor.at;
    if rest == 0 {
        return Ok(());
    }
    let record = &mut work.record;
    record.head.flags |= stream_flag::UNREADABLE;
    record.head.header = header(kind::STREAM, hook);
    record.head.length = rest;
    record.head.captured = 0;
    record.output(0)
}

/// Writes what is to be captured of the piece at hand, or goes on to the next. Returns whether there may be more. What a
/// full ring keeps from being told is missing in the sequence.
#[inline(always)]
fn write_piece(work: &mut Work, hook: Hook) -> Result<bool, Skip> {
    let cursor = &mut work.cursor;
    if cursor.at >= cursor.limit {
        return Ok(false);
    }
    let Some((base, length)) = cursor.buffers.piece(cursor.piece)? else { return Ok(false) };
    if cursor.skip >= length {
        cursor.skip -= length;
        cursor.piece += 1;
        return Ok(true);
    }
    let from = base + cursor.skip;
    let length = least(length - cursor.skip, u64::from(cursor.limit - cursor.at), MAX_PAYLOAD as u64);
    cursor.at += length;
    cursor.skip += u64::from(length);
    let record = &mut work.record;
    let captured = record.copy_user_payload(from, length);
    if captured == 0 {
        record.head.flags |= stream_flag::UNREADABLE;
    }
    record.head.header = header(kind::STREAM, hook);
    record.head.length = length;
    record.head.captured = captured;
    record.output(captured)?;
    record.head.seq = record.head.seq.wrapping_add(length);
    Ok(true)
}

/// How far a call's bytes are captured.
#[inline(always)]
fn limit(sock: u64, begin: u32, end: u32) -> u32 {
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    let wanted = u64::from(end - begin);
    // SAFETY: the socket is locked: nobody else writes its entry.
    let used = match unsafe { BUDGETS.get(sock) } {
        Some(budget) if now.saturating_sub(budget.since_ns) < BUDGET_NS => *budget,
        _ => Budget { since_ns: now, bytes: 0 },
    };
    let after = Budget { bytes: used.bytes + wanted, ..used };
    // A full LRU map forgets another socket's: that one may then capture more.
    _ = BUDGETS.insert(sock, after, 0);
    let most = begin.saturating_add(BEGINNING);
    if after.bytes > BUDGET && most < end { most } else { end }
}

#[inline(always)]
fn least(a: u64, b: u64, c: u64) -> u32 {
    let least = if a < b { a } else { b };
    (if least < c { least } else { c }) as u32
}
