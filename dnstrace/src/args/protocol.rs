//! Options that say what is taken for DNS.

use std::time::Duration;

use clap::Args;

/// Where DNS is spoken, and when an answer is given up.
#[derive(Args, Clone, Debug)]
pub struct ProtocolArgs {
    /// Port that speaks DNS over UDP and TCP; may be repeated, up to 8. 5353 is multicast DNS, 5355 LLMNR.
    #[arg(long = "port", value_name = "PORT", default_values_t = [53])]
    pub ports: Vec<u16>,

    /// A query counts as unanswered this long after it was last sent: 6s, or as it was when a recording was made.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub timeout: Option<Duration>,
}
