//! The resolv.conf of a cgroup's processes, as they see it: that of their root.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use lru::LruCache;
use nix::{
    fcntl::{OFlag, OpenHow, ResolveFlag, openat2},
    sys::stat::SFlag,
};

use super::{CAPACITY, Hierarchy, Likeness, ResolverConfig, cgroup_path, netns};

/// Looks again at a file that is known after so many nanoseconds, and sooner at one that could not be read: its process had
/// gone, and the next one may live.
const LOOK_AGAIN: u64 = 3_000_000_000;
const TRY_AGAIN: u64 = 250_000_000;
/// Bytes of a file that are read; the kubelet writes a few hundred.
const LARGEST: u64 = 64 << 10;
/// Processes of a cgroup that are tried in the place of one that has gone.
const OTHERS: usize = 4;
/// Where resolv.conf is; and where systemd-resolved keeps the one that a kubelet hands on, as the other names only itself.
const PLACE: &str = "etc/resolv.conf";
const NODE_PLACES: [&str; 2] = [PLACE, "run/systemd/resolve/resolv.conf"];

/// Reads resolv.conf files, and remembers what they said.
#[derive(Debug)]
pub(super) struct ResolvConfFiles {
    proc: PathBuf,
    known: LruCache<u64, Known>,
}

#[derive(Clone, Debug)]
struct Known {
    config: Option<Arc<ResolverConfig>>,
    stamp: Option<Stamp>,
    /// When it was looked at, in nanoseconds of event time.
    at: u64,
}

/// A file as it was when it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    modified: (i64, i64),
    size: u64,
}

impl ResolvConfFiles {
    pub fn new(proc: PathBuf) -> Self {
        Self { proc, known: LruCache::new(CAPACITY) }
    }

    /// What the resolver of this process of a cgroup goes by, as far as that can be read; `path` is the cgroup's below the
    /// root of its hierarchy.
    pub fn of(
        &mut self,
        (cgroup, pid): (u64, u32),
        path: &str,
        hierarchy: &Hierarchy,
        now: u64,
    ) -> Option<Arc<ResolverConfig>> {
        let known = self.known.get(&cgroup).cloned();
        if let Some(Known { config, at, .. }) = &known {
            let patience = if config.is_some() { LOOK_AGAIN } else { TRY_AGAIN };
            if now.saturating_sub(*at) < patience {
                return config.clone();
            }
        }
        let before = known.as_ref().and_then(|known| Some((known.stamp?, known.config.clone()?)));
        let read = self.read(pid, path, hierarchy, before.as_ref()).or(before);
        let (stamp, config) = read.unzip();
        self.known.push(cgroup, Known { config: config.clone(), stamp, at: now });
        config
    }

    /// It is another cgroup now.
    pub fn forget(&mut self, cgroup: u64) {
        self.known.pop(&cgroup);
    }

    /// From the root of the process; should that have gone, of another one of its cgroup, then of its pod. What is outside
    /// pods and containers has the node's.
    fn read(
        &self,
        pid: u32,
        path: &str,
        hierarchy: &Hierarchy,
        before: Option<&(Stamp, Arc<ResolverConfig>)>,
    ) -> Option<(Stamp, Arc<ResolverConfig>)> {
        self.read_of(pid, before).or_else(|| {
            let others = self.others(path, hierarchy);
            others.into_iter().find_map(|other| self.read_of(other, before))
        })
    }

    fn others(&self, path: &str, hierarchy: &Hierarchy) -> Vec<u32> {
        let parsed = cgroup_path::parse(path);
        if parsed.pod_uid.is_none() && parsed.container.is_none() {
            return vec![1];
        }
        let own = hierarchy.mount.join(path.trim_start_matches('/'));
        let pod = own.parent().filter(|_| parsed.pod_uid.is_some() && parsed.container.is_some());
        let cgroups = [Some(own.as_path()), pod].into_iter().flatten();
        cgroups.flat_map(|cgroup| netns::processes(cgroup).into_iter().take(OTHERS)).collect()
    }

    /// `before` is what the file said last: if it has not changed, it says so still.
    fn read_of(
        &self,
        pid: u32,
        before: Option<&(Stamp, Arc<ResolverConfig>)>,
    ) -> Option<(Stamp, Arc<ResolverConfig>)> {
        let (file, stamp) = open(&self.root(pid), PLACE).ok()?;
        if let Some(before) = before.filter(|(known, _)| *known == stamp) {
            return Some(before.clone());
        }
        let mut config = parse(file).ok()?;
        if self.node().iter().any(|node| config.is_like(node)) {
            config.likeness = Likeness::Node;
        }
        Some((stamp, config.into()))
    }

    /// What the node's own processes go by, or the kubelet hands on.
    fn node(&self) -> Vec<ResolverConfig> {
        let root = self.root(1);
        NODE_PLACES.iter().filter_map(|place| parse(open(&root, place).ok()?.0).ok()).collect()
    }

    fn root(&self, pid: u32) -> PathBuf {
        self.proc.join(format!("{pid}/root"))
    }
}

/// Opens a regular file below `root` as a process with that root would: a link of its is not followed out of it.
fn open(root: &Path, place: &str) -> io::Result<(File, Stamp)> {
    let root = File::open(root)?;
    // Should it be a pipe, its writer is not waited for.
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let file = File::from(openat2(root, place, how)?);
    let metadata = file.metadata()?;
    if metadata.mode() & SFlag::S_IFMT.bits() != SFlag::S_IFREG.bits() {
        return Err(io::Error::other("no regular file"));
    }
    let stamp = Stamp {
        device: metadata.dev(),
        inode: metadata.ino(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        size: metadata.size(),
    };
    Ok((file, stamp))
}

fn parse(file: File) -> io::Result<ResolverConfig> {
    let mut text = Vec::new();
    file.take(LARGEST).read_to_end(&mut text)?;
    Ok(ResolverConfig::parse(&text))
}
