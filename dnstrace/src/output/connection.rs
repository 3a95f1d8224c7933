//! TCP connections in words: how they open, fail and end. The same for a query's own and for those that have a line of
//! their own.

use crate::{
    event::{IcmpError, KernelTime},
    lookup::{Attempt, ConnectionEnd, Dropped, Fate, Leg, Protocol, Query, Role, Step, TcpConnection, What},
};

use super::{
    attempt, names,
    step::{self, Scene},
    units,
};

/// Whether its SYN had to be sent again before the attempt could be.
pub(crate) fn opened_slowly(attempt: &Attempt) -> bool {
    attempt.carrier.is_some_and(|carrier| carrier.queries_before == 0 && carrier.syn_retransmissions > 0)
}

/// When the connection of an attempt was opened, and how: `connection to 10.96.0.10:53/tcp opened after 3.050 s: SYN sent
/// again twice`. None if that was not for this attempt, or not seen.
pub(super) fn opening(attempt: &Attempt) -> Option<(KernelTime, String)> {
    if is_unopened(attempt) {
        return None;
    }
    let carrier = attempt.carrier.filter(|carrier| carrier.queries_before == 0)?;
    let opened = carrier.opened?;
    let again = (carrier.syn_retransmissions > 0).then(|| syn_again(carrier.syn_retransmissions));
    let how = match (carrier.established, again) {
        (Some(established), None) => opened_after(established.since(opened)),
        (Some(established), Some(again)) => format!("{}: {again}", opened_after(established.since(opened))),
        (None, None) => "opened, when was not seen".to_owned(),
        (None, Some(again)) => format!("opened, when was not seen: {again}"),
    };
    Some((opened, format!("connection to {} {how}", attempt::remote(attempt))))
}

fn opened_after(nanoseconds: u64) -> String {
    format!("opened{}", after(nanoseconds))
}

/// How long a query's connection took to open, if its SYN was sent again before the query began: its latency does not
/// tell then. `[its connection took 3.050 s to open]`
pub(super) fn slow_opening(query: &Query) -> Option<String> {
    let first = query.attempts.first().filter(|attempt| opened_slowly(attempt))?;
    let carrier = first.carrier?;
    let took = carrier.established?.since(carrier.opened?);
    Some(format!("[its connection took {} to open]", units::duration(took)))
}

/// Whether it never had a connection to be sent on.
pub(super) fn is_unopened(attempt: &Attempt) -> bool {
    attempt.conversation.id.is_none() || matches!(attempt.fate, Fate::ConnectFailed { .. })
}

/// Which query of its connection an attempt was, if that is worth a word: `, query 15 of its connection`.
pub(super) fn ordinal(attempt: &Attempt) -> String {
    match attempt.carrier.map_or(0, |carrier| carrier.queries_before) {
        0 => String::new(),
        before => format!(", query {} of its connection", before.saturating_add(1)),
    }
}

/// Whether a step is a SYN sent again: headings count these.
pub(crate) fn is_syn_again(step: &Step) -> bool {
    matches!(step.what, What::Retransmitted { leg: Leg::Syn })
}

/// Whether an attempt's heading, or the one of its connection, says how often its SYN was sent again.
pub(super) fn counts_syns(attempt: &Attempt) -> bool {
    is_unopened(attempt) || opening(attempt).is_some()
}

/// How often an attempt's SYN was sent again.
pub(super) fn syns_again_of(attempt: &Attempt) -> u32 {
    let told = syns_again(&attempt.steps);
    attempt.carrier.map_or(told, |carrier| carrier.syn_retransmissions.max(told))
}

/// As far as the steps tell: not all of them may have been kept.
pub(crate) fn syns_again(steps: &[Step]) -> u32 {
    u32::try_from(steps.iter().filter(|step| is_syn_again(step)).count()).unwrap_or(u32::MAX)
}

/// `SYN sent again twice`
pub(super) fn syn_again(count: u32) -> String {
    match count {
        1 => "SYN sent again once".to_owned(),
        2 => "SYN sent again twice".to_owned(),
        many => format!("SYN sent again {many} times"),
    }
}

/// Why a connection could not be opened, after `again` SYNs sent again: `timed out, 4 SYNs unanswered (ETIMEDOUT)`,
/// `refused, nobody listens there (ECONNREFUSED), SYN sent again once`.
pub(super) fn failure(errno: u16, again: u32, scene: &Scene) -> String {
    let errno_number = i32::from(errno);
    // A refusal answers the last SYN. That there is no route may have been said of any, and is told when all are sent.
    let answered = if errno_number == libc::ECONNREFUSED { last_syn(scene.steps) } else { scene.steps };
    let why = match (errno_number, icmp(answered)) {
        (libc::ETIMEDOUT, _) => return format!("timed out, {} (ETIMEDOUT)", syns_unanswered(again)),
        (libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::ENETUNREACH, Some(error)) => {
            format!("rejected by ICMP {} ({})", names::icmp(error), names::errno(errno))
        }
        (libc::ECONNREFUSED, None) => format!("refused{} (ECONNREFUSED)", refused(answered)),
        (libc::EHOSTUNREACH, None) => "no route to host (EHOSTUNREACH)".to_owned(),
        (libc::ENETUNREACH, None) => "no route to its network (ENETUNREACH)".to_owned(),
        // __inet_hash_connect, net/ipv4/inet_hashtables.c.
        (libc::EADDRNOTAVAIL, _) => "no local port is free for that server (EADDRNOTAVAIL)".to_owned(),
        _ => step::errno_words(errno, scene),
    };
    match again {
        0 => why,
        count => format!("{why}, {}", syn_again(count)),
    }
}

/// `4 SYNs unanswered`, where all but one were sent again.
pub(super) fn syns_unanswered(again: u32) -> String {
    match again {
        0 => "its SYN unanswered".to_owned(),
        count => format!("{} SYNs unanswered", count.saturating_add(1)),
    }
}

/// What befell the SYN that was sent last.
fn last_syn(steps: &[Step]) -> &[Step] {
    steps.rsplit(is_syn_again).next().unwrap_or(steps)
}

/// The last ICMP error about a SYN.
fn icmp(steps: &[Step]) -> Option<IcmpError> {
    steps.iter().rev().find_map(|step| match step.what {
        What::IcmpReceived { leg: Leg::Syn, error } | What::IcmpSent { leg: Leg::Syn, error } => Some(error),
        _ => None,
    })
}

/// Who refused by a RST, as far as the steps tell: it comes of a host where nobody listens, and of a rule alike.
fn refused(steps: &[Step]) -> &'static str {
    let dropped = steps.iter().rev().find_map(|step| match &step.what {
        What::Dropped(Dropped { leg: Leg::Syn, place, .. }) => Some(place),
        _ => None,
    });
    match dropped {
        Some(place) if step::is_netfilter(place) => " by a netfilter rule",
        Some(place) if place.reason.as_deref() == Some("NO_SOCKET") => ", nobody listens there",
        Some(_) | None => ", nobody listens there or a rule rejects it",
    }
}

/// How an open connection ended, as the socket of `scene` saw it: `closed by the server`.
pub(super) fn ended(end: ConnectionEnd, scene: &Scene) -> String {
    let (own, peer) = match scene.role {
        Role::Client => ("the program", "the server"),
        Role::Server => ("the server", "the client"),
    };
    match end {
        ConnectionEnd::Closed => format!("closed by {own}"),
        ConnectionEnd::ClosedByPeer => format!("closed by {peer}"),
        ConnectionEnd::Aborted => format!("reset by {own}"),
        ConnectionEnd::Reset => format!("reset by {peer}"),
        ConnectionEnd::Failed { errno } => match i32::from(errno) {
            libc::ETIMEDOUT => {
                format!("given up by the kernel: {peer} acknowledged nothing any more (ETIMEDOUT)")
            }
            _ => format!("given up by the kernel: {}", names::errno_explained(errno)),
        },
    }
}

/// Whether a client that still waited for an answer ended its connection itself.
pub(super) fn is_given_up(end: ConnectionEnd, role: Role) -> bool {
    role == Role::Client && matches!(end, ConnectionEnd::Closed | ConnectionEnd::Aborted)
}

/// How a connection ended while a query waited, for the line of the query.
pub(super) fn lost(end: ConnectionEnd, role: Role) -> &'static str {
    match (end, role) {
        (ConnectionEnd::Closed, Role::Client) => "no answer: connection closed by the program (gave up)",
        (ConnectionEnd::Closed, Role::Server) | (ConnectionEnd::ClosedByPeer, Role::Client) => {
            "no answer: connection closed by the server"
        }
        (ConnectionEnd::Aborted, Role::Client) => "no answer: connection reset by the program (gave up)",
        (ConnectionEnd::Aborted, Role::Server) | (ConnectionEnd::Reset, Role::Client) => {
            "no answer: connection reset by the server"
        }
        (ConnectionEnd::ClosedByPeer, Role::Server) => "no answer: connection closed by the client",
        (ConnectionEnd::Reset, Role::Server) => "no answer: connection reset by the client",
        (ConnectionEnd::Failed { .. }, _) => "no answer: connection given up by the kernel",
    }
}

/// How an attempt to connect ended that came to nothing.
#[derive(Clone, Copy)]
pub(super) enum Unopened {
    /// With this errno.
    Failed(u16),
    /// The program no longer waited.
    GivenUp,
}

impl Unopened {
    /// What a step tells of it.
    pub fn by_step(step: &Step) -> Option<Self> {
        match step.what {
            What::ConnectFailed { errno } => Some(Self::Failed(errno)),
            What::ConnectionEnded(end) => Some(Self::by_end(end)),
            _ => None,
        }
    }

    fn by_end(end: ConnectionEnd) -> Self {
        match end {
            ConnectionEnd::Failed { errno } => Self::Failed(errno),
            ConnectionEnd::Reset | ConnectionEnd::ClosedByPeer => Self::Failed(REFUSED),
            ConnectionEnd::Closed | ConnectionEnd::Aborted => Self::GivenUp,
        }
    }

    /// `failed after 7.100 s: timed out, 3 SYNs unanswered (ETIMEDOUT)`; `after` may be empty.
    pub fn words(self, after: &str, again: u32, scene: &Scene) -> String {
        match self {
            Self::Failed(errno) => format!("failed{after}: {}", failure(errno, again, scene)),
            Self::GivenUp => format!("given up by the program{after}, {}", syns_unanswered(again)),
        }
    }

    /// For the line of a query.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Failed(errno) => match i32::from(errno) {
                libc::ECONNREFUSED => "no answer: connect refused",
                libc::ETIMEDOUT => "no answer: connect timed out",
                _ => "no answer: connect failed",
            },
            Self::GivenUp => "no answer: connect given up by the program",
        }
    }
}

const REFUSED: u16 = libc::ECONNREFUSED as u16;

/// ` after 3.050 s`; ` at once`
pub(super) fn after(nanoseconds: u64) -> String {
    if nanoseconds == 0 { " at once".to_owned() } else { format!(" after {}", units::duration(nanoseconds)) }
}

/// What a connection that has a line of its own came to: `encrypted DNS, open 30.100 s, 1.2 kB sent, 4.5 kB received,
/// rtt 12.0 ms, closed by the server`.
pub(super) fn outcome(connection: &TcpConnection, scene: &Scene) -> String {
    let again = syns_again(scene.steps);
    if let Some(unopened) = unopened(connection) {
        let waited = connection.ended.since(connection.time);
        let after = if connection.seen_from_start { after(waited) } else { String::new() };
        return format!("connect {}", unopened.words(&after, again, scene));
    }
    let mut parts = vec![carried(connection.protocol).to_owned(), open(connection)];
    if again > 0 {
        parts.push(syn_again(again));
    }
    // How many they were is told at its end.
    if connection.end.is_some() && (connection.established.is_some() || !connection.seen_from_start) {
        parts.push(format!("{} sent", units::bytes(connection.bytes_acked)));
        parts.push(format!("{} received", units::bytes(connection.bytes_received)));
    }
    parts.extend(connection.rtt_us.map(|us| format!("rtt {}", units::duration(u64::from(us) * 1_000))));
    parts.extend(connection.end.map(|end| ended(end, scene)));
    parts.join(", ")
}

/// Whether it was never open, and why.
pub(super) fn unopened(connection: &TcpConnection) -> Option<Unopened> {
    if connection.established.is_some() {
        return None;
    }
    let failed =
        |step: &Step| matches!(step.what, What::ConnectFailed { .. }).then(|| Unopened::by_step(step))?;
    let by_end = connection.end.filter(|_| connection.seen_from_start).map(Unopened::by_end);
    connection.steps.iter().rev().find_map(failed).or(by_end)
}

/// What it is, for the column of types.
pub(super) fn kind(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Dns => "TCP",
        Protocol::Tls => "TLS",
        Protocol::Https => "HTTPS",
    }
}

fn carried(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Dns => "DNS",
        Protocol::Tls => "encrypted DNS",
        Protocol::Https => "encrypted, most likely DNS",
    }
}

/// How long it was open, as far as that was seen.
fn open(connection: &TcpConnection) -> String {
    let since = connection.established.unwrap_or(connection.time);
    let duration = units::duration(connection.ended.since(since));
    let how = match (connection.established.is_some(), connection.seen_from_start) {
        (true, _) => format!("open {duration}"),
        (false, true) => format!("not open after {duration}"),
        (false, false) => format!("open before it was seen, then for {duration}"),
    };
    match connection.end {
        Some(_) => how,
        None => format!("{how}, its end not seen"),
    }
}

/// The lines below a connection's own, each with its newline: what befell it beside the usual, and all of it if it could
/// not be opened.
pub(super) fn unfold(connection: &TcpConnection, scene: &Scene) -> String {
    let all = unopened(connection).is_some();
    let is_told = |step: &Step| match step.what {
        What::ConnectFailed { .. } | What::ConnectionEnded(_) => true,
        _ => is_syn_again(step) || !all && attempt::is_plain(step),
    };
    let told = connection.steps.iter().filter(|step| !is_told(step));
    let mut lines: String = told
        .map(|step| {
            let offset = units::offset(step.time, connection.time);
            format!("    {offset}  {}\n", step::words(step, scene))
        })
        .collect();
    if connection.steps_left_out > 0 {
        lines += &format!("    and {} further steps\n", connection.steps_left_out);
    }
    lines
}
