//! Names for pods and containers, out of the directories that the kubelet makes for their logs.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A directory is read again for a name that is missing at most this often, in nanoseconds.
const RESCAN: u64 = 50_000_000;
/// Names that are remembered at the most; a node runs some hundred pods at a time.
const CAPACITY: usize = 65_536;

/// A pod's namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodName {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

/// What the log directories say; the dead are remembered.
#[derive(Debug)]
pub struct Names {
    /// `/var/log/pods`: a directory `<namespace>_<name>_<uid>` a pod.
    pods_log: PathBuf,
    /// `/var/log/containers`: a link `<pod>_<namespace>_<container>-<id>.log` a container.
    containers_log: PathBuf,
    pods: HashMap<String, PodName>,
    containers: HashMap<String, Arc<str>>,
    /// When the directories were read last.
    scanned: Option<u64>,
}

impl Names {
    pub fn new(pods_log: PathBuf, containers_log: PathBuf) -> Self {
        Self { pods_log, containers_log, pods: HashMap::new(), containers: HashMap::new(), scanned: None }
    }

    /// Reads both directories.
    pub fn scan(&mut self, now: u64) {
        self.scanned = Some(now);
        for name in entries(&self.pods_log) {
            if let Some((uid, pod)) = pod_directory(&name) {
                insert(&mut self.pods, uid, pod);
            }
        }
        for name in entries(&self.containers_log) {
            if let Some((id, container)) = container_link(&name) {
                insert(&mut self.containers, id, container);
            }
        }
    }

    /// The pod with this UID.
    pub fn pod(&mut self, uid: &str, now: u64) -> Option<PodName> {
        if !self.pods.contains_key(uid) {
            self.rescan(now);
        }
        self.pods.get(uid).cloned()
    }

    /// The name of the container with this id.
    pub fn container(&mut self, id: &str, now: u64) -> Option<Arc<str>> {
        if !self.containers.contains_key(id) {
            self.rescan(now);
        }
        self.containers.get(id).cloned()
    }

    fn rescan(&mut self, now: u64) {
        if self.scanned.is_none_or(|scanned| now.saturating_sub(scanned) >= RESCAN) {
            self.scan(now);
        }
    }
}

/// Keeps a name. A full table is emptied: the living are found again at the next look.
fn insert<V>(table: &mut HashMap<String, V>, key: &str, value: V) {
    if table.len() >= CAPACITY && !table.contains_key(key) {
        table.clear();
    }
    table.insert(key.to_owned(), value);
}

/// File names in a directory; none if there is none, as on a machine without kubelet.
fn entries(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// UID and name out of `<namespace>_<name>_<uid>`; neither part can hold an underscore.
fn pod_directory(name: &str) -> Option<(&str, PodName)> {
    let mut parts = name.split('_');
    let (namespace, pod, uid) = (parts.next()?, parts.next()?, parts.next()?);
    let is_whole = parts.next().is_none() && ![namespace, pod, uid].contains(&"");
    is_whole.then(|| (uid, PodName { namespace: namespace.into(), name: pod.into() }))
}

/// Id and container name out of `<pod>_<namespace>_<container>-<id>.log`.
fn container_link(name: &str) -> Option<(&str, Arc<str>)> {
    let (container, id) = name.strip_suffix(".log")?.rsplit_once('_')?.1.rsplit_once('-')?;
    (!container.is_empty() && id.len() == 64).then(|| (id, container.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4f1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f8";

    #[test]
    fn names_are_read_from_the_kubelets_directories() {
        let (uid, pod) = pod_directory("shop_cart-7d4f_0e5d7c2a-1b3f-4c6d-8e9f-a0b1c2d3e4f5").unwrap();
        assert_eq!(
            (uid, &*pod.namespace, &*pod.name),
            ("0e5d7c2a-1b3f-4c6d-8e9f-a0b1c2d3e4f5", "shop", "cart-7d4f")
        );
        for wrong in ["", "a_b", "a_b_c_d", "__", "a__c"] {
            assert_eq!(pod_directory(wrong), None, "{wrong}");
        }
        let link = format!("cart-7d4f_shop_side-car-{ID}.log");
        assert_eq!(container_link(&link), Some((ID, "side-car".into())));
        for wrong in ["", ".log", "a_b_c-12.log", "x.log"] {
            assert_eq!(container_link(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_missing_name_is_looked_for_again_and_the_dead_stay_known() {
        let root = tempfile::tempdir().unwrap();
        let (pods, containers) = (root.path().join("pods"), root.path().join("containers"));
        let mut names = Names::new(pods.clone(), containers);
        assert_eq!(names.pod("u1", 0), None);
        fs::create_dir_all(pods.join("shop_cart_u1")).unwrap();
        assert_eq!(names.pod("u1", RESCAN - 1), None, "not read again so soon");
        assert_eq!(&*names.pod("u1", RESCAN).unwrap().name, "cart");
        fs::remove_dir(pods.join("shop_cart_u1")).unwrap();
        assert_eq!(&*names.pod("u1", 9 * RESCAN).unwrap().name, "cart");
    }
}
