//! The terminal view in a real terminal: this program starts itself in one, as [`view`].

#[path = "../../tests/src/pty.rs"]
#[expect(dead_code, reason = "the suite uses more of it")]
mod pty;

use std::{env, time::Duration};

use anyhow::{Result, ensure};
use dnstrace::{
    event::KernelTime,
    losses::Losses,
    output::WallClock,
    statistics::Statistics,
    stderr,
    top::{Newest, Top},
};
use jiff::tz::TimeZone;
use pty_process::blocking::Command;

use pty::Terminal;

/// What the view is to do, in the environment of [`view`].
const COURSE: &str = "DNSTRACE_TEST_VIEW";
const SECOND: u64 = 1_000_000_000;

/// No test of its own: what the others run in a terminal.
#[test]
fn view() {
    let Ok(course) = env::var(COURSE) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut top = Top::start(KernelTime(0)).unwrap();
        let newest = Newest::new(WallClock { offset_ns: 0, zone: TimeZone::UTC });
        stderr::say("said while the view has the terminal");
        for second in 1.. {
            top.show(&Statistics::default(), Losses::default(), &newest, KernelTime(second * SECOND));
            if tokio::time::timeout(Duration::from_millis(20), top.quit()).await.is_ok() {
                assert!(course != "panic", "a panic on purpose");
                break;
            }
        }
        drop(top);
        stderr::say("said at the end");
    });
}

/// A terminal in which the view is drawn.
fn start(course: &str) -> Result<Terminal> {
    let command = Command::new(env::current_exe()?).args(["--exact", "view", "--nocapture"]);
    // A trace of calls would push the words of a panic off the screen.
    let command = command.env(COURSE, course).env("RUST_BACKTRACE", "0");
    let terminal = Terminal::start(command, (80, 24))?;
    terminal.wait_for("drawn", is_whole)?;
    Ok(terminal)
}

/// The first row and the last two.
fn is_whole(rows: &[String]) -> bool {
    let [first, .., said, last] = rows else { return false };
    first.starts_with("dnstrace ")
        && said.starts_with("dnstrace: said while the view")
        && last == "nothing was lost"
}

const TAKEN: [bool; 3] = [true; 3];
const GIVEN_BACK: [bool; 3] = [false; 3];

#[test]
fn another_size_draws_all_anew() -> Result<()> {
    let terminal = start("")?;
    for (columns, rows) in [(40, 10), (200, 60), (79, 23)] {
        terminal.resize(columns, rows)?;
        let shown = terminal.wait_for("drawn anew", is_whole)?;
        ensure!(shown.len() == usize::from(rows));
        // Nothing of the other sizes is left over.
        let of = |heading| shown.iter().filter(|row| row.contains(heading)).count();
        ensure!(of("latency:") == 1 && of("NEWEST") == 1, "{shown:#?}");
        ensure!(of("SERVER") == usize::from(rows > 10), "{shown:#?}");
    }
    Ok(())
}

#[test]
fn q_and_control_c_give_the_terminal_back_and_then_say_what_was_kept() -> Result<()> {
    for key in ["q", "\u{3}"] {
        let mut terminal = start("")?;
        ensure!(terminal.is_taken()? == TAKEN, "{:?}", terminal.is_taken());
        terminal.press(key)?;
        ensure!(terminal.ended()?.success());
        ensure!(terminal.is_taken()? == GIVEN_BACK, "{:?} after {key:?}", terminal.is_taken());
        let rows = terminal.rows();
        let said: Vec<_> = rows.iter().filter(|row| row.contains("said")).collect();
        ensure!(
            said == ["dnstrace: said while the view has the terminal", "dnstrace: said at the end"],
            "{rows:#?}"
        );
    }
    Ok(())
}

#[test]
fn a_panic_gives_the_terminal_back_and_is_read_there() -> Result<()> {
    let mut terminal = start("panic")?;
    terminal.press("q")?;
    ensure!(!terminal.ended()?.success());
    ensure!(terminal.is_taken()? == GIVEN_BACK, "{:?}", terminal.is_taken());
    let text = terminal.rows().join("\n");
    ensure!(text.contains("a panic on purpose") && !text.contains("NEWEST"), "{text}");
    ensure!(text.contains("dnstrace: said while the view has the terminal\n"), "{text}");
    Ok(())
}
