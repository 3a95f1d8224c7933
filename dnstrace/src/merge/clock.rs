//! How far the clocks of nodes are apart, by the messages that went between them.
//!
//! As NTP does it (RFC 5905, 8): a query and its answer bear four times. Of the delay that both ways took together nobody
//! knows how it was shared between them, so half of it is the error; the exchange with the shortest delay tells best.

use std::collections::VecDeque;

use super::exchange::{Exchanges, Sample};

/// How far a node's clock is ahead of the first node's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Correction {
    /// Nanoseconds; negative if it is behind.
    pub ahead: i64,
    /// It may be as many nanoseconds more or less.
    pub error: u64,
    /// Exchanges that it was estimated from.
    pub samples: usize,
}

impl Correction {
    /// Of the first node, against which the others are held.
    const NONE: Self = Self { ahead: 0, error: 0, samples: 0 };

    /// Whether the clocks may as well agree: then nothing is to be corrected.
    pub fn may_be_none(&self) -> bool {
        self.ahead.unsigned_abs() <= self.error
    }

    /// Of a third node, whose clock was compared with that of the second.
    fn then(self, next: Self) -> Self {
        Self {
            ahead: self.ahead.saturating_add(next.ahead),
            error: self.error.saturating_add(next.error),
            samples: next.samples,
        }
    }

    /// Seen from the other side.
    fn reversed(self) -> Self {
        Self { ahead: self.ahead.saturating_neg(), ..self }
    }
}

/// How far each node's clock is ahead of the first one's; none if no messages went between them that both ends saw, not even
/// by way of a third node.
pub fn corrections(nodes: &[Exchanges]) -> Vec<Option<Correction>> {
    let mut known: Vec<Option<Correction>> = vec![None; nodes.len()];
    let Some(first) = known.first_mut() else { return known };
    *first = Some(Correction::NONE);
    let mut reached = VecDeque::from([0]);
    while let Some(from) = reached.pop_front() {
        let (Some(here), Some(there)) = (nodes.get(from), known.get(from).copied().flatten()) else {
            continue;
        };
        for (to, other) in nodes.iter().enumerate() {
            let Some(unknown @ None) = known.get_mut(to) else { continue };
            if let Some(next) = between(here, other) {
                *unknown = Some(there.then(next));
                reached.push_back(to);
            }
        }
    }
    known
}

/// How far the clock of `other` is ahead of that of `one`: by whichever direction of asking tells better.
fn between(one: &Exchanges, other: &Exchanges) -> Option<Correction> {
    let there = estimate(one.with_servers_of(other));
    let back = estimate(other.with_servers_of(one)).map(Correction::reversed);
    let samples = [there, back].iter().flatten().map(|estimate| estimate.samples).sum();
    let best = [there, back].into_iter().flatten().min_by_key(|estimate| estimate.error)?;
    Some(Correction { samples, ..best })
}

/// How far the servers' clock is ahead of the clients'.
fn estimate(samples: impl Iterator<Item = Sample>) -> Option<Correction> {
    let mut count = 0;
    let sane = samples.filter(|sample| delay(sample).is_some()).inspect(|_| count += 1);
    let best = sane.min_by_key(|sample| (delay(sample), sample.sent))?;
    Some(Correction { ahead: ahead(&best), error: delay(&best)?.div_ceil(2), samples: count })
}

/// What both ways took; none if the server took longer than the client waited: then it is not one exchange.
fn delay(sample: &Sample) -> Option<u64> {
    let waited = sample.came_back.checked_sub(sample.sent)?;
    waited.checked_sub(sample.answered.checked_sub(sample.received)?)
}

fn ahead(sample: &Sample) -> i64 {
    let there = i128::from(sample.received) - i128::from(sample.sent);
    let back = i128::from(sample.answered) - i128::from(sample.came_back);
    i64::try_from((there + back) / 2).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::event::{Direction, Event, Flow, KernelTime, SocketMessage, Task, Transport};

    const EPOCH: u64 = 1_700_000_000_000_000_000;

    /// A message about `a.` with this id.
    fn message(time: u64, id: u16, sent: bool, response: bool, client: &str, server: &str) -> Event {
        let [high, low] = id.to_be_bytes();
        let flags = if response { 0x80 } else { 0 };
        let payload = [high, low, flags, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'a', 0, 0, 1, 0, 1];
        let (client, server) = (client.parse().unwrap(), server.parse().unwrap());
        let (source, destination) = if response { (server, client) } else { (client, server) };
        Event::Message(SocketMessage {
            time: KernelTime(time),
            direction: if sent { Direction::Sent } else { Direction::Received },
            flow: Flow { source, destination, transport: Transport::Udp },
            socket: 1,
            netns: 7,
            task: Task { cgroup: 1, pid: 1, tid: 1, comm: String::new() },
            arrived: None,
            payload: Bytes::copy_from_slice(&payload),
            length: u32::try_from(payload.len()).unwrap(),
            gap: None,
        })
    }

    const CLIENT: &str = "10.244.1.7:40000";
    const SERVICE: &str = "10.96.0.10:53";
    const ENDPOINT: &str = "10.244.2.9:53";

    /// An exchange from `one` to `other`, whose clock is `ahead`: the ways take `there` and `back`, the server `work`.
    fn exchange(one: &mut Exchanges, other: &mut Exchanges, id: u16, ahead: i64, ways: [u64; 3]) {
        let [there, work, back] = ways;
        let sent = u64::from(id) * 1_000_000;
        let wall = i64::try_from(EPOCH).unwrap();
        one.note(&message(sent, id, true, false, CLIENT, SERVICE), wall);
        other.note(&message(sent + there, id, false, false, CLIENT, ENDPOINT), wall + ahead);
        other.note(&message(sent + there + work, id, true, true, CLIENT, ENDPOINT), wall + ahead);
        one.note(&message(sent + there + work + back, id, false, true, CLIENT, SERVICE), wall);
    }

    #[test]
    fn the_shortest_way_tells_best() {
        let mut nodes = [Exchanges::default(), Exchanges::default()];
        let [one, other] = &mut nodes;
        exchange(one, other, 1, 12_000_000, [900_000, 5_000, 100_000]);
        exchange(one, other, 2, 12_000_000, [110_000, 90_000_000, 90_000]);
        let expected = Correction { ahead: 12_010_000, error: 100_000, samples: 2 };
        assert_eq!(corrections(&nodes), [Some(Correction::NONE), Some(expected)]);
        assert!(!expected.may_be_none());
    }

    #[test]
    fn a_chain_of_nodes_adds_up_and_strangers_stay_unknown() {
        let mut nodes: Vec<Exchanges> = (0..4).map(|_| Exchanges::default()).collect();
        let [first, second, third, _] = nodes.as_mut_slice() else { unreachable!() };
        // The second asks the first, which is 5 ms behind it; the second asks the third, which is 2 ms ahead of it.
        exchange(second, first, 1, -5_000_000, [1_000, 1, 1_000]);
        exchange(second, third, 2, 2_000_000, [2_000, 1, 2_000]);
        let ahead: Vec<_> = corrections(&nodes).iter().map(|known| known.map(|known| known.ahead)).collect();
        assert_eq!(ahead, [Some(0), Some(5_000_000), Some(7_000_000), None]);
        assert!(corrections(&[]).is_empty());
    }

    #[test]
    fn what_came_twice_tells_nothing() {
        let mut nodes = [Exchanges::default(), Exchanges::default()];
        let [one, other] = &mut nodes;
        exchange(one, other, 1, 3, [1_000, 1, 1_000]);
        exchange(one, other, 1, 3, [1_000, 1, 1_000]);
        assert_eq!(corrections(&nodes)[1], None);
    }

    proptest! {
        #[test]
        fn the_truth_lies_within_the_error(
            ahead in -10_000_000_000i64..10_000_000_000,
            ways in proptest::collection::vec([0u64..50_000_000, 0u64..50_000_000, 0u64..50_000_000], 1..20),
        ) {
            let mut nodes = [Exchanges::default(), Exchanges::default()];
            let [one, other] = &mut nodes;
            for (id, ways) in (1..).zip(&ways) {
                exchange(one, other, id, ahead, *ways);
            }
            let known = corrections(&nodes)[1].unwrap();
            prop_assert_eq!(known.samples, ways.len());
            prop_assert!(known.ahead.abs_diff(ahead) <= known.error + 1);
        }
    }
}
