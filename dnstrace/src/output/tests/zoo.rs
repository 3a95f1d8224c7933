//! Queries, attempts and steps made by hand: one of each kind.

pub(super) mod server_side;
pub(crate) mod tcp;

use std::net::SocketAddr;

use super::{MS, message, owner};
use crate::{
    dns::{Decoded, Flags, Question},
    event::{DropPlace, Flow, IcmpError, KernelTime, NetfilterHook, TableFull, Task, Transport},
    identify::{Owner, Pod},
    lookup::{
        Answer, Attempt, Conntrack, Conversation, Dropped, Fate, InsertFailure, Insertion, Leg, Outcome,
        Output, Query, Role, Step, StrayPacket, StrayPacketReason, What, Winner, WinnerQuery,
    },
};

pub(super) const POD: u32 = 4_026_532_200;
pub(super) const NODE: u32 = 4_026_531_840;
const OTHER: u32 = 4_026_532_999;
const US: u64 = 1_000;
const SECOND: u64 = 1_000 * MS;
const CLIENT: &str = "10.244.1.9:40000";
const SERVICE: &str = "10.96.0.10:53";
const ENDPOINT: &str = "10.244.1.7:53";
const OTHER_ENDPOINT: &str = "10.244.2.9:53";

pub(super) fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(super) fn flow(source: &str, destination: &str) -> Flow {
    Flow { source: at(source), destination: at(destination), transport: Transport::Udp }
}

pub(super) fn step(time: u64, netns: u32, what: What) -> Step {
    Step { time: KernelTime(time), netns: Some(netns), what }
}

/// The entry of a query to the Service, translated to `endpoint`.
pub(super) fn entry(endpoint: &str, result: Insertion) -> What {
    What::Conntrack(Conntrack { original: flow(CLIENT, SERVICE), reply: flow(endpoint, CLIENT), result })
}

pub(super) fn inserted(endpoint: &str) -> What {
    entry(endpoint, Insertion::Inserted)
}

pub(super) fn winner(number: u64, name: &str, same_socket: bool) -> Winner {
    let question = Question { name: name.into(), qtype: 28, qclass: 1 };
    Winner {
        original: flow(if same_socket { CLIENT } else { "10.244.1.8:40000" }, SERVICE),
        reply: flow(OTHER_ENDPOINT, CLIENT),
        query: Some(WinnerQuery { number, question, same_socket }),
    }
}

pub(super) fn place(reason: &str, function: &str, hook: Option<NetfilterHook>) -> DropPlace {
    let name = |name: &str| (!name.is_empty()).then(|| name.into());
    DropPlace { reason: name(reason), function: name(function), hook }
}

pub(super) fn dropped(leg: Leg, place: DropPlace) -> Dropped {
    Dropped { leg, place, arrived: None, table_full: None, untranslated: None }
}

fn drop(leg: Leg, reason: &str, function: &str) -> What {
    What::Dropped(dropped(leg, place(reason, function, None)))
}

fn rule(function: &str, hook: NetfilterHook) -> What {
    What::Dropped(dropped(Leg::Query, place("NETFILTER_DROP", function, Some(hook))))
}

const PORT_UNREACHABLE: IcmpError = IcmpError::V4 { kind: 3, code: 3 };

pub(crate) fn attempt(time: u64, steps: Vec<Step>, fate: Fate) -> Attempt {
    let translated = |step: &Step| match &step.what {
        What::Conntrack(Conntrack { result: Insertion::Failed { .. } | Insertion::Unknown, .. }) => None,
        What::Conntrack(entry) => (entry.reply.source != at(SERVICE)).then_some(entry.reply.source),
        _ => None,
    };
    Attempt {
        carrier: None,
        time: KernelTime(time),
        conversation: Conversation {
            netns: POD,
            role: Role::Client,
            local: at(CLIENT),
            remote: at(SERVICE),
            transport: Transport::Udp,
            id: Some(4711),
        },
        socket: 1,
        tid: 4122,
        length: 44,
        flags: Flags::default(),
        edns: None,
        endpoint: steps.iter().find_map(translated),
        peer: Default::default(),
        steps,
        steps_left_out: 0,
        server_side: None,
        fate,
    }
}

pub(crate) fn answer(time: u64, arrived: Option<u64>) -> Fate {
    Fate::Answered(Answer {
        time: KernelTime(time),
        arrived: arrived.map(KernelTime),
        message: message(true, "api.shop.svc.cluster.local.", &["10.96.3.4"]),
        defect: None,
        length: 60,
        further_messages: 0,
    })
}

/// A query with these attempts: answered if the last one is, else not.
pub(crate) fn query(name: &str, attempts: Vec<Attempt>) -> Query {
    let last = attempts.len() - 1;
    let (outcome, ended) = match &attempts[last].fate {
        Fate::Answered(answer) => (Outcome::Answered { attempt: last }, answer.time),
        Fate::Open => (Outcome::Pending, attempts[last].time),
        _ => (Outcome::Unanswered, attempts[last].time.plus(6 * SECOND)),
    };
    Query {
        number: 13,
        role: Role::Client,
        question: Question { name: name.into(), qtype: 1, qclass: 1 },
        owner: owner(),
        task: Task { cgroup: 1, pid: 4121, tid: 4122, comm: "curl".into() },
        netns: POD,
        attempts,
        attempts_left_out: 0,
        outcome,
        ended,
    }
}

fn unanswered() -> Fate {
    Fate::Unanswered { waited: 6 * SECOND }
}

/// A sent query of which one step decided the fate.
fn died(name: &str, fate: fn(usize) -> Fate, steps: Vec<Step>) -> Query {
    let last = steps.len() - 1;
    query(name, vec![attempt(0, steps, fate(last))])
}

/// The 5-second lookup: lost to its sibling, and sent again.
pub(super) fn five_seconds() -> Query {
    let name = "api.shop.svc.cluster.local.";
    let failed = Insertion::Failed { why: InsertFailure::Clash(winner(12, name, true)) };
    let first = vec![
        step(31 * US, NODE, entry(ENDPOINT, failed)),
        step(33 * US, NODE, rule("nf_hook_slow", NetfilterHook::Postrouting)),
    ];
    let again = 5 * SECOND + 3_418 * US;
    let second = vec![step(again + 28 * US, NODE, inserted(ENDPOINT))];
    query(
        name,
        vec![
            attempt(0, first, Fate::LostAtConntrack { step: 0 }),
            attempt(again, second, answer(again + 684 * US, None)),
        ],
    )
}

/// The same since Linux 5.7: a reply-only entry, and an answer that comes too late for it.
pub(super) fn reply_only() -> Query {
    let name = "slow.example.com.";
    let result = Insertion::ReplyOnly { winner: Some(winner(12, name, true)) };
    let untranslated = Dropped {
        untranslated: Some(at(ENDPOINT)),
        ..dropped(Leg::Answer, place("NO_SOCKET", "__udp4_lib_rcv", None))
    };
    let steps = vec![
        step(31 * US, NODE, entry(ENDPOINT, result)),
        step(2_003 * MS, NODE, What::Dropped(untranslated)),
        step(2_003 * MS + 20 * US, NODE, What::IcmpSent { leg: Leg::Answer, error: PORT_UNREACHABLE }),
    ];
    query(name, vec![attempt(0, steps, Fate::AnswerDropped { step: 1 })])
}

/// A query for each kind of trouble that a query has on its way to the server.
pub(super) fn out() -> Vec<Query> {
    let full = |count, max| {
        let place = place("NETFILTER_DROP", "nf_hook_slow", Some(NetfilterHook::Prerouting));
        let table_full = Some(TableFull { count, max });
        What::Dropped(Dropped { table_full, ..dropped(Leg::Query, place) })
    };
    let gone = |step| Fate::Dropped { step };
    let lost = |step| Fate::LostAtConntrack { step };
    let failed = |why| entry(ENDPOINT, Insertion::Failed { why });
    let foreign = Winner { query: None, ..winner(0, "", false) };
    let rejected = vec![
        step(40 * US, NODE, What::IcmpSent { leg: Leg::Query, error: PORT_UNREACHABLE }),
        step(42 * US, NODE, rule("nf_hook_slow", NetfilterHook::Forward)),
        step(55 * US, POD, What::IcmpReceived { leg: Leg::Query, error: PORT_UNREACHABLE }),
    ];
    let refused = |errno| vec![step(9 * US, POD, What::SendFailed { errno })];
    let refused_by_rule = vec![
        step(5 * US, POD, rule("nft_do_chain", NetfilterHook::Output)),
        step(9 * US, POD, What::SendFailed { errno: 1 }),
    ];
    vec![
        died("rule.", gone, vec![step(40 * US, NODE, rule("nf_hook_slow", NetfilterHook::Forward))]),
        died("nft.", gone, vec![step(40 * US, NODE, rule("nft_do_chain", NetfilterHook::Postrouting))]),
        died("full.", gone, vec![step(20 * US, NODE, full(Some(262_144), Some(262_144)))]),
        died("full-elsewhere.", gone, vec![step(20 * US, POD, full(None, Some(262_144)))]),
        died("full-unknown.", gone, vec![step(20 * US, OTHER, full(None, None))]),
        died("clash-foreign.", lost, vec![step(30 * US, NODE, failed(InsertFailure::Clash(foreign)))]),
        died(
            "clash-pods.",
            lost,
            vec![step(30 * US, NODE, failed(InsertFailure::Clash(winner(9, "other.example.", false))))],
        ),
        died(
            "clash-own.",
            lost,
            vec![step(30 * US, NODE, failed(InsertFailure::Clash(winner(13, "clash-own.", true))))],
        ),
        died("chain.", lost, vec![step(30 * US, NODE, failed(InsertFailure::NoClash))]),
        died("insert-unknown.", lost, vec![step(30 * US, NODE, failed(InsertFailure::Unknown))]),
        query("rejected.", vec![attempt(0, rejected, Fate::Rejected { step: 2 })]),
        died(
            "neighbour.",
            gone,
            vec![
                step(31 * US, NODE, inserted(ENDPOINT)),
                step(3_070 * MS, NODE, drop(Leg::Query, "NEIGH_FAILED", "neigh_invalidate")),
            ],
        ),
        died("route.", gone, vec![step(31 * US, NODE, drop(Leg::Query, "NOT_SPECIFIED", "ip_error"))]),
        died(
            "no-forwarding.",
            gone,
            vec![step(31 * US, NODE, drop(Leg::Query, "IP_INADDRERRORS", "ip_error"))],
        ),
        died("no-server.", gone, vec![step(31 * US, OTHER, drop(Leg::Query, "NO_SOCKET", "__udp4_lib_rcv"))]),
        died(
            "server-busy.",
            gone,
            vec![step(31 * US, OTHER, drop(Leg::Query, "SOCKET_RCVBUFF", "udp_queue_rcv_one_skb"))],
        ),
        died(
            "new-reason.",
            gone,
            vec![step(31 * US, NODE, drop(Leg::Query, "VXLAN_VNI_NOT_FOUND", "vxlan_rcv"))],
        ),
        died("old-kernel.", gone, vec![step(31 * US, NODE, drop(Leg::Query, "", "udp_queue_rcv_one_skb"))]),
        died("old-kernel-rule.", gone, vec![step(31 * US, NODE, drop(Leg::Query, "", "nf_hook_slow"))]),
        died("hidden.", gone, vec![step(31 * US, NODE, drop(Leg::Query, "", ""))]),
        died("eperm.", |step| Fate::SendFailed { step }, refused(1)),
        died("blackhole.", |step| Fate::SendFailed { step }, refused(22)),
        died("unreachable.", |step| Fate::SendFailed { step }, refused(101)),
        query("eperm-rule.", vec![attempt(0, refused_by_rule, Fate::Dropped { step: 0 })]),
    ]
}

/// And for each on the way back, or of none.
pub(super) fn back() -> Vec<Query> {
    let late = |step| Fate::AnsweredLate { after: 2_003 * MS, step };
    let died_back = |step| Fate::AnswerDropped { step };
    let through = || step(31 * US, NODE, inserted(ENDPOINT));
    let unread = Dropped {
        arrived: Some(KernelTime(1_191 * MS)),
        ..dropped(Leg::Answer, place("", "skb_queue_purge", None))
    };
    let evicted = Dropped {
        untranslated: Some(at(ENDPOINT)),
        ..dropped(Leg::Answer, place("NO_SOCKET", "__udp4_lib_rcv", None))
    };
    let merged = Insertion::Merged { winner: Some(winner(12, "merged.", true)) };
    let mut busy = attempt(0, vec![through()], answer(813 * MS, Some(MS)));
    busy.steps_left_out = 2;
    let mut many = query("many.", vec![attempt(0, vec![], unanswered())]);
    many.attempts_left_out = 3;
    vec![
        died(
            "closed.",
            late,
            vec![
                through(),
                step(2_003 * MS, POD, drop(Leg::Answer, "NO_SOCKET", "__udp4_lib_rcv")),
                step(2_003 * MS, POD, What::IcmpSent { leg: Leg::Answer, error: PORT_UNREACHABLE }),
            ],
        ),
        died("unread.", late, vec![through(), step(2_003 * MS, POD, What::Dropped(unread))]),
        died(
            "overflow.",
            died_back,
            vec![
                through(),
                step(700 * US, POD, drop(Leg::Answer, "SOCKET_RCVBUFF", "udp_queue_rcv_one_skb")),
            ],
        ),
        died("evicted.", |step| Fate::Evicted { step }, vec![through(), step(MS, NODE, What::Evicted)]),
        died(
            "evicted-late.",
            died_back,
            vec![through(), step(MS, NODE, What::Evicted), step(2 * MS, NODE, What::Dropped(evicted))],
        ),
        query(
            "merged.",
            vec![attempt(0, vec![step(31 * US, NODE, entry(OTHER_ENDPOINT, merged))], answer(MS, None))],
        ),
        query("busy.", vec![busy]),
        query("silent.", vec![attempt(0, vec![step(5 * US, POD, masqueraded()), through()], unanswered())]),
        query("lost-events.", vec![attempt(0, vec![], Fate::Unknown { waited: 6 * SECOND, lost: 12 })]),
        query("open.", vec![attempt(0, vec![], Fate::Open)]),
        many,
    ]
}

/// An entry of the pod's own: nothing translated but the source.
fn masqueraded() -> What {
    What::Conntrack(Conntrack {
        original: flow(CLIENT, SERVICE),
        reply: flow(SERVICE, "192.168.0.5:61000"),
        result: Insertion::Inserted,
    })
}

/// A server's side: the answer is dropped, then cannot be sent at all.
pub(super) fn served() -> Query {
    let dropped = step(700 * US, NODE, rule("nf_hook_slow", NetfilterHook::Forward));
    let dropped = match dropped.what {
        What::Dropped(drop) => Step { what: What::Dropped(Dropped { leg: Leg::Answer, ..drop }), ..dropped },
        _ => dropped,
    };
    let refused = step(SECOND + 700 * US, POD, What::SendFailed { errno: 1 });
    let mut attempts = vec![
        attempt(0, vec![dropped], Fate::AnswerDropped { step: 0 }),
        attempt(SECOND, vec![refused], Fate::SendFailed { step: 0 }),
    ];
    for attempt in &mut attempts {
        let conversation = &mut attempt.conversation;
        conversation.role = Role::Server;
        (conversation.local, conversation.remote) = (at(ENDPOINT), at(CLIENT));
    }
    Query { role: Role::Server, ..query("served.", attempts) }
}

/// Healthy queries: a line each.
pub(super) fn healthy() -> Vec<Query> {
    let through = |endpoint: &str| vec![step(31 * US, NODE, inserted(endpoint))];
    vec![
        query("healthy.", vec![attempt(0, through(ENDPOINT), answer(MS, Some(900 * US)))]),
        query("other-port.", vec![attempt(0, through("10.244.1.7:5353"), answer(MS, None))]),
        query("untranslated.", vec![attempt(0, through(SERVICE), answer(MS, None))]),
        query("slow-reader.", vec![attempt(0, through(ENDPOINT), answer(813 * MS, Some(MS)))]),
    ]
}

/// Packets of no attempt under way.
pub(super) fn strays() -> Vec<StrayPacket> {
    let stray = |what, reason, response| StrayPacket {
        step: step(7 * SECOND, NODE, what),
        flow: if response { flow(ENDPOINT, CLIENT) } else { flow(CLIENT, SERVICE) },
        decoded: Decoded { message: Some(message(response, "lone.example.", &[])), defect: None },
        reason,
    };
    let blind = |what| StrayPacket {
        decoded: Decoded { message: None, defect: None },
        ..stray(what, StrayPacketReason::Ambiguous, false)
    };
    let elsewhere = StrayPacket {
        step: step(7 * SECOND, OTHER, drop(Leg::Query, "NO_SOCKET", "__udp4_lib_rcv")),
        ..stray(What::Evicted, StrayPacketReason::NoAttempt, false)
    };
    let failed = Insertion::Failed { why: InsertFailure::Clash(winner(12, "other.example.", false)) };
    vec![
        stray(drop(Leg::Answer, "NO_SOCKET", "__udp4_lib_rcv"), StrayPacketReason::Ended { query: 13 }, true),
        stray(rule("nf_hook_slow", NetfilterHook::Forward), StrayPacketReason::NoAttempt, false),
        stray(entry(ENDPOINT, failed), StrayPacketReason::NoAttempt, false),
        stray(
            What::IcmpSent { leg: Leg::Query, error: IcmpError::V6 { kind: 1, code: 3 } },
            StrayPacketReason::NoAttempt,
            false,
        ),
        blind(What::Evicted),
        elsewhere,
    ]
}

pub(crate) fn outputs(queries: Vec<Query>) -> Vec<Output> {
    queries.into_iter().map(|query| Output::Query(query.into())).collect()
}

pub(super) fn packets(packets: Vec<StrayPacket>) -> Vec<Output> {
    packets.into_iter().map(|packet| Output::Packet(packet.into())).collect()
}

/// All of the above.
pub(crate) fn all() -> Vec<Output> {
    let queries = [vec![five_seconds(), reply_only(), served()], out(), back(), healthy()].concat();
    [outputs(queries), packets(strays())].concat()
}
