//! What others tell of pods, and selectors.

use super::*;

const UID: &str = "4e5d7c2a-1b3f-4c6d-8e9f-a0b1c2d3e4f5";

fn facts(uid: &str, name: &str, labels: &[(&str, &str)]) -> PodFacts {
    let labels: Labels = labels.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
    PodFacts {
        uid: uid.to_owned(),
        namespace: "shop".into(),
        name: name.into(),
        labels: Some(labels.into()),
        containers: vec![ContainerFacts { id: container_id(uid), name: "app".into() }],
    }
}

/// The labels of a pod, in one text.
fn labels(owner: &Owner) -> Option<String> {
    let labels = owner.pod.as_ref()?.labels.as_ref()?;
    Some(labels.iter().map(|(key, value)| format!("{key}={value} ")).collect())
}

/// A pod that has a cgroup, and no log directory.
fn nameless(node: &Node) -> CgroupMade {
    let path = format!("/kubepods/pod{UID}/{}", container_id(UID));
    fs::create_dir_all(node.path(format!("cgroup{path}"))).unwrap();
    made(node, &path)
}

fn select(selector: &str) -> Selection {
    Selection { selector: Some(selector.parse().unwrap()), ..Selection::default() }
}

#[test]
fn who_has_no_name_is_named_as_soon_as_somebody_tells() {
    let node = node();
    let mut identifier = node.identifier();
    let made = nameless(&node);
    assert!(!identifier.take_question());
    identifier.note_cgroup(&made);
    assert!(identifier.take_question() && !identifier.take_question(), "asked before it speaks, and once");
    assert!(!identifier.is_nameless(), "it has asked nothing yet");
    assert_eq!(who(&mut identifier, made.cgroup, 500, 0).to_string(), format!("pod {UID}"));
    assert!(identifier.take_question() && identifier.is_nameless());

    identifier.learn(Teller::Runtime, &[facts(UID, "late", &[("app", "late")])]);
    let owner = who(&mut identifier, made.cgroup, 500, 0);
    assert_eq!((owner.to_string(), labels(&owner)), ("shop/late".to_owned(), Some("app=late ".to_owned())));
    assert_eq!(owner.container.unwrap().name.as_deref(), Some("app"));
    assert!(!identifier.take_question());
    identifier.note_cgroup(&made);
    assert!(!identifier.take_question(), "all is known");
}

#[test]
fn what_the_directories_say_stays_and_labels_are_added() {
    let node = node();
    let mut identifier = node.identifier();
    let cgroup = node.id(format!("cgroup/kubepods/burstable/pod{CART_UID}"));
    let mut owner = || {
        let owner = who(&mut identifier, cgroup, 200, 0);
        (owner.to_string(), labels(&owner))
    };
    assert_eq!(owner(), ("shop/cart-7d4f".to_owned(), None));
    identifier.learn(Teller::Runtime, &[facts(CART_UID, "another", &[("app", "cart")])]);
    let mut told = |teller, labels: &[(&str, &str)]| {
        identifier.learn(teller, &[facts(CART_UID, "cart-7d4f", labels)]);
        self::labels(&who(&mut identifier, cgroup, 200, 0)).unwrap()
    };
    assert_eq!(told(Teller::Runtime, &[("app", "cart")]), "app=cart ");
    // The API server knows them as they are now, the runtime as they were.
    assert_eq!(told(Teller::ApiServer, &[("app", "new")]), "app=new ");
    assert_eq!(told(Teller::Runtime, &[("app", "cart")]), "app=new ");
    assert_eq!(told(Teller::ApiServer, &[]), "");
    assert_eq!(who(&mut identifier, cgroup, 200, 0).to_string(), "shop/cart-7d4f");
}

#[test]
fn what_cannot_be_true_is_not_believed() {
    let node = node();
    let mut identifier = node.identifier();
    let made = nameless(&node);
    identifier.note_cgroup(&made);
    let mut told = |change: &dyn Fn(&mut PodFacts)| {
        let mut facts = facts(UID, "late", &[]);
        change(&mut facts);
        identifier.learn(Teller::Runtime, &[facts]);
        let owner = who(&mut identifier, made.cgroup, 500, 0);
        (owner.to_string(), owner.container.and_then(|container| container.name.clone()))
    };
    let unknown = format!("pod {UID}");
    assert_eq!(told(&|facts| facts.namespace = "a\u{1b}[2J".into()), (unknown.clone(), None));
    assert_eq!(told(&|facts| facts.name = "UPPER".into()), (unknown.clone(), None));
    assert_eq!(told(&|facts| facts.uid = "hdishd83djaidwnduwk28bcsb".into()), (unknown, None));
    let named = "shop/late".to_owned();
    assert_eq!(told(&|facts| facts.containers[0].name = "\n".into()), (named.clone(), None));
    // systemd's slices have underscores.
    assert_eq!(told(&|facts| facts.uid = UID.replace('-', "_")), (named, Some("app".into())));
}

#[test]
fn labels_select_pods_now_and_later() {
    let node = node();
    let mut identifier = node.identifier();
    assert_eq!(identifier.resolve(&select("app=cart")), Err(TargetError::NoLabels(None)));
    identifier.learn(Teller::Runtime, &[facts(CART_UID, "cart-7d4f", &[("app", "cart")])]);
    identifier.learn(Teller::Runtime, &[facts(WEB_UID, "cart-9abc", &[("app", "web")])]);
    let target = identifier.resolve(&select("app in (cart,web),!x")).unwrap();
    assert_eq!(target.cgroups, [node.id("cgroup/kubepods")].into());
    assert_eq!(target.description, "pods with labels app in (cart,web),!x");
    let in_shop = Selection { namespace: Some("shop".into()), ..select("app=web") };
    let target = identifier.resolve(&in_shop).unwrap();
    assert_eq!(target.description, "pods of namespace shop with labels app=web");

    let wanted = Wanted::of(target.scope);
    let mut is_wanted = |cgroup: PathBuf| {
        let task = Task { cgroup: node.id(cgroup), pid: 1, tid: 1, comm: String::new() };
        let owner = identifier.owner(&task, KernelTime(0));
        wanted.is(&owner, &task)
    };
    let of = |uid| PathBuf::from(format!("cgroup/kubepods/burstable/pod{uid}"));
    assert!(is_wanted(of(WEB_UID)) && !is_wanted(of(CART_UID)));
    assert!(!is_wanted(of(DNS_UID)), "of another namespace, whatever its labels");
    assert!(!is_wanted("cgroup/system.slice/sshd.service".into()));
    // One that starts later, of which nobody has told yet, is shown rather than missed.
    let late = node.pod("shop", "web-2", UID, "900", 900);
    assert!(is_wanted(late.clone()));
    identifier.learn(Teller::Runtime, &[facts(UID, "web-2", &[("app", "db")])]);
    let task = Task { cgroup: node.id(late), pid: 1, tid: 1, comm: String::new() };
    assert!(!wanted.is(&identifier.owner(&task, KernelTime(0)), &task));
}

#[test]
fn a_selector_that_nobody_meets_is_refused_or_waited_for() {
    let node = node();
    let mut identifier = node.identifier();
    identifier.learn(Teller::Runtime, &[facts(CART_UID, "cart-7d4f", &[("app", "cart")])]);
    let elsewhere = Selection { namespace: Some("kube-system".into()), ..select("app=cart") };
    for selection in [elsewhere, select("app=crat")] {
        let error = identifier.resolve(&selection).unwrap_err();
        assert!(matches!(error, TargetError::NoneSelected { .. }), "{error}");
        let target = identifier.resolve(&Selection { wait: true, ..selection }).unwrap();
        assert!(target.description.ends_with("(not there yet: waiting for it)"), "{}", target.description);
    }
}

#[test]
fn a_pod_that_is_followed_may_be_named_by_others() {
    let node = node();
    let mut identifier = node.identifier();
    identifier.resolve(&Selection { wait: true, ..pods(&["shop/late"]) }).unwrap();
    let container = nameless(&node);
    let pod = made(&node, &format!("/kubepods/pod{UID}"));
    identifier.note_cgroup(&pod);
    identifier.note_cgroup(&container);
    assert_eq!(identifier.started(0), [0; 0]);
    identifier.learn(Teller::Runtime, &[facts(UID, "late-1", &[])]);
    assert_eq!(identifier.started(1), [pod.cgroup]);
}

#[test]
fn pods_that_were_recorded_before_labels_were_can_be_read() {
    let old = serde_json::json!({"namespace": "shop", "name": "cart", "uid": CART_UID});
    let pod: Pod = rmp_serde::from_slice(&rmp_serde::to_vec_named(&old).unwrap()).unwrap();
    assert_eq!((pod.name.as_deref(), pod.labels), (Some("cart"), None));
    let labels = Labels::from([("app".to_owned(), "cart".to_owned())]);
    let new = Pod { labels: Some(labels.into()), name: pod.name, namespace: None, uid: pod.uid };
    let read: Pod = rmp_serde::from_slice(&rmp_serde::to_vec_named(&new).unwrap()).unwrap();
    assert_eq!(read, new);
}
