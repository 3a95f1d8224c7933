//! `e2e serve`: a DNS server that answers every question at once, or late, or wrongly, or never, and counts exactly.
//!
//! It is no name server: whatever is asked, A and AAAA get one fixed address and other types an empty answer. What
//! real servers do is tested with real servers; this one stands for their failures.

pub mod stream;

use std::{
    io::{self, Read},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, SyncSender},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use clap::Args;
use serde::{Deserialize, Serialize};

/// The line printed once all sockets are bound.
pub const LISTENING: &str = "listening";
/// What every A question is answered with.
pub const ANSWER: Ipv4Addr = Ipv4Addr::new(10, 96, 3, 4);
/// What every AAAA question is answered with.
pub const ANSWER6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 3, 4);

const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
const HEADER: usize = 12;
/// Answers that wait for their time; what arrives beyond is counted as refused.
const DELAYED_AT_MOST: usize = 65_536;

/// A DNS server that misbehaves on request; prints its counts as one JSON line when its standard input closes
#[derive(Debug, Default, Clone, Args)]
pub struct ServeArgs {
    /// Address to serve UDP and TCP on; [::] serves IPv4 too, as servers written in Go do
    #[arg(long, default_value = "[::]:53")]
    pub listen: Vec<SocketAddr>,
    /// Wait this many milliseconds before each answer
    #[arg(long, default_value_t = 0)]
    pub delay_ms: u64,
    /// Never answer
    #[arg(long)]
    pub silent: bool,
    /// Answer with this response code (its number) and no records
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..16))]
    pub rcode: u8,
    /// Answer over UDP with the TC bit and no records
    #[arg(long)]
    pub truncate: bool,
    /// Over TCP, do what the first label of the name says, up to a hyphen: split, hold, flush, slow, text, close, reset,
    /// silent, transfer, large; answer all others
    #[arg(long)]
    pub by_name: bool,
    /// Join this multicast group, too
    #[arg(long)]
    pub group: Option<Ipv4Addr>,
    /// Do not listen on TCP
    #[arg(long)]
    pub no_tcp: bool,
    /// Listen on TCP, and never accept a connection
    #[arg(long)]
    pub deaf: bool,
}

/// What the server saw and did.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServeTally {
    pub udp_queries: u64,
    pub tcp_queries: u64,
    pub tcp_connections: u64,
    pub answers: u64,
    /// What was no DNS query, could not be answered, or came while too many answers waited.
    pub refused: u64,
}

#[derive(Debug, Default)]
struct Counters {
    udp_queries: AtomicU64,
    tcp_queries: AtomicU64,
    tcp_connections: AtomicU64,
    answers: AtomicU64,
    refused: AtomicU64,
}

impl Counters {
    fn tally(&self) -> ServeTally {
        let read = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        ServeTally {
            udp_queries: read(&self.udp_queries),
            tcp_queries: read(&self.tcp_queries),
            tcp_connections: read(&self.tcp_connections),
            answers: read(&self.answers),
            refused: read(&self.refused),
        }
    }
}

/// An answer and the time from which on it may be sent.
struct Delayed {
    due: Instant,
    answer: Vec<u8>,
    to: SocketAddr,
}

/// Serves until standard input closes, then prints the counts.
pub fn serve(args: &ServeArgs) -> Result<()> {
    nix::sys::prctl::set_name(c"e2e-serve")?;
    let counters = Arc::new(Counters::default());
    for address in &args.listen {
        let udp = UdpSocket::bind(address).with_context(|| format!("cannot bind UDP {address}"))?;
        if let Some(group) = &args.group {
            udp.join_multicast_v4(group, &Ipv4Addr::UNSPECIFIED).context("cannot join the group")?;
        }
        stream::start(*address, args, &counters)?;
        start_udp(udp, args, &counters)?;
    }
    println!("{LISTENING}");
    io::stdin().read_to_end(&mut Vec::new())?;
    println!("{}", serde_json::to_string(&counters.tally())?);
    Ok(())
}

fn start_udp(socket: UdpSocket, args: &ServeArgs, counters: &Arc<Counters>) -> Result<()> {
    let (queue, delayed) = mpsc::sync_channel(DELAYED_AT_MOST);
    let sender = socket.try_clone()?;
    let late_counters = Arc::clone(counters);
    thread::spawn(move || send_when_due(&sender, &delayed, &late_counters));
    let (args, counters) = (args.clone(), Arc::clone(counters));
    thread::spawn(move || {
        let mut buffer = [0; 65_535];
        loop {
            // An ICMP error about an earlier answer shows up here; the next receive goes on.
            let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
            counters.udp_queries.fetch_add(1, Ordering::SeqCst);
            match answer(&buffer[..length], &args, args.truncate) {
                Some(_) if args.silent => {}
                Some(answer) if args.delay_ms == 0 => send(&socket, &answer, from, &counters),
                Some(answer) => delay(&queue, &args, answer, from, &counters),
                None => refuse(&counters),
            }
        }
    });
    Ok(())
}

fn delay(
    queue: &SyncSender<Delayed>,
    args: &ServeArgs,
    answer: Vec<u8>,
    to: SocketAddr,
    counters: &Counters,
) {
    let due = Instant::now() + Duration::from_millis(args.delay_ms);
    if queue.try_send(Delayed { due, answer, to }).is_err() {
        refuse(counters);
    }
}

/// All answers wait equally long, so they leave in the order they came in.
fn send_when_due(socket: &UdpSocket, delayed: &Receiver<Delayed>, counters: &Counters) {
    for Delayed { due, answer, to } in delayed {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        send(socket, &answer, to, counters);
    }
}

fn send(socket: &UdpSocket, answer: &[u8], to: SocketAddr, counters: &Counters) {
    // Counted before it leaves, so that a client that has its answer finds it in the count.
    counters.answers.fetch_add(1, Ordering::SeqCst);
    if socket.send_to(answer, to).is_err() {
        counters.answers.fetch_sub(1, Ordering::SeqCst);
        refuse(counters);
    }
}

fn refuse(counters: &Counters) {
    counters.refused.fetch_add(1, Ordering::SeqCst);
}

/// The answer to a query message, or `None` for what is none.
fn answer(query: &[u8], args: &ServeArgs, truncate: bool) -> Option<Vec<u8>> {
    let header = query.get(..HEADER)?;
    let is_response = header[2] & 0x80 != 0;
    let questions = u16::from_be_bytes([header[4], header[5]]);
    if is_response || questions != 1 {
        return None;
    }
    let question = question(&query[HEADER..])?;
    let kind = u16::from_be_bytes([question[question.len() - 4], question[question.len() - 3]]);
    let data = match kind {
        TYPE_A => ANSWER.octets().to_vec(),
        TYPE_AAAA => ANSWER6.octets().to_vec(),
        _ => Vec::new(),
    };
    let has_answer = !data.is_empty() && args.rcode == 0 && !truncate;

    let mut message = header[..2].to_vec();
    // QR, the query's opcode and RD; then RA.
    message.push(0x80 | (header[2] & 0x79) | if truncate { 0x02 } else { 0 });
    message.push(0x80 | args.rcode);
    message.extend([0, 1, 0, u8::from(has_answer), 0, 0, 0, 0]);
    message.extend(question);
    if has_answer {
        // The name as a pointer to the question; class IN; 30 s to live.
        message.extend([0xc0, 0x0c]);
        message.extend(kind.to_be_bytes());
        message.extend([0, 1, 0, 0, 0, 30]);
        message.extend(u16::try_from(data.len()).ok()?.to_be_bytes());
        message.extend(data);
    }
    Some(message)
}

/// The first question's bytes: name, type and class.
fn question(after_header: &[u8]) -> Option<&[u8]> {
    let mut at = 0;
    loop {
        let length = usize::from(*after_header.get(at)?);
        at += 1 + length;
        match length {
            0 => return after_header.get(..at + 4),
            1..64 => {}
            // A pointer has nothing to point to in a first question.
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> ServeArgs {
        ServeArgs::default()
    }

    fn query(kind: u16) -> Vec<u8> {
        let mut message = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01\x03api\x04shop\x00".to_vec();
        message.extend(kind.to_be_bytes());
        message.extend([0, 1]);
        // An OPT record, which the server does not answer.
        message.extend(b"\x00\x00\x29\x10\x00\x00\x00\x00\x00\x00\x00");
        message
    }

    #[test]
    fn an_a_question_gets_one_address() {
        let message = answer(&query(TYPE_A), &args(), false).unwrap();
        assert_eq!(message[..12], *b"\x12\x34\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00");
        assert_eq!(message[12..26], *b"\x03api\x04shop\x00\x00\x01\x00\x01");
        assert_eq!(message[message.len() - 4..], ANSWER.octets());
    }

    #[test]
    fn other_types_have_no_data() {
        let message = answer(&query(16), &args(), false).unwrap();
        assert_eq!(message[6..8], [0, 0]);
        assert_eq!(message.len(), 26);
    }

    #[test]
    fn failures_carry_no_records() {
        let refused = answer(&query(TYPE_A), &ServeArgs { rcode: 5, ..args() }, false).unwrap();
        assert_eq!((refused[3] & 0xf, refused[7]), (5, 0));
        let truncated = answer(&query(TYPE_AAAA), &args(), true).unwrap();
        assert_eq!((truncated[2] & 0x02, truncated[7]), (0x02, 0));
    }

    #[test]
    fn what_is_no_query_is_not_answered() {
        let mut response = query(TYPE_A);
        response[2] |= 0x80;
        assert!(answer(&response, &args(), false).is_none());
        for length in 0..26 {
            assert!(answer(&query(TYPE_A)[..length], &args(), false).is_none(), "{length} bytes");
        }
        assert!(
            answer(
                b"\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01",
                &args(),
                false
            )
            .is_none()
        );
    }
}
