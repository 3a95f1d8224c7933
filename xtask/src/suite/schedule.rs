//! Which job starts when.

use std::{cmp::Reverse, collections::VecDeque};

/// Jobs that wait, and how many are under way. Knows no clock and no thread.
#[derive(Debug)]
pub struct Schedule<T> {
    /// They run beside others, in this order.
    together: VecDeque<T>,
    /// They run when nothing else does, after all others.
    alone: VecDeque<T>,
    at_a_time: usize,
    running: usize,
}

impl<T> Schedule<T> {
    /// The longest of the jobs first: a long one that starts last would run beside nothing. Jobs of the same length
    /// stay in their order. At least one runs at a time.
    pub fn new<L: Ord>(
        jobs: impl IntoIterator<Item = T>,
        at_a_time: usize,
        is_alone: impl Fn(&T) -> bool,
        length: impl Fn(&T) -> L,
    ) -> Self {
        let (alone, mut together): (Vec<T>, Vec<T>) = jobs.into_iter().partition(is_alone);
        together.sort_by_key(|job| Reverse(length(job)));
        Self { together: together.into(), alone: alone.into(), at_a_time: at_a_time.max(1), running: 0 }
    }

    /// A job that may start now: it counts as under way from here on. `None` if none is left, or if it must wait until
    /// another one has [ended](Self::ended).
    pub fn start(&mut self) -> Option<T> {
        // While one runs alone, none is left that could run beside it.
        let job = match self.running {
            0 => self.together.pop_front().or_else(|| self.alone.pop_front()),
            running if running < self.at_a_time => self.together.pop_front(),
            _ => None,
        };
        self.running += usize::from(job.is_some());
        job
    }

    /// One of the jobs that were under way is not any more.
    pub fn ended(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    /// Whether any job is under way.
    pub fn is_busy(&self) -> bool {
        self.running > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A job's name, how long it takes, and whether it wants to be alone.
    type Job = (&'static str, u32, bool);

    const TOGETHER: bool = false;
    const ALONE: bool = true;

    /// Each job's name, start and end, in the order of their starts.
    fn timetable(jobs: &[Job], at_a_time: usize) -> Vec<(&'static str, u32, u32)> {
        let jobs = jobs.iter().copied();
        let mut schedule = Schedule::new(jobs, at_a_time, |&(_, _, alone)| alone, |&(_, length, _)| length);
        let (mut now, mut table, mut running) = (0, Vec::new(), Vec::new());
        loop {
            while let Some((name, length, _)) = schedule.start() {
                table.push((name, now, now + length));
                running.push(now + length);
            }
            assert_eq!(schedule.is_busy(), !running.is_empty());
            running.sort_unstable();
            if running.is_empty() {
                return table;
            }
            now = running.remove(0);
            schedule.ended();
        }
    }

    const JOBS: [Job; 6] = [
        ("hooks", 1, TOGETHER),
        ("race", 2, ALONE),
        ("whole a", 13, TOGETHER),
        ("core a", 3, TOGETHER),
        ("whole b", 12, TOGETHER),
        ("core b", 3, TOGETHER),
    ];

    #[test]
    fn two_at_a_time_the_longest_first_and_one_alone_at_the_end() {
        let expected = [
            ("whole a", 0, 13),
            ("whole b", 0, 12),
            ("core a", 12, 15),
            ("core b", 13, 16),
            ("hooks", 15, 16),
            ("race", 16, 18),
        ];
        assert_eq!(timetable(&JOBS, 2), expected);
    }

    #[test]
    fn one_at_a_time_where_two_do_not_fit() {
        let names = ["whole a", "whole b", "core a", "core b", "hooks", "race"];
        for at_a_time in [0, 1] {
            let table = timetable(&JOBS, at_a_time);
            assert_eq!(table.iter().map(|row| row.0).collect::<Vec<_>>(), names);
            assert!(table.windows(2).all(|pair| pair[0].2 == pair[1].1), "{table:?}");
        }
    }

    #[test]
    fn nothing_starts_beside_who_is_alone() {
        let jobs = [("a", 5, TOGETHER), ("race", 9, ALONE), ("race again", 1, ALONE), ("b", 7, TOGETHER)];
        let expected = [("b", 0, 7), ("a", 0, 5), ("race", 7, 16), ("race again", 16, 17)];
        assert_eq!(timetable(&jobs, 3), expected);
    }

    #[test]
    fn nothing_to_do_is_done() {
        assert_eq!(timetable(&[], 2), []);
    }
}
