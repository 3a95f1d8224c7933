//! From an event to what is said of it: decode, identify, correlate. The same for every source.

mod others;

use crate::{
    dns,
    event::{Event, KernelTime, Packet, Refused, SendFailure, SocketMessage},
    identify::{Identifier, Owner},
    lookup::{Limits, Observation, Output, Sight, Totals, Tracker},
};

use self::others::{Flows, Others};

/// The rooms in a row.
pub struct Pipeline {
    identifier: Identifier,
    /// Only pods of this namespace are wanted.
    namespace: Option<String>,
    /// Whose messages are seen for want of a better filter.
    others: Others,
    tracker: Tracker,
}

impl Pipeline {
    pub fn new(identifier: Identifier, namespace: Option<String>, limits: Limits, sight: Sight) -> Self {
        Self { identifier, namespace, others: Others::default(), tracker: Tracker::new(limits, sight) }
    }

    /// Takes in an event. Returns what it brought to an end.
    pub fn event(&mut self, event: Event) -> Vec<Output> {
        let mut out = Vec::new();
        let flows = Flows::of(&event);
        match event {
            Event::Cgroup(made) => self.identifier.note_cgroup(&made),
            Event::Message(seen) => {
                if let Some(observation) = self.observe(seen) {
                    self.tracker.message(observation, &mut out);
                }
            }
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
            Event::Stream(_)
            | Event::Connection(_)
            | Event::Retransmission(_)
            | Event::ConnectFailure(_)
            | Event::Module { .. } => {}
            Event::Loss(loss) => self.tracker.loss(loss, &mut out),
        }
        if let Some(flows) = flows {
            self.others.withhold(&flows, &mut out);
        }
        out
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

    /// All that is known of a message; none if its owner is not wanted.
    fn observe(&mut self, seen: SocketMessage) -> Option<Observation> {
        let owner = self.identifier.owner(seen.task.cgroup, seen.task.pid, seen.time.0);
        if !self.is_wanted(&owner) {
            self.others.note(&seen);
            return None;
        }
        let decoded = dns::decode(&seen.payload, seen.length);
        Some(Observation { seen, decoded, owner })
    }

    fn is_wanted(&self, owner: &Owner) -> bool {
        let Some(wanted) = &self.namespace else { return true };
        // A pod whose name is not known yet may be of the namespace: shown rather than missed.
        owner
            .pod
            .as_ref()
            .is_some_and(|pod| pod.namespace.as_deref().is_none_or(|namespace| namespace == wanted))
    }

    /// Cgroups of the target that have started up to `now`.
    pub fn started(&mut self, now: KernelTime) -> Vec<u64> {
        self.identifier.started(now.0)
    }

    /// Event time has come to `now`.
    pub fn advance(&mut self, now: KernelTime) -> Vec<Output> {
        let mut out = Vec::new();
        self.tracker.advance(now, &mut out);
        out
    }

    /// The trace ends at `now`.
    pub fn finish(&mut self, now: KernelTime) -> Vec<Output> {
        let mut out = Vec::new();
        self.tracker.finish(now, &mut out);
        out
    }

    /// Cgroups, pods and containers that were forgotten for want of room.
    pub fn owners_forgotten(&self) -> u64 {
        self.identifier.forgotten()
    }

    /// What the tracker gave up for want of room.
    pub fn totals(&self) -> Totals {
        self.tracker.totals()
    }
}

/// What a packet on its way says, as far as its excerpt goes.
fn decode(packet: &Packet) -> dns::Decoded {
    dns::decode(&packet.payload, packet.length)
}
