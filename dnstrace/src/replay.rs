//! A trace told from a file: the edge that has a file where [`crate::trace`] has the kernel. No root, no clock, no waiting.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use jiff::tz::TimeZone;

use crate::{
    args::{
        Args, Format, Given, ListFormat, ProtocolArgs, ReadArgs, SummaryArgs,
        modes::Mode,
        settings,
        usage::{self, UsageError},
    },
    event::KernelTime,
    identify::{Selection, TargetError, Wanted},
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
    stderr, stdout,
};

/// What is read, and of whom it is to tell.
struct Request<'a> {
    read: &'a ReadArgs,
    protocol: &'a ProtocolArgs,
    selection: Selection,
    pid: Option<u32>,
    comm: Option<String>,
    given: &'a Given,
}

/// Files whose beginning has been read.
struct Replay {
    entries: Box<dyn Entries>,
    begin: Begin,
    pipeline: Pipeline<Told>,
    /// Whether pods are selected by their labels.
    has_selector: bool,
    /// They may be written while they are read.
    is_live: bool,
}

/// Tells what the files say, from their beginning to the summary.
///
/// # Errors
/// If they cannot be read ([`Unreadable`]), the command line makes no sense with them, or stdout cannot be written.
pub fn run(args: &Args) -> Result<()> {
    usage::check(args)?;
    let mut replay = Replay::open(Request {
        read: &args.read,
        protocol: &args.protocol,
        selection: settings::selection(args),
        pid: args.selection.pid,
        comm: args.selection.comm.clone(),
        given: &args.given,
    })?;
    let printer = replay.printer(args.output)?.view(&args.view).quiet(args.quiet);
    let sinks = Sinks::new(printer, args.count).with_pods(args.counts.metrics_pods);
    let mut sinks = replay.sinks(sinks.filtered(args.filter.filter()));
    sinks.begin()?;
    let end = replay.play(&mut sinks)?;
    sinks.end(replay.begin.time, end.time, &end.losses)
}

/// Tells what the files come to, on stdout: as text, or as the line that JSON ends with.
///
/// # Errors
/// As of [`run`].
pub fn summarize(args: &SummaryArgs) -> Result<()> {
    usage::check_selection(&args.selection, &[])?;
    let mut replay = Replay::open(Request {
        read: &args.read,
        protocol: &args.protocol,
        selection: args.selection.selection(),
        pid: args.selection.pid,
        comm: args.selection.comm.clone(),
        given: &args.given,
    })?;
    let printer = replay.printer(Format::Json)?.quiet(true);
    let mut sinks = replay.sinks(Sinks::new(printer, None).filtered(args.filter.filter()));
    let end = replay.play(&mut sinks)?;
    let begin = replay.begin.time;
    match args.output {
        ListFormat::Table => stdout::say_all(&sinks.text(begin, end.time, &end.losses)),
        ListFormat::Json => {
            sinks.last_line(begin, end.time, &end.losses)?;
            sinks.drain()
        }
    }
}

impl Replay {
    /// Opens the files, and says on stderr what they are.
    fn open(request: Request<'_>) -> Result<Self> {
        request.given.check(&Mode::OF_FILES)?;
        let files = &request.read.files;
        let input = Input::open(files.first().context("no file to read")?)?;
        request.given.check(&[input.kind.into()])?;
        let (name, is_live) = (input.name.clone(), input.is_live);
        let mut entries = open(input, files, &request.protocol.ports)?;
        let Some(Entry::Begin(begin)) = entries.next()? else {
            return Err(Unreadable { name, why: "it does not begin with a beginning".to_owned() }.into());
        };
        stderr::say(format_args!("reading {}: {}", escape(&name), escape(&begin.description)));
        let has_selector = request.selection.selector.is_some();
        let pipeline = pipeline(request, &begin);
        Ok(Self { entries, begin: *begin, pipeline, has_selector, is_live })
    }

    fn printer(&self, format: Format) -> Result<Printer> {
        let clock = WallClock { offset_ns: self.begin.clock_offset_ns, zone: TimeZone::system() };
        let nodes = Nodes::of(self.begin.host_netns, &self.begin.nodes);
        Ok(Printer::new(format, clock)?.on(nodes))
    }

    /// Which hear no more than was told live.
    fn sinks(&self, sinks: Sinks) -> Sinks {
        sinks.up_to(self.begin.count, self.begin.filter.clone())
    }

    /// Plays all into the sinks, but for the end of it. Returns that, when its notes have been said.
    fn play(&mut self, sinks: &mut Sinks) -> Result<End> {
        let is_live = self.is_live;
        let end = play(self.entries.as_mut(), &mut self.pipeline, &mut |outputs| {
            sinks.tell(outputs)?;
            if is_live {
                sinks.flush()?;
            }
            // Where the trace itself ended by --count it is read on: at its end it says what was lost.
            Ok(!(sinks.is_closed() || is_cut_short(sinks)))
        })?;
        if self.has_selector && !self.pipeline.owners().has_labels() {
            let why = "no pod of the recording has any, as nobody told them when it was made: leave out -l";
            return Err(TargetError::NoLabels(Some(why.to_owned())).into());
        }
        for note in &end.notes {
            stderr::say(escape(note));
        }
        if is_cut_short(sinks) {
            stderr::say("read no further than --count asks: what was lost is told at the end of the file");
        }
        Ok(end)
    }
}

/// Whether less is wanted than was told live.
fn is_cut_short(sinks: &Sinks) -> bool {
    sinks.has_reached_count() && !sinks.is_at_end()
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

/// The pipeline as the file wants it, for whom the command line selects.
fn pipeline(request: Request<'_>, begin: &Begin) -> Pipeline<Told> {
    let timeout = request.protocol.timeout.map(settings::nanoseconds).or(begin.timeout);
    let wanted = Wanted::of(begin.scope()).on_nodes(begin.scopes.clone()).and(
        request.selection,
        request.pid,
        request.comm,
    );
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
            Some(Entry::Names { node, address, versions }) => {
                pipeline.book().replace(node, address, versions);
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
