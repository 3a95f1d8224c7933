//! Sockets.

use dnstrace_ebpf::wire::Flow;

use super::{IPPROTO_TCP, IPPROTO_UDP, Skip, netns_inum, offset, read, read_to, v4_mapped};

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

    /// `sk->sk_state`: `TCP_ESTABLISHED` (1) and so on.
    #[inline(always)]
    pub fn state(self) -> Result<u8, Skip> {
        read(self.0, offset!(sk_state))
    }

    /// `sk->sk_err`: positive errno, 0 for none.
    #[inline(always)]
    pub fn error(self) -> Result<u32, Skip> {
        read(self.0, offset!(sk_err))
    }

    /// `tcp_sk(sk)->write_seq`
    #[inline(always)]
    pub fn write_seq(self) -> Result<u32, Skip> {
        read(self.0, offset!(tcp_write_seq))
    }

    /// `tcp_sk(sk)->copied_seq`
    #[inline(always)]
    pub fn copied_seq(self) -> Result<u32, Skip> {
        read(self.0, offset!(tcp_copied_seq))
    }

    /// `tcp_sk(sk)->bytes_acked` and `bytes_received`
    #[inline(always)]
    pub fn bytes(self) -> Result<(u64, u64), Skip> {
        Ok((read(self.0, offset!(tcp_bytes_acked))?, read(self.0, offset!(tcp_bytes_received))?))
    }

    /// `tcp_sk(sk)->srtt_us >> 3`: microseconds.
    #[inline(always)]
    pub fn rtt_us(self) -> Result<u32, Skip> {
        let eightfold: u32 = read(self.0, offset!(tcp_srtt_us))?;
        Ok(eightfold >> 3)
    }

    /// `inet_sk(sk)->inet_sport`: a TCP socket's local port, CPU order. `sk_num` is cleared when the connection is over
    /// (`inet_put_port`), which the tracepoint of the last change of state and a late reader find.
    #[inline(always)]
    pub fn tcp_local_port(self) -> Result<u16, Skip> {
        let port: u16 = read(self.0, offset!(inet_sport))?;
        Ok(u16::from_be(port))
    }

    /// Writes both ends of a TCP socket that is or was connected.
    #[inline(always)]
    pub fn tcp_flow_to(self, flow: &mut Flow) -> Result<(), Skip> {
        self.flow_to(flow)?;
        flow.protocol = IPPROTO_TCP;
        flow.sport = self.tcp_local_port()?;
        Ok(())
    }

    /// Writes both ends as the UDP socket knows them: what it is bound and connected to, zero where it is not.
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
