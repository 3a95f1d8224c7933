//! `e2e load`: the exchanges that the bench counts. Client and server run on the same processor, one after the other:
//! what is counted is what an exchange costs, and not how soon the other processor wakes.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use clap::{Args, Subcommand, ValueEnum};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};

/// The line that the server prints once it listens.
pub const LISTENING: &str = "listening";

/// A port that is not DNS, one of those whose bytes are only read, and DNS.
const OTHER_PORT: u16 = 9999;
const BULK_PORT: u16 = 9998;
const DNS_PORT: u16 = 53;
/// The processor that loads run on.
const PROCESSOR: usize = 0;
/// What is said to be lost, and sent again.
const PATIENCE: Duration = Duration::from_secs(1);
/// The clock is read once for so many exchanges.
const BATCH: u64 = 16;
/// Bytes of a write of the bulk load, and of an exchange of the others that are not DNS.
const BULK: usize = 16 << 10;
const SMALL: usize = 64;

/// Sends and answers for the bench
#[derive(Debug, Args)]
pub struct LoadArgs {
    #[command(subcommand)]
    side: Side,
}

#[derive(Debug, Subcommand)]
enum Side {
    /// Sends everything back, on every port of the loads, until it is killed
    Serve,
    /// Exchanges for some time and prints how often
    Run { load: Load, server: Ipv4Addr, milliseconds: u64 },
}

/// What is exchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Load {
    Udp,
    Tcp,
    TcpBulk,
    DnsFiltered,
    DnsTraced,
    DnsTcpFiltered,
    DnsTcpTraced,
}

/// What a load did.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ran {
    pub exchanges: u64,
    pub seconds: f64,
}

impl Load {
    /// In the order in which they run.
    pub const ALL: [Self; 7] = [
        Self::Udp,
        Self::Tcp,
        Self::TcpBulk,
        Self::DnsFiltered,
        Self::DnsTcpFiltered,
        Self::DnsTraced,
        Self::DnsTcpTraced,
    ];

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::TcpBulk => "tcp-bulk",
            Self::DnsFiltered => "dns-filtered",
            Self::DnsTraced => "dns-traced",
            Self::DnsTcpFiltered => "dns-tcp-filtered",
            Self::DnsTcpTraced => "dns-tcp-traced",
        }
    }

    pub fn description(self) -> &'static str {
        match self {
            Self::Udp => "UDP that is not DNS, there and back",
            Self::Tcp => "TCP that is not DNS, there and back",
            Self::TcpBulk => "TCP that is not DNS, writes of 16 KiB",
            Self::DnsFiltered => "DNS over UDP of another pod",
            Self::DnsTraced => "DNS over UDP of the traced pod",
            Self::DnsTcpFiltered => "DNS over TCP of another pod",
            Self::DnsTcpTraced => "DNS over TCP of the traced pod",
        }
    }

    /// Whether the pod that dnstrace traces runs it.
    pub fn is_traced(self) -> bool {
        matches!(self, Self::DnsTraced | Self::DnsTcpTraced)
    }

    fn port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => OTHER_PORT,
            Self::TcpBulk => BULK_PORT,
            Self::DnsFiltered | Self::DnsTraced | Self::DnsTcpFiltered | Self::DnsTcpTraced => DNS_PORT,
        }
    }
}

/// Does one of both.
pub fn load(args: &LoadArgs) -> Result<()> {
    let mut processors = CpuSet::new();
    processors.set(PROCESSOR)?;
    sched_setaffinity(Pid::from_raw(0), &processors)?;
    match args.side {
        Side::Serve => serve(),
        Side::Run { load, server, milliseconds } => {
            let server = SocketAddr::new(IpAddr::V4(server), load.port());
            let ran = run(load, server, Duration::from_millis(milliseconds))?;
            println!("{}", serde_json::to_string(&ran)?);
            Ok(())
        }
    }
}

fn serve() -> Result<()> {
    let any = |port| SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
    for port in [OTHER_PORT, DNS_PORT] {
        let socket = UdpSocket::bind(any(port))?;
        thread::spawn(move || echo_datagrams(&socket));
    }
    for port in [OTHER_PORT, DNS_PORT, BULK_PORT] {
        let listener = TcpListener::bind(any(port))?;
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || if port == BULK_PORT { swallow(stream) } else { echo_stream(stream) });
            }
        });
    }
    println!("{LISTENING}");
    loop {
        thread::park();
    }
}

fn echo_datagrams(socket: &UdpSocket) {
    let mut buffer = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        let Some(message) = buffer.get_mut(..length) else { return };
        answer(message);
        // A client that has ended does not matter.
        let _ = socket.send_to(message, from);
    }
}

fn echo_stream(mut stream: TcpStream) {
    let mut buffer = [0; 512];
    // Without it, small answers would wait for each other. A client that has ended ends this thread.
    let _ = stream.set_nodelay(true);
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        let Some((prefix, message)) = buffer.get_mut(..length).and_then(|all| all.split_at_mut_checked(2))
        else {
            return;
        };
        answer(message);
        let length = prefix.len() + message.len();
        if stream.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

fn swallow(mut stream: TcpStream) {
    let mut buffer = vec![0; BULK];
    while matches!(stream.read(&mut buffer), Ok(1..)) {}
}

/// Makes a response of a query: the bit QR. To what is not DNS it does no harm.
fn answer(message: &mut [u8]) {
    if let Some(flags) = message.get_mut(2) {
        *flags |= 0x80;
    }
}

fn run(load: Load, server: SocketAddr, length: Duration) -> Result<Ran> {
    match load {
        Load::Udp => datagrams(server, &[0; SMALL], length),
        Load::DnsFiltered | Load::DnsTraced => datagrams(server, &query(), length),
        Load::Tcp => stream(server, &[0; SMALL], length),
        Load::DnsTcpFiltered | Load::DnsTcpTraced => {
            let query = query();
            let prefix = u16::try_from(query.len()).context("a query of that length")?.to_be_bytes();
            stream(server, &[&prefix[..], &query].concat(), length)
        }
        Load::TcpBulk => {
            let mut stream = TcpStream::connect(server)?;
            let bytes = vec![0; BULK];
            counted(length, |_| Ok(stream.write_all(&bytes)?))
        }
    }
}

/// A query for `www.example.com`, A.
fn query() -> Vec<u8> {
    let header = [0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    [&header[..], b"\x03www\x07example\x03com\0", &[0, 1, 0, 1]].concat()
}

fn datagrams(server: SocketAddr, message: &[u8], length: Duration) -> Result<Ran> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let (mut message, mut buffer) = (message.to_vec(), [0; 512]);
    counted(length, |number| {
        number_message(&mut message, 0, number);
        socket.send(&message)?;
        socket.recv(&mut buffer).context("no answer")?;
        Ok(())
    })
}

fn stream(server: SocketAddr, message: &[u8], length: Duration) -> Result<Ran> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_nodelay(true)?;
    let (mut message, mut buffer) = (message.to_vec(), vec![0; message.len()]);
    counted(length, |number| {
        number_message(&mut message, 2, number);
        stream.write_all(&message)?;
        Ok(stream.read_exact(&mut buffer)?)
    })
}

/// Gives a query an id of its own.
fn number_message(message: &mut [u8], at: usize, number: u64) {
    if let Some(id) = message.get_mut(at..at + 2) {
        id.copy_from_slice(&(number as u16).to_be_bytes());
    }
}

/// Exchanges, with a number each, until the time is over.
fn counted(length: Duration, mut exchange: impl FnMut(u64) -> Result<()>) -> Result<Ran> {
    let started = Instant::now();
    let mut exchanges = 0;
    while started.elapsed() < length {
        for _ in 0..BATCH {
            exchange(exchanges)?;
            exchanges += 1;
        }
    }
    Ok(Ran { exchanges, seconds: started.elapsed().as_secs_f64() })
}
