//! Sockets.

use dnstrace_ebpf::wire::Flow;

use super::{IPPROTO_UDP, Skip, netns_inum, offset, read, read_to, v4_mapped};

/// `AF_INET`
pub const AF_INET: u16 = 2;
/// `AF_INET6`
pub const AF_INET6: u16 = 10;

/// `struct sock *`
#[derive(Clone, Copy)]
pub struct Sock(pub u64);

impl Sock {
    /// `sk->sk_protocol`
    #[inline(always)]
    pub fn protocol(self) -> Result<u16, Skip> {
        read(self.0, offset!(sk_protocol))
    }

    /// `sock_net(sk)->ns.inum`
    #[inline(always)]
    pub fn netns(self) -> Result<u32, Skip> {
        netns_inum(read(self.0, offset!(sk_net))?)
    }

    /// `sk->sk_num`: the local port, CPU order; 0 if it has none yet.
    #[inline(always)]
    pub fn local_port(self) -> Result<u16, Skip> {
        read(self.0, offset!(sk_num))
    }

    /// `sk->sk_dport`: the port that it is connected to, CPU order; 0 if it is not.
    #[inline(always)]
    pub fn remote_port(self) -> Result<u16, Skip> {
        let port: u16 = read(self.0, offset!(sk_dport))?;
        Ok(u16::from_be(port))
    }

    /// Writes both ends as the socket knows them: what it is bound and connected to, zero where it is not.
    #[inline(always)]
    pub fn flow_to(self, flow: &mut Flow) -> Result<(), Skip> {
        flow.sport = self.local_port()?;
        flow.dport = self.remote_port()?;
        flow.protocol = IPPROTO_UDP;
        flow.reserved = [0; 3];
        let family: u16 = read(self.0, offset!(sk_family))?;
        match family {
            AF_INET => {
                flow.saddr = v4_mapped(read(self.0, offset!(sk_rcv_saddr))?);
                flow.daddr = v4_mapped(read(self.0, offset!(sk_daddr))?);
                Ok(())
            }
            AF_INET6 => {
                read_to(&mut flow.saddr, self.0, offset!(sk_v6_rcv_saddr))?;
                read_to(&mut flow.daddr, self.0, offset!(sk_v6_daddr))
            }
            _ => Err(Skip::NotOurs),
        }
    }
}
