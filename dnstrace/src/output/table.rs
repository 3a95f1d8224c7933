//! The live table: a line a query; a sick one unfolds into its attempts and what befell them.

use std::fmt::Write as _;

use crate::{
    dns::{Decoded, Question, record_class, record_type},
    event::{Direction, KernelTime, Task, Transport},
    identify::Owner,
    lookup::{
        Answer, Outcome, Output, Query, Role, Stray, StrayPacket, StrayPacketReason, StrayReason,
        TcpConnection,
    },
};

use super::{
    Nodes, WallClock, answer, attempt, connection, escape, names, server_side,
    step::{self, Scene},
    units,
};

/// Columns before the last two: title, width at the start, and the width beyond which a cell only moves its own
/// line.
const COLUMNS: [(&str, usize, usize); 6] = [
    ("TIME", 15, 15),
    ("POD", 26, 60),
    ("PROCESS", 18, 30),
    ("TYPE", 5, 10),
    ("NAME", 36, 64),
    ("PEER", 35, 60),
];
const LATENCY: (&str, usize) = ("LATENCY", 8);
/// The last column is as long as it needs to be.
const LAST: &str = "ANSWER";

/// The table. Its columns grow with what they hold, so that lines below each other stay readable.
#[derive(Debug)]
pub struct Table {
    clock: WallClock,
    nodes: Nodes,
    widths: [usize; COLUMNS.len()],
}

impl Table {
    pub fn new(clock: WallClock) -> Self {
        Self { clock, nodes: Nodes::default(), widths: COLUMNS.map(|(_, width, _)| width) }
    }

    /// Says which network namespaces are the nodes' own, so that they are called so.
    #[must_use]
    pub fn on(self, nodes: Nodes) -> Self {
        Self { nodes, ..self }
    }

    /// The line above the table.
    pub fn header(&mut self) -> String {
        self.row(&COLUMNS.map(|(title, ..)| title.to_owned()), LATENCY.0, LAST)
    }

    /// The lines of one output of the core, each with its newline.
    pub fn lines(&mut self, output: &Output) -> String {
        match output {
            Output::Query(query) => self.query(query),
            Output::Stray(stray) => self.stray(stray),
            Output::Packet(packet) => self.packet(packet),
            Output::Connection(connection) => self.connection(connection),
            Output::Lookup(_) => String::new(),
            Output::Loss(loss) => self.lost(
                loss.since,
                loss.time,
                &format!("{} events (ring full; try a larger --ring)", loss.events),
            ),
        }
    }

    /// The line in the place of so many outputs that were not written, whose times are `since` to `until`.
    pub fn not_written(&self, outputs: u64, since: KernelTime, until: KernelTime) -> String {
        self.lost(since, until, &format!("{outputs} queries and others, not printed (not read in time)"))
    }

    fn lost(&self, since: KernelTime, until: KernelTime, what: &str) -> String {
        let [since, until] = [since, until].map(|time| self.clock.time_of_day(time));
        format!("{until}  LOST since {since}: {what}\n")
    }

    fn query(&mut self, query: &Query) -> String {
        let (latency, last) = ending(query);
        let cells = [
            self.clock.time_of_day(query.started()),
            self.owner(&query.owner),
            process(&query.task),
            kind(&query.question),
            escape(&query.question.name).into_owned(),
            peer(query),
        ];
        let mut lines = self.row(&cells, &latency, &last);
        if attempt::is_sick(query) {
            lines.push_str(&attempt::unfold(query, &self.nodes));
        }
        lines
    }

    fn stray(&mut self, stray: &Stray) -> String {
        let seen = &stray.observation.seen;
        let [qtype, qname] = asked(&stray.observation.decoded);
        let (arrow, remote) = match seen.direction {
            Direction::Sent => ("->", seen.flow.destination),
            Direction::Received => ("<-", seen.flow.source),
        };
        let cells = [
            self.clock.time_of_day(seen.time),
            self.owner(&stray.observation.owner),
            process(&seen.task),
            qtype,
            qname,
            format!("{arrow} {remote}/{}", names::transport(seen.flow.transport)),
        ];
        self.row(&cells, "-", &stray_words(stray))
    }

    fn packet(&mut self, stray: &StrayPacket) -> String {
        let [qtype, qname] = asked(&stray.decoded);
        let flow = stray.flow;
        let cells = [
            self.clock.time_of_day(stray.step.time),
            nothing(),
            nothing(),
            qtype,
            qname,
            format!("{} -> {}/{}", flow.source, flow.destination, names::transport(flow.transport)),
        ];
        let words = step::words(&stray.step, &Scene::of_packet(&self.nodes, flow));
        self.row(&cells, "-", &format!("{words}; {}", whose(stray)))
    }

    fn connection(&mut self, tcp: &TcpConnection) -> String {
        let scene = Scene::of_connection(&self.nodes, tcp);
        let cells = [
            self.clock.time_of_day(tcp.time),
            tcp.owner.as_ref().map_or_else(nothing, |owner| self.owner(owner)),
            tcp.task.as_ref().map_or_else(nothing, process),
            connection::kind(tcp.protocol).to_owned(),
            nothing(),
            format!("{} {}", arrow(tcp.role), attempt::address(tcp.remote, Transport::Tcp, tcp.endpoint)),
        ];
        let latency = tcp.established.map(|established| units::duration(established.since(tcp.time)));
        let latency = latency.filter(|_| tcp.seen_from_start).unwrap_or_else(nothing);
        let (outcome, more) = (connection::outcome(tcp, &scene), connection::unfold(tcp, &scene));
        self.row(&cells, &latency, &outcome) + &more
    }

    /// The pod, or what runs outside pods; of several nodes on which: `shop/cart-7d4f@worker-1`.
    fn owner(&self, owner: &Owner) -> String {
        let name = escape(&owner.to_string()).into_owned();
        match self.nodes.of_owner(owner) {
            Some(node) => format!("{name}@{}", escape(node)),
            None => name,
        }
    }

    /// A row with its newline.
    fn row(&mut self, cells: &[String; COLUMNS.len()], latency: &str, last: &str) -> String {
        let mut line = String::new();
        for ((cell, width), (.., most)) in cells.iter().zip(&mut self.widths).zip(COLUMNS) {
            *width = (*width).max(cell.chars().count().min(most));
            // Writing into a String cannot fail.
            _ = write!(line, "{cell:<width$}  ");
        }
        _ = writeln!(line, "{latency:>width$}  {last}", width = LATENCY.1);
        line
    }
}

/// A cell that has nothing to tell.
fn nothing() -> String {
    "-".to_owned()
}

/// The last two columns.
fn ending(query: &Query) -> (String, String) {
    let latency = query.latency().map_or_else(nothing, units::duration);
    let Some(answer) = query.answer() else { return (latency, attempt::ending(query).to_owned()) };
    let mut last = answer::status(&answer.message);
    let slow_opening = connection::slow_opening(query).unwrap_or_default();
    let slow_server = server_side::slow_words(query).unwrap_or_default();
    for words in [answer::words(answer), slow_reader(query, answer), slow_server, slow_opening] {
        if !words.is_empty() {
            _ = write!(last, " {words}");
        }
    }
    (latency, last)
}

/// A query that does not unfold, but whose answer the program left unread for most of the time.
fn slow_reader(query: &Query, answer: &Answer) -> String {
    let wait = answer::long_wait(answer).filter(|wait| wait.saturating_mul(2) > query.latency().unwrap_or(0));
    match wait {
        Some(wait) if !attempt::is_sick(query) => format!("[{}]", attempt::unread(wait)),
        _ => String::new(),
    }
}

/// Type and name of the question, if they could be read.
fn asked(decoded: &Decoded) -> [String; 2] {
    match decoded.message.as_ref().and_then(|message| message.question.as_ref()) {
        Some(question) => [kind(question), escape(&question.name).into_owned()],
        None => [nothing(), nothing()],
    }
}

/// Which query a packet belongs to.
fn whose(stray: &StrayPacket) -> String {
    match (stray.reason, stray.flow.transport) {
        (StrayPacketReason::NoAttempt, Transport::Udp) => "of a query that was not seen".to_owned(),
        (StrayPacketReason::NoAttempt, Transport::Tcp) => {
            "of a connection that was not seen, or had no query under way".to_owned()
        }
        (StrayPacketReason::Ambiguous, _) => "of one of several queries".to_owned(),
        (StrayPacketReason::Ended { query }, _) => format!("of query {query}, which has ended"),
    }
}

fn stray_words(stray: &Stray) -> String {
    let observation = &stray.observation;
    let status = observation.decoded.message.as_ref().map(answer::status).unwrap_or_default();
    match &stray.reason {
        StrayReason::Undecoded | StrayReason::NoQuestion => {
            let defect = observation.decoded.defect.as_ref();
            let what = defect.map_or_else(|| "a message without a question".to_owned(), answer::defect);
            format!("{what} ({} bytes)", observation.seen.length)
        }
        StrayReason::StreamSkipped => format!(
            "{} skipped: a connection older than the trace, or not captured whole; where its messages begin is not known",
            units::bytes(u64::from(observation.seen.length))
        ),
        StrayReason::StreamNotDns => {
            format!("not DNS: the stream begins with {}", answer::excerpt(&observation.seen.payload))
        }
        StrayReason::QueryNotSeen => format!("{status}: an answer whose query was not seen"),
        StrayReason::Surplus { .. } => format!("{status}: one more answer to a query that has ended"),
        StrayReason::Late { after, .. } => {
            format!("{status}: answered late, {} after the query was sent", units::duration(*after))
        }
        StrayReason::Untranslated { asked, .. } => {
            format!("{status}: an answer that was not translated back to {asked}, which was asked")
        }
    }
}

fn process(task: &Task) -> String {
    if task.is_known() { format!("{}[{}]", escape(&task.comm), task.pid) } else { nothing() }
}

/// The type that is asked for, with the class where it is not the Internet's.
fn kind(question: &Question) -> String {
    const IN: u16 = 1;
    let qtype = record_type(question.qtype);
    if question.qclass == IN {
        qtype.into_owned()
    } else {
        format!("{qtype}/{}", record_class(question.qclass))
    }
}

/// The other end: the server of a client, the client of a server.
fn peer(query: &Query) -> String {
    let attempt = match query.outcome {
        Outcome::Answered { attempt } => query.attempts.get(attempt),
        Outcome::Unanswered | Outcome::Pending => query.attempts.last(),
    };
    attempt.map_or_else(String::new, |attempt| format!("{} {}", arrow(query.role), attempt::remote(attempt)))
}

/// Which way it went: to a server, or from a client.
fn arrow(role: Role) -> &'static str {
    match role {
        Role::Client => "->",
        Role::Server => "<-",
    }
}
