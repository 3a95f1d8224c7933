//! Options that say how the table looks.

use std::borrow::Cow;

use clap::{Args, ColorChoice, ValueEnum, builder::PossibleValue};

use crate::output::table::Column;

/// How the table looks.
#[derive(Args, Clone, Debug)]
pub struct ViewArgs {
    /// Columns of the table, in this order: TIME,NAME,ANSWER.
    #[arg(long, value_name = "COLUMNS", value_enum, value_delimiter = ',', ignore_case = true)]
    pub columns: Vec<Column>,

    /// A line for each lookup (what a program asked for), instead of one for each of its healthy queries.
    #[arg(long)]
    pub lookups: bool,

    /// Colours: red for what failed, yellow for what had trouble on the way; auto: on a terminal, unless NO_COLOR is set.
    #[arg(long, value_enum, default_value_t = ColorChoice::Auto, value_name = "WHEN")]
    pub color: ColorChoice,
}

impl ViewArgs {
    /// The columns to show: those named, or all; none for the usual ones.
    pub fn columns(&self, output: Format) -> Option<Cow<'_, [Column]>> {
        match output {
            Format::Wide => Some(Cow::Borrowed(&Column::ALL)),
            Format::Table | Format::Json if self.columns.is_empty() => None,
            Format::Table | Format::Json => Some(Cow::Borrowed(&self.columns)),
        }
    }
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A line a query; a query in trouble unfolds into its attempts.
    Table,
    /// The table with every column.
    Wide,
    /// A JSON object a line.
    Json,
}

/// How to print what is no trace: a list, a summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// As text.
    Table,
    /// A JSON object a line.
    Json,
}

impl ValueEnum for Column {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let description = self.description();
        Some(PossibleValue::new(description.title).help(description.meaning))
    }
}
