//! `e2e multicast`: a host that speaks multicast DNS (RFC 6762): it asks for a name, or answers for its own.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::Args;
use socket2::{Domain, Socket, Type};

use crate::serve::LISTENING;

/// The group of mDNS.
pub const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
/// The group of LLMNR (RFC 4795).
pub const LLMNR_GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 252);
/// The port of mDNS.
pub const PORT: u16 = 5353;
/// The port of LLMNR.
pub const LLMNR_PORT: u16 = 5355;

const HEADER: usize = 12;
const PATIENCE: Duration = Duration::from_secs(5);
/// Type A, class IN.
const A_IN: [u8; 4] = [0, 1, 0, 1];
/// Type A, class IN and the bit that tells caches to forget what they knew; 120 s to live; four bytes.
const A_RECORD: [u8; 10] = [0, 1, 0x80, 1, 0, 0, 0, 120, 0, 4];

/// Speaks multicast DNS on every link of the namespace
#[derive(Debug, Clone, Args)]
pub struct MulticastArgs {
    /// The name, without a final dot
    name: String,
    /// Answer for the name with this address, until killed; else ask for it, and print so many addresses as --answers says
    #[arg(long)]
    address: Option<Ipv4Addr>,
    /// How many answers to wait for
    #[arg(long, default_value_t = 1)]
    answers: usize,
}

/// Asks or answers.
pub fn multicast(args: &MulticastArgs) -> Result<()> {
    let socket = open().context("no multicast socket")?;
    let name = encoded(&args.name)?;
    match args.address {
        Some(address) => {
            nix::sys::prctl::set_name(c"e2e-mdns")?;
            println!("{LISTENING}");
            respond(&socket, &name, address)
        }
        None => ask(&socket, &name, args.answers),
    }
}

fn open() -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, PORT)).into())?;
    socket.join_multicast_v4(&GROUP, &Ipv4Addr::UNSPECIFIED)?;
    socket.set_multicast_loop_v4(false)?;
    socket.set_multicast_ttl_v4(255)?;
    Ok(socket.into())
}

fn respond(socket: &UdpSocket, name: &[u8], address: Ipv4Addr) -> Result<()> {
    let question = [name, &A_IN].concat();
    // A response with authority and one answer, but no question and no id.
    let answer = [&[0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0], name, &A_RECORD, &address.octets()].concat();
    let mut buffer = [0; 1500];
    loop {
        let (length, _) = socket.recv_from(&mut buffer)?;
        let is_query = length > HEADER && buffer[2] & 0x80 == 0;
        if is_query && buffer[HEADER..length] == question {
            socket.send_to(&answer, (GROUP, PORT))?;
        }
    }
}

fn ask(socket: &UdpSocket, name: &[u8], answers: usize) -> Result<()> {
    let query = [&[0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], name, &A_IN].concat();
    let record = [name, &A_RECORD].concat();
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send_to(&query, (GROUP, PORT))?;
    let mut buffer = [0; 1500];
    let mut taken = 0;
    while taken < answers {
        let (length, from) = socket.recv_from(&mut buffer).context("no answer")?;
        // A bridge in hairpin mode brings the question back.
        if buffer[..length] == query {
            continue;
        }
        let Some(address) = buffer[..length].get(HEADER..).and_then(|rest| rest.strip_prefix(&record[..]))
        else {
            bail!("{from} sent something else")
        };
        println!("{}", address.iter().map(u8::to_string).collect::<Vec<_>>().join("."));
        taken += 1;
    }
    Ok(())
}

/// A name as in a message.
fn encoded(name: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len())?);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_encoded() {
        assert_eq!(encoded("printer.local").unwrap(), b"\x07printer\x05local\x00");
    }
}
