//! What pods asked, and what their servers were asked.

use std::sync::Arc;

use crate::{
    identify::Owner,
    lookup::{Outcome, Query, Role},
    output::words,
};

use super::{Asking, ByWord, Latency, Tally, add_words, status};

/// A pod, or what runs outside pods.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnerKey {
    /// Of a pod whose name is known.
    pub namespace: Option<Arc<str>>,
    /// The pod; outside pods the systemd unit or container; `host`. As strangers named it.
    pub name: Arc<str>,
}

/// What an owner asked and was asked.
#[derive(Clone, Debug, Default)]
pub struct OfOwner {
    /// Queries that it sent.
    pub asked: Asking,
    /// Of these, by RCODE of the answer.
    pub answers: ByWord,
    /// Its attempts by fate, in the words of JSON.
    pub fates: ByWord,
    /// Of its answered queries, from the first attempt on.
    pub latency: Latency,
    /// Queries that its servers took in.
    pub served: Served,
}

/// What a traced server did.
#[derive(Clone, Debug, Default)]
pub struct Served {
    pub queries: u64,
    pub unanswered: u64,
    /// From the query's reception to the answer's send: the server's own time.
    pub latency: Latency,
}

impl OwnerKey {
    pub(super) fn new(owner: &Owner) -> Self {
        let pod = owner.pod.as_ref().and_then(|pod| Some((pod.namespace.clone()?, pod.name.clone()?)));
        match pod {
            Some((namespace, name)) => Self { namespace: Some(namespace), name },
            None => Self { namespace: None, name: owner.to_string().into() },
        }
    }
}

impl std::fmt::Display for OwnerKey {
    /// `shop/cart-7d4f`, `sshd.service`, `host`. Holds what strangers named: escape it for a terminal.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl OfOwner {
    pub(super) fn add(&mut self, query: &Query) {
        if query.role == Role::Server {
            self.served.add(query);
            return;
        }
        self.asked.add(query);
        if let (Outcome::Answered { .. }, Some(answer)) = (query.outcome, query.answer()) {
            *self.answers.entry(status(&answer.message)).or_default() += 1;
        }
        for attempt in &query.attempts {
            *self.fates.entry(words::fate(&attempt.fate)).or_default() += 1;
        }
        if let Some(latency) = query.latency() {
            self.latency.record(latency);
        }
    }
}

impl Served {
    fn add(&mut self, query: &Query) {
        self.queries += 1;
        match query.latency() {
            Some(latency) => self.latency.record(latency),
            None => self.unanswered += 1,
        }
    }
}

impl Tally for OfOwner {
    type Rank = <Asking as Tally>::Rank;

    fn rank(&self) -> Self::Rank {
        self.asked.rank()
    }

    fn absorb(&mut self, other: &Self) {
        self.asked.absorb(&other.asked);
        add_words(&mut self.answers, &other.answers);
        add_words(&mut self.fates, &other.fates);
        self.latency.absorb(&other.latency);
        self.served.queries += other.served.queries;
        self.served.unanswered += other.served.unanswered;
        self.served.latency.absorb(&other.served.latency);
    }
}
