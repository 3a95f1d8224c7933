//! What the API server serves, and every change of it since it was compacted last.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};

/// Objects, watched by many.
#[derive(Debug, Default)]
pub struct Store {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Of the newest change.
    version: u64,
    objects: BTreeMap<Key, Value>,
    changes: Vec<Change>,
    /// Changes up to here are forgotten, as etcd does.
    compacted: u64,
    refused: BTreeSet<String>,
    /// How often all connections were cut.
    cuts: u64,
    watches: usize,
}

/// Resource, namespace, name.
type Key = (String, String, String);

/// A change as a watch tells it.
#[derive(Clone, Debug)]
struct Change {
    version: u64,
    resource: String,
    event: Value,
}

/// What a watch is told next.
pub enum Next {
    /// An event, and the version that it made.
    Event(Value, u64),
    /// Its version is too old.
    Gone,
    Cut,
}

impl Store {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes an object, or changes it. `object` has no resourceVersion; it is given one.
    pub fn apply(&self, resource: &str, mut object: Value) {
        let mut state = self.state();
        state.version += 1;
        let version = state.version;
        object["metadata"]["resourceVersion"] = version.to_string().into();
        let known = state.objects.insert(key(resource, &object), object.clone());
        let kind = if known.is_some() { "MODIFIED" } else { "ADDED" };
        state.change(resource, kind, object);
        self.changed.notify_all();
    }

    /// Deletes an object.
    pub fn delete(&self, resource: &str, namespace: &str, name: &str) {
        let mut state = self.state();
        let key = (resource.to_owned(), namespace.to_owned(), name.to_owned());
        if let Some(mut object) = state.objects.remove(&key) {
            state.version += 1;
            object["metadata"]["resourceVersion"] = state.version.to_string().into();
            state.change(resource, "DELETED", object);
        }
        self.changed.notify_all();
    }

    /// Ends all connections, in the middle of what they tell.
    pub fn cut(&self) {
        self.state().cuts += 1;
        self.changed.notify_all();
    }

    /// Forgets all changes: who has not heard of them has to list anew.
    pub fn compact(&self) {
        let mut state = self.state();
        state.compacted = state.version;
        state.changes.clear();
    }

    /// Nobody may list this resource from now on.
    pub fn refuse(&self, resource: &str) {
        self.state().refused.insert(resource.to_owned());
    }

    pub fn is_refused(&self, resource: &str) -> bool {
        self.state().refused.contains(resource)
    }

    /// Watches under way.
    pub fn watches(&self) -> usize {
        self.state().watches
    }

    pub(super) fn count_watch(&self, begins: bool) {
        let mut state = self.state();
        state.watches = if begins { state.watches + 1 } else { state.watches.saturating_sub(1) };
    }

    /// How often connections were cut so far.
    pub(super) fn cuts(&self) -> u64 {
        self.state().cuts
    }

    /// Objects of a resource, as a list has them, and its version.
    pub(super) fn list(&self, resource: &str) -> (Vec<Value>, u64) {
        let state = self.state();
        let of_resource = state.objects.iter().filter(|((of, ..), _)| of == resource);
        (of_resource.map(|(_, object)| object.clone()).collect(), state.version)
    }

    /// Waits for the next change of a resource behind `version`. What happened to others is told by a bookmark.
    pub(super) fn next(&self, resource: &str, version: u64, cuts: u64) -> Next {
        let mut state = self.state();
        loop {
            if state.cuts != cuts {
                return Next::Cut;
            }
            if version < state.compacted {
                return Next::Gone;
            }
            let mut newer = state.changes.iter().filter(|change| change.version > version);
            if let Some(change) = newer.find(|change| change.resource == resource) {
                return Next::Event(change.event.clone(), change.version);
            }
            if state.version > version {
                let metadata =
                    json!({"resourceVersion": state.version.to_string(), "creationTimestamp": null});
                return Next::Event(
                    json!({"type": "BOOKMARK", "object": {"metadata": metadata}}),
                    state.version,
                );
            }
            let waited = self.changed.wait_timeout(state, Duration::from_secs(1));
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl State {
    fn change(&mut self, resource: &str, kind: &str, object: Value) {
        let event = json!({"type": kind, "object": object});
        self.changes.push(Change { version: self.version, resource: resource.to_owned(), event });
    }
}

fn key(resource: &str, object: &Value) -> Key {
    let of = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    (resource.to_owned(), of("namespace"), of("name"))
}
