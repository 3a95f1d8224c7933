//! `dnstrace summary`.

use clap::Args;

use super::{FilterArgs, Given, ListFormat, ProtocolArgs, ReadArgs, SelectionArgs};

/// What files come to: which files, and of what in them.
#[derive(Clone, Debug, Args)]
#[command(mut_arg("files", |files| files.required(true)))]
pub struct SummaryArgs {
    #[command(flatten)]
    pub read: ReadArgs,

    /// How to print
    #[arg(short, long, value_enum, default_value_t = ListFormat::Table)]
    pub output: ListFormat,

    #[command(flatten)]
    pub selection: SelectionArgs,

    #[command(flatten)]
    pub protocol: ProtocolArgs,

    #[command(flatten)]
    pub filter: FilterArgs,

    /// What of it was given.
    #[arg(skip)]
    pub given: Given,
}
