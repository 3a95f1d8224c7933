//! The command line, as the user types it; [`settings`] is what it means, [`usage`] what it may not say.

mod filter;
mod kube;
mod metrics;
pub mod modes;
mod protocol;
mod read;
mod record;
mod selection;
pub mod settings;
mod summary;
pub mod usage;
mod view;

use std::{ffi::OsString, time::Duration};

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use clap_complete::Shell;

use crate::{capture::AttachMode, cri::Socket};

pub use filter::FilterArgs;
pub use kube::KubeArgs;
pub use metrics::MetricsArgs;
pub use modes::Given;
pub use protocol::ProtocolArgs;
pub use read::ReadArgs;
pub use record::RecordArgs;
pub use selection::SelectionArgs;
pub use summary::SummaryArgs;
pub use view::{Format, ListFormat, ViewArgs};

/// Every DNS lookup of a pod, and what became of each packet.
///
/// Run it as root on the Kubernetes node where the pod runs. Without a target it traces every pod and every
/// host service of the node. Data goes to stdout, everything else to stderr.
#[derive(Clone, Debug, Parser)]
#[command(version, max_term_width = 100, after_help = AFTER_HELP, args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Pod to trace: its name, the unambiguous beginning of it, or NAMESPACE/NAME.
    #[arg(value_name = "POD", conflicts_with_all = ["all_namespaces", "host", "selector"])]
    pub target: Vec<String>,

    #[command(flatten)]
    pub selection: SelectionArgs,

    /// Where the container runtime listens for CRI, which tells names and labels of pods: /run/crio/crio.sock. Without it
    /// containerd, CRI-O, k3s and cri-dockerd are looked for; none: nobody is asked.
    #[arg(long, value_name = "PATH")]
    pub cri_socket: Option<Socket>,

    /// Wait for a pod that is not there yet: every pod whose name begins like this, or with such labels, is traced from its
    /// start.
    #[arg(long, conflicts_with_all = ["all_namespaces", "host"])]
    pub wait: bool,

    #[command(flatten)]
    pub protocol: ProtocolArgs,

    /// Show connections to port 443 of well-known public resolvers, too: DNS over HTTPS. (DNS over TLS, on port 853, is
    /// always shown; what encrypted connections carry is never.)
    #[arg(long)]
    pub doh: bool,

    /// End after this time: 30s, 5m.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub duration: Option<Duration>,

    /// End after this many queries were shown.
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,

    /// How to print.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub output: Format,

    #[command(flatten)]
    pub view: ViewArgs,

    /// Print no line of what happens, only the summary.
    #[arg(short, long)]
    pub quiet: bool,

    #[command(flatten)]
    pub record: RecordArgs,

    #[command(flatten)]
    pub read: ReadArgs,

    #[command(flatten)]
    pub counts: MetricsArgs,

    #[command(flatten)]
    pub kube: KubeArgs,

    /// Size of the kernel's buffer for events, rounded up to a power of two.
    #[arg(long, value_name = "SIZE", default_value = "16MiB", value_parser = ring_size)]
    pub ring: u32,

    /// How much output is kept for whoever reads it slowly; beyond that lines are dropped and counted.
    #[arg(long, value_name = "SIZE", default_value = "16MiB", value_parser = backlog_size)]
    pub backlog: usize,

    /// How to attach to kernel functions.
    #[arg(long, value_enum, default_value_t = AttachMode::Auto, value_name = "WAY")]
    pub attach: AttachMode,

    #[command(flatten)]
    pub filter: FilterArgs,

    /// Show the eBPF programs' own messages on stderr.
    #[arg(short, long)]
    pub verbose: bool,

    /// What of it was given.
    #[arg(skip)]
    pub given: Given,
}

impl Args {
    /// Those of a command line, whose first word is the program.
    ///
    /// # Errors
    /// If it cannot be parsed; and `--help` and `--version` are told as such errors.
    pub fn of_line(line: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> clap::error::Result<Self> {
        let mut command = Self::command();
        let matches = command.try_get_matches_from_mut(line)?;
        let mut args = Self::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
        args.given = Given::of(&command, &matches);
        if let Some(Command::Summary(summary)) = &mut args.command
            && let Some((name, matches)) = matches.subcommand()
            && let Some(command) = command.find_subcommand(name)
        {
            summary.given = Given::of(command, matches);
        }
        Ok(args)
    }
}

/// What else dnstrace does.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// What this kernel lets dnstrace see: attaches every hook, lists them, and ends
    Hooks {
        /// How to print
        #[arg(short, long, value_enum, default_value_t = ListFormat::Table)]
        output: ListFormat,
        /// How to attach to kernel functions
        #[arg(long, value_enum, default_value_t = AttachMode::Auto, value_name = "WAY")]
        attach: AttachMode,
    },
    /// What recordings and captures come to: their summary on standard output, and nothing else there
    Summary(Box<SummaryArgs>),
    /// The JSON Schema of the lines that -o json prints
    Schema,
    /// Prints what a shell reads to complete dnstrace's options
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Prints the man page: dnstrace man | man -l -
    Man,
}

const AFTER_HELP: &str = "\
Examples:
  sudo dnstrace --pod cart                 the pod whose name begins with cart
  sudo dnstrace -n shop -p cart-7d4f       or shop/cart-7d4f
  sudo dnstrace -A --duration 30s          all pods, for half a minute, then the summary
  sudo dnstrace -A -o json | jq .          a JSON object per line
  dnstrace -r trace.pcapng -p cart         what a recording tells of a pod; needs no root
  dnstrace summary -r trace.pcapng         what it comes to

Exit codes: 0 done, 1 failure, 2 wrong usage, 3 not permitted, 4 kernel not usable,
5 no such pod or not exactly one, 6 a file that cannot be read, 7 labels of pods not known";

/// Bytes of a ring: a power of two that the kernel takes.
fn ring_size(text: &str) -> Result<u32, String> {
    const SMALLEST: u64 = 64 << 10;
    const LARGEST: u64 = 1 << 30;
    let bytes = parse_size::parse_size(text).map_err(|error| error.to_string())?;
    if !(SMALLEST..=LARGEST).contains(&bytes) {
        return Err("give 64KiB to 1GiB".to_owned());
    }
    u32::try_from(bytes.next_power_of_two()).map_err(|error| error.to_string())
}

/// Bytes of output that are not read yet.
fn backlog_size(text: &str) -> Result<usize, String> {
    const LARGEST: u64 = 1 << 30;
    let bytes = parse_size::parse_size(text).map_err(|error| error.to_string())?;
    match usize::try_from(bytes) {
        Ok(bytes) if (1..=LARGEST).contains(&(bytes as u64)) => Ok(bytes),
        _ => Err("give up to 1GiB".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::table::Column;

    #[test]
    fn the_definition_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_target_may_be_given_in_every_usual_way() {
        let parse = |line: &str| Args::try_parse_from(line.split(' '));
        assert_eq!(parse("dnstrace shop/cart").unwrap().target, ["shop/cart"]);
        let args = parse("dnstrace -n shop -p cart --pod web").unwrap();
        assert_eq!(
            (args.selection.namespace.as_deref(), args.selection.pods),
            (Some("shop"), vec!["cart".into(), "web".into()])
        );
        for wrong in
            ["dnstrace -A -p cart", "dnstrace --host -A", "dnstrace --host cart", "dnstrace --duration 5"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn filters_that_can_never_match_are_wrong_usage() {
        let parse = |line: &str| Args::try_parse_from(line.split(' '));
        let args =
            parse("dnstrace --type a --type TYPE65 --rcode nodata --server fd00::/8 --name *.Example. -A")
                .unwrap();
        assert_eq!((args.filter.types.len(), args.filter.names.len()), (2, 1));
        for (wrong, hint) in [
            ("dnstrace --type AAAAA", "did you mean AAAA?"),
            ("dnstrace --rcode SERVFAL", "did you mean SERVFAIL?"),
            ("dnstrace --server 10.0.0.0/33", "IP:PORT"),
            ("dnstrace --name bücher.example", "xn--"),
            ("dnstrace --name [a", "unclosed"),
            ("dnstrace --slower-than 100", "time unit needed"),
        ] {
            let error = parse(wrong).unwrap_err();
            assert!(error.to_string().contains(hint) && error.exit_code() == 2, "{error}");
        }
    }

    #[test]
    fn columns_have_the_names_of_the_header() {
        let parse = |line: &str| Args::try_parse_from(line.split(' '));
        let args = parse("dnstrace --columns time,NAME,Answer").unwrap();
        assert_eq!(args.view.columns, [Column::Time, Column::Name, Column::Answer]);
        let error = parse("dnstrace --columns NAMES").unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let text = error.to_string();
        assert!(Column::ALL.iter().all(|column| text.contains(column.description().title)), "{text}");
    }

    #[test]
    fn ring_sizes_are_powers_of_two() {
        assert_eq!(ring_size("16MiB"), Ok(16 << 20));
        assert_eq!(ring_size("100KiB"), Ok(128 << 10));
        assert!(ring_size("1KiB").is_err() && ring_size("2GiB").is_err() && ring_size("x").is_err());
    }
}
