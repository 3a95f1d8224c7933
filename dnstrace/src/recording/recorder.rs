//! Writes a recording while the trace runs. Should that fail, the trace goes on without, and it is counted what is missing.

use std::{fmt::Display, mem, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::{
    files::{Files, Rotation},
    format::{Head, Line, encode},
    packets::Packets,
    segment::Section,
};
use crate::{
    directory,
    event::{Event, KernelTime},
    identify::Owner,
    lookup::{Output, Sight},
    losses::Losses,
    output::{Nodes, escape},
    pipeline::Heard,
    stderr,
};

/// Bytes that are collected before they are written, at the most for so long.
const BUFFER: usize = 64 << 10;
const FLUSH: u64 = 1_000_000_000;
/// A message whose fate is not told so long after the time-out has none of its own: the further messages of a zone transfer.
const PATIENCE: u64 = 60_000_000_000;

/// What the pipeline was told for the first time.
#[derive(Debug, Default)]
pub struct News {
    /// Of cgroups.
    pub owners: Vec<(u64, Owner)>,
    /// Of addresses.
    pub names: Vec<directory::News>,
}

/// A recording under way.
#[derive(Debug)]
pub struct Recorder {
    files: Files,
    rotation: Rotation,
    /// Of the segment under work.
    head: Head,
    packets: Packets,
    /// Whole blocks that are not written yet, and the events in them.
    buffer: Vec<u8>,
    buffered: u64,
    /// The block of the event that the pipeline works on: what it asks about owners goes before it.
    event: Option<Vec<u8>>,
    /// Event time has come to here, by an event or without one.
    time: KernelTime,
    /// The pipeline was told that it has come to here.
    advanced: KernelTime,
    flushed: KernelTime,
    /// Events of the trace so far that are in its files.
    events: u64,
    /// Those that are not.
    unrecorded: u64,
    has_failed: bool,
}

impl Recorder {
    /// Begins a recording in this file, or with a rotation in numbered ones, of which `keep` are kept, or all.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn begin(path: &Path, rotation: Option<Rotation>, keep: Option<u32>, head: Head) -> Result<Self> {
        let files = Files::create(path, rotation.is_some(), keep)
            .with_context(|| format!("cannot write {}", escape(&path.display().to_string())))?;
        let begin = &head.begin;
        let section = Section::new(begin.host_netns, begin.clock_offset_ns);
        let (time, packets) = (begin.time, Packets::new(section, Nodes::one(begin.host_netns)));
        let mut recorder = Self {
            files,
            rotation: rotation.unwrap_or_default(),
            head,
            packets,
            buffer: Vec::with_capacity(BUFFER),
            buffered: 0,
            event: None,
            time,
            advanced: time,
            flushed: time,
            events: 0,
            unrecorded: 0,
            has_failed: false,
        };
        recorder.begin_segment()?;
        // A disk that is full already is an error; one that fills up later is none.
        recorder
            .files
            .write(&recorder.buffer)
            .with_context(|| format!("cannot write {}", recorder.name()))?;
        recorder.buffer.clear();
        Ok(recorder)
    }

    /// The pipeline is about to be fed this event.
    pub fn event(&mut self, event: &Event) {
        let time = event.time();
        // A replay does not know what the clock told when.
        if time < self.advanced {
            self.line(&Line::<&Event>::Time(self.advanced));
        }
        if self.has_failed {
            self.unrecorded += 1;
            return;
        }
        self.time = self.time.max(time);
        match encode(&Line::Event(event)) {
            Ok(block) => self.event = Some(block),
            Err(error) => {
                self.unrecorded += 1;
                self.fail(error);
            }
        }
    }

    /// What the pipeline made of it, or of time: what it was told for the first time, which messages it heard, what it said. Returns whether a new file has begun, in which nothing is told of owners yet.
    pub fn tell(&mut self, news: News, messages: Vec<Heard>, outputs: &[Output]) -> bool {
        if self.has_failed {
            return false;
        }
        for (cgroup, owner) in news.owners {
            self.line(&Line::<&Event>::Owner { cgroup, owner });
        }
        for (address, versions) in news.names {
            self.line(&Line::<&Event>::Names { address, versions });
        }
        if let Some(block) = self.event.take() {
            self.buffer.extend(block);
            self.buffered += 1;
        }
        if let Err(error) = self.add_packets(messages, outputs) {
            self.fail(error);
        }
        if self.buffer.len() >= BUFFER {
            self.flush();
        }
        self.is_full() && self.rotate()
    }

    /// The pipeline is told that event time has come to `now`.
    pub fn advance(&mut self, now: KernelTime) {
        self.advanced = self.advanced.max(now);
        self.time = self.time.max(now);
        if self.has_failed {
            return;
        }
        let patience = self.head.begin.timeout.unwrap_or(0).saturating_add(PATIENCE);
        let given_up = self.packets.give_up(KernelTime(now.0.saturating_sub(patience)), &mut self.buffer);
        if let Err(error) = given_up {
            self.fail(error);
        }
        if now.since(self.flushed) >= FLUSH {
            self.flush();
            self.flushed = now;
        }
    }

    /// What the trace can see has changed.
    pub fn see(&mut self, sight: Sight) {
        self.head.begin.sight = sight;
        self.line(&Line::<&Event>::Sight(sight));
    }

    /// Nothing more will be told. Returns how many events could not be recorded.
    pub fn finish(&mut self) -> u64 {
        if !self.has_failed {
            if let Err(error) = self.packets.give_up(KernelTime(u64::MAX), &mut self.buffer) {
                self.fail(error);
            }
            self.flush();
        }
        self.unrecorded
    }

    /// Writes the end, after [`Self::finish`], and says what was recorded.
    pub fn end(&mut self, time: KernelTime, losses: &Losses) {
        self.line(&Line::<&Event>::End { time, losses: losses.clone() });
        self.flush();
        let untold = match self.packets.untold {
            0 => String::new(),
            many => format!(", {many} of them without their fate"),
        };
        let (events, packets) = (self.events, self.packets.written);
        let name = self.name();
        stderr::say(format_args!("recorded {events} events and {packets} packets{untold} in {name}"));
    }

    fn add_packets(&mut self, messages: Vec<Heard>, outputs: &[Output]) -> Result<()> {
        self.packets.hear(messages, &mut self.buffer)?;
        for output in outputs {
            self.packets.tell(output, &mut self.buffer)?;
        }
        Ok(())
    }

    /// The first blocks of a file.
    fn begin_segment(&mut self) -> Result<()> {
        self.buffer.extend(self.packets.section.header()?);
        self.buffer.extend(encode(&Line::<&Event>::Begin(Box::new(self.head.clone())))?);
        Ok(())
    }

    fn is_full(&self) -> bool {
        let age = Duration::from_nanos(self.time.since(self.head.begin.time));
        let size = self.files.written() + self.buffer.len() as u64;
        self.rotation.bytes.is_some_and(|most| size >= most)
            || self.rotation.time.is_some_and(|most| age >= most)
    }

    /// Goes on in the next file. Returns whether it could.
    fn rotate(&mut self) -> bool {
        let events = self.events + self.buffered;
        self.line(&Line::<&Event>::GoesOn { events });
        self.flush();
        if self.has_failed {
            return false;
        }
        if let Err(error) = self.files.next() {
            self.fail(error);
            return false;
        }
        if let Err(error) = self.files.remove_oldest() {
            stderr::say(format_args!("cannot remove the oldest file of the recording: {error}"));
        }
        self.head.segment = self.files.number();
        self.head.events_before = events;
        self.head.begin.time = self.time;
        if let Err(error) = self.begin_segment() {
            self.fail(error);
        }
        !self.has_failed
    }

    /// Appends a block that is no event.
    fn line(&mut self, line: &Line<impl Serialize>) {
        if self.has_failed {
            return;
        }
        match encode(line) {
            Ok(block) => self.buffer.extend(block),
            Err(error) => self.fail(error),
        }
    }

    fn flush(&mut self) {
        if self.has_failed || self.buffer.is_empty() {
            return;
        }
        match self.files.write(&self.buffer) {
            Ok(()) => {
                self.events += mem::take(&mut self.buffered);
                self.buffer.clear();
            }
            Err(error) => self.fail(error),
        }
    }

    /// The trace goes on without.
    fn fail(&mut self, error: impl Display) {
        self.has_failed = true;
        self.unrecorded += mem::take(&mut self.buffered) + u64::from(self.event.take().is_some());
        self.buffer = Vec::new();
        let name = self.name();
        stderr::say(format_args!(
            "the recording ends here, the trace goes on: cannot write {name}: {error:#}"
        ));
    }

    fn name(&self) -> String {
        escape(&self.files.name().display().to_string()).into_owned()
    }
}

impl Drop for Recorder {
    /// A trace that ends by an error has recorded what led to it.
    fn drop(&mut self) {
        self.flush();
    }
}
