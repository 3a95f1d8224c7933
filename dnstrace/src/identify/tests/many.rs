//! Cgroups, three times as many as are remembered, and ids that come back.

use super::*;

/// Of no cgroup that is really there.
const FIRST: u64 = 1 << 40;

fn made_as(cgroup: u64, path: String) -> CgroupMade {
    CgroupMade { time: KernelTime(cgroup), cgroup, hierarchy: 0, path }
}

#[test]
fn many_cgroups_leave_no_more_than_there_is_room_for() {
    const MANY: u64 = 200_000;
    const ONE_IN: u64 = 1_000;
    let node = node();
    let mut identifier = node.identifier();
    identifier.resolve(&Selection { wait: true, ..pods(&["shop/late"]) }).unwrap();
    let before = identifier.paths.len() as u64;
    for number in 0..MANY {
        let uid = format!("{number:032x}");
        let cgroup = FIRST + number;
        identifier.note_cgroup(&made_as(cgroup, format!("/kubepods/pod{uid}")));
        if number % ONE_IN == 0 {
            let (namespace, name) = ("shop".into(), format!("pod-{number}").into());
            let facts =
                PodFacts { uid, namespace, name, labels: Some(Arc::default()), containers: Vec::new() };
            identifier.learn(Teller::Runtime, &[facts]);
            assert_eq!(who(&mut identifier, cgroup, 0, number).to_string(), format!("shop/pod-{number}"));
        }
    }
    let room = CAPACITY.get();
    assert_eq!((identifier.paths.len(), identifier.paths.cap().get()), (room, room));
    assert!(identifier.owners.len() <= room);
    assert_eq!(identifier.forgotten(), before + MANY - room as u64, "each that was given up is counted");
    assert!(identifier.follower.starting() <= 4096 && identifier.newcomers.waiting() <= 4096);
}

#[test]
fn an_id_that_another_pod_uses_again_is_that_pod() {
    let node = node();
    let mut identifier = node.identifier();
    let path = |uid: &str| format!("/kubepods/burstable/pod{uid}/{}", container_id(uid));
    let mut asked = |uid: &str, expected: &str| {
        identifier.note_cgroup(&made_as(FIRST, path(uid)));
        for _ in 0..2 {
            let owner = who(&mut identifier, FIRST, 200, 0);
            assert_eq!((owner.to_string(), &*owner.pod.unwrap().uid), (expected.to_owned(), uid));
        }
        let of_another = PodFacts {
            uid: CART_UID.to_owned(),
            namespace: "shop".into(),
            name: "cart-7d4f".into(),
            labels: Some(Arc::new(Labels::from([("app".to_owned(), uid.to_owned())]))),
            containers: Vec::new(),
        };
        // What is told of the pod that had it before does not give it back.
        identifier.learn(Teller::Runtime, &[of_another]);
        assert_eq!(who(&mut identifier, FIRST, 200, 0).to_string(), expected);
    };
    asked(CART_UID, "shop/cart-7d4f");
    asked(WEB_UID, "shop/cart-9abc");
    asked(DNS_UID, "kube-system/dns");
    asked(CART_UID, "shop/cart-7d4f");
}
