//! The program: reads the command line, runs the trace, says how it ended.

use std::process::ExitCode;

use dnstrace::{
    args::{Args, Command},
    exit::Exit,
    generate, hooks,
    output::json,
    replay, stderr, stdout, trace,
};

fn main() -> ExitCode {
    let args = Args::of_line(std::env::args_os()).unwrap_or_else(|error| error.exit());
    let exit = match run(&args) {
        Ok(()) => Exit::Done,
        Err(error) => {
            stderr::say(format_args!("{error:#}"));
            Exit::of(&error)
        }
    };
    ExitCode::from(exit as u8)
}

/// A file is read, or the kernel's events. One thread does it all: what it waits for are the ring, signals and the clock.
fn run(args: &Args) -> anyhow::Result<()> {
    match &args.command {
        Some(Command::Hooks { output, attach }) => {
            return in_runtime(async { hooks::list(*output, *attach) });
        }
        Some(Command::Summary(summary)) => return replay::summarize(summary),
        Some(Command::Completions { shell }) => return stdout::say_all(&generate::completions(*shell)),
        Some(Command::Man) => return stdout::say_all(&generate::man()?),
        Some(Command::Schema) => return stdout::say_all(&format!("{:#}\n", json::schema().as_value())),
        None => {}
    }
    if args.read.files.is_empty() { in_runtime(trace::run(args)) } else { replay::run(args) }
}

/// With tokio's reactor at hand.
fn in_runtime(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(work)
}
