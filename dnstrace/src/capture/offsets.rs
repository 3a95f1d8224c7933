//! Where the running kernel keeps its fields: the [`Offsets`] of the eBPF programs, out of its BTF.

use dnstrace_ebpf::config::{ABSENT, Config, Offsets};

use super::btf::{Btf, BtfError};

/// Looks up all offsets.
///
/// # Errors
/// If a field does not exist in this kernel: the error names it.
pub fn resolve(btf: &Btf) -> Result<Offsets, BtfError> {
    let at = |path: &str| btf.offset(path);
    let optional = |path: &str| btf.offset(path).unwrap_or(ABSENT);
    let mut offsets = Offsets {
        skb_head: at("sk_buff.head")?,
        skb_data: at("sk_buff.data")?,
        skb_len: at("sk_buff.len")?,
        skb_data_len: at("sk_buff.data_len")?,
        skb_end: at("sk_buff.end")?,
        skb_sk: at("sk_buff.sk")?,
        skb_network_header: at("sk_buff.network_header")?,
        skb_transport_header: at("sk_buff.transport_header")?,
        skb_protocol: at("sk_buff.protocol")?,
        skb_dev: at("sk_buff.dev")?,
        skb_nfct: optional("sk_buff._nfct"),
        shinfo_gso_size: at("skb_shared_info.gso_size")?,
        dev_net: at("net_device.nd_net.net")?,
        sk_protocol: at("sock.sk_protocol")?,
        sk_net: at("sock.__sk_common.skc_net.net")?,
        sk_family: at("sock.__sk_common.skc_family")?,
        sk_daddr: at("sock.__sk_common.skc_daddr")?,
        sk_rcv_saddr: at("sock.__sk_common.skc_rcv_saddr")?,
        sk_v6_daddr: optional("sock.__sk_common.skc_v6_daddr"),
        sk_v6_rcv_saddr: optional("sock.__sk_common.skc_v6_rcv_saddr"),
        sk_dport: at("sock.__sk_common.skc_dport")?,
        sk_num: at("sock.__sk_common.skc_num")?,
        inet_sport: at("inet_sock.inet_sport")?,
        sk_state: at("sock.__sk_common.skc_state")?,
        sk_err: at("sock.sk_err")?,
        tcp_write_seq: at("tcp_sock.write_seq")?,
        tcp_copied_seq: at("tcp_sock.copied_seq")?,
        tcp_bytes_acked: at("tcp_sock.bytes_acked")?,
        tcp_bytes_received: at("tcp_sock.bytes_received")?,
        tcp_srtt_us: at("tcp_sock.srtt_us")?,
        net_inum: at("net.ns.inum")?,
        ct_tuplehash: optional("nf_conn.tuplehash"),
        tuplehash_size: btf.size_of("nf_conntrack_tuple_hash").unwrap_or(ABSENT),
        tuplehash_tuple: optional("nf_conntrack_tuple_hash.tuple"),
        ct_status: optional("nf_conn.status"),
        ct_timeout: optional("nf_conn.timeout"),
        ct_net: optional("nf_conn.ct_net.net"),
        tuple_src: optional("nf_conntrack_tuple.src.u3"),
        tuple_sport: optional("nf_conntrack_tuple.src.u.all"),
        tuple_l3num: optional("nf_conntrack_tuple.src.l3num"),
        tuple_dst: optional("nf_conntrack_tuple.dst.u3"),
        tuple_dport: optional("nf_conntrack_tuple.dst.u.all"),
        tuple_protonum: optional("nf_conntrack_tuple.dst.protonum"),
        tuple_dir: optional("nf_conntrack_tuple.dst.dir"),
        msg_name: at("msghdr.msg_name")?,
        msg_iter: at("msghdr.msg_iter")?,
        msg_flags: at("msghdr.msg_flags")?,
        iter_type: btf.first_offset(&["iov_iter.iter_type", "iov_iter.type"])?,
        iter_iov_offset: at("iov_iter.iov_offset")?,
        iter_count: at("iov_iter.count")?,
        iter_iov: btf.first_offset(&["iov_iter.__iov", "iov_iter.iov"])?,
        iter_nr_segs: at("iov_iter.nr_segs")?,
        iter_ubuf: optional("iov_iter.ubuf"),
        iovec_base: at("iovec.iov_base")?,
        iovec_len: at("iovec.iov_len")?,
        task_group_leader: at("task_struct.group_leader")?,
        task_comm: at("task_struct.comm")?,
        task_cgroups: at("task_struct.cgroups")?,
        css_set_dfl_cgrp: at("css_set.dfl_cgrp")?,
        css_set_subsys: at("css_set.subsys")?,
        css_cgroup: at("cgroup_subsys_state.cgroup")?,
        css_parent: at("cgroup_subsys_state.parent")?,
        cgroup_self: at("cgroup.self")?,
        cgroup_kn: at("cgroup.kn")?,
        cgroup_root: at("cgroup.root")?,
        cgroup_root_hierarchy_id: at("cgroup_root.hierarchy_id")?,
        module_name: optional("module.name"),
        kernfs_node_id: at("kernfs_node.id")?,
    };
    if !knows_conntrack(&offsets) {
        // What a packet's word points to could not be read.
        offsets.skb_nfct = ABSENT;
    }
    Ok(offsets)
}

/// Whether all of connection tracking's fields are known: without them its hooks are of no use.
pub fn knows_conntrack(offsets: &Offsets) -> bool {
    let Offsets {
        skb_nfct,
        ct_tuplehash,
        tuplehash_size,
        tuplehash_tuple,
        ct_status,
        ct_timeout,
        ct_net,
        ..
    } = *offsets;
    let Offsets {
        tuple_src,
        tuple_sport,
        tuple_l3num,
        tuple_dst,
        tuple_dport,
        tuple_protonum,
        tuple_dir,
        ..
    } = *offsets;
    let entry = [skb_nfct, ct_tuplehash, tuplehash_size, tuplehash_tuple, ct_status, ct_timeout, ct_net];
    let tuple = [tuple_src, tuple_sport, tuple_l3num, tuple_dst, tuple_dport, tuple_protonum, tuple_dir];
    entry.into_iter().chain(tuple).all(|offset| offset != ABSENT)
}

/// Fills in what the kernel's BTF says beside offsets: values of enums, arguments of tracepoints.
pub fn configure(btf: &Btf, config: &mut Config) {
    let iter_type = |name| {
        btf.enum_value("iter_type", name).and_then(|value| u32::try_from(value).ok()).unwrap_or(ABSENT)
    };
    config.iter_iovec = iter_type("ITER_IOVEC");
    config.iter_ubuf = iter_type("ITER_UBUF");
    // `iov_iter.type` held the direction in its lowest bit, until `iter_type` took its place (5.14).
    config.iter_mask = if btf.offset("iov_iter.iter_type").is_ok() { 0xff } else { 0xfe };
    let arguments = btf.tracepoint_params("tcp_retransmit_skb").unwrap_or_default();
    config.retransmit_error = u32::from(arguments.iter().any(|argument| argument == "int"));
    let arguments = btf.tracepoint_params("kfree_skb").unwrap_or_default();
    // An `int nonblock` stood before the flags up to 5.18.
    let arguments_of_tcp_recvmsg = btf.func_params("tcp_recvmsg").map_or(0, |arguments| arguments.len());
    config.tcp_recv_flags = if arguments_of_tcp_recvmsg == 6 { 4 } else { 3 };
    config.drop_reasons = u32::from(arguments.iter().any(|argument| argument == "enum skb_drop_reason"));
}

/// Whether the kernel keeps an fentry program from running twice at a time on one CPU: since 5.12, by the counter
/// `active` of each program. Ours rely on it.
pub fn guards_fentry(btf: &Btf) -> bool {
    btf.offset("bpf_prog.active").is_ok()
}

/// Index of the memory controller in `css_set.subsys` ([`ABSENT`] if the kernel has none).
pub fn memory_controller(btf: &Btf) -> u32 {
    btf.enum_value("cgroup_subsys_id", "memory_cgrp_id")
        .and_then(|value| u32::try_from(value).ok())
        .unwrap_or(ABSENT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::btf::tests::kernels::KERNELS;

    #[test]
    fn every_kernel_says_what_the_programs_cannot_know() {
        let told = KERNELS.iter().map(|(series, bytes)| {
            let btf = Btf::from_bytes(bytes).unwrap();
            let mut config = Config::EVERYTHING;
            configure(&btf, &mut config);
            assert!(knows_conntrack(&resolve(&btf).unwrap()), "{series}");
            (
                *series,
                config.drop_reasons,
                config.iter_iovec,
                config.iter_ubuf,
                config.iter_mask,
                config.tcp_recv_flags,
                config.retransmit_error,
            )
        });
        assert_eq!(
            told.collect::<Vec<_>>(),
            [
                ("5.10", 0, 4, ABSENT, 0xfe, 4, 0),
                ("6.1", 1, 0, 6, 0xff, 3, 0),
                ("6.12", 1, 1, 0, 0xff, 3, 0),
                ("6.18", 1, 1, 0, 0xff, 3, 1),
                ("7.2", 1, 1, 0, 0xff, 3, 1),
            ]
        );
    }
}
