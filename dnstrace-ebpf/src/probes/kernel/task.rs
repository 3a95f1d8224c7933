//! Tasks and their cgroups.

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, generated::bpf_get_current_task};
use dnstrace_ebpf::{config::ABSENT, wire::Task};

use super::{Skip, config, offset, read, read_to};

/// `struct cgroup *`
#[derive(Clone, Copy)]
pub struct Cgroup(pub u64);

impl Cgroup {
    /// `cgroup_id(cgrp)`: the inode number of its directory.
    #[inline(always)]
    pub fn id(self) -> Result<u64, Skip> {
        let node: u64 = read(self.0, offset!(cgroup_kn))?;
        read(node, offset!(kernfs_node_id))
    }

    /// The cgroup above, none above the root.
    #[inline(always)]
    pub fn parent(self) -> Result<Option<Self>, Skip> {
        let parent: u64 = read(self.0, offset!(cgroup_self) + offset!(css_parent))?;
        if parent == 0 {
            return Ok(None);
        }
        let cgroup: u64 = read(parent, offset!(css_cgroup))?;
        Ok(Some(Self(cgroup)))
    }

    /// `cgrp->root->hierarchy_id`: 0 for the unified hierarchy.
    #[inline(always)]
    pub fn hierarchy(self) -> Result<u32, Skip> {
        let root: u64 = read(self.0, offset!(cgroup_root))?;
        read(root, offset!(cgroup_root_hierarchy_id))
    }
}

/// The current task's cgroup: of the unified hierarchy, or the memory controller's on a node whose pods live
/// in cgroup v1.
#[inline(always)]
fn current_cgroup(task: u64) -> Result<Cgroup, Skip> {
    let css_set: u64 = read(task, offset!(task_cgroups))?;
    let controller = config!(memory_cgrp_id);
    if controller == ABSENT {
        return Ok(Cgroup(read(css_set, offset!(css_set_dfl_cgrp))?));
    }
    let css: u64 = read(css_set, offset!(css_set_subsys) + controller as usize * 8)?;
    Ok(Cgroup(read(css, offset!(css_cgroup))?))
}

/// Writes who runs, and returns its cgroup.
///
/// The name is the thread group leader's: a thread's own says little (`tokio-rt-worker`).
#[inline(always)]
pub fn current_to(to: &mut Task) -> Result<Cgroup, Skip> {
    // SAFETY: helpers without arguments.
    let (ids, task) = unsafe { (bpf_get_current_pid_tgid(), bpf_get_current_task()) };
    let cgroup = current_cgroup(task)?;
    let leader: u64 = read(task, offset!(task_group_leader))?;
    read_to(&mut to.comm, leader, offset!(task_comm))?;
    to.cgroup = cgroup.id()?;
    to.pid = (ids >> 32) as u32;
    to.tid = ids as u32;
    Ok(cgroup)
}
