//! How TCP connections that carry DNS come and go.
//!
//! A tracepoint's program may be interrupted by a softirq in which it fires again (before 6.1; since then the kernel skips
//! that and counts it): the records are small enough for the stack.

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid,
    macros::{map, raw_tracepoint},
    maps::LruHashMap,
    programs::RawTracePointContext,
};
use dnstrace_ebpf::{
    config::Hook,
    wire::{ConnectFailureEvent, ConnectionEvent, Flow, RetransmissionEvent, Task, connection_flag, kind},
};

use super::{
    entry::{Arguments, Returned, at_entry, at_return},
    kernel::{IPPROTO_TCP, Skip, Sock, SocketAddress, config, current_to, watched},
    ring::{count, header, output},
    target::{flow_wanted, is_encrypted_dns, remember, wanted},
};

/// TCP states, include/net/tcp_states.h.
const TCP_SYN_SENT: u8 = 2;
const TCP_CLOSE: u8 = 7;

const NO_FLOW: Flow =
    Flow { saddr: [0; 16], daddr: [0; 16], sport: 0, dport: 0, protocol: 0, reserved: [0; 3] };
const NO_TASK: Task = Task { cgroup: 0, pid: 0, tid: 0, comm: [0; 16] };

/// A connection to be opened, by thread: to whom.
#[repr(C)]
#[derive(Clone, Copy)]
struct Connecting {
    sock: u64,
    flow: Flow,
}

#[map]
static CONNECTING: LruHashMap<u64, Connecting> = LruHashMap::with_max_entries(4096, 0);

/// `TRACE_EVENT(inet_sock_set_state, TP_PROTO(const struct sock *sk, const int oldstate, const int newstate))`,
/// include/trace/events/sock.h, 5.10 to 7.2. What opens a connection is [`tcp_connect`]'s to tell: here the socket has no
/// port yet.
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub fn tcp_state(ctx: RawTracePointContext) -> i32 {
    let (sock, old, new): (u64, u64, u64) = (ctx.arg(0), ctx.arg(1), ctx.arg(2));
    count(&ctx, Hook::TcpState, try_state(Sock(sock), old as u8, new as u8)) as i32
}

/// `TRACE_EVENT(tcp_retransmit_skb, TP_PROTO(const struct sock *sk, const struct sk_buff *skb))`,
/// include/trace/events/tcp.h, 5.10 to 6.12; 6.18 has a third argument, `int err`, and fires as well if nothing was sent
/// again because of that.
#[raw_tracepoint(tracepoint = "tcp_retransmit_skb")]
pub fn tcp_retransmit(ctx: RawTracePointContext) -> i32 {
    if config!(retransmit_error) != 0 && ctx.arg::<u64>(2) as i32 != 0 {
        return 0;
    }
    count(&ctx, Hook::TcpRetransmit, try_retransmit(Sock(ctx.arg(0)))) as i32
}

at_entry!(
    /// `int tcp_connect(struct sock *sk)`, net/ipv4/tcp_output.c, 5.10 to 7.2: the SYN is about to be sent.
    tcp_connect,
    tcp_connect_fentry,
    Hook::TcpConnect,
    |ctx| try_connect(ctx)
);

at_entry!(
    /// `int tcp_v4_connect(struct sock *sk, struct sockaddr *uaddr, int addr_len)`, net/ipv4/tcp_ipv4.c, 5.10 to 7.2.
    tcp_v4_connect,
    tcp_v4_connect_fentry,
    Hook::TcpV4Connect,
    |ctx| try_begin(ctx)
);

at_return!(
    /// Its return: 0 or a negative errno.
    tcp_v4_connect_return,
    tcp_v4_connect_fexit,
    Hook::TcpV4Connect,
    |ctx| try_return(ctx, Hook::TcpV4Connect)
);

at_entry!(
    /// `static int tcp_v6_connect(struct sock *sk, struct sockaddr *uaddr, int addr_len)`, net/ipv6/tcp_ipv6.c, 5.10 to
    /// 7.2. It calls `tcp_v4_connect` for v4-mapped addresses.
    tcp_v6_connect,
    tcp_v6_connect_fentry,
    Hook::TcpV6Connect,
    |ctx| try_begin(ctx)
);

at_return!(
    /// Its return.
    tcp_v6_connect_return,
    tcp_v6_connect_fexit,
    Hook::TcpV6Connect,
    |ctx| try_return(ctx, Hook::TcpV6Connect)
);

/// Arguments of both.
const ARGUMENTS: usize = 3;

/// Whether the connection carries DNS, by its ports; of encrypted DNS by the peer's address as well, or the socket's own.
#[inline(always)]
fn flags_of(flow: &Flow) -> Result<u8, Skip> {
    if watched(flow.sport) || watched(flow.dport) {
        return Ok(0);
    }
    if is_encrypted_dns(flow.dport, &flow.daddr) || is_encrypted_dns(flow.sport, &flow.saddr) {
        return Ok(connection_flag::ENCRYPTED);
    }
    Err(Skip::NotOurs)
}

#[inline(always)]
fn try_state(sock: Sock, old: u8, new: u8) -> Result<(), Skip> {
    if new == TCP_SYN_SENT || sock.protocol()? != u16::from(IPPROTO_TCP) {
        return Err(Skip::NotOurs);
    }
    let mut flow = NO_FLOW;
    sock.tcp_flow_to(&mut flow)?;
    let flags = flags_of(&flow)?;
    // A listening socket has no peer.
    if flow.dport == 0 {
        return Err(Skip::NotOurs);
    }
    let netns = sock.netns()?;
    if !flow_wanted(&flow, netns) {
        return Err(Skip::Unwanted);
    }
    write_state(sock, Change { old, new, flags, netns, flow, task: NO_TASK }, Hook::TcpState)
}

#[inline(always)]
fn try_connect(ctx: &impl Arguments) -> Result<(), Skip> {
    let sock = Sock(ctx.argument(0));
    let mut flow = NO_FLOW;
    sock.tcp_flow_to(&mut flow)?;
    let flags = flags_of(&flow)? | connection_flag::HAS_TASK;
    let netns = sock.netns()?;
    let mut task = NO_TASK;
    let cgroup = current_to(&mut task)?;
    if !wanted(&task, cgroup, netns)? {
        return Err(Skip::Unwanted);
    }
    remember(&flow);
    let change = Change { old: TCP_CLOSE, new: TCP_SYN_SENT, flags, netns, flow, task };
    write_state(sock, change, Hook::TcpConnect)
}

/// What of a record the two hooks know.
struct Change {
    old: u8,
    new: u8,
    flags: u8,
    netns: u32,
    flow: Flow,
    task: Task,
}

#[inline(always)]
fn write_state(sock: Sock, change: Change, hook: Hook) -> Result<(), Skip> {
    let (bytes_acked, bytes_received) = sock.bytes()?;
    output(&ConnectionEvent {
        header: header(kind::CONNECTION, hook),
        sock: sock.0,
        task: change.task,
        netns: change.netns,
        old_state: change.old,
        new_state: change.new,
        flags: change.flags,
        reserved: 0,
        flow: change.flow,
        bytes_acked,
        bytes_received,
        error: sock.error()?,
        rtt_us: sock.rtt_us()?,
    })
}

#[inline(always)]
fn try_retransmit(sock: Sock) -> Result<(), Skip> {
    let mut flow = NO_FLOW;
    sock.tcp_flow_to(&mut flow)?;
    let flags = flags_of(&flow)?;
    let netns = sock.netns()?;
    if !flow_wanted(&flow, netns) {
        return Err(Skip::Unwanted);
    }
    output(&RetransmissionEvent {
        header: header(kind::RETRANSMISSION, Hook::TcpRetransmit),
        sock: sock.0,
        netns,
        state: sock.state()?,
        flags,
        reserved: [0; 2],
        flow,
    })
}

#[inline(always)]
fn try_begin(ctx: &impl Arguments) -> Result<(), Skip> {
    let sock = Sock(ctx.argument(0));
    let mut flow = NO_FLOW;
    flow.sport = sock.local_port()?;
    SocketAddress(ctx.argument(1)).destination_to(&mut flow)?;
    flow.protocol = IPPROTO_TCP;
    let thread = bpf_get_current_pid_tgid();
    if flags_of(&flow).is_err() {
        // Left behind by a call whose return was missed: this one's return must not take it for its own.
        _ = CONNECTING.remove(thread);
        return Err(Skip::NotOurs);
    }
    // A full LRU map forgets another call: should that one fail, it is not told.
    _ = CONNECTING.insert(thread, Connecting { sock: sock.0, flow }, 0);
    Err(Skip::NotOurs)
}

#[inline(always)]
fn try_return(ctx: &impl Returned, hook: Hook) -> Result<(), Skip> {
    let thread = bpf_get_current_pid_tgid();
    // SAFETY: only the thread itself writes its entry.
    let connecting = unsafe { CONNECTING.get(thread) }.copied().ok_or(Skip::NotOurs)?;
    _ = CONNECTING.remove(thread);
    let returned = ctx.returned(ARGUMENTS) as i32;
    if returned >= 0 {
        return Err(Skip::NotOurs);
    }
    let sock = Sock(connecting.sock);
    let netns = sock.netns()?;
    let mut task = NO_TASK;
    let cgroup = current_to(&mut task)?;
    if !wanted(&task, cgroup, netns)? {
        return Err(Skip::Unwanted);
    }
    output(&ConnectFailureEvent {
        header: header(kind::CONNECT_FAILURE, hook),
        sock: sock.0,
        task,
        netns,
        errno: returned.unsigned_abs(),
        flow: connecting.flow,
        flags: u64::from(flags_of(&connecting.flow)?),
    })
}
