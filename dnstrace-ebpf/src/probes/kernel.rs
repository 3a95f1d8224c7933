//! The only file that knows kernel structs. Offsets come from the running kernel's BTF, as read-only globals.

use core::ptr::{self, read_volatile};

use aya_ebpf::helpers::{
    bpf_get_current_pid_tgid, bpf_probe_read_kernel,
    generated::{bpf_get_current_task, bpf_probe_read_kernel as bpf_probe_read_kernel_to},
};
use dnstrace_ebpf::{
    config::{ABSENT, Config, MAX_PORTS, Offsets},
    wire::{Flow, Task},
};

/// Overwritten by the loader before the programs are loaded.
#[unsafe(no_mangle)]
static OFFSETS: Offsets = Offsets::ABSENT;

/// Likewise.
#[unsafe(no_mangle)]
static CONFIG: Config = Config::EVERYTHING;

/// An offset that the loader has set.
macro_rules! offset {
    ($field:ident) => {
        // SAFETY: a read of an initialised static. Volatile, as the loader writes it behind the compiler's back.
        unsafe { read_volatile(&raw const OFFSETS.$field) as usize }
    };
}

/// A setting that the loader has set.
macro_rules! config {
    ($field:ident) => {
        // SAFETY: as with `offset!`.
        unsafe { ::core::ptr::read_volatile(&raw const $crate::probes::kernel::settings().$field) }
    };
}
pub(super) use config;

/// The loader's settings, for [`config!`].
pub(super) fn settings() -> &'static Config {
    &CONFIG
}

/// Why a hook wrote nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// Not DNS, or no business of this hook: costs a few instructions and is not counted.
    NotOurs,
    /// Nobody asked for this task.
    Unwanted,
    /// Kernel memory could not be read.
    Unreadable,
    /// The ring is full.
    RingFull,
}

/// Reads a `T` at `offset` bytes behind `base`.
#[inline(always)]
pub fn read<T>(base: u64, offset: usize) -> Result<T, Skip> {
    // SAFETY: bpf_probe_read_kernel checks the address and fails instead of faulting.
    unsafe { bpf_probe_read_kernel((base as usize).wrapping_add(offset) as *const T) }
        .map_err(|_| Skip::Unreadable)
}

/// Reads a `T` at `offset` bytes behind `base` to where it belongs: the stack of 512 bytes has no room for
/// copies.
#[inline(always)]
fn read_to<T>(to: &mut T, base: u64, offset: usize) -> Result<(), Skip> {
    let from = (base as usize).wrapping_add(offset) as *const _;
    // SAFETY: the destination is a `T`; the helper checks the source, and every bit pattern is a `T` of those
    // that are read here (integers and arrays of them).
    match unsafe { bpf_probe_read_kernel_to(ptr::from_mut(to).cast(), size_of::<T>() as u32, from) } {
        0 => Ok(()),
        _ => Err(Skip::Unreadable),
    }
}

/// `struct sk_buff *`
#[derive(Clone, Copy)]
pub struct SkBuff(pub u64);

/// Where the parts of a UDP datagram lie in memory.
pub struct Datagram {
    /// `skb->head`
    head: u64,
    pub sport: u16,
    pub dport: u16,
    /// Offset of the IP header from `head`.
    network: u16,
    /// Address of the first byte of payload.
    pub payload: u64,
    /// Bytes of payload.
    pub length: u32,
    /// Bytes of it that follow each other from `payload` on (the packet's linear part).
    pub linear: u32,
    /// `gso_size`: bytes of each message where the packet holds several, else 0.
    pub segment: u16,
}

const UDP_HEADER: u32 = 8;
pub const IPPROTO_UDP: u8 = 17;

impl SkBuff {
    /// `skb->sk`
    #[inline(always)]
    pub fn sock(self) -> Result<Sock, Skip> {
        let sock: u64 = read(self.0, offset!(skb_sk))?;
        if sock == 0 { Err(Skip::NotOurs) } else { Ok(Sock(sock)) }
    }

    /// The UDP datagram of this packet, whose `transport_header` is set, if one of its ports is watched.
    ///
    /// True of `ip_send_skb` (data at the IP header) and of `skb_consume_udp` (data at the payload): offsets
    /// are taken from the head, so both give the same.
    #[inline(always)]
    pub fn datagram(self) -> Result<Datagram, Skip> {
        let head: u64 = read(self.0, offset!(skb_head))?;
        let transport: u16 = read(self.0, offset!(skb_transport_header))?;
        let transport = u64::from(transport);
        let ports: [u8; 4] = read(head, transport as usize)?;
        let sport = u16::from_be_bytes([ports[0], ports[1]]);
        let dport = u16::from_be_bytes([ports[2], ports[3]]);
        if !watched(sport) && !watched(dport) {
            return Err(Skip::NotOurs);
        }
        let network: u16 = read(self.0, offset!(skb_network_header))?;
        let data: u64 = read(self.0, offset!(skb_data))?;
        let total: u32 = read(self.0, offset!(skb_len))?;
        let nonlinear: u32 = read(self.0, offset!(skb_data_len))?;
        let payload = head + transport + u64::from(UDP_HEADER);
        let before = payload.wrapping_sub(data) as u32;
        let length = total.saturating_sub(before);
        let end: u32 = read(self.0, offset!(skb_end))?;
        let segment: u16 = read(head + u64::from(end), offset!(shinfo_gso_size))?;
        let linear = length.saturating_sub(nonlinear);
        Ok(Datagram { head, sport, dport, network, payload, length, linear, segment })
    }
}

impl Datagram {
    /// Writes both ends, out of the IP header and the ports.
    #[inline(always)]
    pub fn flow_to(&self, flow: &mut Flow) -> Result<(), Skip> {
        let network = self.network as usize;
        flow.sport = self.sport;
        flow.dport = self.dport;
        flow.protocol = IPPROTO_UDP;
        flow.reserved = [0; 3];
        let version: u8 = read(self.head, network)?;
        match version >> 4 {
            4 => {
                flow.saddr = v4_mapped(read(self.head, network + 12)?);
                flow.daddr = v4_mapped(read(self.head, network + 16)?);
                Ok(())
            }
            6 => {
                read_to(&mut flow.saddr, self.head, network + 8)?;
                read_to(&mut flow.daddr, self.head, network + 24)
            }
            _ => Err(Skip::NotOurs),
        }
    }
}

#[inline(always)]
fn v4_mapped(v4: u32) -> [u8; 16] {
    // As two words, not as 16 bytes: the compiler would keep each byte in a place of its own on the stack.
    let words = [0, (0xffff_u64 << 16).to_le() | (u64::from(v4) << 32)];
    zerocopy::transmute!(words)
}

/// Whether the user asked for this port.
#[inline(always)]
pub fn watched(port: u16) -> bool {
    let ports = config!(ports);
    let mut index = 0;
    while index < MAX_PORTS {
        if ports[index] != 0 && ports[index] == port {
            return true;
        }
        index += 1;
    }
    false
}

/// `struct sock *`
#[derive(Clone, Copy)]
pub struct Sock(pub u64);

impl Sock {
    /// `sk->sk_protocol`
    #[inline(always)]
    pub fn protocol(self) -> Result<u16, Skip> {
        read(self.0, offset!(sk_protocol))
    }

    /// `sock_net(sk)->ns.inum`
    #[inline(always)]
    pub fn netns(self) -> Result<u32, Skip> {
        let net: u64 = read(self.0, offset!(sk_net))?;
        read(net, offset!(net_inum))
    }
}

/// `struct cgroup *`
#[derive(Clone, Copy)]
pub struct Cgroup(pub u64);

impl Cgroup {
    /// `cgroup_id(cgrp)`: the inode number of its directory.
    #[inline(always)]
    pub fn id(self) -> Result<u64, Skip> {
        let node: u64 = read(self.0, offset!(cgroup_kn))?;
        read(node, offset!(kernfs_node_id))
    }

    /// The cgroup above, none above the root.
    #[inline(always)]
    pub fn parent(self) -> Result<Option<Self>, Skip> {
        let parent: u64 = read(self.0, offset!(cgroup_self) + offset!(css_parent))?;
        if parent == 0 {
            return Ok(None);
        }
        let cgroup: u64 = read(parent, offset!(css_cgroup))?;
        Ok(Some(Self(cgroup)))
    }

    /// `cgrp->root->hierarchy_id`: 0 for the unified hierarchy.
    #[inline(always)]
    pub fn hierarchy(self) -> Result<u32, Skip> {
        let root: u64 = read(self.0, offset!(cgroup_root))?;
        read(root, offset!(cgroup_root_hierarchy_id))
    }
}

/// The current task's cgroup: of the unified hierarchy, or the memory controller's on a node whose pods live
/// in cgroup v1.
#[inline(always)]
fn current_cgroup(task: u64) -> Result<Cgroup, Skip> {
    let css_set: u64 = read(task, offset!(task_cgroups))?;
    let controller = config!(memory_cgrp_id);
    if controller == ABSENT {
        return Ok(Cgroup(read(css_set, offset!(css_set_dfl_cgrp))?));
    }
    let css: u64 = read(css_set, offset!(css_set_subsys) + controller as usize * 8)?;
    Ok(Cgroup(read(css, offset!(css_cgroup))?))
}

/// Writes who runs, and returns its cgroup.
///
/// The name is the thread group leader's: a thread's own says little (`tokio-rt-worker`).
#[inline(always)]
pub fn current_to(to: &mut Task) -> Result<Cgroup, Skip> {
    // SAFETY: helpers without arguments.
    let (ids, task) = unsafe { (bpf_get_current_pid_tgid(), bpf_get_current_task()) };
    let cgroup = current_cgroup(task)?;
    let leader: u64 = read(task, offset!(task_group_leader))?;
    read_to(&mut to.comm, leader, offset!(task_comm))?;
    to.cgroup = cgroup.id()?;
    to.pid = (ids >> 32) as u32;
    to.tid = ids as u32;
    Ok(cgroup)
}
