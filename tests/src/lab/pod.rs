//! A pod as a tracer on the node meets it: cgroups, namespaces, address, log directory; and programs run in it.

use std::{
    ffi::OsStr,
    fmt, fs, io,
    net::{Ipv4Addr, Ipv6Addr},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use anyhow::{Context, Result, anyhow};

use super::{
    BRIDGE, CLUSTER_DNS, GATEWAY, GATEWAY6, NODE_IP, NODE_IP6,
    cgroup::{self, CgroupDriver, CgroupName, Hierarchies, Nesting, Qos, Runtime},
    ipam::Lease,
    names,
    netns::{Holder, HolderOptions, ip as node_ip},
    node::Node,
    process::{Output, Process, finish},
};

/// How a pod is made. The default is a burstable pod of containerd with the systemd driver and one container, `app`.
#[derive(Debug, Clone)]
pub struct PodOptions {
    pub qos: Qos,
    pub driver: CgroupDriver,
    pub runtime: Runtime,
    pub nesting: Nesting,
    /// Whether it shares the node's network namespace.
    pub host_network: bool,
    /// A static pod's UID is a hash without dashes, as on control plane pods.
    pub is_static: bool,
    /// The names of its containers.
    pub containers: Vec<String>,
    /// Its `/etc/resolv.conf`; where `None`, that of dnsPolicy ClusterFirst.
    pub resolv_conf: Option<ResolvConf>,
}

impl Default for PodOptions {
    fn default() -> Self {
        Self {
            qos: Qos::Burstable,
            driver: CgroupDriver::Systemd,
            runtime: Runtime::Containerd,
            nesting: Nesting::None,
            host_network: false,
            is_static: false,
            containers: vec!["app".to_owned()],
            resolv_conf: None,
        }
    }
}

/// What a pod's `/etc/resolv.conf` says; `Display` writes the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvConf {
    pub nameservers: Vec<std::net::IpAddr>,
    pub search: Vec<String>,
    pub options: Vec<String>,
}

impl ResolvConf {
    /// As the kubelet writes it for dnsPolicy ClusterFirst in a namespace.
    pub fn cluster_first(namespace: &str) -> Self {
        Self {
            nameservers: vec![CLUSTER_DNS.into()],
            search: vec![
                format!("{namespace}.svc.cluster.local"),
                "svc.cluster.local".into(),
                "cluster.local".into(),
            ],
            options: vec!["ndots:5".into()],
        }
    }
}

impl fmt::Display for ResolvConf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.search.is_empty() {
            writeln!(f, "search {}", self.search.join(" "))?;
        }
        for nameserver in &self.nameservers {
            writeln!(f, "nameserver {nameserver}")?;
        }
        if !self.options.is_empty() {
            writeln!(f, "options {}", self.options.join(" "))?;
        }
        Ok(())
    }
}

/// One container of a pod.
#[derive(Debug, Clone)]
pub struct Container {
    pub name: String,
    /// 64 hex digits.
    pub id: String,
    /// Its cgroup below the root of each hierarchy, without a leading slash.
    pub cgroup: PathBuf,
    directories: Vec<PathBuf>,
}

impl Container {
    /// The directories of its cgroup, one for each hierarchy.
    pub fn directories(&self) -> &[PathBuf] {
        &self.directories
    }
}

/// A running pod. Dropped, it is stopped.
#[derive(Debug)]
pub struct Pod {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    /// Its IPv4 address; the node's where it uses the host network.
    pub ip: Ipv4Addr,
    /// Its IPv6 address; the node's where it uses the host network.
    pub ip6: Ipv6Addr,
    /// Its interface on the node, unless it uses the host network.
    pub veth: Option<String>,
    pub containers: Vec<Container>,
    sandbox: Container,
    hierarchies: Hierarchies,
    holder: Holder,
    files: Vec<PathBuf>,
    /// Freed with the pod.
    _lease: Option<Lease>,
}

impl Pod {
    /// Starts a pod on the node: when it returns, programs can run in it and other pods can reach it.
    pub fn start(node: &Node, namespace: &str, name: &str, options: &PodOptions) -> Result<Self> {
        Self::start_at(node, lease(node, options)?, namespace, name, options)
    }

    /// Starts several pods (namespace, name, options) beside each other; their addresses go up in the order given.
    pub fn start_all(node: &Node, pods: &[(&str, &str, PodOptions)]) -> Result<Vec<Self>> {
        let leases = pods.iter().map(|(_, _, options)| lease(node, options)).collect::<Result<Vec<_>>>()?;
        thread::scope(|scope| {
            let starting = pods
                .iter()
                .zip(leases)
                .map(|((namespace, name, options), lease)| {
                    scope.spawn(move || Self::start_at(node, lease, namespace, name, options))
                })
                .collect::<Vec<_>>();
            starting
                .into_iter()
                .map(|thread| thread.join().map_err(|_| anyhow!("starting a pod panicked"))?)
                .collect()
        })
    }

    fn start_at(
        node: &Node,
        lease: Option<Lease>,
        namespace: &str,
        name: &str,
        options: &PodOptions,
    ) -> Result<Self> {
        let uid = match options.is_static {
            true => names::static_pod_uid(namespace, name),
            false => names::pod_uid(namespace, name),
        };
        let hierarchies = node.hierarchies().clone();
        let container = |container: &str| -> Result<Container> {
            let id = names::container_id(&uid, container);
            let cgroup = CgroupName {
                driver: options.driver,
                runtime: options.runtime,
                qos: options.qos,
                nesting: options.nesting,
                pod_uid: &uid,
                container_id: &id,
            }
            .path();
            let directories = hierarchies.create(&cgroup)?;
            Ok(Container { name: container.to_owned(), id, cgroup, directories })
        };
        // The kubelet's own name for the pause container.
        let sandbox = container("POD")?;
        let containers = options.containers.iter().map(|name| container(name)).collect::<Result<Vec<_>>>()?;

        let directory = PathBuf::from(format!("/var/lib/kubelet/pods/{uid}"));
        let files = Files { directory: &directory, namespace, name, uid: &uid };
        let (ip, ip6) = lease.as_ref().map_or((NODE_IP, NODE_IP6), |lease| (lease.ip(), lease.ip6()));
        let resolv_conf = options.resolv_conf.clone().unwrap_or_else(|| ResolvConf::cluster_first(namespace));
        let (resolv_path, hosts_path) = files.write_etc(&resolv_conf, ip)?;
        let mut written = vec![directory.clone()];
        written.extend(files.write_logs(&containers, options.runtime)?);

        let holder = Holder::start(&HolderOptions {
            cgroup: &sandbox.directories,
            host_network: options.host_network,
            bind: &[(&resolv_path, Path::new("/etc/resolv.conf")), (&hosts_path, Path::new("/etc/hosts"))],
            hostname: (!options.host_network).then_some(name),
        })?;
        let veth = (!options.host_network).then(|| names::veth(&uid));
        if let Some(veth) = &veth {
            connect(veth, &holder, ip, ip6)?;
        }
        Ok(Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid,
            ip,
            ip6,
            veth,
            containers,
            sandbox,
            hierarchies,
            holder,
            files: written,
            _lease: lease,
        })
    }

    /// Its first container's name: where a test does not care.
    pub fn first_container(&self) -> Result<&str> {
        Ok(&self.containers.first().context("a pod without containers")?.name)
    }

    /// The container of that name.
    pub fn container(&self, name: &str) -> Result<&Container> {
        self.containers
            .iter()
            .find(|container| container.name == name)
            .with_context(|| format!("pod {} has no container {name}", self.name))
    }

    /// The inode number of its network namespace.
    pub fn netns_inode(&self) -> Result<u64> {
        self.holder.netns_inode()
    }

    /// Its network namespace, for programs of the node run in it (`nsenter -n`), for `ip` and for counters.
    pub fn netns(&self) -> &Holder {
        &self.holder
    }

    /// A command that becomes `argv` in the container's cgroup and the pod's namespaces, with the pod's resolv.conf.
    pub fn command<S: AsRef<OsStr>>(&self, container: &str, argv: &[S]) -> Result<Command> {
        self.holder.command(&self.container(container)?.directories, argv)
    }

    /// Runs a program in a container to its end, whatever its exit status.
    pub fn exec<S: AsRef<OsStr>>(&self, container: &str, argv: &[S]) -> Result<Output> {
        self.exec_with_input(container, argv, "")
    }

    /// As [`Self::exec`], with `input` on its standard input.
    pub fn exec_with_input<S: AsRef<OsStr>>(
        &self,
        container: &str,
        argv: &[S],
        input: &str,
    ) -> Result<Output> {
        finish(self.command(container, argv)?, input)
    }

    /// Starts a program in a container and leaves it running.
    pub fn spawn<S: AsRef<OsStr>>(&self, container: &str, argv: &[S]) -> Result<Process> {
        Process::start(self.command(container, argv)?)
    }

    /// Kills what runs in the pod and removes its cgroups, files and network.
    pub fn stop(mut self) -> Result<()> {
        self.tear_down()
    }

    fn tear_down(&mut self) -> Result<()> {
        if let Some(veth) = self.veth.take() {
            // While the namespace still lives: some time after its last process, the kernel takes the link away itself.
            node_ip(&format!("link del {veth}\n"))?;
        }
        for container in self.containers.iter().chain([&self.sandbox]) {
            cgroup::kill_all(&container.directories)?;
            self.hierarchies.remove(&container.cgroup);
        }
        for file in self.files.drain(..) {
            let removed = if file.is_dir() { fs::remove_dir_all(&file) } else { fs::remove_file(&file) };
            match removed {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot remove {}", file.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        if let Err(error) = self.tear_down() {
            eprintln!("pod {}/{} was not removed: {error:#}", self.namespace, self.name);
        }
    }
}

/// An address for the pod, unless it uses the node's.
fn lease(node: &Node, options: &PodOptions) -> Result<Option<Lease>> {
    if options.host_network { Ok(None) } else { node.ipam().lease().map(Some) }
}

/// Gives the pod its `eth0`, as the bridge CNI plugin does.
fn connect(veth: &str, holder: &Holder, ip: Ipv4Addr, ip6: Ipv6Addr) -> Result<()> {
    let pid = holder.pid();
    node_ip(&format!(
        "link add {veth} type veth peer name eth0 netns {pid}\n\
         link set {veth} master {BRIDGE} up\n\
         link set {veth} type bridge_slave hairpin on\n"
    ))?;
    holder.ip(&format!(
        "link set lo up\n\
         link set eth0 up\n\
         addr add {ip}/24 dev eth0\n\
         addr add {ip6}/64 dev eth0 nodad\n\
         route add default via {GATEWAY}\n\
         route add ::/0 via {GATEWAY6}\n",
    ))
}

/// The files of a pod on the node.
struct Files<'a> {
    directory: &'a Path,
    namespace: &'a str,
    name: &'a str,
    uid: &'a str,
}

impl Files<'_> {
    /// The pod's resolv.conf and hosts, below the kubelet's directory.
    fn write_etc(&self, resolv_conf: &ResolvConf, ip: Ipv4Addr) -> Result<(PathBuf, PathBuf)> {
        fs::create_dir_all(self.directory)
            .with_context(|| format!("cannot make {}", self.directory.display()))?;
        let resolv_path = self.directory.join("resolv.conf");
        fs::write(&resolv_path, resolv_conf.to_string())?;
        let hosts_path = self.directory.join("etc-hosts");
        let hosts = format!("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n{ip}\t{}\n", self.name);
        fs::write(&hosts_path, hosts)?;
        Ok((resolv_path, hosts_path))
    }

    /// Log files and the links to them. Returns what has to be removed later.
    fn write_logs(&self, containers: &[Container], runtime: Runtime) -> Result<Vec<PathBuf>> {
        let Self { namespace, name, uid, .. } = self;
        let pod_logs = PathBuf::from(format!("/var/log/pods/{namespace}_{name}_{uid}"));
        let links = Path::new("/var/log/containers");
        fs::create_dir_all(links)?;
        let mut written = vec![pod_logs.clone()];
        for container in containers {
            let id = &container.id;
            let directory = pod_logs.join(&container.name);
            fs::create_dir_all(&directory)?;
            let log = directory.join("0.log");
            match runtime {
                Runtime::Containerd | Runtime::Crio => fs::write(&log, "")?,
                // Docker writes its own file, the kubelet only links to it.
                Runtime::Docker => {
                    let own = PathBuf::from(format!("/var/lib/docker/containers/{id}"));
                    fs::create_dir_all(&own)?;
                    let file = own.join(format!("{id}-json.log"));
                    fs::write(&file, "")?;
                    replace_link(&file, &log)?;
                    written.push(own);
                }
            }
            let link = links.join(format!("{name}_{namespace}_{}-{id}.log", container.name));
            replace_link(&log, &link)?;
            written.push(link);
        }
        Ok(written)
    }
}

/// Makes a symbolic link, also where an earlier run that was killed left one.
fn replace_link(target: &Path, link: &Path) -> Result<()> {
    match fs::remove_file(link) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    symlink(target, link).with_context(|| format!("cannot link {}", link.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_reads_as_the_kubelet_writes_it() {
        assert_eq!(
            ResolvConf::cluster_first("shop").to_string(),
            "search shop.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n"
        );
    }
}
