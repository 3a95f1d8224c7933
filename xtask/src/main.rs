//! `cargo xtask`: builds, tests and shows dnstrace.

mod apt;
mod arch;
mod args;
mod btf;
mod build;
mod fuzz;
mod kernel;
mod kernels;
mod packages;
mod process;
mod setup;
mod suite;
mod vm;
mod workspace;

use std::{io, process::ExitCode};

use anyhow::{Context as _, Result};
use clap::Parser as _;

use self::{
    arch::Arch,
    args::{BuildArgs, Cli, Command, KernelsArgs, SetupArgs, VmArgs},
    process::say,
    vm::{Failure, Place, VmSpec},
    workspace::Workspace,
};

/// As `env` and `docker run` do: apart from any exit code of the command's own.
const VM_FAILED: u8 = 125;

fn main() -> ExitCode {
    let command = Cli::parse().command;
    match run(command) {
        Ok(code) => code,
        // As for any program in a pipe: whoever closed it has read enough.
        Err(error) if matches!(error.downcast_ref(), Some(Failure::OutputClosed)) => {
            ExitCode::from(VM_FAILED)
        }
        Err(error) => {
            say(format_args!("{error:#}"));
            ExitCode::from(if error.is::<Failure>() { VM_FAILED } else { 1 })
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    let workspace = Workspace::locate()?;
    match command {
        Command::Demo(args) => suite::demo(&workspace, &args),
        Command::Test(args) => suite::test(&workspace, &args),
        Command::Race(args) => suite::race(&workspace, &args),
        Command::Bench(args) => suite::bench(&workspace, &args),
        Command::Fuzz(args) => fuzz::run(&workspace, &args),
        Command::Vm(args) => vm(&workspace, args),
        Command::Build(args) => build(&workspace, &args),
        Command::Lint => build::lint(&workspace).map(|()| ExitCode::SUCCESS),
        Command::Setup(args) => setup(&workspace, &args),
        Command::Kernels(args) => kernels(&workspace, &args).map(|()| ExitCode::SUCCESS),
        Command::Btf => btf::regenerate(&workspace).map(|()| ExitCode::SUCCESS),
    }
}

fn build(workspace: &Workspace, args: &BuildArgs) -> Result<ExitCode> {
    let program = build::dnstrace(workspace, args.arch)?;
    say(format_args!("built {}", program.display()));
    Ok(ExitCode::SUCCESS)
}

fn vm(workspace: &Workspace, args: VmArgs) -> Result<ExitCode> {
    let programs = if args.no_build { build::built_vm_programs } else { build::vm_programs };
    let spec = VmSpec {
        kernel: args.kernel,
        timeout: args.timeout,
        programs: programs(workspace, args.machine.arch)?,
        machine: args.machine,
        script: script(args.command)?,
        place: Place::First,
    };
    let ended = vm::run(workspace, &spec, io::stdout(), io::stderr())?;
    Ok(ended.exit_code.into())
}

/// One argument is a script already; several are the words of one command.
fn script(command: Vec<String>) -> Result<String> {
    match <[String; 1]>::try_from(command) {
        Ok([script]) => Ok(script),
        Err(words) => shlex::try_join(words.iter().map(String::as_str)).context("the command has a NUL byte"),
    }
}

fn setup(workspace: &Workspace, args: &SetupArgs) -> Result<ExitCode> {
    setup::rust_tools(workspace)?;
    for &kernel in &args.kernels {
        vm::fetch(workspace, Arch::X86_64, kernel)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn kernels(workspace: &Workspace, args: &KernelsArgs) -> Result<()> {
    if args.list {
        kernels::list(workspace);
        return Ok(());
    }
    let dnstrace = match args.no_build {
        true => workspace.release(Arch::X86_64, build::DNSTRACE),
        false => build::dnstrace(workspace, Arch::X86_64)?,
    };
    kernels::write(workspace, &dnstrace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_argument_is_a_script_and_several_are_words() -> Result<()> {
        assert_eq!(script(vec!["a; b $c".to_owned()])?, "a; b $c");
        assert_eq!(script(vec!["echo".to_owned(), "a; b".to_owned()])?, "echo 'a; b'");
        Ok(())
    }
}
