//! The program: reads the command line, runs the trace, says how it ended.

use std::process::ExitCode;

use clap::Parser as _;
use dnstrace::{
    args::{Args, Command},
    exit::Exit,
    hooks,
    output::json,
    replay, stdout, trace,
};

fn main() -> ExitCode {
    let args = Args::parse();
    let exit = match run(&args) {
        Ok(()) => Exit::Done,
        Err(error) => {
            eprintln!("dnstrace: {error:#}");
            Exit::of(&error)
        }
    };
    ExitCode::from(exit as u8)
}

/// A file is read, or the kernel's events. One thread does it all: what it waits for are the ring, signals and the clock.
fn run(args: &Args) -> anyhow::Result<()> {
    if args.command.is_none() && !args.read.files.is_empty() {
        return replay::run(args);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match args.command {
            Some(Command::Hooks { output, attach }) => hooks::list(output, attach),
            Some(Command::Schema) => stdout::say_all(&format!("{:#}\n", json::schema().as_value())),
            None => trace::run(args).await,
        }
    })
}
