//! A trace told from a file: the edge that has a file where [`crate::trace`] has the kernel. No root, no clock, no waiting.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use jiff::tz::TimeZone;

use crate::{
    args::{
        Args, settings,
        usage::{self, UsageError},
    },
    event::KernelTime,
    identify::{TargetError, Wanted},
    lookup::Output,
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
};

/// Tells what the files say, from their beginning to the summary.
///
/// # Errors
/// If they cannot be read ([`Unreadable`]), the command line makes no sense with them, or stdout cannot be written.
pub fn run(args: &Args) -> Result<()> {
    usage::check(args)?;
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
    let mut pipeline = pipeline(args, &begin);
    let clock = WallClock { offset_ns: begin.clock_offset_ns, zone: TimeZone::system() };
    let printer = Printer::new(args.output, clock)?
        .view(&args.view)
        .on(Nodes::of(begin.host_netns, &begin.nodes))
        .quiet(args.quiet);
    let mut sinks = Sinks::new(printer, args.count.or(begin.count)).filtered(args.filter.filter());
    sinks.begin()?;
    let end = play(entries.as_mut(), &mut pipeline, &mut |outputs| {
        sinks.tell(outputs)?;
        if is_live {
            sinks.flush()?;
        }
        // A recording that was made with --count is read to its end all the same: there it says what was lost.
        Ok(!(sinks.is_closed() || args.count.is_some() && sinks.is_done()))
    })?;
    if args.selector.is_some() && !pipeline.owners().has_labels() {
        let why = "no pod of the recording has any, as nobody told them when it was made: leave out -l";
        return Err(TargetError::NoLabels(Some(why.to_owned())).into());
    }
    for note in &end.notes {
        eprintln!("dnstrace: {}", escape(note));
    }
    sinks.end(begin.time, end.time, &end.losses)
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
    let named = !args.pods.is_empty() || !args.target.is_empty();
    named
        || args.namespace.is_some()
        || args.selector.is_some()
        || args.container.is_some()
        || args.all_namespaces
        || args.host
        || args.pid.is_some()
        || args.comm.is_some()
}

/// The pipeline as the file wants it, for whom the command line selects.
fn pipeline(args: &Args, begin: &Begin) -> Pipeline<Told> {
    let timeout = args.timeout.map(settings::nanoseconds).or(begin.timeout);
    let selection = settings::selection(args);
    let wanted =
        Wanted::of(begin.scope()).on_nodes(begin.scopes.clone()).and(selection, args.pid, args.comm.clone());
    Pipeline::new(Told::default(), wanted, settings::limits(timeout), begin.sight)
}

/// Plays all entries behind the first into the pipeline; `tell` hears what comes out, and says whether more is wanted. Returns
/// how it ended, with all losses.
///
/// # Errors
/// If the entries cannot be read, or `tell` fails.
pub fn play(
    entries: &mut dyn Entries,
    pipeline: &mut Pipeline<Told>,
    tell: &mut dyn FnMut(Vec<Output>) -> Result<bool>,
) -> Result<End> {
    let mut time = KernelTime::default();
    let mut end = loop {
        let outputs = match entries.next()? {
            Some(Entry::Event(event)) => {
                time = time.max(event.time());
                pipeline.event(event)
            }
            Some(Entry::Time(now)) => {
                time = time.max(now);
                pipeline.advance(now)
            }
            Some(Entry::Owner { cgroup, owner }) => {
                pipeline.owners().tell(cgroup, &owner);
                continue;
            }
            Some(Entry::Sight(sight)) => {
                pipeline.see(sight);
                continue;
            }
            // Only the first entry is one.
            Some(Entry::Begin(_)) => continue,
            Some(Entry::End(end)) => break *end,
            None => break End { time, ..End::default() },
        };
        if !tell(outputs)? {
            break End { time, ..End::default() };
        }
    };
    tell(pipeline.finish(end.time))?;
    end.losses = pipeline.add_losses(end.losses);
    Ok(end)
}
