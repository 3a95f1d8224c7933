//! Boots a kernel in QEMU with this machine's files as its root (for another processor, with Debian's), runs one command
//! in it, and brings back what it printed and its exit code.

mod environment;
mod initramfs;
mod kernel_log;
mod modules;
mod qemu;
mod repeat;
mod slots;
mod watch;

use std::{
    fs::{self, File},
    io::{self, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::Child,
    sync::mpsc,
    time::Duration,
};

use anyhow::{Context as _, Result};

use self::{
    initramfs::Run,
    qemu::{Boot, Share},
    slots::Slot,
    watch::Logs,
};
pub use self::{
    repeat::once_more_after_stale_breakpoint,
    slots::{Place, at_a_time},
    watch::Failure,
};
use crate::{
    arch::Arch,
    args::{Cgroup, EmulationThreads, MachineArgs},
    kernel::{Kernel, UnpackedKernel},
    packages::{self, HostPrograms},
    workspace::Workspace,
};

/// One run of one command in a fresh VM.
#[derive(Debug)]
pub struct VmSpec {
    pub kernel: Kernel,
    pub machine: MachineArgs,
    /// How long the script may take.
    pub timeout: Duration,
    /// Programs of this machine that the command finds on its PATH, whatever is built meanwhile.
    pub programs: Vec<PathBuf>,
    /// A shell script.
    pub script: String,
    /// What it wants of the slots, unless it needs CPUs that run at once: then the machine is its own.
    pub place: Place,
}

impl VmSpec {
    fn place(&self) -> Place {
        match self.machine.emulation_threads {
            EmulationThreads::Multi => Place::Alone,
            EmulationThreads::Single | EmulationThreads::Counted => self.place,
        }
    }
}

/// A run that is over.
#[derive(Debug)]
pub struct Ended {
    /// The script's.
    pub exit_code: u8,
    /// What it left in /share. The next VM of its slot empties it, and waits for this value to be dropped.
    pub share: PathBuf,
    _slot: Slot,
}

/// Fetches all that a VM with this kernel needs.
pub fn fetch(workspace: &Workspace, arch: Arch, kernel: Kernel) -> Result<()> {
    prepare(workspace, arch, kernel).map(drop)
}

/// Boots, runs the script with the repository as its (read-only) working directory, and copies its output to
/// `stdout` and `stderr` as it comes. What the script leaves in /share is in the slot's folder afterwards, of
/// [`Place::First`] in `.cache/vm/share`.
///
/// A VM that gave no exit code, or whose kernel complained, is an error that holds a [`Failure`].
pub fn run(
    workspace: &Workspace,
    spec: &VmSpec,
    stdout: impl Write + Send + 'static,
    stderr: impl Write + Send + 'static,
) -> Result<Ended> {
    let prepared = prepare(workspace, spec.machine.arch, spec.kernel)?;
    let slot = Slot::take(workspace, spec.place())?;
    let files = RunFiles::create(slot.directory.clone(), &spec.programs)?;
    write_initramfs(workspace, spec, &prepared, &files)?;

    let (stdout_reader, stdout_port) = io::pipe()?;
    let (stderr_reader, stderr_port) = io::pipe()?;
    let (verdict_reader, verdict_port) = io::pipe()?;
    let ports =
        [("stdout", stdout_port.into()), ("stderr", stderr_port.into()), ("verdict", verdict_port.into())];
    let qemu = start(spec, &prepared, &files, ports)?;

    let (events, heard) = mpsc::channel();
    let relays = [
        watch::relay(stdout_reader, stdout, events.clone()),
        watch::relay(stderr_reader, stderr, events.clone()),
    ];
    watch::listen(verdict_reader, events);
    let logs = Logs { kernel: files.path(KERNEL_LOG), qemu: files.path(QEMU_LOG) };
    let result = watch::watch(qemu, &heard, spec.timeout, &logs);
    for relay in relays {
        relay.join().expect("a relay does not panic");
    }
    Ok(Ended { exit_code: result?, share: files.path(SHARE), _slot: slot })
}

fn write_initramfs(
    workspace: &Workspace,
    spec: &VmSpec,
    prepared: &Prepared,
    files: &RunFiles,
) -> Result<()> {
    let (layers, programs) = match spec.machine.arch {
        Arch::X86_64 => ("layer host", None),
        Arch::Aarch64 => ("layer", Some(files.path(PROGRAMS))),
    };
    let run = Run {
        repository: workspace.root(),
        cgroup: match spec.machine.cgroup {
            Cgroup::V1 => "v1",
            Cgroup::V2 => "v2",
        },
        shell: environment::shell(),
        start: &environment::start_script(workspace.root(), &files.path(PROGRAMS))?,
        command: &spec.script,
        layers,
        programs: programs.as_deref(),
    };
    initramfs::write(&files.path(INITRAMFS), &prepared.busybox, &prepared.kernel, &run)
}

/// Starts QEMU, which has the only ends of `ports` then: when it ends, so do the pipes.
fn start(
    spec: &VmSpec,
    prepared: &Prepared,
    files: &RunFiles,
    ports: [(&'static str, OwnedFd); 3],
) -> Result<Child> {
    let share = |tag, path: &Path, writable| Share { tag, path: path.to_owned(), writable };
    let boot = Boot {
        vmlinux: &prepared.kernel.vmlinux,
        initramfs: &files.path(INITRAMFS),
        machine: &spec.machine,
        shares: vec![
            match spec.machine.arch {
                Arch::X86_64 => share("host", Path::new("/"), false),
                Arch::Aarch64 => share("programs", &files.path(PROGRAMS), false),
            },
            share("layer", &prepared.guest_root, false),
            share("modules", &prepared.kernel.modules, false),
            share("share", &files.path(SHARE), true),
        ],
        kernel_log: &files.path(KERNEL_LOG),
        qemu_log: File::create(files.path(QEMU_LOG))?,
        ports,
    };
    qemu::command(&prepared.emulator, boot)?.spawn().context("cannot start QEMU")
}

struct Prepared {
    emulator: HostPrograms,
    /// The first program of the VM.
    busybox: PathBuf,
    guest_root: PathBuf,
    kernel: UnpackedKernel,
}

fn prepare(workspace: &Workspace, arch: Arch, kernel: Kernel) -> Result<Prepared> {
    let host = HostPrograms::fetch(workspace)?;
    let emulator = HostPrograms::fetch_emulator(workspace, arch)?;
    let guest_root = packages::fetch_guest_root(workspace, arch)?;
    let kernel = UnpackedKernel::fetch(workspace, &host, arch, kernel)?;
    let busybox = match arch {
        Arch::X86_64 => host.find("busybox")?,
        Arch::Aarch64 => guest_root.join("usr/bin/busybox"),
    };
    Ok(Prepared { emulator, busybox, guest_root, kernel })
}

const INITRAMFS: &str = "initramfs";
const KERNEL_LOG: &str = "kernel.log";
const PROGRAMS: &str = "bin";
const QEMU_LOG: &str = "qemu.log";
const SHARE: &str = "share";

/// The files of the run in hand, in its slot's folder. They stay until the next run there, to be looked at.
struct RunFiles {
    directory: PathBuf,
}

impl RunFiles {
    fn create(directory: PathBuf, programs: &[PathBuf]) -> Result<Self> {
        if directory.exists() {
            fs::remove_dir_all(&directory)
                .with_context(|| format!("cannot empty {}", directory.display()))?;
        }
        let files = Self { directory };
        fs::create_dir_all(files.path(PROGRAMS))?;
        fs::create_dir_all(files.path(SHARE))?;
        for program in programs {
            let name = program.file_name().context("a program has no name")?;
            fs::copy(program, files.path(PROGRAMS).join(name))
                .with_context(|| format!("cannot copy {}", program.display()))?;
        }
        Ok(files)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}
