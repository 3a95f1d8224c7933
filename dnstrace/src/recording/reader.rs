//! Recordings as a source: the segments of one trace, one after another.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
};

use super::{
    blocks::{Blocks, Next},
    format::{Head, Line},
};
use crate::{
    event::{Event, KernelTime, Loss},
    losses::Losses,
    source::{
        End, Entries, Entry, Unreadable,
        file::{Input, Kind},
    },
};

/// What opens the next file. They are opened one at a time: there may be more of them than a process may hold open.
type Open = Box<dyn FnMut() -> Option<Result<Input, Unreadable>>>;

/// Reads the segments of a trace as if they were one file.
pub struct Reader {
    open: Open,
    blocks: Blocks,
    /// Of the segment that is read; none before the first.
    head: Option<Box<Head>>,
    /// Events of the trace up to here, as far as the files tell.
    events: u64,
    /// How far time has come.
    time: KernelTime,
    /// The segment before this one was not written to its end.
    is_cut: bool,
    notes: Vec<String>,
    ready: VecDeque<Entry>,
    is_over: bool,
}

/// How a file begins.
///
/// # Errors
/// If it cannot be read, or is none of a recording.
pub fn head(path: &Path) -> Result<Head, Unreadable> {
    let input = recorded(Input::open(path)?)?;
    let mut blocks = Blocks::new(input.name, input.bytes);
    match blocks.next()? {
        Next::Line(line) => match *line {
            Line::Begin(head) => Ok(*head),
            _ => Err(blocks.unreadable(NO_BEGINNING)),
        },
        Next::End | Next::Cut => Err(blocks.unreadable(NOTHING_TOLD)),
    }
}

const NO_BEGINNING: &str = "its beginning is missing";
const NOTHING_TOLD: &str = "it ends before it has told anything";

/// The files of each trace, in their order. Of several traces that which was named first comes first.
///
/// # Errors
/// As of [`head`].
pub fn by_trace(files: &[PathBuf]) -> Result<Vec<Vec<PathBuf>>, Unreadable> {
    let mut traces: Vec<(Head, Vec<(u32, PathBuf)>)> = Vec::new();
    for path in files {
        let head = head(path)?;
        let file = (head.segment, path.clone());
        let is_same = |known: &Head| (&known.node, known.trace_began) == (&head.node, head.trace_began);
        match traces.iter_mut().find(|(known, _)| is_same(known)) {
            Some((_, files)) => files.push(file),
            None => traces.push((head, vec![file])),
        }
    }
    let in_order = |mut files: Vec<(u32, PathBuf)>| {
        files.sort_by_key(|(segment, _)| *segment);
        files.into_iter().map(|(_, path)| path).collect()
    };
    Ok(traces.into_iter().map(|(_, files)| in_order(files)).collect())
}

/// The file, if it is one of a recording.
fn recorded(input: Input) -> Result<Input, Unreadable> {
    match input.kind {
        Kind::Recording => Ok(input),
        Kind::Pcap | Kind::Pcapng => {
            let why = "it is no recording of dnstrace, as another file is: give one at a time".to_owned();
            Err(Unreadable { name: input.name, why })
        }
    }
}

impl Reader {
    /// Reads the files of one trace, in their order; there must be one.
    ///
    /// # Errors
    /// If the first cannot be opened, or is none of a recording.
    pub fn open(files: Vec<PathBuf>) -> Result<Self, Unreadable> {
        let mut files = files.into_iter();
        let first = files.next().unwrap_or_default();
        let first = recorded(Input::open(&first)?)?;
        Ok(Self::new(first, Box::new(move || files.next().map(|path| Input::open(&path)))))
    }

    /// Reads `first`, and then what `open` opens.
    pub fn new(first: Input, open: Open) -> Self {
        Self {
            open,
            blocks: Blocks::new(first.name, first.bytes),
            head: None,
            events: 0,
            time: KernelTime::default(),
            is_cut: false,
            notes: Vec::new(),
            ready: VecDeque::new(),
            is_over: false,
        }
    }

    fn line(&mut self, line: Line) -> Result<(), Unreadable> {
        if self.head.is_none() && !matches!(line, Line::Begin(_)) {
            return Err(self.blocks.unreadable(NO_BEGINNING));
        }
        match line {
            Line::Begin(head) => self.begin(head)?,
            Line::Owner { cgroup, owner } => self.ready.push_back(Entry::Owner { cgroup, owner }),
            Line::Names { address, versions } => {
                self.ready.push_back(Entry::Names { node: None, address, versions });
            }
            Line::Event(event) => {
                if !event.is_sound() {
                    return Err(self.blocks.unreadable("an event of it holds more bytes than there were"));
                }
                self.events += 1;
                self.time = self.time.max(event.time());
                self.ready.push_back(Entry::Event(event));
            }
            Line::Time(time) => {
                self.time = self.time.max(time);
                self.ready.push_back(Entry::Time(time));
            }
            Line::Sight(sight) => self.ready.push_back(Entry::Sight(sight)),
            Line::GoesOn { events } => {
                self.events = events;
                let name = self.blocks.name().to_owned();
                if !self.next_file()? {
                    self.notes.push(format!(
                        "{name} goes on in another file: what was lost is told at the end of the last"
                    ));
                    self.end(self.time, Losses::default());
                }
            }
            Line::End { time, losses } => {
                if let Some(further) = (self.open)() {
                    let why =
                        "the trace before it has ended: give the files of one trace at a time".to_owned();
                    return Err(Unreadable { name: further?.name, why });
                }
                self.end(time, losses);
            }
        }
        Ok(())
    }

    /// A segment begins: the first one that was given, or one that must be of the same trace.
    fn begin(&mut self, head: Box<Head>) -> Result<(), Unreadable> {
        let Some(before) = &self.head else {
            if head.segment > 1 {
                let name = self.blocks.name();
                self.notes.push(format!(
                    "{name} is file {} of its trace: what came before is not here",
                    head.segment
                ));
            }
            self.time = head.begin.time;
            self.events = head.events_before;
            self.ready.push_back(Entry::Begin(Box::new(head.begin.clone())));
            self.head = Some(head);
            return Ok(());
        };
        if (&before.node, before.trace_began) != (&head.node, head.trace_began) {
            return Err(self
                .blocks
                .unreadable("it is of another trace: give the files of one trace at a time"));
        }
        if head.segment <= before.segment {
            return Err(self
                .blocks
                .unreadable("it is older than the one before it: give them in their order"));
        }
        // Of a segment that is not here, or that was not written to its end.
        let missing = head.events_before.saturating_sub(self.events);
        let time = head.begin.time.max(self.time);
        if missing > 0 || self.is_cut {
            let name = self.blocks.name();
            self.notes.push(format!("{missing} events before {name} are not here"));
            let loss = Loss { since: self.time, time, events: missing.max(1) };
            self.ready.push_back(Entry::Event(Event::Loss(loss)));
        }
        self.is_cut = false;
        self.events = head.events_before;
        self.time = time;
        // Hooks may have been attached meanwhile.
        self.ready.push_back(Entry::Sight(head.begin.sight));
        self.head = Some(head);
        Ok(())
    }

    /// The file ends in the middle of its trace.
    fn cut(&mut self, how: &str) -> Result<(), Unreadable> {
        if self.head.is_none() {
            return Err(self.blocks.unreadable(NOTHING_TOLD));
        }
        self.is_cut = true;
        let name = self.blocks.name();
        self.notes.push(format!(
            "{name} ends {how}: dnstrace was killed, the disk was full, or it is still at work"
        ));
        if !self.next_file()? {
            self.end(self.time, Losses::default());
        }
        Ok(())
    }

    /// Goes on with the next file. False if there is none.
    fn next_file(&mut self) -> Result<bool, Unreadable> {
        let Some(input) = (self.open)() else { return Ok(false) };
        let input = recorded(input?)?;
        self.blocks = Blocks::new(input.name, input.bytes);
        Ok(true)
    }

    fn end(&mut self, time: KernelTime, losses: Losses) {
        let notes = std::mem::take(&mut self.notes);
        self.ready.push_back(Entry::End(Box::new(End { time, losses, notes })));
        self.is_over = true;
    }
}

impl Entries for Reader {
    fn next(&mut self) -> Result<Option<Entry>, Unreadable> {
        loop {
            if let Some(entry) = self.ready.pop_front() {
                return Ok(Some(entry));
            }
            if self.is_over {
                return Ok(None);
            }
            match self.blocks.next()? {
                Next::Line(line) => self.line(*line)?,
                Next::End => self.cut("without its end")?,
                Next::Cut => self.cut("within a block")?,
            }
        }
    }
}
