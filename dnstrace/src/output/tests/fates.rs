//! What the user reads of fates.

use insta::assert_snapshot;
use proptest::prelude::*;

use super::{clock, schema, zoo};
use crate::{
    event::{Flow, IcmpError, KernelTime, NetfilterHook, TableFull},
    identify::Owner,
    lookup::{
        Conntrack, Dropped, Fate, InsertFailure, Insertion, Leg, Output, Step, StrayPacket,
        StrayPacketReason, What, Winner,
    },
    losses::{KernelGap, Losses},
    output::{Nodes, summary, table::Table},
    statistics::Statistics,
};

fn shown(out: &[Output]) -> String {
    let mut table = Table::new(clock()).on(Nodes::one(Some(zoo::NODE)));
    table.header() + &out.iter().map(|output| table.lines(output)).collect::<String>()
}

#[test]
fn the_five_second_lookup_explains_itself() {
    assert_snapshot!(shown(&zoo::outputs(vec![zoo::five_seconds(), zoo::reply_only()])));
}

#[test]
fn queries_that_die_on_the_way_out() {
    assert_snapshot!(shown(&zoo::outputs(zoo::out())));
}

#[test]
fn answers_that_die_on_the_way_back_and_fates_without_a_step() {
    assert_snapshot!(shown(&zoo::outputs(zoo::back())));
}

#[test]
fn a_server_tells_what_became_of_its_answers() {
    assert_snapshot!(shown(&zoo::outputs(vec![zoo::served()])));
}

#[test]
fn the_server_s_side_tells_where_the_time_went() {
    let sides = zoo::outputs(zoo::server_side::sides());
    assert_snapshot!(shown(&sides));
    assert_snapshot!(schema::line(&sides[1]));
}

#[test]
fn healthy_queries_are_a_line_each() {
    let shown = shown(&zoo::outputs(zoo::healthy()));
    assert_eq!(shown.lines().count(), 1 + zoo::healthy().len());
    assert_snapshot!(shown);
}

#[test]
fn packets_of_no_attempt_are_rows() {
    let shown = shown(&zoo::packets(zoo::strays()));
    assert_eq!(shown.lines().count(), 1 + zoo::strays().len());
    assert_snapshot!(shown);
}

#[test]
fn places_are_named_by_what_is_known() {
    let lines = |node| {
        let mut table = Table::new(clock()).on(Nodes::one(node));
        let five = table.lines(&Output::Query(zoo::five_seconds().into()));
        let mut host = zoo::five_seconds();
        host.owner = Owner::default();
        host.netns = zoo::NODE;
        five + &table.lines(&Output::Query(host.into()))
    };
    let known = lines(Some(zoo::NODE));
    assert_eq!(known.matches("on the node: ").count(), 4, "{known}");
    let unknown = lines(None);
    assert_eq!(unknown.matches("in netns 4026531840: ").count(), 2, "{unknown}");
    assert_eq!(unknown.matches("in its network namespace: ").count(), 2, "{unknown}");
}

#[test]
fn json_has_every_step() {
    let lines: Vec<_> = zoo::all()
        .iter()
        .map(|output| {
            let line = schema::line(output);
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            steps(&value)
        })
        .filter(|steps| !steps.is_empty())
        .collect();
    assert_snapshot!(lines.join("\n"));
}

/// Fate and steps of each attempt, or a packet's line, without what is the same in all.
fn steps(line: &serde_json::Value) -> String {
    if line["kind"] == "packet" {
        return line.to_string();
    }
    let attempts = line["attempts"].as_array().unwrap();
    let kept = attempts.iter().map(|attempt| {
        let name = line["qname"].as_str().unwrap();
        let fate =
            ["endpoint", "endpoint_port", "fate", "fate_step", "waited_ns", "events_lost", "steps_left_out"]
                .map(|field| format!("{field}={}", attempt[field]));
        let wait = &attempt["answer"]["socket_wait_ns"];
        let steps = attempt["steps"].as_array().unwrap();
        let steps = steps.iter().map(|step| format!("\n    {step}")).collect::<String>();
        format!("{name} {} socket_wait_ns={wait}{steps}", fate.join(" "))
    });
    kept.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_summary_counts_fates() {
    let mut statistics = Statistics::default();
    for output in zoo::all() {
        statistics.add(&output);
    }
    let end = KernelTime(60_000_000_000);
    let losses = Losses {
        kernel_gaps: vec![KernelGap {
            netns: zoo::POD,
            what: "datagrams received".into(),
            counter: "Udp InDatagrams".into(),
            missed: 3,
        }],
        namespaces_unchecked: 2,
        ..Losses::default()
    };
    assert_snapshot!(summary::text(&statistics, KernelTime(0), end, &losses));
    assert_snapshot!(schema::summary(&statistics, &losses, end));
}

#[test]
fn every_fate_has_its_words_in_the_summary() {
    let mut statistics = Statistics::default();
    for output in zoo::all() {
        statistics.add(&output);
    }
    let counted = &statistics.counts().fates;
    let text = summary::text(&statistics, KernelTime(0), KernelTime(1), &Losses::default());
    let attempts = text.lines().find(|line| line.starts_with("attempts: ")).unwrap();
    let told: u64 = attempts
        .trim_start_matches("attempts: ")
        .split(", ")
        .map(|part| part.split(' ').next().unwrap().parse::<u64>().unwrap())
        .sum();
    let others: u64 = counted.iter().filter(|(fate, _)| **fate != "answered").map(|(_, count)| count).sum();
    assert_eq!(told, others, "{counted:?} in {attempts}");
}

prop_compose! {
    fn any_flow()(a in any::<std::net::IpAddr>(), b in any::<std::net::IpAddr>(), ports in any::<(u16, u16)>())
        -> Flow
    {
        let mut flow = zoo::flow("1.2.3.4:5", "1.2.3.4:5");
        flow.source = (a, ports.0).into();
        flow.destination = (b, ports.1).into();
        flow
    }
}

prop_compose! {
    fn any_winner()(original in any_flow(), reply in any_flow(), name in any::<String>(), known in any::<bool>(),
        number in 12u64..14, same in any::<bool>()) -> Winner
    {
        let winner = zoo::winner(number, &name, same);
        Winner { original, reply, query: winner.query.filter(|_| known) }
    }
}

fn any_insertion() -> BoxedStrategy<Insertion> {
    prop_oneof![
        Just(Insertion::Inserted),
        Just(Insertion::Unknown),
        Just(Insertion::Untracked),
        prop::option::of(any_winner()).prop_map(|winner| Insertion::Merged { winner }),
        prop::option::of(any_winner()).prop_map(|winner| Insertion::ReplyOnly { winner }),
        any_winner().prop_map(|winner| Insertion::Failed { why: InsertFailure::Clash(winner) }),
        Just(Insertion::Failed { why: InsertFailure::NoClash }),
        Just(Insertion::Failed { why: InsertFailure::Unknown }),
    ]
    .boxed()
}

fn any_leg() -> impl Strategy<Value = Leg> {
    prop_oneof![Just(Leg::Query), Just(Leg::Answer)]
}

prop_compose! {
    fn any_drop()(
        leg in any_leg(), reason in any::<String>(), function in any::<String>(),
        hook in prop::option::of(Just(NetfilterHook::Input)),
        arrived in prop::option::of(any::<u64>().prop_map(KernelTime)),
        full in prop::option::of(any::<(Option<u64>, Option<u64>)>()),
        from in prop::option::of(any_flow()),
    ) -> Dropped {
        Dropped {
            arrived,
            table_full: full.map(|(count, max)| TableFull { count, max }),
            untranslated: from.map(|flow| flow.source),
            ..zoo::dropped(leg, zoo::place(&reason, &function, hook))
        }
    }
}

fn any_what() -> BoxedStrategy<What> {
    let error = any::<(bool, u8, u8)>().prop_map(|(v6, kind, code)| {
        if v6 { IcmpError::V6 { kind, code } } else { IcmpError::V4 { kind, code } }
    });
    prop_oneof![
        (any_flow(), any_flow(), any_insertion())
            .prop_map(|(original, reply, result)| What::Conntrack(Conntrack { original, reply, result })),
        any_drop().prop_map(What::Dropped),
        (any_leg(), error.clone()).prop_map(|(leg, error)| What::IcmpSent { leg, error }),
        (any_leg(), error).prop_map(|(leg, error)| What::IcmpReceived { leg, error }),
        any::<u16>().prop_map(|errno| What::SendFailed { errno }),
        Just(What::Evicted),
    ]
    .boxed()
}

prop_compose! {
    fn any_step()(time in any::<u64>(), netns in any::<Option<u32>>(), what in any_what()) -> Step {
        Step { time: KernelTime(time), netns, what }
    }
}

fn any_fate() -> impl Strategy<Value = Fate> {
    (0usize..4, any::<u64>(), 0..9).prop_map(|(step, after, kind)| match kind {
        0 => Fate::AnsweredLate { after, step },
        1 => Fate::SendFailed { step },
        2 => Fate::LostAtConntrack { step },
        3 => Fate::Dropped { step },
        4 => Fate::Rejected { step },
        5 => Fate::AnswerDropped { step },
        6 => Fate::Evicted { step },
        7 => Fate::Unknown { waited: after, lost: after },
        _ => zoo::answer(after, Some(after / 2)),
    })
}

/// Nothing but the ends of its lines.
pub(super) fn harmless(text: &str) -> Result<(), TestCaseError> {
    let steering =
        text.chars().find(|c| (c.is_control() && *c != '\n') || matches!(c, '\u{202e}' | '\u{200b}'));
    prop_assert!(steering.is_none(), "{steering:?} in {text}");
    Ok(())
}

proptest! {
    #[test]
    fn no_step_steers_the_terminal(
        steps in prop::collection::vec(any_step(), 0..4), fate in any_fate(), name in any::<String>(),
    ) {
        let query = zoo::query(&name, vec![zoo::attempt(0, steps.clone(), fate)]);
        let sick = Table::new(clock()).lines(&Output::Query(query.into()));
        harmless(&sick)?;
        prop_assert!(sick.lines().count() <= 2 + steps.len(), "{sick}");
        for step in steps {
            let stray = StrayPacket {
                step,
                reason: StrayPacketReason::NoAttempt,
                ..zoo::strays().swap_remove(0)
            };
            let row = Table::new(clock()).lines(&Output::Packet(stray.into()));
            harmless(&row)?;
            prop_assert_eq!(row.lines().count(), 1);
        }
    }
}
