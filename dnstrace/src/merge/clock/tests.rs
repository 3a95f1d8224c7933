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
    let known = corrections(&nodes);
    assert_eq!(known[0], Some(Correction::of_first()));
    let known = known[1].as_ref().unwrap();
    let (first, _, error) = known.ends().unwrap();
    assert_eq!((first.ahead, error, known.samples), (12_010_000, 100_000, 2));
    assert!(!known.is_none() && known.is_constant());
}

#[test]
fn a_chain_of_nodes_adds_up_and_strangers_stay_unknown() {
    let mut nodes: Vec<Exchanges> = (0..4).map(|_| Exchanges::default()).collect();
    let [first, second, third, _] = nodes.as_mut_slice() else { unreachable!() };
    // The second asks the first, which is 5 ms behind it; the second asks the third, which is 2 ms ahead of it.
    exchange(second, first, 1, -5_000_000, [1_000, 1, 1_000]);
    exchange(second, third, 2, 2_000_000, [2_000, 1, 2_000]);
    let known = corrections(&nodes);
    let ahead = known.iter().map(|known| known.as_ref().map(|known| known.at(0).ahead));
    assert!(ahead.eq([Some(0), Some(5_000_000), Some(7_000_000), None]), "{known:?}");
    let (.., error) = known[2].as_ref().unwrap().ends().unwrap();
    assert!((3_000..4_000).contains(&error), "errors add up: {error}");
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
        let known = corrections(&nodes)[1].clone().unwrap();
        prop_assert_eq!(known.samples, ways.len());
        prop_assert!(known.is_constant(), "one offset fits all: {:?}", known);
        let (first, _, error) = known.ends().unwrap();
        prop_assert!(first.ahead.abs_diff(ahead) <= error + 1);
    }

    /// Three nodes, of which the second asks the others.
    #[test]
    fn clocks_that_drift_are_followed_for_a_day(
        parts_per_million in [-50i64..=50, -50i64..=50],
        ahead in [-5_000_000_000i64..5_000_000_000, -5_000_000_000i64..5_000_000_000],
        asked in proptest::collection::vec(
            (0u64..DAY, any::<bool>(), [10_000u64..60_000_000, 0u64..50_000_000, 10_000u64..60_000_000]),
            1..300,
        ),
        looked_at in proptest::collection::vec(0u64..DAY, 20),
    ) {
        let drifts = [0, parts_per_million[0], parts_per_million[1]];
        // What each clock shows at a true time since the beginning.
        let shows = |node: usize, at: u64| {
            let drifted = i128::from(at) * i128::from(drifts[node]) / 1_000_000;
            let ahead = [0, ahead[0], ahead[1]][node];
            u64::try_from(i128::from(EPOCH) + i128::from(at) + drifted + i128::from(ahead)).unwrap()
        };
        let mut nodes = [Exchanges::default(), Exchanges::default(), Exchanges::default()];
        for (id, (at, to_first, [there, work, back])) in (1..).zip(&asked) {
            let server = if *to_first { 0 } else { 2 };
            let times = [*at, at + there, at + there + work, at + there + work + back];
            let seen = [(1, true, false), (server, false, false), (server, true, true), (1, false, true)];
            for (time, (node, sent, response)) in times.into_iter().zip(seen) {
                let other = if node == 1 { SERVICE } else { ENDPOINT };
                let event = message(shows(node, time), id, sent, response, CLIENT, other);
                nodes[node].note(&event, 0);
            }
        }
        let known = corrections(&nodes);
        for (node, known) in known.iter().enumerate().skip(1) {
            let Some(known) = known else { continue };
            for at in looked_at.iter().chain(asked.iter().map(|(at, ..)| at)) {
                let point = known.at(shows(node, *at));
                let truth = i64::try_from(i128::from(shows(node, *at)) - i128::from(shows(0, *at))).unwrap();
                let is_off = point.ahead.abs_diff(truth);
                // What clocks drift while a message is on its way.
                prop_assert!(
                    is_off <= point.error + 10_000,
                    "node {} at {}: {} off, told {:?}", node, at, is_off, point
                );
            }
            // Time goes on, whatever is corrected.
            let mut looked_at = looked_at.clone();
            looked_at.sort_unstable();
            let corrected = looked_at.iter().map(|at| {
                let shown = shows(node, *at);
                shown.saturating_add_signed(-known.at(shown).ahead)
            });
            prop_assert!(corrected.is_sorted());
        }
    }
}

const DAY: u64 = 86_400_000_000_000;

#[test]
fn a_long_trace_is_remembered_from_its_beginning_to_its_end() {
    let mut nodes = [Exchanges::default(), Exchanges::default()];
    let [one, other] = &mut nodes;
    let (hour, wall) = (3_600_000_000_000, i64::try_from(EPOCH).unwrap());
    // More than are remembered, with clocks that drift apart by 50 ms an hour.
    for number in 0..200_000u64 {
        let at = number * 24 * hour / 200_000;
        let client = format!("10.244.{}.{}:40000", number / 65_536, number % 256);
        let id = u16::try_from(number / 256 % 65_536).unwrap();
        let there = at + at / hour * 50_000_000;
        one.note(&message(at, id, true, false, &client, SERVICE), wall);
        other.note(&message(there + 1_000, id, false, false, &client, ENDPOINT), wall);
        other.note(&message(there + 2_000, id, true, true, &client, ENDPOINT), wall);
        one.note(&message(at + 3_000, id, false, true, &client, SERVICE), wall);
    }
    let known = corrections(&nodes)[1].clone().unwrap();
    assert!((20_000..=65_536).contains(&known.samples), "{}", known.samples);
    for hours in [0u64, 12, 23] {
        let point = known.at(EPOCH + hours * hour + hours * 50_000_000 + hour / 2);
        assert_eq!(point.ahead / 1_000_000, i64::try_from(hours * 50).unwrap(), "{point:?}");
    }
}
