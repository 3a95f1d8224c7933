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
    stderr,
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
    /// Where the trace ended that is told again; none if it did not end by the number of its queries.
    recorded: Option<Recorded>,
}

/// Where a trace ended by `--count`: when it had told of so many queries more.
struct Recorded {
    remaining: u64,
    /// What it told of. Another one may be shown now.
    filter: Filter,
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
            recorded: None,
        }
    }

    /// Tells a trace again that ended when it had told of `count` queries that its `filter` showed: nothing of what it recorded
    /// beyond.
    #[must_use]
    pub fn up_to(self, count: Option<u64>, filter: Filter) -> Self {
        Self { recorded: count.map(|remaining| Recorded { remaining, filter }), ..self }
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

    /// Whether there is nothing more to tell: `--count` is reached, now or in the trace that is told again, or nobody reads any
    /// more.
    pub fn is_done(&self) -> bool {
        self.printer.is_closed() || self.has_reached_count() || self.is_at_end()
    }

    /// Whether as many queries have been told of as were asked for.
    pub fn has_reached_count(&self) -> bool {
        self.remaining == Some(0)
    }

    /// Whether the trace that is told again ended here.
    pub fn is_at_end(&self) -> bool {
        self.recorded.as_ref().is_some_and(|recorded| recorded.remaining == 0)
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
            if let Some(recorded) = &mut self.recorded {
                recorded.count(&output);
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

    /// Waits until all is read.
    ///
    /// # Errors
    /// If stdout cannot be written.
    pub fn drain(&mut self) -> Result<()> {
        self.printer.drain(None)
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
        self.drain()?;
        stderr::tell(&self.text(begin, end, losses));
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
        stderr::say(format_args!(
            "so far, and the trace goes on:\n{}",
            self.text(begin, now, losses).trim_end()
        ));
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

impl Recorded {
    /// Counts what the trace told of.
    fn count(&mut self, output: &Output) {
        if matches!(output, Output::Query(_)) && self.filter.hides(output).is_none() {
            self.remaining = self.remaining.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    use super::*;
    use crate::{
        args::Format,
        output::{WallClock, tests::zoo},
    };

    /// Queries that take so many milliseconds.
    fn outputs(took: &[u64]) -> Vec<Output> {
        let attempt = |ms: u64| zoo::attempt(0, Vec::new(), zoo::answer(ms * 1_000_000, None));
        zoo::outputs(took.iter().map(|ms| zoo::query("a.", vec![attempt(*ms)])).collect())
    }

    fn slower_than(ms: u64) -> Filter {
        let slower_than = Some(std::time::Duration::from_millis(ms));
        Filter { slower_than, ..Filter::default() }
    }

    fn sinks(count: Option<u64>, filter: &Filter) -> Sinks {
        let clock = WallClock { offset_ns: 0, zone: TimeZone::UTC };
        let printer = Printer::new(Format::Json, clock).unwrap().quiet(true);
        Sinks::new(printer, count).filtered(filter.clone())
    }

    /// How many queries are shown and hidden; and whether there is more to tell.
    fn told(mut sinks: Sinks, outputs: &[Output]) -> (u64, u64, bool) {
        // Whatever comes together.
        for outputs in outputs.chunks(3) {
            sinks.tell(outputs.to_vec()).unwrap();
        }
        let counts = sinks.statistics().counts();
        (counts.queries, counts.hidden.queries, sinks.is_done())
    }

    #[test]
    fn a_trace_is_told_again_to_where_it_ended_whatever_is_shown_now() {
        let outputs = outputs(&[1, 50, 1, 1, 50, 1, 50, 1]);
        let live = slower_than(10);
        assert_eq!(told(sinks(Some(2), &live), &outputs), (2, 3, true));
        let again = |count, now: &Filter| told(sinks(count, now).up_to(Some(2), live.clone()), &outputs);
        assert_eq!(again(None, &live), (2, 3, true));
        assert_eq!(again(Some(2), &live), (2, 3, true));
        assert_eq!(again(None, &Filter::default()), (5, 0, true));
        assert_eq!(again(None, &slower_than(100)), (0, 5, true));
        assert_eq!(again(Some(1), &Filter::default()), (1, 0, true));
        // It ended by something else.
        assert_eq!(told(sinks(None, &live).up_to(None, live.clone()), &outputs), (3, 5, false));
    }

    proptest! {
        #[test]
        fn told_again_with_the_same_options_is_told_alike(
            took in proptest::collection::vec(1u64..100, 0..40),
            count in proptest::option::of(0u64..10),
            slower in 0u64..100,
        ) {
            let (outputs, filter) = (outputs(&took), slower_than(slower));
            let live = told(sinks(count, &filter), &outputs);
            let again = sinks(count, &filter).up_to(count, filter.clone());
            prop_assert_eq!(told(again, &outputs), live);
            let again = sinks(None, &filter).up_to(count, filter.clone());
            prop_assert_eq!(told(again, &outputs), live);
        }
    }
}
