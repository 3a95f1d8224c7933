//! The live trace, from the command line to the summary: the edge where the rooms meet the outside.

use std::{io, time::Duration};

use anyhow::{Context as _, Result};
use dnstrace_ebpf::config::{Config, Hook, MAX_PORTS, target as bits};
use dnstrace_ebpf::wire::COMM_LEN;
use jiff::tz::TimeZone;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{self, Instant},
};

use crate::{
    args::Args,
    capture::{Capture, Missing, Request, hooks::Needs, preflight::Facts},
    doh,
    event::{Event, KernelTime},
    identify::{Identifier, Listing, Roots, Selection, Target, Version, Wanted},
    kernel_counters::Baseline,
    lookup::{Limits, Sight},
    losses::{HookLosses, Losses},
    output::{Nodes, WallClock},
    pipeline::Pipeline,
    printer::Printer,
    sinks::Sinks,
    source::{Batch, Live, live},
};

/// The module of connection tracking.
const CONNTRACK: &str = "nf_conntrack";
/// Ports of DNS over TLS (RFC 7858) and over HTTPS.
const TLS: u16 = 853;
const HTTPS: u16 = 443;

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
    #[error("--wait needs to know which pod: add --pod")]
    WaitWithoutPod,
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
    Facts::gather().context("cannot ask the kernel what it is")?.check()?;
    let mut identifier = Identifier::new(Roots::default())
        .context("cannot read the node's cgroups")?
        .on_node(live::node_name());
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
    let (capture, ring) = Capture::start(&request)?;
    say_attached(&capture, &target, &args.ports);

    let begin = live::monotonic_now();
    let clock = WallClock { offset_ns: live::wall_clock_offset(), zone: TimeZone::system() };
    let limits = limits(args.timeout.map(nanoseconds));
    let (proc, host) = (Roots::default().proc, identifier.host_netns());
    let sinks = Sinks::new(Printer::new(args.output, clock).on(Nodes::one(host)), args.count)
        .filtered(args.filter.filter());
    let sight = sight(&capture);
    let mut trace = Trace {
        baseline: Baseline::read(&proc, &capture.totals()?, host),
        live: Live::new(capture, ring),
        pipeline: Pipeline::new(identifier, Wanted::of_namespace(target.namespace), limits, sight),
        sinks,
    };
    let end = trace.until_end(&mut ends).await?;
    trace.summarize(begin, end)
}

/// A trace under way.
struct Trace {
    live: Live,
    pipeline: Pipeline<Identifier>,
    sinks: Sinks,
    baseline: Baseline,
}

impl Trace {
    /// Runs until something ends it. Returns the time of the end.
    async fn until_end(&mut self, ends: &mut Ends) -> Result<KernelTime> {
        self.sinks.begin()?;
        while !self.sinks.is_done() {
            tokio::select! {
                biased;
                () = ends.wait() => break,
                batch = self.live.next() => self.take(batch.context("cannot read the kernel's events")?)?,
            }
        }
        let last = self.live.finish();
        let end = last.until;
        for event in last.events {
            self.sinks.tell(self.pipeline.event(event))?;
        }
        self.sinks.tell(self.pipeline.finish(end))?;
        Ok(end)
    }

    fn take(&mut self, batch: Batch) -> Result<()> {
        for event in batch.events {
            if matches!(&event, Event::Module { name, .. } if name == CONNTRACK) {
                self.attach_conntrack();
            }
            self.sinks.tell(self.pipeline.event(event))?;
        }
        for cgroup in self.pipeline.owners().started(batch.until.0) {
            self.live.capture.add_cgroup(cgroup)?;
        }
        self.sinks.tell(self.pipeline.advance(batch.until))?;
        self.sinks.flush()?;
        Ok(())
    }

    /// Connection tracking has been loaded: sees it from now on.
    fn attach_conntrack(&mut self) {
        let attached = self.live.capture.attach_conntrack();
        self.pipeline.see(sight(&self.live.capture));
        eprintln!("dnstrace: {CONNTRACK} was loaded: {attached} hooks attached to it");
        for missing in
            self.live.capture.missing().iter().filter(|missing| missing.row.needs == Needs::ConntrackModule)
        {
            say_missing(missing);
        }
    }

    fn summarize(&mut self, begin: KernelTime, end: KernelTime) -> Result<()> {
        let losses = self.losses()?;
        self.sinks.end(begin, end, &losses)
    }

    /// What was lost, by hook in the kernel and by cause in userspace.
    fn losses(&mut self) -> Result<Losses> {
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
        let compared = self.baseline.compare(&Roots::default().proc, || self.live.capture.totals())?;
        let losses = Losses {
            hooks,
            undecoded_records,
            out_of_order,
            owners_forgotten: self.pipeline.owners().forgotten(),
            kernel_gaps: compared.gaps,
            namespaces_unchecked: compared.unchecked,
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

    async fn wait(&mut self) {
        let deadline = self.deadline;
        let at_deadline = async {
            match deadline {
                Some(deadline) => time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = at_deadline => {}
        }
    }
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

/// What a command line that parses may still not say of pods.
///
/// # Errors
/// If it does.
pub fn check_selection(args: &Args) -> Result<(), UsageError> {
    let has_pod = !args.pods.is_empty() || !args.target.is_empty();
    match () {
        () if args.container.is_some() && !has_pod => Err(UsageError::ContainerWithoutPod),
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

/// One line on what is attached, and one for each thing that cannot be seen.
fn say_attached(capture: &Capture, target: &Target, ports: &[u16]) {
    let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
    let hooks = crate::capture::hooks::TABLE.len();
    let attached = hooks - capture.missing().len();
    eprintln!(
        "dnstrace: tracing {} on port {}, {attached} of {hooks} hooks attached; Ctrl-C ends",
        target.description,
        ports.join(", ")
    );
    for missing in capture.missing() {
        say_missing(missing);
    }
}

fn say_missing(missing: &Missing) {
    eprintln!(
        "dnstrace: without {} you will not see {} ({})",
        missing.row.name(),
        missing.row.lost_without,
        missing.why
    );
}
