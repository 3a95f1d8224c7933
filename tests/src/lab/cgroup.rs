//! The cgroups that a kubelet and its container runtime would make, by their real names.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::{
        signal::{Signal, kill},
        statfs::{CGROUP2_SUPER_MAGIC, statfs},
    },
    unistd::Pid,
};

const MOUNT_POINT: &str = "/sys/fs/cgroup";

/// What runc wants, and systemd's own hierarchy without a controller.
const V1_CONTROLLERS: &[&str] =
    &["blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids", "systemd"];

/// A pod's quality of service class, a level of the cgroup tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qos {
    Guaranteed,
    Burstable,
    BestEffort,
}

/// Who makes the cgroups: it decides their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupDriver {
    Systemd,
    Cgroupfs,
}

/// The container runtime: it names a container's own cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    Containerd,
    Crio,
    Docker,
}

/// What stands above `kubepods` in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nesting {
    /// A kubelet on the machine itself.
    None,
    /// kind: the node is a Docker container of the machine, and its kubelet runs with `--cgroup-root=/kubelet`.
    Kind,
}

/// Everything that a container's cgroup path depends on.
#[derive(Debug, Clone, Copy)]
pub struct CgroupName<'a> {
    pub driver: CgroupDriver,
    pub runtime: Runtime,
    pub qos: Qos,
    pub nesting: Nesting,
    /// As in the pod's metadata: with dashes, or 32 hex digits for a static pod.
    pub pod_uid: &'a str,
    /// 64 hex digits.
    pub container_id: &'a str,
}

/// The id of the Docker container that is a kind node.
const KIND_NODE_ID: &str = "5f3e9cbb4f2e7a1b06d7e3a1c55e8f0f2ad1d3c4b5a69788796a5b4c3d2e1f00";

impl CgroupName<'_> {
    /// The path below the hierarchy's root, without a leading slash.
    pub fn path(&self) -> PathBuf {
        match self.driver {
            CgroupDriver::Systemd => self.systemd_path(),
            CgroupDriver::Cgroupfs => self.cgroupfs_path(),
        }
    }

    fn systemd_path(&self) -> PathBuf {
        // systemd nests slices by the dashes of their names, so a pod UID has to lose its own.
        let uid = self.pod_uid.replace('-', "_");
        let (mut path, mut slice) = match self.nesting {
            Nesting::None => (PathBuf::new(), String::new()),
            Nesting::Kind => (
                PathBuf::from(format!("system.slice/docker-{KIND_NODE_ID}.scope/kubelet.slice")),
                "kubelet-".to_owned(),
            ),
        };
        slice.push_str("kubepods");
        path.push(format!("{slice}.slice"));
        if let Some(class) = self.class() {
            slice = format!("{slice}-{class}");
            path.push(format!("{slice}.slice"));
        }
        path.push(format!("{slice}-pod{uid}.slice"));
        path.push(match self.runtime {
            Runtime::Containerd => format!("cri-containerd-{}.scope", self.container_id),
            Runtime::Crio => format!("crio-{}.scope", self.container_id),
            Runtime::Docker => format!("docker-{}.scope", self.container_id),
        });
        path
    }

    fn cgroupfs_path(&self) -> PathBuf {
        let mut path = match self.nesting {
            Nesting::None => PathBuf::new(),
            Nesting::Kind => PathBuf::from(format!("docker/{KIND_NODE_ID}/kubelet")),
        };
        path.push("kubepods");
        path.extend(self.class());
        path.push(format!("pod{}", self.pod_uid));
        path.push(match self.runtime {
            Runtime::Containerd | Runtime::Docker => self.container_id.to_owned(),
            Runtime::Crio => format!("crio-{}", self.container_id),
        });
        path
    }

    /// Guaranteed pods stand directly below `kubepods`.
    fn class(&self) -> Option<&'static str> {
        match self.qos {
            Qos::Guaranteed => None,
            Qos::Burstable => Some("burstable"),
            Qos::BestEffort => Some("besteffort"),
        }
    }
}

/// The mounted hierarchies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hierarchies {
    V2(PathBuf),
    /// One root for each controller. A unified hierarchy beside them stays unused, as on nodes of that age.
    V1(Vec<PathBuf>),
}

impl Hierarchies {
    /// Finds what is mounted; mounts cgroup v2 where nothing is, since no systemd runs in the VM.
    pub fn detect_or_mount() -> Result<Self> {
        let root = Path::new(MOUNT_POINT);
        if is_cgroup2(root)? {
            return Ok(Self::V2(root.to_owned()));
        }
        let v1 = v1_roots(root)?;
        if !v1.is_empty() {
            return Ok(Self::V1(v1));
        }
        mount(Some("cgroup2"), root, Some("cgroup2"), MsFlags::empty(), None::<&str>)
            .context("cannot mount cgroup2")?;
        Ok(Self::V2(root.to_owned()))
    }

    /// Takes cgroup v2 away and mounts v1 controllers in its place: a node of Kubernetes 1.17's time.
    /// To be called before any cgroup was made. An error names the controller that the kernel does not offer.
    pub fn remount_as_v1() -> Result<Self> {
        let root = Path::new(MOUNT_POINT);
        umount2(root, MntFlags::MNT_DETACH).context("cannot unmount cgroup2")?;
        mount(Some("tmpfs"), root, Some("tmpfs"), MsFlags::empty(), Some("mode=755"))?;
        let mut roots = Vec::new();
        for controller in V1_CONTROLLERS {
            let directory = root.join(controller);
            fs::create_dir(&directory)?;
            let options = match *controller {
                "systemd" => "none,name=systemd",
                other => other,
            };
            mount(Some("cgroup"), &directory, Some("cgroup"), MsFlags::empty(), Some(options))
                .with_context(|| format!("cannot mount the v1 controller {controller}"))?;
            roots.push(directory);
        }
        Ok(Self::V1(roots))
    }

    /// Makes the cgroup in every hierarchy and returns its directories.
    pub fn create(&self, name: &Path) -> Result<Vec<PathBuf>> {
        self.roots()
            .iter()
            .map(|root| {
                let directory = root.join(name);
                fs::create_dir_all(&directory)
                    .with_context(|| format!("cannot make {}", directory.display()))?;
                set_up_cpuset(root, name)?;
                Ok(directory)
            })
            .collect()
    }

    /// Removes the cgroup, and those of its parents that are left empty. All its processes must be gone.
    pub fn remove(&self, name: &Path) {
        for root in self.roots() {
            for directory in name.ancestors().filter(|path| !path.as_os_str().is_empty()) {
                // A parent that another pod still uses refuses: that ends the walk.
                if fs::remove_dir(root.join(directory)).is_err() {
                    break;
                }
            }
        }
    }

    fn roots(&self) -> &[PathBuf] {
        match self {
            Self::V2(root) => std::slice::from_ref(root),
            Self::V1(roots) => roots,
        }
    }
}

/// Kills what runs in a cgroup and waits until it is empty.
pub fn kill_all(directories: &[PathBuf]) -> Result<()> {
    const ROUNDS: usize = 500;
    const PAUSE: Duration = Duration::from_millis(10);
    for directory in directories {
        let mut left = Vec::new();
        for _ in 0..ROUNDS {
            left = pids(directory)?;
            if left.is_empty() {
                break;
            }
            for pid in &left {
                // A process that ended meanwhile is no error.
                let _ = kill(*pid, Signal::SIGKILL);
            }
            thread::sleep(PAUSE);
        }
        if !left.is_empty() {
            bail!("{} still holds the processes {left:?}", directory.display());
        }
    }
    Ok(())
}

fn pids(directory: &Path) -> Result<Vec<Pid>> {
    match fs::read_to_string(directory.join("cgroup.procs")) {
        Ok(text) => Ok(text.lines().filter_map(|line| line.parse().ok()).map(Pid::from_raw).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => {
            Err(error).with_context(|| format!("cannot read the processes of {}", directory.display()))
        }
    }
}

/// A v1 cpuset takes no process before it was told its CPUs and memory nodes.
fn set_up_cpuset(root: &Path, name: &Path) -> Result<()> {
    let mut directory = root.to_owned();
    for part in name {
        let parent = directory.clone();
        directory.push(part);
        for file in ["cpuset.cpus", "cpuset.mems"] {
            // On cgroup v2 the file is absent or may stay empty.
            if parent.join("cgroup.clone_children").exists() && directory.join(file).exists() {
                fs::copy(parent.join(file), directory.join(file))?;
            }
        }
    }
    Ok(())
}

fn is_cgroup2(path: &Path) -> Result<bool> {
    Ok(statfs(path).with_context(|| format!("no {}", path.display()))?.filesystem_type()
        == CGROUP2_SUPER_MAGIC)
}

fn v1_roots(root: &Path) -> Result<Vec<PathBuf>> {
    let mut roots = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        // Not the symbolic links that give co-mounted controllers a second name.
        let path = entry.path();
        if entry.file_type()?.is_dir() && path.join("cgroup.procs").exists() && !is_cgroup2(&path)? {
            roots.push(path);
        }
    }
    roots.sort();
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "2c48913c-b29f-11e7-9350-020968147796";
    const ID: &str = "9cc2b5bb2e2f4b1f1d3e7a4f3c3f0e4e0c4b6a5d1f2e3c4b5a69788796a5b4c3";

    fn path(driver: CgroupDriver, runtime: Runtime, qos: Qos, nesting: Nesting, pod_uid: &str) -> String {
        let name = CgroupName { driver, runtime, qos, nesting, pod_uid, container_id: ID };
        name.path().to_str().unwrap().replace(ID, "ID")
    }

    #[test]
    fn names_are_those_of_real_nodes() {
        use {CgroupDriver::*, Qos::*, Runtime::*};
        let static_uid = "b3a1f0c2d4e5968778695a4b3c2d1e0f";
        let rows = [
            (
                path(Systemd, Containerd, Burstable, Nesting::None, UID),
                "kubepods.slice/kubepods-burstable.slice/\
                 kubepods-burstable-pod2c48913c_b29f_11e7_9350_020968147796.slice/cri-containerd-ID.scope",
            ),
            (
                path(Systemd, Crio, Guaranteed, Nesting::None, static_uid),
                "kubepods.slice/kubepods-podb3a1f0c2d4e5968778695a4b3c2d1e0f.slice/crio-ID.scope",
            ),
            (
                path(Systemd, Docker, BestEffort, Nesting::None, UID),
                "kubepods.slice/kubepods-besteffort.slice/\
                 kubepods-besteffort-pod2c48913c_b29f_11e7_9350_020968147796.slice/docker-ID.scope",
            ),
            (
                path(Cgroupfs, Docker, Burstable, Nesting::None, UID),
                "kubepods/burstable/pod2c48913c-b29f-11e7-9350-020968147796/ID",
            ),
            (
                path(Cgroupfs, Containerd, Guaranteed, Nesting::None, UID),
                "kubepods/pod2c48913c-b29f-11e7-9350-020968147796/ID",
            ),
            (
                path(Cgroupfs, Crio, BestEffort, Nesting::None, UID),
                "kubepods/besteffort/pod2c48913c-b29f-11e7-9350-020968147796/crio-ID",
            ),
        ];
        for (made, expected) in rows {
            assert_eq!(made, expected);
        }
    }

    #[test]
    fn kind_puts_the_kubelet_tree_into_the_node_container() {
        let systemd = path(CgroupDriver::Systemd, Runtime::Containerd, Qos::Burstable, Nesting::Kind, UID);
        assert!(systemd.starts_with("system.slice/docker-"));
        assert!(
            systemd.contains(".scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/")
        );
        let cgroupfs = path(CgroupDriver::Cgroupfs, Runtime::Containerd, Qos::BestEffort, Nesting::Kind, UID);
        assert!(cgroupfs.contains("/kubelet/kubepods/besteffort/pod2c48913c-b29f-11e7"));
    }

    #[test]
    fn a_cpuset_learns_its_cpus_from_its_parents() {
        let root = tempfile::tempdir().unwrap();
        for directory in ["", "a", "a/b"] {
            let path = root.path().join(directory);
            fs::create_dir_all(&path).unwrap();
            for file in ["cgroup.clone_children", "cpuset.cpus", "cpuset.mems"] {
                fs::write(path.join(file), if directory.is_empty() { "0-1" } else { "" }).unwrap();
            }
        }
        set_up_cpuset(root.path(), Path::new("a/b")).unwrap();
        assert_eq!(fs::read_to_string(root.path().join("a/b/cpuset.cpus")).unwrap(), "0-1");
    }
}
