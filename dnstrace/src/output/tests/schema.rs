//! Every line that these tests know is what the schema says, and the schema says what every field means.

use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::{Value, json};

use super::{clock, healthy, run, sick, zoo};
use crate::{
    event::{KernelTime, Loss},
    lookup::Output,
    losses::{HookLosses, KernelGap, Losses},
    output::{AttachedHook, EndReason, MissingHook, NameSource, Started, Status, json},
    statistics::Statistics,
};

static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| {
    let mut schema = json::schema().to_value();
    close(&mut schema);
    schema["unevaluatedProperties"] = false.into();
    let options = jsonschema::options().should_validate_formats(true);
    options.build(&schema).unwrap()
});

/// A reader must take fields that it does not know; here they are a mistake.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            let properties = members.get_mut("properties").and_then(Value::as_object_mut);
            for property in properties.into_iter().flat_map(|properties| properties.values_mut()) {
                forbid_others(property);
            }
            members.get_mut("items").into_iter().for_each(forbid_others);
            members.values_mut().for_each(close);
        }
        Value::Array(members) => members.iter_mut().for_each(close),
        _ => {}
    }
}

fn forbid_others(schema: &mut Value) {
    if let Value::Object(members) = schema {
        members.insert("unevaluatedProperties".to_owned(), false.into());
    }
}

/// Fails if a line is not what the schema says.
#[track_caller]
fn check(line: &str) -> Value {
    let value: Value = serde_json::from_str(line).unwrap();
    let errors: Vec<_> =
        VALIDATOR.iter_errors(&value).map(|error| format!("{error} at {}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{}\n{line}", errors.join("\n"));
    value
}

/// The line of an output, once it is checked: how every test here makes one.
#[track_caller]
pub fn line(output: &Output) -> String {
    let line = json::line(output, &clock()).unwrap();
    check(&line);
    line
}

/// Likewise of the summary.
#[track_caller]
pub fn summary(statistics: &Statistics, losses: &Losses, end: KernelTime) -> String {
    let line = json::summary(statistics, losses, [KernelTime(0), end], true, &clock()).unwrap();
    check(&line);
    line
}

fn losses() -> Losses {
    let gap = KernelGap { netns: 1, what: "datagrams".into(), counter: "InDatagrams".into(), missed: 1 };
    Losses {
        hooks: vec![HookLosses { hook: "ip_send_skb".into(), ring_full: 3, unreadable: 1, skipped: 2 }],
        lines_not_written: 7,
        kernel_gaps: vec![gap],
        ..Losses::default()
    }
}

#[test]
fn every_output_is_valid() {
    let all = [zoo::all(), zoo::packets(zoo::strays()), run(sick(), 5_200_000_000), run(healthy(), 1)];
    for output in all.concat() {
        line(&output);
    }
}

#[test]
fn losses_are_lines() {
    let (since, until) = (KernelTime(1_000_000_000), KernelTime(1_050_000_000));
    let ring = check(&line(&Output::Loss(Loss { since, time: until, events: 12 })));
    let written = check(&json::not_written(7, since, until, &clock()).unwrap());
    let both = json!({
        "schema_version": 1,
        "kind": "loss",
        "time": "2023-11-14T22:13:21.050000000Z",
        "ktime_ns": 1_050_000_000,
        "since": "2023-11-14T22:13:21.000000000Z",
        "since_ktime_ns": 1_000_000_000,
    });
    let with = |more: Value| {
        let mut line = both.clone();
        line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        line
    };
    assert_eq!(ring, with(json!({ "cause": "ring_full", "events": 12 })));
    assert_eq!(written, with(json!({ "cause": "stdout_full", "lines": 7 })));
}

#[test]
fn the_summary_is_a_line() {
    let mut counted = Statistics::default();
    for output in zoo::all() {
        counted.add(&output);
    }
    for losses in [Losses::default(), losses()] {
        assert_eq!(check(&summary(&counted, &losses, KernelTime(1)))["kind"], "summary");
    }
}

fn started() -> Status {
    Status::Started(Box::new(Started {
        version: "0.1.0".into(),
        node: Some("worker-1".into()),
        kernel: "6.1.0-40-cloud-amd64".into(),
        target: "pod shop/cart-7d4f".into(),
        ports: vec![53, 5353],
        timeout_ns: 6_000_000_000,
        attached: vec![AttachedHook { hook: "ip_send_skb", target: "ip_send_skb", way: "kprobe" }],
        missing: vec![MissingHook {
            hook: "early_drop",
            lost_without: "entries thrown out",
            why: "this kernel has no such function".into(),
        }],
    }))
}

#[test]
fn how_the_trace_fares_is_a_line() {
    let loaded = Status::ModuleLoaded { module: "nf_conntrack".into(), attached: vec![], missing: vec![] };
    let ended = [
        EndReason::Interrupted,
        EndReason::Terminated,
        EndReason::Duration,
        EndReason::Count,
        EndReason::StdoutClosed,
    ];
    let ended = ended.map(|reason| Status::Ended { reason });
    let failed = Status::SourceFailed {
        source: NameSource::ContainerRuntime,
        why: "no container runtime answers:\u{1b}[2J name its socket with --cri-socket".into(),
    };
    let sources = [failed, Status::SourceRecovered { source: NameSource::ApiServer }];
    let set = [-3_600_000_000_000, 12_000_000].map(|by_ns| Status::ClockSet { by_ns });
    let all = [vec![started(), loaded], sources.to_vec(), set.to_vec(), ended.to_vec()].concat();
    let lines = all.iter().map(|status| json::status(status, KernelTime(1), &clock()).unwrap());
    let lines: Vec<_> = lines.inspect(|line| _ = check(line)).collect();
    insta::assert_snapshot!(lines.join("\n"));
    insta::assert_snapshot!(all.iter().map(Status::text).collect::<String>());
}

#[test]
fn the_check_can_fail() {
    let good = line(&run(healthy(), 1)[0]);
    let mutations: [fn(&mut Value); 6] = [
        |line| line["kind"] = "quarry".into(),
        |line| line["schema_version"] = 2.into(),
        |line| line["time"] = "yesterday".into(),
        |line| line["attempts"][0]["fate"] = "lost".into(),
        |line| line["attempts"][0]["more"] = 1.into(),
        |line| _ = line.as_object_mut().unwrap().remove("rcode"),
    ];
    for (number, mutate) in mutations.iter().enumerate() {
        let mut value: Value = serde_json::from_str(&good).unwrap();
        mutate(&mut value);
        assert!(!VALIDATOR.is_valid(&value), "mutation {number} was not noticed");
    }
}

#[test]
fn every_field_is_described() {
    let mut bare = Vec::new();
    find_bare(&json::schema().to_value(), "", &mut bare);
    assert!(bare.is_empty(), "a doc comment is missing: {bare:#?}");
}

fn find_bare(schema: &Value, path: &str, bare: &mut Vec<String>) {
    match schema {
        Value::Object(members) => {
            let properties = members.get("properties").and_then(Value::as_object);
            for (name, property) in properties.into_iter().flatten() {
                // The tag of an enum is described with its variant.
                let is_tag = property.get("const").is_some();
                if !is_tag && property.get("description").is_none() {
                    bare.push(format!("{path}/{name}"));
                }
            }
            for (key, member) in members {
                find_bare(member, &format!("{path}/{key}"), bare);
            }
        }
        Value::Array(members) => {
            for (index, member) in members.iter().enumerate() {
                find_bare(member, &format!("{path}/{index}"), bare);
            }
        }
        _ => {}
    }
}
