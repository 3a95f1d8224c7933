//! Outputs to stdout, the summary to stderr.

use std::io::{self, BufWriter, StdoutLock, Write as _};

use anyhow::{Context as _, Result};

use crate::{
    args::Format,
    event::KernelTime,
    lookup::Output,
    losses::Losses,
    output::{Nodes, WallClock, json, summary, table::Table},
    statistics::Statistics,
};

/// Writes what the core says in the format that the user chose.
pub struct Printer {
    format: Format,
    clock: WallClock,
    table: Table,
    stdout: BufWriter<StdoutLock<'static>>,
    /// The reader of stdout has gone.
    closed: bool,
}

impl Printer {
    pub fn new(format: Format, clock: WallClock) -> Self {
        Self {
            format,
            table: Table::new(clock.clone()),
            clock,
            stdout: BufWriter::new(io::stdout().lock()),
            closed: false,
        }
    }

    /// Says which network namespaces are the nodes' own.
    #[must_use]
    pub fn on(self, nodes: Nodes) -> Self {
        Self { table: self.table.on(nodes), ..self }
    }

    /// Whether nobody reads any more.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// The line above the table.
    ///
    /// # Errors
    /// If stdout cannot be written.
    pub fn header(&mut self) -> Result<()> {
        if self.format == Format::Table {
            let header = self.table.header();
            self.write(&header)?;
        }
        self.flush()
    }

    /// Prints an output of the core.
    ///
    /// # Errors
    /// If stdout cannot be written.
    pub fn print(&mut self, output: &Output) -> Result<()> {
        let text = match self.format {
            Format::Table => self.table.lines(output),
            Format::Json => json::line(output, &self.clock)? + "\n",
        };
        self.write(&text)
    }

    /// Hands over what is buffered.
    ///
    /// # Errors
    /// If stdout cannot be written.
    pub fn flush(&mut self) -> Result<()> {
        let flushed = self.stdout.flush();
        self.note(flushed)
    }

    /// The summary: as text on stderr, and as the last line of JSON.
    ///
    /// # Errors
    /// If stdout cannot be written.
    pub fn summary(
        &mut self,
        statistics: &Statistics,
        begin: KernelTime,
        end: KernelTime,
        losses: &Losses,
    ) -> Result<()> {
        if self.format == Format::Json {
            let line = json::summary(statistics, losses, end, &self.clock)? + "\n";
            self.write(&line)?;
        }
        self.flush()?;
        eprint!("{}", summary::text(statistics, begin, end, losses));
        Ok(())
    }

    fn write(&mut self, text: &str) -> Result<()> {
        let written = self.stdout.write_all(text.as_bytes());
        self.note(written)
    }

    /// A closed pipe is an ending, no error: `dnstrace | head`.
    fn note(&mut self, result: io::Result<()>) -> Result<()> {
        match result {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            other => other.context("cannot write to stdout"),
        }
    }
}
