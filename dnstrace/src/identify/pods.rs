//! Names for pods and containers, out of the directories that the kubelet makes for their logs, and what others tell of
//! them.

use std::{
    fmt, fs,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
};

use lru::LruCache;

use super::{
    cgroup_path,
    facts::{self, Labels, PodFacts, Teller},
};

/// A directory is read again for a name that is missing at most this often, in nanoseconds.
const RESCAN: u64 = 50_000_000;
/// Names that are remembered at the most; a node runs some hundred pods at a time.
const CAPACITY: NonZeroUsize = NonZeroUsize::new(65_536).unwrap();

/// A pod's namespace and name, both of the shape that the API server accepts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodName {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl fmt::Display for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What is known of a pod.
#[derive(Debug)]
struct Known {
    name: PodName,
    /// Its labels, and who told them.
    labels: Option<(Teller, Arc<Labels>)>,
}

/// What the log directories and others say. The dead are remembered; when there are too many, the longest dead go first.
#[derive(Debug)]
pub struct Names {
    /// `/var/log/pods`: a directory `<namespace>_<name>_<uid>` a pod.
    pods_log: PathBuf,
    /// `/var/log/containers`: a link `<pod>_<namespace>_<container>-<id>.log` a container.
    containers_log: PathBuf,
    pods: LruCache<String, Known>,
    containers: LruCache<String, Arc<str>>,
    /// When the directories were read last.
    scanned: Option<u64>,
    forgotten: u64,
}

impl Names {
    pub fn new(pods_log: PathBuf, containers_log: PathBuf) -> Self {
        Self::with_capacity(pods_log, containers_log, CAPACITY)
    }

    fn with_capacity(pods_log: PathBuf, containers_log: PathBuf, capacity: NonZeroUsize) -> Self {
        Self {
            pods_log,
            containers_log,
            pods: LruCache::new(capacity),
            containers: LruCache::new(capacity),
            scanned: None,
            forgotten: 0,
        }
    }

    /// Reads both directories.
    pub fn scan(&mut self, now: u64) {
        self.scanned = Some(now);
        for name in entries(&self.pods_log) {
            if let Some((uid, name)) = pod_directory(&name) {
                self.forgotten += keep(&mut self.pods, &uid, Known { name, labels: None });
            }
        }
        for name in entries(&self.containers_log) {
            if let Some((id, container)) = container_link(&name) {
                self.forgotten += keep(&mut self.containers, id, container);
            }
        }
    }

    /// The pod with this UID.
    pub fn pod(&mut self, uid: &str, now: u64) -> Option<PodName> {
        if !self.pods.contains(uid) {
            self.rescan(now);
        }
        self.pods.get(uid).map(|pod| pod.name.clone())
    }

    /// The labels of the pod with this UID; none if nobody has told them.
    pub fn labels(&mut self, uid: &str) -> Option<Arc<Labels>> {
        self.pods.get(uid)?.labels.as_ref().map(|(_, labels)| labels.clone())
    }

    /// Whether a pod has its name and labels, and this container of it a name. Asks nobody.
    pub fn is_known(&self, uid: &str, container: Option<&str>) -> bool {
        self.pods.peek(uid).is_some_and(|pod| pod.labels.is_some())
            && container.is_none_or(|id| self.containers.contains(id))
    }

    /// Takes in what is told of a pod, if names and ids have the shape that they must have. Returns whether that was news.
    pub fn learn(&mut self, teller: Teller, facts: &PodFacts) -> bool {
        let is_pod = is_label(&facts.namespace) && is_subdomain(&facts.name);
        let Some(uid) = cgroup_path::pod_uid(&facts.uid).filter(|_| is_pod) else { return false };
        let mut is_news = false;
        if !self.pods.contains(&uid) {
            let name = PodName { namespace: facts.namespace.clone(), name: facts.name.clone() };
            self.forgotten += keep(&mut self.pods, &uid, Known { name, labels: None });
            is_news = true;
        }
        if let (Some(told), Some(pod)) = (&facts.labels, self.pods.get_mut(&uid)) {
            let (told, left_out) = facts::kept(told);
            let is_better =
                |(by, labels): &(Teller, Arc<Labels>)| teller >= *by && (teller != *by || *labels != told);
            if pod.labels.as_ref().is_none_or(is_better) {
                pod.labels = Some((teller, told));
                self.forgotten += left_out;
                is_news = true;
            }
        }
        for container in &facts.containers {
            if is_container(&container.id, &container.name) && !self.containers.contains(&container.id) {
                self.forgotten += keep(&mut self.containers, &container.id, container.name.clone());
                is_news = true;
            }
        }
        is_news
    }

    /// The name of the container with this id.
    pub fn container(&mut self, id: &str, now: u64) -> Option<Arc<str>> {
        if !self.containers.contains(id) {
            self.rescan(now);
        }
        self.containers.get(id).cloned()
    }

    /// All pods that are known, running or not.
    pub fn pods(&self) -> impl Iterator<Item = &PodName> {
        self.pods.iter().map(|(_, pod)| &pod.name)
    }

    /// How many names and labels had to be given up for want of room.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    fn rescan(&mut self, now: u64) {
        if self.scanned.is_none_or(|scanned| now.saturating_sub(scanned) >= RESCAN) {
            self.scan(now);
        }
    }
}

/// Keeps a name: the same key never gets another. Returns how many others it cost.
fn keep<V>(table: &mut LruCache<String, V>, key: &str, value: V) -> u64 {
    if table.promote(key) {
        return 0;
    }
    u64::from(table.push(key.to_owned(), value).is_some())
}

/// File names in a directory; none if there is none, as on a machine without kubelet.
fn entries(directory: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}

/// UID and name out of `<namespace>_<name>_<uid>`; no part can hold an underscore.
fn pod_directory(directory: &str) -> Option<(String, PodName)> {
    let mut parts = directory.split('_');
    let (Some(namespace), Some(name), Some(uid), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    let is_pod = is_label(namespace) && is_subdomain(name);
    let uid = cgroup_path::pod_uid(uid).filter(|_| is_pod)?;
    Some((uid, PodName { namespace: namespace.into(), name: name.into() }))
}

/// Id and container name out of `<pod>_<namespace>_<container>-<id>.log`.
fn container_link(link: &str) -> Option<(&str, Arc<str>)> {
    let (container, id) = link.strip_suffix(".log")?.rsplit_once('_')?.1.rsplit_once('-')?;
    is_container(id, container).then(|| (id, container.into()))
}

fn is_container(id: &str, name: &str) -> bool {
    is_label(name) && cgroup_path::is_hex(id, 64)
}

/// A label of RFC 1123, as Kubernetes wants it for namespaces and containers.
fn is_label(text: &str) -> bool {
    text.len() <= 63 && is_part(text)
}

/// A subdomain of RFC 1123, as Kubernetes wants it for pods: its parts are not held to a label's 63 bytes.
fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_part)
}

fn is_part(text: &str) -> bool {
    let is_inner = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    !text.is_empty() && !text.starts_with('-') && !text.ends_with('-') && text.bytes().all(is_inner)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UID: &str = "0e5d7c2a-1b3f-4c6d-8e9f-a0b1c2d3e4f5";
    const STATIC: &str = "b3a1f0c2d4e5968778695a4b3c2d1e0f";
    const ID: &str = "4f1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f8";

    #[test]
    fn names_are_read_from_the_kubelets_directories() {
        for (directory, expected) in [
            (format!("shop_cart-7d4f_{UID}"), (UID, "shop/cart-7d4f")),
            (format!("kube-system_etcd-node.example_{STATIC}"), (STATIC, "kube-system/etcd-node.example")),
        ] {
            let (uid, pod) = pod_directory(&directory).unwrap();
            assert_eq!((uid.as_str(), pod.to_string().as_str()), expected);
        }
        let link = format!("cart-7d4f_shop_side-car-{ID}.log");
        assert_eq!(container_link(&link), Some((ID, "side-car".into())));
    }

    #[test]
    fn directories_of_another_shape_are_not_pods() {
        for wrong in [
            "",
            "a_b",
            "UID",
            "a_b_",
            "_b_UID",
            "a__UID",
            "a_b_c_UID",
            "a_b_UIDx",
            "A_b_UID",
            "a_b\u{1b}[2J_UID",
        ] {
            assert_eq!(pod_directory(&wrong.replace("UID", UID)), None, "{wrong}");
        }
        for wrong in ["", ".log", "a_b_c-12.log", "x.log", "a_b_-ID.log", "a_b_c-ID", "a_b_C-ID.log"] {
            assert_eq!(container_link(&wrong.replace("ID", ID)), None, "{wrong}");
        }
    }

    #[test]
    fn a_missing_name_is_looked_for_again_and_the_dead_stay_known() {
        let root = tempfile::tempdir().unwrap();
        let (pods, containers) = (root.path().join("pods"), root.path().join("containers"));
        let mut names = Names::new(pods.clone(), containers);
        assert_eq!(names.pod(UID, 0), None);
        let directory = pods.join(format!("shop_cart_{UID}"));
        fs::create_dir_all(&directory).unwrap();
        assert_eq!(names.pod(UID, RESCAN - 1), None, "not read again so soon");
        assert_eq!(&*names.pod(UID, RESCAN).unwrap().name, "cart");
        fs::remove_dir(directory).unwrap();
        names.scan(9 * RESCAN);
        assert_eq!(&*names.pod(UID, 9 * RESCAN).unwrap().name, "cart");
    }

    #[test]
    fn a_full_memory_gives_up_the_longest_dead_and_counts() {
        let root = tempfile::tempdir().unwrap();
        let pods = root.path().join("pods");
        let two = NonZeroUsize::new(2).unwrap();
        let mut names = Names::with_capacity(pods.clone(), root.path().join("containers"), two);
        let uid = |number: u32| format!("{number:032x}");
        let directory = |number| pods.join(format!("shop_job-{number}_{}", uid(number)));
        fs::create_dir_all(directory(0)).unwrap();
        for number in 1..4 {
            fs::create_dir_all(directory(number)).unwrap();
            names.scan(0);
            // Pod 0 lives on, the others end.
            fs::remove_dir(directory(number)).unwrap();
        }
        let known: Vec<_> = (0..4).map(|number| names.pod(&uid(number), 0).is_some()).collect();
        assert_eq!((known, names.forgotten()), (vec![true, false, false, true], 2));
    }

    proptest! {
        #[test]
        fn what_is_read_can_be_shown(name in "\\PC{0,20}|[a-zA-Z0-9._-]{0,20}_[a-z0-9.-]{0,20}_[0-9a-f]{32}") {
            if let Some((_, pod)) = pod_directory(&name) {
                let shown = pod.to_string();
                prop_assert!(shown.bytes().all(|byte| byte.is_ascii_lowercase() || b"0123456789-./".contains(&byte)));
                prop_assert!(!pod.namespace.is_empty() && !pod.name.is_empty());
            }
            container_link(&name);
        }
    }
}
