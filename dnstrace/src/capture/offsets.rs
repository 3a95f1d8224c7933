//! Where the running kernel keeps its fields: the [`Offsets`] of the eBPF programs, out of its BTF.

use dnstrace_ebpf::config::{ABSENT, Offsets};

use super::btf::{Btf, BtfError};

/// Looks up all offsets.
///
/// # Errors
/// If a field does not exist in this kernel: the error names it.
pub fn resolve(btf: &Btf) -> Result<Offsets, BtfError> {
    let at = |path: &str| btf.offset(path);
    Ok(Offsets {
        skb_head: at("sk_buff.head")?,
        skb_data: at("sk_buff.data")?,
        skb_len: at("sk_buff.len")?,
        skb_data_len: at("sk_buff.data_len")?,
        skb_end: at("sk_buff.end")?,
        skb_sk: at("sk_buff.sk")?,
        skb_network_header: at("sk_buff.network_header")?,
        skb_transport_header: at("sk_buff.transport_header")?,
        shinfo_gso_size: at("skb_shared_info.gso_size")?,
        sk_protocol: at("sock.sk_protocol")?,
        sk_net: at("sock.__sk_common.skc_net.net")?,
        net_inum: at("net.ns.inum")?,
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
        kernfs_node_id: at("kernfs_node.id")?,
    })
}

/// Index of the memory controller in `css_set.subsys` ([`ABSENT`] if the kernel has none).
pub fn memory_controller(btf: &Btf) -> u32 {
    btf.enum_value("cgroup_subsys_id", "memory_cgrp_id")
        .and_then(|value| u32::try_from(value).ok())
        .unwrap_or(ABSENT)
}
