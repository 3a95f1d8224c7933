//! How far the clocks of nodes are apart, by the messages that went between them.
//!
//! As NTP does it (RFC 5905, 8): a query and its answer bear four times. A message arrives after it was sent: so each exchange
//! has a least and a most that a clock can be ahead, and the truth lies between, however the delay was shared between the ways.
//! Clocks drift, but only so fast: so it bounds what was before and after, too. The simplest that nothing contradicts is
//! taken for the truth: that the clocks agree; that they are apart by one offset all the time; or one that changes.

use std::collections::{BTreeMap, VecDeque};

use super::exchange::{Exchanges, Sample};

/// How fast clocks of two nodes drift apart at the most, in parts per million: quartzes do some tens, NTP's corrections beside.
const DRIFT: u64 = 200;
/// Of so many nanoseconds the exchange that tells best; and so many are between two of these at the least.
const WINDOW: u64 = 10_000_000_000;
const APART: u64 = WINDOW / 2;

/// How far a node's clock is ahead of the first node's, over time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Correction {
    /// In the order of their time; at least one. Between two it is on the line from one to the other.
    points: Vec<Point>,
    /// Exchanges that it was estimated from.
    pub samples: usize,
}

/// How far a node's clock is ahead at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// Of that clock: nanoseconds since the epoch.
    pub time: u64,
    /// Nanoseconds; negative if it is behind.
    pub ahead: i64,
    /// It may be as many nanoseconds more or less.
    pub error: u64,
}

/// How far a clock can be ahead at a time: at the least and at the most.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    time: u64,
    least: i64,
    most: i64,
}

impl Correction {
    /// Of the first node, against which the others are held: it is ahead by nothing at all times.
    fn of_first() -> Self {
        Self { points: Vec::new(), samples: 0 }
    }

    /// How far the clock is ahead when it shows `time`.
    pub fn at(&self, time: u64) -> Point {
        let next = self.points.partition_point(|point| point.time < time);
        let before = next.checked_sub(1).and_then(|index| self.points.get(index));
        match (before, self.points.get(next)) {
            (Some(before), Some(next)) => on_the_line(*before, *next, time),
            (Some(near), None) | (None, Some(near)) => {
                let error = near.error.saturating_add(drifted(near.time.abs_diff(time)));
                Point { time, error, ..*near }
            }
            (None, None) => Point { time, ahead: 0, error: 0 },
        }
    }

    /// Whether the clocks may as well agree: then nothing is to be corrected.
    pub fn is_none(&self) -> bool {
        self.points.iter().all(|point| point.ahead == 0)
    }

    /// Whether one offset fits the whole trace.
    pub fn is_constant(&self) -> bool {
        self.points.windows(2).all(|two| matches!(two, [one, other] if one.ahead == other.ahead))
    }

    /// What is known of the first and of the last exchange, and the largest error of any; in between, clocks may drift.
    pub fn ends(&self) -> Option<(Point, Point, u64)> {
        let error = self.points.iter().map(|point| point.error).max()?;
        Some((*self.points.first()?, *self.points.last()?, error))
    }

    /// Of a third node, whose clock was compared with that of the second, of which this is.
    fn then(&self, next: &Self) -> Self {
        // Where either bends, by the third node's clock.
        let bends = self.points.iter().map(|point| {
            let nearly = point.time.saturating_add_signed(next.at(point.time).ahead);
            point.time.saturating_add_signed(next.at(nearly).ahead)
        });
        let mut times: Vec<_> = bends.chain(next.points.iter().map(|point| point.time)).collect();
        times.sort_unstable();
        times.dedup();
        let sum = |time: u64| {
            let far = next.at(time);
            let near = self.at(time.saturating_add_signed(far.ahead.saturating_neg()));
            let ahead = near.ahead.saturating_add(far.ahead);
            Point { time, ahead, error: near.error.saturating_add(far.error) }
        };
        Self { points: times.into_iter().map(sum).collect(), samples: next.samples }
    }
}

/// On the line between two points. Either says how far off that can be, by its own error and the drift since.
fn on_the_line(before: Point, next: Point, time: u64) -> Point {
    let whole = u128::from(next.time.abs_diff(before.time)).max(1);
    let (since, until) = (u128::from(time.abs_diff(before.time)), u128::from(time.abs_diff(next.time)));
    let rise = i128::from(next.ahead) - i128::from(before.ahead);
    let risen = i128::try_from(since).ok().and_then(|since| rise.checked_mul(since)).unwrap_or(0);
    let ahead = i128::from(before.ahead) + risen / i128::try_from(whole).unwrap_or(i128::MAX);
    let errors = (u128::from(before.error) * until + u128::from(next.error) * since) / whole;
    let middle = u64::try_from(2 * since * until / whole).unwrap_or(u64::MAX);
    let error = u64::try_from(errors).unwrap_or(u64::MAX).saturating_add(drifted(middle));
    Point { time, ahead: i64::try_from(ahead).unwrap_or(before.ahead), error }
}

/// Nanoseconds that clocks drift apart in so many, at the most.
fn drifted(nanoseconds: u64) -> u64 {
    (nanoseconds / 1_000).saturating_mul(DRIFT).div_ceil(1_000)
}

/// How far each node's clock is ahead of the first one's; none if no messages went between them that both ends saw, not even
/// by way of a third node.
pub fn corrections(nodes: &[Exchanges]) -> Vec<Option<Correction>> {
    let mut known: Vec<Option<Correction>> = vec![None; nodes.len()];
    let Some(first) = known.first_mut() else { return known };
    *first = Some(Correction::of_first());
    let mut reached = VecDeque::from([0]);
    while let Some(from) = reached.pop_front() {
        let (Some(here), Some(there)) = (nodes.get(from), known.get(from).cloned().flatten()) else {
            continue;
        };
        for (to, other) in nodes.iter().enumerate() {
            let Some(unknown @ None) = known.get_mut(to) else { continue };
            if let Some(next) = between(here, other) {
                *unknown = Some(there.then(&next));
                reached.push_back(to);
            }
        }
    }
    known
}

/// How far the clock of `other` is ahead of that of `one`, by what either asked the other.
fn between(one: &Exchanges, other: &Exchanges) -> Option<Correction> {
    let asked = one.with_servers_of(other).filter_map(Bounds::of_server);
    let mut bounds: Vec<_> = asked.chain(other.with_servers_of(one).filter_map(Bounds::of_client)).collect();
    bounds.sort_by_key(|bounds| (bounds.time, bounds.least, bounds.most));
    let samples = bounds.len();
    tighten(&mut bounds);
    let bounds = thinned(bounds);
    let least = bounds.iter().map(|bounds| bounds.least).max()?;
    let most = bounds.iter().map(|bounds| bounds.most).min()?;
    let constant = (least <= most).then(|| if (least..=most).contains(&0) { 0 } else { middle(least, most) });
    Some(Correction { points: bounds.iter().map(|bounds| bounds.point(constant)).collect(), samples })
}

/// Holds each against those before and behind it, as far as clocks can have drifted meanwhile. What contradicts its neighbours
/// (a clock was corrected at once) stays as it is.
fn tighten(bounds: &mut [Bounds]) {
    let alone: Vec<_> = bounds.to_vec();
    for index in 1..bounds.len() {
        hold_against(bounds, index, index - 1);
    }
    for index in (1..bounds.len()).rev() {
        hold_against(bounds, index - 1, index);
    }
    for (bounds, alone) in bounds.iter_mut().zip(alone) {
        if bounds.least > bounds.most {
            *bounds = alone;
        }
    }
}

fn hold_against(bounds: &mut [Bounds], index: usize, neighbour: usize) {
    let Some(by) = bounds.get(neighbour).copied().filter(|by| by.least <= by.most) else { return };
    let Some(bounds) = bounds.get_mut(index) else { return };
    let drifted = i64::try_from(drifted(bounds.time.abs_diff(by.time))).unwrap_or(i64::MAX);
    bounds.least = bounds.least.max(by.least.saturating_sub(drifted));
    bounds.most = bounds.most.min(by.most.saturating_add(drifted));
}

/// The tightest of each window; and of two that are closer to each other than either is wide, the tighter one: else their errors
/// would look like a drift, on which time went back.
fn thinned(bounds: Vec<Bounds>) -> Vec<Bounds> {
    let mut windows: BTreeMap<u64, Bounds> = BTreeMap::new();
    for bounds in bounds {
        let best = windows.entry(bounds.time / WINDOW).or_insert(bounds);
        if bounds.width() < best.width() {
            *best = bounds;
        }
    }
    let mut kept: Vec<Bounds> = Vec::new();
    for bounds in windows.into_values() {
        match kept.last_mut() {
            Some(last) if bounds.time.abs_diff(last.time) < APART.max(last.width()).max(bounds.width()) => {
                if bounds.width() < last.width() {
                    *last = bounds;
                }
            }
            _ => kept.push(bounds),
        }
    }
    kept
}

impl Bounds {
    /// Of the clock of the server; none if that took longer than the client waited: then it is not one exchange.
    fn of_server(sample: Sample) -> Option<Self> {
        let most = difference(sample.received, sample.sent)?;
        let least = difference(sample.answered, sample.came_back)?;
        (least <= most).then_some(Self { time: sample.received, least, most })
    }

    /// Of the client's.
    fn of_client(sample: Sample) -> Option<Self> {
        let Self { least, most, .. } = Self::of_server(sample)?;
        Some(Self { time: sample.sent, least: most.checked_neg()?, most: least.checked_neg()? })
    }

    fn width(self) -> u64 {
        self.most.abs_diff(self.least)
    }

    /// Ahead by this, or by what is in the middle.
    fn point(self, ahead: Option<i64>) -> Point {
        let ahead = ahead.unwrap_or(middle(self.least, self.most));
        let error = self.least.abs_diff(ahead).max(self.most.abs_diff(ahead));
        Point { time: self.time, ahead, error }
    }
}

fn middle(least: i64, most: i64) -> i64 {
    i64::try_from((i128::from(least) + i128::from(most)) / 2).unwrap_or(least)
}

fn difference(later: u64, earlier: u64) -> Option<i64> {
    i64::try_from(i128::from(later) - i128::from(earlier)).ok()
}

#[cfg(test)]
mod tests;
