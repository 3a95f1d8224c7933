//! What the checked-in fixtures keep of each kernel. After a change: [`super::kernels::regenerate`].

/// Members that dnstrace reads, or that tell where to look, each with its other names over the versions.
pub const MEMBERS: &[&[&str]] = &[
    // Packets
    &["sk_buff.next"],
    &["sk_buff.dev"],
    &["sk_buff.sk"],
    &["sk_buff.tstamp"],
    &["sk_buff._nfct"],
    &["sk_buff.len"],
    &["sk_buff.data_len"],
    &["sk_buff.mark"],
    &["sk_buff.protocol"],
    &["sk_buff.transport_header"],
    &["sk_buff.network_header"],
    &["sk_buff.mac_header"],
    &["sk_buff.end"],
    &["sk_buff.head"],
    &["sk_buff.data"],
    &["skb_shared_info.nr_frags"],
    &["skb_shared_info.gso_size"],
    &["skb_shared_info.gso_segs"],
    &["skb_shared_info.frag_list"],
    &["skb_shared_info.frags"],
    // Sockets
    &["sock_common.skc_daddr"],
    &["sock_common.skc_rcv_saddr"],
    &["sock_common.skc_dport"],
    &["sock_common.skc_num"],
    &["sock_common.skc_family"],
    &["sock_common.skc_state"],
    &["sock_common.skc_net.net"],
    &["sock_common.skc_v6_daddr"],
    &["sock_common.skc_v6_rcv_saddr"],
    &["sock.__sk_common.skc_net.net"],
    &["sock.sk_protocol"],
    &["sock.sk_cgrp_data.cgroup"],
    &["sock.sk_err"],
    &["sock.sk_rcvbuf"],
    &["sock.sk_drops"],
    &["sock.sk_backlog.rmem_alloc"],
    &["sock.sk_receive_queue.qlen"],
    &["inet_sock.inet_saddr"],
    &["inet_sock.inet_sport"],
    &["tcp_sock.write_seq"],
    &["tcp_sock.copied_seq"],
    &["tcp_sock.snd_una"],
    &["tcp_sock.rcv_nxt"],
    // User memory
    &["msghdr.msg_name"],
    &["msghdr.msg_namelen"],
    &["msghdr.msg_iter"],
    &["iov_iter.iter_type", "iov_iter.type"],
    &["iov_iter.iov_offset"],
    &["iov_iter.count"],
    &["iov_iter.__iov", "iov_iter.iov"],
    &["iov_iter.ubuf"],
    &["iov_iter.nr_segs"],
    &["iovec.iov_base"],
    &["iovec.iov_len"],
    // Netfilter
    &["nf_conn.status"],
    &["nf_conn.timeout"],
    &["nf_conn.tuplehash"],
    &["nf_conn.ct_net.net"],
    &["nf_conntrack_tuple_hash.tuple"],
    &["nf_conntrack_tuple.src.u3"],
    &["nf_conntrack_tuple.src.u.all"],
    &["nf_conntrack_tuple.src.l3num"],
    &["nf_conntrack_tuple.dst.u3"],
    &["nf_conntrack_tuple.dst.u.all"],
    &["nf_conntrack_tuple.dst.protonum"],
    &["nf_conntrack_tuple.dst.dir"],
    &["nf_hook_state.hook"],
    &["nf_hook_state.pf"],
    &["nf_hook_state.in"],
    &["nf_hook_state.out"],
    &["nf_hook_state.net"],
    // Devices and namespaces
    &["net_device.ifindex"],
    &["net_device.nd_net.net"],
    &["net_device.name"],
    &["net.ns.inum"],
    // Processes and cgroups
    &["task_struct.group_leader"],
    &["task_struct.tgid"],
    &["task_struct.comm"],
    &["task_struct.cgroups"],
    &["task_struct.nsproxy"],
    &["nsproxy.net_ns"],
    &["css_set.dfl_cgrp"],
    &["css_set.subsys"],
    &["cgroup_subsys_state.cgroup"],
    &["cgroup_subsys_state.parent"],
    &["cgroup.self"],
    &["cgroup.level"],
    &["cgroup.kn"],
    &["cgroup.root"],
    &["cgroup_root.hierarchy_id"],
    &["kernfs_node.id"],
];

/// Members that older kernels do not have at all.
pub const OPTIONAL_MEMBERS: &[&str] = &["iov_iter.ubuf"];

pub const ENUMS: &[&str] = &["cgroup_subsys_id", "iter_type", "skb_drop_reason"];

pub const TRACEPOINTS: &[&str] = &["kfree_skb", "cgroup_mkdir", "cgroup_rmdir", "sched_process_exit"];

/// Those of the core kernel: a module's are in its own BTF.
pub const FUNCTIONS: &[&str] = &[
    "ip_send_skb",
    "ip6_send_skb",
    "skb_consume_udp",
    "__udp_enqueue_schedule_skb",
    "udp_sendmsg",
    "udpv6_sendmsg",
    "tcp_sendmsg_locked",
    "tcp_recvmsg",
    "tcp_cleanup_rbuf",
    "tcp_v4_connect",
    "nf_hook_slow",
    "__icmp_send",
    "icmp6_send",
];

/// All names of all members.
pub fn paths() -> impl Iterator<Item = &'static str> {
    MEMBERS.iter().copied().flatten().copied()
}
