//! Outputs to stdout, the summary to stderr.

use std::{io, time::Duration};

use anyhow::{Context as _, Result};

use crate::{
    args::Format,
    event::KernelTime,
    lookup::Output,
    losses::Losses,
    output::{Nodes, Status, WallClock, json, table::Table},
    statistics::Statistics,
    stdout::{Stdout, WhenFull},
};

/// Room for what is printed and not yet read, where nothing else is asked for.
pub const BACKLOG: usize = 16 << 20;

/// Writes what the core says in the format that the user chose.
pub struct Printer {
    format: Format,
    clock: WallClock,
    table: Table,
    stdout: Stdout,
    /// What was dropped since something was last written.
    gap: Option<Gap>,
    /// Outputs that were dropped in all.
    not_written: u64,
}

/// Outputs that were dropped in a row.
#[derive(Clone, Copy, Debug)]
struct Gap {
    outputs: u64,
    /// The earliest and the latest of their times.
    since: KernelTime,
    until: KernelTime,
}

impl Printer {
    /// One that waits for its reader.
    ///
    /// # Errors
    /// If there can be no thread for it.
    pub fn new(format: Format, clock: WallClock) -> Result<Self> {
        Self::with(format, clock, BACKLOG, WhenFull::Wait)
    }

    /// One that never waits: what is printed while more than `backlog` bytes are unread is dropped and counted.
    ///
    /// # Errors
    /// As with [`Printer::new`].
    pub fn live(format: Format, clock: WallClock, backlog: usize) -> Result<Self> {
        Self::with(format, clock, backlog, WhenFull::Refuse)
    }

    fn with(format: Format, clock: WallClock, backlog: usize, when_full: WhenFull) -> Result<Self> {
        let stdout = Stdout::start(io::stdout(), backlog, when_full).context("cannot write to stdout")?;
        Ok(Self { format, table: Table::new(clock.clone()), clock, stdout, gap: None, not_written: 0 })
    }

    /// Says which network namespaces are the nodes' own.
    #[must_use]
    pub fn on(self, nodes: Nodes) -> Self {
        Self { table: self.table.on(nodes), ..self }
    }

    /// Whether nobody reads any more.
    pub fn is_closed(&self) -> bool {
        self.stdout.is_closed()
    }

    /// The line above the table.
    ///
    /// # Errors
    /// If stdout cannot be written.
    pub fn header(&mut self) -> Result<()> {
        if self.format == Format::Table {
            self.stdout.push_anyway(self.table.header());
        }
        self.flush()
    }

    /// How the trace fares: as text on stderr, and as a line of JSON.
    ///
    /// # Errors
    /// If stdout cannot be written.
    pub fn status(&mut self, status: &Status, time: KernelTime) -> Result<()> {
        eprint!("{}", status.text());
        if self.format == Format::Json {
            self.stdout.push_anyway(json::status(status, time, &self.clock)? + "\n");
        }
        self.flush()
    }

    /// Prints an output of the core.
    ///
    /// # Errors
    /// If stdout cannot be written.
    pub fn print(&mut self, output: &Output) -> Result<()> {
        let time = output.time();
        if self.stdout.is_full() {
            self.drop_one(time);
            return Ok(());
        }
        self.tell_gap()?;
        let text = match self.format {
            Format::Table => self.table.lines(output),
            Format::Json => json::line(output, &self.clock)? + "\n",
        };
        if !self.stdout.push(text) {
            self.drop_one(time);
        }
        Ok(())
    }

    /// Hands over what is buffered.
    ///
    /// # Errors
    /// If stdout cannot be written.
    pub fn flush(&mut self) -> Result<()> {
        if self.gap.is_some() && !self.stdout.is_full() {
            self.tell_gap()?;
        }
        self.stdout.flush().context("cannot write to stdout")
    }

    /// The summary as the last line of JSON.
    ///
    /// # Errors
    /// If stdout cannot be written.
    pub fn summary(&mut self, statistics: &Statistics, end: KernelTime, losses: &Losses) -> Result<()> {
        self.tell_gap()?;
        if self.format == Format::Json {
            self.stdout.push_anyway(json::summary(statistics, losses, end, &self.clock)? + "\n");
        }
        self.flush()
    }

    /// Waits until all is read, or nothing for as long as `patience`.
    ///
    /// # Errors
    /// If stdout cannot be written.
    pub fn drain(&mut self, patience: Option<Duration>) -> Result<()> {
        self.stdout.drain(patience);
        self.flush()
    }

    /// Outputs that are still to be written, and how many bytes have been so far.
    pub fn progress(&self) -> (u64, u64) {
        self.stdout.progress()
    }

    /// Outputs that were dropped because they were not read in time.
    pub fn not_written(&self) -> u64 {
        self.not_written
    }

    fn drop_one(&mut self, time: KernelTime) {
        self.not_written += 1;
        let gap = self.gap.get_or_insert(Gap { outputs: 0, since: time, until: time });
        gap.outputs += 1;
        gap.since = gap.since.min(time);
        gap.until = gap.until.max(time);
    }

    /// Says what was dropped, in the place where it would have been.
    fn tell_gap(&mut self) -> Result<()> {
        let Some(Gap { outputs, since, until }) = self.gap.take() else { return Ok(()) };
        let text = match self.format {
            Format::Table => self.table.not_written(outputs, since, until),
            Format::Json => json::not_written(outputs, since, until, &self.clock)? + "\n",
        };
        self.stdout.push_anyway(text);
        Ok(())
    }
}
