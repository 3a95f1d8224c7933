//! Whose messages are wanted, where the kernel could not tell or was not asked: by what is known of their owners.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Owner, Selection, Selector};
use crate::event::Task;

/// Which pods a live trace wants of those that the kernel was asked for, as it cannot know them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// Only pods of this namespace.
    pub namespace: Option<String>,
    /// Only pods with such labels.
    pub selector: Option<Selector>,
}

impl Scope {
    fn is(&self, owner: &Owner) -> bool {
        self.namespace.as_ref().is_none_or(|wanted| is_of_namespace(owner, wanted))
            && self.selector.as_ref().is_none_or(|wanted| has_labels(owner, wanted, true))
    }
}

/// All conditions that an owner must meet.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    scope: Scope,
    /// Likewise on some nodes, by their names.
    on_nodes: BTreeMap<String, Scope>,
    selection: Selection,
    pid: Option<u32>,
    comm: Option<String>,
}

impl Wanted {
    /// Everybody, or the pods of a `scope` that is narrower.
    pub fn of(scope: Scope) -> Self {
        Self { scope, ..Self::default() }
    }

    /// Of these, on each of these nodes only those of its scope.
    #[must_use]
    pub fn on_nodes(self, scopes: BTreeMap<String, Scope>) -> Self {
        Self { on_nodes: scopes, ..self }
    }

    /// Of these, who is selected, the process of this id and processes of this name. A pod is named by its name or the
    /// beginning of it: a recording is read once, so that it cannot be known whether that is unambiguous.
    #[must_use]
    pub fn and(self, selection: Selection, pid: Option<u32>, comm: Option<String>) -> Self {
        Self { selection, pid, comm, ..self }
    }

    /// Whether a task is wanted.
    pub fn is(&self, owner: &Owner, task: &Task) -> bool {
        let on_node = owner.node.as_deref().and_then(|node| self.on_nodes.get(node));
        self.scope.is(owner)
            && on_node.is_none_or(|scope| scope.is(owner))
            && self.is_selected(owner)
            && self.pid.is_none_or(|pid| task.pid == pid)
            && self.comm.as_ref().is_none_or(|comm| is_called(task, comm))
    }

    fn is_selected(&self, owner: &Owner) -> bool {
        let Selection { namespace, pods, selector, container, all, host, wait: _ } = &self.selection;
        if *host {
            return owner.pod.is_none();
        }
        if *all && owner.pod.is_none() {
            return false;
        }
        let namespace = namespace.as_deref();
        let is_wanted_pod = match &pods[..] {
            [] => namespace.is_none_or(|wanted| is_of_namespace(owner, wanted)),
            pods => pods.iter().any(|wanted| match wanted.split_once('/') {
                Some((namespace, name)) => is_pod(owner, Some(namespace), name),
                None => is_pod(owner, namespace, wanted),
            }),
        };
        let has_labels = selector.as_ref().is_none_or(|wanted| has_labels(owner, wanted, false));
        is_wanted_pod && has_labels && container.as_deref().is_none_or(|wanted| is_container(owner, wanted))
    }
}

/// A pod whose name is not known may be of the namespace: shown rather than missed.
fn is_of_namespace(owner: &Owner, wanted: &str) -> bool {
    let pod = owner.pod.as_ref();
    pod.is_some_and(|pod| pod.namespace.as_deref().is_none_or(|namespace| namespace == wanted))
}

/// A pod whose labels nobody has told may have such: whether it is shown rather than missed, says `unknown`.
fn has_labels(owner: &Owner, wanted: &Selector, unknown: bool) -> bool {
    let labels = owner.pod.as_ref().map(|pod| pod.labels.as_ref());
    labels.is_some_and(|labels| labels.map_or(unknown, |labels| wanted.matches(labels)))
}

fn is_pod(owner: &Owner, namespace: Option<&str>, wanted: &str) -> bool {
    owner.pod.as_ref().is_some_and(|pod| {
        pod.name.as_deref().is_some_and(|name| name.starts_with(wanted))
            && namespace.is_none_or(|wanted| pod.namespace.as_deref() == Some(wanted))
    })
}

fn is_container(owner: &Owner, wanted: &str) -> bool {
    owner.container.as_ref().is_some_and(|container| container.name.as_deref() == Some(wanted))
}

/// The kernel keeps 15 bytes of a name.
fn is_called(task: &Task, comm: &str) -> bool {
    const KEPT: usize = dnstrace_ebpf::wire::COMM_LEN - 1;
    task.comm.as_bytes() == comm.as_bytes().get(..KEPT).unwrap_or(comm.as_bytes())
}
