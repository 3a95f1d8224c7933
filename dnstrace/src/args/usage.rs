//! Command lines that parse and still make no sense.

use dnstrace_ebpf::config::MAX_PORTS;

use super::{Args, Format, SelectionArgs};

/// A command line that parses and still makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    #[error("at most {MAX_PORTS} ports can be watched at a time, {0} were given")]
    TooManyPorts(usize),
    #[error("standard input cannot be read beside other files: write it to a file first")]
    StandardInputAmongFiles,
    #[error("port 0 does not exist")]
    PortZero,
    #[error("--container needs a pod: add --pod")]
    ContainerWithoutPod,
    #[error("--top needs a terminal: without one, -o json and --metrics tell programs what it shows")]
    NotATerminal,
    #[error("--wait needs to know which pod: add --pod or --selector")]
    WaitWithoutPod,
    #[error("--columns is for the table: leave out -o json, or -o wide, which has them all")]
    ColumnsWithoutTable,
    #[error("{option} means nothing with {what}: {why}; leave it out")]
    InVain { option: String, what: &'static str, why: &'static str },
    #[error("captures are read one at a time: give one file (mergecap makes one of several)")]
    SeveralCaptures,
}

/// What a command line that parses may still not say, wherever events come from.
///
/// # Errors
/// If it does.
pub fn check(args: &Args) -> Result<(), UsageError> {
    check_selection(&args.selection, &args.target)?;
    let has_pod = !args.selection.pods.is_empty() || !args.target.is_empty();
    match () {
        () if !args.view.columns.is_empty() && args.output != Format::Table => {
            Err(UsageError::ColumnsWithoutTable)
        }
        () if args.wait && !has_pod && args.selection.selector.is_none() => Err(UsageError::WaitWithoutPod),
        () => Ok(()),
    }
}

/// Likewise of what selects pods, of which `named` are its arguments.
///
/// # Errors
/// If it does.
pub fn check_selection(selection: &SelectionArgs, named: &[String]) -> Result<(), UsageError> {
    if selection.container.is_some() && selection.pods.is_empty() && named.is_empty() {
        return Err(UsageError::ContainerWithoutPod);
    }
    Ok(())
}
