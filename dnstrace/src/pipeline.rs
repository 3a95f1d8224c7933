//! From an event to what is said of it: decode, identify, correlate. The same for every source.

mod others;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use crate::{
    directory::{Book, peer},
    dns::{self, Framed, StreamLimits, StreamTotals, Streams},
    event::{
        ConnectFailure, ConnectionChange, Direction, Event, KernelTime, Packet, Refused, SendFailure,
        SocketMessage, Task, TcpState, Transport,
    },
    identify::{Owner, Owners, Wanted},
    lookup::{Limits, Observation, Output, Sight, Totals, Tracker},
    losses::Losses,
};

use self::others::{Flows, Others};

/// The rooms in a row.
pub struct Pipeline<O> {
    owners: O,
    /// What addresses are called.
    book: Book,
    wanted: Wanted,
    /// Whose messages are seen for want of a better filter.
    others: Others,
    streams: Streams,
    /// Bytes skipped of streams whose owner is not wanted: no loss.
    skipped_of_others: u64,
    /// Messages of those who are wanted; none if nobody wants to hear of them.
    heard: Option<Vec<Heard>>,
    tracker: Tracker,
}

/// A message, and whose it is.
#[derive(Clone, Debug)]
pub struct Heard {
    pub seen: SocketMessage,
    pub owner: Owner,
}

impl<O: Owners> Pipeline<O> {
    /// `owners` tells whose messages they are, `wanted` of whom they are to be told.
    pub fn new(owners: O, wanted: Wanted, limits: Limits, sight: Sight) -> Self {
        Self {
            owners,
            book: Book::default(),
            wanted,
            others: Others::default(),
            streams: Streams::new(StreamLimits::default()),
            skipped_of_others: 0,
            heard: None,
            tracker: Tracker::new(limits, sight),
        }
    }

    /// What the trace can see has changed.
    pub fn see(&mut self, sight: Sight) {
        self.tracker.see(sight);
    }

    /// Takes in an event. Returns what it brought to an end.
    pub fn event(&mut self, event: Event) -> Vec<Output> {
        let mut out = Vec::new();
        let flows = Flows::of(&event);
        match event {
            Event::Cgroup(made) => self.owners.note_cgroup(&made),
            Event::Message(seen) => self.message(seen, &mut out),
            Event::Confirm(confirm) => {
                let decoded = decode(&confirm.packet);
                self.tracker.confirm(*confirm, decoded, &mut out);
            }
            Event::Clash(clash) => self.tracker.clash(clash, &mut out),
            Event::Eviction(eviction) => self.tracker.eviction(*eviction, &mut out),
            Event::Drop(drop) => {
                let decoded = decode(&drop.packet);
                self.tracker.dropped(*drop, decoded, &mut out);
            }
            Event::Icmp(icmp) => {
                let decoded = decode(&icmp.packet);
                self.tracker.icmp(*icmp, decoded, &mut out);
            }
            Event::SendFailure(failure) => self.send_failure(failure, &mut out),
            Event::Connection(change) => self.connection(change, &mut out),
            Event::Retransmission(again) => {
                if !self.others.has(again.netns, again.socket) {
                    self.tracker.retransmitted(again, &mut out);
                }
            }
            Event::ConnectFailure(failure) => self.connect_failure(failure, &mut out),
            Event::Stream(bytes) => {
                let mut framed = Vec::new();
                self.streams.push(bytes, &mut framed);
                self.framed(framed, &mut out);
            }
            Event::Module { .. } => {}
            Event::Loss(loss) => {
                self.tracker.loss(loss, &mut out);
                out.push(Output::Loss(loss));
            }
        }
        if let Some(flows) = flows {
            self.others.withhold(&flows, &mut out);
        }
        self.name_peers(&mut out);
        out
    }

    /// Says what addresses were called when queries were sent to them, and connections opened.
    fn name_peers(&mut self, out: &mut [Output]) {
        let book = &mut self.book;
        for output in out {
            match output {
                Output::Query(query) => {
                    let node = query.owner.node.as_ref();
                    for attempt in &mut query.attempts {
                        let conversation = &attempt.conversation;
                        attempt.peer = peer(conversation.remote, attempt.endpoint, |address| {
                            book.name(node, address, conversation.transport, attempt.time)
                        });
                    }
                }
                Output::Connection(tcp) => {
                    let node = tcp.owner.as_ref().and_then(|owner| owner.node.as_ref());
                    tcp.peer = peer(tcp.remote, tcp.endpoint, |address| {
                        book.name(node, address, Transport::Tcp, tcp.time)
                    });
                }
                Output::Stray(_) | Output::Packet(_) | Output::Lookup(_) | Output::Loss(_) => {}
            }
        }
    }

    fn message(&mut self, seen: SocketMessage, out: &mut Vec<Output>) {
        if let Some(observation) = self.observe(seen) {
            if let Some(heard) = &mut self.heard {
                heard.push(Heard { seen: observation.seen.clone(), owner: observation.owner.clone() });
            }
            self.tracker.message(observation, out);
        }
    }

    /// Keeps messages from now on, for [`Self::take_heard`].
    pub fn keep_heard(&mut self) {
        self.heard.get_or_insert_default();
    }

    /// The messages since the last call, of UDP and those that the bytes of TCP connections turned out to be.
    pub fn take_heard(&mut self) -> Vec<Heard> {
        self.heard.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// What bytes of TCP connections have turned out to be.
    fn framed(&mut self, framed: Vec<Framed>, out: &mut Vec<Output>) {
        for framed in framed {
            match framed {
                Framed::Message(seen) => self.message(seen, out),
                Framed::Skipped(seen) => match self.wanted_owner(&seen) {
                    Some(owner) => self.tracker.stream_skipped(seen, owner, out),
                    None => self.skipped_of_others += u64::from(seen.length),
                },
                Framed::NotDns(seen) => {
                    if let Some(owner) = self.wanted_owner(&seen) {
                        self.tracker.stream_not_dns(seen, owner, out);
                    }
                }
            }
        }
    }

    /// Its streams begin and end with a connection.
    fn begin_or_end_streams(&mut self, change: &ConnectionChange, out: &mut Vec<Output>) {
        let ConnectionChange { netns, socket, flow, time, .. } = *change;
        let mut framed = Vec::new();
        match change.to {
            // Nothing of it is captured.
            _ if change.encrypted => {}
            TcpState::Established => self.streams.opened(netns, socket, flow, time, &mut framed),
            TcpState::Close => self.streams.ended(netns, socket, time, &mut framed),
            _ => {}
        }
        self.framed(framed, out);
    }

    fn send_failure(&mut self, failure: SendFailure, out: &mut Vec<Output>) {
        let SendFailure { time, errno, message } = failure;
        match message {
            Refused::Sent { time: sent, socket } => {
                self.tracker.send_failed(time, errno, socket, sent, out);
            }
            Refused::Unsent(seen) => {
                if let Some(observation) = self.observe(*seen) {
                    self.tracker.unsent(time, errno, observation, out);
                }
            }
        }
    }

    fn connection(&mut self, change: ConnectionChange, out: &mut Vec<Output>) {
        let (netns, socket) = (change.netns, change.socket);
        let mut owner = None;
        if let Some(task) = &change.task {
            let who = self.owner(task, change.flow.source, change.time);
            if !self.wanted.is(&who, task) {
                return self.others.note_socket(netns, socket);
            }
            self.others.forget_socket(netns, socket);
            owner = Some(who);
        } else if self.others.has(netns, socket) {
            return;
        }
        self.begin_or_end_streams(&change, out);
        self.tracker.connection(change, owner, out);
    }

    fn connect_failure(&mut self, failure: ConnectFailure, out: &mut Vec<Output>) {
        let owner = self.owner(&failure.task, failure.flow.source, failure.time);
        if self.wanted.is(&owner, &failure.task) {
            self.tracker.connect_failed(failure, Some(owner), out);
        }
    }

    /// Who the task is, that holds the socket with this address.
    fn owner(&mut self, task: &Task, local: SocketAddr, time: KernelTime) -> Owner {
        if !task.is_known() {
            return Owner { address: Some(local.ip()), ..Owner::default() };
        }
        self.owners.owner(task, time)
    }

    /// All that is known of a message; none if its owner is not wanted.
    fn observe(&mut self, seen: SocketMessage) -> Option<Observation> {
        let owner = self.wanted_owner(&seen)?;
        let decoded = dns::decode(&seen.payload, seen.length);
        Some(Observation { seen, decoded, owner })
    }

    /// Whose message it is; none if it is not wanted.
    fn wanted_owner(&mut self, seen: &SocketMessage) -> Option<Owner> {
        let local = match seen.direction {
            Direction::Sent => seen.flow.source,
            Direction::Received => seen.flow.destination,
        };
        let owner = self.owner(&seen.task, local, seen.time);
        if !self.wanted.is(&owner, &seen.task) {
            self.others.note(seen);
            return None;
        }
        if seen.flow.transport == Transport::Tcp {
            self.others.forget_socket(seen.netns, seen.socket);
        }
        Some(owner)
    }

    /// Who tells whose messages they are.
    pub fn owners(&mut self) -> &mut O {
        &mut self.owners
    }

    /// What addresses are called.
    pub fn book(&mut self) -> &mut Book {
        &mut self.book
    }

    /// Event time has come to `now`.
    pub fn advance(&mut self, now: KernelTime) -> Vec<Output> {
        let mut out = Vec::new();
        self.tracker.advance(now, &mut out);
        self.name_peers(&mut out);
        out
    }

    /// The trace ends at `now`.
    pub fn finish(&mut self, now: KernelTime) -> Vec<Output> {
        let (mut out, mut framed) = (Vec::new(), Vec::new());
        self.streams.finish(now, &mut framed);
        self.framed(framed, &mut out);
        self.tracker.finish(now, &mut out);
        self.name_peers(&mut out);
        out
    }

    /// What was not made out of the bytes of TCP connections of those who are wanted.
    pub fn stream_totals(&self) -> StreamTotals {
        let totals = self.streams.totals();
        StreamTotals { skipped: totals.skipped.saturating_sub(self.skipped_of_others), ..totals }
    }

    /// What the tracker gave up for want of room.
    pub fn totals(&self) -> Totals {
        self.tracker.totals()
    }

    /// The losses of a source, with what was given up in here.
    pub fn add_losses(&self, of_source: Losses) -> Losses {
        let (totals, streams) = (self.totals(), self.stream_totals());
        Losses {
            queries_evicted: totals.evicted,
            queries_forgotten: totals.forgotten,
            stream_bytes_skipped: streams.skipped,
            // Most connections are known to both: the larger number, not the sum.
            streams_forgotten: streams.forgotten.max(totals.connections).max(of_source.streams_forgotten),
            lookups_cut: totals.lookups,
            ..of_source
        }
    }
}

/// What a packet on its way says, as far as its excerpt goes.
fn decode(packet: &Packet) -> dns::Decoded {
    dns::decode(&packet.payload, packet.length)
}
