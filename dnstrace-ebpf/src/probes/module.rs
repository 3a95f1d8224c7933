//! Kernel modules that are loaded while the trace runs: connection tracking is one.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use dnstrace_ebpf::{
    config::Hook,
    wire::{ModuleEvent, kind},
};

use super::{
    kernel::{Module, Skip},
    ring::{count, header, output},
};

/// `TRACE_EVENT(module_load, TP_PROTO(struct module *mod))`, include/trace/events/module.h, 5.10 to 7.2: in the task that
/// loads it, before the module's own initialisation.
#[raw_tracepoint(tracepoint = "module_load")]
pub fn module_load(ctx: RawTracePointContext) -> i32 {
    count(&ctx, Hook::ModuleLoad, write_module(Module(ctx.arg(0)))) as i32
}

#[inline(always)]
fn write_module(module: Module) -> Result<(), Skip> {
    output(&ModuleEvent { header: header(kind::MODULE, Hook::ModuleLoad), name: module.name()? })
}
