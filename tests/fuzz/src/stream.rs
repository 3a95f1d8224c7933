//! Bytes of TCP connections.

use std::net::SocketAddr;

use bytes::Bytes;
use dnstrace::{
    dns::{Framed, StreamLimits, Streams},
    event::{Direction, Flow, KernelTime, SocketMessage, StreamBytes, Task, TcpState, Transport},
};

/// Small, so that the fuzzer comes to them.
const LIMITS: StreamLimits = StreamLimits { connections: 3, waiting: 4_000 };

/// See the table in the crate's documentation.
pub fn check(data: &[u8]) {
    torn(data);
    hostile(data);
}

fn flow() -> Flow {
    let source = SocketAddr::from(([10, 244, 1, 7], 40_000));
    let destination = SocketAddr::from(([10, 96, 0, 10], 53));
    Flow { source, destination, transport: Transport::Tcp }
}

fn call(time: u64, seq: u32, bytes: &[u8]) -> StreamBytes {
    StreamBytes {
        time: KernelTime(time),
        direction: Direction::Sent,
        flow: flow(),
        socket: 1,
        netns: 7,
        task: Task { cgroup: 1, pid: 100, tid: 100, comm: "dig".to_owned() },
        state: TcpState::Established,
        seq: Some(seq),
        bytes: Bytes::copy_from_slice(bytes),
        length: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
    }
}

fn told(framed: &Framed) -> &SocketMessage {
    match framed {
        Framed::Message(told) | Framed::Skipped(told) | Framed::NotDns(told) => told,
    }
}

/// Messages behind each other come out as they went in, wherever calls tear them. A byte of `data` is a message with a name of
/// so many letters, and at the same time how many bytes the next call takes.
fn torn(data: &[u8]) {
    let data = data.get(..data.len().min(64)).unwrap_or_default();
    let messages: Vec<Vec<u8>> = (0..=u8::MAX).zip(data).map(|(id, letters)| query(id, *letters)).collect();
    let stream: Vec<u8> = messages.iter().flat_map(|message| framed(message)).collect();
    let (mut streams, mut out) = (Streams::new(StreamLimits::default()), Vec::new());
    streams.opened(7, 1, flow(), KernelTime(0), &mut out);
    let (mut rest, mut seq, mut sizes) = (&stream[..], u32::MAX - 100, data.iter().cycle());
    while !rest.is_empty() {
        let size = sizes.next().map_or(1, |size| usize::from(*size).max(1)).min(rest.len());
        let (bytes, after) = rest.split_at(size);
        streams.push(call(1, seq, bytes), &mut out);
        seq = seq.wrapping_add(u32::try_from(size).unwrap_or_default());
        rest = after;
    }
    streams.finish(KernelTime(2), &mut out);
    let came: Vec<&[u8]> = out
        .iter()
        .map(|framed| match framed {
            Framed::Message(message) if message.payload.len() == message.length as usize => {
                &message.payload[..]
            }
            other => panic!("not a whole message: {other:?}"),
        })
        .collect();
    assert_eq!(came, messages);
}

/// An A query for a name of so many letters, up to 63.
fn query(id: u8, letters: u8) -> Vec<u8> {
    let letters = letters % 63 + 1;
    let head = [0, id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, letters];
    [&head[..], &vec![b'a'; usize::from(letters)], &[0, 0, 1, 0, 1]].concat()
}

/// With its length before it.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes(), message].concat()
}

/// Calls of any socket, place and length. Eight bytes say what a call is, and how many bytes it takes of those that follow.
fn hostile(mut data: &[u8]) {
    let (mut streams, mut out) = (Streams::new(LIMITS), Vec::new());
    let (mut time, mut seq) = (0, 0u32);
    while let Some(([what, socket, state, jump, low, high, more, take], rest)) = data.split_first_chunk() {
        time += 1;
        let (bytes, after) = rest.split_at(rest.len().min(usize::from(*take)));
        data = after;
        let mut call = call(time, seq, bytes);
        call.socket = u64::from(socket % 5);
        call.state = TcpState::from_number(*state).unwrap_or(TcpState::Established);
        if what & 1 != 0 {
            (call.direction, call.flow) = (Direction::Received, flow().reversed());
        }
        match what >> 1 & 7 {
            0 => call.seq = None,
            1 => call.seq = Some(seq.wrapping_add(u32::from(u16::from_le_bytes([*low, *high])))),
            2 => call.seq = Some(seq.wrapping_sub(u32::from(u16::from_le_bytes([*low, *high])))),
            3 => call.seq = Some(seq.wrapping_add(u32::from(*jump) << 24)),
            4 => call.length = call.length.saturating_add(u32::from_le_bytes([*low, *high, *more, *jump])),
            _ => {}
        }
        let end = call.seq.unwrap_or(seq).wrapping_add(call.length);
        match what >> 4 {
            0 => streams.opened(7, call.socket, flow(), KernelTime(time), &mut out),
            1 => streams.ended(7, call.socket, KernelTime(time), &mut out),
            _ => streams.push(call, &mut out),
        }
        seq = end;
        assert!(streams.kept() <= LIMITS.waiting, "{} bytes kept", streams.kept());
    }
    streams.finish(KernelTime(time), &mut out);
    assert_eq!(streams.kept(), 0);
    let skipped = out.iter().filter(|framed| matches!(framed, Framed::Skipped(_))).map(told);
    assert_eq!(streams.totals().skipped, skipped.map(|told| u64::from(told.length)).sum::<u64>());
    assert!(out.iter().map(told).all(|told| told.payload.len() <= told.length as usize), "{out:?}");
}
