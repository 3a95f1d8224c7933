//! The table of hooks: which program goes where, and what cannot be told without it.

use dnstrace_ebpf::config::{HOOKS, Hook};

/// How a program attaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Entry of a kernel function.
    Kprobe,
    /// A raw tracepoint.
    RawTracepoint,
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub hook: Hook,
    /// Name of the program in the eBPF object.
    pub program: &'static str,
    pub kind: Kind,
    /// Kernel function or tracepoint.
    pub target: &'static str,
    /// Without it there is no point in tracing at all.
    pub mandatory: bool,
    /// What cannot be seen without it, as the user reads it.
    pub lost_without: &'static str,
}

/// All hooks, in the order of [`Hook`].
pub const TABLE: [Row; HOOKS as usize] = [
    Row {
        hook: Hook::IpSendSkb,
        program: "ip_send_skb",
        kind: Kind::Kprobe,
        target: "ip_send_skb",
        mandatory: true,
        lost_without: "messages sent over IPv4 UDP",
    },
    Row {
        hook: Hook::Ip6SendSkb,
        program: "ip6_send_skb",
        kind: Kind::Kprobe,
        target: "ip6_send_skb",
        mandatory: false,
        lost_without: "messages sent over IPv6 UDP",
    },
    Row {
        hook: Hook::SkbConsumeUdp,
        program: "skb_consume_udp",
        kind: Kind::Kprobe,
        target: "skb_consume_udp",
        mandatory: true,
        lost_without: "messages received over UDP",
    },
    Row {
        hook: Hook::CgroupMkdir,
        program: "cgroup_mkdir",
        kind: Kind::RawTracepoint,
        target: "cgroup_mkdir",
        mandatory: false,
        lost_without: "the names of containers that live too briefly to be looked up",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_hooks() {
        for (index, row) in TABLE.iter().enumerate() {
            assert_eq!(row.hook as usize, index, "{}", row.program);
        }
    }
}
