//! `cargo xtask kernels`: which hook is attached how on each kernel, written to `docs/kernels.md`; and the check that
//! this is still so.

mod table;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum as _;

use self::table::Hook;
use crate::{
    kernel::{self, Kernel},
    process::say,
    suite,
    vm::{self, Ended, Place, VmSpec},
    workspace::Workspace,
};

/// What tells a VM's hooks: a script that leaves files in /share. The lab has loaded the module already; without it
/// the table would show what every node has as missing.
pub const SCRIPT: &str =
    "modprobe nf_conntrack; uname -r >/share/release; dnstrace hooks -o json >/share/hooks.json";
const TIMEOUT: Duration = Duration::from_secs(300);

/// What one kernel showed.
#[derive(Debug)]
struct Shown {
    kernel: Kernel,
    /// As `uname -r` says it.
    release: String,
    hooks: Vec<Hook>,
}

/// Boots every kernel with this dnstrace, writes the table and prints it.
pub fn write(workspace: &Workspace, dnstrace: &Path) -> Result<()> {
    let mut all = Vec::new();
    for kernel in Kernel::ALL {
        say(format_args!("hooks on {}", kernel.series()));
        let spec = VmSpec {
            kernel,
            machine: suite::machine(),
            timeout: TIMEOUT,
            programs: vec![dnstrace.to_owned()],
            script: SCRIPT.to_owned(),
            place: Place::Any,
        };
        let ended = vm::run(workspace, &spec, std::io::stdout(), std::io::stderr())?;
        ensure!(ended.exit_code == 0, "dnstrace hooks failed on {}", kernel.series());
        all.push(Shown {
            kernel,
            release: read(&ended, "release")?.trim().to_owned(),
            hooks: table::parse_hooks(&read(&ended, "hooks.json")?)?,
        });
    }
    let text = table::render(&all)?;
    let path = document(workspace);
    fs::create_dir_all(path.parent().context("no folder of documents")?)?;
    fs::write(&path, &text).with_context(|| format!("cannot write {}", path.display()))?;
    print!("{text}");
    Ok(())
}

/// Compares what [`SCRIPT`] left with the table. The release is not compared: Debian's next one changes no hook, and
/// if it does, this tells.
pub fn check(workspace: &Workspace, kernel: Kernel, ended: &Ended) -> Result<()> {
    let hooks = table::parse_hooks(&read(ended, "hooks.json")?)?;
    let path = document(workspace);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    table::compare(&text, kernel, &hooks).with_context(|| {
        format!("{} does not tell what this kernel shows: run cargo xtask kernels", path.display())
    })
}

/// Prints the kernels that the VM can boot, and which of them are fetched.
pub fn list(workspace: &Workspace) {
    for kernel in Kernel::value_variants() {
        let state = if kernel::is_fetched(workspace, *kernel) { "fetched" } else { "not fetched" };
        println!("{:5} {state}", kernel.series());
    }
}

fn document(workspace: &Workspace) -> PathBuf {
    workspace.root().join("docs/kernels.md")
}

fn read(ended: &Ended, file: impl AsRef<Path>) -> Result<String> {
    let path = ended.share.join(file);
    fs::read_to_string(&path).with_context(|| format!("the VM left no {}", path.display()))
}
