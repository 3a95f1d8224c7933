//! Boots a kernel in QEMU with this machine's files as its root, runs one command in it, and brings back what it
//! printed and its exit code.

mod initramfs;
mod kernel_log;
mod modules;
mod qemu;
mod watch;

use std::{
    env,
    fs::{self, File},
    io::{self, IsTerminal as _, Write},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};

pub use self::watch::{Failure, Finished};
use self::{
    initramfs::Run,
    qemu::{Boot, Share},
};
use crate::{
    args::{Cgroup, MachineArgs},
    kernel::{Kernel, UnpackedKernel},
    packages::{self, HostPrograms},
    workspace::Workspace,
};

/// One run of one command in a fresh VM.
#[derive(Debug)]
pub struct VmSpec {
    pub kernel: Kernel,
    pub machine: MachineArgs,
    /// From the start of QEMU to the verdict.
    pub timeout: Duration,
    /// Programs of this machine that the command finds on its PATH, whatever is built meanwhile.
    pub programs: Vec<PathBuf>,
    /// A shell script.
    pub script: String,
}

/// Fetches all that a VM with this kernel needs.
pub fn fetch(workspace: &Workspace, kernel: Kernel) -> Result<()> {
    prepare(workspace, kernel).map(drop)
}

/// Boots, runs the script with the repository as its (read-only) working directory, and copies its output to
/// `stdout` and `stderr` as it comes. What the script leaves in /share is in `.cache/vm/share` afterwards.
///
/// A VM that gave no exit code, or whose kernel complained, is an error that holds a [`Failure`].
pub fn run(
    workspace: &Workspace,
    spec: &VmSpec,
    stdout: impl Write + Send + 'static,
    stderr: impl Write + Send + 'static,
) -> Result<Finished> {
    let prepared = prepare(workspace, spec.kernel)?;
    let _lock = workspace.lock("vm", "another VM to end")?;
    let files = RunFiles::create(workspace, &spec.programs)?;
    let initramfs = files.path("initramfs");
    initramfs::write(
        &initramfs,
        &prepared.host,
        &prepared.kernel,
        &Run {
            cgroup: match spec.machine.cgroup {
                Cgroup::V1 => "v1",
                Cgroup::V2 => "v2",
            },
            shell: shell(),
            start: &start_script(workspace, &files.path("bin"))?,
            command: &spec.script,
        },
    )?;
    let (out_reader, out_port) = io::pipe()?;
    let (err_reader, err_port) = io::pipe()?;
    let (verdict, verdict_port) = io::pipe()?;
    let share = |tag, path: &Path, writable| Share { tag, path: path.to_owned(), writable };
    let mut command = qemu::command(
        &prepared.host,
        Boot {
            vmlinux: &prepared.kernel.vmlinux,
            initramfs: &initramfs,
            machine: &spec.machine,
            shares: vec![
                share("host", Path::new("/"), false),
                share("layer", &prepared.guest_root, false),
                share("modules", &prepared.kernel.modules, false),
                share("share", &files.path("share"), true),
            ],
            kernel_log: &files.path("kernel.log"),
            qemu_log: File::create(files.path("qemu.log"))?,
            ports: [
                ("stdout", out_port.into()),
                ("stderr", err_port.into()),
                ("verdict", verdict_port.into()),
            ],
        },
    )?;
    let child = command.spawn().context("cannot start QEMU")?;
    // QEMU has its ends of the pipes now. Ours must go, or no reader would see an end.
    drop(command);
    let relays =
        [thread::spawn(move || relay(out_reader, stdout)), thread::spawn(move || relay(err_reader, stderr))];
    let result =
        watch::watch(child, verdict, spec.timeout, &files.path("kernel.log"), &files.path("qemu.log"));
    for relay in relays {
        relay.join().expect("the relay does not panic").context("cannot pass on the output of the VM")?;
    }
    Ok(result?)
}

struct Prepared {
    host: HostPrograms,
    guest_root: PathBuf,
    kernel: UnpackedKernel,
}

fn prepare(workspace: &Workspace, kernel: Kernel) -> Result<Prepared> {
    let _lock = workspace.lock("setup", "another xtask that fetches")?;
    let host = HostPrograms::fetch(workspace)?;
    let guest_root = packages::fetch_guest_root(workspace)?;
    let kernel = UnpackedKernel::fetch(workspace, &host, kernel)?;
    Ok(Prepared { host, guest_root, kernel })
}

/// The files of the run in hand, in `.cache/vm`. They stay until the next run, to be looked at.
struct RunFiles {
    directory: PathBuf,
}

impl RunFiles {
    fn create(workspace: &Workspace, programs: &[PathBuf]) -> Result<Self> {
        let directory = workspace.cache("vm");
        if directory.exists() {
            fs::remove_dir_all(&directory)
                .with_context(|| format!("cannot empty {}", directory.display()))?;
        }
        let files = Self { directory };
        fs::create_dir_all(files.path("bin"))?;
        fs::create_dir_all(files.path("share"))?;
        for program in programs {
            let name = program.file_name().context("a program has no name")?;
            fs::copy(program, files.path("bin").join(name))
                .with_context(|| format!("cannot copy {}", program.display()))?;
        }
        Ok(files)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

fn relay(mut from: impl io::Read, mut to: impl Write) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = from.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..length])?;
        to.flush()?;
    }
}

/// The machine's own shell, which the VM has too.
fn shell() -> &'static str {
    if Path::new("/bin/bash").exists() { "/bin/bash" } else { "/bin/sh" }
}

/// A script that makes the command's environment and becomes the command.
fn start_script(workspace: &Workspace, programs: &Path) -> Result<String> {
    let mut script = String::new();
    for (name, value) in environment(programs) {
        let value = shlex::try_quote(&value).with_context(|| format!("{name} has a NUL byte"))?.into_owned();
        script.push_str(&format!("export {name}={value}\n"));
    }
    let directory = workspace.root().to_str().context("the repository's path is not UTF-8")?;
    script.push_str(&format!("cd {}\n", shlex::try_quote(directory)?));
    script.push_str(&format!("exec {} /run/vm/command\n", shell()));
    Ok(script)
}

fn environment(programs: &Path) -> Vec<(&'static str, String)> {
    let mut path = programs.to_string_lossy().into_owned();
    path.push_str(":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    let mut environment = vec![
        ("HOME", "/root".to_owned()),
        ("USER", "root".to_owned()),
        ("LANG", "C.UTF-8".to_owned()),
        ("PATH", path),
    ];
    environment.extend(terminal());
    environment
}

/// The command writes into a pipe, so what it would ask its terminal is told it here.
fn terminal() -> Vec<(&'static str, String)> {
    let handed_on = |name| env::var(name).ok().map(|value| (name, value));
    if !io::stdout().is_terminal() {
        return ["COLUMNS", "NO_COLOR"].into_iter().filter_map(handed_on).collect();
    }
    let mut variables: Vec<_> = ["TERM", "COLORTERM", "NO_COLOR"].into_iter().filter_map(handed_on).collect();
    if env::var_os("NO_COLOR").is_none() {
        variables.push(("CLICOLOR_FORCE", "1".to_owned()));
    }
    if let Some((width, height)) = terminal_size::terminal_size() {
        variables.push(("COLUMNS", width.0.to_string()));
        variables.push(("LINES", height.0.to_string()));
    }
    variables
}
