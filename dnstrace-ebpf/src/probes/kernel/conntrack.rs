//! Entries of connection tracking.

use aya_ebpf::helpers::generated::bpf_jiffies64;
use dnstrace_ebpf::wire::{Connection, Flow};

use super::{
    IPPROTO_TCP, IPPROTO_UDP, Skip, encrypted, netns_inum, offset, read, read_to, sock::AF_INET, v4_mapped,
    watched,
};

/// `IPS_CONFIRMED`
pub const CONFIRMED: u32 = 1 << 3;
/// `IPS_NAT_CLASH`, since 5.7
pub const NAT_CLASH: u32 = 1 << 12;

/// `struct nf_conn *`
#[derive(Clone, Copy)]
pub struct Conn(pub u64);

/// `struct nf_conntrack_tuple_hash *`
#[derive(Clone, Copy)]
pub struct TupleHash(pub u64);

impl TupleHash {
    #[inline(always)]
    fn tuple(self) -> u64 {
        self.0 + offset!(tuplehash_tuple) as u64
    }

    /// `nf_ct_tuplehash_to_ctrack(h)`: the entry that this is one of the two directions of.
    #[inline(always)]
    pub fn conn(self) -> Result<Conn, Skip> {
        let direction: u8 = read(self.tuple(), offset!(tuple_dir))?;
        let first = self.0 - u64::from(direction & 1) * offset!(tuplehash_size) as u64;
        Ok(Conn(first - offset!(ct_tuplehash) as u64))
    }

    /// Writes the tuple.
    #[inline(always)]
    fn flow_to(self, flow: &mut Flow) -> Result<(), Skip> {
        let tuple = self.tuple();
        let sport: u16 = read(tuple, offset!(tuple_sport))?;
        let dport: u16 = read(tuple, offset!(tuple_dport))?;
        flow.sport = u16::from_be(sport);
        flow.dport = u16::from_be(dport);
        flow.protocol = read(tuple, offset!(tuple_protonum))?;
        flow.reserved = [0; 3];
        let family: u16 = read(tuple, offset!(tuple_l3num))?;
        if family == AF_INET {
            flow.saddr = v4_mapped(read(tuple, offset!(tuple_src))?);
            flow.daddr = v4_mapped(read(tuple, offset!(tuple_dst))?);
            return Ok(());
        }
        read_to(&mut flow.saddr, tuple, offset!(tuple_src))?;
        read_to(&mut flow.daddr, tuple, offset!(tuple_dst))
    }
}

impl Conn {
    /// One direction of the entry: 0 the original, 1 the reply.
    #[inline(always)]
    fn direction(self, direction: u64) -> TupleHash {
        TupleHash(self.0 + offset!(ct_tuplehash) as u64 + direction * offset!(tuplehash_size) as u64)
    }

    /// Whether its original direction has a watched port at either end, whatever the packets' ports are after
    /// translation.
    #[inline(always)]
    pub fn is_dns(self) -> Result<bool, Skip> {
        let tuple = self.direction(0).tuple();
        let protocol: u8 = read(tuple, offset!(tuple_protonum))?;
        if protocol != IPPROTO_UDP && protocol != IPPROTO_TCP {
            return Ok(false);
        }
        let sport: u16 = read(tuple, offset!(tuple_sport))?;
        let dport: u16 = read(tuple, offset!(tuple_dport))?;
        let (sport, dport) = (u16::from_be(sport), u16::from_be(dport));
        if watched(sport) || watched(dport) {
            return Ok(true);
        }
        Ok(protocol == IPPROTO_TCP && (encrypted(sport) || encrypted(dport)))
    }

    /// Writes address and both tuples.
    #[inline(always)]
    pub fn connection_to(self, to: &mut Connection) -> Result<(), Skip> {
        to.ct = self.0;
        self.direction(0).flow_to(&mut to.original)?;
        self.direction(1).flow_to(&mut to.reply)
    }

    /// `ct->status`: its lower half, which has all of its bits.
    #[inline(always)]
    pub fn status(self) -> Result<u32, Skip> {
        read(self.0, offset!(ct_status))
    }

    /// `nf_ct_net(ct)->ns.inum`
    #[inline(always)]
    pub fn netns(self) -> Result<u32, Skip> {
        netns_inum(read(self.0, offset!(ct_net))?)
    }

    /// `nf_ct_is_expired(ct)`
    #[inline(always)]
    pub fn is_expired(self) -> Result<bool, Skip> {
        let timeout: u32 = read(self.0, offset!(ct_timeout))?;
        // SAFETY: a helper without arguments.
        let now = unsafe { bpf_jiffies64() } as u32;
        Ok((timeout.wrapping_sub(now) as i32) <= 0)
    }
}
