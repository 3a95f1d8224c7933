//! The live table: a line a query, and for a sick one a line for each attempt.

use std::{
    fmt::{self, Write as _},
    net::SocketAddr,
};

use crate::{
    dns::{Question, record_class, record_type},
    event::{Direction, Task, Transport},
    identify::Owner,
    lookup::{Attempt, Fate, Outcome, Output, Query, Role, Stray, StrayReason},
};

use super::{WallClock, answer, escape, units};

/// Columns before the last two: title, width at the start, and the width beyond which a cell only moves its own
/// line.
const COLUMNS: [(&str, usize, usize); 6] = [
    ("TIME", 15, 15),
    ("POD", 26, 60),
    ("PROCESS", 18, 30),
    ("TYPE", 5, 10),
    ("NAME", 36, 64),
    ("PEER", 23, 52),
];
const LATENCY: (&str, usize) = ("LATENCY", 8);
/// The last column is as long as it needs to be.
const LAST: &str = "ANSWER";

/// The table. Its columns grow with what they hold, so that lines below each other stay readable.
#[derive(Debug)]
pub struct Table {
    clock: WallClock,
    widths: [usize; COLUMNS.len()],
}

impl Table {
    pub fn new(clock: WallClock) -> Self {
        Self { clock, widths: COLUMNS.map(|(_, width, _)| width) }
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
            Output::Packet(_) => String::new(),
        }
    }

    fn query(&mut self, query: &Query) -> String {
        let (latency, last) = ending(query);
        let cells = [
            self.clock.time_of_day(query.started()),
            owner(&query.owner),
            process(&query.task),
            kind(&query.question),
            escape(&query.question.name).into_owned(),
            peer(query),
        ];
        let mut lines = self.row(&cells, &latency, &last);
        // Writing into a String cannot fail.
        if is_sick(query) {
            for (index, attempt) in query.attempts.iter().enumerate() {
                _ = writeln!(lines, "    {}", attempt_line(query, index, attempt));
            }
            if query.attempts_left_out > 0 {
                _ = writeln!(lines, "    and {} further attempts", query.attempts_left_out);
            }
        }
        lines
    }

    fn stray(&mut self, stray: &Stray) -> String {
        let seen = &stray.observation.seen;
        let message = stray.observation.decoded.message.as_ref();
        let question = message.and_then(|message| message.question.as_ref());
        let (arrow, remote) = match seen.direction {
            Direction::Sent => ("->", seen.flow.destination),
            Direction::Received => ("<-", seen.flow.source),
        };
        let cells = [
            self.clock.time_of_day(seen.time),
            owner(&stray.observation.owner),
            process(&seen.task),
            question.map_or_else(|| "-".to_owned(), kind),
            question.map_or_else(|| "-".to_owned(), |question| escape(&question.name).into_owned()),
            format!("{arrow} {}", endpoint(remote, seen.flow.transport)),
        ];
        self.row(&cells, "-", &stray_words(stray))
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

/// Whether more is to be told than fits one line.
fn is_sick(query: &Query) -> bool {
    query.attempts.len() > 1 || !matches!(query.outcome, Outcome::Answered { .. })
}

/// The last two columns.
fn ending(query: &Query) -> (String, String) {
    let latency = query.latency().map_or_else(|| "-".to_owned(), units::duration);
    let last = match (query.outcome, query.answer()) {
        (Outcome::Answered { .. }, Some(answer)) => {
            format!("{} {}", answer::status(&answer.message), answer::words(answer)).trim_end().to_owned()
        }
        (Outcome::Unanswered, _) => "no answer".to_owned(),
        (Outcome::Answered { .. } | Outcome::Pending, _) => "no answer yet when the trace ended".to_owned(),
    };
    (latency, last)
}

fn attempt_line(query: &Query, index: usize, attempt: &Attempt) -> String {
    let conversation = &attempt.conversation;
    let verb = match (query.role, index) {
        (Role::Client, 0) => "sent to",
        (Role::Client, _) => "sent again to",
        (Role::Server, 0) => "came from",
        (Role::Server, _) => "came again from",
    };
    let remote = endpoint(conversation.remote, conversation.transport);
    let offset = units::offset(attempt.time.since(query.started()));
    format!(
        "{offset}  {verb} {remote} (port {}, id {}): {}",
        conversation.local.port(),
        conversation.id,
        fate(attempt)
    )
}

fn fate(attempt: &Attempt) -> String {
    match &attempt.fate {
        Fate::Open => "no answer yet".to_owned(),
        Fate::Answered(answer) => format!(
            "{} after {}",
            answer::status(&answer.message),
            units::duration(answer.time.since(attempt.time))
        ),
        Fate::AnsweredLate { after, .. } => format!("answered late, after {}", units::duration(*after)),
        Fate::SendFailed { .. } => "not sent".to_owned(),
        Fate::LostAtConntrack { .. } => "lost at conntrack insert".to_owned(),
        Fate::Dropped { .. } => "dropped".to_owned(),
        Fate::Rejected { .. } => "rejected".to_owned(),
        Fate::AnswerDropped { .. } => "its answer was dropped".to_owned(),
        Fate::Evicted { .. } => "its conntrack entry was thrown out".to_owned(),
        Fate::Unknown { waited, .. } => format!("not known, nothing seen for {}", units::duration(*waited)),
        Fate::Unanswered { waited } => format!("no answer for {}", units::duration(*waited)),
        Fate::NotAwaited => "not waited for, another attempt was answered first".to_owned(),
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
        StrayReason::QueryNotSeen => format!("{status}: an answer whose query was not seen"),
        StrayReason::Surplus { .. } => format!("{status}: one more answer to a query that has ended"),
        StrayReason::Late { after, .. } => {
            format!("{status}: answered late, {} after the query was sent", units::duration(*after))
        }
    }
}

/// The pod, or what runs outside pods.
fn owner(owner: &Owner) -> String {
    escape(&owner.to_string()).into_owned()
}

fn process(task: &Task) -> String {
    format!("{}[{}]", escape(&task.comm), task.pid)
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
    let arrow = match query.role {
        Role::Client => "->",
        Role::Server => "<-",
    };
    attempt.map_or_else(String::new, |attempt| {
        format!("{arrow} {}", endpoint(attempt.conversation.remote, attempt.conversation.transport))
    })
}

/// `10.96.0.10:53/udp`
fn endpoint(address: SocketAddr, transport: Transport) -> impl fmt::Display {
    let transport = match transport {
        Transport::Udp => "udp",
        Transport::Tcp => "tcp",
    };
    fmt::from_fn(move |f| write!(f, "{address}/{transport}"))
}
