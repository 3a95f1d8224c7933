//! What the user reads of TCP.

use insta::assert_snapshot;
use proptest::prelude::*;

use super::{clock, fates::harmless, schema, zoo};
use crate::{
    event::KernelTime,
    lookup::{ConnectionEnd, Fate, Leg, Output, Step, What},
    losses::Losses,
    output::{Nodes, summary, table::Table},
    statistics::Statistics,
};

fn shown(out: &[Output]) -> String {
    let mut table = Table::new(clock()).on(Nodes::one(Some(zoo::NODE)));
    table.header() + &out.iter().map(|output| table.lines(output)).collect::<String>()
}

#[test]
fn healthy_queries_are_a_line_each() {
    let shown = shown(&zoo::outputs(zoo::tcp::healthy()));
    assert_eq!(shown.lines().count(), 1 + zoo::tcp::healthy().len());
    assert_snapshot!(shown);
}

#[test]
fn what_delayed_an_answer_is_told() {
    assert_snapshot!(shown(&zoo::outputs(zoo::tcp::delayed())));
}

#[test]
fn why_there_was_no_connection_is_told() {
    assert_snapshot!(shown(&zoo::outputs(zoo::tcp::unconnected())));
}

#[test]
fn how_a_connection_was_lost_is_told() {
    assert_snapshot!(shown(&zoo::outputs(zoo::tcp::lost_connections())));
}

#[test]
fn a_server_tells_of_its_clients() {
    assert_snapshot!(shown(&zoo::outputs(zoo::tcp::served())));
}

#[test]
fn long_names_ipv6_and_hostile_strings_stay_readable() {
    let shown = shown(&zoo::outputs(zoo::tcp::odd()));
    assert!(!shown.contains(['\x1b', '\u{202e}']), "{shown}");
    assert_snapshot!(shown);
}

#[test]
fn connections_have_a_line_of_their_own() {
    let shown = shown(&zoo::tcp::lines(zoo::tcp::connections()));
    assert!(!shown.contains('\x1b'), "{shown}");
    assert_snapshot!(shown);
}

#[test]
fn streams_without_messages_and_packets_of_no_query_are_rows() {
    let out = [zoo::tcp::strays(), zoo::packets(zoo::tcp::packets())].concat();
    let shown = shown(&out);
    assert_eq!(shown.lines().count(), 1 + out.len());
    assert_snapshot!(shown);
}

#[test]
fn json_has_every_field_of_a_connection() {
    let lines: Vec<_> = zoo::tcp::lines(zoo::tcp::connections())
        .iter()
        .chain(&zoo::tcp::strays())
        .map(|output| schema::line(output))
        .collect();
    assert_snapshot!(lines.join("\n"));
}

#[test]
fn json_tells_an_attempts_connection_and_steps() {
    let lines: Vec<_> = zoo::outputs(zoo::tcp::queries())
        .iter()
        .map(|output| {
            let line = schema::line(output);
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            attempts(&value)
        })
        .collect();
    assert_snapshot!(lines.join("\n"));
}

/// What is told of TCP of each attempt.
fn attempts(line: &serde_json::Value) -> String {
    let name = line["qname"].as_str().unwrap();
    let attempts = line["attempts"].as_array().unwrap().iter().map(|attempt| {
        let fields = ["transport", "id", "bytes", "fate", "fate_step", "connection"]
            .map(|field| format!("{field}={}", attempt[field]));
        let steps = attempt["steps"].as_array().unwrap();
        let steps: String = steps.iter().map(|step| format!("\n    {step}")).collect();
        format!("{name} {}{steps}", fields.join(" "))
    });
    attempts.collect::<Vec<_>>().join("\n")
}

fn statistics(outputs: &[Output]) -> Statistics {
    let mut statistics = Statistics::default();
    for output in outputs {
        statistics.add(output);
    }
    statistics
}

#[test]
fn the_summary_counts_tcp() {
    let statistics = statistics(&zoo::tcp::all());
    let end = KernelTime(60_000_000_000);
    let losses = Losses { stream_bytes_skipped: 4_711, streams_forgotten: 2, ..Losses::default() };
    assert_snapshot!(summary::text(&statistics, KernelTime(0), end, &losses));
    assert_snapshot!(schema::summary(&statistics, &losses, end));
}

#[test]
fn a_trace_without_tcp_says_nothing_of_it() {
    let text = summary::text(&statistics(&zoo::all()), KernelTime(0), KernelTime(1), &Losses::default());
    assert!(!text.contains("TCP") && !text.contains("connections:"), "{text}");
}

#[test]
fn what_had_no_connection_is_no_message() {
    let queries = zoo::tcp::unconnected();
    let counts = statistics(&zoo::outputs(queries.clone())).counts().clone();
    // The query over UDP and its truncated answer.
    assert_eq!(counts.messages, 2 * queries.len() as u64);
    assert_eq!((counts.tcp.messages, counts.tcp.queries, counts.retried), (0, 0, 0));
}

fn any_end() -> impl Strategy<Value = ConnectionEnd> {
    prop_oneof![
        Just(ConnectionEnd::Closed),
        Just(ConnectionEnd::ClosedByPeer),
        Just(ConnectionEnd::Aborted),
        Just(ConnectionEnd::Reset),
        any::<u16>().prop_map(|errno| ConnectionEnd::Failed { errno }),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    let leg = prop_oneof![Just(Leg::Query), Just(Leg::Answer), Just(Leg::Syn), Just(Leg::SynAck)];
    let what = prop_oneof![
        leg.clone().prop_map(|leg| What::Retransmitted { leg }),
        any::<u16>().prop_map(|errno| What::ConnectFailed { errno }),
        any_end().prop_map(What::ConnectionEnded),
        (leg, any::<String>(), any::<String>()).prop_map(|(leg, reason, function)| {
            What::Dropped(zoo::dropped(leg, zoo::place(&reason, &function, None)))
        }),
    ];
    (any::<u64>(), what).prop_map(|(time, what)| zoo::step(time, zoo::NODE, what))
}

proptest! {
    /// Steps and fates need not fit each other for the words to be harmless and few.
    #[test]
    fn no_connection_steers_the_terminal(
        steps in prop::collection::vec(any_step(), 0..5), told in 0usize..6, lost in any::<bool>(),
        id in any::<Option<u16>>(), which in any::<prop::sample::Index>(), ended in any::<u64>(),
        end in prop::option::of(any_end()),
    ) {
        let queries = zoo::tcp::queries();
        let mut query = queries[which.index(queries.len())].clone();
        for attempt in &mut query.attempts {
            attempt.steps.clone_from(&steps);
            attempt.conversation.id = id;
            attempt.fate =
                if lost { Fate::ConnectionLost { step: told } } else { Fate::ConnectFailed { step: told } };
        }
        let attempts = query.attempts.len();
        let sick = Table::new(clock()).lines(&Output::Query(query.into()));
        harmless(&sick)?;
        prop_assert!(sick.lines().count() <= 1 + attempts * (2 + steps.len()), "{sick}");

        let connections = zoo::tcp::connections();
        let mut connection = connections[which.index(connections.len())].clone();
        connection.steps.clone_from(&steps);
        (connection.end, connection.ended, connection.steps_left_out) = (end, KernelTime(ended), 0);
        let lines = Table::new(clock()).lines(&Output::Connection(connection.into()));
        harmless(&lines)?;
        prop_assert!(lines.lines().count() <= 1 + steps.len(), "{lines}");
    }
}
