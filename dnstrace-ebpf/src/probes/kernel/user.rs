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

impl Message {
    /// `msg->msg_name`: to whom, if the program named somebody.
    #[inline(always)]
    fn name(self) -> Result<Option<SocketAddress>, Skip> {
        let name: u64 = read(self.0, offset!(msg_name))?;
        Ok(if name == 0 { None } else { Some(SocketAddress(name)) })
    }

    /// The destination's port: the one that the program named, else the one that the socket is connected to.
    #[inline(always)]
    pub fn port_to(self, sock: Sock) -> Result<u16, Skip> {
        match self.name()? {
            Some(name) => name.port(),
            None => sock.remote_port(),
        }
    }

    /// Writes the destination into `flow`, if the program named one. A connected socket's stays.
    #[inline(always)]
    pub fn destination_to(self, flow: &mut Flow) -> Result<(), Skip> {
        match self.name()? {
            Some(name) => name.destination_to(flow),
            None => Ok(()),
        }
    }

    /// `msg->msg_flags`
    #[inline(always)]
    pub fn flags(self) -> Result<u32, Skip> {
        read(self.0, offset!(msg_flags))
    }

    /// Where the program has the message, or wants it to be put. Valid as long as the system call lasts, also when the
    /// kernel has begun to use it up.
    #[inline(always)]
    pub fn buffers(self) -> Result<Buffers, Skip> {
        let iter = self.0 + offset!(msg_iter) as u64;
        let kind: u8 = read(iter, offset!(iter_type))?;
        let kind = u32::from(kind) & config!(iter_mask);
        let skip: u64 = read(iter, offset!(iter_iov_offset))?;
        if kind == config!(iter_ubuf) {
            let base: u64 = read(iter, offset!(iter_ubuf))?;
            let count: u64 = read(iter, offset!(iter_count))?;
            return Ok(Buffers { at: base + skip, length: count, pieces: 0 });
        }
        if kind == config!(iter_iovec) {
            let at: u64 = read(iter, offset!(iter_iov))?;
            let pieces: u64 = read(iter, offset!(iter_nr_segs))?;
            return Ok(Buffers { at, length: skip, pieces: pieces as u32 });
        }
        // Not the program's memory: the kernel's own, or a pipe.
        Ok(Buffers { at: 0, length: 0, pieces: 0 })
    }
}

/// `struct sockaddr_in *` or `struct sockaddr_in6 *`, in kernel memory.
#[derive(Clone, Copy)]
pub struct SocketAddress(pub u64);

impl SocketAddress {
    /// `sin_port` or `sin6_port`
    #[inline(always)]
    fn port(self) -> Result<u16, Skip> {
        let port: u16 = read(self.0, 2)?;
        Ok(u16::from_be(port))
    }

    /// Writes it as the destination of `flow`.
    #[inline(always)]
    pub fn destination_to(self, flow: &mut Flow) -> Result<(), Skip> {
        /// `sin_addr`
        const ADDR: usize = 4;
        /// `sin6_addr`
        const ADDR6: usize = 8;
        let family: u16 = read(self.0, 0)?;
        flow.dport = self.port()?;
        match family {
            AF_INET => {
                flow.daddr = v4_mapped(read(self.0, ADDR)?);
                Ok(())
            }
            AF_INET6 => read_to(&mut flow.daddr, self.0, ADDR6),
            _ => Err(Skip::NotOurs),
        }
    }
}

/// A program's memory for one message.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Buffers {
    /// One piece: its address in the program's memory. Several: that of their `struct iovec`s in the kernel's.
    at: u64,
    /// One piece: its length. Several: bytes of the first that are not meant.
    length: u64,
    /// 0: one piece; else the number of `struct iovec`s.
    pieces: u32,
}

impl Buffers {
    /// Address and length of a piece; none behind the last.
    #[inline(always)]
    pub fn piece(&self, index: u32) -> Result<Option<(u64, u64)>, Skip> {
        if self.pieces == 0 {
            return Ok(if index == 0 && self.at != 0 { Some((self.at, self.length)) } else { None });
        }
        if index >= self.pieces {
            return Ok(None);
        }
        let iovec = self.at + u64::from(index) * SIZE_OF_IOVEC;
        let base: u64 = read(iovec, offset!(iovec_base))?;
        let length: u64 = read(iovec, offset!(iovec_len))?;
        let skip = if index == 0 { self.length } else { 0 };
        Ok(Some((base + skip, length.saturating_sub(skip))))
    }

    /// The first piece, (0, 0) if there is none: a DNS message over UDP is one piece.
    #[inline(always)]
    pub fn first(&self) -> Result<(u64, u64), Skip> {
        Ok(self.piece(0)?.unwrap_or((0, 0)))
    }
}

/// `sizeof(struct iovec)`: an address and a length.
const SIZE_OF_IOVEC: u64 = 16;
