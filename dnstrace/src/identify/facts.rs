//! What others tell of pods: the container runtime, the API server.

use std::{collections::BTreeMap, sync::Arc};

/// Labels of a pod, by key. Come from strangers: escape them for a terminal.
pub type Labels = BTreeMap<String, String>;

/// Labels of a pod that are kept at the most.
pub const MAX_LABELS: usize = 256;
/// Bytes of a label's key (a prefix of 253, a slash, a name of 63) and of its value: what the API server accepts.
const MAX_KEY: usize = 253 + 1 + 63;
const MAX_VALUE: usize = 63;

/// Who tells. Of two who tell different labels of a pod, the later in this list is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Teller {
    /// The container runtime knows labels as they were when the pod was started.
    Runtime,
    /// The API server knows them as they are.
    ApiServer,
}

/// What is told of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodFacts {
    /// As cgroups name it: with dashes; of a static pod the 32 hex digits that the API server has in the annotation
    /// `kubernetes.io/config.hash` of its mirror pod.
    pub uid: String,
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    /// Those that the user gave it; none if the teller does not know.
    pub labels: Option<Arc<Labels>>,
    /// Those that the teller knows of: others may have been told before.
    pub containers: Vec<ContainerFacts>,
}

/// What is told of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerFacts {
    /// 64 hex digits, without the runtime's name before them (`containerd://`).
    pub id: String,
    /// Its name in the pod's specification.
    pub name: Arc<str>,
}

/// Labels as they are kept, and how many are not: no more than [`MAX_LABELS`], and none that the API server would not
/// accept.
pub(super) fn kept(labels: &Arc<Labels>) -> (Arc<Labels>, u64) {
    let is_label = |(key, value): &(&String, &String)| key.len() <= MAX_KEY && value.len() <= MAX_VALUE;
    if labels.len() <= MAX_LABELS && labels.iter().all(|label| is_label(&label)) {
        return (labels.clone(), 0);
    }
    let good = labels.iter().filter(is_label).take(MAX_LABELS);
    let kept: Labels = good.map(|(key, value)| (key.clone(), value.clone())).collect();
    let left_out = labels.len() - kept.len();
    (Arc::new(kept), left_out as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_bounded() {
        let labels = |count: usize| -> Arc<Labels> {
            Arc::new((0..count).map(|number| (format!("key-{number}"), String::new())).collect())
        };
        let few = labels(MAX_LABELS);
        let (same, 0) = kept(&few) else { panic!("some are left out") };
        assert!(Arc::ptr_eq(&few, &same));
        let (many, left_out) = kept(&labels(MAX_LABELS + 7));
        assert_eq!((many.len(), left_out), (MAX_LABELS, 7));
        let odd = Labels::from([("a".into(), "x".repeat(64)), ("b".repeat(318), String::new())]);
        let (good, left_out) =
            kept(&Arc::new(Labels::from_iter([("c".into(), "d".into())].into_iter().chain(odd))));
        assert_eq!((good.len(), left_out), (1, 2));
    }
}
