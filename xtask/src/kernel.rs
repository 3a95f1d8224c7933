//! Debian's kernels: where each series is packaged, fetching one, and what it was unpacked to.

mod image;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, anyhow};
use clap::{ValueEnum, builder::PossibleValue};

use crate::{
    apt::{self, Apt, Mirrors, Suite},
    arch::Arch,
    packages::{HostPrograms, debian_codename},
    process::{self, say},
    workspace::Workspace,
};

/// A kernel series that dnstrace is tried on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    V5_10,
    V6_1,
    V6_12,
    V6_18,
    V7_2,
}

impl Kernel {
    pub const ALL: [Self; 5] = [Self::V5_10, Self::V6_1, Self::V6_12, Self::V6_18, Self::V7_2];

    /// The series, such as `6.1`.
    pub fn series(self) -> &'static str {
        match self {
            Self::V5_10 => "5.10",
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
            Self::V6_18 => "6.18",
            Self::V7_2 => "7.2",
        }
    }

    /// The suites that carry the series, the best first. Those that move on to newer kernels come with a second
    /// choice.
    fn suites(self) -> Vec<Suite> {
        match self {
            Self::V5_10 => vec![Suite::security("bullseye-security"), Suite::main("bullseye")],
            Self::V6_1 => vec![Suite::security("bookworm-security"), Suite::main("bookworm")],
            Self::V6_12 => vec![Suite::security("bookworm-security"), Suite::main("bookworm-backports")],
            Self::V6_18 => vec![Suite::main("trixie-backports")],
            Self::V7_2 => vec![Suite::main("trixie-backports"), Suite::main("sid")],
        }
    }
}

impl ValueEnum for Kernel {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.series()))
    }
}

/// A kernel that lies unpacked in the cache.
#[derive(Debug)]
pub struct UnpackedKernel {
    /// What `uname -r` says in it, such as `6.1.0-56-amd64`.
    pub release: String,
    /// The kernel itself, uncompressed.
    pub vmlinux: PathBuf,
    /// The directory that belongs on `/lib/modules`.
    pub modules: PathBuf,
}

impl UnpackedKernel {
    /// The newest kernel of the series, fetched if none is there yet.
    pub fn fetch(workspace: &Workspace, host: &HostPrograms, arch: Arch, kernel: Kernel) -> Result<Self> {
        let directory = directory_of(workspace, arch, kernel);
        let _lock = workspace.lock_setup()?;
        if !marker(&directory).exists() {
            fetch(workspace, host, arch, kernel, &directory)?;
        }
        Self::find_in(&directory)
    }

    fn find_in(directory: &Path) -> Result<Self> {
        let modules = directory.join("usr/lib/modules");
        Ok(Self { release: only_entry(&modules)?, vmlinux: directory.join("vmlinux"), modules })
    }
}

/// Whether the series needs no download, for this machine's own processor.
pub fn is_fetched(workspace: &Workspace, kernel: Kernel) -> bool {
    marker(&directory_of(workspace, Arch::X86_64, kernel)).exists()
}

fn directory_of(workspace: &Workspace, arch: Arch, kernel: Kernel) -> PathBuf {
    workspace.cache(arch.in_cache("kernels")).join(kernel.series())
}

/// Written last, so that it tells a complete kernel.
fn marker(directory: &Path) -> PathBuf {
    directory.join("complete")
}

fn fetch(
    workspace: &Workspace,
    host: &HostPrograms,
    arch: Arch,
    kernel: Kernel,
    directory: &Path,
) -> Result<()> {
    let mirrors = Mirrors::of_machine(&debian_codename()?)?;
    let Download { apt, packages, archives } = download(workspace, &mirrors, arch, kernel)?;
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    apt::create_merged_root(directory)?;
    for deb in archives {
        apt::unpack(&deb, directory)?;
    }
    apt.discard_archives()?;
    let unpacked = UnpackedKernel::find_in(directory)?;
    image::extract(host, &packed_image(directory, &unpacked)?, &unpacked.vmlinux)?;
    decompress_modules(host, &unpacked.modules)?;
    list_modules(host, directory, &unpacked.release)?;
    fs::write(marker(directory), packages.join("\n"))?;
    Ok(())
}

fn packed_image(directory: &Path, kernel: &UnpackedKernel) -> Result<PathBuf> {
    // Packages from 7.1 on have the image beside the modules.
    let images = [
        directory.join("boot").join(format!("vmlinuz-{}", kernel.release)),
        kernel.modules.join(&kernel.release).join("vmlinuz"),
    ];
    let found = images.into_iter().find(|image| image.is_file());
    found.with_context(|| format!("no kernel image in {}", directory.display()))
}

/// A kernel's packages, fetched.
struct Download {
    apt: Apt,
    packages: Vec<String>,
    archives: Vec<PathBuf>,
}

/// Downloads the kernel from the first suite that gives it.
fn download(workspace: &Workspace, mirrors: &Mirrors, arch: Arch, kernel: Kernel) -> Result<Download> {
    let mut last_error = None;
    for suite in kernel.suites() {
        match download_from(workspace, mirrors, &suite, arch, kernel) {
            Ok(Some(download)) => return Ok(download),
            Ok(None) => {}
            // The next suite may do: this machine may have no mirror for this one, or the archive may have dropped what
            // it lists.
            Err(error) => {
                say(format_args!("{}: {error:#}", suite.name));
                last_error = Some(error);
            }
        }
    }
    let suites: Vec<_> = kernel.suites().into_iter().map(|suite| suite.name).collect();
    let (series, arch) = (kernel.series(), arch.debian());
    let nothing = format!("no {series} kernel for {arch} could be had from {}", suites.join(" or "));
    Err(last_error.map_or_else(|| anyhow!(nothing.clone()), |error| error.context(nothing.clone())))
}

/// Downloads the newest kernel of the series in the suite, if it has any.
fn download_from(
    workspace: &Workspace,
    mirrors: &Mirrors,
    suite: &Suite,
    arch: Arch,
    kernel: Kernel,
) -> Result<Option<Download>> {
    let state = workspace.cache("apt").join(arch.in_cache(&suite.name));
    let apt = Apt::with_suites(state, arch, mirrors, std::slice::from_ref(suite))?;
    let (series, debian) = (kernel.series().replace('.', r"\."), arch.debian());
    let pattern = format!(r"^linux-(image|base|binary|modules)-{series}\.[^-]+(-[0-9]+)?-{debian}$");
    let packages = newest_packages(&apt.names_matching(&pattern)?);
    if packages.is_empty() {
        return Ok(None);
    }
    say(format_args!("fetching {}", packages.join(" ")));
    let archives = apt.download(&packages)?;
    Ok(Some(Download { apt, packages, archives }))
}

/// Of packages named `linux-KIND-RELEASE`, all kinds of the newest release that comes as an image.
fn newest_packages(names: &[String]) -> Vec<String> {
    let release_of = |name: &str| name.splitn(3, '-').nth(2).map(str::to_owned);
    let images = names.iter().filter(|name| name.starts_with("linux-image-"));
    let Some(newest) = images.filter_map(|name| release_of(name)).max_by_key(|release| numbers_in(release))
    else {
        return Vec::new();
    };
    names.iter().filter(|name| release_of(name).as_ref() == Some(&newest)).cloned().collect()
}

/// The runs of digits: `6.12.90+deb12.1-amd64` gives 6, 12, 90, 12, 1.
fn numbers_in(release: &str) -> Vec<u64> {
    let release = release.rsplit_once('-').map_or(release, |(numbers, _arch)| numbers);
    release.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

/// Makes plain files of the modules that come as `.ko.xz`: what the VM decompresses, it decompresses slowly and
/// again in each run.
fn decompress_modules(host: &HostPrograms, modules: &Path) -> Result<()> {
    let found = process::output(Command::new("find").arg(modules).args(["-name", "*.ko.xz"]))?;
    let files: Vec<&str> = found.lines().collect();
    // Some thousand names: more than one command line may hold.
    for files in files.chunks(500) {
        let mut xz = Command::new(host.find("xz")?);
        xz.env("LD_LIBRARY_PATH", host.libraries()).args(["--decompress", "--"]).args(files);
        process::run_quietly(&mut xz).context("cannot decompress kernel modules")?;
    }
    Ok(())
}

/// Writes `modules.dep` and its kin, which Debian makes when a kernel is installed.
fn list_modules(host: &HostPrograms, root: &Path, release: &str) -> Result<()> {
    use std::os::unix::process::CommandExt as _;
    // One program with many names, and the unpacked names are absolute links.
    let mut depmod = Command::new(host.find("kmod")?);
    depmod.arg0("depmod").env("LD_LIBRARY_PATH", host.libraries());
    process::run_quietly(depmod.arg("--basedir").arg(root).arg(release)).context("cannot list kernel modules")
}

fn only_entry(directory: &Path) -> Result<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    match names.as_slice() {
        [name] => Ok(name.clone()),
        _ => anyhow::bail!("expected one kernel release in {}, found {names:?}", directory.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn newest(names: &[&str]) -> Vec<String> {
        newest_packages(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn newest_release_is_by_number() {
        assert_eq!(
            newest(&[
                "linux-image-6.1.0-9-amd64",
                "linux-image-6.1.0-56-amd64",
                "linux-image-6.1.0-47-amd64"
            ]),
            ["linux-image-6.1.0-56-amd64"]
        );
        assert_eq!(
            newest(&["linux-image-6.12.90+deb12-arm64", "linux-image-6.12.90+deb12.1-arm64"]),
            ["linux-image-6.12.90+deb12.1-arm64"]
        );
        assert_eq!(
            newest(&["linux-image-6.12.90+deb12.1-amd64", "linux-image-6.12.90+deb12-amd64"]),
            ["linux-image-6.12.90+deb12.1-amd64"]
        );
    }

    #[test]
    fn split_kernel_comes_whole() {
        let names = [
            "linux-modules-7.2.12+deb13-amd64",
            "linux-image-7.2.12+deb13-amd64",
            "linux-binary-7.2.12+deb13-amd64",
            "linux-base-7.2.12+deb13-amd64",
            "linux-binary-7.2.9+deb13-amd64",
            "linux-image-7.2.9+deb13-amd64",
            "linux-modules-7.3.4+deb13-amd64",
        ];
        assert_eq!(newest(&names), [names[0], names[1], names[2], names[3]]);
    }

    #[test]
    fn nothing_found_is_nothing() {
        assert_eq!(newest(&[]), Vec::<String>::new());
    }
}
