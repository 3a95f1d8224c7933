//! The program: reads the command line, runs the trace, says how it ended.

use std::process::ExitCode;

use clap::Parser as _;
use dnstrace::{args::Args, exit::Exit, trace};

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

/// One thread does it all: what it waits for are the ring, signals and the clock.
fn run(args: &Args) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(trace::run(args))
}
