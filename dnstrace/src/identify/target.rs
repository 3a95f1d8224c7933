//! From what the user asked for to what the kernel filters.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    cgroup_path,
    hierarchy::{Hierarchy, id, subdirectories},
    pods::{Names, PodName},
};

/// Pods' cgroups lie no deeper below the root: kind's nested nodes have 6.
const MAX_DEPTH: u32 = 8;
/// Near matches that an error shows.
const MAX_NEAR: usize = 5;

/// What the user asked for.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    pub namespace: Option<String>,
    /// Names, beginnings of names, or `namespace/name`.
    pub pods: Vec<String>,
    pub container: Option<String>,
    /// All pods.
    pub all: bool,
    /// What runs outside pods.
    pub host: bool,
}

/// How the kernel is to read the lists of a [`Target`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// There are no lists: everything is wanted.
    Everything,
    /// What is in the lists.
    Only,
    /// What is not in the lists.
    AllBut,
}

/// What the kernel filters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub listing: Listing,
    /// Cgroup ids; each stands for all below it.
    pub cgroups: BTreeSet<u64>,
    /// Inode numbers of network namespaces of the pods' own.
    pub netns: BTreeSet<u32>,
    /// Beyond the lists, only pods of this namespace: pods that start later are told apart by name only.
    pub namespace: Option<String>,
    /// For the user, in a sentence: `pod shop/cart-7d4f`.
    pub description: String,
}

/// Why there is nothing, or not exactly one thing, to trace. One line each, with what to do.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TargetError {
    #[error(
        "no pods run on this node (no kubepods cgroup): run dnstrace on the pod's node, or use --host, --pid or --comm"
    )]
    NoPods,
    #[error("no pod {wanted} runs on this node; {}", hint(near))]
    UnknownPod { wanted: String, near: Vec<String> },
    #[error("{wanted} could be any of {}: give more of the name, or the namespace with -n", candidates.join(", "))]
    AmbiguousPod { wanted: String, candidates: Vec<String> },
    #[error("no pod of namespace {wanted} runs on this node; {}", hint(near))]
    UnknownNamespace { wanted: String, near: Vec<String> },
    #[error("pod {pod} has no running container {wanted}; it has {}", have.join(", "))]
    UnknownContainer { pod: String, wanted: String, have: Vec<String> },
    #[error(
        "the names of the {0} pods on this node are not to be found in /var/log/pods: use -A, --pid or --comm"
    )]
    NoNames(usize),
}

fn hint(near: &[String]) -> String {
    if near.is_empty() {
        "look with: kubectl get pods -A -o wide".to_owned()
    } else {
        format!("did you mean {}?", near.join(", "))
    }
}

/// A pod with a cgroup.
#[derive(Clone, Debug)]
struct Running {
    pod: PodName,
    directory: PathBuf,
    cgroup: u64,
}

impl Running {
    fn full_name(&self) -> String {
        format!("{}/{}", self.pod.namespace, self.pod.name)
    }
}

/// Finds what `selection` means on this node.
pub(super) fn resolve(
    selection: &Selection,
    hierarchy: &Hierarchy,
    names: &mut Names,
    proc: &Path,
) -> Result<Target, TargetError> {
    let kubepods = || roots(hierarchy);
    if selection.host {
        return Ok(listed(Listing::AllBut, kubepods(), "what runs outside pods".to_owned()));
    }
    if selection.all {
        let roots = kubepods();
        return if roots.is_empty() {
            Err(TargetError::NoPods)
        } else {
            Ok(listed(Listing::Only, roots, "all pods".to_owned()))
        };
    }
    if selection.namespace.is_none() && selection.pods.is_empty() {
        return Ok(listed(Listing::Everything, BTreeSet::new(), "all pods and host services".to_owned()));
    }
    let running = running(hierarchy, names)?;
    match (&selection.namespace, &selection.pods[..]) {
        (Some(namespace), []) => whole_namespace(namespace, &running, kubepods()),
        (namespace, pods) => named_pods(namespace.as_deref(), pods, selection, &running, names, proc),
    }
}

fn listed(listing: Listing, cgroups: BTreeSet<u64>, description: String) -> Target {
    Target { listing, cgroups, netns: BTreeSet::new(), namespace: None, description }
}

fn whole_namespace(
    namespace: &str,
    running: &[Running],
    roots: BTreeSet<u64>,
) -> Result<Target, TargetError> {
    if !running.iter().any(|pod| &*pod.pod.namespace == namespace) {
        let namespaces: BTreeSet<&str> = running.iter().map(|pod| &*pod.pod.namespace).collect();
        let near = nearest(namespace, namespaces.into_iter().map(|name| (name.to_owned(), name)));
        return Err(TargetError::UnknownNamespace { wanted: namespace.to_owned(), near });
    }
    let mut target = listed(Listing::Only, roots, format!("all pods of namespace {namespace}"));
    target.namespace = Some(namespace.to_owned());
    Ok(target)
}

fn named_pods(
    namespace: Option<&str>,
    wanted: &[String],
    selection: &Selection,
    running: &[Running],
    names: &mut Names,
    proc: &Path,
) -> Result<Target, TargetError> {
    let mut target = listed(Listing::Only, BTreeSet::new(), String::new());
    let mut described = Vec::new();
    for wanted in wanted {
        let (namespace, name) = match wanted.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (namespace, wanted.as_str()),
        };
        let pod = find(namespace, name, running)?;
        match &selection.container {
            Some(container) => {
                target.cgroups.insert(container_cgroup(pod, container, names)?);
                described.push(format!("container {container} of pod {}", pod.full_name()));
            }
            None => {
                target.cgroups.insert(pod.cgroup);
                target.netns.extend(own_netns(&pod.directory, proc));
                described.push(format!("pod {}", pod.full_name()));
            }
        }
    }
    target.description = described.join(", ");
    Ok(target)
}

/// The one pod of this name, or whose name begins with it.
fn find<'a>(namespace: Option<&str>, name: &str, running: &'a [Running]) -> Result<&'a Running, TargetError> {
    let wanted = namespace.map_or_else(|| name.to_owned(), |namespace| format!("{namespace}/{name}"));
    let here: Vec<&Running> = running
        .iter()
        .filter(|pod| namespace.is_none_or(|namespace| *pod.pod.namespace == *namespace))
        .collect();
    let exact: Vec<_> = here.iter().filter(|pod| *pod.pod.name == *name).copied().collect();
    let candidates = if exact.is_empty() && !name.is_empty() {
        here.iter().filter(|pod| pod.pod.name.starts_with(name)).copied().collect()
    } else {
        exact
    };
    match candidates[..] {
        [pod] => Ok(pod),
        [] => {
            let near = nearest(name, running.iter().map(|pod| (pod.full_name(), &*pod.pod.name)));
            Err(TargetError::UnknownPod { wanted, near })
        }
        _ => {
            let candidates = candidates.iter().map(|pod| pod.full_name()).collect();
            Err(TargetError::AmbiguousPod { wanted, candidates })
        }
    }
}

/// The names most like `wanted`, the nearest first; none that is nothing like it. Candidates are what to show
/// and what to compare.
fn nearest<'a>(wanted: &str, candidates: impl Iterator<Item = (String, &'a str)>) -> Vec<String> {
    const ALIKE: f64 = 0.7;
    let mut scored: Vec<(f64, String)> = candidates
        .map(|(shown, name)| {
            let inside = !wanted.is_empty() && name.contains(wanted);
            (if inside { 1.0 } else { strsim::jaro_winkler(wanted, name) }, shown)
        })
        .filter(|(score, _)| *score >= ALIKE)
        .collect();
    scored.sort_by(|(a, shown_a), (b, shown_b)| b.total_cmp(a).then_with(|| shown_a.cmp(shown_b)));
    scored.into_iter().take(MAX_NEAR).map(|(_, shown)| shown).collect()
}

/// Ids of the directories below which all pods live.
fn roots(hierarchy: &Hierarchy) -> BTreeSet<u64> {
    hierarchy.find_cgroups(MAX_DEPTH, &cgroup_path::is_kubepods).into_iter().map(|(_, id)| id).collect()
}

/// The pods that have a cgroup, by name. The log directories of the dead do not count.
fn running(hierarchy: &Hierarchy, names: &mut Names) -> Result<Vec<Running>, TargetError> {
    let mut found = Vec::new();
    let mut nameless = 0;
    for (directory, uid) in pod_directories(hierarchy) {
        let Ok(cgroup) = id(&directory) else { continue };
        match names.pod(&uid, 0) {
            Some(pod) => found.push(Running { pod, directory, cgroup }),
            None => nameless += 1,
        }
    }
    match (found.len(), nameless) {
        (0, 0) => Err(TargetError::NoPods),
        (0, nameless) => Err(TargetError::NoNames(nameless)),
        _ => {
            found.sort_by(|a, b| a.pod.cmp(&b.pod));
            Ok(found)
        }
    }
}

/// The directories of pods, with their UIDs.
fn pod_directories(hierarchy: &Hierarchy) -> Vec<(PathBuf, String)> {
    let uid_of = |path: &Path| {
        let parsed = cgroup_path::parse(&hierarchy.relative(path)?);
        if parsed.container.is_none() { parsed.pod_uid } else { None }
    };
    let mut found = Vec::new();
    for (root, _) in hierarchy.find_cgroups(MAX_DEPTH, &cgroup_path::is_kubepods) {
        // Directly below, or in a class of service.
        for directory in subdirectories(&root) {
            match uid_of(&directory) {
                Some(uid) => found.push((directory, uid)),
                None => found.extend(
                    subdirectories(&directory)
                        .into_iter()
                        .filter_map(|pod| uid_of(&pod).map(|uid| (pod, uid))),
                ),
            }
        }
    }
    found
}

/// Id of the cgroup of the pod's container of this name.
fn container_cgroup(pod: &Running, wanted: &str, names: &mut Names) -> Result<u64, TargetError> {
    let mut have = BTreeMap::new();
    for directory in subdirectories(&pod.directory) {
        let name = directory.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        // A container's directory reads the same below any pod.
        let Some(container) = cgroup_path::parse(&name).container else { continue };
        if let (Some(name), Ok(cgroup)) = (names.container(&container.id, 0), id(&directory)) {
            have.insert(name, cgroup);
        }
    }
    have.get(wanted).copied().ok_or_else(|| TargetError::UnknownContainer {
        pod: pod.full_name(),
        wanted: wanted.to_owned(),
        have: have.into_keys().map(|name: Arc<str>| name.to_string()).collect(),
    })
}

/// The network namespace of the processes below `directory`, unless it is the host's.
fn own_netns(directory: &Path, proc: &Path) -> Option<u32> {
    let netns = processes(directory, 4).into_iter().find_map(|pid| netns(proc, &pid))?;
    (Some(netns) != self::netns(proc, "1")).then_some(netns)
}

/// Ids of the processes in a cgroup and below.
fn processes(directory: &Path, depth: u32) -> Vec<String> {
    let mut pids: Vec<String> = fs::read_to_string(directory.join("cgroup.procs"))
        .map(|procs| procs.lines().map(str::to_owned).collect())
        .unwrap_or_default();
    if let Some(depth) = depth.checked_sub(1) {
        pids.extend(subdirectories(directory).iter().flat_map(|below| processes(below, depth)));
    }
    pids
}

/// Inode number of a process's network namespace: the link reads `net:[4026531840]`.
fn netns(proc: &Path, pid: &str) -> Option<u32> {
    let link = fs::read_link(proc.join(pid).join("ns/net")).ok()?;
    link.to_str()?.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}
