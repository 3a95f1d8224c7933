//! Pods and containers that started a moment ago: their names are looked up at once, and not when they speak, as one that lives
//! for a single query may be gone by then.

use std::collections::VecDeque;

use super::pods::Names;

/// The kubelet makes the directories beside the cgroups; a name that is not there after this long, in nanoseconds, is looked
/// for when somebody speaks.
const PATIENCE: u64 = 2_000_000_000;
/// Those that wait for their name at the most; the oldest goes first.
const CAPACITY: usize = 4096;

/// Those that have no name yet.
#[derive(Debug, Default)]
pub(super) struct Newcomers {
    waiting: VecDeque<Newcomer>,
}

#[derive(Debug)]
struct Newcomer {
    pod_uid: String,
    container_id: Option<String>,
    until: u64,
}

impl Newcomers {
    /// Takes note of one, at `now` in event time.
    pub fn note(&mut self, pod_uid: String, container_id: Option<String>, now: u64) {
        if self.waiting.len() >= CAPACITY {
            self.waiting.pop_front();
        }
        self.waiting.push_back(Newcomer { pod_uid, container_id, until: now.saturating_add(PATIENCE) });
    }

    /// Looks for the names of all.
    pub fn look(&mut self, names: &mut Names, now: u64) {
        self.waiting.retain(|newcomer| {
            let pod = names.pod(&newcomer.pod_uid, now).is_some();
            let container =
                newcomer.container_id.as_ref().is_none_or(|id| names.container(id, now).is_some());
            !(pod && container) && now < newcomer.until
        });
    }

    /// How many wait.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}
