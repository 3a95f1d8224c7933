//! What holds of whatever comes.

use proptest::{collection::vec, prelude::*};

use super::*;

/// A message, small or large, as its kind, id and size say.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let size = prop_oneof![9 => 0usize..600, 1 => 600usize..9_000];
    (any::<bool>(), any::<u16>(), "[a-z0-9]{1,40}", size).prop_map(|(is_query, id, label, size)| {
        let name = format!("{label}.example.");
        if is_query { query(id, &name) } else { answer(id, &name, size) }
    })
}

/// How a stream is cut into calls.
fn cuts() -> impl Strategy<Value = Vec<usize>> {
    vec(prop_oneof![3 => 1usize..4, 5 => 1usize..300, 2 => 1usize..9_000], 1..200)
}

/// The lengths of calls: those of `cuts`, repeated.
fn calls(length: usize, cuts: &[usize]) -> Vec<usize> {
    let mut left = length;
    let mut calls = Vec::new();
    for cut in cuts.iter().cycle() {
        if left == 0 {
            break;
        }
        calls.push((*cut).min(left));
        left -= (*cut).min(left);
    }
    calls
}

fn line(direction: Direction, opened: bool, seq: u32) -> Line {
    let line = if opened { Line::new(direction).opened() } else { Line::new(direction) };
    Line { seq, ..line }
}

fn direction() -> impl Strategy<Value = Direction> {
    prop_oneof![Just(Direction::Sent), Just(Direction::Received)]
}

/// Payloads of the messages told; fails on anything else.
fn payloads(line: &Line) -> Vec<Vec<u8>> {
    let payload = |framed: &Framed| match framed {
        Framed::Message(message) => message.payload.to_vec(),
        other => panic!("{}", words(other)),
    };
    line.out.iter().map(payload).collect()
}

proptest! {
    /// However messages are cut into calls, whatever is offered or told twice: they are told once, whole, in order.
    #[test]
    fn messages_are_told_whole_and_in_order(
        messages in vec(message(), 1..8),
        cuts in cuts(),
        again in vec((0usize..40, 0usize..5_000), 0..20),
        direction in direction(),
        opened: bool,
        seq: u32,
    ) {
        let stream = all(&messages);
        let mut line = line(direction, opened, seq);
        let mut at = 0;
        for (index, length) in calls(stream.len(), &cuts).into_iter().enumerate() {
            line.call(&stream[at..at + length]);
            at += length;
            for (_, back) in again.iter().filter(|(when, _)| *when == index) {
                let back = (*back).min(at);
                line.not_taken(back).call(&stream[at - back..at]);
            }
        }
        prop_assert_eq!(payloads(&line), messages);
        prop_assert_eq!(line.streams.kept, 0);
        line.out.clear();
        line.end();
        prop_assert!(line.out.is_empty());
        prop_assert_eq!(line.streams.totals(), StreamTotals::default());
    }

    /// Whatever part of the calls is lost or cut: no message is told that was not sent, none twice, none out of
    /// order, and every byte is accounted for.
    #[test]
    fn with_losses_nothing_is_invented_and_every_byte_is_accounted_for(
        messages in vec(message(), 1..8),
        cuts in cuts(),
        losses in vec((0usize..60, prop_oneof![Just(0usize), 0usize..400]), 0..20),
        direction in direction(),
        opened: bool,
        seq: u32,
    ) {
        let stream = all(&messages);
        let mut line = line(direction, opened, seq);
        let (mut at, mut first, mut last) = (0, None, 0);
        for (index, length) in calls(stream.len(), &cuts).into_iter().enumerate() {
            let call = &stream[at..at + length];
            at += length;
            match losses.iter().find(|(when, _)| *when == index) {
                Some((_, 0)) => _ = line.lost_call(call),
                lost => {
                    first.get_or_insert(at - length);
                    last = at;
                    line.cut_call(call, lost.map_or(length, |(_, captured)| length.min(*captured)));
                }
            }
        }
        line.end();

        let mut sent = messages.iter();
        for told in &line.out {
            if let Framed::Message(told) = told {
                let is_it = |sent: &&Vec<u8>| sent.len() == told.length as usize && sent.starts_with(&told.payload);
                prop_assert!(sent.any(|sent| is_it(&sent)), "{}", words(&Framed::Message(told.clone())));
            }
        }
        let extent = |framed: &Framed| match framed {
            Framed::Message(message) => 2 + u64::from(message.length),
            Framed::Skipped(_) | Framed::NotDns(_) => 0,
        };
        let totals = line.streams.totals();
        let accounted = line.out.iter().map(extent).sum::<u64>() + totals.skipped + totals.not_dns;
        let seen = (last - first.unwrap_or(0)) as u64;
        prop_assert!(accounted >= seen, "{accounted} of {seen}");
        // An unfinished message at the end reaches beyond what was seen.
        let beyond = match line.out.last() {
            Some(unfinished @ Framed::Message(_)) => extent(unfinished),
            _ => 1,
        };
        prop_assert!(accounted - seen < beyond, "{accounted} of {seen}");
    }

    /// Once in step again, all is told: a loss costs what it hit and what it takes to the next call that begins with
    /// a message.
    #[test]
    fn a_loss_costs_no_more_than_it_hit(
        messages in vec(message(), 2..8),
        lost in 0usize..7,
        opened: bool,
        split: bool,
    ) {
        let lost = lost % messages.len();
        let mut line = line(Direction::Received, opened, 1);
        for (index, message) in messages.iter().enumerate() {
            let bytes = framed(message);
            let (prefix, rest) = bytes.split_at(if split { 2 } else { 0 });
            if index == lost {
                line.lost_call(&bytes);
            } else {
                if split { line.call(prefix); }
                line.call(rest);
            }
        }
        let told: Vec<_> = line.out.iter().filter(|framed| matches!(framed, Framed::Message(_))).collect();
        prop_assert_eq!(told.len(), messages.len() - 1);
    }

    /// Any bytes, anywhere: bounded, and no byte of a payload that was not there.
    #[test]
    fn no_bytes_can_break_it(
        calls in vec(
            (0u64..4, 0u8..13, any::<Option<u32>>(), 0u32..9_000, vec(any::<u8>(), 0..300), any::<u8>()),
            0..60,
        ),
    ) {
        let mut line = Line::sent();
        line.streams = Streams::new(StreamLimits { connections: 3, waiting: 2_000 });
        for (socket, state, seq, near, bytes, flags) in calls {
            line.socket = socket;
            line.direction = if flags & 1 == 0 { Direction::Sent } else { Direction::Received };
            line.state = TcpState::from_number(state).unwrap_or(TcpState::Established);
            let mut call = line.bytes(&bytes);
            if flags & 2 == 0 {
                call.seq = seq;
            } else {
                call.seq = Some(line.seq.wrapping_sub(4_500).wrapping_add(near));
            }
            if flags & 4 == 0 {
                call.length = near;
            }
            if flags & 8 == 0 {
                call.length = u32::MAX - near;
            }
            line.push(call);
            if flags & 0x30 == 0 {
                line = line.opened();
            }
            if flags & 0xc0 == 0 {
                line.end();
            }
            prop_assert!(line.streams.connections.len() <= 3);
            prop_assert!(line.streams.kept <= 2_000);
            let kept: usize = line.streams.connections.iter().map(|(_, connection)| connection.kept()).sum();
            prop_assert_eq!(kept, line.streams.kept);
        }
        line.streams.finish(KernelTime(99), &mut line.out);
        prop_assert_eq!(line.streams.kept, 0);
        prop_assert!(line.out.iter().map(message_of).all(|told| told.payload.len() <= told.length as usize));
    }
}
