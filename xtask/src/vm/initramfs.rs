//! The archive that the kernel unpacks into memory at boot: a shell, the modules needed to reach the root file
//! system, and what this run does.

use std::{
    fs::{self, File},
    io::{BufWriter, Write as _},
    path::Path,
};

use anyhow::{Context as _, Result};
use cpio::newc;

use super::modules::ModuleIndex;
use crate::kernel::UnpackedKernel;

/// Modules for the devices and file systems that the VM starts with. All else is loaded by the kernel and by
/// programs when they ask for it.
const MODULES: [&str; 6] = ["virtio_pci", "9pnet_virtio", "9p", "overlay", "virtio_console", "virtio_rng"];

/// The names by which the guest's scripts call busybox.
const APPLETS: &str = "[ cat cp cut echo env grep hostname ifconfig insmod kill ln mkdir mkfifo mount rmdir setsid sh sleep switch_root";

const INIT: &str = include_str!("../../guest/init.sh");
const MAIN: &str = include_str!("../../guest/main.sh");

/// What differs from run to run.
#[derive(Debug)]
pub struct Run<'a> {
    /// `v1` or `v2`.
    pub cgroup: &'a str,
    /// The repository's top folder.
    pub repository: &'a Path,
    /// The shell for `start` and `command`, a path in the VM.
    pub shell: &'a str,
    /// Sets up the command's environment and executes it.
    pub start: &'a str,
    pub command: &'a str,
    /// The shares that make up the root file system, the top one first.
    pub layers: &'a str,
    /// A folder that the root file system lacks and that gets the share `programs`.
    pub programs: Option<&'a Path>,
}

/// Writes the archive to `path`.
pub fn write(path: &Path, busybox: &Path, kernel: &UnpackedKernel, run: &Run<'_>) -> Result<()> {
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    let mut archive = Archive { out: BufWriter::new(file), entries: 0 };

    for directory in ["bin", "dev", "proc", "sys", "modules"] {
        archive.directory(directory)?;
    }
    let busybox = fs::read(busybox).with_context(|| format!("cannot read {}", busybox.display()))?;
    archive.file("bin/busybox", 0o755, &busybox)?;
    for applet in APPLETS.split_whitespace() {
        archive.link(&format!("bin/{applet}"), "busybox")?;
    }
    archive.file("init", 0o755, INIT.as_bytes())?;
    archive.file("main", 0o755, MAIN.as_bytes())?;
    archive.file("start", 0o755, run.start.as_bytes())?;
    archive.file("command", 0o755, run.command.as_bytes())?;
    let modules = archive.modules(kernel)?;
    let repository = run.repository.to_str().context("the repository's path is not UTF-8")?;
    let programs = run.programs.unwrap_or(Path::new(""));
    let programs = programs.to_str().context("the repository's path is not UTF-8")?;
    let settings = format!(
        "MODULES='{modules}'\nLAYERS='{}'\nREPOSITORY={}\nPROGRAMS={}\nCGROUP={}\nSHELL_OF_COMMAND={}\n",
        run.layers,
        shlex::try_quote(repository)?,
        shlex::try_quote(programs)?,
        run.cgroup,
        run.shell
    );
    archive.file("settings", 0o644, settings.as_bytes())?;
    archive.finish()
}

struct Archive {
    out: BufWriter<File>,
    entries: u32,
}

impl Archive {
    fn directory(&mut self, name: &str) -> Result<()> {
        self.entry(name, 0o040_755, &[])
    }

    fn link(&mut self, name: &str, target: &str) -> Result<()> {
        self.entry(name, 0o120_777, target.as_bytes())
    }

    fn file(&mut self, name: &str, mode: u32, contents: &[u8]) -> Result<()> {
        self.entry(name, 0o100_000 | mode, contents)
    }

    /// Adds the modules and returns their file names in the order to load them.
    fn modules(&mut self, kernel: &UnpackedKernel) -> Result<String> {
        let directory = kernel.modules.join(&kernel.release);
        let index = fs::read_to_string(directory.join("modules.dep")).context("cannot read modules.dep")?;
        let built_in =
            fs::read_to_string(directory.join("modules.builtin")).context("cannot read modules.builtin")?;
        let mut names = Vec::new();
        for module in ModuleIndex::parse(&index).load_order(&MODULES, &built_in)? {
            let name = module.rsplit('/').next().unwrap_or(module);
            let contents =
                fs::read(directory.join(module)).with_context(|| format!("cannot read {module}"))?;
            self.file(&format!("modules/{name}"), 0o644, &contents)?;
            names.push(name.to_owned());
        }
        Ok(names.join(" "))
    }

    fn entry(&mut self, name: &str, mode: u32, contents: &[u8]) -> Result<()> {
        self.entries += 1;
        let size = u32::try_from(contents.len()).with_context(|| format!("{name} is too large"))?;
        let mut writer =
            newc::Builder::new(name).ino(self.entries).nlink(1).mode(mode).write(&mut self.out, size);
        writer.write_all(contents)?;
        writer.finish()?;
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        newc::trailer(&mut self.out)?;
        self.out.flush()?;
        Ok(())
    }
}
