//! Cgroups as they are made: so that the name of a container is known before its first message, however
//! short it lives.

use aya_ebpf::{
    helpers::generated::bpf_probe_read_kernel_str,
    macros::{map, raw_tracepoint},
    maps::PerCpuArray,
    programs::RawTracePointContext,
};
use dnstrace_ebpf::{
    config::Hook,
    wire::{CgroupEvent, MAX_CGROUP_PATH, kind},
};

use super::{
    kernel::{Cgroup, Skip},
    ring::{EXCERPT, Record, count, header},
};

/// One record under construction a CPU; its own, as a raw tracepoint may fire inside a kprobe program.
#[map]
static CGROUP: PerCpuArray<Record<CgroupEvent, EXCERPT>> = PerCpuArray::with_max_entries(1, 0);

/// `TRACE_EVENT(cgroup_mkdir, TP_PROTO(struct cgroup *cgrp, const char *path))`,
/// include/trace/events/cgroup.h, 5.10 to 7.2. The path is relative to the root of the hierarchy.
#[raw_tracepoint(tracepoint = "cgroup_mkdir")]
pub fn cgroup_mkdir(ctx: RawTracePointContext) -> i32 {
    count(&ctx, Hook::CgroupMkdir, try_mkdir(&ctx)) as i32
}

#[inline(always)]
fn try_mkdir(ctx: &RawTracePointContext) -> Result<(), Skip> {
    let cgroup = Cgroup(ctx.arg(0));
    let path: u64 = ctx.arg(1);
    let record = CGROUP.get_ptr_mut(0).ok_or(Skip::Unreadable)?;
    // SAFETY: this CPU's own slot; the tracepoint fires in process context under cgroup_mutex.
    let record = unsafe { &mut *record };
    // SAFETY: the destination holds MAX_CGROUP_PATH bytes; the source is checked by the helper.
    let read = unsafe {
        bpf_probe_read_kernel_str(
            record.payload().as_mut_ptr().cast(),
            MAX_CGROUP_PATH as u32,
            path as *const _,
        )
    };
    if read <= 0 {
        return Err(Skip::Unreadable);
    }
    // The count includes the NUL, which stays behind.
    let captured = read as u32 - 1;
    record.head = CgroupEvent {
        header: header(kind::CGROUP, Hook::CgroupMkdir),
        cgroup: cgroup.id()?,
        hierarchy: cgroup.hierarchy()?,
        captured,
    };
    record.output(captured)
}
