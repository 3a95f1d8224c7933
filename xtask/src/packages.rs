//! What is fetched as Debian packages: programs that xtask runs here, and programs that the VM has beside the
//! machine's own.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{
    apt::{self, Apt, Mirrors, Suite},
    arch::Arch,
    process::say,
    workspace::Workspace,
};

/// Packages and what they are for.
type PackageTable = &'static [(&'static str, &'static str)];

/// Run on this machine, from the folder they are unpacked in.
const HOST_PACKAGES: PackageTable = &[
    ("qemu-system-x86", "runs the virtual machines"),
    ("busybox-static", "the first program of the VM"),
    ("kmod", "depmod: lists what each kernel module needs"),
    ("xz-utils", "unpacks kernels and their modules"),
    ("zstd", "unpacks kernels"),
];

/// Run on this machine for VMs of another processor.
const AARCH64_EMULATOR: PackageTable = &[("qemu-system-arm", "runs the virtual machines")];

/// What a VM of another processor has in place of the machine's own programs.
const BASE_PACKAGES: PackageTable = &[
    ("busybox-static", "the first program of the VM"),
    ("base-files", "directories"),
    ("base-passwd", "root and nobody"),
    ("bash", "the shell"),
    ("dash", "the shell of scripts"),
    ("coreutils", "what scripts are made of"),
    ("findutils", "likewise"),
    ("grep", "likewise"),
    ("mawk", "likewise"),
    ("sed", "likewise"),
    ("libc-bin", "getent"),
    ("mount", "file systems"),
];

/// Laid over the machine's own files in the VM.
const GUEST_PACKAGES: PackageTable = &[
    ("iproute2", "namespaces, veth pairs, bridges, routes"),
    ("iptables", "kube-proxy's rules, legacy and nft back ends"),
    ("nftables", "kube-proxy's rules in nftables mode, queues that hold packets"),
    ("ipvsadm", "kube-proxy's rules in IPVS mode"),
    ("conntrack", "entries that clash, full tables, the kernel's own counters"),
    ("containerd", "a real pod: the CRI server"),
    ("runc", "a real pod: makes its containers"),
    ("containernetworking-plugins", "a real pod: gives it a network"),
    ("unbound", "DNS server"),
    ("bind9", "DNS server"),
    ("dnsmasq-base", "DNS server"),
    ("bind9-dnsutils", "dig: a client that sends what it is told to"),
    ("musl-tools", "compiles clients with musl's resolver, which asks all servers at once"),
    ("gcc", "compiles clients"),
    ("libc6-dev", "compiles clients with glibc's resolver"),
    ("dnsperf", "load"),
    ("tcpdump", "a second opinion on what was on the wire"),
    ("tshark", "a second opinion on what the messages say"),
    ("procps", "processes, sysctl"),
    ("kmod", "modprobe, also for the kernel itself"),
    ("jq", "reads dnstrace's JSON"),
    ("socat", "clients and servers of odd habits"),
    ("libcap2-bin", "runs dnstrace with capabilities missing"),
    ("util-linux", "nsenter, unshare, setpriv"),
    ("python3-minimal", "clients that are easier said in Python"),
];

/// The programs that xtask runs on this machine.
#[derive(Debug)]
pub struct HostPrograms {
    root: PathBuf,
}

impl HostPrograms {
    /// Fetches them if they are not there yet.
    pub fn fetch(workspace: &Workspace) -> Result<Self> {
        Self::fetch_emulator(workspace, Arch::X86_64)
    }

    /// As [`Self::fetch`], what emulates this processor.
    pub fn fetch_emulator(workspace: &Workspace, arch: Arch) -> Result<Self> {
        let _lock = workspace.lock_setup()?;
        let root = workspace.cache(arch.in_cache("host"));
        let packages = match arch {
            Arch::X86_64 => HOST_PACKAGES,
            Arch::Aarch64 => AARCH64_EMULATOR,
        };
        fetch(workspace, Arch::X86_64, &root, packages)?;
        Ok(Self { root })
    }

    /// The program `name`, unpacked or the machine's own, which apt leaves out of the download.
    pub fn find(&self, name: &str) -> Result<PathBuf> {
        let roots = [self.root.as_path(), Path::new("/")];
        let directories = ["usr/bin", "usr/sbin"];
        let mut candidates = roots
            .iter()
            .flat_map(|root| directories.iter().map(move |directory| root.join(directory).join(name)));
        candidates.find(|path| path.is_file()).with_context(|| {
            let root = self.root.display();
            format!("{name} is neither on this machine nor in {root}: remove {root}.complete to fetch again")
        })
    }

    /// A directory such as `usr/share/seabios`, unpacked and on the machine, where it exists.
    pub fn directories(&self, path: &str) -> impl Iterator<Item = PathBuf> {
        [self.root.join(path), Path::new("/").join(path)].into_iter().filter(|path| path.is_dir())
    }

    /// Where the unpacked programs find their shared libraries.
    pub fn libraries(&self) -> PathBuf {
        self.root.join("usr/lib/x86_64-linux-gnu")
    }
}

/// Fetches the VM's own programs if they are not there yet, and returns the tree to lay over the machine's, or for
/// another processor the whole tree.
pub fn fetch_guest_root(workspace: &Workspace, arch: Arch) -> Result<PathBuf> {
    let _lock = workspace.lock_setup()?;
    let root = workspace.cache(arch.in_cache("root"));
    match arch {
        Arch::X86_64 => fetch(workspace, arch, &root, GUEST_PACKAGES)?,
        Arch::Aarch64 => {
            fetch(workspace, arch, &root, &[BASE_PACKAGES, GUEST_PACKAGES].concat())?;
            settle(&root)?;
        }
    }
    link_iptables(&root)?;
    Ok(root)
}

/// Unpacks what the machine lacks of `packages` into `root`. A marker written last tells a complete tree; it
/// names the packages, so that a package added to the table is fetched into an older tree.
fn fetch(workspace: &Workspace, arch: Arch, root: &Path, packages: &[(&str, &str)]) -> Result<()> {
    let names: Vec<&str> = packages.iter().map(|(name, _)| *name).collect();
    let marker = root.with_added_extension("complete");
    let complete = names.join("\n");
    if fs::read_to_string(&marker).is_ok_and(|text| text == complete) {
        return Ok(());
    }
    say(format_args!("fetching into {}: {}", root.display(), names.join(" ")));
    let codename = debian_codename()?;
    let suites = [
        Suite::main(codename.as_str()),
        Suite::main(format!("{codename}-updates")),
        Suite::security(format!("{codename}-security")),
    ];
    let state = workspace.cache("apt").join(arch.in_cache("machine"));
    let apt = Apt::with_suites(state, arch, &Mirrors::of_machine(&codename)?, &suites)?;
    apt::create_merged_root(root)?;
    for deb in apt.download_missing(&names)? {
        apt::unpack(&deb, root)?;
    }
    apt.discard_archives()?;
    fs::write(&marker, complete)?;
    Ok(())
}

/// The code name of the machine's Debian release, such as `bookworm`.
pub fn debian_codename() -> Result<String> {
    let release = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    codename_of(&release).context("the VMs need a Debian machine: /etc/os-release does not say ID=debian")
}

fn codename_of(os_release: &str) -> Option<String> {
    let value = |key: &str| {
        let mut values = os_release.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        values.next().map(|value| value.trim_matches('"'))
    };
    (value("ID") == Some("debian")).then(|| value("VERSION_CODENAME").map(str::to_owned)).flatten()
}

/// Makes what the packages' own scripts would make at their installation, as far as the VM needs it.
fn settle(root: &Path) -> Result<()> {
    let masters = root.join("usr/share/base-passwd");
    for (name, contents) in [
        ("passwd", fs::read(masters.join("passwd.master"))?),
        ("group", fs::read(masters.join("group.master"))?),
        ("hosts", Vec::new()),
        ("resolv.conf", Vec::new()),
    ] {
        let file = root.join("etc").join(name);
        // A VM may be reading it.
        if !file.exists() {
            fs::write(&file, contents).with_context(|| format!("cannot create {}", file.display()))?;
        }
    }
    Ok(())
}

/// Makes `iptables` and its kin the nft ones. On an installed system update-alternatives does that, and the
/// machine may have chosen otherwise; `iptables-legacy` stays at hand under its own name.
fn link_iptables(root: &Path) -> Result<()> {
    let directory = root.join("usr/sbin");
    for family in ["iptables", "ip6tables"] {
        for action in ["", "-save", "-restore"] {
            let link = directory.join(format!("{family}{action}"));
            if fs::symlink_metadata(&link).is_err() {
                symlink(format!("{family}-nft{action}"), &link)
                    .with_context(|| format!("cannot create {}", link.display()))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codename_is_debians_only() {
        let debian = "PRETTY_NAME=\"Debian GNU/Linux 12\"\nVERSION_CODENAME=bookworm\nID=debian\n";
        assert_eq!(codename_of(debian).as_deref(), Some("bookworm"));
        assert_eq!(codename_of("ID=ubuntu\nVERSION_CODENAME=noble\nID_LIKE=debian\n"), None);
        assert_eq!(codename_of("ID=debian\n"), None);
    }

    #[test]
    fn iptables_is_the_nft_one() -> Result<()> {
        let root = tempfile::tempdir()?;
        fs::create_dir_all(root.path().join("usr/sbin"))?;
        link_iptables(root.path())?;
        link_iptables(root.path())?;
        let link = fs::read_link(root.path().join("usr/sbin/ip6tables-restore"))?;
        assert_eq!(link, Path::new("ip6tables-nft-restore"));
        Ok(())
    }
}
