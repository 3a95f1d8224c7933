//! A capture as a source: its packets as entries.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{self, ErrorKind, Read},
    time::Duration,
};

use crate::{
    event::{Event, KernelTime},
    lookup::Sight,
    losses::Losses,
    source::{Begin, End, Entries, Entry, Unreadable, file::Input},
};

use super::{
    Watch,
    assembly::Assembly,
    container::{Block, CaptureError, Container},
    interface::LinkType,
    pipe::{Pipe, TICK},
};

/// Event time is told in steps of so many nanoseconds: what waits for it to pass is not asked at each packet.
const STEP: u64 = 10_000_000;

/// Where nothing comes through a pipe, time is taken to lag behind by so many nanoseconds: libpcap hands packets over within
/// a second.
const LAG: u64 = 500_000_000;

/// Reads a capture.
pub struct Capture {
    name: String,
    container: Container<Box<dyn Read>>,
    assembly: Assembly,
    ready: VecDeque<Entry>,
    has_begun: bool,
    is_over: bool,
    /// The time that was told last.
    told: KernelTime,
    /// How long nothing has come, in nanoseconds, and the newest packet before that.
    idle: u64,
    idle_since: KernelTime,
    /// Packets of links that are not known.
    unknown_links: BTreeMap<LinkType, u64>,
    notes: Vec<String>,
}

impl Capture {
    /// Reads the head of a capture; of its packets those that `watch` wants.
    ///
    /// # Errors
    /// If it is none, or none of a link that is known.
    pub fn open(input: Input, watch: Watch) -> Result<Self, Unreadable> {
        let Input { name, bytes, is_live, .. } = input;
        let bytes: io::Result<Box<dyn Read>> =
            if is_live { Pipe::new(bytes).map(|pipe| Box::new(pipe) as _) } else { Ok(bytes) };
        let container = bytes.map_err(CaptureError::Read).and_then(Container::open);
        let container = container.map_err(|error| unreadable(&name, &error))?;
        Ok(Self {
            name,
            container,
            assembly: Assembly::new(watch),
            ready: VecDeque::new(),
            has_begun: false,
            is_over: false,
            told: KernelTime::default(),
            idle: 0,
            idle_since: KernelTime::default(),
            unknown_links: BTreeMap::new(),
            notes: Vec::new(),
        })
    }

    /// Reads a block.
    fn step(&mut self) -> Result<(), Unreadable> {
        let mut events = Vec::new();
        match self.container.next() {
            Ok(Some(Block::Frame(frame))) => {
                begin(&mut self.has_begun, frame.time, &mut self.ready);
                (self.idle, self.idle_since) = (0, self.assembly.newest().max(frame.time));
                if frame.link.is_known() {
                    self.assembly.frame(&frame, &mut events);
                } else {
                    *self.unknown_links.entry(frame.link).or_default() += 1;
                }
            }
            Ok(Some(Block::Dropped { time, packets })) => {
                begin(&mut self.has_begun, time, &mut self.ready);
                self.assembly.dropped(time, packets, &mut events);
            }
            Ok(Some(Block::Unreadable)) => self.assembly.unreadable(),
            Ok(Some(Block::Other)) => {}
            Ok(None) => {
                if self.container.is_cut_off() {
                    let name = &self.name;
                    self.notes.push(format!(
                        "{name} ends within a packet: its writer was killed, or is still at work"
                    ));
                }
                self.end(&mut events);
            }
            Err(CaptureError::Read(error)) if error.kind() == ErrorKind::WouldBlock => {
                self.idle = self.idle.saturating_add(nanoseconds(TICK));
                let now = self.idle_since.plus(self.idle.saturating_sub(LAG));
                if self.has_begun {
                    self.assembly.idle(now, &mut events);
                }
            }
            // What was read until then is told all the same.
            Err(error @ CaptureError::Damaged { .. }) if self.has_begun => {
                self.notes.push(format!("{}: {error}; what follows was not read", self.name));
                self.end(&mut events);
            }
            Err(error) => return Err(unreadable(&self.name, &error)),
        }
        self.tell(events);
        Ok(())
    }

    fn tell(&mut self, events: Vec<Event>) {
        self.ready.extend(events.into_iter().map(Entry::Event));
        let until = self.assembly.until();
        if self.is_over {
            let end = self.ending();
            self.ready.push_back(Entry::End(Box::new(end)));
        } else if until.since(self.told) >= STEP {
            self.told = until;
            self.ready.push_back(Entry::Time(until));
        }
    }

    fn end(&mut self, events: &mut Vec<Event>) {
        begin(&mut self.has_begun, KernelTime::default(), &mut self.ready);
        self.assembly.finish(events);
        self.is_over = true;
    }

    fn ending(&mut self) -> End {
        let totals = self.assembly.totals();
        let mut notes = std::mem::take(&mut self.notes);
        for (link, packets) in &self.unknown_links {
            let error = CaptureError::Link(*link);
            notes.push(format!("{}: {packets} packets were not read: {error}", self.name));
        }
        if totals.copies > 0 {
            let packets =
                if totals.copies == 1 { "1 packet".to_owned() } else { format!("{} packets", totals.copies) };
            notes.push(format!("{packets} captured at a further interface, counted once"));
        }
        let losses = Losses {
            out_of_order: totals.out_of_order,
            packets_not_captured: totals.dropped,
            packets_unreadable: totals.unreadable,
            fragments_without_first: totals.fragments,
            streams_forgotten: totals.connections,
            ..Losses::default()
        };
        End { time: self.assembly.newest(), losses, notes }
    }
}

impl Entries for Capture {
    fn next(&mut self) -> Result<Option<Entry>, Unreadable> {
        loop {
            if let Some(entry) = self.ready.pop_front() {
                return Ok(Some(entry));
            }
            if self.is_over {
                return Ok(None);
            }
            self.step()?;
        }
    }
}

/// With the first packet, the capture begins.
fn begin(has_begun: &mut bool, time: KernelTime, ready: &mut VecDeque<Entry>) {
    if std::mem::replace(has_begun, true) {
        return;
    }
    ready.push_back(Entry::Begin(Box::new(Begin {
        time,
        clock_offset_ns: 0,
        timeout: None,
        count: None,
        filter: Default::default(),
        sight: Sight { clashes: false },
        host_netns: None,
        nodes: Default::default(),
        scopes: Default::default(),
        namespace: None,
        selector: None,
        description: "a capture of packets".to_owned(),
    })));
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn unreadable(name: &str, error: &CaptureError) -> Unreadable {
    Unreadable { name: name.to_owned(), why: error.to_string() }
}
