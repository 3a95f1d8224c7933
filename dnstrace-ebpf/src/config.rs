//! What the loader hands to the programs before they start: read-only globals.

use core::mem::size_of;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Ports that can be watched at the same time.
pub const MAX_PORTS: usize = 8;

/// An offset that the running kernel's BTF does not have. The programs branch on it.
pub const ABSENT: u32 = u32::MAX;

/// Byte offsets of kernel fields, read from the running kernel's BTF by `dnstrace::capture`.
///
/// One flat list of `u32`; a field is named after the C path it stands for. Mandatory unless said otherwise;
/// an optional one that is missing holds [`ABSENT`].
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Offsets {
    /// `sk_buff.head`
    pub skb_head: u32,
    /// `sk_buff.data`
    pub skb_data: u32,
    /// `sk_buff.len`
    pub skb_len: u32,
    /// `sk_buff.data_len`
    pub skb_data_len: u32,
    /// `sk_buff.end`: an offset from `head` on 64-bit kernels.
    pub skb_end: u32,
    /// `sk_buff.sk`
    pub skb_sk: u32,
    /// `sk_buff.network_header`
    pub skb_network_header: u32,
    /// `sk_buff.transport_header`
    pub skb_transport_header: u32,
    /// `sk_buff.protocol`
    pub skb_protocol: u32,
    /// `sk_buff.dev`
    pub skb_dev: u32,
    /// `sk_buff._nfct`: optional (a kernel without connection tracking).
    pub skb_nfct: u32,
    /// `skb_shared_info.gso_size`
    pub shinfo_gso_size: u32,
    /// `net_device.nd_net.net`
    pub dev_net: u32,
    /// `sock.sk_protocol`: 16 bits wide since 5.6.
    pub sk_protocol: u32,
    /// `sock.__sk_common.skc_net.net`
    pub sk_net: u32,
    /// `sock.__sk_common.skc_family`
    pub sk_family: u32,
    /// `sock.__sk_common.skc_daddr`
    pub sk_daddr: u32,
    /// `sock.__sk_common.skc_rcv_saddr`
    pub sk_rcv_saddr: u32,
    /// `sock.__sk_common.skc_v6_daddr`: optional (a kernel without IPv6).
    pub sk_v6_daddr: u32,
    /// `sock.__sk_common.skc_v6_rcv_saddr`: likewise.
    pub sk_v6_rcv_saddr: u32,
    /// `sock.__sk_common.skc_dport`: network order.
    pub sk_dport: u32,
    /// `sock.__sk_common.skc_num`: CPU order.
    pub sk_num: u32,
    /// `inet_sock.inet_sport`: network order; unlike `skc_num` still there when the socket is closed.
    pub inet_sport: u32,
    /// `sock.__sk_common.skc_state`
    pub sk_state: u32,
    /// `sock.sk_err`
    pub sk_err: u32,
    /// `tcp_sock.write_seq`: the sequence number that the next byte sent will have.
    pub tcp_write_seq: u32,
    /// `tcp_sock.copied_seq`: that of the next byte that a program will receive.
    pub tcp_copied_seq: u32,
    /// `tcp_sock.bytes_acked`
    pub tcp_bytes_acked: u32,
    /// `tcp_sock.bytes_received`
    pub tcp_bytes_received: u32,
    /// `tcp_sock.srtt_us`: eight times the smoothed round-trip time.
    pub tcp_srtt_us: u32,
    /// `net.ns.inum`
    pub net_inum: u32,
    /// `nf_conn.tuplehash`: two `nf_conntrack_tuple_hash`. This and all of `nf_conn` optional, together.
    pub ct_tuplehash: u32,
    /// Size of `nf_conntrack_tuple_hash`.
    pub tuplehash_size: u32,
    /// `nf_conntrack_tuple_hash.tuple`
    pub tuplehash_tuple: u32,
    /// `nf_conn.status`
    pub ct_status: u32,
    /// `nf_conn.timeout`: in jiffies, 32 bits of them.
    pub ct_timeout: u32,
    /// `nf_conn.ct_net.net`
    pub ct_net: u32,
    /// `nf_conntrack_tuple.src.u3`
    pub tuple_src: u32,
    /// `nf_conntrack_tuple.src.u.all`
    pub tuple_sport: u32,
    /// `nf_conntrack_tuple.src.l3num`
    pub tuple_l3num: u32,
    /// `nf_conntrack_tuple.dst.u3`
    pub tuple_dst: u32,
    /// `nf_conntrack_tuple.dst.u.all`
    pub tuple_dport: u32,
    /// `nf_conntrack_tuple.dst.protonum`
    pub tuple_protonum: u32,
    /// `nf_conntrack_tuple.dst.dir`
    pub tuple_dir: u32,
    /// `msghdr.msg_name`
    pub msg_name: u32,
    /// `msghdr.msg_iter`
    pub msg_iter: u32,
    /// `msghdr.msg_flags`
    pub msg_flags: u32,
    /// `iov_iter.iter_type`, `iov_iter.type` before 5.14: the low byte of it tells.
    pub iter_type: u32,
    /// `iov_iter.iov_offset`
    pub iter_iov_offset: u32,
    /// `iov_iter.count`
    pub iter_count: u32,
    /// `iov_iter.__iov`, `iov_iter.iov` before 6.4.
    pub iter_iov: u32,
    /// `iov_iter.nr_segs`
    pub iter_nr_segs: u32,
    /// `iov_iter.ubuf`: optional (since 6.0).
    pub iter_ubuf: u32,
    /// `iovec.iov_base`
    pub iovec_base: u32,
    /// `iovec.iov_len`
    pub iovec_len: u32,
    /// `task_struct.group_leader`
    pub task_group_leader: u32,
    /// `task_struct.comm`
    pub task_comm: u32,
    /// `task_struct.cgroups`
    pub task_cgroups: u32,
    /// `css_set.dfl_cgrp`
    pub css_set_dfl_cgrp: u32,
    /// `css_set.subsys`: an array of pointers to `cgroup_subsys_state`.
    pub css_set_subsys: u32,
    /// `cgroup_subsys_state.cgroup`
    pub css_cgroup: u32,
    /// `cgroup_subsys_state.parent`
    pub css_parent: u32,
    /// `cgroup.self`
    pub cgroup_self: u32,
    /// `cgroup.kn`
    pub cgroup_kn: u32,
    /// `cgroup.root`
    pub cgroup_root: u32,
    /// `cgroup_root.hierarchy_id`
    pub cgroup_root_hierarchy_id: u32,
    /// `module.name`: 56 bytes on 64-bit kernels. Optional.
    pub module_name: u32,
    /// `kernfs_node.id`: 64 bits wide since 5.5.
    pub kernfs_node_id: u32,
}

impl Offsets {
    /// No offset known yet.
    pub const ABSENT: Self = zerocopy::transmute!([ABSENT; size_of::<Self>() / 4]);
}

/// Everything else that the programs are told.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Config {
    /// UDP and TCP ports that count as DNS, CPU order; unused places are 0.
    pub ports: [u16; MAX_PORTS],
    /// Whose messages are wanted: see [`target`].
    pub target: u32,
    /// Index of the memory controller in `css_set.subsys` where the cgroup v1 hierarchy has the pods, else
    /// [`ABSENT`]: then the unified hierarchy counts.
    pub memory_cgrp_id: u32,
    /// Process id that is traced, with [`target::PROCESS`].
    pub pid: u32,
    /// 1: the `kfree_skb` tracepoint hands over a reason.
    pub drop_reasons: u32,
    /// `ITER_IOVEC`, or [`ABSENT`].
    pub iter_iovec: u32,
    /// `ITER_UBUF`, or [`ABSENT`] (before 6.0).
    pub iter_ubuf: u32,
    /// Bits of [`Offsets::iter_type`]'s low byte that tell the type: before 5.14 the lowest bit was the direction.
    pub iter_mask: u32,
    /// Place of the argument `flags` of `tcp_recvmsg`, from 0: 4 up to 5.18, 3 since.
    pub tcp_recv_flags: u32,
    /// TCP ports of DNS over TLS and over HTTPS, CPU order; 0: not wanted. Of the latter only the addresses in the map
    /// `DOH_RESOLVERS` count.
    pub encrypted_ports: [u16; 2],
    /// 1: the `tcp_retransmit_skb` tracepoint hands over an error.
    pub retransmit_error: u32,
    /// Process name that is traced, with [`target::COMM`], NUL-padded.
    pub comm: [u8; crate::wire::COMM_LEN],
}

impl Config {
    /// Every message, of everybody, on no port yet.
    pub const EVERYTHING: Self = Self {
        ports: [0; MAX_PORTS],
        target: 0,
        memory_cgrp_id: ABSENT,
        pid: 0,
        drop_reasons: 0,
        iter_iovec: ABSENT,
        iter_ubuf: ABSENT,
        iter_mask: 0xff,
        tcp_recv_flags: 3,
        encrypted_ports: [0; 2],
        retransmit_error: 0,
        comm: [0; crate::wire::COMM_LEN],
    };
}

/// Bits of [`Config::target`]. Without any bit every message is wanted.
pub mod target {
    /// Wanted: tasks inside a cgroup of the map `TARGET_CGROUPS` (or below one), and sockets of a network
    /// namespace of the map `TARGET_NETNS`.
    pub const LISTED: u32 = 1 << 0;
    /// Wanted: tasks outside all cgroups of the map `TARGET_CGROUPS`.
    pub const UNLISTED: u32 = 1 << 1;
    /// Wanted: the process [`super::Config::pid`] (together with the other bits: both must hold).
    pub const PROCESS: u32 = 1 << 2;
    /// Wanted: processes whose name is [`super::Config::comm`] (likewise).
    pub const COMM: u32 = 1 << 3;
}

/// The hooks, in the order of `dnstrace::capture`'s table. The value is [`crate::wire::EventHeader::hook`] and
/// the index into the map `COUNTERS`.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// `ip_send_skb`
    IpSendSkb = 0,
    /// `ip6_send_skb`
    Ip6SendSkb = 1,
    /// `skb_consume_udp`
    SkbConsumeUdp = 2,
    /// raw tracepoint `cgroup_mkdir`
    CgroupMkdir = 3,
    /// `__udp_enqueue_schedule_skb`
    UdpEnqueue = 4,
    /// `udp_sendmsg`, entry and return
    UdpSendmsg = 5,
    /// `udpv6_sendmsg`, entry and return
    Udpv6Sendmsg = 6,
    /// raw tracepoint `kfree_skb`
    KfreeSkb = 7,
    /// `__nf_conntrack_confirm`, entry and return
    Confirm = 8,
    /// `nf_ct_resolve_clash`
    ResolveClash = 9,
    /// `early_drop`, entry and return
    EarlyDrop = 10,
    /// `nf_ct_delete`
    CtDelete = 11,
    /// `__icmp_send`
    IcmpSend = 12,
    /// `icmp6_send`
    Icmp6Send = 13,
    /// `__udp4_lib_err`
    Udp4Err = 14,
    /// `__udp6_lib_err`
    Udp6Err = 15,
    /// `__udp4_lib_rcv`
    Udp4Receive = 16,
    /// `__udp6_lib_rcv`
    Udp6Receive = 17,
    /// `udp_recvmsg`
    UdpRecvmsg = 18,
    /// `udpv6_recvmsg`
    Udpv6Recvmsg = 19,
    /// `tcp_sendmsg_locked`
    TcpSendmsg = 20,
    /// `tcp_recvmsg`
    TcpRecvmsg = 21,
    /// `tcp_cleanup_rbuf`
    TcpCleanupRbuf = 22,
    /// raw tracepoint `inet_sock_set_state`
    TcpState = 23,
    /// raw tracepoint `tcp_retransmit_skb`
    TcpRetransmit = 24,
    /// `tcp_v4_connect`, entry and return
    TcpV4Connect = 25,
    /// `tcp_v6_connect`, entry and return
    TcpV6Connect = 26,
    /// `tcp_connect`
    TcpConnect = 27,
    /// raw tracepoint `module_load`
    ModuleLoad = 28,
}

/// Number of [`Hook`]s.
pub const HOOKS: u32 = 29;

/// What one hook did: the value of the per-CPU map `COUNTERS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Counters {
    /// Records written into the ring.
    pub written: u64,
    /// Records lost because the ring was full.
    pub ring_full: u64,
    /// Packets whose headers could not be read.
    pub unreadable: u64,
    /// Messages of tasks and namespaces that are not wanted: seen, not written.
    pub filtered: u64,
}

/// Network namespaces that [`Totals`] are kept of at the most.
pub const MAX_TOTALS: u32 = 4096;

/// What happened in one network namespace, whatever the port: the value of the per-CPU map `TOTALS`, to be compared
/// with the kernel's own counters.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Totals {
    /// UDP packets that sockets sent: `Udp.OutDatagrams`, and those that were refused after that.
    pub udp_sent: u64,
    /// The same over IPv6: `Udp6OutDatagrams`.
    pub udp6_sent: u64,
    /// Datagrams that programs received, over IPv4 and IPv6: `Udp.InDatagrams` and `Udp6InDatagrams`.
    pub udp_received: u64,
    /// Clashes that connection tracking resolved: `clash_resolve`.
    pub clashes_resolved: u64,
    /// Entries that connection tracking could not insert: `insert_failed`.
    pub insert_failed: u64,
}

const _: () = assert!(size_of::<Offsets>() == 68 * 4);
const _: () = assert!(size_of::<Config>() == 16 + 40 + 16);
const _: () = assert!(size_of::<Counters>() == 32);
const _: () = assert!(size_of::<Totals>() == 40);
