//! Pod addresses, given out as the host-local CNI plugin does: the next free one, round and round.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result};

use super::GATEWAY6;

/// The /24 of the node's pods.
pub const NETWORK: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 0);
/// The first and last address left to containerd's CNI plugin.
pub const CNI_RANGE: (Ipv4Addr, Ipv4Addr) = (Ipv4Addr::new(10, 244, 1, 200), Ipv4Addr::new(10, 244, 1, 254));

/// Host parts: 0 is the network, 1 the bridge; from 200 on they are the CNI plugin's.
const FIRST: u8 = 2;
const LAST: u8 = 199;

/// The pod addresses of a node.
#[derive(Debug, Default)]
pub struct Ipam {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: Option<u8>,
    taken: BTreeSet<u8>,
}

/// A pod's addresses, free again when dropped.
#[derive(Debug)]
pub struct Lease {
    ipam: Arc<Ipam>,
    host: u8,
}

impl Ipam {
    /// The next free pair of addresses; an error when all 198 are taken.
    pub fn lease(self: &Arc<Self>) -> Result<Lease> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let next = state.last.map_or(FIRST, |last| if last < LAST { last + 1 } else { FIRST });
        let host = (next..=LAST)
            .chain(FIRST..next)
            .find(|host| !state.taken.contains(host))
            .context("the node has no free pod address")?;
        state.last = Some(host);
        state.taken.insert(host);
        Ok(Lease { ipam: Arc::clone(self), host })
    }
}

impl Lease {
    pub fn ip(&self) -> Ipv4Addr {
        let [a, b, c, _] = NETWORK.octets();
        Ipv4Addr::new(a, b, c, self.host)
    }

    pub fn ip6(&self) -> Ipv6Addr {
        let [rest @ .., _] = GATEWAY6.segments();
        let [a, b, c, d, e, f, g] = rest;
        Ipv6Addr::new(a, b, c, d, e, f, g, u16::from(self.host))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.ipam.state.lock().unwrap_or_else(PoisonError::into_inner).taken.remove(&self.host);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_reused_only_after_all_others() {
        let ipam = Arc::new(Ipam::default());
        let first = ipam.lease().unwrap();
        assert_eq!(first.ip().to_string(), "10.244.1.2");
        assert_eq!(first.ip6().to_string(), "fd00:244:1::2");
        drop(first);
        let rest: Vec<_> = (3..=199).map(|_| ipam.lease().unwrap()).collect();
        assert_eq!(rest.last().unwrap().ip().to_string(), "10.244.1.199");
        let again = ipam.lease().unwrap();
        assert_eq!(again.ip().to_string(), "10.244.1.2");
        assert!(ipam.lease().is_err());
    }
}
