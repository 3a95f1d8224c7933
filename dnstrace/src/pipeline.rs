//! From an event to what is said of it: decode, identify, correlate. The same for every source.

use crate::{
    dns,
    event::{Event, KernelTime},
    identify::{Identifier, Owner},
    lookup::{Limits, Observation, Output, Totals, Tracker},
};

/// The rooms in a row.
pub struct Pipeline {
    identifier: Identifier,
    /// Only pods of this namespace are wanted.
    namespace: Option<String>,
    tracker: Tracker,
}

impl Pipeline {
    pub fn new(identifier: Identifier, namespace: Option<String>, limits: Limits) -> Self {
        Self { identifier, namespace, tracker: Tracker::new(limits) }
    }

    /// Takes in an event. Returns what it brought to an end.
    pub fn event(&mut self, event: Event) -> Vec<Output> {
        let mut out = Vec::new();
        match event {
            Event::Cgroup(made) => self.identifier.note_cgroup(&made),
            Event::Message(seen) => {
                let owner = self.identifier.owner(seen.task.cgroup, seen.task.pid, seen.time.0);
                if !self.is_wanted(&owner) {
                    return out;
                }
                let decoded = dns::decode(&seen.payload, seen.length);
                self.tracker.message(Observation { seen, decoded, owner }, &mut out);
            }
            _ => {}
        }
        out
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
