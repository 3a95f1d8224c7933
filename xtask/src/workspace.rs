//! Where things lie in the repository.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::arch::Arch;

/// The repository, and the folder `.cache` in it that git ignores and that holds all that is fetched.
#[derive(Debug, Clone)]
pub struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    /// The repository that this xtask was built from.
    pub fn locate() -> Result<Self> {
        let manifest = env::var_os("CARGO_MANIFEST_DIR").context("run this as `cargo xtask`")?;
        let root = fs::canonicalize(Path::new(&manifest).join(".."))?;
        // Cargo may be set to build elsewhere than in `target`; this program lies in `debug` of that place.
        let program = env::current_exe()?;
        let target = program.ancestors().nth(2).context("this program is not where cargo puts programs")?;
        Ok(Self { root, target: target.to_owned() })
    }

    /// The repository's top folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The file or folder `path` of the cache. It may not exist yet.
    pub fn cache(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root.join(".cache").join(path)
    }

    /// A program that `cargo build --release` left, for this processor.
    pub fn release(&self, arch: Arch, program: &str) -> PathBuf {
        let target = self.target.join(arch.cross_target().unwrap_or_default());
        target.join("release").join(program)
    }

    /// Keeps other xtasks from fetching at the same time, until the file is dropped.
    pub fn lock_setup(&self) -> Result<File> {
        self.lock("setup", "another xtask that fetches")
    }

    /// Keeps other xtasks from running a VM at the same time, until the file is dropped: they would disturb each
    /// other's clocks, and they share `.cache/vm`.
    pub fn lock_vm(&self) -> Result<File> {
        self.lock("vm", "another VM to end")
    }

    fn lock(&self, name: &str, waiting_for: &str) -> Result<File> {
        let path = self.cache(format!("{name}.lock"));
        fs::create_dir_all(self.cache(""))?;
        let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        if file.try_lock().is_err() {
            crate::process::say(format_args!("waiting for {waiting_for}"));
            file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
        }
        Ok(file)
    }
}
