use std::{net::IpAddr, sync::Arc};

use proptest::prelude::*;

use super::*;
use crate::event::KernelTime;

fn name(kind: Kind, name: &str) -> Arc<Name> {
    Arc::new(Name { kind, namespace: "shop".into(), name: name.into() })
}

fn holder(kind: Kind, called: &str, ports: &[u16], is_whole: bool) -> Holder {
    let ports = ports.iter().map(|port| (*port, Transport::Udp)).collect();
    Holder { name: name(kind, called), ports, is_whole }
}

fn object(resource: &'static str, name: &str) -> ObjectId {
    ObjectId { resource, namespace: "shop".into(), name: name.into() }
}

fn ip(last: u8) -> IpAddr {
    [10, 96, 0, last].into()
}

fn resolved(holders: &[Holder], port: u16) -> Option<String> {
    resolve(holders, port, Transport::Udp).map(|name| name.to_string())
}

#[test]
fn an_address_of_its_own_is_named_at_every_port() {
    let service = holder(Kind::Service, "dns", &[53], true);
    assert_eq!(resolved(std::slice::from_ref(&service), 53).as_deref(), Some("shop/dns"));
    assert_eq!(resolved(&[service], 5353).as_deref(), Some("shop/dns"));
}

#[test]
fn of_several_the_port_decides_and_else_none_is_taken() {
    let dns = holder(Kind::Service, "dns", &[53], false);
    let web = holder(Kind::Service, "web", &[80], false);
    let both = [dns.clone(), web.clone()];
    assert_eq!(resolved(&both, 53).as_deref(), Some("shop/dns"));
    assert_eq!(resolved(&both, 80).as_deref(), Some("shop/web"));
    assert_eq!(resolved(&both, 443), None);
    assert_eq!(resolve(&both, 53, Transport::Tcp), None);
    let rival = holder(Kind::Service, "rival", &[53], false);
    assert_eq!(resolved(&[dns.clone(), rival], 53), None);
    // The same pod, by two objects.
    let twice = [holder(Kind::Pod, "a", &[53], false), holder(Kind::Pod, "a", &[], true)];
    assert_eq!(resolved(&twice, 53).as_deref(), Some("shop/a"));
    assert_eq!(resolved(&twice, 40_000).as_deref(), Some("shop/a"));
    assert_eq!(resolved(&[holder(Kind::Pod, "a", &[], true), holder(Kind::Pod, "b", &[], true)], 53), None);
}

#[test]
fn a_node_is_not_called_like_a_pod_on_its_network() {
    let endpoint = [holder(Kind::Pod, "node-local-dns", &[53], false)];
    assert_eq!(resolved(&endpoint, 53).as_deref(), Some("shop/node-local-dns"));
    assert_eq!(resolved(&endpoint, 40_000), None);
}

fn called(book: &mut Book, last: u8, time: u64) -> Option<String> {
    let address = (ip(last), 53).into();
    book.name(None, address, Transport::Udp, KernelTime(time)).map(|name| name.to_string())
}

fn whole(called: &str) -> Arc<[Holder]> {
    [holder(Kind::Service, called, &[53], true)].into()
}

#[test]
fn a_name_is_that_of_its_time() {
    let mut book = Book::default();
    assert_eq!(called(&mut book, 1, 5), None);
    book.learn(ip(1), whole("old"), KernelTime(10));
    book.learn(ip(1), whole("new"), KernelTime(20));
    book.learn(ip(1), [].into(), KernelTime(30));
    let at = |book: &mut Book, time| called(book, 1, time);
    assert_eq!(at(&mut book, 9), None);
    assert_eq!(at(&mut book, 10).as_deref(), Some("shop/old"));
    assert_eq!(at(&mut book, 19).as_deref(), Some("shop/old"));
    assert_eq!(at(&mut book, 20).as_deref(), Some("shop/new"));
    assert_eq!(at(&mut book, 30), None);
    for change in 0..100 {
        book.learn(ip(1), whole(&change.to_string()), KernelTime(40 + change));
    }
    assert_eq!(at(&mut book, 139).as_deref(), Some("shop/99"));
    assert_eq!(at(&mut book, 132).as_deref(), Some("shop/92"));
    assert_eq!(at(&mut book, 131), None, "what is not remembered is not guessed");
}

#[test]
fn nodes_of_one_trace_know_names_apart() {
    let mut book = Book::default();
    let version = |called, since| Version { since: KernelTime(since), holders: whole(called) };
    let [one, two, three]: [Arc<str>; 3] = ["one".into(), "two".into(), "three".into()];
    book.replace(Some(one.clone()), ip(1), vec![version("a", 1)]);
    book.replace(Some(two.clone()), ip(1), vec![version("b", 1)]);
    let mut at = |node| book.name(Some(node), (ip(1), 53).into(), Transport::Udp, KernelTime(2));
    assert_eq!(
        [at(&one), at(&two), at(&three)].map(|name| name.map(|name| name.name.to_string())),
        [Some("a".to_owned()), Some("b".to_owned()), None]
    );
}

#[test]
fn who_comes_and_goes_takes_no_room_for_ever() {
    let mut book = Book::default();
    let many = 2 * MOST_HOLDINGS as u32 + 1_000;
    let address = |number: u32| IpAddr::from(number.to_be_bytes());
    for number in 0..many {
        book.learn(address(number), whole("x"), KernelTime(1));
        if number > 0 {
            book.learn(address(number), [].into(), KernelTime(2));
        }
    }
    let mut named = |number| book.name(None, (address(number), 53).into(), Transport::Udp, KernelTime(1));
    assert!(named(0).is_some(), "it is held still");
    assert!(
        named(1).is_none() && named(many - 1).is_some(),
        "of the others those that went first are forgotten"
    );
}

#[test]
fn what_does_not_fit_is_counted_and_comes_with_the_next_list() {
    let mut index = Index::with_room(2);
    let holding = |last, called: &str| vec![(ip(last), holder(Kind::Pod, called, &[], true))];
    for (last, called) in [(1, "a"), (2, "b"), (3, "c")] {
        index.put(&object("pods", called), holding(last, called));
    }
    assert_eq!((index.left_out(), index.holders(ip(3)).len()), (1, 0));
    index.replace("pods", vec![(object("pods", "c"), holding(3, "c"))]);
    assert_eq!((index.left_out(), index.holders(ip(3)).len(), index.holders(ip(1)).len()), (1, 1, 0));
}

#[derive(Clone, Debug)]
enum Change {
    Put(u8, Vec<(u8, u8)>),
    Remove(u8),
    Replace(Vec<(u8, Vec<(u8, u8)>)>),
}

fn holdings() -> impl Strategy<Value = Vec<(u8, u8)>> {
    prop::collection::vec((0..6_u8, 0..3_u8), 0..4)
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        4 => (0..6_u8, holdings()).prop_map(|(object, holdings)| Change::Put(object, holdings)),
        2 => (0..6_u8).prop_map(Change::Remove),
        1 => prop::collection::btree_map(0..6_u8, holdings(), 0..4)
            .prop_map(|objects| Change::Replace(objects.into_iter().collect())),
    ];
    prop::collection::vec(change, 0..40)
}

/// Objects with an even number are Services, the others pods.
fn numbered(number: u8) -> ObjectId {
    object(if number.is_multiple_of(2) { "services" } else { "pods" }, &number.to_string())
}

fn held(number: u8, holdings: &[(u8, u8)]) -> Vec<Holding> {
    let called = number.to_string();
    let one =
        |(last, port): &(u8, u8)| (ip(*last), holder(Kind::Pod, &called, &[u16::from(*port)], *port == 0));
    holdings.iter().map(one).collect()
}

proptest! {
    #[test]
    fn however_it_came_to_it_the_book_is_that_of_the_final_state(changes in changes()) {
        let mut index = Index::default();
        let mut book = Book::default();
        let mut state = std::collections::BTreeMap::new();
        let mut time = 0;
        for change in changes {
            time += 1;
            let changed = match change {
                Change::Put(number, holdings) => {
                    let changed = index.put(&numbered(number), held(number, &holdings));
                    state.insert(number, holdings);
                    changed
                }
                Change::Remove(number) => {
                    state.remove(&number);
                    index.remove(&numbered(number))
                }
                Change::Replace(objects) => {
                    let objects: Vec<_> =
                        objects.into_iter().filter(|(number, _)| number.is_multiple_of(2)).collect();
                    state.retain(|number, _| !number.is_multiple_of(2));
                    state.extend(objects.iter().cloned());
                    let listed = objects.iter().map(|(number, of)| (numbered(*number), held(*number, of)));
                    index.replace("services", listed.collect())
                }
            };
            for (address, holders) in changed {
                book.learn(address, holders, KernelTime(time));
            }
        }
        let mut fresh = Index::default();
        for (number, holdings) in &state {
            fresh.put(&numbered(*number), held(*number, holdings));
        }
        for last in 0..6 {
            let holders = fresh.holders(ip(last));
            prop_assert_eq!(&index.holders(ip(last)), &holders);
            for port in 0..4 {
                let address = (ip(last), port).into();
                let named = book.name(None, address, Transport::Udp, KernelTime(time));
                prop_assert_eq!(named.as_ref(), resolve(&holders, port, Transport::Udp));
            }
        }
    }

    /// Another book that is told the news alone, when they come, answers alike: so does a replay.
    #[test]
    fn the_news_tell_all_that_was_asked(
        steps in prop::collection::vec((0..4_u8, 0..3_u8, 0..12_u64, any::<bool>()), 0..60)
    ) {
        let (mut book, mut replay) = (Book::default(), Book::default());
        book.keep_news();
        for (now, (last, called, back, is_change)) in steps.into_iter().enumerate() {
            let now = now as u64 + 1;
            if is_change {
                let holders = if called == 0 { [].into() } else { whole(&called.to_string()) };
                book.learn(ip(last), holders, KernelTime(now));
            }
            let asked = KernelTime(now.saturating_sub(back));
            let address = (ip(last), 53).into();
            let named = book.name(None, address, Transport::Udp, asked);
            for (address, versions) in book.take_news() {
                replay.replace(None, address, versions);
            }
            prop_assert_eq!(named, replay.name(None, address, Transport::Udp, asked));
        }
    }
}
