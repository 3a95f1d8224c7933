//! Options that say of whom to tell.

use clap::Args;

use crate::identify::{Selection, Selector};

/// Whose lookups are meant: of pods, of the node's own processes, of one process.
#[derive(Args, Clone, Debug, Default)]
pub struct SelectionArgs {
    /// Pod, by its name, the unambiguous beginning of it, or NAMESPACE/NAME; may be repeated.
    #[arg(short, long = "pod", value_name = "POD", conflicts_with_all = ["all_namespaces", "host"])]
    pub pods: Vec<String>,

    /// Namespace of the pod; without a pod, all pods of this namespace.
    #[arg(short, long, value_name = "NAMESPACE", conflicts_with_all = ["all_namespaces", "host"])]
    pub namespace: Option<String>,

    /// Pods with such labels, as kubectl selects them: app=cart, 'tier!=db', 'env in (a,b)', x, '!y', with commas between them;
    /// with -n of that namespace. Labels come from the container runtime (--cri-socket), the API server (--kube), or a recording.
    #[arg(short = 'l', long, value_name = "SELECTOR", conflicts_with_all = ["pods", "host"])]
    pub selector: Option<Selector>,

    /// Only this container of the pod.
    #[arg(short, long, value_name = "NAME", conflicts_with_all = ["all_namespaces", "host"])]
    pub container: Option<String>,

    /// All pods of the node.
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,

    /// What runs outside pods: kubelet, container runtime, systemd-resolved, shells.
    #[arg(long, conflicts_with = "all_namespaces")]
    pub host: bool,

    /// Only this process (its id on the node).
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,

    /// Only processes of this name (the first 15 bytes count, as in ps -o comm).
    #[arg(long, value_name = "NAME")]
    pub comm: Option<String>,
}

impl SelectionArgs {
    /// The pods that they name.
    pub fn selection(&self) -> Selection {
        Selection {
            namespace: self.namespace.clone(),
            pods: self.pods.clone(),
            selector: self.selector.clone(),
            container: self.container.clone(),
            wait: false,
            all: self.all_namespaces,
            host: self.host,
        }
    }
}
