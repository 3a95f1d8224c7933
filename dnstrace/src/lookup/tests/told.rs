//! What was told, in few words, for tables of expectations.

use super::{packets::*, *};
use crate::{
    dns::record_type,
    event::{IcmpError, KernelTime},
};

/// A line for each output but lookups: a query with its attempts, or a stray.
pub fn told(out: &[Output]) -> Vec<String> {
    out.iter()
        .filter_map(|output| match output {
            Output::Query(query) => Some(query_words(query)),
            Output::Stray(stray) => Some(format!("stray {:?}", stray.reason)),
            Output::Connection(connection) => Some(connection_words(connection)),
            Output::Packet(stray) => Some(format!("{:?}: {}", stray.reason, step_words(&stray.step))),
            Output::Loss(loss) => Some(format!("{} lost", loss.events)),
            Output::Lookup(_) => None,
        })
        .collect()
}

/// `1 A a.: dropped 2: inserted, drop q QDISC_DROP -> 10.244.1.9; answered`
fn query_words(query: &Query) -> String {
    let attempts: Vec<_> = query.attempts.iter().map(attempt_words).collect();
    let role = if query.role == Role::Server { " at server" } else { "" };
    let Question { name, qtype, .. } = &query.question;
    format!("{}{role} {} {name}: {}", query.number, record_type(*qtype), attempts.join("; "))
}

pub fn attempt_words(attempt: &Attempt) -> String {
    let unopened = if attempt.conversation.id.is_none() { "unopened " } else { "" };
    let mut words = format!("{unopened}{}", fate_words(&attempt.fate));
    let steps: Vec<_> = attempt.steps.iter().map(step_words).collect();
    if !steps.is_empty() {
        words += &format!(": {}", steps.join(", "));
    }
    if let Some(endpoint) = attempt.endpoint {
        words += &format!(" -> {}", endpoint.ip());
    }
    words
}

/// `connection 1 Dns: again syn, connect errno 111; Reset`
fn connection_words(connection: &TcpConnection) -> String {
    let role = if connection.role == Role::Server { " at server" } else { "" };
    let mut words = format!("connection {}{role} {:?}", connection.number, connection.protocol);
    let steps: Vec<_> = connection.steps.iter().map(step_words).collect();
    if !steps.is_empty() {
        words += &format!(": {}", steps.join(", "));
    }
    if let Some(endpoint) = connection.endpoint {
        words += &format!(" -> {}", endpoint.ip());
    }
    match connection.end {
        Some(end) => words + &format!("; {end:?}"),
        None => words,
    }
}

/// With the number of the deciding step, from 1.
fn fate_words(fate: &Fate) -> String {
    match fate {
        Fate::Open => "open".to_owned(),
        Fate::Answered(_) => "answered".to_owned(),
        Fate::AnsweredLate { after, step } => format!("late {} by {}", after / MS, step + 1),
        Fate::SendFailed { step } => format!("send failed {}", step + 1),
        Fate::LostAtConntrack { step } => format!("lost {}", step + 1),
        Fate::Dropped { step } => format!("dropped {}", step + 1),
        Fate::Rejected { step } => format!("rejected {}", step + 1),
        Fate::AnswerDropped { step } => format!("answer dropped {}", step + 1),
        Fate::Evicted { step } => format!("evicted {}", step + 1),
        Fate::Unanswered { .. } => "unanswered".to_owned(),
        Fate::Unknown { lost, .. } => format!("unknown, {lost} lost"),
        Fate::NotAwaited => "not awaited".to_owned(),
        Fate::ConnectFailed { step } => format!("connect failed {}", step + 1),
        Fate::ConnectionLost { step } => format!("connection lost {}", step + 1),
    }
}

fn step_words(step: &Step) -> String {
    let of = |leg: Leg| match leg {
        Leg::Query => "q",
        Leg::Answer => "a",
        Leg::Syn => "syn",
        Leg::SynAck => "syn-ack",
    };
    let error = |error: &IcmpError| match error {
        IcmpError::V4 { kind, code } | IcmpError::V6 { kind, code } => format!("{kind}/{code}"),
    };
    match &step.what {
        What::Conntrack(entry) => match &entry.result {
            Insertion::Inserted => "inserted".to_owned(),
            Insertion::Merged { winner } => format!("merged with {}", winner_words(winner.as_ref())),
            Insertion::ReplyOnly { winner } => format!("reply only by {}", winner_words(winner.as_ref())),
            Insertion::Failed { why: InsertFailure::Clash(winner) } => {
                format!("failed by {}", winner_words(Some(winner)))
            }
            Insertion::Failed { why: InsertFailure::NoClash } => "failed by no clash".to_owned(),
            Insertion::Failed { why: InsertFailure::Unknown } => "failed".to_owned(),
            Insertion::Unknown => "not known".to_owned(),
            Insertion::Untracked => "untracked".to_owned(),
        },
        What::Dropped(dropped) => {
            let place = &dropped.place;
            let why = place.reason.as_ref().or(place.function.as_ref()).unwrap();
            let mut words = format!("drop {} {why}", of(dropped.leg));
            if dropped.table_full.is_some() {
                words += " full";
            }
            if let Some(source) = dropped.untranslated {
                words += &format!(" from {}", source.ip());
            }
            words
        }
        What::IcmpSent { leg, error: e } => format!("icmp {} sent {}", of(*leg), error(e)),
        What::IcmpReceived { leg, error: e } => format!("icmp {} received {}", of(*leg), error(e)),
        What::SendFailed { errno } => format!("errno {errno}"),
        What::Evicted => "thrown out".to_owned(),
        What::Retransmitted { leg } => format!("again {}", of(*leg)),
        What::ConnectFailed { errno } => format!("connect errno {errno}"),
        What::ConnectionEnded(end) => format!("ended {end:?}"),
    }
}

/// `2 AAAA same`: the number and type of the winner's query, and whether it was of the same socket.
fn winner_words(winner: Option<&Winner>) -> String {
    let Some(winner) = winner else { return "unseen".to_owned() };
    match &winner.query {
        Some(query) => {
            let socket = if query.same_socket { "same" } else { "other" };
            format!("{} {} {socket}", query.number, record_type(query.question.qtype))
        }
        None => format!("stranger {}", winner.original.source),
    }
}

/// What is told of these inputs must be these lines.
pub fn expect(name: &str, inputs: Vec<Input>, lines: &[&str]) {
    expect_with(name, inputs, Sight::default(), lines);
}

pub fn expect_with(name: &str, inputs: Vec<Input>, sight: Sight, lines: &[&str]) {
    assert!(inputs.is_sorted_by_key(Input::time), "{name}: not in order of time");
    assert_eq!(told(&run_all(inputs, sight)), lines, "{name}");
}

#[test]
fn a_query_is_told_in_a_line() {
    let c = client();
    let inputs = vec![
        c.asks(0, 1, "a.").into(),
        c.is_inserted(10, 1, "a.", c.entry(1, NEAR)),
        c.gets(MS, answer(1, "a.")).into(),
    ];
    let out = run_all(inputs, Sight::default());
    assert_eq!(told(&out), ["1 A a.: answered: inserted -> 10.244.1.9"]);
    let [query] = queries(&out)[..] else { panic!() };
    assert_eq!(query.attempts[0].steps[0].time, KernelTime(10));
    assert_eq!(query.attempts[0].steps[0].netns, Some(NODE));
}
