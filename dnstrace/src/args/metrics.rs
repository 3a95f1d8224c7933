//! Where the running counts are shown: to a Prometheus, or in the terminal.

use std::net::{Ipv6Addr, SocketAddr};

use clap::Args;

use crate::statistics::PODS;

/// Who reads the counts while the trace runs.
#[derive(Clone, Copy, Debug, Args)]
pub struct MetricsArgs {
    /// Serve metrics as Prometheus reads them, on http://ADDR/metrics: 127.0.0.1:9353, [::1]:9353, or :9353 for all
    /// addresses of the node.
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub metrics: Option<SocketAddr>,

    /// Pods with counts of their own, in metrics and in the summary; the rest are counted together as "other".
    #[arg(long, value_name = "N", default_value_t = PODS)]
    pub metrics_pods: usize,

    /// Instead of lines, show the counts live: q ends it with the summary.
    #[arg(long, conflicts_with = "output")]
    pub top: bool,
}

/// An address to listen on. Without a host it means every address, of both families.
fn address(text: &str) -> Result<SocketAddr, String> {
    let address = match text.strip_prefix(':') {
        Some(port) => port.parse().ok().map(|port: u16| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))),
        None => text.parse().ok(),
    };
    address.ok_or_else(|| "give an address and a port: 127.0.0.1:9353, [::1]:9353, or :9353".to_owned())
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn addresses_are_taken_as_prometheus_users_write_them() {
        for (text, means) in
            [("127.0.0.1:9353", "127.0.0.1:9353"), ("[::1]:9353", "[::1]:9353"), (":9353", "[::]:9353")]
        {
            assert_eq!(address(text).map(|address| address.to_string()), Ok(means.to_owned()));
        }
        for wrong in ["9353", ":", ":99999", "localhost", "::1:9353x"] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }
}
