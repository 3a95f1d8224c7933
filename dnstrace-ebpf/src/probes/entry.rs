//! The two ways to a kernel function: kprobe, which every kernel has, and fentry with its fexit, which costs less. A hook's
//! code is the same for both.
//!
//! The kernel never runs one program twice at a time on one CPU: of kprobes it runs one at a time altogether, of fentry
//! programs it skips one that is under way there and counts that. But different fentry programs may interrupt each other.
//! So what a program builds records in is its own: a slot for each.

use aya_ebpf::{
    EbpfContext,
    programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext},
};

/// The arguments of a kernel function at its entry.
pub trait Arguments: EbpfContext {
    /// The `n`th, from 0: the register as it is. The upper half means nothing if the argument has 32 bits.
    fn argument(&self, n: usize) -> u64;
}

impl Arguments for ProbeContext {
    #[inline(always)]
    fn argument(&self, n: usize) -> u64 {
        // There is none only beyond the registers that hold arguments.
        self.arg(n).unwrap_or(0)
    }
}

impl Arguments for FEntryContext {
    #[inline(always)]
    fn argument(&self, n: usize) -> u64 {
        self.arg(n)
    }
}

/// What a kernel function returned.
pub trait Returned: EbpfContext {
    /// The value of a function that has `arguments` arguments.
    fn returned(&self, arguments: usize) -> u64;
}

impl Returned for RetProbeContext {
    #[inline(always)]
    fn returned(&self, _: usize) -> u64 {
        self.ret()
    }
}

impl Returned for FExitContext {
    /// The value stands behind the arguments. (The helper that fetches it came with 5.17 only.)
    #[inline(always)]
    fn returned(&self, arguments: usize) -> u64 {
        self.arg(arguments)
    }
}

/// Defines a hook at the entry of a function: as a kprobe of the first name and as fentry of the second.
macro_rules! at_entry {
    ($(#[$doc:meta])* $kprobe:ident, $fentry:ident, $hook:expr, |$ctx:ident| $body:expr) => {
        $(#[$doc])*
        #[aya_ebpf::macros::kprobe]
        pub fn $kprobe(context: aya_ebpf::programs::ProbeContext) -> u32 {
            let $ctx = &context;
            $crate::probes::ring::count($ctx, $hook, $body)
        }

        #[doc = "The same as fentry."]
        #[aya_ebpf::macros::fentry]
        pub fn $fentry(context: aya_ebpf::programs::FEntryContext) -> i32 {
            let $ctx = &context;
            $crate::probes::ring::count($ctx, $hook, $body) as i32
        }
    };
}
pub(super) use at_entry;

/// Defines a hook at the return of a function: as a kretprobe and as fexit.
macro_rules! at_return {
    ($(#[$doc:meta])* $kretprobe:ident, $fexit:ident, $hook:expr, |$ctx:ident| $body:expr) => {
        $(#[$doc])*
        #[aya_ebpf::macros::kretprobe]
        pub fn $kretprobe(context: aya_ebpf::programs::RetProbeContext) -> u32 {
            let $ctx = &context;
            $crate::probes::ring::count($ctx, $hook, $body)
        }

        #[doc = "The same as fexit."]
        #[aya_ebpf::macros::fexit]
        pub fn $fexit(context: aya_ebpf::programs::FExitContext) -> i32 {
            let $ctx = &context;
            $crate::probes::ring::count($ctx, $hook, $body) as i32
        }
    };
}
pub(super) use at_return;
