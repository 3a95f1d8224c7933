//! Pods and containers of the target that start while the trace runs: a StatefulSet's pod that is made anew, a
//! container that crashed, a pod that is waited for. They have new cgroups, which the kernel's filter has to learn.

use std::collections::{BTreeSet, VecDeque};

use super::{
    cgroup_path,
    pods::{Names, PodName},
};
use crate::event::CgroupMade;

/// A cgroup without a name is given up after this long, in nanoseconds: the kubelet names a pod before it starts
/// its containers, within seconds.
const PATIENCE: u64 = 60_000_000_000;
/// Cgroups that wait for their name at the most; the oldest goes first.
const CAPACITY: usize = 4096;

/// What the target means, by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    pub pod: WantedPod,
    /// Only the container of this name.
    pub container: Option<String>,
}

/// Which pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WantedPod {
    Named(PodName),
    /// One that was not there when the trace began: every pod whose name begins like this, in this namespace or in any.
    Awaited {
        namespace: Option<String>,
        begins: String,
    },
}

impl Wanted {
    /// Whether this pod is meant, whichever of its containers.
    fn means(&self, pod: &PodName) -> bool {
        match &self.pod {
            WantedPod::Named(wanted) => wanted == pod,
            WantedPod::Awaited { namespace, begins } => {
                namespace.as_deref().is_none_or(|namespace| *namespace == *pod.namespace)
                    && pod.name.starts_with(begins)
            }
        }
    }
}

/// Watches for what the target means.
#[derive(Debug, Default)]
pub struct Follower {
    wanted: BTreeSet<Wanted>,
    starting: VecDeque<Starting>,
}

/// A cgroup whose pod or container has no name yet.
#[derive(Debug)]
struct Starting {
    cgroup: u64,
    pod_uid: String,
    container_id: Option<String>,
    until: u64,
}

impl Follower {
    pub fn new(wanted: BTreeSet<Wanted>) -> Self {
        Self { wanted, starting: VecDeque::new() }
    }

    /// How many wait for their name.
    #[cfg(test)]
    pub fn starting(&self) -> usize {
        self.starting.len()
    }

    /// Takes note of a cgroup of the pods' hierarchy that was made.
    pub fn note(&mut self, made: &CgroupMade) {
        if self.wanted.is_empty() {
            return;
        }
        let parsed = cgroup_path::parse(&made.path);
        let Some(pod_uid) = parsed.pod_uid else { return };
        if self.starting.len() >= CAPACITY {
            self.starting.pop_front();
        }
        self.starting.push_back(Starting {
            cgroup: made.cgroup,
            pod_uid,
            container_id: parsed.container.map(|container| container.id),
            until: made.time.0.saturating_add(PATIENCE),
        });
    }

    /// The cgroups that turned out to be the target's since the last call.
    pub fn started(&mut self, names: &mut Names, now: u64) -> Vec<u64> {
        let mut found = Vec::new();
        let wanted = &self.wanted;
        self.starting.retain(|starting| {
            let is_wanted = is_wanted(wanted, starting, names, now);
            if is_wanted == Some(true) {
                found.push(starting.cgroup);
            }
            is_wanted.is_none() && now < starting.until
        });
        found
    }
}

/// Whether the target means a cgroup; none as long as its name is not known.
fn is_wanted(wanted: &BTreeSet<Wanted>, starting: &Starting, names: &mut Names, now: u64) -> Option<bool> {
    let pod = names.pod(&starting.pod_uid, now)?;
    let mut meant = wanted.iter().filter(|wanted| wanted.means(&pod)).peekable();
    let container = match &starting.container_id {
        // Below a pod that is wanted as a whole a container needs no entry of its own.
        Some(_) if meant.clone().all(|wanted| wanted.container.is_none()) => return Some(false),
        Some(id) if meant.peek().is_some() => Some(names.container(id, now)?),
        Some(_) | None => None,
    };
    Some(meant.any(|wanted| wanted.container.as_deref() == container.as_deref()))
}
