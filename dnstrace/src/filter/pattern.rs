//! What a user writes to pick queries. What can never match is an error, not an empty screen.

use std::{
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use globset::{GlobBuilder, GlobMatcher};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::dns::{rcode_names, rcode_of, rcodes, record_type_names, record_type_of};

use super::facts::Status;

/// Why a pattern makes no sense, and what would.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error("a name is needed")]
    NoName,
    #[error("names have at most 255 octets: this pattern is too long")]
    TooLong,
    #[error("{0}")]
    NotAGlob(String),
    #[error(
        "on the wire names are ASCII: write the xn-- form of an internationalised name, \\DDD for an octet"
    )]
    NotAscii,
    #[error("no such record type{}; any type may be written as its number: TYPE65", suggestion(.near))]
    NoSuchType { near: Option<String> },
    #[error("no such RCODE{}; any RCODE may be written as its number, up to 4095", suggestion(.near))]
    NoSuchRcode { near: Option<String> },
    #[error("give IP, IP:PORT ([IPv6]:PORT) or a network such as 10.244.0.0/16")]
    NotAServer,
    #[error("port 0 does not exist")]
    PortZero,
}

fn suggestion(near: &Option<String>) -> String {
    near.as_ref().map(|near| format!(" (did you mean {near}?)")).unwrap_or_default()
}

/// Bytes of a pattern at the most: of 255 octets of a name each may be a `\DDD`. Far from where a glob would be too large to
/// compile.
const LONGEST: usize = 1024;

/// A glob over names in presentation form, in either case, with or without the trailing dot. A backslash stands for
/// itself, as names have it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NamePattern(GlobMatcher);

impl NamePattern {
    /// Whether `name`, in lower case and with the trailing dot, is of this pattern.
    pub fn matches(&self, name: &str) -> bool {
        self.0.is_match(name) || name.strip_suffix('.').is_some_and(|relative| self.0.is_match(relative))
    }
}

impl PartialEq for NamePattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.glob() == other.0.glob()
    }
}

impl From<NamePattern> for String {
    fn from(pattern: NamePattern) -> Self {
        pattern.0.glob().glob().to_owned()
    }
}

impl TryFrom<String> for NamePattern {
    type Error = PatternError;

    fn try_from(text: String) -> Result<Self, PatternError> {
        text.parse()
    }
}

impl FromStr for NamePattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::NoName);
        }
        if text.len() > LONGEST {
            return Err(PatternError::TooLong);
        }
        if !text.is_ascii() {
            return Err(PatternError::NotAscii);
        }
        let glob = GlobBuilder::new(&text.to_ascii_lowercase()).backslash_escape(false).build();
        let glob = glob.map_err(|error| PatternError::NotAGlob(error.kind().to_string()))?;
        Ok(Self(glob.compile_matcher()))
    }
}

/// A QTYPE: its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypePattern(pub u16);

impl FromStr for TypePattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let near = || nearest(text, record_type_names());
        record_type_of(text).map(Self).ok_or_else(|| PatternError::NoSuchType { near: near() })
    }
}

/// An RCODE as the table shows it: NODATA apart from NOERROR. A number is the wire's: 0 is both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RcodePattern {
    number: u16,
    nodata: Option<bool>,
}

impl RcodePattern {
    const NODATA: &str = "NODATA";
    const NOERROR: &str = "NOERROR";

    /// Whether it is this status.
    pub(super) fn matches(self, status: Status) -> bool {
        status.rcode == self.number && self.nodata.is_none_or(|nodata| nodata == status.nodata)
    }
}

impl FromStr for RcodePattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text.eq_ignore_ascii_case(Self::NODATA) {
            return Ok(Self { number: rcodes::NOERROR, nodata: Some(true) });
        }
        let nodata = text.eq_ignore_ascii_case(Self::NOERROR).then_some(false);
        let names = || rcode_names().chain([Self::NODATA.into()]);
        match rcode_of(text) {
            Some(number) => Ok(Self { number, nodata }),
            None => Err(PatternError::NoSuchRcode { near: nearest(text, names()) }),
        }
    }
}

/// An address or a network, on one port or any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerPattern {
    network: IpNet,
    port: Option<u16>,
}

impl ServerPattern {
    /// Whether `server` is of this network and port.
    pub fn matches(&self, server: SocketAddr) -> bool {
        self.network.contains(&server.ip().to_canonical())
            && self.port.is_none_or(|port| port == server.port())
    }
}

impl FromStr for ServerPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if let Ok(server) = text.parse::<SocketAddr>() {
            let port = Some(server.port()).filter(|port| *port != 0).ok_or(PatternError::PortZero)?;
            return Ok(Self { network: server.ip().to_canonical().into(), port: Some(port) });
        }
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        let address = bare.parse::<IpAddr>().map(|address| IpNet::from(address.to_canonical()));
        let network = address.or_else(|_| text.parse()).map_err(|_| PatternError::NotAServer)?;
        Ok(Self { network, port: None })
    }
}

/// The name that is most like the one written, if one is.
fn nearest<S: AsRef<str>>(written: &str, names: impl Iterator<Item = S>) -> Option<String> {
    /// The same measure as for pods: a letter wrong, missing or too many passes.
    const ALIKE: f64 = 0.75;
    let upper = written.to_ascii_uppercase();
    let scored = names.map(|name| (strsim::jaro_winkler(&upper, name.as_ref()), name));
    let best = scored.filter(|(score, _)| *score >= ALIKE).max_by(|(a, _), (b, _)| a.total_cmp(b));
    best.map(|(_, name)| name.as_ref().to_owned())
}
