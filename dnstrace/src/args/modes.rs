//! Which option means something where: every option has a row, so that none is ever given in vain.

use clap::{Arg, ArgMatches, Command, parser::ValueSource};

use super::usage::UsageError;
use crate::source::file::Kind;

/// Where events come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The kernel.
    Live,
    /// What dnstrace wrote.
    Recording,
    /// Packets as others wrote them.
    Capture,
}

impl Mode {
    /// Each, in the order of the columns of the table.
    pub const ALL: [Self; 3] = [Self::Live, Self::Recording, Self::Capture];
    /// Those that a file may turn out to be of.
    pub const OF_FILES: [Self; 2] = [Self::Recording, Self::Capture];
}

impl From<Kind> for Mode {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Recording => Self::Recording,
            Kind::Pcap | Kind::Pcapng => Self::Capture,
        }
    }
}

/// What an option is in a mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Works,
    /// It would change nothing: why.
    Vain(&'static str),
}

use Use::{Vain, Works};

const KERNEL: Use = Vain("it is for tracing the kernel");
const PORTS: Use = Vain("it holds what was seen on the ports of its trace");
const OWNERS: Use = Vain("it knows no pods and processes");
const NAMES: Use = Vain("it holds the names that were known then");
const NO_NAMES: Use = Vain("what addresses are called now need not be what they were called then");
const NO_FILE: Use = Vain("that has no file");
const WAITS: Use = Vain("no line is dropped there, however slowly it is read");
const WHOLE: Use = Vain("what it tells is there already");
const ENDS: Use = Vain("it ends by itself, or with --count");
const RUNNING: Use = Vain("it is for a trace under way; -q tells the summary alone");

/// An option as it is written, and what it is in each mode ([`Mode::ALL`]).
const TABLE: &[(&str, [Use; 3])] = &[
    ("POD", [Works, Works, OWNERS]),
    ("--pod", [Works, Works, OWNERS]),
    ("--namespace", [Works, Works, OWNERS]),
    ("--selector", [Works, Works, OWNERS]),
    ("--container", [Works, Works, OWNERS]),
    ("--all-namespaces", [Works, Works, OWNERS]),
    ("--host", [Works, Works, OWNERS]),
    ("--pid", [Works, Works, OWNERS]),
    ("--comm", [Works, Works, OWNERS]),
    ("--wait", [Works, WHOLE, WHOLE]),
    ("--port", [Works, PORTS, Works]),
    ("--cri-socket", [Works, WHOLE, WHOLE]),
    ("--doh", [Works, KERNEL, KERNEL]),
    ("--duration", [Works, ENDS, ENDS]),
    ("--timeout", [Works, Works, Works]),
    ("--count", [Works, Works, Works]),
    ("--output", [Works, Works, Works]),
    ("--columns", [Works, Works, Works]),
    ("--lookups", [Works, Works, Works]),
    ("--color", [Works, Works, Works]),
    ("--quiet", [Works, Works, Works]),
    ("--metrics-pods", [Works, Works, Works]),
    ("--name", [Works, Works, Works]),
    ("--type", [Works, Works, Works]),
    ("--rcode", [Works, Works, Works]),
    ("--server", [Works, Works, Works]),
    ("--slower-than", [Works, Works, Works]),
    ("--failed", [Works, Works, Works]),
    ("--write", [Works, WHOLE, WHOLE]),
    ("--rotate", [Works, WHOLE, WHOLE]),
    ("--keep", [Works, WHOLE, WHOLE]),
    ("--read", [NO_FILE, Works, Works]),
    ("--kube", [Works, NAMES, NO_NAMES]),
    ("--kubeconfig", [Works, NAMES, NO_NAMES]),
    ("--metrics", [Works, RUNNING, RUNNING]),
    ("--top", [Works, RUNNING, RUNNING]),
    ("--ring", [Works, KERNEL, KERNEL]),
    ("--attach", [Works, KERNEL, KERNEL]),
    ("--verbose", [Works, KERNEL, KERNEL]),
    ("--backlog", [Works, WAITS, WAITS]),
];

/// The options that stand on the command line, as they are written in full.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given(Vec<String>);

impl Given {
    /// Those of `command` that it was given.
    pub fn of(command: &Command, matches: &ArgMatches) -> Self {
        let stands = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
        let given = command.get_arguments().filter(|option| stands(option.get_id().as_str()));
        Self(given.map(written).collect())
    }

    /// Refuses an option that means nothing in any of these modes.
    ///
    /// # Errors
    /// If there is one.
    pub fn check(&self, modes: &[Mode]) -> Result<(), UsageError> {
        for option in &self.0 {
            let reasons: Option<Vec<_>> = modes.iter().map(|mode| in_vain(option, *mode)).collect();
            if let Some((why, what)) = reasons.and_then(|reasons| reasons.first().copied()).zip(what(modes)) {
                return Err(UsageError::InVain { option: option.clone(), what, why });
            }
        }
        Ok(())
    }
}

/// Why an option would be given in vain; none if it works.
fn in_vain(option: &str, mode: Mode) -> Option<&'static str> {
    let (_, uses) = TABLE.iter().find(|(name, _)| *name == option)?;
    Mode::ALL.iter().zip(uses).find_map(|(column, used)| match used {
        Vain(why) if *column == mode => Some(*why),
        Vain(_) | Works => None,
    })
}

/// How these modes are called together.
fn what(modes: &[Mode]) -> Option<&'static str> {
    match modes {
        [] => None,
        [Mode::Live] => Some("the live trace"),
        [Mode::Recording] => Some("a recording"),
        [Mode::Capture] => Some("a capture of packets"),
        [..] => Some("a file that is read"),
    }
}

/// An option as it is written in full, `--port`, or what stands for an argument.
fn written(option: &Arg) -> String {
    match (option.get_long(), option.get_value_names()) {
        (Some(long), _) => format!("--{long}"),
        (None, Some([name, ..])) => name.to_string(),
        (None, _) => option.get_id().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use clap::{ArgAction, CommandFactory as _};

    use super::*;
    use crate::args::Args;

    /// What stands behind an option, where one value is not like another.
    fn value(option: &str) -> &'static str {
        match option {
            "--port" | "--pid" | "--count" | "--keep" | "--metrics-pods" => "5353",
            "--timeout" | "--duration" | "--slower-than" | "--rotate" => "5s",
            "--output" => "json",
            "--columns" => "NAME",
            "--color" => "never",
            "--metrics" => ":9353",
            "--ring" | "--backlog" => "1MiB",
            "--attach" => "kprobe",
            "--selector" => "app=cart",
            "--cri-socket" => "none",
            "--type" => "AAAA",
            "--rcode" => "NXDOMAIN",
            "--server" => "10.96.0.10",
            _ => "x",
        }
    }

    /// What others an option needs beside it.
    fn beside(option: &str) -> &'static [&'static str] {
        match option {
            "--rotate" => &["--write", "x"],
            "--kubeconfig" => &["--kube"],
            "--keep" => &["--write", "x", "--rotate", "1h"],
            _ => &[],
        }
    }

    /// Options that a command has, as they are written, and whether a value follows.
    fn options(command: &Command) -> Vec<(String, bool)> {
        let own = command.get_arguments().filter(|option| {
            !matches!(
                option.get_action(),
                ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version
            )
        });
        own.map(|option| (written(option), option.get_action().takes_values())).collect()
    }

    /// What becomes of a command line with this option.
    fn tried(option: &str, has_value: bool, mode: Mode) -> String {
        let mut line = vec!["dnstrace"];
        if mode != Mode::Live && option != "--read" {
            line.extend(["--read", "a.pcapng"]);
        }
        if option != "POD" {
            line.push(option);
        } else if mode != Mode::Live {
            // Else it would be one of the files.
            line.push("--");
        }
        line.extend(has_value.then(|| value(option)));
        line.extend(beside(option));
        let args = Args::of_line(line.iter().map(ToString::to_string)).unwrap();
        let written = Given(args.given.0.into_iter().filter(|given| given == option).collect());
        assert_eq!(written.0, [option], "not noticed in {line:?}");
        written.check(&[mode]).map_or_else(|error| error.to_string(), |()| "works".to_owned())
    }

    #[test]
    fn every_option_works_or_is_refused_in_each_mode() {
        let mut grid = String::new();
        for (option, has_value) in options(&Args::command()) {
            assert!(
                TABLE.iter().any(|(name, _)| *name == option),
                "{option} has no row: where does it work?"
            );
            for mode in Mode::ALL {
                grid += &format!("{option} {mode:?}: {}\n", tried(&option, has_value, mode));
            }
        }
        insta::assert_snapshot!(grid);
    }

    #[test]
    fn every_row_is_of_an_option() {
        let known = options(&Args::command());
        for (option, uses) in TABLE {
            assert!(known.iter().any(|(name, _)| name == option), "{option}");
            assert!(uses.contains(&Works), "{option} works nowhere");
        }
        let summary = Args::command().find_subcommand("summary").map(options).unwrap();
        assert!(summary.len() > 10 && summary.iter().all(|option| known.contains(option)), "{summary:?}");
    }

    #[test]
    fn before_a_file_is_opened_only_what_works_in_none_is_refused() {
        let given = |line: &str| Args::of_line(line.split(' ').map(str::to_owned)).unwrap().given;
        assert!(given("dnstrace -r x --port 5353 -p cart").check(&Mode::OF_FILES).is_ok());
        assert_eq!(
            given("dnstrace -r x --ring 1MiB").check(&Mode::OF_FILES).unwrap_err().to_string(),
            "--ring means nothing with a file that is read: it is for tracing the kernel; leave it out"
        );
        // A default was not asked for.
        assert_eq!(given("dnstrace -r x"), Given(vec!["--read".to_owned()]));
    }
}
