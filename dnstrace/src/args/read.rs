//! Files instead of the live kernel.

use std::path::PathBuf;

use clap::Args;

/// What is read, and how it is told.
#[derive(Clone, Debug, Default, Args)]
pub struct ReadArgs {
    /// Read what dnstrace -w, tcpdump -w or Wireshark wrote, instead of tracing; `-` is standard input. Several files are
    /// those of one recording, or recordings of several nodes. Needs no root. Pods are named with -p here.
    #[arg(short = 'r', long = "read", value_name = "FILE", num_args = 1..)]
    pub files: Vec<PathBuf>,
}
