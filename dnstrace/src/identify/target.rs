//! From what the user asked for to what the kernel filters.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    cgroup_path,
    follow::{Wanted, WantedPod},
    hierarchy::{Hierarchy, id, subdirectories},
    netns,
    pods::{Names, PodName},
    selector::Selector,
    wanted::Scope,
};

/// Pods' cgroups lie no deeper below the root: kind's nested nodes have 6.
const MAX_DEPTH: u32 = 8;
/// Near matches that an error shows.
const MAX_NEAR: usize = 5;
/// Candidates that an error shows.
const MAX_CANDIDATES: usize = 10;

/// What the user asked for.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    pub namespace: Option<String>,
    /// Names, beginnings of names, or `namespace/name`.
    pub pods: Vec<String>,
    /// Pods with such labels.
    pub selector: Option<Selector>,
    pub container: Option<String>,
    /// A pod that is not there is waited for.
    pub wait: bool,
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
    /// Beyond the lists, only these pods: those that start later are told apart by name and labels only.
    pub scope: Scope,
    /// What the lists stand for: it may start anew while the trace runs.
    pub wanted: BTreeSet<Wanted>,
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
    #[error("no pod {wanted} runs on this node; {} (--wait waits for it)", hint(near))]
    UnknownPod { wanted: String, near: Vec<String> },
    #[error(
        "pod {pod} does not run on this node, only its logs are left; look where it runs with: kubectl get pods -A -o wide"
    )]
    NotRunning { pod: String },
    #[error(
        "{wanted} could be any of {}: give more of the name, or the namespace with -n",
        some_of(candidates)
    )]
    AmbiguousPod { wanted: String, candidates: Vec<String> },
    #[error("no pod of namespace {wanted} runs on this node; {}", hint(near))]
    UnknownNamespace { wanted: String, near: Vec<String> },
    #[error(
        "no pod with labels {wanted} runs on this node; look with: kubectl get pods -A --show-labels (--wait waits for one)"
    )]
    NoneSelected { wanted: String },
    /// With what whoever should have told says.
    #[error("the labels of the pods are not known, which -l needs: {}", .0.as_deref().unwrap_or("nobody tells them"))]
    NoLabels(Option<String>),
    #[error("pod {pod} has no running container {wanted}; {}", instead(have))]
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

fn some_of(candidates: &[String]) -> String {
    let more = candidates.len().saturating_sub(MAX_CANDIDATES);
    let shown: Vec<&str> = candidates.iter().take(MAX_CANDIDATES).map(String::as_str).collect();
    let shown = shown.join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

fn instead(have: &[String]) -> String {
    if have.is_empty() {
        "none of its containers has a name in /var/log/containers: leave out --container".to_owned()
    } else {
        format!("it has {}", have.join(", "))
    }
}

/// A pod with a cgroup.
#[derive(Clone, Debug)]
struct Running {
    pod: PodName,
    uid: String,
    directory: PathBuf,
    cgroup: u64,
}

impl Running {
    fn full_name(&self) -> String {
        self.pod.to_string()
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
    if selection.all && selection.selector.is_none() {
        let roots = kubepods();
        return if roots.is_empty() {
            Err(TargetError::NoPods)
        } else {
            Ok(listed(Listing::Only, roots, "all pods".to_owned()))
        };
    }
    if selection.namespace.is_none() && selection.pods.is_empty() && selection.selector.is_none() {
        return Ok(listed(Listing::Everything, BTreeSet::new(), "all pods and host services".to_owned()));
    }
    let running = running(hierarchy, names);
    if let Some(selector) = &selection.selector {
        return selected(selector, selection, &running?, names, kubepods());
    }
    let running = match running {
        Err(TargetError::NoPods) if selection.wait && !selection.pods.is_empty() => Vec::new(),
        running => running?,
    };
    match (&selection.namespace, &selection.pods[..]) {
        (Some(namespace), []) => whole_namespace(namespace, &running, kubepods()),
        (namespace, pods) => named_pods(namespace.as_deref(), pods, selection, &running, names, proc),
    }
}

fn listed(listing: Listing, cgroups: BTreeSet<u64>, description: String) -> Target {
    let (netns, wanted, scope) = Default::default();
    Target { listing, cgroups, netns, scope, wanted, description }
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
    target.scope.namespace = Some(namespace.to_owned());
    Ok(target)
}

/// Labels, as names, cannot be known to the kernel for pods that start later: all pods are seen, and others dropped.
fn selected(
    selector: &Selector,
    selection: &Selection,
    running: &[Running],
    names: &mut Names,
    roots: BTreeSet<u64>,
) -> Result<Target, TargetError> {
    let scope = Scope { namespace: selection.namespace.clone(), selector: Some(selector.clone()) };
    let mut of_namespace = running
        .iter()
        .filter(|pod| scope.namespace.as_deref().is_none_or(|namespace| *pod.pod.namespace == *namespace));
    let is_there =
        of_namespace.any(|pod| names.labels(&pod.uid).is_some_and(|labels| selector.matches(&labels)));
    let now = match is_there {
        true => "",
        false if selection.wait => " (not there yet: waiting for it)",
        false => return Err(TargetError::NoneSelected { wanted: selector.to_string() }),
    };
    let namespace = scope.namespace.as_ref().map_or_else(String::new, |name| format!(" of namespace {name}"));
    let mut target = listed(Listing::Only, roots, format!("pods{namespace} with labels {selector}{now}"));
    target.scope = scope;
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
        let container = selection.container.clone();
        let pods = match find(namespace, name, running, names) {
            Err(TargetError::UnknownPod { .. } | TargetError::NotRunning { .. }) if selection.wait => {
                let (namespace, begins) = (namespace.map(str::to_owned), name.to_owned());
                target.wanted.insert(Wanted { pod: WantedPod::Awaited { namespace, begins }, container });
                described.push(format!("pod {wanted} (not there yet: waiting for it)"));
                continue;
            }
            found => found?,
        };
        let full_name = pods.name();
        let wanted =
            |pod: &Running| Wanted { pod: WantedPod::Named(pod.pod.clone()), container: container.clone() };
        target.wanted.extend(pods.all().map(wanted));
        match &selection.container {
            Some(container) => {
                target.cgroups.extend(container_cgroups(&pods, container, names)?);
                described.push(format!("container {container} of pod {full_name}"));
            }
            None => {
                for pod in pods.all() {
                    target.cgroups.insert(pod.cgroup);
                    target.netns.extend(netns::own(&pod.directory, proc));
                }
                described.push(format!("pod {full_name}"));
            }
        }
    }
    target.description = described.join(", ");
    Ok(target)
}

/// Pods of one namespace and name: mostly one. A StatefulSet's next pod has its predecessor's name, whose cgroup
/// may still be there.
struct Namesakes<'a> {
    first: &'a Running,
    others: &'a [Running],
}

impl<'a> Namesakes<'a> {
    fn name(&self) -> String {
        self.first.full_name()
    }

    fn all(&self) -> impl Iterator<Item = &'a Running> {
        std::iter::once(self.first).chain(self.others)
    }
}

/// The one pod of this name, or whose name begins with it. `running` is in the order of the names.
fn find<'a>(
    namespace: Option<&str>,
    name: &str,
    running: &'a [Running],
    names: &Names,
) -> Result<Namesakes<'a>, TargetError> {
    let wanted = namespace.map_or_else(|| name.to_owned(), |namespace| format!("{namespace}/{name}"));
    let is_here = |pod: &PodName| namespace.is_none_or(|namespace| *pod.namespace == *namespace);
    let is_exact = |pod: &PodName| is_here(pod) && *pod.name == *name;
    let is_begun = |pod: &PodName| is_here(pod) && !name.is_empty() && pod.name.starts_with(name);
    let running_that = |is_wanted: &dyn Fn(&PodName) -> bool| -> Vec<Namesakes<'a>> {
        running
            .chunk_by(|a, b| a.pod == b.pod)
            .filter_map(|pods| pods.split_first().map(|(first, others)| Namesakes { first, others }))
            .filter(|pods| is_wanted(&pods.first.pod))
            .collect()
    };
    let dead_that = |is_wanted: &dyn Fn(&PodName) -> bool| names.pods().find(|pod| is_wanted(pod));

    let mut candidates = running_that(&is_exact);
    // A pod of exactly this name that has ended is what was meant, not one that is called alike.
    if candidates.is_empty() && dead_that(&is_exact).is_none() {
        candidates = running_that(&is_begun);
    }
    if candidates.len() > 1 {
        let candidates = candidates.iter().map(Namesakes::name).collect();
        return Err(TargetError::AmbiguousPod { wanted, candidates });
    }
    if let Some(pod) = candidates.pop() {
        return Ok(pod);
    }
    if let Some(pod) = dead_that(&is_exact).or_else(|| dead_that(&is_begun)) {
        return Err(TargetError::NotRunning { pod: pod.to_string() });
    }
    let near = nearest(name, running.iter().map(|pod| (pod.full_name(), &*pod.pod.name)));
    Err(TargetError::UnknownPod { wanted, near })
}

/// The names most like `wanted`, the nearest first; none that is nothing like it. Candidates are what to show
/// and what to compare.
fn nearest<'a>(wanted: &str, candidates: impl Iterator<Item = (String, &'a str)>) -> Vec<String> {
    const ALIKE: f64 = 0.7;
    let mut scored: Vec<(f64, String)> = candidates
        .map(|(shown, name)| {
            let inside = !wanted.is_empty() && name.contains(wanted);
            // Few people type the hash at the end: the beginning alone may be what is alike.
            let beginning = name.get(..wanted.len()).unwrap_or(name);
            let alike = strsim::jaro_winkler(wanted, name).max(strsim::jaro_winkler(wanted, beginning));
            (if inside { 1.0 } else { alike }, shown)
        })
        .filter(|(score, _)| *score >= ALIKE)
        .collect();
    scored.sort_by(|(a, shown_a), (b, shown_b)| b.total_cmp(a).then_with(|| shown_a.cmp(shown_b)));
    scored.dedup();
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
            Some(pod) => found.push(Running { pod, uid, directory, cgroup }),
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

/// Ids of the cgroups of the pod's container of this name.
fn container_cgroups(
    pods: &Namesakes<'_>,
    wanted: &str,
    names: &mut Names,
) -> Result<BTreeSet<u64>, TargetError> {
    let mut have: BTreeMap<Arc<str>, BTreeSet<u64>> = BTreeMap::new();
    for directory in pods.all().flat_map(|pod| subdirectories(&pod.directory)) {
        let name = directory.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        // A container's directory reads the same below any pod.
        let Some(container) = cgroup_path::parse(&name).container else { continue };
        if container.is_monitor {
            continue;
        }
        if let (Some(name), Ok(cgroup)) = (names.container(&container.id, 0), id(&directory)) {
            have.entry(name).or_default().insert(cgroup);
        }
    }
    have.remove(wanted).ok_or_else(|| TargetError::UnknownContainer {
        pod: pods.name(),
        wanted: wanted.to_owned(),
        have: have.into_keys().map(|name| name.to_string()).collect(),
    })
}
