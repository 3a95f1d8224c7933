//! Whose socket it is: from a cgroup and a process to the pod, the container, or the service of the host.
//!
//! Without an API server: [`hierarchy`] turns a cgroup's id into its path, [`cgroup_path`] reads the path,
//! [`pods`] knows the names, and [`facts`] is what others may tell of pods. [`target`] goes the other way: from what the user asked for to cgroups and network
//! namespaces; [`follow`] keeps to it when a pod or container starts anew.

pub mod cgroup_path;
pub mod facts;
pub mod follow;
pub mod hierarchy;
mod netns;
mod newcomers;
pub mod pods;
mod resolv_conf_files;
mod resolver;
mod selector;
pub mod target;
mod wanted;
mod wonder;

use std::{borrow::Cow, fmt, io, net::IpAddr, num::NonZeroUsize, path::PathBuf, sync::Arc};

use dnstrace_ebpf::wire::MAX_CGROUP_PATH;
use lru::LruCache;
use serde::{Deserialize, Serialize};

pub use facts::{ContainerFacts, Labels, PodFacts, Teller};
pub use hierarchy::{Hierarchy, Version};
pub use netns::of as netns_of;
pub use resolver::{Likeness, ResolverConfig, ResolverFlag};
pub use selector::{Selector, SelectorError};
pub use target::{Listing, Selection, Target, TargetError};
pub use wanted::{Scope, Wanted};

use crate::event::{CgroupMade, KernelTime, Task};
use follow::Follower;
use newcomers::Newcomers;
use pods::Names;
use resolv_conf_files::ResolvConfFiles;
use wonder::Wonder;

/// Cgroups that are remembered at the most; those that were silent longest go first.
const CAPACITY: NonZeroUsize = NonZeroUsize::new(65_536).unwrap();
/// Where a cgroup can be found by none of the cheaper ways, the hierarchy is walked at most this often, in
/// nanoseconds.
const WALK: u64 = 1_000_000_000;

/// Who holds a socket. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Name of the node; none if that is not known.
    #[serde(default)]
    pub node: Option<Arc<str>>,
    /// The pod, where there is one.
    pub pod: Option<Arc<Pod>>,
    /// The container, of a pod or not.
    pub container: Option<Arc<Container>>,
    /// Outside pods and containers: the systemd service or scope.
    pub unit: Option<Arc<str>>,
    /// Path of the cgroup; none if it had gone before anybody could look.
    pub cgroup: Option<Arc<str>>,
    /// The resolv.conf of its processes; none if that was not seen.
    #[serde(default)]
    pub resolver: Option<Arc<ResolverConfig>>,
    /// The socket's address, where nothing else is known of who holds it: in a capture of packets.
    #[serde(default)]
    pub address: Option<IpAddr>,
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Namespace and name; none if the kubelet's log directory for it was not found.
    pub namespace: Option<Arc<str>>,
    pub name: Option<Arc<str>>,
    /// UID, or hash of a static pod.
    pub uid: String,
    /// Those that its user gave it; none if nobody has told.
    #[serde(default)]
    pub labels: Option<Arc<Labels>>,
}

/// A container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Its name in the pod's specification, if known.
    pub name: Option<Arc<str>>,
    pub id: String,
    /// See [`cgroup_path::ContainerId::runtime`].
    pub runtime: Cow<'static, str>,
}

impl fmt::Display for Owner {
    /// `shop/cart-7d4f`, `sshd.service`, `docker 4f1a2b3c4d5e`, `host`, `10.244.1.7`; `?` if nothing could be found out.
    /// Holds what strangers named: escape it for a terminal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.pod, &self.container, &self.unit, &self.cgroup) {
            (Some(pod), ..) => match (&pod.namespace, &pod.name) {
                (Some(namespace), Some(name)) => write!(f, "{namespace}/{name}"),
                _ => write!(f, "pod {}", pod.uid),
            },
            (None, Some(container), ..) => {
                let id = container.id.get(..12).unwrap_or(&container.id);
                let kind = if container.runtime.is_empty() { "container" } else { &container.runtime };
                write!(f, "{kind} {id}")
            }
            (None, None, Some(unit), _) => f.write_str(unit),
            (None, None, None, Some(_)) => f.write_str("host"),
            (None, None, None, None) => match self.address {
                Some(address) => address.fmt(f),
                None => f.write_str("?"),
            },
        }
    }
}

/// Tells who holds a socket: a live trace asks the node ([`Identifier`]), a replay what was recorded of it.
pub trait Owners {
    /// Takes note of a cgroup that was made; it replaces one of the same id that has gone.
    fn note_cgroup(&mut self, made: &CgroupMade);

    /// Who the task is, asked at `time` (event time).
    fn owner(&mut self, task: &Task, time: KernelTime) -> Owner;
}

/// Where the node keeps what is looked up.
#[derive(Clone, Debug)]
pub struct Roots {
    pub proc: PathBuf,
    pub pods_log: PathBuf,
    pub containers_log: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self {
            proc: "/proc".into(),
            pods_log: "/var/log/pods".into(),
            containers_log: "/var/log/containers".into(),
        }
    }
}

/// Finds out who holds a socket, and remembers.
#[derive(Debug)]
pub struct Identifier {
    roots: Roots,
    /// Name of the node.
    node: Option<Arc<str>>,
    hierarchy: Hierarchy,
    names: Names,
    /// Path of each cgroup that was seen.
    paths: LruCache<u64, Arc<str>>,
    owners: LruCache<u64, Owner>,
    resolv_conf_files: ResolvConfFiles,
    /// Looks out for what the target means.
    follower: Follower,
    newcomers: Newcomers,
    /// When the hierarchy was walked last.
    walked: Option<u64>,
    /// Whether somebody tells of pods who knows their labels.
    is_told: bool,
    /// Whether those who know more are to be asked.
    wonder: Wonder,
    /// Whether a pod has asked something whose name was not known.
    is_nameless: bool,
    forgotten: u64,
}

impl Identifier {
    /// # Errors
    /// If no cgroup hierarchy is mounted.
    pub fn new(roots: Roots) -> io::Result<Self> {
        let hierarchy = Hierarchy::find(&roots.proc)?;
        let names = Names::new(roots.pods_log.clone(), roots.containers_log.clone());
        let resolv_conf_files = ResolvConfFiles::new(roots.proc.clone());
        let mut identifier = Self {
            roots,
            node: None,
            hierarchy,
            names,
            paths: LruCache::new(CAPACITY),
            owners: LruCache::new(CAPACITY),
            resolv_conf_files,
            follower: Follower::default(),
            newcomers: Newcomers::default(),
            walked: None,
            is_told: false,
            wonder: Wonder::default(),
            is_nameless: false,
            forgotten: 0,
        };
        // What runs now may be gone when its first message is read.
        identifier.walk();
        Ok(identifier)
    }

    /// Says what the node is called.
    #[must_use]
    pub fn on_node(self, node: Option<Arc<str>>) -> Self {
        Self { node, ..self }
    }

    /// How many cgroups, names and labels had to be given up for want of room: should they speak again, they may stay
    /// without a name.
    pub fn forgotten(&self) -> u64 {
        self.forgotten + self.names.forgotten()
    }

    /// Inode number of the host's network namespace; none if it cannot be read.
    pub fn host_netns(&self) -> Option<u32> {
        netns::host(&self.roots.proc)
    }

    /// The hierarchy that holds the pods.
    pub fn hierarchy(&self) -> &Hierarchy {
        &self.hierarchy
    }

    /// What the user asked for, as cgroups and network namespaces.
    ///
    /// # Errors
    /// If there is no such pod, or not exactly one.
    pub fn resolve(&mut self, selection: &Selection) -> Result<Target, TargetError> {
        if selection.selector.is_some() && !self.is_told {
            return Err(TargetError::NoLabels(None));
        }
        self.names.scan(0);
        let target = target::resolve(selection, &self.hierarchy, &mut self.names, &self.roots.proc)?;
        self.follower = Follower::new(target.wanted.clone());
        Ok(target)
    }

    /// Takes in what somebody tells of pods, at any time and in any order; that there are none is told, too. Who was named
    /// before without it is named with it from now on.
    pub fn learn(&mut self, teller: Teller, pods: &[PodFacts]) {
        self.is_told = true;
        let news = pods.iter().filter(|facts| self.names.learn(teller, facts)).count();
        if news > 0 {
            // Found out again from what is remembered, which costs little: pods come and go by the second, not faster.
            self.owners.clear();
            self.wonder.learned();
        }
    }

    /// Whether a pod has shown up since the last call whose name, labels or container's name is missing: those who know are
    /// to be asked.
    pub fn take_question(&mut self) -> bool {
        self.wonder.take()
    }

    /// Whether a pod has asked something, or was asked, whose name was not known.
    pub fn is_nameless(&self) -> bool {
        self.is_nameless
    }

    /// The cgroups of the target that started since the last call, and looks for the names of all that did. `now` is event
    /// time in nanoseconds.
    pub fn started(&mut self, now: u64) -> Vec<u64> {
        self.newcomers.look(&mut self.names, now);
        self.follower.started(&mut self.names, now)
    }

    /// The path of a cgroup: as it was announced, as the kernel has it, as the process says while it lives, or
    /// as it is found by a walk, where a container may not open file handles.
    fn path(&mut self, cgroup: u64, pid: u32, now: u64) -> Option<Arc<str>> {
        if let Some(path) = self.paths.get(&cgroup) {
            return Some(path.clone());
        }
        let by_id = self.hierarchy.path(cgroup);
        if let Some(path) = by_id.or_else(|| self.hierarchy.path_of_process(&self.roots.proc, pid, cgroup)) {
            let path: Arc<str> = path.into();
            self.remember(cgroup, path.clone());
            return Some(path);
        }
        if self.walked.is_none_or(|walked| now.saturating_sub(walked) >= WALK) {
            self.walked = Some(now);
            self.walk();
        }
        self.paths.get(&cgroup).cloned()
    }

    fn walk(&mut self) {
        for (path, cgroup) in self.hierarchy.walk(CAPACITY.get()) {
            if !self.paths.contains(&cgroup) {
                self.remember(cgroup, path.into());
            }
        }
    }

    fn remember(&mut self, cgroup: u64, path: Arc<str>) {
        self.forgotten += u64::from(self.paths.push(cgroup, path).is_some_and(|(other, _)| other != cgroup));
    }

    /// The owner that a path names, and whether nothing is missing.
    fn named(&mut self, path: &Arc<str>, now: u64) -> (Owner, bool) {
        let parsed = cgroup_path::parse(path);
        let (mut is_complete, mut is_known) = (true, true);
        let pod = parsed.pod_uid.map(|uid| {
            let name = self.names.pod(&uid, now);
            is_complete &= name.is_some();
            let (namespace, name) = name.map(|pod| (pod.namespace, pod.name)).unzip();
            let labels = self.names.labels(&uid);
            is_known &= labels.is_some();
            Arc::new(Pod { namespace, name, uid, labels })
        });
        let container = parsed.container.map(|container| {
            let name = if pod.is_some() { self.names.container(&container.id, now) } else { None };
            is_complete &= name.is_some() || pod.is_none();
            Arc::new(Container { name, id: container.id, runtime: container.runtime.into() })
        });
        if !(is_known && is_complete) {
            self.wonder.again(now);
        }
        self.is_nameless |= pod.as_ref().is_some_and(|pod| pod.name.is_none());
        let unit = parsed.unit.map(Arc::from);
        let cgroup = Some(path.clone());
        (
            Owner { node: self.node.clone(), pod, container, unit, cgroup, resolver: None, address: None },
            is_complete,
        )
    }
}

impl Owners for Identifier {
    fn note_cgroup(&mut self, made: &CgroupMade) {
        if made.hierarchy != self.hierarchy.number {
            return;
        }
        self.owners.pop(&made.cgroup);
        self.resolv_conf_files.forget(made.cgroup);
        self.paths.pop(&made.cgroup);
        // The kernel's record ends before the path does (the NUL counts): half a name says nothing.
        if made.path.len() < MAX_CGROUP_PATH - 1 {
            self.remember(made.cgroup, made.path.as_str().into());
            self.follower.note(made);
            let parsed = cgroup_path::parse(&made.path);
            let container = parsed.container.map(|container| container.id);
            if let Some(uid) = parsed.pod_uid
                && !self.names.is_known(&uid, container.as_deref())
            {
                // Asked now, its name is there when its program asks.
                self.wonder.new_one();
                self.newcomers.note(uid, container, made.time.0);
            }
        }
    }

    fn owner(&mut self, task: &Task, time: KernelTime) -> Owner {
        let mut owner = self.owner_without_resolver(task, time.0);
        if let Some(path) = &owner.cgroup {
            let process = (task.cgroup, task.pid);
            owner.resolver = self.resolv_conf_files.of(process, path, &self.hierarchy, time.0);
        }
        owner
    }
}

impl Identifier {
    fn owner_without_resolver(&mut self, task: &Task, now: u64) -> Owner {
        let (cgroup, pid) = (task.cgroup, task.pid);
        if let Some(owner) = self.owners.get(&cgroup) {
            return owner.clone();
        }
        let Some(path) = self.path(cgroup, pid, now) else {
            return Owner { node: self.node.clone(), ..Owner::default() };
        };
        let (owner, is_complete) = self.named(&path, now);
        // Who still lacks a name may get one: the kubelet makes the directories while the pod starts.
        if is_complete {
            self.owners.push(cgroup, owner.clone());
        }
        owner
    }
}

#[cfg(test)]
mod tests;
