//! What differs from processor to processor in the registers of a kprobe.
//!
//! A call is known by the stack pointer at the function's entry: unique as long as the function has not returned, also
//! where a softirq's call interrupts another on the same CPU.

use aya_ebpf::{
    bindings::pt_regs,
    programs::{ProbeContext, RetProbeContext},
};

/// How far the stack pointer at the return is above the one at the entry. On x86-64 the call pushes the return address
/// and the return takes it off; a kretprobe is shown the pointer behind the return (`regs->sp` of
/// `trampoline_handler`, since 6.0 `arch_rethook_trampoline_callback`). On arm64 the address is in a register.
const RETURN_ABOVE_ENTRY: u64 = if cfg!(bpf_target_arch = "x86_64") { size_of::<u64>() as u64 } else { 0 };

/// The call, at its entry.
#[inline(always)]
pub fn call_at_entry(ctx: &ProbeContext) -> u64 {
    // SAFETY: the context of a kprobe is the registers.
    stack_pointer(unsafe { &*ctx.regs })
}

/// The same call, at its return.
#[inline(always)]
pub fn call_at_return(ctx: &RetProbeContext) -> u64 {
    // SAFETY: the context of a kretprobe is the registers, as they are when the function has returned.
    stack_pointer(unsafe { &*ctx.regs }) - RETURN_ABOVE_ENTRY
}

#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
fn stack_pointer(registers: &pt_regs) -> u64 {
    registers.rsp
}

#[cfg(bpf_target_arch = "aarch64")]
#[inline(always)]
fn stack_pointer(registers: &pt_regs) -> u64 {
    registers.sp
}
