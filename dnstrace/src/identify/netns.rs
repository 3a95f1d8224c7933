//! Network namespaces: the host's, and a pod's by the processes in its cgroup.

use std::{fs, path::Path};

use super::{cgroup_path, hierarchy::subdirectories};

/// Cgroups below a pod's that are looked into: containers, and a systemd's slices inside them.
const MAX_DEPTH: u32 = 4;

/// The host's network namespace; none if it cannot be read.
pub fn host(proc: &Path) -> Option<u32> {
    of(proc, 1)
}

/// The network namespace of the pod whose cgroup is `pod`, unless it is the host's: a namespace that others
/// share tells nothing of the pod. None also if the host's own cannot be read.
pub fn own(pod: &Path, proc: &Path) -> Option<u32> {
    let host = host(proc)?;
    // The oldest process first: mostly the sandbox's `pause`, which never leaves the pod's namespace, as a
    // privileged container may with setns(2).
    let netns = processes(pod).into_iter().find_map(|pid| of(proc, pid))?;
    (netns != host).then_some(netns)
}

/// Ids of the processes in a cgroup and below, the smallest first.
pub(super) fn processes(cgroup: &Path) -> Vec<u32> {
    let mut pids = Vec::new();
    collect(cgroup, MAX_DEPTH, &mut pids);
    pids.sort_unstable();
    pids
}

/// Ids of the processes in a cgroup and below. Without conmon, which stays in the host's namespace.
fn collect(cgroup: &Path, depth: u32, pids: &mut Vec<u32>) {
    let procs = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    // 0 stands for a process of a pid namespace that cannot be seen from here.
    pids.extend(procs.lines().filter_map(|line| line.parse::<u32>().ok()).filter(|pid| *pid != 0));
    let Some(depth) = depth.checked_sub(1) else { return };
    for below in subdirectories(cgroup) {
        let name = below.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        if !cgroup_path::parse(&name).container.is_some_and(|container| container.is_monitor) {
            collect(&below, depth, pids);
        }
    }
}

/// Inode number of a process's network namespace: the link reads `net:[4026531840]`.
pub fn of(proc: &Path, pid: u32) -> Option<u32> {
    let link = fs::read_link(proc.join(format!("{pid}/ns/net"))).ok()?;
    link.to_str()?.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}
