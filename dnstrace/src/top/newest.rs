//! The newest queries that did not go well.

use std::collections::VecDeque;

use crate::{
    lookup::{Output, Role},
    output::{WallClock, words},
    statistics::{failed, is_lost},
};

/// So many are remembered.
const REMEMBERED: usize = 50;

/// A query that failed or took more than one attempt, in words that are safe for a terminal.
#[derive(Clone, Debug)]
pub struct Sick {
    /// Of its first attempt: time of day.
    pub time: String,
    pub who: String,
    /// Type and name.
    pub question: String,
    /// How it ended, and what became of its attempts.
    pub verdict: String,
}

/// The newest of them.
#[derive(Debug)]
pub struct Newest {
    clock: WallClock,
    sick: VecDeque<Sick>,
}

impl Newest {
    pub fn new(clock: WallClock) -> Self {
        Self { clock, sick: VecDeque::new() }
    }

    /// Takes note of it if it is one of a client's queries that did not go well.
    pub fn add(&mut self, output: &Output) {
        let Output::Query(query) = output else { return };
        let is_sick = failed(query) || query.attempts.iter().any(|attempt| is_lost(&attempt.fate));
        if query.role != Role::Client || !is_sick {
            return;
        }
        if self.sick.len() >= REMEMBERED {
            self.sick.pop_front();
        }
        let [who, question, verdict] = words::sick(query);
        self.sick.push_back(Sick { time: self.clock.time_of_day(query.started()), who, question, verdict });
    }

    /// The newest first.
    pub fn all(&self) -> Vec<Sick> {
        self.sick.iter().rev().cloned().collect()
    }
}
