//! What the core says, as packets with comments.

use anyhow::Result;
use lru::LruCache;

use super::{
    packet::{self, Place},
    segment::Section,
    waiting::Waiting,
};
use crate::{
    event::{Flow, KernelTime, SocketMessage, Transport},
    lookup::{Output, Query, StrayReason},
    output::{Nodes, comment},
    pipeline::Heard,
};

/// TCP flows whose place is remembered.
const FLOWS: usize = 65_536;

/// Messages that wait for their fate, and how those that have one are written.
#[derive(Debug)]
pub struct Packets {
    waiting: Waiting,
    pub section: Section,
    /// Sequence number of what comes next, by network namespace and flow.
    places: LruCache<(u32, Flow), u32>,
    nodes: Nodes,
    /// Packets so far, and those of them whose fate is not told.
    pub written: u64,
    pub untold: u64,
}

impl Packets {
    pub fn new(section: Section, nodes: Nodes) -> Self {
        // Bounded below: a bounded cache would take all its memory at once.
        let places = LruCache::unbounded();
        Self { waiting: Waiting::default(), section, places, nodes, written: 0, untold: 0 }
    }

    /// Takes in messages. Appends those that there is no room for.
    ///
    /// # Errors
    /// If a library fails, which it does for no value of these types; the same below.
    pub fn hear(&mut self, messages: Vec<Heard>, blocks: &mut Vec<u8>) -> Result<()> {
        for heard in messages {
            self.waiting.push(heard);
        }
        while let Some(heard) = self.waiting.pop_surplus() {
            self.append_untold(&heard, blocks)?;
        }
        Ok(())
    }

    /// Appends the messages of an output of the core.
    ///
    /// # Errors
    /// As above.
    pub fn tell(&mut self, output: &Output, blocks: &mut Vec<u8>) -> Result<()> {
        match output {
            Output::Query(query) => self.query(query, blocks),
            Output::Stray(stray) => {
                // What a stream holds beside messages is no packet of its own.
                if matches!(stray.reason, StrayReason::StreamSkipped | StrayReason::StreamNotDns) {
                    return Ok(());
                }
                match self.waiting.take_message(&stray.observation.seen) {
                    Some(heard) => self.append(&heard, comment::stray(stray), blocks),
                    None => Ok(()),
                }
            }
            // What befell packets, connections and groups of queries are no messages.
            Output::Packet(_) | Output::Connection(_) | Output::Lookup(_) | Output::Loss(_) => Ok(()),
        }
    }

    /// Appends what is older than `time`; nobody will tell of it any more.
    ///
    /// # Errors
    /// As above.
    pub fn give_up(&mut self, time: KernelTime, blocks: &mut Vec<u8>) -> Result<()> {
        while let Some(heard) = self.waiting.pop_before(time) {
            self.append_untold(&heard, blocks)?;
        }
        Ok(())
    }

    /// A query's messages in the order of their time.
    fn query(&mut self, query: &Query, blocks: &mut Vec<u8>) -> Result<()> {
        let mut messages = Vec::new();
        for (index, attempt) in query.attempts.iter().enumerate() {
            if let Some(heard) = self.waiting.take_query(query.netns, attempt) {
                messages.push((heard, comment::asked(query, index, attempt, &self.nodes)));
            }
            if let Some(heard) = self.waiting.take_answer(query.netns, attempt) {
                messages.push((heard, comment::answered(query)));
            }
        }
        messages.sort_by_key(|(heard, _)| heard.seen.time);
        for (heard, comments) in messages {
            self.append(&heard, comments, blocks)?;
        }
        Ok(())
    }

    fn append_untold(&mut self, heard: &Heard, blocks: &mut Vec<u8>) -> Result<()> {
        self.untold += 1;
        self.append(heard, Vec::new(), blocks)
    }

    fn append(&mut self, heard: &Heard, mut comments: Vec<String>, blocks: &mut Vec<u8>) -> Result<()> {
        comments.insert(0, comment::who(&heard.owner, &heard.seen.task));
        let place = self.place(&heard.seen);
        if let Some(raw) = packet::build(&heard.seen, place) {
            blocks.extend(self.section.packet(heard, &raw, &comments)?);
            self.written += 1;
        }
        Ok(())
    }

    /// Where a segment lies in its stream, if all that was before it has been written: so that no reader misses anything.
    fn place(&mut self, seen: &SocketMessage) -> Place {
        if seen.flow.transport != Transport::Tcp {
            return Place::default();
        }
        let ack = self.places.get(&(seen.netns, seen.flow.reversed())).copied().unwrap_or(1);
        let seq = self.places.get(&(seen.netns, seen.flow)).copied().unwrap_or(1);
        self.places.put((seen.netns, seen.flow), seq.wrapping_add(seen.length).wrapping_add(2));
        if self.places.len() > FLOWS {
            self.places.pop_lru();
        }
        Place { seq, ack }
    }
}
