//! Outputs to stdout, the summary to stderr.

use std::{io, os::fd::AsFd, time::Duration};

use anyhow::{Context as _, Result};

use crate::{
    args::{Format, ViewArgs},
    event::KernelTime,
    lookup::Output,
    losses::Losses,
    output::{Nodes, Status, WallClock, json, table::Table},
    statistics::Statistics,
    stderr,
    stdout::{Stdout, WhenFull},
    terminal,
};

/// Room for what is printed and not yet read, where nothing else is asked for.
pub const BACKLOG: usize = 16 << 20;

/// Writes what the core says in the format that the user chose.
pub struct Printer {
    format: Format,
    clock: WallClock,
    table: Table,
    /// The header is to be printed with the next line: how wide that needs the columns to be is known then.
    header_due: bool,
    stdout: Stdout,
    /// What was dropped since something was last written.
    gap: Option<Gap>,
    /// Outputs that were dropped in all.
    not_written: u64,
    /// Only the summary is wanted.
    is_quiet: bool,
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
        Self::to(io::stdout(), format, clock, BACKLOG, WhenFull::Wait)
    }

    /// One that never waits: what is printed while more than `backlog` bytes are unread is dropped and counted.
    ///
    /// # Errors
    /// As with [`Printer::new`].
    pub fn live(format: Format, clock: WallClock, backlog: usize) -> Result<Self> {
        Self::to(io::stdout(), format, clock, backlog, WhenFull::Refuse)
    }

    fn to(
        file: impl AsFd + Send + 'static,
        format: Format,
        clock: WallClock,
        backlog: usize,
        when_full: WhenFull,
    ) -> Result<Self> {
        let stdout = Stdout::start(file, backlog, when_full).context("cannot write to stdout")?;
        let table = Table::new(clock.clone());
        Ok(Self {
            format,
            table,
            clock,
            header_due: false,
            stdout,
            gap: None,
            not_written: 0,
            is_quiet: false,
        })
    }

    /// Says which network namespaces are the nodes' own.
    #[must_use]
    pub fn on(self, nodes: Nodes) -> Self {
        Self { table: self.table.on(nodes), ..self }
    }

    /// Shows the table like this.
    #[must_use]
    pub fn view(self, view: &ViewArgs) -> Self {
        let table = self.table.in_colours(terminal::wants_colours(view.color)).by_lookup(view.lookups);
        let table = match view.columns(self.format) {
            Some(columns) => table.with_columns(&columns),
            None => table,
        };
        Self { table, ..self }
    }

    /// Prints nothing but the summary, if so.
    #[must_use]
    pub fn quiet(self, is_quiet: bool) -> Self {
        Self { is_quiet, ..self }
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
        if self.format != Format::Json && !self.is_quiet {
            self.fit();
            // Only a terminal presses columns.
            self.header_due = terminal::width().is_some();
            if !self.header_due {
                self.stdout.push_anyway(self.table.header());
            }
        }
        self.flush()
    }

    /// How the trace fares: as text on stderr, and as a line of JSON.
    ///
    /// # Errors
    /// If stdout cannot be written.
    pub fn status(&mut self, status: &Status, time: KernelTime) -> Result<()> {
        stderr::tell(&status.text());
        if self.format == Format::Json && !self.is_quiet {
            self.stdout.push_anyway(json::status(status, time, &self.clock)? + "\n");
        }
        self.flush()
    }

    /// Prints an output of the core.
    ///
    /// # Errors
    /// If stdout cannot be written.
    pub fn print(&mut self, output: &Output) -> Result<()> {
        if self.is_quiet {
            return Ok(());
        }
        // What nobody will read need not be made.
        if self.format == Format::Json && self.stdout.is_full() {
            self.drop_one(output.time());
            return Ok(());
        }
        let text = match self.format {
            Format::Table | Format::Wide => self.rows(output),
            Format::Json => json::line(output, &self.clock)? + "\n",
        };
        // Not everything has a row.
        if text.is_empty() {
            return Ok(());
        }
        if !self.stdout.is_full() {
            self.tell_gap()?;
        }
        if self.stdout.push(text) {
            self.header_due = false;
        } else {
            self.drop_one(output.time());
        }
        Ok(())
    }

    /// Its rows, under a header if one is due.
    fn rows(&mut self, output: &Output) -> String {
        self.fit();
        let rows = self.table.lines(output);
        let header = if self.header_due && !rows.is_empty() { self.table.header() } else { String::new() };
        header + &rows
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

    /// The summary of what happened from `begin` to `end` as a line of JSON: the last one if it is final.
    ///
    /// # Errors
    /// If stdout cannot be written.
    pub fn summary(
        &mut self,
        statistics: &Statistics,
        span: [KernelTime; 2],
        losses: &Losses,
        is_final: bool,
    ) -> Result<()> {
        self.tell_gap()?;
        if self.format == Format::Json {
            let line = json::summary(statistics, losses, span, is_final, &self.clock)? + "\n";
            self.stdout.push_anyway(line);
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
            Format::Table | Format::Wide => self.table.not_written(outputs, since, until),
            Format::Json => json::not_written(outputs, since, until, &self.clock)? + "\n",
        };
        self.stdout.push_anyway(text);
        Ok(())
    }

    /// Fits the table into the terminal, if there is one. The window may have been resized: then the lines from here on get
    /// a header of their own.
    fn fit(&mut self) {
        let width = terminal::width();
        if !self.table.fit(width) {
            return;
        }
        self.header_due = true;
        let left_out = self.table.left_out();
        if let (Some(width), false) = (width, left_out.is_empty()) {
            let what = left_out.join(" and ");
            stderr::say(format_args!(
                "{width} columns are too narrow for {what}: left out; --columns chooses"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Read as _, thread, time::Instant};

    use jiff::tz::TimeZone;
    use nix::unistd;
    use serde_json::Value;

    use super::*;
    use crate::event::Loss;

    const OUTPUTS: u64 = 5_000;

    fn output(number: u64) -> Output {
        Output::Loss(Loss { since: KernelTime(0), time: KernelTime(number), events: 1 })
    }

    /// Prints outputs to a reader who reads only then, one more when it does, and the end. Returns what it read, and how
    /// many outputs were not written.
    fn unread(format: Format) -> (String, u64) {
        let (read, write) = unistd::pipe().unwrap();
        let clock = WallClock { offset_ns: 0, zone: TimeZone::UTC };
        let mut printer = Printer::to(write, format, clock, 64 << 10, WhenFull::Refuse).unwrap();
        for number in 1..=OUTPUTS {
            printer.print(&output(number)).unwrap();
        }
        let reader = thread::spawn(move || {
            let mut text = String::new();
            File::from(read).read_to_string(&mut text).map(|_| text)
        });
        let started = Instant::now();
        while printer.stdout.is_full() {
            assert!(started.elapsed() < Duration::from_secs(60), "never free again");
            printer.flush().unwrap();
        }
        printer.print(&output(OUTPUTS + 1)).unwrap();
        let span = [KernelTime(0), KernelTime(OUTPUTS + 2)];
        printer.summary(&Statistics::default(), span, &Losses::default(), true).unwrap();
        printer.drain(None).unwrap();
        let not_written = printer.not_written();
        drop(printer);
        (reader.join().unwrap().unwrap(), not_written)
    }

    #[test]
    fn what_is_not_written_is_told_in_its_place() {
        let (text, not_written) = unread(Format::Json);
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let [written @ .., gap, last, summary] = &*lines else { panic!("{} lines", lines.len()) };
        assert!(not_written > 0 && written.len() as u64 + not_written == OUTPUTS);
        let times = written.iter().map(|line| line["ktime_ns"].as_u64().unwrap());
        assert!(times.eq(1..=written.len() as u64), "the first ones, each once");
        assert_eq!((&gap["cause"], &gap["lines"]), (&"stdout_full".into(), &not_written.into()));
        assert_eq!(gap["since_ktime_ns"], written.len() as u64 + 1);
        assert_eq!(gap["ktime_ns"], OUTPUTS);
        assert_eq!((&last["ktime_ns"], &summary["kind"]), (&(OUTPUTS + 1).into(), &"summary".into()));
    }

    #[test]
    fn the_table_tells_it_too() {
        let (text, not_written) = unread(Format::Table);
        let row = text.lines().rev().nth(1).unwrap();
        assert!(not_written > 0 && row.starts_with("00:00:00.000005  LOST since 00:00:00.00000"), "{row}");
        assert!(
            row.ends_with(&format!(": {not_written} queries and others, not printed (not read in time)"))
        );
    }
}
