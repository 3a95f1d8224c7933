//! `--top` as a user sees it, in a terminal of its own.

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use pty_process::blocking::Command;

use super::{Bench, Test, metrics::ask, tracer};
use crate::pty::Terminal;

pub const TESTS: &[Test] = &[
    Test::new("the terminal view shows what the summary says", the_view_shows_what_the_summary_says),
    Test::new("SIGTERM gives the terminal back", sigterm_gives_the_terminal_back),
];

/// The trace of a pod in a terminal of this size, its view drawn.
fn start(size: (u16, u16)) -> Result<Terminal> {
    let command = Command::new("dnstrace").args(tracer::attach_options());
    let terminal = Terminal::start(command.args(["-p", "cart-7d4f", "--top"]), size)?;
    terminal.wait_for("drawn", |rows| rows[0].contains(": 0 queries; q quits"))?;
    Ok(terminal)
}

fn signal(terminal: &Terminal, signal: Signal) -> Result<()> {
    Ok(kill(Pid::from_raw(terminal.pid().cast_signed()), signal)?)
}

/// The row that begins so.
fn row<'a>(rows: &'a [String], beginning: &str) -> Result<&'a String> {
    let row = rows.iter().find(|row| row.starts_with(beginning));
    row.with_context(|| format!("no row begins with {beginning}:\n{}", rows.join("\n")))
}

/// It goes on where the kernel does not tell of everything.
fn is_lossless(row: &str) -> bool {
    row.starts_with("nothing was lost")
}

fn the_view_shows_what_the_summary_says(bench: &Bench) -> Result<()> {
    let mut terminal = start((100, 30))?;
    ensure!(terminal.is_taken()? == [true; 3], "{:?}", terminal.is_taken());
    ask(bench, 20)?;
    terminal.wait_for("21 queries", |rows| rows[0].contains(": 21 queries; q quits"))?;
    signal(&terminal, Signal::SIGUSR1)?;
    let is_said = |row: &String| row.starts_with("dnstrace: so far, and the trace goes on:");
    terminal.wait_for("said in a row of its own", |rows| rows.iter().any(is_said))?;
    for (columns, rows) in [(40, 10), (200, 60)] {
        terminal.resize(columns, rows)?;
        let is_whole = |rows: &[String]| {
            rows[0].contains(": 21 queries") && rows.last().is_some_and(|row| is_lossless(row))
        };
        terminal.wait_for("drawn anew", is_whole)?;
    }
    let view = terminal.rows();
    ensure!(row(&view, "20 NOERROR")?.starts_with("20 NOERROR, 1 NXDOMAIN"), "{view:#?}");
    let server = row(&view, "10.96.0.10:53/udp")?;
    ensure!(server.split_whitespace().nth(1) == Some("21"), "{server}");

    terminal.press("q")?;
    ensure!(terminal.ended()?.success());
    ensure!(terminal.is_taken()? == [false; 3], "{:?}", terminal.is_taken());
    let left = terminal.rows();
    // What was kept, and the summary at the end.
    let summaries: Vec<_> = left.iter().filter(|row| row.starts_with("21 queries in ")).collect();
    let is_same = |row: &&String| row.ends_with(": 20 NOERROR, 1 NXDOMAIN (42 messages)");
    ensure!(summaries.len() == 2 && summaries.iter().all(is_same), "{left:#?}");
    let quantiles = |rows: &[String]| {
        let row = row(rows, "latency: ")?;
        // The rate stands beside it.
        Ok::<_, anyhow::Error>(row.split_whitespace().take(12).collect::<Vec<_>>().join(" "))
    };
    ensure!(quantiles(&view)? == quantiles(&left)?, "{view:#?}\n{left:#?}");
    ensure!(left.iter().any(|row| is_lossless(row)) && row(&left, "NEWEST").is_err(), "{left:#?}");
    Ok(())
}

fn sigterm_gives_the_terminal_back(_: &Bench) -> Result<()> {
    let mut terminal = start((80, 24))?;
    signal(&terminal, Signal::SIGTERM)?;
    ensure!(terminal.ended()?.success());
    ensure!(terminal.is_taken()? == [false; 3], "{:?}", terminal.is_taken());
    row(&terminal.rows(), "0 queries in ").map(drop)
}
