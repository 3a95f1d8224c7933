//! A trace told from a file: the edge that has a file where [`crate::trace`] has the kernel. No root, no clock, no waiting.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use jiff::tz::TimeZone;

use crate::{
    args::Args,
    event::KernelTime,
    identify::Wanted,
    merge::Merged,
    output::{Nodes, WallClock, escape},
    pcap::{self, Watch},
    pipeline::Pipeline,
    printer::Printer,
    recording::{self, Told},
    sinks::Sinks,
    source::{
        Begin, End, Entries, Entry, Unreadable,
        file::{Input, Kind},
    },
    trace::{self, UsageError},
};

/// Tells what the files say, from their beginning to the summary.
///
/// # Errors
/// If they cannot be read ([`Unreadable`]), the command line makes no sense with them, or stdout cannot be written.
pub fn run(args: &Args) -> Result<()> {
    trace::check_selection(args)?;
    let first = args.read.files.first().context("no file to read")?;
    let input = Input::open(first)?;
    let (name, is_live) = (input.name.clone(), input.is_live);
    let mut entries = open(input, &args.read.files, &args.ports)?;
    let Some(Entry::Begin(begin)) = entries.next()? else {
        return Err(Unreadable { name, why: "it does not begin with a beginning".to_owned() }.into());
    };
    if !begin.knows_owners && is_selective(args) {
        return Err(UsageError::NoOwners.into());
    }
    eprintln!("dnstrace: reading {}: {}", escape(&name), escape(&begin.description));
    let mut replay = Replay::new(args, &begin)?;
    replay.sinks.begin()?;
    let end = replay.until_end(entries.as_mut(), is_live)?;
    replay.summarize(begin.time, &end)
}

/// What yields the entries of files, of which the first is opened. A recording may go on in further files, and several
/// recordings, of several nodes, are one trace.
fn open(first: Input, files: &[PathBuf], ports: &[u16]) -> Result<Box<dyn Entries>> {
    match first.kind {
        Kind::Recording if files.len() > 1 => {
            if files.iter().any(|path| path == Path::new("-")) {
                return Err(UsageError::StandardInputAmongFiles.into());
            }
            let mut traces = recording::by_trace(files)?;
            match (traces.pop(), traces.is_empty()) {
                (Some(only), true) => Ok(Box::new(recording::Reader::open(only)?)),
                (last, _) => {
                    traces.extend(last);
                    Ok(Box::new(Merged::open(traces)?))
                }
            }
        }
        Kind::Recording => Ok(Box::new(recording::Reader::new(first, Box::new(|| None)))),
        Kind::Pcap | Kind::Pcapng => {
            if files.len() > 1 {
                return Err(UsageError::SeveralCaptures.into());
            }
            Ok(Box::new(pcap::Capture::open(first, Watch { ports: ports.to_vec() })?))
        }
    }
}

/// Whether the command line asks for some owners alone.
fn is_selective(args: &Args) -> bool {
    let named = !args.pods.is_empty() || !args.target.is_empty() || args.namespace.is_some();
    named
        || args.container.is_some()
        || args.all_namespaces
        || args.host
        || args.pid.is_some()
        || args.comm.is_some()
}

/// A replay under way.
struct Replay {
    pipeline: Pipeline<Told>,
    sinks: Sinks,
    /// `--count` was given: the rest need not be read. A recording that was made with it is read to its end, where it says
    /// what was lost.
    is_counted: bool,
}

impl Replay {
    fn new(args: &Args, begin: &Begin) -> Result<Self> {
        let clock = WallClock { offset_ns: begin.clock_offset_ns, zone: TimeZone::system() };
        let timeout = args.timeout.map(trace::nanoseconds).or(begin.timeout);
        let wanted = Wanted::of_namespace(begin.namespace.clone()).and(
            trace::selection(args),
            args.pid,
            args.comm.clone(),
        );
        let printer =
            Printer::new(args.output, clock)?.view(&args.view).on(Nodes::of(begin.host_netns, &begin.nodes));
        Ok(Self {
            pipeline: Pipeline::new(Told::default(), wanted, trace::limits(timeout), begin.sight),
            sinks: Sinks::new(printer, args.count.or(begin.count)).filtered(args.filter.filter()),
            is_counted: args.count.is_some(),
        })
    }

    /// Works on all entries, or until nobody wants more. Returns how it ended.
    fn until_end(&mut self, entries: &mut dyn Entries, is_live: bool) -> Result<End> {
        let mut time = KernelTime::default();
        while !(self.sinks.is_closed() || self.is_counted && self.sinks.is_done()) {
            match entries.next()? {
                Some(Entry::Event(event)) => {
                    time = time.max(event.time());
                    self.sinks.tell(self.pipeline.event(event))?;
                }
                Some(Entry::Time(now)) => {
                    time = time.max(now);
                    self.sinks.tell(self.pipeline.advance(now))?;
                }
                Some(Entry::Owner { cgroup, owner }) => {
                    self.pipeline.owners().tell(cgroup, &owner);
                }
                Some(Entry::Sight(sight)) => self.pipeline.see(sight),
                // Only the first entry is one.
                Some(Entry::Begin(_)) => {}
                Some(Entry::End(end)) => {
                    self.sinks.tell(self.pipeline.finish(end.time))?;
                    return Ok(*end);
                }
                None => break,
            }
            if is_live {
                self.sinks.flush()?;
            }
        }
        self.sinks.tell(self.pipeline.finish(time))?;
        Ok(End { time, ..End::default() })
    }

    fn summarize(&mut self, begin: KernelTime, end: &End) -> Result<()> {
        let losses = self.pipeline.add_losses(end.losses.clone());
        for note in &end.notes {
            eprintln!("dnstrace: {}", escape(note));
        }
        self.sinks.end(begin, end.time, &losses)
    }
}
