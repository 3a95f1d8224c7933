//! What a resolv.conf says, resolv.conf(5).

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use resolv_conf::{Config, ScopedIp};
use serde::{Deserialize, Serialize};

/// Entries that are kept: glibc and musl ask the first 3 nameservers; Kubernetes takes 32 search domains at the most.
const NAMESERVERS: usize = 8;
const SEARCH: usize = 32;
/// More dots are taken as so many (`RES_MAXNDOTS` of glibc, likewise musl).
const MOST_NDOTS: u32 = 15;
/// resolv.conf knows no other.
const DNS_PORT: u16 = 53;

/// How a process's resolver library resolves names, as its resolv.conf has it. A program may do otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolverConfig {
    /// Whom to ask, in this order.
    pub nameservers: Vec<IpAddr>,
    /// What is appended to names, in this order: lower case, without a trailing dot. The root is empty.
    pub search: Vec<Arc<str>>,
    /// Names with at least so many dots are tried as they are first.
    pub ndots: u32,
    /// Seconds to wait for an answer.
    pub timeout: u32,
    /// How often each nameserver is asked.
    pub attempts: u32,
    /// What else it asks for, that changes what is sent.
    #[serde(default)]
    pub flags: Vec<ResolverFlag>,
    #[serde(default)]
    pub likeness: Likeness,
}

/// An option that is there or not. Its name is that of resolv.conf(5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResolverFlag {
    Rotate,
    UseVc,
    SingleRequest,
    SingleRequestReopen,
    Edns0,
    TrustAd,
    NoAaaa,
    NoTldQuery,
}

/// Whose resolv.conf it looks like: that tells which dnsPolicy the pod has, most likely.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Likeness {
    /// Searches the Services of a namespace and of the cluster, as the kubelet writes it for ClusterFirst.
    ClusterFirst,
    /// Names the nameservers and search list of the node's, as the kubelet writes it for Default.
    Node,
    /// Neither.
    #[default]
    Own,
}

impl ResolverConfig {
    /// Reads what there is to be read: lines that make no sense are passed over, as glibc does.
    pub fn parse(text: &[u8]) -> Self {
        let (config, _) = Config::parse_with_errors(text);
        let address = |scoped: &ScopedIp| match *scoped {
            ScopedIp::V4(address) => IpAddr::V4(address),
            ScopedIp::V6(address, _) => IpAddr::V6(address),
        };
        let search = config.get_last_search_or_domain().take(SEARCH);
        let mut read = Self {
            nameservers: config.nameservers.iter().take(NAMESERVERS).map(address).collect(),
            search: search.map(|text| domain(text)).collect(),
            ndots: config.ndots.min(MOST_NDOTS),
            timeout: config.timeout,
            attempts: config.attempts,
            flags: flags(&config),
            likeness: Likeness::Own,
        };
        if read.searches_cluster() {
            read.likeness = Likeness::ClusterFirst;
        }
        read
    }

    /// Which of its nameservers, from 0, is asked at this address.
    pub fn nameserver(&self, address: SocketAddr) -> Option<usize> {
        let asked = (address.ip().to_canonical(), address.port());
        self.nameservers.iter().position(|nameserver| (nameserver.to_canonical(), DNS_PORT) == asked)
    }

    /// Whether it says this.
    pub fn has(&self, flag: ResolverFlag) -> bool {
        self.flags.contains(&flag)
    }

    /// Whether it asks the same servers for the same names as another one, which is the node's.
    pub fn is_like(&self, node: &Self) -> bool {
        self.nameservers == node.nameservers && self.search == node.search
    }

    /// `shop.svc.cluster.local` is followed by `svc.cluster.local`.
    fn searches_cluster(&self) -> bool {
        let [namespace, services, ..] = &self.search[..] else { return false };
        services.starts_with("svc.")
            && namespace.split_once('.').is_some_and(|(_, services_of)| services_of == &**services)
    }
}

fn domain(text: &str) -> Arc<str> {
    text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase().into()
}

fn flags(config: &Config) -> Vec<ResolverFlag> {
    use ResolverFlag::{
        Edns0, NoAaaa, NoTldQuery, Rotate, SingleRequest, SingleRequestReopen, TrustAd, UseVc,
    };
    let flags = [
        (config.rotate, Rotate),
        (config.use_vc, UseVc),
        (config.single_request, SingleRequest),
        (config.single_request_reopen, SingleRequestReopen),
        (config.edns0, Edns0),
        (config.trust_ad, TrustAd),
        (config.no_aaaa, NoAaaa),
        (config.no_tld_query, NoTldQuery),
    ];
    flags.into_iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KUBELET: &str = "search shop.svc.cluster.local svc.cluster.local cluster.local\n\
                           nameserver 10.96.0.10\noptions ndots:5\n";

    fn parse(text: &str) -> ResolverConfig {
        ResolverConfig::parse(text.as_bytes())
    }

    #[test]
    fn the_kubelets_is_read_and_known() {
        let read = parse(KUBELET);
        assert_eq!(read.nameservers, ["10.96.0.10".parse::<IpAddr>().unwrap()]);
        let search: Vec<&str> = read.search.iter().map(|domain| &**domain).collect();
        assert_eq!(search, ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local"]);
        assert_eq!((read.ndots, read.timeout, read.attempts), (5, 5, 2));
        assert_eq!((read.flags.len(), read.likeness), (0, Likeness::ClusterFirst));
    }

    #[test]
    fn defaults_and_options_are_those_of_glibc() {
        let read = parse("");
        assert_eq!((read.ndots, read.timeout, read.attempts, read.likeness), (1, 5, 2, Likeness::Own));
        assert!(read.nameservers.is_empty() && read.search.is_empty());
        let read =
            parse("options ndots:99 timeout:1 use-vc single-request-reopen\noptions edns0 trust-ad rotate\n");
        assert_eq!((read.ndots, read.timeout), (15, 1));
        assert!(read.has(ResolverFlag::UseVc) && read.has(ResolverFlag::SingleRequestReopen));
        assert!(read.has(ResolverFlag::TrustAd) && !read.has(ResolverFlag::SingleRequest));
    }

    #[test]
    fn what_makes_no_sense_is_passed_over_and_the_last_search_counts() {
        let text = b"nameserver what\nnameserver fe80::1%eth0\nblah\noptions ndots:many new-option\n\
                     search a.example\nsearch B.Example. .\n\xff\n";
        let read = ResolverConfig::parse(text);
        assert_eq!(read.nameservers, ["fe80::1".parse::<IpAddr>().unwrap()]);
        assert_eq!(read.search, ["b.example".into(), Arc::<str>::from("")]);
        assert_eq!(read.ndots, 1);
    }

    #[test]
    fn it_is_bounded() {
        let many = "nameserver 10.0.0.1\n".repeat(100) + "search " + &"a.b ".repeat(100);
        let read = parse(&many);
        assert_eq!((read.nameservers.len(), read.search.len()), (8, 32));
    }
}
