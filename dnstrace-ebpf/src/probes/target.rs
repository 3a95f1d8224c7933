//! Whose messages are wanted: decided in the kernel, so that a busy node pays for one pod only.

use aya_ebpf::{
    macros::map,
    maps::{HashMap, LruHashMap},
};
use dnstrace_ebpf::{
    config::target,
    wire::{Flow, Packet, Task},
};

use super::kernel::{Cgroup, IPPROTO_TCP, Skip, config};

/// Ids of the cgroups that are meant, each with all below it.
#[map]
static TARGET_CGROUPS: HashMap<u64, u8> = HashMap::with_max_entries(16_384, 0);

/// Inode numbers of the network namespaces that are meant.
#[map]
static TARGET_NETNS: HashMap<u32, u8> = HashMap::with_max_entries(16_384, 0);

/// A container's cgroup lies at most this deep below the root: kind's nested nodes need 8, systemd inside a
/// container some more.
const MAX_DEPTH: u32 = 16;

/// Whether the user asked for this task on this network namespace.
#[inline(always)]
pub fn wanted(task: &Task, cgroup: Cgroup, netns: u32) -> Result<bool, Skip> {
    let bits = config!(target);
    if bits & target::PROCESS != 0 && task.pid != config!(pid) {
        return Ok(false);
    }
    if bits & target::COMM != 0 && task.comm != config!(comm) {
        return Ok(false);
    }
    if bits & target::LISTED != 0 {
        // SAFETY: the value is a marker that nobody writes after insertion.
        return Ok(unsafe { TARGET_NETNS.get(netns) }.is_some() || listed(cgroup)?);
    }
    if bits & target::UNLISTED != 0 {
        return Ok(!listed(cgroup)?);
    }
    Ok(true)
}

/// Whether `cgroup` or one above it is listed. The walk, and not a look at the task's own cgroup alone, finds
/// a container that started a moment ago, before the loader has heard of it.
#[inline(always)]
fn listed(cgroup: Cgroup) -> Result<bool, Skip> {
    let mut cgroup = cgroup;
    let mut depth = 0;
    while depth < MAX_DEPTH {
        // SAFETY: as above.
        if unsafe { TARGET_CGROUPS.get(cgroup.id()?) }.is_some() {
            return Ok(true);
        }
        match cgroup.parent()? {
            Some(parent) => cgroup = parent,
            None => return Ok(false),
        }
        depth += 1;
    }
    Ok(false)
}

/// Flows of wanted messages, for the hooks that meet packets and not tasks. The oldest goes when it is full.
#[map]
static FLOWS: LruHashMap<Flow, u8> = LruHashMap::with_max_entries(65_536, 0);

/// Whether it can only be told by what is remembered that this is DNS: over HTTPS, of which not everything on the port is.
#[inline(always)]
fn is_https(flow: &Flow) -> bool {
    let [_, https] = config!(encrypted_ports);
    flow.protocol == IPPROTO_TCP && https != 0 && (flow.sport == https || flow.dport == https)
}

/// Remembers that packets of this flow, there and back, are wanted.
#[inline(always)]
pub fn remember(flow: &Flow) {
    if config!(target) != 0 || is_https(flow) {
        // An LRU map takes every key, or is out of memory for a moment: then the packet's fate stays untold.
        _ = FLOWS.insert(flow, 1, 0);
    }
}

/// Whether the user asked for this packet: one of a namespace that is meant, or of a flow that a wanted message has
/// taken. `scratch` is room for a flow.
#[inline(always)]
pub fn packet_wanted(packet: &Packet, scratch: &mut Flow) -> bool {
    if flow_wanted(&packet.flow, packet.netns) {
        return true;
    }
    if packet.connection.ct != 0 && known(&packet.connection.original) {
        return true;
    }
    reverse_to(&packet.flow, scratch);
    known(scratch)
}

/// Whether the user asked for an entry of this flow in this namespace.
#[inline(always)]
pub fn flow_wanted(flow: &Flow, netns: u32) -> bool {
    known(flow) || !is_https(flow) && namespace_meant(netns)
}

/// Whether everything in this namespace is wanted. Where single processes of it are, their flows alone tell.
#[inline(always)]
fn namespace_meant(netns: u32) -> bool {
    let bits = config!(target);
    if bits == 0 {
        return true;
    }
    let of_processes = bits & (target::PROCESS | target::COMM) != 0;
    // SAFETY: the value is a marker that nobody writes after insertion.
    bits & target::LISTED != 0 && !of_processes && unsafe { TARGET_NETNS.get(netns) }.is_some()
}

#[inline(always)]
fn known(flow: &Flow) -> bool {
    // SAFETY: the value is a marker that nobody writes after insertion.
    unsafe { FLOWS.get(flow) }.is_some()
}

/// Writes the way back of `flow` to `to`.
#[inline(always)]
pub fn reverse_to(flow: &Flow, to: &mut Flow) {
    to.saddr = flow.daddr;
    to.daddr = flow.saddr;
    to.sport = flow.dport;
    to.dport = flow.sport;
    to.protocol = flow.protocol;
    to.reserved = [0; 3];
}

/// Well-known resolvers that speak DNS over HTTPS: their addresses, IPv4 as v4-mapped. Empty unless asked for.
#[map]
static DOH_RESOLVERS: HashMap<[u8; 16], u8> = HashMap::with_max_entries(1024, 0);

/// Whether a connection to this port of this address is DNS over TLS, or over HTTPS as far as one can tell.
#[inline(always)]
pub fn is_encrypted_dns(port: u16, address: &[u8; 16]) -> bool {
    let [tls, https] = config!(encrypted_ports);
    // SAFETY: the value is a marker that nobody writes after insertion.
    port == tls && tls != 0 || port == https && https != 0 && unsafe { DOH_RESOLVERS.get(address) }.is_some()
}
