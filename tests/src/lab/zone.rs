//! What the cluster DNS knows.

use std::net::{IpAddr, Ipv4Addr};

/// The domain below which every name exists: for clients that ask unique names.
pub const ANY_NAME: &str = "test.cluster.local.";
/// What every name below [`ANY_NAME`] resolves to.
pub const ANY_A: &str = "10.96.3.9";
pub const ANY_AAAA: &str = "fd00:96::309";

/// How many bytes of text the TXT records of `txt-SIZE.large.cluster.local.` hold: answers that pass 512 bytes, 1232
/// bytes (the usual EDNS size), an Ethernet frame, and nearly 4096.
pub const LARGE_SIZES: [usize; 5] = [400, 800, 1400, 2000, 3600];

/// Bytes of text in each of those records.
const TXT_CHUNK: usize = 200;

/// How every unbound serves.
const SERVER_CONF: &str = "server:
  interface: 0.0.0.0
  interface: ::0
  access-control: 0.0.0.0/0 allow
  access-control: ::/0 allow
  do-daemonize: no
  username: \"\"
  chroot: \"\"
  directory: \"/\"
  pidfile: \"\"
  use-syslog: no
  logfile: \"\"
  num-threads: 1
  msg-cache-size: 1m
  rrset-cache-size: 1m
  so-rcvbuf: 2m
  so-reuseport: no
  incoming-num-tcp: 100
  edns-buffer-size: 4096
  max-udp-size: 4096
  module-config: \"iterator\"
  minimal-responses: yes
";
const NO_CONTROL: &str = "remote-control:\n  control-enable: no\n";

/// The configuration of an unbound that asks this server over TCP for everything, on port 53 of every address.
pub fn forwarding_conf(to: Ipv4Addr) -> String {
    format!(
        "{SERVER_CONF}  tcp-upstream: yes\n  qname-minimisation: no\nforward-zone:\n  name: \".\"\n  forward-addr: {to}\n{NO_CONTROL}"
    )
}

/// Zones and the records in them. A name of a zone that has no record does not exist; no question leaves the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// Origins that the server is authoritative for, with the trailing dot.
    pub origins: Vec<String>,
    /// Records in master file form.
    pub records: Vec<String>,
    /// Domains whose every name has the same addresses.
    pub wildcards: Vec<(String, Vec<IpAddr>)>,
}

impl Zone {
    /// A cluster with a shop in it, some outside names, and names for tests:
    /// - `api.shop.svc.cluster.local.` has A and AAAA, `web.shop.svc.cluster.local.` only A (AAAA is NODATA);
    /// - `peers.shop.svc.cluster.local.` is headless: three A records, SRV and PTR;
    /// - `example.com.`, `www.example.com.` (a CNAME) and `mail.example.com.` are outside;
    /// - `txt-SIZE.large.cluster.local.` has SIZE bytes of text (see [`LARGE_SIZES`]);
    /// - every name below [`ANY_NAME`] exists; every other name of `cluster.local.` and of the root does not.
    pub fn cluster() -> Self {
        let mut records: Vec<String> = [
            "api.shop.svc.cluster.local. 5 A 10.96.3.4",
            "api.shop.svc.cluster.local. 5 AAAA fd00:96::304",
            "web.shop.svc.cluster.local. 5 A 10.96.3.5",
            "kube-dns.kube-system.svc.cluster.local. 5 A 10.96.0.10",
            "kubernetes.default.svc.cluster.local. 5 A 10.96.0.1",
            "peers.shop.svc.cluster.local. 5 A 10.244.1.31",
            "peers.shop.svc.cluster.local. 5 A 10.244.2.32",
            "peers.shop.svc.cluster.local. 5 A 10.244.3.33",
            "peer-0.peers.shop.svc.cluster.local. 5 A 10.244.1.31",
            "_redis._tcp.peers.shop.svc.cluster.local. 5 SRV 0 100 6379 peer-0.peers.shop.svc.cluster.local.",
            "31.1.244.10.in-addr.arpa. 5 PTR peer-0.peers.shop.svc.cluster.local.",
            "example.com. 300 A 192.0.2.80",
            "example.com. 300 AAAA 2001:db8::80",
            "example.com. 300 MX 10 mail.example.com.",
            "www.example.com. 300 CNAME example.com.",
            "mail.example.com. 300 A 192.0.2.25",
        ]
        .map(str::to_owned)
        .into();
        records.extend(LARGE_SIZES.into_iter().flat_map(large_records));
        Self {
            origins: vec![
                ".".into(),
                "cluster.local.".into(),
                "10.in-addr.arpa.".into(),
                "example.com.".into(),
            ],
            records,
            wildcards: vec![(
                ANY_NAME.into(),
                [ANY_A, ANY_AAAA].iter().flat_map(|text| text.parse()).collect(),
            )],
        }
    }

    /// The configuration of an unbound that answers from this zone alone, on port 53 of every address.
    pub fn unbound_conf(&self) -> String {
        let mut conf = SERVER_CONF.to_owned();
        for origin in &self.origins {
            conf += &format!("  local-zone: \"{origin}\" static\n");
        }
        for (domain, addresses) in &self.wildcards {
            conf += &format!("  local-zone: \"{domain}\" redirect\n");
            for address in addresses {
                let kind = if address.is_ipv4() { "A" } else { "AAAA" };
                conf += &format!("  local-data: \"{domain} 5 {kind} {address}\"\n");
            }
        }
        for record in &self.records {
            // A record may hold quoted text, so the outer quotes are the other kind.
            conf += &format!("  local-data: '{record}'\n");
        }
        conf + NO_CONTROL
    }
}

/// TXT records of one name that hold `size` bytes of text together.
fn large_records(size: usize) -> impl Iterator<Item = String> {
    (0..size).step_by(TXT_CHUNK).map(move |start| {
        let length = TXT_CHUNK.min(size - start);
        // Numbered, since a name has no two records with the same data.
        format!("txt-{size}.large.cluster.local. 5 TXT \"{start:0length$}\"")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_names_hold_what_they_say() {
        for size in LARGE_SIZES {
            let text: usize = large_records(size).map(|record| record.split('"').nth(1).unwrap().len()).sum();
            assert_eq!(text, size);
        }
    }

    #[test]
    fn records_with_text_keep_their_quotes() {
        let zone =
            Zone { origins: vec!["a.".into()], records: vec!["a. 5 TXT \"x y\"".into()], wildcards: vec![] };
        let conf = zone.unbound_conf();
        assert!(conf.contains("  local-zone: \"a.\" static\n  local-data: 'a. 5 TXT \"x y\"'\n"));
    }
}
