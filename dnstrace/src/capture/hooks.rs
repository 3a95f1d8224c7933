//! The table of hooks: which program goes where, and what cannot be told without it.

use dnstrace_ebpf::config::{HOOKS, Hook};

/// How a program attaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Entry of a kernel function. The program is a kprobe; another, whose name ends in `_fentry`, does the same.
    Entry,
    /// Entry and return of a kernel function: two further programs, whose names end in `_return` (a kretprobe) and
    /// `_fexit`.
    Call,
    /// A raw tracepoint.
    RawTracepoint,
}

impl Kind {
    /// Whether it is attached to a function by its name.
    pub fn is_function(self) -> bool {
        matches!(self, Self::Entry | Self::Call)
    }
}

/// What a hook needs of the kernel beside its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    Nothing,
    /// BTF of connection tracking's structures.
    ConntrackFields,
    /// Likewise, and its module: in most kernels it is one.
    ConntrackModule,
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub hook: Hook,
    /// Name of the program in the eBPF object.
    pub program: &'static str,
    pub kind: Kind,
    /// Kernel function or tracepoint: the first of these that the kernel has.
    pub targets: &'static [&'static str],
    pub needs: Needs,
    /// Without it there is no point in tracing at all.
    pub mandatory: bool,
    /// What cannot be seen without it, as the user reads it.
    pub lost_without: &'static str,
}

impl Row {
    /// The name that the hook goes by, whichever of its targets it is attached to.
    pub fn name(&self) -> &'static str {
        self.targets.first().copied().unwrap_or(self.program)
    }
}

/// All hooks, in the order of [`Hook`].
pub const TABLE: [Row; HOOKS as usize] = [
    Row {
        hook: Hook::IpSendSkb,
        program: "ip_send_skb",
        kind: Kind::Entry,
        targets: &["ip_send_skb"],
        needs: Needs::Nothing,
        mandatory: true,
        lost_without: "messages sent over IPv4 UDP",
    },
    Row {
        hook: Hook::Ip6SendSkb,
        program: "ip6_send_skb",
        kind: Kind::Entry,
        targets: &["ip6_send_skb"],
        needs: Needs::Nothing,
        mandatory: false,
        lost_without: "messages sent over IPv6 UDP",
    },
    Row {
        hook: Hook::SkbConsumeUdp,
        program: "skb_consume_udp",
        kind: Kind::Entry,
        targets: &["skb_consume_udp"],
        needs: Needs::Nothing,
        mandatory: true,
        lost_without: "messages received over UDP",
    },
    Row {
        hook: Hook::CgroupMkdir,
        program: "cgroup_mkdir",
        kind: Kind::RawTracepoint,
        targets: &["cgroup_mkdir"],
        needs: Needs::Nothing,
        mandatory: false,
        lost_without: "the names of containers that live too briefly to be looked up",
    },
    Row {
        hook: Hook::UdpEnqueue,
        program: "udp_enqueue",
        kind: Kind::Entry,
        targets: &["__udp_enqueue_schedule_skb"],
        needs: Needs::Nothing,
        mandatory: false,
        lost_without: "how long an answer waited in the socket for its program",
    },
    Row {
        hook: Hook::UdpSendmsg,
        program: "udp_sendmsg",
        kind: Kind::Call,
        targets: &["udp_sendmsg"],
        needs: Needs::Nothing,
        mandatory: false,
        lost_without: "messages that the kernel refused to send, over IPv4",
    },
    Row {
        hook: Hook::Udpv6Sendmsg,
        program: "udpv6_sendmsg",
        kind: Kind::Call,
        targets: &["udpv6_sendmsg"],
        needs: Needs::Nothing,
        mandatory: false,
        lost_without: "messages that the kernel refused to send, over IPv6",
    },
    Row {
        hook: Hook::KfreeSkb,
        program: "kfree_skb",
        kind: Kind::RawTracepoint,
        targets: &["kfree_skb"],
        needs: Needs::Nothing,
        mandatory: false,
        lost_without: "where packets are dropped",
    },
    Row {
        hook: Hook::Confirm,
        program: "nf_conntrack_confirm",
        kind: Kind::Call,
        targets: &["__nf_conntrack_confirm"],
        needs: Needs::ConntrackModule,
        mandatory: false,
        lost_without: "what connection tracking did to a query, and the endpoint behind a ClusterIP",
    },
    Row {
        hook: Hook::ResolveClash,
        program: "nf_ct_resolve_clash",
        kind: Kind::Entry,
        targets: &["nf_ct_resolve_clash"],
        needs: Needs::ConntrackModule,
        mandatory: false,
        lost_without: "with which other query one clashed in connection tracking",
    },
    Row {
        hook: Hook::EarlyDrop,
        program: "early_drop",
        kind: Kind::Call,
        targets: &["early_drop"],
        needs: Needs::ConntrackModule,
        mandatory: false,
        lost_without: "that the connection tracking table was full",
    },
    Row {
        hook: Hook::CtDelete,
        program: "nf_ct_delete",
        kind: Kind::Entry,
        targets: &["nf_ct_delete"],
        needs: Needs::ConntrackModule,
        mandatory: false,
        lost_without: "queries whose entry was thrown out of the full connection tracking table",
    },
    Row {
        hook: Hook::IcmpSend,
        program: "icmp_send",
        kind: Kind::Entry,
        targets: &["__icmp_send"],
        needs: Needs::Nothing,
        mandatory: false,
        lost_without: "ICMP errors that this node sends about a query",
    },
    Row {
        hook: Hook::Icmp6Send,
        program: "icmp6_send",
        kind: Kind::Entry,
        targets: &["icmp6_send"],
        needs: Needs::Nothing,
        mandatory: false,
        lost_without: "ICMPv6 errors that this node sends about a query",
    },
    Row {
        hook: Hook::Udp4Err,
        program: "udp4_lib_err",
        kind: Kind::Entry,
        targets: &["__udp4_lib_err", "udp_err"],
        needs: Needs::Nothing,
        mandatory: false,
        lost_without: "ICMP errors that come back for a query over UDP",
    },
    Row {
        hook: Hook::Udp6Err,
        program: "udp6_lib_err",
        kind: Kind::Entry,
        targets: &["__udp6_lib_err", "udpv6_err"],
        needs: Needs::Nothing,
        mandatory: false,
        lost_without: "ICMPv6 errors that come back for a query over UDP",
    },
    Row {
        hook: Hook::Udp4Receive,
        program: "udp4_receive",
        kind: Kind::Entry,
        targets: &["__udp4_lib_rcv", "udp_rcv"],
        needs: Needs::ConntrackFields,
        mandatory: false,
        lost_without: "that a query was not tracked (NOTRACK)",
    },
    Row {
        hook: Hook::Udp6Receive,
        program: "udp6_receive",
        kind: Kind::Entry,
        targets: &["__udp6_lib_rcv", "udpv6_rcv"],
        needs: Needs::ConntrackFields,
        mandatory: false,
        lost_without: "that a query over IPv6 was not tracked (NOTRACK)",
    },
    Row {
        hook: Hook::UdpRecvmsg,
        program: "udp_recvmsg",
        kind: Kind::Entry,
        targets: &["udp_recvmsg"],
        needs: Needs::Nothing,
        mandatory: false,
        lost_without: "the end of answers that came in several pieces (IP fragments)",
    },
    Row {
        hook: Hook::Udpv6Recvmsg,
        program: "udpv6_recvmsg",
        kind: Kind::Entry,
        targets: &["udpv6_recvmsg"],
        needs: Needs::Nothing,
        mandatory: false,
        lost_without: "the end of answers that came over IPv6 in several pieces",
    },
    Row {
        hook: Hook::TcpSendmsg,
        program: "tcp_sendmsg",
        kind: Kind::Entry,
        targets: &["tcp_sendmsg_locked"],
        needs: Needs::Nothing,
        mandatory: false,
        lost_without: "messages sent over TCP",
    },
    Row {
        hook: Hook::TcpRecvmsg,
        program: "tcp_recvmsg",
        kind: Kind::Entry,
        targets: &["tcp_recvmsg"],
        needs: Needs::Nothing,
        mandatory: false,
        lost_without: "messages received over TCP",
    },
    Row {
        hook: Hook::TcpCleanupRbuf,
        program: "tcp_cleanup_rbuf",
        kind: Kind::Entry,
        targets: &["tcp_cleanup_rbuf"],
        needs: Needs::Nothing,
        mandatory: false,
        lost_without: "messages received over TCP",
    },
    Row {
        hook: Hook::TcpState,
        program: "tcp_state",
        kind: Kind::RawTracepoint,
        targets: &["inet_sock_set_state"],
        needs: Needs::Nothing,
        mandatory: false,
        lost_without: "how TCP connections open and end, and DNS over TLS and HTTPS",
    },
    Row {
        hook: Hook::TcpRetransmit,
        program: "tcp_retransmit",
        kind: Kind::RawTracepoint,
        targets: &["tcp_retransmit_skb"],
        needs: Needs::Nothing,
        mandatory: false,
        lost_without: "what TCP had to send again",
    },
    Row {
        hook: Hook::TcpV4Connect,
        program: "tcp_v4_connect",
        kind: Kind::Call,
        targets: &["tcp_v4_connect"],
        needs: Needs::Nothing,
        mandatory: false,
        lost_without: "TCP connections that the kernel refused to open, over IPv4",
    },
    Row {
        hook: Hook::TcpV6Connect,
        program: "tcp_v6_connect",
        kind: Kind::Call,
        targets: &["tcp_v6_connect"],
        needs: Needs::Nothing,
        mandatory: false,
        lost_without: "TCP connections that the kernel refused to open, over IPv6",
    },
    Row {
        hook: Hook::TcpConnect,
        program: "tcp_connect",
        kind: Kind::Entry,
        targets: &["tcp_connect"],
        needs: Needs::Nothing,
        mandatory: false,
        lost_without: "who opens TCP connections",
    },
    Row {
        hook: Hook::ModuleLoad,
        program: "module_load",
        kind: Kind::RawTracepoint,
        targets: &["module_load"],
        needs: Needs::Nothing,
        mandatory: false,
        lost_without: "that connection tracking is loaded while the trace runs",
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
