//! Debian packages through an apt configuration of our own: nothing is installed, and the machine's lists, caches
//! and sources stay as they are.

use std::{
    ffi::OsStr,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{arch::Arch, process};

/// Trusts every suite that Debian signs, also those that the machine does not use.
const DEBIAN_KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// One of the two archives that make up Debian, which mirrors may serve under different addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Archive {
    Main,
    Security,
}

/// A suite of packages, such as `bookworm-backports` of the main archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suite {
    pub archive: Archive,
    pub name: String,
}

impl Suite {
    pub fn main(name: impl Into<String>) -> Self {
        Self { archive: Archive::Main, name: name.into() }
    }

    pub fn security(name: impl Into<String>) -> Self {
        Self { archive: Archive::Security, name: name.into() }
    }
}

/// The addresses of the Debian archives that the machine's own apt uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirrors {
    main: String,
    security: Option<String>,
}

impl Mirrors {
    /// Asks the machine's apt, which reads its sources in whatever format and place they are.
    pub fn of_machine(codename: &str) -> Result<Self> {
        let uris = process::output(apt_get().args(["update", "--print-uris"]))
            .context("cannot ask apt for this machine's package sources")?;
        Self::from_update_uris(&uris, codename)
            .with_context(|| format!("this machine's apt has no source for Debian {codename}"))
    }

    /// Reads the output of `apt-get update --print-uris`: lines that start with the quoted address of an index,
    /// such as `'http://MIRROR/debian/dists/bookworm/InRelease'`.
    fn from_update_uris(uris: &str, codename: &str) -> Option<Self> {
        let base_of = |suite: &str| {
            let release = format!("/dists/{suite}/InRelease");
            let quoted = uris.lines().filter_map(|line| line.strip_prefix('\'')?.split('\'').next());
            quoted.filter_map(|uri| uri.strip_suffix(&release)).map(str::to_owned).next()
        };
        let main = base_of(codename)?;
        Some(Self { main, security: base_of(&format!("{codename}-security")) })
    }

    fn of_archive(&self, archive: Archive) -> Option<&str> {
        match archive {
            Archive::Main => Some(&self.main),
            Archive::Security => self.security.as_deref(),
        }
    }
}

/// An apt that knows some suites of one processor only, with its state in a directory of its own.
#[derive(Debug)]
pub struct Apt {
    directory: PathBuf,
}

impl Apt {
    /// Configures apt in `directory` for `suites` and fetches their package lists. A suite of an archive that the
    /// machine has no mirror for is left out. For another processor than the machine's own nothing counts as installed.
    pub fn with_suites(directory: PathBuf, arch: Arch, mirrors: &Mirrors, suites: &[Suite]) -> Result<Self> {
        let sources = source_list(mirrors, suites, Path::new(DEBIAN_KEYRING).exists());
        ensure!(!sources.is_empty(), "this machine's apt has no mirror for {suites:?}");
        for sub in ["lists/partial", "archives/partial", "parts"] {
            fs::create_dir_all(directory.join(sub))?;
        }
        fs::write(directory.join("sources.list"), sources)?;
        fs::write(directory.join("apt.conf"), configuration(&directory, arch)?)?;
        if arch != Arch::X86_64 {
            fs::write(directory.join(NOTHING_INSTALLED), "")?;
        }
        let apt = Self { directory };
        process::run_quietly(apt.command("apt-get").args(["update", "-qq", "--error-on=any"]))
            .context("cannot fetch package lists")?;
        Ok(apt)
    }

    /// Names of the packages whose whole name matches the extended regular expression `pattern`.
    pub fn names_matching(&self, pattern: &str) -> Result<Vec<String>> {
        let found = process::output(self.command("apt-cache").args(["search", "--names-only", pattern]))?;
        Ok(found.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
    }

    /// Downloads `packages` alone and returns the archive files.
    pub fn download(&self, packages: &[String]) -> Result<Vec<PathBuf>> {
        let archives = self.empty_archives()?;
        process::run_quietly(
            self.command("apt-get").args(["download", "-qq"]).args(packages).current_dir(&archives),
        )?;
        deb_files(&archives)
    }

    /// Downloads what installing `packages` would, with their dependencies: that is, whatever of it the machine
    /// lacks. Returns the archive files, none if the machine has all.
    pub fn download_missing(&self, packages: &[&str]) -> Result<Vec<PathBuf>> {
        let archives = self.empty_archives()?;
        process::run_quietly(
            self.command("apt-get")
                .args([
                    "install",
                    "-qq",
                    "--yes",
                    "--download-only",
                    "--no-install-recommends",
                    "--no-upgrade",
                ])
                .args(packages),
        )?;
        deb_files(&archives)
    }

    /// Deletes downloaded archives, which are of no use once unpacked.
    pub fn discard_archives(&self) -> Result<()> {
        self.empty_archives().map(drop)
    }

    fn empty_archives(&self) -> Result<PathBuf> {
        let archives = self.directory.join("archives");
        for deb in deb_files(&archives)? {
            fs::remove_file(deb)?;
        }
        Ok(archives)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        // -c is read after the machine's own files, so it wins; those still give proxies and credentials.
        command.arg("-c").arg(self.directory.join("apt.conf")).env("LC_ALL", "C");
        command
    }
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("LC_ALL", "C");
    command
}

fn source_list(mirrors: &Mirrors, suites: &[Suite], keyring_exists: bool) -> String {
    let signed_by = if keyring_exists { format!("[signed-by={DEBIAN_KEYRING}] ") } else { String::new() };
    let mut list = String::new();
    for suite in suites {
        if let Some(mirror) = mirrors.of_archive(suite.archive) {
            let _ = writeln!(list, "deb {signed_by}{mirror} {} main", suite.name);
        }
    }
    list
}

/// The list of installed packages of a processor that the machine does not have.
const NOTHING_INSTALLED: &str = "nothing-installed";

fn configuration(directory: &Path, arch: Arch) -> Result<String> {
    let mut text = base_configuration(directory)?;
    if arch != Arch::X86_64 {
        let (directory, arch) = (directory.display(), arch.debian());
        let _ = write!(
            text,
            r#"APT::Architecture "{arch}";
#clear APT::Architectures;
APT::Architectures {{ "{arch}"; }};
Dir::State::status "{directory}/{NOTHING_INSTALLED}";
"#
        );
    }
    Ok(text)
}

fn base_configuration(directory: &Path) -> Result<String> {
    let directory = directory.to_str().context("the repository's path is not UTF-8")?;
    if directory.contains('"') {
        bail!("apt cannot work in {directory}: the path has a quotation mark");
    }
    Ok(format!(
        r#"Dir::Etc::SourceList "{directory}/sources.list";
Dir::Etc::SourceParts "{directory}/parts";
Dir::Etc::Preferences "{directory}/preferences";
Dir::Etc::PreferencesParts "{directory}/parts";
Dir::State::Lists "{directory}/lists";
Dir::Cache "{directory}";
Dir::Cache::Archives "{directory}/archives";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
Debug::NoLocking "true";
// The unprivileged user that apt would fetch as cannot write here.
APT::Sandbox::User "root";
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear Acquire::IndexTargets::deb::DEP-11;
#clear Acquire::IndexTargets::deb::DEP-11-icons-small;
#clear Acquire::IndexTargets::deb::DEP-11-icons;
Acquire::Languages "none";
Acquire::Retries "3";
"#
    ))
}

fn deb_files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))? {
        let path = entry?.path();
        if path.extension() == Some(OsStr::new("deb")) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Unpacks the files of a Debian package over `root`.
///
/// `dpkg -x` would put a directory where `root` has a link (`/bin`, `/lib`) and so split the tree in two.
pub fn unpack(deb: &Path, root: &Path) -> Result<()> {
    let mut dpkg = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(deb)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run dpkg-deb")?;
    let archive = dpkg.stdout.take().context("dpkg-deb has no output")?;
    let tar = Command::new("tar")
        .args(["--extract", "--keep-directory-symlink", "--no-same-owner", "--directory"])
        .arg(root)
        .stdin(archive)
        .status()
        .context("cannot run tar")?;
    ensure!(dpkg.wait()?.success() && tar.success(), "cannot unpack {}", deb.display());
    Ok(())
}

/// Makes `root` an empty tree in which `/bin`, `/sbin`, `/lib` and `/lib64` are links into `/usr`, as on the
/// machine, so that the tree can be laid over the machine's own.
pub fn create_merged_root(root: &Path) -> Result<()> {
    for name in ["bin", "sbin", "lib", "lib64"] {
        fs::create_dir_all(root.join("usr").join(name))?;
        let link = root.join(name);
        if fs::symlink_metadata(&link).is_err() {
            std::os::unix::fs::symlink(Path::new("usr").join(name), link)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const URIS: &str = "\
'http://mirror.test/debian/dists/bookworm/InRelease' mirror.test_debian_dists_bookworm_InRelease 0 \n\
'http://mirror.test/debian/dists/bookworm-updates/InRelease' x 0 \n\
'http://other.test/node/dists/nodistro/InRelease' x 0 \n\
'http://safe.test/debian-security/dists/bookworm-security/InRelease' x 0 \n\
'http://mirror.test/debian/dists/bookworm/main/binary-amd64/Packages.xz' x 0 \n";

    #[test]
    fn mirrors_are_those_of_the_machine() {
        let mirrors = Mirrors::from_update_uris(URIS, "bookworm");
        assert_eq!(
            mirrors,
            Some(Mirrors {
                main: "http://mirror.test/debian".to_owned(),
                security: Some("http://safe.test/debian-security".to_owned()),
            })
        );
    }

    #[test]
    fn machine_of_another_release_has_no_mirror() {
        assert_eq!(Mirrors::from_update_uris(URIS, "noble"), None);
        assert_eq!(Mirrors::from_update_uris("", "bookworm"), None);
    }

    #[test]
    fn suite_without_mirror_is_left_out() {
        let mirrors = Mirrors { main: "http://mirror.test/debian".to_owned(), security: None };
        let suites = [Suite::security("bookworm-security"), Suite::main("sid")];
        assert_eq!(source_list(&mirrors, &suites, false), "deb http://mirror.test/debian sid main\n");
        assert_eq!(
            source_list(&mirrors, &suites, true),
            format!("deb [signed-by={DEBIAN_KEYRING}] http://mirror.test/debian sid main\n")
        );
    }

    #[test]
    fn another_processor_has_its_own_packages_and_none_installed() -> Result<()> {
        let own = configuration(Path::new("/x"), Arch::X86_64)?;
        let other = configuration(Path::new("/x"), Arch::Aarch64)?;
        let added = other.strip_prefix(&own);
        let expected = "APT::Architecture \"arm64\";\n#clear APT::Architectures;\n\
                        APT::Architectures { \"arm64\"; };\nDir::State::status \"/x/nothing-installed\";\n";
        assert_eq!(added, Some(expected));
        Ok(())
    }

    #[test]
    fn links_of_the_root_survive_and_are_made_once() -> Result<()> {
        let root = tempfile::tempdir()?;
        create_merged_root(root.path())?;
        create_merged_root(root.path())?;
        assert_eq!(fs::read_link(root.path().join("sbin"))?, Path::new("usr/sbin"));
        Ok(())
    }
}
