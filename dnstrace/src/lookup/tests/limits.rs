//! Bounds, and that no fate is lost to them.

use super::{packets::*, tcp::*, told::*, *};

#[test]
fn the_step_that_decides_is_kept() {
    let c = client();
    let mut tracker = Tracker::new(Limits { steps: 2, ..Limits::default() }, Sight::default());
    let mut out = Vec::new();
    let q = || c.query(1, "a.");
    let mut inputs: Vec<Input> = vec![c.asks(0, 1, "a.").into()];
    inputs.extend((1..9).map(|at| q().icmp(at, Direction::Sent, 5, 1)));
    inputs.extend([q().dropped(10, "QDISC_DROP"), q().icmp(11, Direction::Sent, 5, 1)]);
    for input in inputs {
        input.feed(&mut tracker, &mut out);
    }
    tracker.finish(KernelTime(100_000 * MS), &mut out);
    assert_eq!(told(&out), ["1 A a.: dropped 2: icmp q sent 5/1, drop q QDISC_DROP"]);
    assert_eq!(queries(&out)[0].attempts[0].steps_left_out, 8);
}

#[test]
fn a_clash_forgotten_for_want_of_room_is_no_proof_that_there_was_none() {
    let c = client();
    let mut tracker = Tracker::new(Limits { queries: 4, ..Limits::default() }, Sight::default());
    let mut out = Vec::new();
    let mut inputs: Vec<Input> = vec![c.asks(0, 1, "a.").into()];
    inputs.extend((0..10).map(|ct| clash(4_500 + ct, ct, c.entry(0xff, NEAR))));
    let failed = crate::event::ConfirmResult::Failed;
    inputs.push(c.query(1, "a.").by(c.entry(0, FAR)).confirmed(5_000, failed));
    for input in inputs {
        input.feed(&mut tracker, &mut out);
    }
    tracker.finish(KernelTime(100_000 * MS), &mut out);
    assert_eq!(told(&out), ["1 A a.: lost 1: failed -> 10.244.2.9"]);
}

#[test]
fn connections_that_have_ended_are_forgotten_first_and_others_are_counted() {
    let mut tracker = Tracker::new(Limits { queries: 4, ..Limits::default() }, Sight::default());
    let mut out = Vec::new();
    let connections: Vec<_> = (1..=6).map(|socket| tcp().another(socket)).collect();
    for (at, t) in connections.iter().enumerate() {
        let at = at as u64 * MS;
        t.opens(at).feed(&mut tracker, &mut out);
        t.is_open(at + 10).feed(&mut tracker, &mut out);
        // The third is the first to go.
        if at == 2 * MS {
            t.is_reset(at + 20).feed(&mut tracker, &mut out);
        }
    }
    assert_eq!(tracker.totals(), Totals { connections: 1, ..Totals::default() });
    let Client { netns, .. } = tcp();
    let known = |socket| tracker.connections.at_socket(netns, socket).is_some();
    assert_eq!([1, 2, 3, 4, 5, 6].map(known), [false, true, false, true, true, true]);
}

impl Tracker {
    /// No table is larger than its limits allow.
    pub fn check_bounds(&self) {
        let (table, limits) = (&self.table, self.table.limits);
        assert!(table.open.len() <= limits.queries && table.ended.len() <= limits.queries);
        let attempts = 2 * limits.queries * limits.attempts;
        assert!(table.places.attempts() <= attempts);
        assert!(table.places.len() <= attempts * crate::lookup::places::KEYS);
        assert!(table.sends.len() <= 2 * attempts);
        assert!(table.deadlines.len() <= 2 * limits.queries);
        assert!(table.askers.len() <= limits.queries);
        assert!(table.carried.len() <= attempts && table.groups.len() <= attempts);
        assert!(table.retrying.len() <= limits.queries);
        assert!(self.entries.len() <= limits.queries);
        assert!(self.connections.lens().iter().all(|len| *len <= limits.queries));
        assert!(self.grouping.lens().iter().all(|len| *len <= limits.queries));
    }

    /// Nothing is left of queries once they have ended and been forgotten.
    pub fn check_empty(&self) {
        let table = &self.table;
        assert!(table.open.is_empty() && table.ended.is_empty());
        assert_eq!((table.places.attempts(), table.places.len()), (0, 0));
        assert!(table.sends.is_empty() && table.deadlines.is_empty() && table.askers.is_empty());
        assert!(table.carried.is_empty() && table.groups.is_empty() && table.retrying.is_empty());
        assert_eq!(self.connections.lens(), [0; 5]);
        assert_eq!(self.grouping.lens(), [0; 4]);
    }
}
