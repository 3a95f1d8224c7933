use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    dns::rcodes,
    event::KernelTime,
    lookup::{Asked, Ending, Fate, Lookup, Outcome, Query, Role, TcpConnection, TriedName, TriedQuery},
    output::tests::zoo,
};

/// Outputs of every kind, healthy and not.
fn everything() -> Vec<Output> {
    [zoo::all(), zoo::tcp::all()].concat()
}

fn name(text: &str) -> NamePattern {
    text.parse().unwrap()
}

fn filter(change: impl FnOnce(&mut Filter)) -> Filter {
    let mut filter = Filter::default();
    change(&mut filter);
    filter
}

fn shown(filter: &Filter) -> Vec<Output> {
    everything().into_iter().filter(|output| filter.hides(output).is_none()).collect()
}

fn queries(outputs: &[Output]) -> Vec<&Query> {
    outputs.iter().filter_map(|o| if let Output::Query(query) = o { Some(&**query) } else { None }).collect()
}

/// The one query of this name.
fn of_name(name: &str) -> Query {
    let all = everything();
    let mut named = queries(&all).into_iter().filter(|query| query.question.name == name);
    named.next().unwrap_or_else(|| panic!("no query for {name}")).clone()
}

fn is_shown(filter: &Filter, query: &Query) -> bool {
    filter.hides(&Output::Query(query.clone().into())).is_none()
}

#[test]
fn without_criteria_everything_is_shown() {
    assert_eq!(shown(&Filter::default()).len(), everything().len());
}

#[test]
fn names_match_in_either_case_with_or_without_the_dot() {
    let cases = [
        ("api.example.com", true),
        ("API.Example.com.", true),
        ("*.example.com", true),
        ("*.example.com.", true),
        ("*", true),
        ("ap?.*", true),
        ("{api,web}.example.com", true),
        ("a[o-q]i.example.com", true),
        ("example.com", false),
        ("api", false),
        ("api.example.com..", false),
        ("*.org", false),
    ];
    for (pattern, matches) in cases {
        assert_eq!(name(pattern).matches("api.example.com."), matches, "{pattern}");
    }
    assert!(name(".").matches(".") && name("*").matches(".") && !name("?").matches("com."));
    // As the table shows such names: the backslash is the name's.
    assert!(name(r"a\.b\032c.example").matches(r"a\.b\032c.example."));
    assert!(name("*.10.in-addr.arpa").matches("0/25.2.10.in-addr.arpa."));
}

#[test]
fn patterns_that_can_never_match_are_refused() {
    let error = |text: &str| text.parse::<NamePattern>().unwrap_err();
    assert_eq!(error(""), PatternError::NoName);
    assert_eq!(error("bücher.example"), PatternError::NotAscii);
    assert_eq!(error(&"a".repeat(1025)), PatternError::TooLong);
    assert!(matches!(error("[a"), PatternError::NotAGlob(_)));
    let near = |text: &str| match text.parse::<TypePattern>() {
        Err(PatternError::NoSuchType { near }) => near,
        other => panic!("{other:?}"),
    };
    assert_eq!(near("AAAAA").as_deref(), Some("AAAA"));
    assert_eq!(near("httpss").as_deref(), Some("HTTPS"));
    assert_eq!(near("65536"), None);
    for (written, near) in [("NOERR", Some("NOERROR")), ("nodta", Some("NODATA")), ("4096", None)] {
        let near = near.map(str::to_owned);
        assert_eq!(written.parse::<RcodePattern>(), Err(PatternError::NoSuchRcode { near }), "{written}");
    }
    for wrong in
        ["", "cart", "10.0.0.1:", "10.0.0.1:65536", "10.0.0.0/33", "10.0.0.0/8:53", "[fd00::1", "fd00::/129"]
    {
        assert_eq!(wrong.parse::<ServerPattern>(), Err(PatternError::NotAServer), "{wrong}");
    }
    assert_eq!("10.0.0.1:0".parse::<ServerPattern>(), Err(PatternError::PortZero));
}

proptest! {
    #[test]
    fn a_recording_keeps_a_filter_as_it_is(filter in any_filter()) {
        let bytes = rmp_serde::to_vec_named(&filter).unwrap();
        prop_assert_eq!(rmp_serde::from_slice::<Filter>(&bytes).unwrap(), filter);
    }
}

#[test]
fn the_longest_patterns_compile() {
    for text in ["*", "?", "[!a]", "{a,b}", "{a*", "a"] {
        let longest = text.repeat(1024 / text.len());
        // Whatever it says, it does not panic.
        _ = longest.parse::<NamePattern>().map(|pattern| pattern.matches("a.example."));
    }
}

#[test]
fn servers_are_asked_or_behind_a_service() {
    let pattern = |text: &str| text.parse::<ServerPattern>().unwrap();
    let cases = [
        ("10.96.0.10", "10.96.0.10:53", true),
        ("10.96.0.10:53", "10.96.0.10:53", true),
        ("10.96.0.10:5353", "10.96.0.10:53", false),
        ("10.96.0.0/16", "10.96.0.10:53", true),
        ("10.96.7.9/16", "10.96.0.10:53", true),
        ("10.96.0.10", "[::ffff:10.96.0.10]:53", true),
        ("::ffff:10.96.0.10", "10.96.0.10:53", true),
        ("fd00::a", "[fd00::a]:53", true),
        ("[fd00::a]", "[fd00::a]:53", true),
        ("[fd00::a]:53", "[fd00::a]:53", true),
        ("fd00::/64", "[fd00::1:a]:53", true),
        ("0.0.0.0/0", "[fd00::a]:53", false),
    ];
    for (written, server, matches) in cases {
        assert_eq!(pattern(written).matches(server.parse().unwrap()), matches, "{written} {server}");
    }
    // zoo: asked 10.96.0.10, went to 10.244.1.7.
    let query = of_name("neighbour.");
    for server in ["10.96.0.10", "10.244.1.7", "10.244.0.0/16"] {
        assert!(is_shown(&filter(|filter| filter.servers.push(pattern(server))), &query), "{server}");
    }
    let client = filter(|filter| filter.servers.push(pattern("10.244.1.9")));
    assert!(!is_shown(&client, &query), "the client is no server");
}

#[test]
fn rcodes_are_those_of_the_table() {
    let with = |rcode: u16, records: bool| {
        let mut query = of_name("healthy.");
        if let Fate::Answered(answer) = &mut query.attempts[0].fate {
            answer.message.rcode = rcode;
            if !records {
                answer.message.answers.clear();
                answer.message.counts.answers = 0;
            }
        }
        query
    };
    let data = with(rcodes::NOERROR, true);
    let nodata = with(rcodes::NOERROR, false);
    let nxdomain = with(rcodes::NXDOMAIN, false);
    let silent = of_name("silent.");
    let cases = [
        ("NOERROR", [true, false, false, false]),
        ("nodata", [false, true, false, false]),
        ("0", [true, true, false, false]),
        ("NXDOMAIN", [false, false, true, false]),
        ("3", [false, false, true, false]),
        ("RCODE23", [false, false, false, false]),
    ];
    for (written, matches) in cases {
        let filter = filter(|filter| filter.rcodes.push(written.parse().unwrap()));
        assert_eq!(
            [&data, &nodata, &nxdomain, &silent].map(|query| is_shown(&filter, query)),
            matches,
            "{written}"
        );
    }
}

#[test]
fn slow_is_what_took_long_or_never_came() {
    let slower = |limit| filter(|filter| filter.slower_than = Some(limit));
    let ms = Duration::from_millis;
    // Answered after 1 ms.
    let healthy = of_name("healthy.");
    assert!(!is_shown(&slower(ms(1)), &healthy) && is_shown(&slower(Duration::from_micros(999)), &healthy));
    assert!(is_shown(&slower(Duration::from_secs(3600)), &of_name("silent.")), "never answered");
    let open = Query { ended: of_name("open.").started().plus(5_000_000), ..of_name("open.") };
    assert!(is_shown(&slower(ms(4)), &open) && !is_shown(&slower(ms(5)), &open), "the trace ended");
    // A connection that took a second to open, and an answer at once.
    let slow_connection = everything().into_iter().find(|output| {
        let Output::Query(query) = output else { return false };
        query.answer().is_some() && query.attempts[0].carrier.is_some_and(|c| c.syn_retransmissions > 0)
    });
    assert_eq!(slower(ms(500)).hides(&slow_connection.unwrap()), None);
}

#[test]
fn failed_is_what_did_not_go_well() {
    let failed = filter(|filter| filter.failed = true);
    for well in ["healthy.", "other-port.", "slow-reader.", "merged.", "open."] {
        assert!(!is_shown(&failed, &of_name(well)), "{well}");
    }
    for ill in
        ["silent.", "rejected.", "clash-own.", "eperm.", "lost-events.", "served.", "reset.", "evicted."]
    {
        assert!(is_shown(&failed, &of_name(ill)), "{ill}");
    }
    // Lost at first, answered at last.
    let rescued = of_name("api.shop.svc.cluster.local.");
    assert!(matches!(rescued.outcome, Outcome::Answered { .. }));
    assert_eq!((rescued.health(), is_shown(&failed, &rescued)), (Health::Troubled, true));
    for (rcode, health) in [
        (rcodes::NOERROR, Health::Well),
        (rcodes::NXDOMAIN, Health::Well),
        (rcodes::SERVFAIL, Health::Failed),
        (rcodes::REFUSED, Health::Failed),
    ] {
        let mut query = of_name("healthy.");
        if let Fate::Answered(answer) = &mut query.attempts[0].fate {
            answer.message.rcode = rcode;
        }
        assert_eq!(query.health(), health, "{rcode}");
    }
}

#[test]
fn what_has_no_such_thing_is_hidden() {
    let connection = |output: &Output| matches!(output, Output::Connection(_));
    let packet = |output: &Output| matches!(output, Output::Packet(_));
    assert!(!shown(&filter(|filter| filter.names.push(name("*")))).iter().any(connection), "no name");
    let slow = shown(&filter(|filter| filter.slower_than = Some(Duration::ZERO)));
    assert!(!slow.iter().any(packet) && slow.iter().any(connection), "a packet has no latency");
    let failed = shown(&filter(|filter| filter.failed = true));
    assert!(failed.iter().any(packet) && failed.iter().any(connection));
    let lone = shown(&filter(|filter| filter.names.push(name("lone.example"))));
    assert!(!lone.is_empty() && lone.iter().all(packet));
}

#[test]
fn the_server_of_a_connection_is_the_end_that_was_connected_to() {
    let all = everything();
    let of_role = |role| {
        let mut connections =
            all.iter().filter_map(|o| if let Output::Connection(it) = o { Some(&**it) } else { None });
        connections.find(|connection| connection.role == role).unwrap()
    };
    let server = |text: &str| filter(|filter| filter.servers.push(text.parse().unwrap()));
    let takes =
        |server: &Filter, it: &TcpConnection| server.hides(&Output::Connection(it.clone().into())).is_none();
    let client = of_role(Role::Client);
    let served = &TcpConnection { local: "10.244.1.2:853".parse().unwrap(), ..of_role(Role::Server).clone() };
    assert!(
        takes(&server(&client.remote.to_string()), client)
            && !takes(&server(&client.local.to_string()), client)
    );
    assert!(
        takes(&server(&served.local.to_string()), served)
            && !takes(&server(&served.remote.to_string()), served)
    );
}

#[test]
fn what_was_hidden_is_told() {
    let mut hidden = Hidden::default();
    assert_eq!(hidden.text(), "");
    let all = everything();
    let of = |is: fn(&Output) -> bool| all.iter().find(|output| is(output)).unwrap();
    hidden.add(of(|output| matches!(output, Output::Query(_))), Criterion::SlowerThan);
    assert_eq!(hidden.text(), "1 query hidden by filters (1 by --slower-than): not counted above\n");
    hidden.add(of(|output| matches!(output, Output::Query(_))), Criterion::Name);
    hidden.add(of(|output| matches!(output, Output::Packet(_))), Criterion::Name);
    hidden.add(of(|output| matches!(output, Output::Stray(_))), Criterion::Name);
    hidden.add(of(|output| matches!(output, Output::Connection(_))), Criterion::Failed);
    assert_eq!(
        hidden.text(),
        "2 queries, 1 message, 1 packet, 1 connection hidden by filters (1 by --failed, 3 by --name, 1 by \
         --slower-than): not counted above\n"
    );
}

fn some<T: Clone + std::fmt::Debug + 'static>(
    written: &'static [&'static str],
    parse: fn(&str) -> T,
) -> impl Strategy<Value = Vec<T>> {
    prop::collection::vec(prop::sample::select(written).prop_map(parse), 0..3)
}

prop_compose! {
    fn any_filter()(
        names in some(&["*", "*.", "*e*", "rule", "lone.example", "nothing.here"], |text| text.parse().unwrap()),
        types in some(&["A", "AAAA"], |text| text.parse().unwrap()),
        rcodes in some(&["NOERROR", "NODATA", "0", "NXDOMAIN"], |text| text.parse().unwrap()),
        servers in some(&["10.96.0.10", "10.244.0.0/16", "fd00::/8", "1.1.1.1:853"], |text| text.parse().unwrap()),
        slower_than in prop::option::of((0u64..3_000_000_000).prop_map(Duration::from_nanos)),
        failed in any::<bool>(),
    ) -> Filter {
        Filter { names, types, rcodes, servers, slower_than, failed }
    }
}

/// The filter with this criterion alone.
fn only(of: &Filter, criterion: Criterion) -> Filter {
    let of = of.clone();
    match criterion {
        Criterion::Name => Filter { names: of.names, ..Filter::default() },
        Criterion::Type => Filter { types: of.types, ..Filter::default() },
        Criterion::Rcode => Filter { rcodes: of.rcodes, ..Filter::default() },
        Criterion::Server => Filter { servers: of.servers, ..Filter::default() },
        Criterion::SlowerThan => Filter { slower_than: of.slower_than, ..Filter::default() },
        Criterion::Failed => Filter { failed: of.failed, ..Filter::default() },
    }
}

const CRITERIA: [Criterion; 6] = [
    Criterion::Name,
    Criterion::Type,
    Criterion::Rcode,
    Criterion::Server,
    Criterion::SlowerThan,
    Criterion::Failed,
];

proptest! {
    /// Shown is what each criterion alone would show; of the others the first is blamed.
    #[test]
    fn criteria_are_joined_by_and(filter in any_filter()) {
        for output in everything() {
            let hidden = CRITERIA.into_iter().find(|criterion| only(&filter, *criterion).hides(&output).is_some());
            prop_assert_eq!(filter.hides(&output), hidden);
        }
    }

    /// One more value of a kind shows no less.
    #[test]
    fn values_of_a_kind_are_joined_by_or(filter in any_filter()) {
        for criterion in [Criterion::Name, Criterion::Type, Criterion::Rcode, Criterion::Server] {
            let whole = only(&filter, criterion);
            for output in everything() {
                let parts: Vec<_> = values(&whole).iter().map(|part| part.hides(&output).is_none()).collect();
                let any = parts.is_empty() || parts.contains(&true);
                prop_assert_eq!(whole.hides(&output).is_none(), any);
            }
        }
    }

    #[test]
    fn hidden_and_shown_are_all(filter in any_filter()) {
        let (mut hidden, mut shown) = (Hidden::default(), 0);
        for output in everything() {
            match filter.hides(&output) {
                Some(criterion) => hidden.add(&output, criterion),
                None => shown += 1,
            }
        }
        let by_kind = hidden.queries + hidden.messages + hidden.packets + hidden.connections + hidden.lookups;
        prop_assert_eq!(by_kind + shown, everything().len() as u64);
        prop_assert_eq!(by_kind, hidden.by_filter.values().sum::<u64>());
        let told: BTreeMap<_, _> = hidden.by_filter.iter().filter(|(_, count)| **count == 0).collect();
        prop_assert!(told.is_empty(), "a filter that hid nothing is not blamed: {:?}", told);
    }
}

/// A filter for each value.
fn values(of: &Filter) -> Vec<Filter> {
    let names = of.names.iter().map(|name| Filter { names: vec![name.clone()], ..Filter::default() });
    let types = of.types.iter().map(|one| Filter { types: vec![*one], ..Filter::default() });
    let rcodes = of.rcodes.iter().map(|one| Filter { rcodes: vec![*one], ..Filter::default() });
    let servers = of.servers.iter().map(|one| Filter { servers: vec![*one], ..Filter::default() });
    names.chain(types).chain(rcodes).chain(servers).collect()
}

#[test]
fn a_lookup_is_asked_by_all_that_was_tried_for_it() {
    let tried = |name: &str, ending| TriedName {
        name: name.to_owned(),
        queries: vec![TriedQuery {
            number: 1,
            qtype: 28,
            started: KernelTime(0),
            ended: KernelTime(1_000_000),
            ending,
        }],
    };
    let query = of_name("healthy.");
    let mut lookup = Lookup {
        number: 1,
        asked: Asked::Known("api".to_owned()),
        owner: query.owner,
        task: query.task,
        netns: query.netns,
        names: vec![tried("api.shop.svc.", Ending::NxDomain), tried("api.example.", Ending::NoData)],
        decisive: 1,
        ending: Ending::NoData,
        data: vec![],
        data_left_out: 0,
        servers: vec![],
        servers_left_out: 0,
        endpoints: vec![],
        started: KernelTime(0),
        ended: KernelTime(2_000_000),
    };
    let takes =
        |filter: Filter, lookup: &Lookup| filter.hides(&Output::Lookup(lookup.clone().into())).is_none();
    for (pattern, taken) in [("api", true), ("*.shop.svc", true), ("api.example.", true), ("web", false)] {
        assert_eq!(takes(filter(|filter| filter.names.push(name(pattern))), &lookup), taken, "{pattern}");
    }
    for (rcode, taken) in [("NODATA", true), ("NOERROR", false), ("NXDOMAIN", false), ("0", true)] {
        let filter = filter(|filter| filter.rcodes.push(rcode.parse().unwrap()));
        assert_eq!(takes(filter, &lookup), taken, "{rcode}");
    }
    let slower = |ms| filter(|filter| filter.slower_than = Some(Duration::from_millis(ms)));
    assert!(takes(slower(1), &lookup) && !takes(slower(2), &lookup));
    let failed = || filter(|filter| filter.failed = true);
    assert!(!takes(failed(), &lookup));
    lookup.ending = Ending::Unanswered;
    assert!(takes(failed(), &lookup) && takes(slower(1_000), &lookup));
}
