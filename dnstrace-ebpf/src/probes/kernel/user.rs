//! What a program hands to a system call.

use dnstrace_ebpf::wire::Flow;

use super::{
    Skip, Sock, config, offset, read, read_to,
    sock::{AF_INET, AF_INET6},
    v4_mapped,
};

/// `struct msghdr *` of a `sendmsg` under way.
#[derive(Clone, Copy)]
pub struct Message(pub u64);

/// `sin_port` and `sin6_port`
const PORT: usize = 2;

impl Message {
    /// The destination's port: the one that the program named, else the one that the socket is connected to.
    #[inline(always)]
    pub fn port_to(self, sock: Sock) -> Result<u16, Skip> {
        let name: u64 = read(self.0, offset!(msg_name))?;
        if name == 0 {
            return sock.remote_port();
        }
        let port: u16 = read(name, PORT)?;
        Ok(u16::from_be(port))
    }

    /// Writes the destination into `flow`, if the program named one (`msg_name`: a `sockaddr_in` or `sockaddr_in6` in
    /// kernel memory). A connected socket's stays.
    #[inline(always)]
    pub fn destination_to(self, flow: &mut Flow) -> Result<(), Skip> {
        /// `sin_addr`
        const ADDR: usize = 4;
        /// `sin6_addr`
        const ADDR6: usize = 8;
        let name: u64 = read(self.0, offset!(msg_name))?;
        if name == 0 {
            return Ok(());
        }
        let family: u16 = read(name, 0)?;
        let port: u16 = read(name, PORT)?;
        flow.dport = u16::from_be(port);
        match family {
            AF_INET => {
                flow.daddr = v4_mapped(read(name, ADDR)?);
                Ok(())
            }
            AF_INET6 => read_to(&mut flow.daddr, name, ADDR6),
            _ => Err(Skip::NotOurs),
        }
    }

    /// Address in the program's memory of the first piece of the message, and that piece's length: a DNS query over
    /// UDP is one piece. Nothing (0, 0) for what comes from elsewhere (the kernel's own memory, pipes).
    #[inline(always)]
    pub fn first_piece(self) -> Result<(u64, u64), Skip> {
        let iter = self.0 + offset!(msg_iter) as u64;
        let kind: u8 = read(iter, offset!(iter_type))?;
        let kind = u32::from(kind) & config!(iter_mask);
        let offset: u64 = read(iter, offset!(iter_iov_offset))?;
        if kind == config!(iter_ubuf) {
            let base: u64 = read(iter, offset!(iter_ubuf))?;
            let count: u64 = read(iter, offset!(iter_count))?;
            return Ok((base + offset, count));
        }
        if kind == config!(iter_iovec) {
            let iov: u64 = read(iter, offset!(iter_iov))?;
            let base: u64 = read(iov, offset!(iovec_base))?;
            let length: u64 = read(iov, offset!(iovec_len))?;
            return Ok((base + offset, length.saturating_sub(offset)));
        }
        Ok((0, 0))
    }
}
