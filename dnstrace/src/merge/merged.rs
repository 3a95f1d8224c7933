//! The recordings side by side, in the order of their time.

use std::{collections::BTreeMap, path::PathBuf};

use super::{
    clock::{Correction, Point, corrections},
    exchange::Exchanges,
    translate::{Namespaces, Node},
};
use crate::{
    event::KernelTime,
    filter::Filter,
    identify::Owner,
    lookup::Sight,
    losses::Losses,
    recording::{self, Head, Reader},
    source::{Begin, End, Entries, Entry, Unreadable},
};

/// Nodes at a time: as many as their numbers have room for.
const MOST_NODES: usize = 256;

/// Several traces as one.
pub struct Merged {
    /// What is told before all else.
    begin: Option<Box<Begin>>,
    traces: Vec<Trace>,
    namespaces: Namespaces,
    time: KernelTime,
    losses: Losses,
    notes: Vec<String>,
    is_over: bool,
}

/// One of them.
struct Trace {
    node: Node,
    name: String,
    reader: Reader,
    /// Its next entry that has a time, and that.
    next: Option<(KernelTime, Entry)>,
    sight: Sight,
    is_over: bool,
}

impl Merged {
    /// Opens traces, each by its files in their order. They are read twice: for what their clocks are apart, and for what they
    /// say.
    ///
    /// # Errors
    /// If a file cannot be read, or is none of a recording.
    pub fn open(traces: Vec<Vec<PathBuf>>) -> Result<Self, Unreadable> {
        let mut heads = Vec::new();
        for files in &traces {
            if let Some(first) = files.first() {
                heads.push(recording::head(first)?);
            }
        }
        let nodes = numbers(&heads);
        if let (Some(_), Some(files)) = (nodes.get(MOST_NODES), traces.last()) {
            let name = files.first().map(|path| path.display().to_string()).unwrap_or_default();
            return Err(Unreadable { name, why: format!("more than {MOST_NODES} nodes at a time") });
        }
        let apart = corrections(&exchanges(&traces, &heads, &nodes)?);
        let mut merged = Self {
            begin: None,
            traces: Vec::new(),
            namespaces: Namespaces::default(),
            time: KernelTime::default(),
            losses: Losses::default(),
            notes: clock_notes(&nodes, &apart),
            is_over: false,
        };
        let base = heads.first().map_or(0, |head| head.begin.clock_offset_ns);
        for (files, head) in traces.into_iter().zip(&heads) {
            let number = nodes.iter().position(|node| *node == head.node).unwrap_or(0);
            let clock = apart.get(number).cloned().flatten().filter(|known| !known.is_none());
            merged.traces.push(Trace {
                node: Node {
                    number: u8::try_from(number).unwrap_or(0),
                    epoch: head.begin.clock_offset_ns,
                    base,
                    clock,
                },
                name: head.node.name.clone(),
                reader: Reader::open(files)?,
                next: None,
                sight: head.begin.sight,
                is_over: false,
            });
        }
        merged.begin = merged.beginning(&heads).map(Box::new);
        Ok(merged)
    }

    /// How the whole was made.
    fn beginning(&mut self, heads: &[Head]) -> Option<Begin> {
        let first = heads.first()?;
        let mut nodes = BTreeMap::new();
        let mut time = first.begin.time;
        for (trace, head) in self.traces.iter().zip(heads) {
            if let Some(netns) = head.begin.host_netns {
                nodes.insert(self.namespaces.name(trace.node.number, netns), trace.name.clone());
            }
            time = time.min(trace.node.time(head.begin.time));
        }
        let scopes = heads.iter().map(|head| (head.node.name.clone(), head.begin.scope()));
        let descriptions: Vec<_> = heads.iter().map(|head| head.begin.description.as_str()).collect();
        Some(Begin {
            time,
            timeout: heads.iter().filter_map(|head| head.begin.timeout).max(),
            count: None,
            filter: Filter::default(),
            sight: self.sight(),
            nodes,
            namespace: None,
            selector: None,
            scopes: scopes.collect(),
            description: descriptions.join("; "),
            ..first.begin.clone()
        })
    }

    /// What all of them could see.
    fn sight(&self) -> Sight {
        Sight { clashes: self.traces.iter().all(|trace| trace.sight.clashes) }
    }

    /// Reads on in each trace until its next entry with a time is known. Returns one without, should it come by.
    fn read_on(&mut self) -> Result<Option<Entry>, Unreadable> {
        for index in 0..self.traces.len() {
            let Some(trace) = self.traces.get_mut(index) else { break };
            while !trace.is_over && trace.next.is_none() {
                let node = &trace.node;
                match trace.reader.next()? {
                    // Only the first entry is one; it has been told.
                    Some(Entry::Begin(_)) => {}
                    Some(Entry::Owner { cgroup, owner }) => {
                        let node_name = owner.node.clone().or_else(|| Some(trace.name.as_str().into()));
                        let owner = Owner { node: node_name, ..owner };
                        return Ok(Some(Entry::Owner { cgroup: node.number(cgroup), owner }));
                    }
                    Some(Entry::Names { address, mut versions, .. }) => {
                        for version in &mut versions {
                            version.since = node.time(version.since);
                        }
                        return Ok(Some(Entry::Names {
                            node: Some(trace.name.as_str().into()),
                            address,
                            versions,
                        }));
                    }
                    Some(Entry::Event(mut event)) => {
                        node.event(&mut event, &mut self.namespaces);
                        trace.next = Some((event.time(), Entry::Event(event)));
                    }
                    Some(Entry::Time(time)) => {
                        let time = node.time(time);
                        trace.next = Some((time, Entry::Time(time)));
                    }
                    Some(Entry::Sight(sight)) => {
                        trace.sight = sight;
                        return Ok(Some(Entry::Sight(self.sight())));
                    }
                    Some(Entry::End(end)) => {
                        trace.is_over = true;
                        let End { time, losses, notes } = *end;
                        self.time = self.time.max(node.time(time));
                        self.losses.add(losses, |netns| self.namespaces.name(node.number, netns));
                        self.notes.extend(notes);
                    }
                    None => trace.is_over = true,
                }
            }
        }
        Ok(None)
    }

    /// The earliest of the traces' next entries.
    fn earliest(&mut self) -> Option<Entry> {
        let time_of = |trace: &Trace| trace.next.as_ref().map(|(time, _)| *time);
        let waiting = self.traces.iter_mut().filter(|trace| trace.next.is_some());
        let (time, entry) = waiting.min_by_key(|trace| time_of(trace))?.next.take()?;
        self.time = self.time.max(time);
        Some(entry)
    }
}

impl Entries for Merged {
    fn next(&mut self) -> Result<Option<Entry>, Unreadable> {
        if let Some(begin) = self.begin.take() {
            return Ok(Some(Entry::Begin(begin)));
        }
        if self.is_over {
            return Ok(None);
        }
        if let Some(entry) = self.read_on()? {
            return Ok(Some(entry));
        }
        Ok(Some(self.earliest().unwrap_or_else(|| {
            self.is_over = true;
            let (losses, notes) = (std::mem::take(&mut self.losses), std::mem::take(&mut self.notes));
            Entry::End(Box::new(End { time: self.time, losses, notes }))
        })))
    }
}

/// The nodes of traces, each once.
fn numbers(heads: &[Head]) -> Vec<recording::Node> {
    let mut nodes: Vec<recording::Node> = Vec::new();
    for head in heads {
        if !nodes.contains(&head.node) {
            nodes.push(head.node.clone());
        }
    }
    nodes
}

/// What each node's clients and servers saw of their messages.
fn exchanges(
    traces: &[Vec<PathBuf>],
    heads: &[Head],
    nodes: &[recording::Node],
) -> Result<Vec<Exchanges>, Unreadable> {
    let mut all: Vec<Exchanges> = nodes.iter().map(|_| Exchanges::default()).collect();
    for (files, head) in traces.iter().zip(heads) {
        let number = nodes.iter().position(|node| *node == head.node);
        let Some(exchanges) = number.and_then(|number| all.get_mut(number)) else { continue };
        let mut reader = Reader::open(files.clone())?;
        while let Some(entry) = reader.next()? {
            if let Entry::Event(event) = entry {
                exchanges.note(&event, head.begin.clock_offset_ns);
            }
        }
    }
    Ok(all)
}

/// A line for each node but the first: how its clock was taken.
fn clock_notes(nodes: &[recording::Node], apart: &[Option<Correction>]) -> Vec<String> {
    let Some(first) = nodes.first().map(|node| node.name.as_str()) else { return Vec::new() };
    nodes
        .iter()
        .zip(apart)
        .skip(1)
        .map(|(node, known)| clock_note(&node.name, first, known.as_ref()))
        .collect()
}

fn clock_note(node: &str, first: &str, known: Option<&Correction>) -> String {
    let Some((known, (begin, end, error))) = known.and_then(|known| Some((known, known.ends()?))) else {
        return format!(
            "the clocks of {node} and {first} could not be compared, as no message was seen on both: taken as they are"
        );
    };
    let (error, by) = (milliseconds(error), by(known.samples));
    let (begin, end) = (ahead(begin), ahead(end));
    if known.is_none() {
        format!("the clocks of {node} and {first} agree to {error} ({by})")
    } else if known.is_constant() {
        format!("the clock of {node} is {begin} that of {first}, to {error} ({by}): corrected")
    } else {
        format!(
            "the clock of {node} drifts: {begin} that of {first} at first and {end} it at last, to {error} ({by}): corrected"
        )
    }
}

/// `250.000 ms ahead of`
fn ahead(point: Point) -> String {
    let how = if point.ahead > 0 { "ahead of" } else { "behind" };
    format!("{} {how}", milliseconds(point.ahead.unsigned_abs()))
}

fn by(samples: usize) -> String {
    format!("by {samples} {}", if samples == 1 { "exchange" } else { "exchanges" })
}

fn milliseconds(nanoseconds: u64) -> String {
    format!("{:.3} ms", nanoseconds as f64 / 1e6)
}
