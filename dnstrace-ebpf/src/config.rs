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
    /// `skb_shared_info.gso_size`
    pub shinfo_gso_size: u32,
    /// `sock.sk_protocol`: 16 bits wide since 5.6.
    pub sk_protocol: u32,
    /// `sock.__sk_common.skc_net.net`
    pub sk_net: u32,
    /// `net.ns.inum`
    pub net_inum: u32,
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
    /// `kernfs_node.id`: 64 bits wide since 5.5.
    pub kernfs_node_id: u32,
}

impl Offsets {
    /// No offset known yet.
    pub const ABSENT: Self = Self {
        skb_head: ABSENT,
        skb_data: ABSENT,
        skb_len: ABSENT,
        skb_data_len: ABSENT,
        skb_end: ABSENT,
        skb_sk: ABSENT,
        skb_network_header: ABSENT,
        skb_transport_header: ABSENT,
        shinfo_gso_size: ABSENT,
        sk_protocol: ABSENT,
        sk_net: ABSENT,
        net_inum: ABSENT,
        task_group_leader: ABSENT,
        task_comm: ABSENT,
        task_cgroups: ABSENT,
        css_set_dfl_cgrp: ABSENT,
        css_set_subsys: ABSENT,
        css_cgroup: ABSENT,
        css_parent: ABSENT,
        cgroup_self: ABSENT,
        cgroup_kn: ABSENT,
        cgroup_root: ABSENT,
        cgroup_root_hierarchy_id: ABSENT,
        kernfs_node_id: ABSENT,
    };
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
    /// Zero.
    pub reserved: u32,
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
        reserved: 0,
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
}

/// Number of [`Hook`]s.
pub const HOOKS: u32 = 4;

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

const _: () = assert!(size_of::<Offsets>() == 24 * 4);
const _: () = assert!(size_of::<Config>() == 16 + 16 + 16);
const _: () = assert!(size_of::<Counters>() == 32);
