//! What holds of whatever comes.

use proptest::{collection::vec, prelude::*};

use super::{packets::*, tcp::*, *};
use crate::event::{
    ConfirmResult, Connection, ConnectionChange, TcpHead, TcpState,
    TcpState::{Close, CloseWait, Established, FinWait1, FinWait2, LastAck, SynRecv, SynSent},
};

proptest! {
    /// Whatever comes in whatever order: every message is accounted for exactly once, as an attempt, an answer
    /// or a stray, and no finer clock changes a word.
    #[test]
    fn every_message_is_accounted_for_once(
        steps in vec((0u64..4_000, 0u16..3, 0u8..3, 0u32..4, any::<bool>()), 0..80),
    ) {
        let mut time = 0;
        let mut feed = Vec::new();
        for (step, id, name, who, response) in steps {
            time += step * MS;
            let c = if who < 2 { client() } else { tcp() };
            let c = Client { netns: who % 2, pid: who % 2, ..c };
            let name = format!("{name}.");
            feed.push(if response { c.gets(time, answer(id, &name)) } else { c.asks(time, id, &name) });
        }
        let count = feed.len();
        let out = run(feed, time + 100_000 * MS);
        let mut accounted = strays(&out).len();
        for query in queries(&out) {
            accounted += query.attempts.len() + query.attempts_left_out as usize;
            accounted += query.attempts.iter().filter(|a| a.answer().is_some()).count();
        }
        prop_assert_eq!(accounted, count);
    }
}

/// One of few clients, some of which share an address and a port.
fn some_client() -> impl Strategy<Value = Client> {
    (0u32..4, 0u32..3, 0u64..2, 0u32..2, 0u32..3).prop_map(|(host, netns, socket, server, over)| Client {
        local: format!("10.244.1.{}:40000", 7 + host % 3).parse().unwrap(),
        server: format!("10.96.0.{}:53", 10 + server).parse().unwrap(),
        netns: if host == 3 { NODE } else { 7 + netns },
        pid: 100 + netns,
        tid: 1,
        socket,
        transport: if over == 0 { Transport::Udp } else { Transport::Tcp },
    })
}

const STATES: [(TcpState, TcpState); 12] = [
    (Close, SynSent),
    (Close, SynSent),
    (SynSent, Established),
    (SynSent, Established),
    (SynSent, Close),
    (SynRecv, Established),
    (Established, FinWait1),
    (Established, CloseWait),
    (Established, Close),
    (CloseWait, LastAck),
    (LastAck, Close),
    (FinWait2, Close),
];

fn some_entry(c: &Client, ct: u64) -> Connection {
    let mut entry = c.entry(ct, if ct.is_multiple_of(2) { NEAR } else { FAR });
    if ct.is_multiple_of(3) {
        entry.reply.destination = "192.0.2.1:40000".parse().unwrap();
    }
    entry
}

/// Something that may happen, possible or not.
#[derive(Clone, Debug)]
struct Happening {
    kind: u8,
    client: Client,
    id: u16,
    name: u8,
    ct: u64,
    /// Is an answer; bears its entry; is cut off; lacks its question; is translated.
    flags: [bool; 5],
}

fn happening() -> impl Strategy<Value = Happening> {
    let choices = (0u8..26, some_client(), 0u16..3, 0u8..2, 0u64..5, any::<[bool; 5]>());
    choices.prop_map(|(kind, client, id, name, ct, flags)| Happening { kind, client, id, name, ct, flags })
}

/// An eviction, an ICMP error or a drop.
fn of_a_packet() -> impl Strategy<Value = Happening> {
    happening().prop_map(|mut happening| {
        happening.kind = 11 + happening.kind % 3;
        happening.flags[2] &= happening.kind != 12;
        // A SYN may be of whoever opens a connection and whose port is not known.
        happening.flags[3] &= happening.client.transport == Transport::Udp;
        happening
    })
}

impl Happening {
    fn packet(&self) -> Pkt {
        let (c, id, name) = (&self.client, self.id, format!("{}.", self.name));
        let [is_answer, is_tracked, is_cut, has_no_question, is_translated] = self.flags;
        let mut packet = match (is_answer, is_translated) {
            (false, false) => c.query(id, &name),
            (false, true) => c.query(id, &name).between("192.0.2.1:40000", NEAR).at(9),
            (true, false) => c.answer(id, &name).at(c.netns),
            (true, true) => c.answer_from(NEAR.parse().unwrap(), id, &name),
        };
        if is_tracked {
            packet = packet.by(self.entry());
        }
        if has_no_question {
            packet = packet.without_question();
        }
        if c.transport == Transport::Tcp {
            let (syn, ack) = (has_no_question && is_tracked, is_answer);
            packet.packet.tcp = Some(TcpHead { seq: 1, syn, ack, fin: false, rst: false });
            packet = packet.cut();
        }
        if is_cut { packet.cut() } else { packet }
    }

    /// A thing that happens to connections alone.
    fn of_connection(&self, at: u64) -> Input {
        let [has_error, is_encrypted, is_skipped, ..] = self.flags;
        let c = Client { transport: Transport::Tcp, ..self.client.clone() };
        let c = if is_encrypted { Client { server: SocketAddr::new(c.server.ip(), 853), ..c } } else { c };
        let turn = STATES[usize::from(self.kind % 12)];
        match (self.kind, turn) {
            (..=21, (Close, SynSent)) => c.opens(at),
            (..=21, (from, to)) => {
                let error = (has_error && to == Close).then_some(ECONNRESET);
                Input::Change(ConnectionChange { error, ..c.change(at, from, to) })
            }
            (22, _) => c.sends_again(at, if has_error { SynSent } else { Established }),
            (23, _) => c.cannot_connect(at, EHOSTUNREACH),
            (24, _) => {
                let direction = if has_error { Direction::Sent } else { Direction::Received };
                let seen = c.seen(at, direction, c.server, c.local);
                if is_skipped { Input::Skipped(seen) } else { Input::NotDns(seen) }
            }
            _ => {
                let udp = Client { transport: Transport::Udp, ..c };
                udp.gets(at, truncated(self.id, &format!("{}.", self.name))).into()
            }
        }
    }

    fn entry(&self) -> Connection {
        some_entry(&self.client, self.ct)
    }

    fn at(&self, at: u64) -> Input {
        let (c, id, name) = (&self.client, self.id, format!("{}.", self.name));
        let [_, is_tracked, is_cut, ..] = self.flags;
        let confirmed = |result| self.packet().by(self.entry()).confirmed(at, result);
        let (packet, entry) = (self.packet(), self.entry());
        match self.kind {
            0..=2 => c.asks(at, id, &name).into(),
            3 => c.gets(at, answer(id, &name)).into(),
            4 => c.fails_to_ask(at, id, &name),
            5 => c.is_refused(at, at.saturating_sub(MS)),
            6 => confirmed(ConfirmResult::Inserted),
            7 => confirmed(ConfirmResult::Merged { ct: self.ct + 1 }),
            8 => confirmed(ConfirmResult::ReplyOnly),
            9 => confirmed(ConfirmResult::Failed),
            10 => clash(at, self.ct, some_entry(c, self.ct + 1)),
            11 => eviction(at, entry),
            12 if is_cut => loss(at.saturating_sub(5 * MS), at, 1),
            14.. => self.of_connection(at),
            12 => packet.icmp(at, if is_tracked { Direction::Sent } else { Direction::Received }, 3, 3),
            _ => packet.dropped(at, if is_tracked { "NO_SOCKET" } else { "NETFILTER_DROP" }),
        }
    }
}

/// A course of events, in order of time.
fn course() -> impl Strategy<Value = Vec<Input>> {
    vec((0u64..900, happening()), 0..80).prop_map(|happenings| {
        let mut at = MS;
        let course = happenings.into_iter().map(|(step, happening)| {
            at += step * step * 1_000;
            happening.at(at)
        });
        course.collect()
    })
}

const END: KernelTime = KernelTime(1_000_000 * MS);

/// Runs a course to its end, with a clock that ticks every so often.
fn run_ticked(course: &[Input], limits: Limits, tick: Option<u64>) -> (Tracker, Vec<Output>) {
    let mut tracker = Tracker::new(limits, Sight::default());
    let (mut out, mut now) = (Vec::new(), 0);
    for input in course {
        while let Some(tick) = tick
            && now < input.time().0
        {
            tracker.advance(KernelTime(now), &mut out);
            now += tick;
        }
        input.clone().feed(&mut tracker, &mut out);
    }
    tracker.finish(END, &mut out);
    (tracker, out)
}

proptest! {
    #[test]
    fn no_finer_clock_changes_a_word(course in course(), tick in 1u64..2_000) {
        let (_, out) = run_ticked(&course, Limits::default(), None);
        let (_, ticked) = run_ticked(&course, Limits::default(), Some(tick * MS));
        prop_assert_eq!(format!("{out:?}"), format!("{ticked:?}"));
    }

    #[test]
    fn every_table_keeps_within_its_bounds(course in vec(course(), 1..6)) {
        let limits = Limits { queries: 3, attempts: 2, steps: 3, ..Limits::default() };
        let mut tracker = Tracker::new(limits, Sight::default());
        let mut out = Vec::new();
        for input in course.into_iter().flatten() {
            input.feed(&mut tracker, &mut out);
            tracker.check_bounds();
        }
        tracker.finish(END, &mut out);
        for query in queries(&out) {
            prop_assert!((1..=2).contains(&query.attempts.len()));
            prop_assert!(query.attempts.iter().all(|attempt| attempt.steps.len() <= 3));
        }
        tracker.check_bounds();
        tracker.advance(KernelTime(u64::MAX), &mut out);
        tracker.check_empty();
    }

    /// What befalls packets of another port is nobody's.
    #[test]
    fn a_packet_is_of_no_other_flow(course in course(), stranger in of_a_packet(), at in 0u64..25_000) {
        let (_, before) = run_ticked(&course, Limits::default(), None);
        let mut all = course;
        let elsewhere = |address: &mut SocketAddr| {
            if address.port() == 40_000 {
                address.set_port(40_001);
            }
        };
        let mut stranger = stranger.at(at * MS);
        stranger.each_address(elsewhere);
        let index = all.partition_point(|input| input.time() <= stranger.time());
        all.insert(index, stranger);
        let (_, after) = run_ticked(&all, Limits::default(), None);
        let told = |out: &[Output]| {
            out.iter().filter(|o| matches!(o, Output::Query(_))).map(|o| format!("{o:?}")).collect::<Vec<_>>()
        };
        prop_assert_eq!(told(&before), told(&after));
        prop_assert_eq!(before.len() + 1, after.len());
    }

    /// Every step of an attempt is of a packet that it may have sent or that may have answered it.
    #[test]
    fn no_step_precedes_its_attempt_and_every_fate_has_its_step(course in course()) {
        let (_, out) = run_ticked(&course, Limits::default(), None);
        for attempt in queries(&out).into_iter().flat_map(|query| &query.attempts) {
            // Of a connection's opening the query tells that is sent when it is over.
            let from = attempt.carrier.map_or(attempt.time, |carrier| carrier.opened.unwrap_or_default());
            prop_assert!(attempt.steps.iter().all(|step| step.time >= from));
            prop_assert!(attempt.steps.is_sorted_by_key(|step| step.time));
            let decided = match attempt.fate {
                Fate::AnsweredLate { step, .. } | Fate::AnswerDropped { step } => Some((step, Leg::Answer)),
                Fate::Dropped { step } => Some((step, Leg::Query)),
                _ => None,
            };
            if let Some((step, leg)) = decided {
                let opening = if leg == Leg::Query { Leg::Syn } else { Leg::SynAck };
                let is_it = matches!(
                    &attempt.steps[step].what,
                    What::Dropped(dropped) if [leg, opening].contains(&dropped.leg)
                );
                prop_assert!(is_it, "{:?}", attempt);
            }
            let tells_end = match attempt.fate {
                Fate::ConnectFailed { step } | Fate::ConnectionLost { step } => Some(step),
                _ => None,
            };
            if let Some(step) = tells_end {
                let what = &attempt.steps[step].what;
                let is_it = matches!(what, What::ConnectFailed { .. } | What::ConnectionEnded(_));
                prop_assert!(is_it, "{:?}", attempt);
            }
        }
    }
}
