//! `cargo xtask fuzz`: libFuzzer looks for bytes for which a target of `tests/fuzz` does not hold.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    args::FuzzArgs,
    build,
    process::{self, say, shown},
    setup,
    workspace::Workspace,
};

const PACKAGE: &str = "dnstrace-fuzz";
const DIRECTORY: &str = "tests/fuzz";
/// One input may take so many seconds, and the whole program so many megabytes: what takes more is a failure as well.
const MOST_SECONDS: u32 = 10;
const MOST_MEGABYTES: u32 = 2048;
/// Bytes of an input: several records, messages or blocks.
const LONGEST: u32 = 16 << 10;

/// Fuzzes one target, or each in turn. Fails with the first input for which one does not hold.
pub fn run(workspace: &Workspace, args: &FuzzArgs) -> Result<ExitCode> {
    let seeds = workspace.cache("fuzz/seeds");
    write_seeds(workspace, &seeds)?;
    let targets = picked(&seeds, args.target.as_deref())?;
    let programs = build_targets(workspace)?;
    for target in &targets {
        let program = programs.join(target);
        match &args.input {
            Some(input) => process::run(Command::new(program).arg(input))?,
            None => fuzz(workspace, target, &program, &seeds.join(target), args.seconds)?,
        }
    }
    say(format_args!("held for all that was tried: {}", targets.join(", ")));
    Ok(ExitCode::SUCCESS)
}

/// Each target's into a folder of its name.
fn write_seeds(workspace: &Workspace, directory: &Path) -> Result<()> {
    let mut write = build::cargo(workspace);
    write.args(["run", "--quiet", "--package", PACKAGE, "--example", "seeds", "--"]).arg(directory);
    // As the host tests are built.
    process::run(write.env("AYA_BUILD_SKIP", "1"))
}

/// The target of this name, or all.
fn picked(seeds: &Path, name: Option<&str>) -> Result<Vec<String>> {
    let entries = fs::read_dir(seeds).with_context(|| format!("cannot read {}", seeds.display()))?;
    let mut all = entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<Vec<String>>>()?;
    all.sort();
    match name {
        None => Ok(all),
        Some(name) if all.iter().any(|target| target == name) => Ok(vec![name.to_owned()]),
        Some(name) => bail!("no target is called {name}: there are {}", all.join(", ")),
    }
}

/// Builds all targets with libFuzzer, and returns the folder they are in.
fn build_targets(workspace: &Workspace) -> Result<PathBuf> {
    ensure!(
        Command::new("c++").arg("--version").output().is_ok_and(|output| output.status.success()),
        "libFuzzer is compiled from C++, and this machine has no compiler of it: install g++"
    );
    let tools = setup::cargo_fuzz(workspace)?;
    let target = workspace.cache("fuzz/target");
    let mut build = build::cargo(workspace);
    build.args(["fuzz", "build", "--fuzz-dir", DIRECTORY, "--features", "libfuzzer"]);
    // No unsafe code is under test: a sanitizer of memory would only halve the speed.
    build
        .args(["--sanitizer", "none", "--debug-assertions", "--codegen-units", "16", "--target-dir"])
        .arg(&target);
    let path = env::var_os("PATH").unwrap_or_default();
    let path = [tools].into_iter().chain(env::split_paths(&path));
    build.env("PATH", env::join_paths(path).context("the cache's path has a colon")?);
    build.envs([("AYA_BUILD_SKIP", "1"), ("CARGO_PROFILE_RELEASE_LTO", "off")]);
    say(shown(&build));
    process::run(&mut build)?;
    Ok(target.join(format!("{}-unknown-linux-gnu/release", env::consts::ARCH)))
}

/// Begins with the seeds and with what earlier runs came to.
fn fuzz(workspace: &Workspace, target: &str, program: &Path, seeds: &Path, time: Duration) -> Result<()> {
    let corpus = workspace.cache("fuzz/corpus").join(target);
    let found = workspace.cache("fuzz/found").join(target);
    for directory in [&corpus, &found] {
        fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
    }
    let mut command = Command::new(program);
    command.arg(&corpus).arg(seeds);
    let kept = workspace.root().join(DIRECTORY).join("found").join(target);
    if kept.exists() {
        command.arg(kept);
    }
    command.arg(format!("-max_total_time={}", time.as_secs()));
    command.arg(format!("-artifact_prefix={}/", found.display()));
    for (option, value) in [("timeout", MOST_SECONDS), ("rss_limit_mb", MOST_MEGABYTES), ("max_len", LONGEST)]
    {
        command.arg(format!("-{option}={value}"));
    }
    command.arg("-print_final_stats=1");
    say(format_args!("{target}: for {} s", time.as_secs()));
    let status = command.status().with_context(|| format!("cannot run {}", program.display()))?;
    ensure!(
        status.success(),
        "{target} does not hold for an input that is now in {found} ({status}). To see it again: cargo xtask fuzz {target} \
         --input FILE. When it is mended, copy it to {DIRECTORY}/found/{target}/: an ordinary test runs what is there",
        found = found.display(),
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_picked_by_its_name() -> Result<()> {
        let seeds = tempfile::tempdir()?;
        ["event", "dns"].iter().try_for_each(|target| fs::create_dir(seeds.path().join(target)))?;
        assert_eq!(picked(seeds.path(), None)?, ["dns", "event"]);
        assert_eq!(picked(seeds.path(), Some("dns"))?, ["dns"]);
        let refusal = picked(seeds.path(), Some("dn")).unwrap_err().to_string();
        assert_eq!(refusal, "no target is called dn: there are dns, event");
        Ok(())
    }
}
