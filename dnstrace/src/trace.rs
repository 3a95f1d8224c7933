//! The live trace, from the command line to the summary: the edge where the rooms meet the outside.

mod begin;
mod ends;
mod finish;
mod hear;
mod losses;
mod names;
mod wishes;

use std::{
    collections::BTreeSet,
    io::{self, IsTerminal as _},
};

use anyhow::{Context as _, Result};
use dnstrace_ebpf::config::Config;
use jiff::tz::TimeZone;

use crate::{
    args::{Args, modes::Mode, settings, usage::UsageError},
    capture::{Capture, Request, hooks::Needs, preflight::Facts},
    cri, doh,
    event::{Event, KernelTime},
    identify::{Identifier, Roots, Teller, Version, Wanted},
    kernel_counters::Baseline,
    metrics::{Ask, Metrics, Snapshot},
    output::{EndReason, Nodes, Status, WallClock},
    printer::Printer,
    recording::{self, Node, Recorded},
    sinks::Sinks,
    source::{Batch, Begin, Live, live},
    tellers::Tellers,
    top::{Newest, Top},
};

use begin::{attached_hook, description, listing, missing_hook, sight, started};
use ends::Ends;
use names::Names;
use wishes::{Wish, Wishes};

/// The module of connection tracking.
const CONNTRACK: &str = "nf_conntrack";

/// Traces until a signal, `--duration` or `--count` ends it.
///
/// # Errors
/// What refuses the trace, with an error that [`crate::exit::Exit::of`] knows; or a failure on the way.
pub async fn run(args: &Args) -> Result<()> {
    args.given.check(&[Mode::Live])?;
    let config = settings::config(args)?;
    let facts = Facts::gather().context("cannot ask the kernel what it is")?;
    facts.check()?;
    let node = live::node_name();
    let mut identifier =
        Identifier::new(Roots::default()).context("cannot read the node's cgroups")?.on_node(node.clone());
    let mut tellers = Tellers::default();
    cri::start(args.cri_socket.as_ref(), &mut tellers)?;
    let names = Names::start(&args.kube, node.clone(), &mut tellers)?;
    let target = hear::resolve(&mut identifier, &settings::selection(args), &mut tellers).await?;
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
    let clock_offset = clock.offset_ns;
    let limits = settings::limits(args.protocol.timeout.map(settings::nanoseconds));
    let (proc, host) = (Roots::default().proc, identifier.host_netns());
    let sight = sight(&capture);
    let node = Node::here(node.as_deref());
    let how = Begin {
        time: begin,
        clock_offset_ns: clock.offset_ns,
        timeout: Some(limits.timeout),
        count: args.count,
        filter: args.filter.filter(),
        sight,
        host_netns: host,
        nodes: Default::default(),
        scopes: Default::default(),
        namespace: target.scope.namespace.clone(),
        selector: target.scope.selector.clone(),
        description: description(&node, &target, &args.protocol.ports),
    };
    let recorder = recording::start(&args.record, node, &args.protocol.ports, how)?;
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
        pipeline: Recorded::new(identifier, Wanted::of(target.scope), limits, sight, recorder),
        sinks,
        wishes: Wishes::new(metrics)?,
        tellers,
        failures_said: BTreeSet::new(),
        names,
        begin,
        clock_offset,
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
    tellers: Tellers,
    /// Of whom it was said that they cannot tell.
    failures_said: BTreeSet<Teller>,
    names: Names,
    begin: KernelTime,
    /// What the wall clock was ahead of the events' when last looked at.
    clock_offset: i64,
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
                (teller, news) = self.tellers.next() => self.hear(teller, news)?,
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
        self.look_at_clock()?;
        self.ask_tellers()?;
        self.learn_names()?;
        self.sinks.flush()?;
        self.show()
    }

    /// Says so if the wall clock has been set. Events bear the time of another clock, which is never set, and go on to be told as
    /// they were: else times would go back, and a recording would have two.
    fn look_at_clock(&mut self) -> Result<()> {
        let Some(by) = live::wall_clock_set(self.clock_offset) else { return Ok(()) };
        self.clock_offset = self.clock_offset.saturating_add(by);
        self.sinks.status(&Status::ClockSet { by_ns: by }, live::monotonic_now())
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
}
