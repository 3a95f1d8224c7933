//! The server over TCP: what it answers, and how the bytes of it come.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use socket2::{Domain, SockRef, Socket, Type};

use super::{Counters, HEADER, ServeArgs, TYPE_A, answer, question, refuse};

/// Between the pieces of a split answer.
const PAUSE: Duration = Duration::from_millis(20);
/// How late a slow answer is.
const SLOW: Duration = Duration::from_millis(1500);
/// What a server says that takes the query for HTTP.
const NO_DNS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";

/// Messages of a zone transfer.
pub const TRANSFER_MESSAGES: usize = 40;
/// Records in each of them, beside the SOA records of the first and last.
pub const TRANSFER_RECORDS: usize = 100;
/// TXT records of a large answer.
pub const LARGE_RECORDS: u16 = 120;
/// Bytes of text in each.
pub const LARGE_TEXT: u8 = 200;

const TYPE_SOA: u16 = 6;
const TYPE_TXT: u16 = 16;
/// A pointer to the name of the question.
const QUESTION_NAME: [u8; 2] = [0xc0, 0x0c];

/// What is done about a query: the first label of its name up to a hyphen, under `--by-name`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Answer,
    /// In pieces, the first of them one byte of the prefix.
    Split,
    /// Not before a query named `flush`.
    Hold,
    /// At once, and with it in the same segment what was held, the last first.
    Flush,
    Slow,
    /// By no DNS.
    Text,
    /// By a FIN.
    Close,
    /// By a RST.
    Reset,
    Silent,
    /// By a zone, message after message.
    Transfer,
    /// By 24 KB of TXT records.
    Large,
}

impl Manner {
    /// Of a question, as its bytes are.
    fn of(question: &[u8], args: &ServeArgs) -> Self {
        let usual = if args.silent { Self::Silent } else { Self::Answer };
        if !args.by_name {
            return usual;
        }
        let length = question.first().map_or(0, |length| usize::from(*length));
        let label = question.get(1..=length).unwrap_or_default();
        match label.split(|byte| *byte == b'-').next().unwrap_or_default() {
            b"split" => Self::Split,
            b"hold" => Self::Hold,
            b"flush" => Self::Flush,
            b"slow" => Self::Slow,
            b"text" => Self::Text,
            b"close" => Self::Close,
            b"reset" => Self::Reset,
            b"silent" => Self::Silent,
            b"transfer" => Self::Transfer,
            b"large" => Self::Large,
            _ => usual,
        }
    }
}

/// Binds the address and serves it for ever, unless the arguments are against it.
pub(super) fn start(address: SocketAddr, args: &ServeArgs, counters: &Arc<Counters>) -> Result<()> {
    if args.no_tcp {
        return Ok(());
    }
    let listener = listen(address, args).with_context(|| format!("cannot bind TCP {address}"))?;
    let (args, counters) = (args.clone(), Arc::clone(counters));
    thread::spawn(move || {
        if args.deaf {
            // The listener lives as long as its thread.
            loop {
                thread::park();
            }
        }
        for stream in listener.incoming().flatten() {
            counters.tcp_connections.fetch_add(1, Ordering::SeqCst);
            let (args, counters) = (args.clone(), Arc::clone(&counters));
            // A connection's error ends that connection only.
            thread::spawn(move || serve_stream(stream, &args, &counters));
        }
    });
    Ok(())
}

fn listen(address: SocketAddr, args: &ServeArgs) -> io::Result<TcpListener> {
    if !args.deaf {
        return TcpListener::bind(address);
    }
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    // The kernel takes one connection more than it is told.
    socket.listen(0)?;
    Ok(socket.into())
}

fn serve_stream(mut stream: TcpStream, args: &ServeArgs, counters: &Counters) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut held = Vec::new();
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut query)?;
        counters.tcp_queries.fetch_add(1, Ordering::SeqCst);
        let Some(answer) = answer(&query, args, false) else {
            refuse(counters);
            continue;
        };
        let manner = question(&query[HEADER..]).map_or(Manner::Answer, |question| Manner::of(question, args));
        let count = |answers: usize| counters.answers.fetch_add(answers as u64, Ordering::SeqCst);
        thread::sleep(Duration::from_millis(args.delay_ms));
        match manner {
            Manner::Answer | Manner::Slow => {
                if manner == Manner::Slow {
                    thread::sleep(SLOW);
                }
                count(1);
                stream.write_all(&framed(&answer)?)?;
            }
            Manner::Split => {
                count(1);
                in_pieces(&mut stream, &framed(&answer)?)?;
            }
            Manner::Hold => held.push(answer),
            Manner::Flush => {
                let answers = [answer].into_iter().chain(held.drain(..).rev()).collect::<Vec<_>>();
                count(answers.len());
                let bytes = answers.iter().map(|answer| framed(answer)).collect::<Result<Vec<_>>>()?;
                stream.write_all(&bytes.concat())?;
            }
            Manner::Text => stream.write_all(NO_DNS)?,
            Manner::Close => return Ok(()),
            Manner::Reset => {
                SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
                return Ok(());
            }
            Manner::Silent => {}
            Manner::Transfer => {
                count(1);
                for index in 0..TRANSFER_MESSAGES {
                    stream.write_all(&framed(&transferred(&answer, index)?)?)?;
                }
            }
            Manner::Large => {
                count(1);
                stream.write_all(&framed(&large(&answer)?)?)?;
            }
        }
    }
}

/// A message after its length (RFC 1035, 4.2.2).
fn framed(message: &[u8]) -> Result<Vec<u8>> {
    let length = u16::try_from(message.len()).context("a message too long for TCP")?;
    Ok([&length.to_be_bytes(), message].concat())
}

fn in_pieces(stream: &mut TcpStream, bytes: &[u8]) -> Result<()> {
    let middle = bytes.len() / 2;
    for piece in [&bytes[..1], &bytes[1..middle], &bytes[middle..]] {
        stream.write_all(piece)?;
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// This message of a zone transfer; `answer` has the question.
fn transferred(answer: &[u8], index: usize) -> Result<Vec<u8>> {
    let is_end = index == 0 || index + 1 == TRANSFER_MESSAGES;
    // Names of the server and of who is responsible: the root; serial number and times.
    let soa = record(TYPE_SOA, &[&[0, 0], [1_u32; 5].map(u32::to_be_bytes).as_flattened()].concat())?;
    let mut records = vec![record(TYPE_A, &[10, 96, 3, 4])?; TRANSFER_RECORDS];
    match index {
        0 => records.insert(0, soa),
        _ if is_end => records.push(soa),
        _ => {}
    }
    with_records(answer, &records)
}

fn large(answer: &[u8]) -> Result<Vec<u8>> {
    let text = |index: u16| {
        let mut text = vec![LARGE_TEXT];
        // Each its own, as a name has no two records with the same data.
        text.extend(format!("{index:0width$}", width = usize::from(LARGE_TEXT)).into_bytes());
        text
    };
    let records: Result<Vec<_>> = (0..LARGE_RECORDS).map(|index| record(TYPE_TXT, &text(index))).collect();
    with_records(answer, &records?)
}

/// A record of the question's name.
fn record(kind: u16, data: &[u8]) -> Result<Vec<u8>> {
    let length = u16::try_from(data.len())?;
    // Class IN; 30 s to live.
    Ok([&QUESTION_NAME, kind.to_be_bytes().as_slice(), &[0, 1, 0, 0, 0, 30], &length.to_be_bytes(), data]
        .concat())
}

/// The answer with these records in its answer section and nothing else.
fn with_records(answer: &[u8], records: &[Vec<u8>]) -> Result<Vec<u8>> {
    let asked = question(answer.get(HEADER..).context("no header")?).context("no question")?;
    let mut message = [&answer[..HEADER], asked].concat();
    message[6..8].copy_from_slice(&u16::try_from(records.len())?.to_be_bytes());
    message.extend(records.concat());
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(by_name: bool) -> ServeArgs {
        ServeArgs { by_name, ..ServeArgs::default() }
    }

    #[test]
    fn the_first_label_says_what_is_done() {
        let question = b"\x07reset-1\x04fate\x00\x00\x01\x00\x01";
        assert_eq!(Manner::of(question, &args(true)), Manner::Reset);
        assert_eq!(Manner::of(question, &args(false)), Manner::Answer);
        assert_eq!(Manner::of(b"\x07resets1\x00\x00\x01\x00\x01", &args(true)), Manner::Answer);
        assert_eq!(Manner::of(b"\x00", &ServeArgs { silent: true, ..args(true) }), Manner::Silent);
    }

    #[test]
    fn a_transfer_begins_and_ends_with_a_soa() {
        let answer = b"\x12\x34\x81\x80\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\xfc\x00\x01";
        let kind = |message: &[u8], at: usize| [message[at + 2], message[at + 3]];
        let soa = TYPE_SOA.to_be_bytes();
        let first = transferred(answer, 0).unwrap();
        assert_eq!((kind(&first, answer.len()), first[7]), (soa, 101));
        let middle = transferred(answer, 1).unwrap();
        assert_eq!((kind(&middle, answer.len()), middle[7]), (TYPE_A.to_be_bytes(), 100));
        let last = transferred(answer, TRANSFER_MESSAGES - 1).unwrap();
        assert_eq!(kind(&last, last.len() - 34), soa);
    }

    #[test]
    fn a_large_answer_is_as_large_as_it_says() {
        let answer = b"\x12\x34\x81\x80\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x10\x00\x01";
        let records = usize::from(LARGE_RECORDS) * (12 + 1 + usize::from(LARGE_TEXT));
        assert_eq!(framed(&large(answer).unwrap()).unwrap().len(), 2 + answer.len() + records);
    }
}
