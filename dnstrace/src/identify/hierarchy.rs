//! The cgroup hierarchy in which the pods live, and its directories by id.

use std::{
    fs, io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
};

/// Which kind of hierarchy holds the pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// That of the memory controller, on its own.
    V1,
    /// The unified one.
    V2,
}

/// A mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    pub version: Version,
    /// Where its root is mounted.
    pub mount: PathBuf,
    /// The kernel's number for it: 0 for the unified one.
    pub number: u32,
}

/// No hierarchy that could hold pods is mounted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("no cgroup hierarchy is mounted: neither cgroup2 nor a cgroup with the memory controller in {0}")]
pub struct NoHierarchy(PathBuf);

impl Hierarchy {
    /// Finds it in `/proc/self/mountinfo` and `/proc/self/cgroup` below `proc`.
    ///
    /// # Errors
    /// If the files cannot be read, or name no hierarchy.
    pub fn find(proc: &Path) -> io::Result<Self> {
        let mountinfo = proc.join("self/mountinfo");
        let mounts = read_lossy(&mountinfo)?;
        let membership = read_lossy(&proc.join("self/cgroup"))?;
        parse(&mounts, &membership).ok_or_else(|| io::Error::other(NoHierarchy(mountinfo)))
    }

    /// Path of the cgroup with this id, relative to the root with a leading slash; none if it has gone.
    ///
    /// By file handle: kernfs finds a directory by its id (`FILEID_KERNFS`, kernel 5.5 and newer). Needs
    /// CAP_DAC_READ_SEARCH.
    pub fn path(&self, id: u64) -> Option<String> {
        let directory = open_by_id(&self.mount, id).ok()?;
        let path = fs::read_link(format!("/proc/self/fd/{}", directory.as_raw_fd())).ok()?;
        self.relative(&path)
    }

    /// Path relative to the root, with a leading slash.
    pub fn relative(&self, path: &Path) -> Option<String> {
        let relative = path.strip_prefix(&self.mount).ok()?;
        Some(format!("/{}", relative.display()))
    }

    /// Path of `cgroup` as the process `pid` has it; none if the process has gone or is in another cgroup
    /// by now.
    pub fn path_of_process(&self, proc: &Path, pid: u32, cgroup: u64) -> Option<String> {
        let membership = read_lossy(&proc.join(format!("{pid}/cgroup"))).ok()?;
        let path = self.path_of(&membership)?;
        // What has been removed meanwhile, or lies outside our cgroup namespace, cannot be compared.
        if let Some(removed) = path.strip_suffix(" (deleted)") {
            return Some(removed.to_owned());
        }
        if path.starts_with("/../") {
            return Some(path);
        }
        (id(&self.mount.join(path.trim_start_matches('/'))).ok()? == cgroup).then_some(path)
    }

    /// The path of a process's cgroup in this hierarchy, out of its `/proc/<pid>/cgroup`.
    fn path_of(&self, membership: &str) -> Option<String> {
        membership.lines().find_map(|line| {
            let (number, rest) = line.split_once(':')?;
            let (_, path) = rest.split_once(':')?;
            (number.parse() == Ok(self.number)).then(|| path.to_owned())
        })
    }

    /// Path and id of the root and the cgroups below it, those near the root first, at most `limit`. What
    /// vanishes meanwhile is left out.
    pub fn walk(&self, limit: usize) -> Vec<(String, u64)> {
        let mut found = Vec::new();
        let mut level = vec![self.mount.clone()];
        while !level.is_empty() && found.len() < limit {
            let here = level.iter().take(limit - found.len());
            found.extend(here.filter_map(|path| Some((self.relative(path)?, id(path).ok()?))));
            level = level.iter().flat_map(|path| subdirectories(path)).collect();
        }
        found
    }

    /// All cgroups below the root whose name `wanted` says yes to, as path and id; it does not look below those,
    /// and no deeper than `depth`. What vanishes meanwhile is left out.
    pub fn find_cgroups(&self, depth: u32, wanted: &dyn Fn(&str) -> bool) -> Vec<(PathBuf, u64)> {
        let mut found = Vec::new();
        search(&self.mount, depth, wanted, &mut found);
        found
    }
}

fn search(directory: &Path, depth: u32, wanted: &dyn Fn(&str) -> bool, found: &mut Vec<(PathBuf, u64)>) {
    let Some(depth) = depth.checked_sub(1) else { return };
    for path in subdirectories(directory) {
        let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        if !wanted(&name) {
            search(&path, depth, wanted, found);
        } else if let Ok(id) = id(&path) {
            found.push((path, id));
        }
    }
}

/// A file of `/proc` as text. Names of mounts and cgroups need not be UTF-8; a stranger's odd one must not hide
/// all others.
fn read_lossy(path: &Path) -> io::Result<String> {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// The directories in a directory, in the order of their names; none if it has gone.
pub fn subdirectories(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let is_directory = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    let mut paths: Vec<_> = entries.flatten().filter(is_directory).map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// Id of the cgroup at `path`: the inode number of its directory.
///
/// # Errors
/// If it does not exist.
pub fn id(path: &Path) -> io::Result<u64> {
    fs::metadata(path).map(|metadata| metadata.ino())
}

/// The hierarchy that holds the pods: the memory controller's where it is mounted on its own (cgroup v1, and
/// "hybrid" nodes), else the unified one. `mountinfo` as in proc(5), `membership` as in cgroups(7).
fn parse(mountinfo: &str, membership: &str) -> Option<Hierarchy> {
    let mounts: Vec<Mount<'_>> = mountinfo.lines().filter_map(Mount::parse).collect();
    // A container runtime may have mounted a part of the hierarchy elsewhere.
    let find = |version| {
        let mut fitting = mounts.iter().filter(|mount| mount.version == version);
        fitting.clone().find(|mount| mount.root == "/").or_else(|| fitting.next())
    };
    if let Some(mount) = find(Version::V1) {
        let number = hierarchy_number(membership, "memory")?;
        return Some(Hierarchy { version: Version::V1, mount: mount.point.into(), number });
    }
    find(Version::V2).map(|mount| Hierarchy { version: Version::V2, mount: mount.point.into(), number: 0 })
}

/// A mount of a hierarchy that may hold pods.
struct Mount<'a> {
    version: Version,
    /// Which directory of the hierarchy is mounted.
    root: &'a str,
    point: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(3);
        let (root, point) = (before.next()?, before.next()?);
        let mut after = after.split(' ');
        let (kind, options) = (after.next()?, after.nth(1).unwrap_or_default());
        let version = match kind {
            "cgroup" if options.split(',').any(|option| option == "memory") => Version::V1,
            "cgroup2" => Version::V2,
            _ => return None,
        };
        Some(Self { version, root, point })
    }
}

/// Number of a controller's hierarchy: lines are `NUMBER:CONTROLLER,...:PATH`.
fn hierarchy_number(membership: &str, controller: &str) -> Option<u32> {
    membership.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let number = fields.next()?;
        fields.next()?.split(',').any(|name| name == controller).then(|| number.parse().ok())?
    })
}

/// `struct file_handle` with a kernfs id as its handle.
#[repr(C)]
struct Handle {
    bytes: u32,
    kind: i32,
    id: u64,
}

fn open_by_id(mount: &Path, id: u64) -> io::Result<OwnedFd> {
    /// include/linux/exportfs.h, since 5.5
    const FILEID_KERNFS: i32 = 0xfe;
    let root = fs::File::open(mount)?;
    let mut handle = Handle { bytes: 8, kind: FILEID_KERNFS, id };
    // SAFETY: `handle` is laid out as struct file_handle with 8 bytes of f_handle, as its first field says.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_open_by_handle_at,
            root.as_raw_fd(),
            &raw mut handle,
            libc::O_RDONLY | libc::O_CLOEXEC,
        )
    };
    let fd = i32::try_from(fd).unwrap_or(-1);
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that the kernel has just given us, and nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2: &str = "35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
    const V1: &str = "30 24 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n\
        31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
        33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
        36 30 0:32 / /sys/fs/cgroup/memory rw shared:14 - cgroup cgroup rw,memory\n";
    const V1_MEMBERSHIP: &str = "9:memory:/user.slice\n4:cpu,cpuacct:/\n1:name=systemd:/x\n0::/y\n";

    #[test]
    fn the_hierarchy_of_the_pods_is_found() {
        let v2 = parse(V2, "0::/init.scope\n").unwrap();
        assert_eq!(v2, Hierarchy { version: Version::V2, mount: "/sys/fs/cgroup".into(), number: 0 });
        let v1 = parse(V1, V1_MEMBERSHIP).unwrap();
        assert_eq!(v1, Hierarchy { version: Version::V1, mount: "/sys/fs/cgroup/memory".into(), number: 9 });
        assert_eq!(v1.path_of(V1_MEMBERSHIP).as_deref(), Some("/user.slice"));
        assert_eq!(v2.path_of(V1_MEMBERSHIP).as_deref(), Some("/y"));
        let part = "34 24 0:30 /kubepods /run/part rw - cgroup2 cgroup2 rw\n";
        assert_eq!(parse(&format!("{part}{V2}"), ""), Some(v2));
        assert_eq!(parse(part, "").unwrap().mount, Path::new("/run/part"));
        assert_eq!(parse("", ""), None);
        assert_eq!(parse("garbage - cgroup2\n- - -", ":::"), None);
    }

    #[test]
    fn a_process_tells_only_of_the_cgroup_it_is_in() {
        let root = tempfile::tempdir().unwrap();
        let (proc, mount) = (root.path().join("proc"), root.path().join("cgroup"));
        fs::create_dir_all(proc.join("7")).unwrap();
        fs::create_dir_all(mount.join("a")).unwrap();
        let (top, a) = (id(&mount).unwrap(), id(&mount.join("a")).unwrap());
        let hierarchy = Hierarchy { version: Version::V2, mount, number: 0 };
        let path_of = |membership: &[u8], cgroup| {
            fs::write(proc.join("7/cgroup"), membership).unwrap();
            hierarchy.path_of_process(&proc, 7, cgroup)
        };
        assert_eq!(path_of(b"1:cpu:/\n0::/a\n", a).as_deref(), Some("/a"));
        assert_eq!(path_of(b"1:cpu:/\n0::/a\n", top), None);
        assert_eq!(path_of(b"1:\xff:/\n0::/\n", top).as_deref(), Some("/"));
        assert_eq!(path_of(b"0::/gone (deleted)\n", 1).as_deref(), Some("/gone"));
        assert_eq!(path_of(b"0::/../pod\n", 1).as_deref(), Some("/../pod"));
        assert_eq!(path_of(b"0::/never-there\n", 1), None);
        assert_eq!(hierarchy.path_of_process(&proc, 8, a), None);
    }

    #[test]
    fn a_walk_begins_at_the_root_and_is_bounded() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("a/b")).unwrap();
        fs::create_dir_all(root.path().join("c")).unwrap();
        fs::write(root.path().join("cgroup.procs"), "").unwrap();
        std::os::unix::fs::symlink("/", root.path().join("d")).unwrap();
        let hierarchy = Hierarchy { version: Version::V2, mount: root.path().to_owned(), number: 0 };
        let paths = |limit| hierarchy.walk(limit).into_iter().map(|(path, _)| path).collect::<Vec<_>>();
        assert_eq!(paths(9), ["/", "/a", "/c", "/a/b"]);
        assert_eq!(paths(2), ["/", "/a"]);
        assert_eq!(hierarchy.walk(1), [("/".to_owned(), id(root.path()).unwrap())]);
    }
}
