//! The only room that knows kernel structs: a file for each family of them. Offsets come from the running kernel's
//! BTF, as read-only globals.

mod conntrack;
mod module;
mod packet;
mod registers;
mod skb;
mod sock;
mod task;
mod user;

use core::ptr;

use aya_ebpf::helpers::{
    bpf_probe_read_kernel, generated::bpf_probe_read_kernel as bpf_probe_read_kernel_to,
};
use dnstrace_ebpf::config::{Config, MAX_PORTS, Offsets};

pub use conntrack::{CONFIRMED, Conn, NAT_CLASH, TupleHash};
pub use module::Module;
pub use packet::{TransportPacket, flow_to};
pub use registers::{call_at_entry, call_at_return};
pub use skb::SkBuff;
pub use sock::Sock;
pub use task::{Cgroup, current_to};
pub use user::{Buffers, Message, SocketAddress};

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
        unsafe { ::core::ptr::read_volatile(&raw const $crate::probes::kernel::offsets().$field) as usize }
    };
}
use offset;

/// A setting that the loader has set.
macro_rules! config {
    ($field:ident) => {
        // SAFETY: as with `offset!`.
        unsafe { ::core::ptr::read_volatile(&raw const $crate::probes::kernel::settings().$field) }
    };
}
pub(super) use config;

/// The offsets, for [`offset!`].
fn offsets() -> &'static Offsets {
    &OFFSETS
}

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
pub fn read_to<T>(to: &mut T, base: u64, offset: usize) -> Result<(), Skip> {
    let from = (base as usize).wrapping_add(offset) as *const _;
    // SAFETY: the destination is a `T`; the helper checks the source, and every bit pattern is a `T` of those
    // that are read here (integers and arrays of them).
    match unsafe { bpf_probe_read_kernel_to(ptr::from_mut(to).cast(), size_of::<T>() as u32, from) } {
        0 => Ok(()),
        _ => Err(Skip::Unreadable),
    }
}

/// IP protocol numbers.
pub const IPPROTO_TCP: u8 = 6;
pub const IPPROTO_UDP: u8 = 17;

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

/// Whether this is a port of DNS over TLS or HTTPS.
#[inline(always)]
pub fn encrypted(port: u16) -> bool {
    let [tls, https] = config!(encrypted_ports);
    port != 0 && (port == tls || port == https)
}

/// `net->ns.inum`
#[inline(always)]
fn netns_inum(net: u64) -> Result<u32, Skip> {
    read(net, offset!(net_inum))
}

#[inline(always)]
fn v4_mapped(v4: u32) -> [u8; 16] {
    // As two words, not as 16 bytes: the compiler would keep each byte in a place of its own on the stack.
    let words = [0, (0xffff_u64 << 16).to_le() | (u64::from(v4) << 32)];
    zerocopy::transmute!(words)
}
