//! Names of Kubernetes.

use std::path::PathBuf;

use clap::Args;

/// Whether the Kubernetes API is asked, and how.
#[derive(Clone, Debug, Default, Args)]
pub struct KubeArgs {
    /// Ask the Kubernetes API what addresses are called: Services, and the pods behind them. It is found as kubectl finds it:
    /// --kubeconfig, KUBECONFIG, ~/.kube/config, the service account of a pod. The trace does not wait for it.
    #[arg(long)]
    pub kube: bool,

    /// How to reach it, instead of what kubectl would take; on a node of kubeadm /etc/kubernetes/kubelet.conf, say.
    #[arg(long, value_name = "FILE", requires = "kube")]
    pub kubeconfig: Option<PathBuf>,
}
