//! All who hear what the core says, as far as the user wants to see it: the printer and the summary.

use anyhow::Result;

use crate::{
    event::KernelTime,
    filter::Filter,
    lookup::Output,
    losses::Losses,
    output::{Status, summary},
    printer::Printer,
    statistics::Statistics,
    top::Newest,
};

/// Passes what the core says on to each of them, until nobody wants more.
pub struct Sinks {
    printer: Printer,
    statistics: Statistics,
    filter: Filter,
    /// Instead of the printer, where the counts are shown live.
    newest: Option<Newest>,
    /// Queries still to be told of; none if there is no end to them.
    remaining: Option<u64>,
}

impl Sinks {
    /// `count` queries are told of, or all.
    pub fn new(printer: Printer, count: Option<u64>) -> Self {
        Self {
            printer,
            statistics: Statistics::default(),
            filter: Filter::default(),
            newest: None,
            remaining: count,
        }
    }

    /// Tells only of what this filter shows; of the rest, how much it was.
    #[must_use]
    pub fn filtered(self, filter: Filter) -> Self {
        Self { filter, ..self }
    }

    /// Counts at most so many pods apart from the others.
    #[must_use]
    pub fn with_pods(self, pods: usize) -> Self {
        Self { statistics: Statistics::with_pods(pods), ..self }
    }

    /// Prints nothing but the summary at the end, and remembers what is newest, if there is anything to remember it by.
    #[must_use]
    pub fn showing(self, newest: Option<Newest>) -> Self {
        Self { newest, ..self }
    }

    /// What is newest.
    pub fn newest(&self) -> Option<&Newest> {
        self.newest.as_ref()
    }

    /// Before the first output.
    ///
    /// # Errors
    /// If stdout cannot be written.
    pub fn begin(&mut self) -> Result<()> {
        if self.newest.is_some() { Ok(()) } else { self.printer.header() }
    }

    /// Whether there is nothing more to tell: `--count` is reached, or nobody reads any more.
    pub fn is_done(&self) -> bool {
        self.printer.is_closed() || self.remaining == Some(0)
    }

    /// Whether nobody reads any more.
    pub fn is_closed(&self) -> bool {
        self.printer.is_closed()
    }

    /// Tells of these outputs; beyond `--count`, of none.
    ///
    /// # Errors
    /// If stdout cannot be written.
    pub fn tell(&mut self, outputs: Vec<Output>) -> Result<()> {
        for output in outputs {
            if self.is_done() {
                return Ok(());
            }
            if let Some(criterion) = self.filter.hides(&output) {
                self.statistics.hide(&output, criterion);
                continue;
            }
            match &mut self.newest {
                Some(newest) => newest.add(&output),
                None => self.printer.print(&output)?,
            }
            self.statistics.add(&output);
            if let (Output::Query(_), Some(remaining)) = (&output, &mut self.remaining) {
                *remaining = remaining.saturating_sub(1);
            }
        }
        Ok(())
    }

    /// Hands over what is buffered.
    ///
    /// # Errors
    /// If stdout cannot be written.
    pub fn flush(&mut self) -> Result<()> {
        self.printer.flush()
    }

    /// Tells how the trace itself fares.
    ///
    /// # Errors
    /// If stdout cannot be written.
    pub fn status(&mut self, status: &Status, time: KernelTime) -> Result<()> {
        self.printer.status(status, time)
    }

    /// After the last output: the summary of what happened from `begin` to `end`, when all else has been read.
    ///
    /// # Errors
    /// If stdout cannot be written.
    pub fn end(&mut self, begin: KernelTime, end: KernelTime, losses: &Losses) -> Result<()> {
        self.last_line(begin, end, losses)?;
        self.printer.drain(None)?;
        eprint!("{}", self.text(begin, end, losses));
        Ok(())
    }

    /// The summary as the last line of JSON.
    ///
    /// # Errors
    /// If stdout cannot be written.
    pub fn last_line(&mut self, begin: KernelTime, end: KernelTime, losses: &Losses) -> Result<()> {
        self.printer.summary(&self.statistics, [begin, end], losses, true)
    }

    /// The summary while the trace goes on: on stderr, and as a line of JSON.
    ///
    /// # Errors
    /// If stdout cannot be written.
    pub fn so_far(&mut self, begin: KernelTime, now: KernelTime, losses: &Losses) -> Result<()> {
        self.printer.summary(&self.statistics, [begin, now], losses, false)?;
        eprint!("dnstrace: so far, and the trace goes on:\n{}", self.text(begin, now, losses));
        Ok(())
    }

    /// What it came to so far.
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// The summary for eyes.
    pub fn text(&self, begin: KernelTime, end: KernelTime, losses: &Losses) -> String {
        summary::text(&self.statistics, begin, end, losses)
    }

    /// Who prints.
    pub fn printer(&self) -> &Printer {
        &self.printer
    }
}
