//! `e2e`: the laboratory of the end-to-end tests, and the programs it runs inside it.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use dnstrace_tests::{
    bench::{
        self, BenchArgs,
        load::{self, LoadArgs},
    },
    check::{self, CheckArgs},
    demo,
    lab::{
        by_hand::{self, ClientsArgs, ExecArgs, LabArgs},
        enter::{self, EnterArgs, PauseArgs},
    },
    multicast::{self, MulticastArgs},
    serve::{self, ServeArgs},
    suite::{
        self, SuiteArgs,
        churn::{self, ChurnArgs},
        race::{self, RaceArgs},
        soak::{self, SoakArgs},
    },
};

/// A small Kubernetes-shaped node with real DNS traffic, for the end-to-end tests of dnstrace
#[derive(Debug, Parser)]
#[command(name = "e2e", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Lab(LabArgs),
    Exec(ExecArgs),
    Check(CheckArgs),
    Clients(ClientsArgs),
    /// Shows a visitor what dnstrace does
    Demo,
    Suite(SuiteArgs),
    Race(RaceArgs),
    Soak(SoakArgs),
    Churn(ChurnArgs),
    Serve(ServeArgs),
    Multicast(MulticastArgs),
    Bench(BenchArgs),
    #[command(hide = true)]
    Load(LoadArgs),
    #[command(hide = true)]
    Enter(EnterArgs),
    #[command(hide = true)]
    Pause(PauseArgs),
}

fn main() -> Result<ExitCode> {
    match Cli::parse().command {
        Command::Lab(args) => return by_hand::lab(&args),
        Command::Exec(args) => match by_hand::exec(args)? {},
        Command::Check(args) => check::check(&args)?,
        Command::Clients(args) => by_hand::clients(&args)?,
        Command::Demo => demo::demo()?,
        Command::Suite(args) => return suite::suite(&args),
        Command::Race(args) => return race::race(&args),
        Command::Soak(args) => return soak::soak(&args),
        Command::Churn(args) => return churn::churn(&args),
        Command::Serve(args) => serve::serve(&args)?,
        Command::Multicast(args) => multicast::multicast(&args)?,
        Command::Bench(args) => bench::bench(&args)?,
        Command::Load(args) => load::load(&args)?,
        Command::Enter(args) => match enter::enter(&args)? {},
        Command::Pause(args) => enter::pause(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}
