//! Whose messages are wanted, where the kernel could not tell or was not asked: by what is known of their owners.

use std::collections::BTreeMap;

use super::{Owner, Selection};
use crate::event::Task;

/// All conditions that an owner must meet.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Only pods of this namespace, as a live trace of a whole namespace has it.
    namespace: Option<String>,
    /// Likewise on some nodes, by their names.
    on_nodes: BTreeMap<String, String>,
    selection: Selection,
    pid: Option<u32>,
    comm: Option<String>,
}

impl Wanted {
    /// Everybody; with a `namespace`, its pods.
    pub fn of_namespace(namespace: Option<String>) -> Self {
        Self { namespace, ..Self::default() }
    }

    /// Of these, on each of these nodes only pods of its namespace.
    #[must_use]
    pub fn on_nodes(self, namespaces: BTreeMap<String, String>) -> Self {
        Self { on_nodes: namespaces, ..self }
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
        [self.namespace.as_ref(), on_node].iter().flatten().all(|wanted| is_of_namespace(owner, wanted))
            && self.is_selected(owner)
            && self.pid.is_none_or(|pid| task.pid == pid)
            && self.comm.as_ref().is_none_or(|comm| is_called(task, comm))
    }

    fn is_selected(&self, owner: &Owner) -> bool {
        let Selection { namespace, pods, container, all, host, wait: _ } = &self.selection;
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
        is_wanted_pod && container.as_deref().is_none_or(|wanted| is_container(owner, wanted))
    }
}

/// A pod whose name is not known may be of the namespace: shown rather than missed.
fn is_of_namespace(owner: &Owner, wanted: &str) -> bool {
    let pod = owner.pod.as_ref();
    pod.is_some_and(|pod| pod.namespace.as_deref().is_none_or(|namespace| namespace == wanted))
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
