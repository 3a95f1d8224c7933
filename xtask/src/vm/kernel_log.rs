//! What a kernel's log says about the kernel's health.

use std::fmt;

/// A complaint of the kernel about itself, with the line that says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelFault {
    pub kind: FaultKind,
    pub line: String,
}

/// Ordered by how bad it is, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// A breakpoint that nobody had set: the panic that follows says nothing of it.
    StaleBreakpoint,
    Panic,
    Oops,
    OutOfMemory,
    Lockup,
    RcuStall,
    HungTask,
    Warning,
}

impl fmt::Display for KernelFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            FaultKind::StaleBreakpoint => "the kernel met a breakpoint that was no longer there",
            FaultKind::Panic => "the kernel panicked",
            FaultKind::Oops => "the kernel failed (oops or BUG)",
            FaultKind::OutOfMemory => "the VM ran out of memory",
            FaultKind::Lockup => "a CPU was locked up",
            FaultKind::RcuStall => "RCU stalled",
            FaultKind::HungTask => "a task hung",
            FaultKind::Warning => "the kernel gave a WARNING",
        };
        write!(f, "{what}: {}", self.line)
    }
}

/// The worst fault in a kernel log, the first one of its kind.
pub fn worst_fault(log: &str) -> Option<KernelFault> {
    let faults = log.lines().filter_map(|line| {
        let message = without_prefix(line);
        fault_kind(message).map(|kind| KernelFault { kind, line: message.to_owned() })
    });
    faults.min_by_key(|fault| fault.kind)
}

/// The last `lines` lines.
pub fn tail(log: &str, lines: usize) -> String {
    let all: Vec<&str> = log.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Takes off the time (`[    1.234567] `) and, where the kernel is set so, the caller (`[    T1] `).
fn without_prefix(line: &str) -> &str {
    let mut rest = line.trim();
    while let Some((inside, after)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let is_prefix = inside.trim().trim_start_matches(['T', 'C']).parse::<f64>().is_ok();
        if !is_prefix {
            break;
        }
        rest = after.trim_start();
    }
    rest
}

/// The words are those of kernel/panic.c, lib/bug.c, arch/x86/kernel/dumpstack.c, arch/x86/mm/fault.c,
/// kernel/watchdog.c, kernel/rcu/tree_stall.h, kernel/hung_task.c and mm/oom_kill.c, 5.10 to 7.2.
fn fault_kind(message: &str) -> Option<FaultKind> {
    let starts = |words: &[&str]| words.iter().any(|word| message.starts_with(word));
    if starts(&["Oops: int3: ", "int3: "]) {
        Some(FaultKind::StaleBreakpoint)
    } else if starts(&["Kernel panic - not syncing"]) {
        Some(FaultKind::Panic)
    } else if message.contains("soft lockup - CPU#") || message.contains("hard LOCKUP on cpu") {
        Some(FaultKind::Lockup)
    } else if starts(&["rcu: INFO:", "INFO: rcu_"]) && message.contains("stall") {
        Some(FaultKind::RcuStall)
    } else if starts(&["BUG: ", "kernel BUG at ", "Oops: ", "general protection fault", "UBSAN: ", "KASAN: "])
    {
        Some(FaultKind::Oops)
    } else if starts(&["INFO: task "]) && message.contains("blocked for more than") {
        Some(FaultKind::HungTask)
    } else if starts(&["Out of memory: "]) {
        Some(FaultKind::OutOfMemory)
    } else if starts(&["WARNING: "]) {
        Some(FaultKind::Warning)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn healthy_boot_has_no_fault() {
        let log = "\
[    0.000000] Linux version 6.1.0-56-amd64 (debian-kernel@lists.debian.org)
[    0.010000] Kernel command line: console=ttyS0 panic=-1 oops=panic
[    0.200000] rcu: \tRCU restricting CPUs from NR_CPUS=8192 to nr_cpu_ids=2.
[    0.300000] MDS: Vulnerable: Clear CPU buffers attempted, no microcode
[    1.100000] clocksource: timekeeping watchdog on CPU1: Marking clocksource 'tsc' as unstable
[    9.100000] Memory cgroup out of memory: Killed process 311 (unbound)
";
        assert_eq!(worst_fault(log), None);
    }

    #[test]
    fn every_kind_is_known_by_its_line() {
        let lines = [
            ("Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100", FaultKind::Panic),
            ("BUG: kernel NULL pointer dereference, address: 0000000000000008", FaultKind::Oops),
            ("Oops: 0002 [#1] PREEMPT SMP NOPTI", FaultKind::Oops),
            ("general protection fault, probably for non-canonical address", FaultKind::Oops),
            ("kernel BUG at mm/slub.c:379!", FaultKind::Oops),
            ("Out of memory: Killed process 400 (e2e) total-vm:3000000kB", FaultKind::OutOfMemory),
            ("watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [dnstrace:311]", FaultKind::Lockup),
            ("rcu: INFO: rcu_preempt self-detected stall on CPU", FaultKind::RcuStall),
            ("Oops: int3: 0000 [#1] PREEMPT SMP NOPTI", FaultKind::StaleBreakpoint),
            ("int3: 0000 [#1] PREEMPT SMP NOPTI", FaultKind::StaleBreakpoint),
            ("rcu: INFO: rcu_sched detected stalls on CPUs/tasks:", FaultKind::RcuStall),
            ("INFO: task e2e:311 blocked for more than 120 seconds.", FaultKind::HungTask),
            ("WARNING: CPU: 0 PID: 311 at kernel/trace/bpf_trace.c:1 f+0x1/0x2", FaultKind::Warning),
            ("WARNING: kernel/trace/bpf_trace.c:1 at f+0x1/0x2, CPU#0: e2e/311", FaultKind::Warning),
        ];
        for (line, kind) in lines {
            for prefix in ["", "[    1.234567] ", "[ 1000.234567][  T311] ", "[    1.2][    C0] "] {
                let fault = worst_fault(&format!("[    0.1] fine\n{prefix}{line}\r\n"));
                assert_eq!(fault, Some(KernelFault { kind, line: line.to_owned() }));
            }
        }
    }

    #[test]
    fn worst_fault_wins_over_the_first() {
        let log = "[ 1.0] WARNING: CPU: 0\n[ 2.0] Kernel panic - not syncing: x\n[ 3.0] BUG: y";
        assert_eq!(worst_fault(log).map(|fault| fault.kind), Some(FaultKind::Panic));
    }

    #[test]
    fn stale_breakpoint_is_the_cause_of_its_panic() {
        let log =
            "[ 1.0] Oops: int3: 0000 [#1] PREEMPT SMP\n[ 1.1] Kernel panic - not syncing: Fatal exception";
        assert_eq!(worst_fault(log).map(|fault| fault.kind), Some(FaultKind::StaleBreakpoint));
    }

    #[test]
    fn tail_is_the_end() {
        assert_eq!(tail("a\nb\nc\n", 2), "b\nc");
        assert_eq!(tail("a\n", 5), "a");
        assert_eq!(tail("", 5), "");
    }
}
