//! Runs other programs, with errors that name the command.

use std::{
    fmt, io,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

/// Tells the developer what is being done. Goes to stderr: stdout belongs to the command in the VM.
pub fn say(what: impl fmt::Display) {
    say_lines("", what);
}

/// As [`say`], with `mark` before each line.
pub fn say_lines(mark: &str, what: impl fmt::Display) {
    let said = lines(mark, what);
    // In one piece: whatever is written to standard output holds this lock, too.
    let _whole = io::stdout().lock();
    eprint!("{said}");
}

fn lines(mark: &str, what: impl fmt::Display) -> String {
    format!("xtask: {what}").lines().map(|line| format!("{mark}{line}\n")).collect()
}

/// Runs `command` with this program's own output. An exit code other than 0 is an error.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {}", shown(command)))?;
    if !status.success() {
        bail!("{} failed: {status}", shown(command));
    }
    Ok(())
}

/// Runs `command` in silence. An exit code other than 0 is an error that holds what it printed.
pub fn run_quietly(command: &mut Command) -> Result<()> {
    output(command).map(drop)
}

/// Runs `command` and returns its standard output as text.
pub fn output(command: &mut Command) -> Result<String> {
    command.stdin(Stdio::null());
    let output = command.output().with_context(|| format!("cannot run {}", shown(command)))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{} failed: {}\n{stdout}{stderr}", shown(command), output.status);
    }
    Ok(stdout)
}

/// The command line as a person would type it.
pub fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_has_the_mark() {
        assert_eq!(lines("6.1 | ", "it failed\n[ 1.0] log\n"), "6.1 | xtask: it failed\n6.1 | [ 1.0] log\n");
        assert_eq!(lines("", "what is done"), "xtask: what is done\n");
    }
}
