//! Records into the ring, and the count of those that did not fit.

use core::mem::size_of;

use aya_ebpf::{
    EbpfContext,
    helpers::{
        bpf_get_smp_processor_id, bpf_ktime_get_ns,
        generated::{bpf_probe_read_kernel, bpf_probe_read_user, bpf_ringbuf_output},
    },
    macros::map,
    maps::{PerCpuArray, RingBuf},
};
use aya_log_ebpf::warn;
use dnstrace_ebpf::{
    config::{Counters, HOOKS, Hook},
    wire::{EventHeader, MAX_EXCERPT, MAX_PAYLOAD},
};

use super::kernel::Skip;

/// All records of all hooks. The loader sets the size.
#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(16 << 20, 0);

/// Records that did not fit into the ring, of all hooks: a single number, for whoever has to know in time.
#[map]
static LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// What each hook did, by [`Hook`].
#[map]
static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(HOOKS, 0);

/// A record under construction: too large for the stack of 512 bytes. `CAPACITY` is twice the bytes of payload that
/// may be used, and a power of two: see [`bounded`].
#[repr(C)]
pub struct Record<H, const CAPACITY: usize> {
    pub head: H,
    payload: [u8; CAPACITY],
}

/// Capacity for a DNS message at a socket.
pub const WHOLE: usize = 2 * MAX_PAYLOAD;
/// Capacity for the beginning of a message in a packet on its way.
pub const EXCERPT: usize = 2 * MAX_EXCERPT;

impl<H, const CAPACITY: usize> Record<H, CAPACITY> {
    /// Copies up to `length` bytes from kernel address `from` into the payload. Returns how many were copied:
    /// none if the memory could not be read.
    #[inline(always)]
    pub fn copy_payload(&mut self, from: u64, length: u32) -> u32 {
        let length = bounded::<CAPACITY>(length);
        // SAFETY: the destination holds CAPACITY bytes, `bounded` gives less; the source is checked by the helper.
        let read =
            unsafe { bpf_probe_read_kernel(self.payload.as_mut_ptr().cast(), length, from as *const _) };
        if read == 0 { length } else { 0 }
    }

    /// The same from the current program's memory. None if a page of it is not resident.
    #[inline(always)]
    pub fn copy_user_payload(&mut self, from: u64, length: u32) -> u32 {
        let length = bounded::<CAPACITY>(length);
        // SAFETY: as above.
        let read = unsafe { bpf_probe_read_user(self.payload.as_mut_ptr().cast(), length, from as *const _) };
        if read == 0 { length } else { 0 }
    }

    /// The place of the payload, for a helper that fills it.
    #[inline(always)]
    pub fn payload(&mut self) -> &mut [u8; CAPACITY] {
        &mut self.payload
    }

    /// Writes the head and `captured` bytes of payload into the ring.
    #[inline(always)]
    pub fn output(&self, captured: u32) -> Result<(), Skip> {
        let size = size_of::<H>() as u64 + u64::from(bounded::<CAPACITY>(captured));
        // SAFETY: `self` is at least `size` bytes long: `bounded` sees to that.
        unsafe { write(&raw const *self, size) }
    }
}

/// Writes a record without payload into the ring.
#[inline(always)]
pub fn output<T>(record: &T) -> Result<(), Skip> {
    // SAFETY: a `T` is as long as itself.
    unsafe { write(&raw const *record, size_of::<T>() as u64) }
}

/// # Safety
/// `size` bytes from `from` on must be readable.
#[inline(always)]
unsafe fn write<T>(from: *const T, size: u64) -> Result<(), Skip> {
    // SAFETY: the caller vouches for the memory; the map is a ring buffer.
    let written =
        unsafe { bpf_ringbuf_output((&raw const EVENTS).cast_mut().cast(), from.cast_mut().cast(), size, 0) };
    if written == 0 { Ok(()) } else { Err(Skip::RingFull) }
}

/// `length`, at most half of `CAPACITY`, in a form that every verifier since 5.10 understands: the last word is a
/// mask, which bounds the register itself. The bound that a comparison gives is lost when LLVM spills the
/// register before and reloads it after (seen on 6.1).
#[inline(always)]
fn bounded<const CAPACITY: usize>(length: u32) -> u32 {
    const { assert!(CAPACITY.is_power_of_two()) };
    let most = CAPACITY as u32 / 2;
    let length = if length > most { most } else { length };
    core::hint::black_box(length) & (CAPACITY as u32 - 1)
}

/// The head of a record of this kind, now.
#[inline(always)]
pub fn header(kind: u16, hook: Hook) -> EventHeader {
    // SAFETY: helpers without arguments.
    let (time_ns, cpu) = unsafe { (bpf_ktime_get_ns(), bpf_get_smp_processor_id()) };
    EventHeader { time_ns, kind, hook: hook as u16, cpu }
}

/// Counts how a hook ended.
#[inline(always)]
pub fn count(ctx: &impl EbpfContext, hook: Hook, result: Result<(), Skip>) -> u32 {
    if result == Err(Skip::NotOurs) {
        return 0;
    }
    if result == Err(Skip::Unreadable) {
        warn!(ctx, "hook {}: kernel memory could not be read", hook as u32);
    }
    if result == Err(Skip::RingFull)
        && let Some(lost) = LOST.get_ptr_mut(0)
    {
        // SAFETY: as below.
        unsafe { *lost += 1 };
    }
    if let Some(counters) = COUNTERS.get_ptr_mut(hook as u32) {
        // SAFETY: this CPU's own slot. A program that interrupts another between its reading and writing may cost one of two
        // counts made at one instant, not a count of losses altogether.
        let counters = unsafe { &mut *counters };
        match result {
            Ok(()) => counters.written += 1,
            Err(Skip::RingFull) => counters.ring_full += 1,
            Err(Skip::Unreadable) => counters.unreadable += 1,
            Err(Skip::Unwanted) => counters.filtered += 1,
            Err(Skip::NotOurs) => {}
        }
    }
    0
}
