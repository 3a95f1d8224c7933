//! The live trace, from the command line to the summary: the edge where the rooms meet the outside.

mod wishes;

use std::{
    io::{self, IsTerminal as _},
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use dnstrace_ebpf::config::{Config, Hook, MAX_PORTS, target as bits};
use dnstrace_ebpf::wire::COMM_LEN;
use jiff::tz::TimeZone;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{self, Instant},
};

use crate::{
    args::{Args, Format},
    capture::{Attached, Capture, Missing, Request, hooks::Needs, preflight::Facts},
    doh,
    event::{Event, KernelTime},
    identify::{Identifier, Listing, Roots, Selection, Target, Version, Wanted},
    kernel_counters::Baseline,
    lookup::{Limits, Sight},
    losses::{HookLosses, Losses},
    metrics::{Ask, Metrics, Snapshot},
    output::{AttachedHook, EndReason, MissingHook, Nodes, Started, Status, WallClock},
    printer::Printer,
    recording::{self, Node, Recorded},
    sinks::Sinks,
    source::{Batch, Begin, Live, live},
    top::{Newest, Top},
};

use wishes::{Wish, Wishes};

/// The module of connection tracking.
const CONNTRACK: &str = "nf_conntrack";
/// Ports of DNS over TLS (RFC 7858) and over HTTPS.
const TLS: u16 = 853;
const HTTPS: u16 = 443;
/// At the end of a trace: how long a reader may take nothing before it is taken to have stopped for good.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// A command line that parses and still makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    #[error("at most {MAX_PORTS} ports can be watched at a time, {0} were given")]
    TooManyPorts(usize),
    #[error("standard input cannot be read beside other files: write it to a file first")]
    StandardInputAmongFiles,
    #[error("port 0 does not exist")]
    PortZero,
    #[error("--container needs a pod: add --pod")]
    ContainerWithoutPod,
    #[error("--top needs a terminal: without one, -o json and --metrics tell programs what it shows")]
    NotATerminal,
    #[error("--wait needs to know which pod: add --pod")]
    WaitWithoutPod,
    #[error("--columns is for the table: leave out -o json, or -o wide, which has them all")]
    ColumnsWithoutTable,
    #[error("a capture of packets knows no pods and processes: leave out what selects them")]
    NoOwners,
    #[error("captures are read one at a time: give one file (mergecap makes one of several)")]
    SeveralCaptures,
}

/// Traces until a signal, `--duration` or `--count` ends it.
///
/// # Errors
/// What refuses the trace, with an error that [`crate::exit::Exit::of`] knows; or a failure on the way.
pub async fn run(args: &Args) -> Result<()> {
    let config = config(args)?;
    let facts = Facts::gather().context("cannot ask the kernel what it is")?;
    facts.check()?;
    let node = live::node_name();
    let mut identifier =
        Identifier::new(Roots::default()).context("cannot read the node's cgroups")?.on_node(node.clone());
    let target = identifier.resolve(&selection(args))?;
    let request = Request {
        config: Config { target: config.target | listing(&target), ..config },
        cgroup_v1: identifier.hierarchy().version == Version::V1,
        cgroups: target.cgroups.iter().copied().collect(),
        netns: target.netns.iter().copied().collect(),
        ring_bytes: args.ring,
        verbose: args.verbose,
        attach: args.attach,
        doh_resolvers: if args.doh { doh::RESOLVERS.to_vec() } else { Vec::new() },
    };
    let mut ends = Ends::new(args)?;
    if args.counts.top && !io::stdout().is_terminal() {
        return Err(UsageError::NotATerminal.into());
    }
    let metrics = args.counts.metrics.map(Metrics::serve).transpose()?;
    let (capture, ring) = Capture::start(&request)?;
    let started = started(args, &facts, node.as_deref(), &target, &capture);

    let begin = live::monotonic_now();
    let clock = WallClock { offset_ns: live::wall_clock_offset(), zone: TimeZone::system() };
    let limits = limits(args.timeout.map(nanoseconds));
    let (proc, host) = (Roots::default().proc, identifier.host_netns());
    let sight = sight(&capture);
    let node = Node::here(node.as_deref());
    let how = Begin {
        time: begin,
        clock_offset_ns: clock.offset_ns,
        timeout: Some(limits.timeout),
        count: args.count,
        sight,
        host_netns: host,
        nodes: Default::default(),
        namespaces: Default::default(),
        namespace: target.namespace.clone(),
        knows_owners: true,
        description: format!(
            "a recording of {}, {} on port {}",
            node.name,
            target.description,
            args.ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
        ),
    };
    let recorder = recording::start(&args.record, node, &args.ports, how)?;
    let printer = Printer::live(args.output, clock.clone(), args.backlog)?
        .view(&args.view)
        .on(Nodes::one(host))
        .quiet(args.quiet);
    let sinks = Sinks::new(printer, args.count)
        .filtered(args.filter.filter())
        .with_pods(args.counts.metrics_pods)
        .showing(args.counts.top.then(|| Newest::new(clock)));
    let mut trace = Trace {
        baseline: Baseline::read(&proc, &capture.totals()?, host),
        live: Live::new(capture, ring),
        pipeline: Recorded::new(identifier, Wanted::of_namespace(target.namespace), limits, sight, recorder),
        sinks,
        wishes: Wishes::new(metrics)?,
        begin,
    };
    trace.sinks.status(&started, begin)?;
    if args.counts.top {
        trace.wishes.top = Some(Top::start(begin)?);
    }
    let (end, reason) = trace.until_end(&mut ends).await?;
    // Gives the terminal back.
    trace.wishes.top = None;
    trace.sinks.status(&Status::Ended { reason }, end)?;
    trace.summarize(end, &mut ends).await
}

/// A trace under way.
struct Trace {
    live: Live,
    pipeline: Recorded<Identifier>,
    sinks: Sinks,
    baseline: Baseline,
    wishes: Wishes,
    begin: KernelTime,
}

impl Trace {
    /// Runs until something ends it. Returns the time of the end, and what that was.
    async fn until_end(&mut self, ends: &mut Ends) -> Result<(KernelTime, EndReason)> {
        self.sinks.begin()?;
        let mut reason = None;
        while !self.sinks.is_done() {
            tokio::select! {
                biased;
                ended = ends.wait() => {
                    reason = Some(ended);
                    break;
                }
                wish = self.wishes.next() => match wish {
                    Wish::Summary => self.tell_so_far()?,
                    Wish::Counts(ask) => self.answer(ask)?,
                    Wish::End => {
                        reason = Some(EndReason::Interrupted);
                        break;
                    }
                },
                batch = self.live.next() => self.take(batch.context("cannot read the kernel's events")?)?,
            }
        }
        let last = self.live.finish();
        let end = last.until;
        for event in last.events {
            self.sinks.tell(self.pipeline.event(event))?;
        }
        self.sinks.tell(self.pipeline.finish(end))?;
        let done = if self.sinks.printer().is_closed() { EndReason::StdoutClosed } else { EndReason::Count };
        Ok((end, reason.unwrap_or(done)))
    }

    fn take(&mut self, batch: Batch) -> Result<()> {
        for event in batch.events {
            if matches!(&event, Event::Module { name, .. } if name == CONNTRACK) {
                self.attach_conntrack(event.time())?;
            }
            self.sinks.tell(self.pipeline.event(event))?;
        }
        for cgroup in self.pipeline.owners().started(batch.until.0) {
            self.live.capture.add_cgroup(cgroup)?;
        }
        self.sinks.tell(self.pipeline.advance(batch.until))?;
        self.sinks.flush()?;
        self.show()
    }

    /// Connection tracking has been loaded: sees it from now on.
    fn attach_conntrack(&mut self, time: KernelTime) -> Result<()> {
        let capture = &mut self.live.capture;
        let before: Vec<_> = capture.attached().iter().map(|attached| attached.row.hook).collect();
        capture.attach_conntrack();
        let new = capture.attached().iter().filter(|attached| !before.contains(&attached.row.hook));
        let still = capture.missing().iter().filter(|missing| missing.row.needs == Needs::ConntrackModule);
        let status = Status::ModuleLoaded {
            module: CONNTRACK.to_owned(),
            attached: new.map(attached_hook).collect(),
            missing: still.map(missing_hook).collect(),
        };
        self.pipeline.see(sight(capture));
        self.sinks.status(&status, time)
    }

    fn tell_so_far(&mut self) -> Result<()> {
        let losses = self.losses()?;
        self.sinks.so_far(self.begin, live::monotonic_now(), &losses)
    }

    fn answer(&mut self, ask: Ask) -> Result<()> {
        let losses = self.own_losses()?;
        // Whoever asked may have gone.
        _ = ask.send(Snapshot { statistics: self.sinks.statistics().clone(), losses });
        Ok(())
    }

    /// Shows in the terminal how it goes, if that is wanted and due.
    fn show(&mut self) -> Result<()> {
        let now = live::monotonic_now();
        if self.wishes.top.as_ref().is_some_and(|top| top.is_due(now)) {
            let losses = self.own_losses()?;
            if let (Some(top), Some(newest)) = (&mut self.wishes.top, self.sinks.newest()) {
                top.show(self.sinks.statistics(), losses, newest, now);
            }
        }
        Ok(())
    }

    /// Tells what was counted, once what was printed before has been read, or will not be.
    async fn summarize(&mut self, end: KernelTime, ends: &mut Ends) -> Result<()> {
        let begin = self.begin;
        let mut losses = self.losses()?;
        self.pipeline.end(end, &losses);
        self.sinks.last_line(begin, end, &losses)?;
        self.hand_over(ends).await;
        self.sinks.flush()?;
        let (unread, _) = self.sinks.printer().progress();
        losses.lines_not_written += unread;
        let text = self.sinks.text(begin, end, &losses);
        if unread == 0 {
            eprint!("{text}")
        } else {
            say_or_leave(text)
        }
        Ok(())
    }

    /// Waits until all is read, as long as somebody reads; or until a second signal.
    async fn hand_over(&mut self, ends: &mut Ends) {
        let printer = self.sinks.printer();
        let (mut before, mut since) = (0, Instant::now());
        loop {
            let (unread, written) = printer.progress();
            if written > before {
                (before, since) = (written, Instant::now());
            }
            if unread == 0 || since.elapsed() >= PATIENCE {
                return;
            }
            tokio::select! {
                _ = ends.signal() => return,
                () = time::sleep(LOOK) => {}
            }
        }
    }

    /// What was lost, with what the kernel's own counters say of it.
    fn losses(&mut self) -> Result<Losses> {
        let losses = self.own_losses()?;
        let compared = self.baseline.compare(&Roots::default().proc, || self.live.capture.totals())?;
        Ok(Losses { kernel_gaps: compared.gaps, namespaces_unchecked: compared.unchecked, ..losses })
    }

    /// What was lost, by hook in the kernel and by cause in userspace.
    fn own_losses(&mut self) -> Result<Losses> {
        let rows = crate::capture::hooks::TABLE;
        let hooks = rows
            .iter()
            .zip(self.live.capture.counters()?)
            .zip(self.live.capture.skipped())
            .filter(|((_, counters), skipped)| counters.ring_full + counters.unreadable + skipped > 0)
            .map(|((row, counters), skipped)| HookLosses {
                hook: row.name().into(),
                ring_full: counters.ring_full,
                unreadable: counters.unreadable,
                skipped,
            })
            .collect();
        let (out_of_order, undecoded_records) = self.live.faults();
        let losses = Losses {
            hooks,
            undecoded_records,
            out_of_order,
            owners_forgotten: self.pipeline.owners().forgotten(),
            lines_not_written: self.sinks.printer().not_written(),
            ..Losses::default()
        };
        Ok(self.pipeline.add_losses(losses))
    }
}

/// What ends a trace from outside.
struct Ends {
    interrupt: Signal,
    terminate: Signal,
    deadline: Option<Instant>,
}

impl Ends {
    fn new(args: &Args) -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            deadline: args.duration.map(|duration| Instant::now() + duration),
        })
    }

    async fn wait(&mut self) -> EndReason {
        let deadline = self.deadline;
        let at_deadline = async {
            match deadline {
                Some(deadline) => time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            reason = self.signal() => reason,
            () = at_deadline => EndReason::Duration,
        }
    }

    async fn signal(&mut self) -> EndReason {
        tokio::select! {
            _ = self.interrupt.recv() => EndReason::Interrupted,
            _ = self.terminate.recv() => EndReason::Terminated,
        }
    }
}

/// Says it on stderr. Whoever left stdout unread may read stderr, too: then not for ever.
fn say_or_leave(text: String) {
    let (done, said) = mpsc::channel();
    thread::spawn(move || {
        eprint!("{text}");
        // Nobody waits any more: then nobody is told.
        _ = done.send(());
    });
    _ = said.recv_timeout(PATIENCE);
}

/// The programs' settings, as far as the command line alone decides them.
fn config(args: &Args) -> Result<Config, UsageError> {
    let mut config = Config::EVERYTHING;
    if args.ports.len() > MAX_PORTS {
        return Err(UsageError::TooManyPorts(args.ports.len()));
    }
    if args.ports.contains(&0) {
        return Err(UsageError::PortZero);
    }
    check_selection(args)?;
    for (place, port) in config.ports.iter_mut().zip(&args.ports) {
        *place = *port;
    }
    // A port that is said to speak plain DNS is taken at the user's word.
    let encrypted = [(TLS, true), (HTTPS, args.doh)];
    for (place, (port, wanted)) in config.encrypted_ports.iter_mut().zip(encrypted) {
        *place = if wanted && !args.ports.contains(&port) { port } else { 0 };
    }
    if let Some(pid) = args.pid {
        config.target |= bits::PROCESS;
        config.pid = pid;
    }
    if let Some(comm) = &args.comm {
        config.target |= bits::COMM;
        for (place, byte) in config.comm.iter_mut().take(COMM_LEN - 1).zip(comm.bytes()) {
            *place = byte;
        }
    }
    Ok(config)
}

/// What a command line that parses may still not say, wherever events come from.
///
/// # Errors
/// If it does.
pub fn check_selection(args: &Args) -> Result<(), UsageError> {
    let has_pod = !args.pods.is_empty() || !args.target.is_empty();
    match () {
        () if args.container.is_some() && !has_pod => Err(UsageError::ContainerWithoutPod),
        () if !args.view.columns.is_empty() && args.output != Format::Table => {
            Err(UsageError::ColumnsWithoutTable)
        }
        () if args.wait && !has_pod => Err(UsageError::WaitWithoutPod),
        () => Ok(()),
    }
}

/// The tracker's limits, with this time-out in nanoseconds or its own.
pub fn limits(timeout: Option<u64>) -> Limits {
    let limits = Limits::default();
    Limits { timeout: timeout.unwrap_or(limits.timeout), ..limits }
}

/// A duration in nanoseconds.
pub fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Which pods the command line names.
pub fn selection(args: &Args) -> Selection {
    Selection {
        namespace: args.namespace.clone(),
        pods: args.target.iter().chain(&args.pods).cloned().collect(),
        container: args.container.clone(),
        wait: args.wait,
        all: args.all_namespaces,
        host: args.host,
    }
}

/// What the attached hooks can tell.
fn sight(capture: &Capture) -> Sight {
    let sees = |hook| capture.attached().iter().any(|attached| attached.row.hook == hook);
    Sight { clashes: sees(Hook::Confirm) && sees(Hook::ResolveClash) }
}

/// How the programs are to read the lists of cgroups and namespaces.
fn listing(target: &Target) -> u32 {
    match target.listing {
        Listing::Everything => 0,
        Listing::Only => bits::LISTED,
        Listing::AllBut => bits::UNLISTED,
    }
}

/// What is traced, where and by what.
fn started(args: &Args, facts: &Facts, node: Option<&str>, target: &Target, capture: &Capture) -> Status {
    Status::Started(Box::new(Started {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        node: node.map(str::to_owned),
        kernel: facts.release.clone(),
        target: target.description.clone(),
        ports: args.ports.clone(),
        timeout_ns: limits(args.timeout.map(nanoseconds)).timeout,
        attached: capture.attached().iter().map(attached_hook).collect(),
        missing: capture.missing().iter().map(missing_hook).collect(),
    }))
}

fn attached_hook(attached: &Attached) -> AttachedHook {
    AttachedHook { hook: attached.row.name(), target: attached.target, way: attached.way.name() }
}

fn missing_hook(missing: &Missing) -> MissingHook {
    MissingHook { hook: missing.row.name(), lost_without: missing.row.lost_without, why: missing.why.clone() }
}
