//! The closed vocabularies of JSON: each word once, with its meaning for the schema. Text takes the same words where it
//! names the same thing.

use schemars::JsonSchema;
use serde::Serialize;
use strum::IntoStaticStr;

use crate::{event, identify, lookup};

/// What became of an attempt. Where several are true the cause is told.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub(super) enum Fate {
    /// Still waiting when the query ended or the trace did.
    Open,
    /// A response came, of whatever RCODE. At a server: its program answered.
    Answered,
    /// A response came when the program no longer waited for it.
    AnsweredLate,
    /// The kernel refused to send the query; the step tells the errno.
    SendFailed,
    /// The query was lost at conntrack insertion.
    LostAtConntrack,
    /// The query was dropped on its way, without an ICMP error.
    Dropped,
    /// An ICMP error came back for the query.
    Rejected,
    /// The answer was dropped on its way.
    AnswerDropped,
    /// The conntrack entry was thrown out before the answer came.
    Evicted,
    /// No answer came for `waited_ns`.
    Unanswered,
    /// No answer was seen, but events were lost meanwhile: its fate may be among them.
    Unknown,
    /// Another attempt of the query was answered first.
    NotAwaited,
    /// The TCP connection could not be opened.
    ConnectFailed,
    /// The TCP connection ended before the answer came.
    ConnectionLost,
}

impl From<&lookup::Fate> for Fate {
    fn from(fate: &lookup::Fate) -> Self {
        match fate {
            lookup::Fate::Open => Self::Open,
            lookup::Fate::Answered(_) => Self::Answered,
            lookup::Fate::AnsweredLate { .. } => Self::AnsweredLate,
            lookup::Fate::SendFailed { .. } => Self::SendFailed,
            lookup::Fate::LostAtConntrack { .. } => Self::LostAtConntrack,
            lookup::Fate::Dropped { .. } => Self::Dropped,
            lookup::Fate::Rejected { .. } => Self::Rejected,
            lookup::Fate::AnswerDropped { .. } => Self::AnswerDropped,
            lookup::Fate::Evicted { .. } => Self::Evicted,
            lookup::Fate::Unanswered { .. } => Self::Unanswered,
            lookup::Fate::Unknown { .. } => Self::Unknown,
            lookup::Fate::NotAwaited => Self::NotAwaited,
            lookup::Fate::ConnectFailed { .. } => Self::ConnectFailed,
            lookup::Fate::ConnectionLost { .. } => Self::ConnectionLost,
        }
    }
}

/// How a query ended.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// One of its attempts was answered, with whatever RCODE.
    Answered,
    /// None was, in time.
    Unanswered,
    /// None had been when the trace ended.
    Pending,
}

impl From<lookup::Outcome> for Outcome {
    fn from(outcome: lookup::Outcome) -> Self {
        match outcome {
            lookup::Outcome::Answered { .. } => Self::Answered,
            lookup::Outcome::Unanswered => Self::Unanswered,
            lookup::Outcome::Pending => Self::Pending,
        }
    }
}

/// How a TCP connection ended, as the traced socket saw it.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ConnectionEnd {
    /// Its own program closed it (a FIN was sent first).
    Closed,
    /// The peer closed it (a FIN came first).
    ClosedByPeer,
    /// Its own program gave it up (a RST was sent).
    Aborted,
    /// The peer gave it up (a RST came).
    Reset,
    /// The kernel gave it up, with an errno.
    Failed,
}

impl From<lookup::ConnectionEnd> for ConnectionEnd {
    fn from(end: lookup::ConnectionEnd) -> Self {
        match end {
            lookup::ConnectionEnd::Closed => Self::Closed,
            lookup::ConnectionEnd::ClosedByPeer => Self::ClosedByPeer,
            lookup::ConnectionEnd::Aborted => Self::Aborted,
            lookup::ConnectionEnd::Reset => Self::Reset,
            lookup::ConnectionEnd::Failed { .. } => Self::Failed,
        }
    }
}

/// What a TCP connection speaks, by its port.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Protocol {
    /// Plain DNS.
    Dns,
    /// DNS over TLS: encrypted.
    Tls,
    /// DNS over HTTPS: encrypted.
    Https,
}

impl From<lookup::Protocol> for Protocol {
    fn from(protocol: lookup::Protocol) -> Self {
        match protocol {
            lookup::Protocol::Dns => Self::Dns,
            lookup::Protocol::Tls => Self::Tls,
            lookup::Protocol::Https => Self::Https,
        }
    }
}

/// Which side of the conversation the traced socket is.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Role {
    /// It asked.
    Client,
    /// It was asked.
    Server,
}

impl From<lookup::Role> for Role {
    fn from(role: lookup::Role) -> Self {
        match role {
            lookup::Role::Client => Self::Client,
            lookup::Role::Server => Self::Server,
        }
    }
}

/// Which packet.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Leg {
    /// The query, on its way to the server.
    Query,
    /// The response, on its way back.
    Answer,
    /// The SYN that opens the TCP connection.
    Syn,
    /// Its answer, from the server.
    SynAck,
}

impl From<lookup::Leg> for Leg {
    fn from(leg: lookup::Leg) -> Self {
        match leg {
            lookup::Leg::Query => Self::Query,
            lookup::Leg::Answer => Self::Answer,
            lookup::Leg::Syn => Self::Syn,
            lookup::Leg::SynAck => Self::SynAck,
        }
    }
}

/// What carries the messages.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub(super) enum Transport {
    Udp,
    Tcp,
}

impl From<event::Transport> for Transport {
    fn from(transport: event::Transport) -> Self {
        match transport {
            event::Transport::Udp => Self::Udp,
            event::Transport::Tcp => Self::Tcp,
        }
    }
}

/// Seen from where it happened.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Direction {
    Sent,
    Received,
}

impl From<event::Direction> for Direction {
    fn from(direction: event::Direction) -> Self {
        match direction {
            event::Direction::Sent => Self::Sent,
            event::Direction::Received => Self::Received,
        }
    }
}

/// A netfilter hook, as nft and iptables users know it.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema, IntoStaticStr)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum NetfilterHook {
    Prerouting,
    Input,
    Forward,
    Output,
    Postrouting,
}

impl From<event::NetfilterHook> for NetfilterHook {
    fn from(hook: event::NetfilterHook) -> Self {
        match hook {
            event::NetfilterHook::Prerouting => Self::Prerouting,
            event::NetfilterHook::Input => Self::Input,
            event::NetfilterHook::Forward => Self::Forward,
            event::NetfilterHook::Output => Self::Output,
            event::NetfilterHook::Postrouting => Self::Postrouting,
        }
    }
}

/// How a name, a query or a lookup ended, as its program sees it.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ending {
    /// With data.
    Found,
    /// The name exists, but has no data of the type that was asked for.
    Nodata,
    /// The name does not exist.
    Nxdomain,
    /// With another RCODE: SERVFAIL, REFUSED, ...
    Failed,
    /// No answer came in time.
    Unanswered,
    /// No answer had come when the trace ended.
    Pending,
}

impl From<lookup::Ending> for Ending {
    fn from(ending: lookup::Ending) -> Self {
        match ending {
            lookup::Ending::Found => Self::Found,
            lookup::Ending::NoData => Self::Nodata,
            lookup::Ending::NxDomain => Self::Nxdomain,
            lookup::Ending::Failed(_) => Self::Failed,
            lookup::Ending::Unanswered => Self::Unanswered,
            lookup::Ending::Pending => Self::Pending,
        }
    }
}

/// An option of resolv.conf(5), as it is written there.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ResolverFlag {
    Rotate,
    UseVc,
    SingleRequest,
    SingleRequestReopen,
    Edns0,
    TrustAd,
    NoAaaa,
    NoTldQuery,
}

impl From<identify::ResolverFlag> for ResolverFlag {
    fn from(flag: identify::ResolverFlag) -> Self {
        match flag {
            identify::ResolverFlag::Rotate => Self::Rotate,
            identify::ResolverFlag::UseVc => Self::UseVc,
            identify::ResolverFlag::SingleRequest => Self::SingleRequest,
            identify::ResolverFlag::SingleRequestReopen => Self::SingleRequestReopen,
            identify::ResolverFlag::Edns0 => Self::Edns0,
            identify::ResolverFlag::TrustAd => Self::TrustAd,
            identify::ResolverFlag::NoAaaa => Self::NoAaaa,
            identify::ResolverFlag::NoTldQuery => Self::NoTldQuery,
        }
    }
}

/// Whose resolv.conf one looks like.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Likeness {
    /// As the kubelet writes it for dnsPolicy ClusterFirst.
    ClusterFirst,
    /// The node's, as for dnsPolicy Default.
    Node,
    /// Neither: its own, as for dnsPolicy None.
    Own,
}

impl From<identify::Likeness> for Likeness {
    fn from(likeness: identify::Likeness) -> Self {
        match likeness {
            identify::Likeness::ClusterFirst => Self::ClusterFirst,
            identify::Likeness::Node => Self::Node,
            identify::Likeness::Own => Self::Own,
        }
    }
}
