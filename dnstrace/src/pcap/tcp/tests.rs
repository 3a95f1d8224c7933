//! Segments in every order.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::{
    event::{Direction as Way, Flow, StreamBytes, TcpHead, TcpState, Transport},
    pcap::copies::Copies,
};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;
/// Sequence numbers of the SYNs: the client's goes round.
const CLIENT: u32 = u32::MAX - 5;
const SERVER: u32 = 5_000;

/// A connection under test.
#[derive(Default)]
struct Wire {
    connections: Connections,
    hosts: Hosts,
    copies: Copies,
    now: u64,
    events: Vec<Event>,
}

/// A segment as it is given to it.
#[derive(Clone, Copy, Default)]
struct Flags {
    syn: bool,
    ack: Option<u32>,
    fin: bool,
    rst: bool,
}

const DATA: Flags = Flags { syn: false, ack: None, fin: false, rst: false };
const SYN: Flags = Flags { syn: true, ..DATA };
const FIN: Flags = Flags { fin: true, ..DATA };
const RST: Flags = Flags { rst: true, ..DATA };

fn acks(bytes: u32, of: u32) -> Flags {
    Flags { ack: Some(of.wrapping_add(1 + bytes)), ..DATA }
}

impl Wire {
    fn pass(&mut self, from_client: bool, seq: u32, payload: &[u8], length: usize, flags: Flags) {
        let (client, server) = ("10.0.0.1:40000".parse().unwrap(), "10.0.0.2:53".parse().unwrap());
        let flow = Flow { source: client, destination: server, transport: Transport::Tcp };
        let Flags { syn, ack, fin, rst } = flags;
        let segment = Segment {
            flow: if from_client { flow } else { flow.reversed() },
            head: TcpHead { seq, syn, ack: ack.is_some(), fin, rst },
            acknowledges: ack,
            payload: Bytes::copy_from_slice(payload),
            length: u32::try_from(length).unwrap(),
        };
        self.now += MS;
        let watch = Watch { ports: vec![53] };
        let place = self.copies.place(0, &[u8::from(from_client)]);
        let time = KernelTime(self.now);
        self.connections.segment(time, place, segment, (&watch, &mut self.hosts), &mut self.events);
    }

    /// Bytes from the client, from this place of its stream on.
    fn sends(&mut self, at: u32, payload: &[u8], flags: Flags) {
        self.pass(true, CLIENT.wrapping_add(1 + at), payload, payload.len(), flags);
    }

    /// Likewise from the server.
    fn answers(&mut self, at: u32, payload: &[u8], flags: Flags) {
        self.pass(false, SERVER + 1 + at, payload, payload.len(), flags);
    }

    fn open(&mut self) {
        self.pass(true, CLIENT, b"", 0, SYN);
        self.pass(false, SERVER, b"", 0, Flags { syn: true, ..acks(0, CLIENT) });
        assert_eq!(self.changes(), ["Close -> SynSent", "SynSent -> Established"]);
        self.events.clear();
    }

    fn changes(&self) -> Vec<String> {
        let words = |event: &Event| match event {
            Event::Connection(change) => {
                let error = change.error.map(|errno| format!(" {errno}")).unwrap_or_default();
                Some(format!("{:?} -> {:?}{error}", change.from, change.to))
            }
            _ => None,
        };
        self.events.iter().filter_map(words).collect()
    }

    fn streams(&self) -> impl Iterator<Item = &StreamBytes> {
        self.events.iter().filter_map(|event| match event {
            Event::Stream(bytes) => Some(bytes),
            _ => None,
        })
    }

    /// What was told of one way: `abc`, with `|` where bytes are missing in between.
    fn told(&self, way: Way) -> String {
        let (mut text, mut next) = (String::new(), None);
        for bytes in self.streams().filter(|bytes| bytes.direction == way) {
            if next.is_some_and(|next| Some(next) != bytes.seq) {
                text.push('|');
            }
            text.push_str(str::from_utf8(&bytes.bytes).unwrap());
            next = bytes.seq.map(|seq| seq.wrapping_add(bytes.length));
        }
        text
    }

    fn retransmissions(&self) -> Vec<TcpState> {
        let state = |event: &Event| match event {
            Event::Retransmission(again) => Some(again.state),
            _ => None,
        };
        self.events.iter().filter_map(state).collect()
    }
}

#[test]
fn segments_are_told_in_the_order_of_the_stream() {
    let mut wire = Wire::default();
    wire.open();
    wire.sends(3, b"def", DATA);
    wire.sends(6, b"ghi", DATA);
    assert_eq!(wire.told(Way::Sent), "");
    wire.sends(0, b"abc", DATA);
    assert_eq!((wire.told(Way::Sent), wire.retransmissions()), ("abcdefghi".to_owned(), vec![]));
    wire.answers(2, b"zz", DATA);
    wire.answers(0, b"yy", DATA);
    assert_eq!(wire.told(Way::Received), "yyzz");
    let sockets: Vec<_> = wire.streams().map(|bytes| (bytes.netns, bytes.socket)).collect();
    assert!(sockets.windows(2).all(|pair| pair[0] == pair[1]), "{sockets:?}");
}

#[test]
fn what_comes_again_is_told_once() {
    let mut wire = Wire::default();
    wire.open();
    wire.sends(0, b"abc", DATA);
    wire.sends(0, b"abc", DATA);
    wire.sends(1, b"bcde", DATA);
    // It only asks whether the other end is still there.
    wire.sends(4, b"e", DATA);
    assert_eq!(wire.told(Way::Sent), "abcde");
    assert_eq!(wire.retransmissions(), [TcpState::Established; 2]);
}

#[test]
fn what_was_not_captured_is_left_out_once_it_is_acknowledged() {
    let mut wire = Wire::default();
    wire.open();
    wire.sends(0, b"abc", DATA);
    wire.sends(5, b"fg", DATA);
    assert_eq!(wire.told(Way::Sent), "abc");
    wire.answers(0, b"", acks(4, CLIENT));
    assert_eq!(wire.told(Way::Sent), "abc");
    wire.answers(0, b"", acks(7, CLIENT));
    assert_eq!(wire.told(Way::Sent), "abc|fg");
    // Acknowledged before what follows it came.
    wire.answers(0, b"", acks(9, CLIENT));
    wire.sends(9, b"j", DATA);
    assert_eq!(wire.told(Way::Sent), "abc|fg|j");
}

#[test]
fn without_acknowledgements_segments_wait_for_a_while() {
    let mut wire = Wire::default();
    wire.open();
    wire.sends(0, b"abc", DATA);
    wire.sends(5, b"fg", DATA);
    wire.now += 2 * SECOND;
    wire.sends(7, b"h", DATA);
    assert_eq!(wire.told(Way::Sent), "abc");
    wire.now += 2 * SECOND;
    wire.sends(8, b"i", DATA);
    assert_eq!(wire.told(Way::Sent), "abc|fghi");
}

#[test]
fn what_waits_is_bounded_and_told_at_the_end() {
    let mut wire = Wire::default();
    wire.open();
    wire.sends(0, b"a", DATA);
    for segment in 1..1_000 {
        wire.sends(10 * segment, b"b", DATA);
    }
    assert!(wire.connections.kept <= 300, "{}", wire.connections.kept);
    wire.connections.finish(KernelTime(wire.now), &mut wire.events);
    assert_eq!((wire.streams().count(), wire.connections.kept), (1_000, 0));
}

#[test]
fn a_connection_closes_from_either_side() {
    let mut wire = Wire::default();
    wire.open();
    wire.sends(0, b"abc", FIN);
    wire.answers(0, b"xyz", FIN);
    assert_eq!(wire.changes(), ["Established -> FinWait1", "FinWait2 -> Close"]);
    let mut wire = Wire::default();
    wire.open();
    wire.answers(0, b"", FIN);
    wire.sends(0, b"", FIN);
    wire.sends(0, b"", FIN);
    assert_eq!(wire.changes(), ["Established -> CloseWait", "LastAck -> Close"]);
    // Its last bytes are told before its end.
    let mut wire = Wire::default();
    wire.open();
    wire.sends(3, b"def", FIN);
    assert_eq!(wire.changes(), [""; 0]);
    wire.sends(0, b"abc", DATA);
    assert!(matches!(&wire.events[..], [Event::Stream(_), Event::Stream(_), Event::Connection(_)]));
}

#[test]
fn a_connection_is_reset_refused_or_given_up() {
    let mut wire = Wire::default();
    wire.open();
    wire.sends(0, b"abc", DATA);
    wire.answers(0, b"", RST);
    assert_eq!(wire.changes(), ["Established -> Close 104"]);
    let mut wire = Wire::default();
    wire.open();
    wire.sends(0, b"", RST);
    assert_eq!(wire.changes(), ["Established -> Close"]);
    let mut wire = Wire::default();
    wire.pass(true, CLIENT, b"", 0, SYN);
    wire.pass(true, CLIENT, b"", 0, SYN);
    wire.pass(false, 0, b"", 0, Flags { rst: true, ..acks(0, CLIENT) });
    assert_eq!(wire.retransmissions(), [TcpState::SynSent]);
    assert_eq!(wire.changes(), ["Close -> SynSent", "SynSent -> Close 111"]);
    // The same addresses again: another connection.
    wire.pass(true, CLIENT + 1, b"", 0, SYN);
    let sockets = wire.events.iter().filter_map(|event| match event {
        Event::Connection(change) => Some(change.socket),
        _ => None,
    });
    assert_eq!(sockets.collect::<Vec<_>>(), [1, 1, 2]);
}

#[test]
fn a_query_may_go_with_the_syn() {
    let mut wire = Wire::default();
    wire.pass(true, CLIENT, b"abc", 3, SYN);
    // The server took the SYN alone: the client sends it again.
    wire.pass(false, SERVER, b"", 0, Flags { syn: true, ..acks(0, CLIENT) });
    wire.sends(0, b"abc", DATA);
    wire.sends(3, b"def", DATA);
    assert_eq!(wire.told(Way::Sent), "abcdef");
    assert_eq!(wire.streams().next().map(|bytes| bytes.state), Some(TcpState::SynSent));
}

#[test]
fn of_a_connection_that_is_older_bytes_are_told_and_its_end() {
    let mut wire = Wire::default();
    wire.answers(100, b"", acks(50, CLIENT));
    wire.answers(100, b"xyz", DATA);
    wire.sends(50, b"abc", DATA);
    wire.answers(103, b"", FIN);
    assert_eq!((wire.told(Way::Received), wire.told(Way::Sent)), ("xyz".to_owned(), "abc".to_owned()));
    assert_eq!(wire.changes(), ["Established -> CloseWait"]);
}

#[test]
fn what_was_cut_off_is_missing_where_it_was() {
    let mut wire = Wire::default();
    wire.open();
    wire.pass(true, CLIENT.wrapping_add(1), b"ab", 5, DATA);
    wire.sends(5, b"fg", DATA);
    assert_eq!(wire.told(Way::Sent), "abfg");
    assert_eq!(wire.streams().map(|bytes| bytes.length).collect::<Vec<_>>(), [5, 2]);
}

proptest! {
    /// However a stream is cut, repeated and shuffled, it is told whole.
    #[test]
    fn a_stream_is_told_whole(
        cuts in proptest::collection::vec((0usize..200, 1usize..60), 0..40),
        seed in proptest::collection::vec(any::<u32>(), 60),
    ) {
        let stream: Vec<u8> = (0..200u8).map(|n| b'a' + n % 26).collect();
        let every = (0..200).step_by(20).map(|at| (at, 20));
        let mut pieces: Vec<_> = cuts.into_iter().chain(every).zip(&seed).collect();
        pieces.sort_by_key(|(_, key)| **key);
        let mut wire = Wire::default();
        wire.open();
        for ((at, length), _) in pieces {
            let piece = &stream[at..(at + length).min(stream.len())];
            wire.sends(u32::try_from(at).unwrap(), piece, DATA);
        }
        prop_assert_eq!(wire.told(Way::Sent).into_bytes(), stream);
        prop_assert_eq!(wire.connections.kept, 0);
    }
}
