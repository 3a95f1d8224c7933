//! Where things lie in the repository.

use std::{
    env,
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::arch::Arch;

/// For how long a lock is waited for without a word.
const SILENCE: Duration = Duration::from_secs(1);

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

    /// A repository in this folder.
    #[cfg(test)]
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_owned(), target: root.join("target") }
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

    /// Takes the lock of this name, until the file is dropped. Says what it waits for, should that take longer than
    /// the look that another thread takes at what is fetched.
    pub fn lock(&self, name: &str, waiting_for: &str) -> Result<File> {
        let started = Instant::now();
        while started.elapsed() < SILENCE {
            if let Some(file) = self.try_lock(name)? {
                return Ok(file);
            }
            thread::sleep(Duration::from_millis(10));
        }
        crate::process::say(format_args!("waiting for {waiting_for}"));
        let (path, file) = self.lock_file(name)?;
        file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
        Ok(file)
    }

    /// Takes the lock of this name if nobody has it, until the file is dropped.
    pub fn try_lock(&self, name: &str) -> Result<Option<File>> {
        let (path, file) = self.lock_file(name)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}", path.display()))
            }
        }
    }

    fn lock_file(&self, name: &str) -> Result<(PathBuf, File)> {
        let path = self.cache(format!("{name}.lock"));
        fs::create_dir_all(self.cache(""))?;
        let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok((path, file))
    }
}
