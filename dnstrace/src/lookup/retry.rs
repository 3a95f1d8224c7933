//! Queries that are asked again over a new TCP connection: after a truncated answer, or when the connection before has
//! ended. What the process does is seen by its connections before it sends a message, and if none can be opened there
//! never is one. So such a query stays open while its process opens a connection to the server.

use crate::{
    dns::Flags,
    event::{KernelTime, Transport},
};

use super::{
    Attempt, Conversation, Fate, Role, Tracker,
    connections::Traced,
    open::{AFTER_CONNECTION, OpenQuery, known_failed_at},
    table::Table,
};

impl Tracker {
    /// A process opens a connection, or tried to: for which queries, as far as that can be told.
    ///
    /// For all of those that it will ask again and opens no other one for: a resolver asks a pair over one connection.
    /// Should there be none, it opens one for each, and takes over one of several that another is opened for.
    pub(super) fn expect_retries(&mut self, number: u64, time: KernelTime) {
        let Some(connection) = self.connections.get(number) else { return };
        let expecting = self.table.expecting(connection);
        let (free, taken): (Vec<_>, Vec<_>) =
            expecting.into_iter().partition(|(_, opening)| opening.is_none());
        let queries: Vec<u64> = match free.as_slice() {
            [] => {
                let mut shared = taken.into_iter().rev().filter(|(_, other)| {
                    other.is_some_and(|other| self.table.retries_over(self.connections.get(other)).len() > 1)
                });
                shared.next().into_iter().map(|(query, _)| query).collect()
            }
            free => free.iter().map(|(query, _)| *query).collect(),
        };
        let Some(connection) = self.connections.get_mut(number) else { return };
        for query in queries {
            if connection.add_retry(query)
                && let Some(open) = self.table.open.get_mut(&query)
            {
                open.opening = Some(number);
            }
        }
        self.keep_retries(number, time);
    }

    /// A sign of life of a connection that is opened: queries wait for it so much longer.
    pub(super) fn keep_retries(&mut self, number: u64, time: KernelTime) {
        let until = time.plus(self.table.limits.timeout);
        for query in self.table.retries_over(self.connections.get(number)) {
            if self.table.open.get(&query).is_some_and(|open| open.deadline < until) {
                self.table.postpone(query, until);
            }
        }
    }

    /// A connection could not be opened: what waited for it has an attempt that failed.
    pub(super) fn fail_retries(&mut self, number: u64, time: KernelTime) {
        let queries = self.table.retries_over(self.connections.get(number));
        let Some(connection) = self.connections.get_mut(number) else { return };
        connection.retries.clear();
        let attempt = unopened(connection);
        for query in queries {
            // It is told by them.
            connection.queries = connection.queries.saturating_add(1);
            self.table.add_unopened(query, attempt.clone(), time);
        }
    }

    /// A connection has ended: what waited for it waits no longer.
    pub(super) fn release_retries(&mut self, number: u64) {
        let queries = self.table.retries_over(self.connections.get(number));
        for query in queries {
            if let Some(open) = self.table.open.get_mut(&query) {
                open.opening = None;
            }
            self.table.hurry(query);
        }
        if let Some(connection) = self.connections.get_mut(number) {
            connection.retries.clear();
        }
    }

    /// Adds to a query that ends the attempt whose connection is still being opened.
    pub(super) fn add_opening(&mut self, open: &mut OpenQuery) {
        let Some(connection) = open.opening.take().and_then(|number| self.connections.get_mut(number)) else {
            return;
        };
        if connection.is_unopened() {
            connection.queries = connection.queries.saturating_add(1);
            push(open, unopened(connection), self.table.limits.attempts);
        }
    }
}

impl Table {
    /// Queries whose process may open this connection to ask again, the oldest first, and the one that it opens for
    /// each already.
    fn expecting(&self, connection: &Traced) -> Vec<(u64, Option<u64>)> {
        let Some(task) = &connection.task else { return Vec::new() };
        let range = (connection.netns, task.pid, u64::MIN)..=(connection.netns, task.pid, u64::MAX);
        let queries =
            self.retrying.range(range).filter_map(|(.., number)| Some((*number, self.open.get(number)?)));
        queries
            .filter(|(_, open)| !connection.encrypted && open.may_be_asked_again_over(connection))
            .map(|(number, open)| (number, open.opening))
            .collect()
    }

    /// Queries that wait for this connection to open.
    fn retries_over(&self, connection: Option<&Traced>) -> Vec<u64> {
        let Some(connection) = connection else { return Vec::new() };
        let waits =
            |query: &u64| self.open.get(query).is_some_and(|open| open.opening == Some(connection.number));
        connection.retries.iter().copied().filter(waits).collect()
    }

    /// The process of this query, if it is a client's, will ask it again over a new connection.
    pub(super) fn expects_retry(&mut self, query: u64) {
        if let Some(open) = self.open.get(&query)
            && open.query.role == Role::Client
        {
            self.retrying.insert((open.query.netns, open.query.task.pid, query));
        }
    }

    /// Adds an attempt whose connection could not be opened, as was clear at `time`.
    fn add_unopened(&mut self, query: u64, attempt: Attempt, time: KernelTime) {
        let limit = self.limits.attempts;
        let Some(open) = self.open.get_mut(&query) else { return };
        push(open, attempt, limit);
        open.opening = None;
        let until = time.plus(AFTER_CONNECTION);
        let others_wait = open
            .query
            .attempts
            .iter()
            .any(|attempt| matches!(attempt.fate, Fate::Open) && known_failed_at(attempt).is_none());
        if !others_wait || open.deadline < until {
            self.postpone(query, until);
        }
    }
}

impl OpenQuery {
    /// Whether its process will ask it again over such a connection: of the server that gave a truncated answer, or,
    /// when a connection has failed, perhaps of another one.
    fn may_be_asked_again_over(&self, connection: &Traced) -> bool {
        let is_truncated = |attempt: &Attempt| {
            attempt.conversation.remote == connection.remote
                && attempt.conversation.transport == Transport::Udp
                && attempt.answer().is_some_and(|answer| answer.message.flags.truncated)
        };
        let has_lost = |attempt: &Attempt| {
            attempt.conversation.transport == Transport::Tcp && known_failed_at(attempt).is_some()
        };
        self.settled.is_none()
            && (self.query.attempts.iter().any(is_truncated)
                || self.query.attempts.last().is_some_and(has_lost))
    }
}

/// The attempt that was to go over a connection that was not opened.
fn unopened(connection: &Traced) -> Attempt {
    Attempt {
        time: connection.opened.unwrap_or(connection.seen),
        conversation: Conversation {
            netns: connection.netns,
            role: connection.role,
            local: connection.local,
            remote: connection.remote,
            transport: Transport::Tcp,
            id: None,
        },
        socket: connection.socket,
        tid: connection.task.as_ref().map_or(0, |task| task.tid),
        length: 0,
        flags: Flags::default(),
        edns: None,
        endpoint: connection.endpoint,
        peer: Default::default(),
        carrier: Some(connection.carrier()),
        server_side: None,
        steps: connection.steps.clone(),
        steps_left_out: connection.steps_left_out,
        fate: Fate::Open,
    }
}

fn push(open: &mut OpenQuery, attempt: Attempt, limit: usize) {
    if open.query.attempts.len() < limit {
        open.query.attempts.push(attempt);
    } else {
        open.query.attempts_left_out = open.query.attempts_left_out.saturating_add(1);
    }
}
