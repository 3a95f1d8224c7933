//! Real pods: containerd and runc, driven through the CRI as a kubelet drives them, with images made on the spot.

mod cri;
mod oci_image;

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use self::cri::{
    CONTAINER_EXITED, ContainerConfig, ContainerMetadata, ContainerSecurityContext, Cri, DnsConfig,
    ImageSpec, LinuxContainerConfig, LinuxPodSandboxConfig, NamespaceOption, PodSandboxConfig,
    PodSandboxMetadata, SandboxSecurityContext,
};
use super::{
    BRIDGE, GATEWAY,
    cgroup::Hierarchies,
    clients::{Client, Clients},
    ipam, names,
    node::Node,
    pod::ResolvConf,
    process::{Process, command, run},
};

const SOCKET: &str = "/run/containerd/containerd.sock";
const SANDBOX_IMAGE: &str = "localhost/lab/pause:1";
const LOOKUP_IMAGE: &str = "localhost/lab/lookup:1";
const PAUSE: Duration = Duration::from_millis(50);
/// Rounds of [`PAUSE`]: a minute, since containerd takes several seconds to start under emulation.
const ROUNDS: usize = 1200;

/// A running containerd with two images: the sandbox's, and one with the musl lookup client.
/// Dropped, it is killed, its pods having been stopped before; images and log stay in the VM.
#[derive(Debug)]
pub struct Containerd {
    cri: Cri,
    daemon: Process,
    directory: PathBuf,
    hierarchies: Hierarchies,
}

impl Containerd {
    /// Starts containerd on its usual socket, for pods on the node's bridge.
    pub fn start(node: &Node, clients: &Clients) -> Result<Self> {
        let directory = std::env::temp_dir().join("e2e-containerd");
        fs::create_dir_all(directory.join("net.d"))?;
        fs::write(directory.join("net.d/10-lab.conflist"), network(&directory).to_string())?;
        let config = directory.join("config.toml");
        fs::write(&config, configuration(&directory))?;
        let log = fs::File::create(directory.join("containerd.log"))?;
        let mut containerd = command("containerd");
        containerd.arg("--config").arg(&config);
        let daemon = Process::start_logging(containerd, log)?;
        let cri = Cri::connect(Path::new(SOCKET))?;
        let mut started = Self { cri, daemon, directory, hierarchies: node.hierarchies().clone() };
        started.wait_until("containerd is ready", |cri| Ok(Path::new(SOCKET).exists() && cri.is_ready()?))?;
        started.import(SANDBOX_IMAGE, &clients.path(Client::Pause)?)?;
        started.import(LOOKUP_IMAGE, &clients.path(Client::LookupMusl)?)?;
        Ok(started)
    }

    /// Starts a pod as a kubelet with the cgroupfs driver would: a burstable pod with dnsPolicy ClusterFirst.
    pub fn run_lookup(&self, wanted: &LookupPod<'_>) -> Result<CriPod<'_>> {
        let pod = self.create_lookup(wanted)?;
        pod.start()?;
        Ok(pod)
    }

    /// The same up to the moment in which its program starts.
    pub fn create_lookup(&self, wanted: &LookupPod<'_>) -> Result<CriPod<'_>> {
        let LookupPod { namespace, name, container, args, .. } = *wanted;
        let uid = names::pod_uid(namespace, name);
        let all_logs = if wanted.has_usual_logs { Path::new("/var/log/pods") } else { &self.directory };
        let logs = all_logs.join(format!("{namespace}_{name}_{uid}"));
        fs::create_dir_all(logs.join(container))?;
        let sandbox_config = sandbox_config(wanted, &uid, &logs);
        let sandbox = self.cri.run_pod_sandbox(sandbox_config.clone())?;
        // From here on the pod is removed whatever happens.
        let mut pod = CriPod {
            containerd: self,
            uid,
            sandbox,
            ip: String::new(),
            container_id: String::new(),
            log: logs.join(container).join("0.log"),
            link: None,
        };
        pod.ip = self.cri.sandbox_ip(&pod.sandbox)?;
        let config = ContainerConfig {
            metadata: Some(ContainerMetadata { name: container.to_owned() }),
            image: Some(ImageSpec { image: LOOKUP_IMAGE.to_owned() }),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            labels: labels(namespace, name, &pod.uid, Some(container)),
            log_path: format!("{container}/0.log"),
            linux: Some(LinuxContainerConfig {
                security_context: Some(ContainerSecurityContext {
                    namespace_options: Some(NamespaceOption::KUBELET),
                }),
            }),
        };
        pod.container_id = self.cri.create_container(&pod.sandbox, config, sandbox_config)?;
        if wanted.has_usual_logs {
            let link = format!("{name}_{namespace}_{container}-{}.log", pod.container_id);
            let link = Path::new("/var/log/containers").join(link);
            fs::create_dir_all(link.parent().unwrap_or(Path::new("/")))?;
            symlink(&pod.log, &link).with_context(|| format!("cannot link {}", link.display()))?;
            pod.link = Some(link);
        }
        Ok(pod)
    }

    fn import(&mut self, image: &str, program: &Path) -> Result<()> {
        let archive = self.directory.join("image.tar");
        oci_image::write(&archive, image, program)?;
        let archive = archive.to_str().context("a path that is no UTF-8")?;
        run(&[
            "ctr",
            "--address",
            SOCKET,
            "--namespace",
            "k8s.io",
            "images",
            "import",
            "--snapshotter",
            "native",
            archive,
        ])?;
        self.wait_until("the runtime knows its image", |cri| cri.has_image(image))
    }

    fn wait_until(&mut self, what: &str, mut is_so: impl FnMut(&Cri) -> Result<bool>) -> Result<()> {
        let mut last = None;
        for _ in 0..ROUNDS {
            ensure!(self.daemon.is_running()?, "containerd ended:\n{}", self.log());
            match is_so(&self.cri) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                // Before it listens, a call fails.
                Err(error) => last = Some(error),
            }
            thread::sleep(PAUSE);
        }
        bail!("{what}: waited in vain ({last:?})\n{}", self.log())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.join("containerd.log")).unwrap_or_else(|error| error.to_string())
    }
}

/// A pod of one container that runs `lookup-musl ARGS`.
#[derive(Debug, Clone, Copy)]
pub struct LookupPod<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
    pub container: &'a str,
    /// Those of its user.
    pub labels: &'a [(&'a str, &'a str)],
    /// Whether its logs are where kubelets have them, so that the directories tell its name.
    pub has_usual_logs: bool,
    pub args: &'a [&'a str],
}

/// A pod that containerd runs. Dropped, it is stopped and removed.
#[derive(Debug)]
pub struct CriPod<'a> {
    containerd: &'a Containerd,
    pub uid: String,
    pub ip: String,
    /// 64 hex digits, as in the name of its cgroup.
    pub container_id: String,
    sandbox: String,
    log: PathBuf,
    link: Option<PathBuf>,
}

impl CriPod<'_> {
    /// Starts its program.
    pub fn start(&self) -> Result<()> {
        self.containerd.cri.start_container(&self.container_id)
    }

    /// Waits until the container's program has ended well, and returns what it printed.
    pub fn wait(&self) -> Result<String> {
        for _ in 0..ROUNDS {
            let status = self.containerd.cri.container_status(&self.container_id)?;
            if status.state == CONTAINER_EXITED {
                let log = fs::read_to_string(&self.log)?;
                ensure!(status.exit_code == 0, "{status:?}\n{log}");
                return Ok(cri_log_text(&log));
            }
            thread::sleep(PAUSE);
        }
        bail!("pod {} does not end", self.uid)
    }

    fn remove(&self) -> Result<()> {
        self.containerd.cri.stop_and_remove_sandbox(&self.sandbox)?;
        // The runtime removes the containers' cgroups; the pod's own is the kubelet's work.
        self.containerd.hierarchies.remove(Path::new(cgroup_parent(&self.uid).trim_start_matches('/')));
        if let Some(logs) = self.log.ancestors().nth(2) {
            fs::remove_dir_all(logs)?;
        }
        match &self.link {
            Some(link) => fs::remove_file(link).context("its link in /var/log/containers"),
            None => Ok(()),
        }
    }
}

impl Drop for CriPod<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            eprintln!("pod {} was not removed: {error:#}", self.uid);
        }
    }
}

fn sandbox_config(wanted: &LookupPod<'_>, uid: &str, logs: &Path) -> PodSandboxConfig {
    let LookupPod { namespace, name, .. } = *wanted;
    let mut labels = labels(namespace, name, uid, None);
    labels.extend(wanted.labels.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())));
    let resolv_conf = ResolvConf::cluster_first(namespace);
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: name.to_owned(),
            uid: uid.to_owned(),
            namespace: namespace.to_owned(),
        }),
        hostname: name.to_owned(),
        log_directory: logs.display().to_string(),
        dns_config: Some(DnsConfig {
            servers: resolv_conf.nameservers.iter().map(ToString::to_string).collect(),
            searches: resolv_conf.search,
            options: resolv_conf.options,
        }),
        labels,
        linux: Some(LinuxPodSandboxConfig {
            cgroup_parent: cgroup_parent(uid),
            security_context: Some(SandboxSecurityContext {
                namespace_options: Some(NamespaceOption::KUBELET),
            }),
        }),
    }
}

/// Where a kubelet with the cgroupfs driver has the runtime make the containers' cgroups.
fn cgroup_parent(uid: &str) -> String {
    format!("/kubepods/burstable/pod{uid}")
}

/// The labels by which a kubelet finds its own pods and containers again.
fn labels(namespace: &str, name: &str, uid: &str, container: Option<&str>) -> HashMap<String, String> {
    [
        ("pod.namespace", Some(namespace)),
        ("pod.name", Some(name)),
        ("pod.uid", Some(uid)),
        ("container.name", container),
    ]
    .into_iter()
    .filter_map(|(key, value)| Some((format!("io.kubernetes.{key}"), value?.to_owned())))
    .collect()
}

/// containerd's configuration: the CRI without what a test does not need. No systemd runs, so the cgroup driver is
/// cgroupfs; the native snapshotter copies, since the root of the VM may be an overlay already.
fn configuration(directory: &Path) -> String {
    let directory = directory.display();
    format!(
        r#"version = 2
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp",
]
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{SANDBOX_IMAGE}"
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{directory}/net.d"
"#
    )
}

/// The pod network: links into the node's bridge, addresses that no pod of ours gets.
fn network(directory: &Path) -> serde_json::Value {
    let (first, last) = ipam::CNI_RANGE;
    json!({
        "cniVersion": "0.4.0",
        "name": "lab",
        "plugins": [{
            "type": "bridge",
            "bridge": BRIDGE,
            "hairpinMode": true,
            "ipam": {
                "type": "host-local",
                "dataDir": directory.join("addresses"),
                "ranges": [[{
                    "subnet": format!("{}/24", ipam::NETWORK),
                    "rangeStart": first,
                    "rangeEnd": last,
                    "gateway": GATEWAY,
                }]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }],
    })
}

/// The text of a log in the CRI's format: each line is a time, a stream, F or P, and the text.
fn cri_log_text(log: &str) -> String {
    log.lines().filter_map(|line| line.splitn(4, ' ').nth(3)).map(|text| format!("{text}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cri_log_gives_its_text_back() {
        let log = "2026-11-21T00:35:00.123456789Z stdout F {\"pid\":1, \"a\":2}\n2026-11-21T00:35:01Z stderr F x y\n";
        assert_eq!(cri_log_text(log), "{\"pid\":1, \"a\":2}\nx y\n");
    }
}
