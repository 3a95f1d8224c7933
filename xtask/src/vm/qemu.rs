//! The command line that starts QEMU.

use std::{
    ffi::OsString,
    fs::File,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};
use command_fds::{CommandFdExt as _, FdMapping};

use crate::{
    arch::Arch,
    args::{EmulationThreads, MachineArgs},
    packages::HostPrograms,
};

/// The kernel's own messages go to the first serial port, the console. Any oops ends the VM at once; so does a panic,
/// because QEMU does not restart what reboots. Grace periods are expedited, since every kprobe and every namespace that goes
/// waits for some.
const KERNEL_COMMAND_LINE: &str = "rdinit=/init panic=-1 oops=panic net.ifnames=0 mitigations=off random.trust_cpu=on \
                                   rcupdate.rcu_expedited=1";

/// A directory of this machine that the VM mounts over 9p by its tag.
#[derive(Debug)]
pub struct Share {
    pub tag: &'static str,
    pub path: PathBuf,
    pub writable: bool,
}

/// All that QEMU is told.
#[derive(Debug)]
pub struct Boot<'a> {
    pub vmlinux: &'a Path,
    pub initramfs: &'a Path,
    pub machine: &'a MachineArgs,
    pub shares: Vec<Share>,
    pub kernel_log: &'a Path,
    /// Where QEMU's own complaints go.
    pub qemu_log: File,
    /// The VM's ways out, by name: what it writes there comes out of the pipe.
    pub ports: [(&'static str, OwnedFd); 3],
}

/// The command that boots. It ends when this thread does.
pub fn command(host: &HostPrograms, boot: Boot<'_>) -> Result<Command> {
    // Without this, a killed xtask would leave the VM running.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]);
    command.arg(host.find(&format!("qemu-system-{}", boot.machine.arch.name()))?);
    command
        .env("LD_LIBRARY_PATH", host.libraries())
        .env("QEMU_MODULE_DIR", host.libraries().join("qemu"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(boot.qemu_log);
    for firmware in ["usr/share/qemu", "usr/share/seabios"] {
        for directory in host.directories(firmware) {
            command.arg("-L").arg(directory);
        }
    }
    // KVM is not asked for: on some machines /dev/kvm is there and hangs.
    command.args(accelerator(boot.machine.emulation_threads));
    let (cpu, machine) = hardware(boot.machine.arch, boot.machine.emulation_threads);
    command.args(["-cpu", cpu, "-machine", machine]);
    command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
    command.arg("-smp").arg(boot.machine.cpus.to_string()).arg("-m").arg(&boot.machine.memory);
    command.arg("-kernel").arg(boot.vmlinux).arg("-initrd").arg(boot.initramfs);
    command.arg("-append").arg(format!("{} {KERNEL_COMMAND_LINE}", of_processor(boot.machine.arch)));
    // A VM without entropy would let programs wait for it.
    command.args(["-device", "virtio-rng-pci"]);
    command.arg("-serial").arg(with_path("file:", boot.kernel_log));
    for share in &boot.shares {
        add_share(&mut command, share);
    }
    add_ports(&mut command, boot.ports)?;
    Ok(command)
}

/// One thread for all CPUs is the rule: with a thread for each, a CPU may run a stale translation of code that another
/// one patches, and the kernel dies of a breakpoint that is no longer there ("Oops: int3" in __kmalloc, seen on 6.12 in
/// one run of six).
fn accelerator(threads: EmulationThreads) -> &'static [&'static str] {
    match threads {
        EmulationThreads::Single => &["-accel", "tcg,thread=single"],
        EmulationThreads::Multi => &["-accel", "tcg,thread=multi"],
        // 2^1 ns an instruction: the VM's clock is then about as fast as that of this machine.
        EmulationThreads::Counted => &["-accel", "tcg,thread=single", "-icount", "shift=1,sleep=off"],
    }
}

/// QEMU's names of the processor and the machine.
fn hardware(arch: Arch, threads: EmulationThreads) -> (&'static str, &'static str) {
    match arch {
        // Where instructions are what is measured, they are those that a kernel takes on a new processor.
        Arch::X86_64 if threads == EmulationThreads::Counted => ("max", "q35"),
        // Without strings of bytes ("rep movsb") and checks of each access to user memory, which are slow in software: starting
        // dnstrace 6 times and one test of the suite took 36 s of this machine's CPU, not 42.
        Arch::X86_64 => ("max,-erms,-fsrm,-smap,-smep,-la57,-pku", "q35"),
        // The architecture's own algorithm of pointer authentication is slow in software (QEMU's documentation).
        Arch::Aarch64 => ("max,pauth-impdef=on", "virt"),
    }
}

/// The console, and what else a kernel for this processor wants to be told.
fn of_processor(arch: Arch) -> &'static str {
    match arch {
        // Else the kernel waits at boot for a few ticks of the timer, counts them, and panics if they do not come
        // (timer_irq_works in arch/x86/kernel/apic/io_apic.c; "IO-APIC + timer doesn't work!" seen on 6.12, booted beside
        // three builds and another VM). A machine that is busy delivers them late.
        Arch::X86_64 => "console=ttyS0 no_timer_check",
        Arch::Aarch64 => "console=ttyAMA0",
    }
}

fn add_share(command: &mut Command, share: &Share) {
    let mut option = OsString::from(format!("local,id={},security_model=none,multidevs=remap", share.tag));
    option.push(if share.writable { "" } else { ",readonly=on" });
    option.push(with_path(",path=", &share.path));
    command.arg("-fsdev").arg(option);
    command.arg("-device").arg(format!("virtio-9p-pci,fsdev={0},mount_tag={0}", share.tag));
}

fn add_ports(command: &mut Command, ports: [(&'static str, OwnedFd); 3]) -> Result<()> {
    command.args(["-device", "virtio-serial-pci"]);
    let mut mappings = Vec::new();
    for ((name, parent_fd), child_fd) in ports.into_iter().zip(3..) {
        command.arg("-chardev").arg(format!("file,id={name},path=/dev/fd/{child_fd}"));
        command.arg("-device").arg(format!("virtserialport,chardev={name},name={name}"));
        mappings.push(FdMapping { parent_fd, child_fd });
    }
    command.fd_mappings(mappings).context("cannot hand QEMU its ports")?;
    Ok(())
}

/// QEMU reads a comma as the end of a value, unless it is doubled.
fn with_path(option: &str, path: &Path) -> OsString {
    let escaped = path.to_string_lossy().replace(',', ",,");
    OsString::from(format!("{option}{escaped}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comma_in_a_path_is_doubled() {
        assert_eq!(with_path(",path=", Path::new("/a,b/c")), ",path=/a,,b/c");
    }
}
