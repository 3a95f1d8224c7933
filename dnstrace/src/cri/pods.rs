//! From a runtime's lists to what they tell of pods. Pure: values in, values out.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::list::{Lists, PodSandbox};
use crate::identify::{ContainerFacts, Labels, PodFacts};

/// The kubelet and the runtimes put labels of their own beside the user's, by which they find their pods again:
/// `io.kubernetes.pod.name`, `io.kubernetes.container.name`, `io.kubernetes.sandbox.id`.
const NOT_THE_USERS: &str = "io.kubernetes.";

/// What was told before: as much as the runtime had when it was asked last.
#[derive(Debug, Default)]
pub(super) struct Told {
    pods: BTreeMap<String, PodFacts>,
}

impl Told {
    /// Of these lists what was not told before.
    pub fn news(&mut self, lists: Lists) -> Vec<PodFacts> {
        let pods = facts(lists);
        let is_news = |facts: &&PodFacts| self.pods.get(&facts.uid) != Some(*facts);
        let news = pods.values().filter(is_news).cloned().collect();
        self.pods = pods;
        news
    }
}

/// What the lists tell of each pod, by its UID.
fn facts(lists: Lists) -> BTreeMap<String, PodFacts> {
    let mut containers: HashMap<String, Vec<ContainerFacts>> = HashMap::new();
    for container in lists.containers {
        let Some(metadata) = container.metadata else { continue };
        let facts = ContainerFacts { id: container.id, name: metadata.name.into() };
        containers.entry(container.pod_sandbox_id).or_default().push(facts);
    }
    // A pod whose sandbox was lost has another: the newest tells its labels.
    let mut sandboxes = lists.pods;
    sandboxes.sort_by_key(|sandbox| sandbox.created_at);
    let mut pods: BTreeMap<String, PodFacts> = BTreeMap::new();
    for PodSandbox { id, metadata, labels, .. } in sandboxes {
        let Some(metadata) = metadata else { continue };
        let pod = pods.entry(metadata.uid.clone()).or_default();
        pod.uid = metadata.uid;
        pod.namespace = metadata.namespace.into();
        pod.name = metadata.name.into();
        let of_user = labels.into_iter().filter(|(key, _)| !key.starts_with(NOT_THE_USERS));
        pod.labels = Some(Arc::new(of_user.collect::<Labels>()));
        pod.containers.extend(containers.remove(&id).unwrap_or_default());
    }
    for pod in pods.values_mut() {
        // Runtimes list in any order, and another order is no news.
        pod.containers.sort_by(|a, b| a.id.cmp(&b.id));
    }
    pods
}

#[cfg(test)]
mod tests {
    use super::{
        super::list::{Container, ContainerMetadata, PodSandboxMetadata},
        *,
    };

    fn sandbox(id: &str, uid: &str, created_at: i64, labels: &[(&str, &str)]) -> PodSandbox {
        PodSandbox {
            id: id.to_owned(),
            metadata: Some(PodSandboxMetadata {
                name: format!("pod-{uid}"),
                uid: uid.to_owned(),
                namespace: "shop".to_owned(),
            }),
            created_at,
            labels: labels.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect(),
        }
    }

    fn container(id: &str, sandbox: &str) -> Container {
        let metadata = Some(ContainerMetadata { name: format!("name-{id}") });
        Container { id: id.to_owned(), pod_sandbox_id: sandbox.to_owned(), metadata }
    }

    fn lists() -> Lists {
        Lists {
            pods: vec![
                sandbox("s2", "a", 2, &[("app", "cart"), ("io.kubernetes.pod.name", "pod-a")]),
                sandbox("s1", "a", 1, &[("app", "old")]),
                sandbox("s3", "b", 3, &[]),
                PodSandbox { id: "s4".to_owned(), ..PodSandbox::default() },
            ],
            containers: vec![
                container("c3", "s2"),
                container("c1", "s1"),
                container("c2", "s3"),
                container("c4", "nobody's"),
                Container { id: "c5".to_owned(), pod_sandbox_id: "s2".to_owned(), metadata: None },
            ],
        }
    }

    #[test]
    fn a_pod_is_its_sandboxes_and_their_containers() {
        let facts = facts(lists());
        let [a, b] = &facts.values().collect::<Vec<_>>()[..] else { panic!("{facts:?}") };
        assert_eq!((&a.uid[..], &*a.namespace, &*a.name), ("a", "shop", "pod-a"));
        let labels = |pod: &PodFacts| pod.labels.as_deref().cloned().unwrap();
        assert_eq!(labels(a), Labels::from([("app".to_owned(), "cart".to_owned())]));
        let ids =
            |pod: &PodFacts| pod.containers.iter().map(|one| one.id.clone()).collect::<Vec<_>>().concat();
        assert_eq!((ids(a), ids(b)), ("c1c3".to_owned(), "c2".to_owned()));
        assert_eq!((&*b.containers[0].name, labels(b).len()), ("name-c2", 0));
    }

    #[test]
    fn only_what_is_new_is_told() {
        let mut told = Told::default();
        assert_eq!(told.news(lists()).len(), 2);
        let mut turned = lists();
        turned.pods.reverse();
        turned.containers.reverse();
        assert_eq!(told.news(turned), []);
        let mut more = lists();
        more.containers.push(container("c9", "s3"));
        more.pods.retain(|sandbox| sandbox.id != "s1");
        let news: Vec<_> = told.news(more).into_iter().map(|facts| facts.uid).collect();
        assert_eq!(news, ["a", "b"], "a lost its first sandbox's container, b has another one");
        assert_eq!(told.news(Lists::default()), []);
        assert_eq!(told.news(lists()).len(), 2, "what had gone is told again");
    }
}
