//! Files instead of the live kernel.

use std::path::PathBuf;

use clap::Args;

/// What is read, and how it is told.
#[derive(Clone, Debug, Default, Args)]
pub struct ReadArgs {
    /// Read what dnstrace -w, tcpdump -w or Wireshark wrote, instead of tracing; `-` is standard input. Several files are
    /// those of one recording, in their order. Needs no root. Pods are named with -p here.
    #[arg(
        short = 'r',
        long = "read",
        value_name = "FILE",
        num_args = 1..,
        conflicts_with_all = ["ring", "attach", "doh", "duration", "verbose"]
    )]
    pub files: Vec<PathBuf>,
}
