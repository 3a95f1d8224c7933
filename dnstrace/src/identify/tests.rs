//! A node in a directory: cgroups, `/proc` and log directories as a kubelet makes them.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, symlink},
    path::{Path, PathBuf},
};

use super::*;
use crate::event::KernelTime;

mod many;
mod told;

const CART_UID: &str = "0e5d7c2a-1b3f-4c6d-8e9f-a0b1c2d3e4f5";
const WEB_UID: &str = "1e5d7c2a-1b3f-4c6d-8e9f-a0b1c2d3e4f5";
const DNS_UID: &str = "2e5d7c2a-1b3f-4c6d-8e9f-a0b1c2d3e4f5";

/// Who this process of this cgroup is, asked at `now`.
fn who(identifier: &mut Identifier, cgroup: u64, pid: u32, now: u64) -> Owner {
    let task = Task { cgroup, pid, tid: pid, comm: String::new() };
    Owners::owner(identifier, &task, KernelTime(now))
}

struct Node {
    root: tempfile::TempDir,
}

fn container_id(uid: &str) -> String {
    format!("{}{}", uid.replace('-', ""), "0".repeat(32))
}

impl Node {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let node = Self { root };
        fs::create_dir_all(node.path("proc/self")).unwrap();
        fs::create_dir_all(node.path("cgroup/system.slice/sshd.service")).unwrap();
        let mount = node.path("cgroup");
        let mounts = format!("35 24 0:30 / {} rw - cgroup2 cgroup2 rw\n", mount.display());
        fs::write(node.path("proc/self/mountinfo"), mounts).unwrap();
        fs::write(node.path("proc/self/cgroup"), "0::/\n").unwrap();
        node.process("1", 100, Path::new("cgroup/system.slice/sshd.service"));
        node
    }

    fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.path().join(relative)
    }

    fn process(&self, pid: &str, netns: u32, cgroup: &Path) {
        fs::create_dir_all(self.path(format!("proc/{pid}/ns"))).unwrap();
        symlink(format!("net:[{netns}]"), self.path(format!("proc/{pid}/ns/net"))).unwrap();
        fs::write(self.path(cgroup).join("cgroup.procs"), format!("{pid}\n")).unwrap();
    }

    /// A pod with one container `app`. Returns its directory.
    fn pod(&self, namespace: &str, name: &str, uid: &str, pid: &str, netns: u32) -> PathBuf {
        let pod = PathBuf::from(format!("cgroup/kubepods/burstable/pod{uid}"));
        let id = container_id(uid);
        let container = pod.join(&id);
        fs::create_dir_all(self.path(&container)).unwrap();
        fs::create_dir_all(self.path(format!("pods/{namespace}_{name}_{uid}"))).unwrap();
        fs::create_dir_all(self.path("containers")).unwrap();
        fs::write(self.path(format!("containers/{name}_{namespace}_app-{id}.log")), "").unwrap();
        self.process(pid, netns, &container);
        pod
    }

    fn id(&self, path: impl AsRef<Path>) -> u64 {
        fs::metadata(self.path(path)).unwrap().ino()
    }

    fn identifier(&self) -> Identifier {
        Identifier::new(Roots {
            proc: self.path("proc"),
            pods_log: self.path("pods"),
            containers_log: self.path("containers"),
        })
        .unwrap()
    }
}

fn node() -> Node {
    let node = Node::new();
    node.pod("shop", "cart-7d4f", CART_UID, "200", 200);
    node.pod("shop", "cart-9abc", WEB_UID, "300", 300);
    node.pod("kube-system", "dns", DNS_UID, "400", 100);
    // Of a pod that has ended.
    fs::create_dir_all(node.path("pods/shop_gone-1_3e5d7c2a-1b3f-4c6d-8e9f-a0b1c2d3e4f5")).unwrap();
    node
}

fn pods(names: &[&str]) -> Selection {
    Selection { pods: names.iter().map(|name| (*name).to_owned()).collect(), ..Selection::default() }
}

fn made(node: &Node, path: &str) -> CgroupMade {
    CgroupMade {
        time: KernelTime(0),
        cgroup: node.id(format!("cgroup{path}")),
        hierarchy: 0,
        path: path.to_owned(),
    }
}

#[test]
fn a_pod_is_its_cgroup_and_its_own_network_namespace() {
    let node = node();
    for name in ["cart-7d4f", "cart-7", "shop/cart-7d4f"] {
        let target = node.identifier().resolve(&pods(&[name])).unwrap();
        let cgroup = node.id(format!("cgroup/kubepods/burstable/pod{CART_UID}"));
        assert_eq!(
            (target.listing, target.cgroups, target.netns),
            (Listing::Only, [cgroup].into(), [200].into())
        );
        assert_eq!(target.description, "pod shop/cart-7d4f");
    }
}

#[test]
fn the_hosts_network_namespace_is_that_of_its_first_process() {
    assert_eq!(node().identifier().host_netns(), Some(100));
}

#[test]
fn a_pod_on_the_hosts_network_is_told_by_its_cgroup_alone() {
    let target = node().identifier().resolve(&pods(&["dns"])).unwrap();
    assert_eq!((target.cgroups.len(), target.netns.len()), (1, 0));
}

#[test]
fn several_pods_and_one_container() {
    let node = node();
    let target = node.identifier().resolve(&pods(&["cart-7d4f", "kube-system/dns"])).unwrap();
    assert_eq!(target.description, "pod shop/cart-7d4f, pod kube-system/dns");
    let selection = Selection { container: Some("app".into()), ..pods(&["dns"]) };
    let target = node.identifier().resolve(&selection).unwrap();
    let id = container_id(DNS_UID);
    assert_eq!(target.cgroups, [node.id(format!("cgroup/kubepods/burstable/pod{DNS_UID}/{id}"))].into());
    let selection = Selection { container: Some("ap".into()), ..pods(&["dns"]) };
    let error = node.identifier().resolve(&selection).unwrap_err();
    assert_eq!(error.to_string(), "pod kube-system/dns has no running container ap; it has app");
}

#[test]
fn refusals_say_what_to_do() {
    let node = node();
    let refusal = |selection: &Selection| node.identifier().resolve(selection).unwrap_err().to_string();
    assert_eq!(
        refusal(&pods(&["cart"])),
        "cart could be any of shop/cart-7d4f, shop/cart-9abc: give more of the name, or the namespace with -n"
    );
    assert_eq!(
        refusal(&pods(&["crat-7d4f"])),
        "no pod crat-7d4f runs on this node; did you mean shop/cart-7d4f? (--wait waits for it)"
    );
    assert_eq!(
        refusal(&pods(&["gone-1"])),
        "pod shop/gone-1 does not run on this node, only its logs are left; \
         look where it runs with: kubectl get pods -A -o wide"
    );
    assert_eq!(refusal(&pods(&["gone"])), refusal(&pods(&["gone-1"])));
    assert_eq!(
        refusal(&pods(&["zzz"])),
        "no pod zzz runs on this node; look with: kubectl get pods -A -o wide (--wait waits for it)"
    );
    let elsewhere = Selection { namespace: Some("kube-system".into()), ..pods(&["cart-7d4f"]) };
    assert!(
        refusal(&elsewhere).starts_with("no pod kube-system/cart-7d4f runs on this node; did you mean shop/")
    );
    let namespace = Selection { namespace: Some("shpo".into()), ..Selection::default() };
    assert_eq!(refusal(&namespace), "no pod of namespace shpo runs on this node; did you mean shop?");
    let error = Node::new().identifier().resolve(&pods(&["x"])).unwrap_err();
    assert_eq!(error, TargetError::NoPods);
}

#[test]
fn everything_all_pods_a_namespace_and_the_host() {
    let node = node();
    let roots = [node.id("cgroup/kubepods")].into();
    let resolve = |selection: &Selection| node.identifier().resolve(selection).unwrap();
    assert_eq!(resolve(&Selection::default()).listing, Listing::Everything);
    let all = resolve(&Selection { all: true, ..Selection::default() });
    assert_eq!((all.listing, &all.cgroups), (Listing::Only, &roots));
    let host = resolve(&Selection { host: true, ..Selection::default() });
    assert_eq!((host.listing, &host.cgroups), (Listing::AllBut, &roots));
    let shop = resolve(&Selection { namespace: Some("shop".into()), ..Selection::default() });
    assert_eq!((shop.listing, shop.scope.namespace.as_deref()), (Listing::Only, Some("shop")));
}

#[test]
fn owners_are_named_by_what_the_path_says() {
    let node = node();
    let mut identifier = node.identifier();
    let id = container_id(CART_UID);
    let container = made(&node, &format!("/kubepods/burstable/pod{CART_UID}/{id}"));
    let service = made(&node, "/system.slice/sshd.service");
    identifier.note_cgroup(&container);
    identifier.note_cgroup(&service);
    let owner = who(&mut identifier, container.cgroup, 200, 0);
    assert_eq!(owner.to_string(), "shop/cart-7d4f");
    assert_eq!(owner.container.unwrap().name.as_deref(), Some("app"));
    assert_eq!(who(&mut identifier, service.cgroup, 1, 0).to_string(), "sshd.service");
    assert_eq!(who(&mut identifier, u64::MAX, 999_999, 0).to_string(), "?");
}

#[test]
fn an_id_that_is_used_again_is_somebody_else_and_other_hierarchies_do_not_matter() {
    let node = node();
    let mut identifier = node.identifier();
    let mut made = made(&node, "/system.slice/sshd.service");
    identifier.note_cgroup(&made);
    assert_eq!(who(&mut identifier, made.cgroup, 1, 0).to_string(), "sshd.service");
    made.path = "/".into();
    identifier.note_cgroup(&CgroupMade { hierarchy: 5, ..made.clone() });
    assert_eq!(who(&mut identifier, made.cgroup, 1, 0).to_string(), "sshd.service");
    identifier.note_cgroup(&made);
    assert_eq!(who(&mut identifier, made.cgroup, 1, 0).to_string(), "host");
}

#[test]
fn a_pod_without_a_name_gets_one_as_soon_as_there_is_one() {
    let node = node();
    let mut identifier = node.identifier();
    let uid = "4e5d7c2a-1b3f-4c6d-8e9f-a0b1c2d3e4f5";
    let path = format!("/kubepods/pod{uid}");
    fs::create_dir_all(node.path(format!("cgroup{path}"))).unwrap();
    let made = made(&node, &path);
    identifier.note_cgroup(&made);
    assert_eq!(who(&mut identifier, made.cgroup, 500, 0).to_string(), format!("pod {uid}"));
    fs::create_dir_all(node.path(format!("pods/shop_new_{uid}"))).unwrap();
    assert_eq!(who(&mut identifier, made.cgroup, 500, 1_000_000_000).to_string(), "shop/new");
}

#[test]
fn a_pod_that_is_gone_when_its_query_is_read_has_its_name() {
    let node = node();
    let mut identifier = node.identifier();
    let uid = "4e5d7c2a-1b3f-4c6d-8e9f-a0b1c2d3e4f5";
    let path = format!("/kubepods/burstable/pod{uid}/{}", container_id(uid));
    fs::create_dir_all(node.path(format!("cgroup{path}"))).unwrap();
    let made = made(&node, &path);
    identifier.note_cgroup(&made);
    // Its directories come behind its cgroup, and go before its query is read.
    identifier.started(0);
    assert_eq!(identifier.newcomers.waiting(), 1);
    node.pod("shop", "brief", uid, "500", 500);
    identifier.started(SECOND / 10);
    assert_eq!(identifier.newcomers.waiting(), 0);
    fs::remove_dir_all(node.path("pods")).unwrap();
    fs::remove_dir_all(node.path("containers")).unwrap();
    let owner = who(&mut identifier, made.cgroup, 500, SECOND);
    assert_eq!(owner.to_string(), "shop/brief");
    assert_eq!(owner.container.unwrap().name.as_deref(), Some("app"));
    // One that gets none is not looked for for ever.
    identifier.note_cgroup(&CgroupMade { path: path.replace("4e5d", "5e5d"), ..made });
    identifier.started(SECOND);
    assert_eq!(identifier.newcomers.waiting(), 1);
    identifier.started(2 * SECOND);
    assert_eq!(identifier.newcomers.waiting(), 0);
}

#[test]
fn a_pod_that_is_not_there_yet_is_waited_for() {
    let node = node();
    let mut identifier = node.identifier();
    let wait = |names: &[&str]| Selection { wait: true, ..pods(names) };
    let selection = Selection { container: Some("app".into()), ..wait(&["shop/late"]) };
    let target = identifier.resolve(&selection).unwrap();
    assert!(target.cgroups.is_empty());
    assert!(target.description.starts_with("pod shop/late (not there yet"), "{}", target.description);
    let mut start = |namespace: &str, name: &str, digit: char| {
        let uid = CART_UID.replacen('0', &digit.to_string(), 1);
        let pod = node.pod(namespace, name, &uid, &format!("70{digit}"), 700);
        let container = pod.join(container_id(&uid));
        let cgroups = [pod, container].map(|path| {
            let path = path.to_str().unwrap().strip_prefix("cgroup").unwrap().to_owned();
            made(&node, &path)
        });
        cgroups.iter().for_each(|made| identifier.note_cgroup(made));
        let started = identifier.started(u64::from(digit) << 40);
        started
            .iter()
            .map(|id| cgroups.iter().position(|made| made.cgroup == *id).unwrap())
            .collect::<Vec<_>>()
    };
    assert!(start("blog", "late-1", '5').is_empty());
    assert_eq!(start("shop", "late-2", '6'), [1], "its container, not its sandbox");
    // Who does not wait for it is told at once, and so is who cannot know what he waits for.
    let error = node.identifier().resolve(&pods(&["late"])).unwrap_err();
    assert!(matches!(error, TargetError::AmbiguousPod { .. }), "{error}");
}

#[test]
fn a_dead_pod_of_that_very_name_is_not_mistaken_for_one_that_is_called_alike() {
    let node = node();
    fs::create_dir_all(node.path("pods/shop_cart-7_3e5d7c2a-1b3f-4c6d-8e9f-a0b1c2d3e4f6")).unwrap();
    let error = node.identifier().resolve(&pods(&["cart-7"])).unwrap_err();
    assert_eq!(error, TargetError::NotRunning { pod: "shop/cart-7".into() });
}

#[test]
fn a_stateful_sets_next_pod_has_its_predecessors_name() {
    let node = node();
    let [old, new, gone] = ["5", "6", "7"].map(|digit| format!("{digit}e5d7c2a-1b3f-4c6d-8e9f-a0b1c2d3e4f5"));
    node.pod("shop", "db-0", &new, "500", 500);
    fs::create_dir_all(node.path(format!("pods/shop_db-0_{gone}"))).unwrap();
    let target = node.identifier().resolve(&pods(&["db-0"])).unwrap();
    assert_eq!(target.netns, [500].into());
    node.pod("shop", "db-0", &old, "600", 600);
    let target = node.identifier().resolve(&pods(&["db"])).unwrap();
    assert_eq!((target.cgroups.len(), target.netns), (2, [500, 600].into()));
    assert_eq!(target.description, "pod shop/db-0");
}

#[test]
fn the_same_name_in_two_namespaces_needs_the_namespace() {
    let node = node();
    node.pod("test", "dns", "8e5d7c2a-1b3f-4c6d-8e9f-a0b1c2d3e4f5", "800", 800);
    let error = node.identifier().resolve(&pods(&["dns"])).unwrap_err();
    let candidates = vec!["kube-system/dns".into(), "test/dns".into()];
    assert_eq!(error, TargetError::AmbiguousPod { wanted: "dns".into(), candidates });
    let selection = Selection { namespace: Some("test".into()), ..pods(&["dns"]) };
    assert_eq!(node.identifier().resolve(&selection).unwrap().netns, [800].into());
}

#[test]
fn a_long_list_of_candidates_is_cut() {
    let candidates: Vec<String> = (0..12).map(|number| format!("shop/cart-{number}")).collect();
    let line = TargetError::AmbiguousPod { wanted: "cart".into(), candidates }.to_string();
    assert!(line.contains("shop/cart-9 and 2 more: give"), "{line}");
}

#[test]
fn conmon_is_neither_the_container_nor_of_the_pods_network() {
    let node = node();
    let uid = "9e5d7c2a-1b3f-4c6d-8e9f-a0b1c2d3e4f5";
    let pod = format!("cgroup/kubepods/pod{uid}");
    // Its name sorts before the one and after the other container's.
    let ids = ["f".repeat(64), "1".repeat(64)];
    for (index, id) in ids.iter().enumerate() {
        fs::create_dir_all(node.path(format!("{pod}/crio-{id}"))).unwrap();
        fs::create_dir_all(node.path(format!("{pod}/crio-conmon-{id}"))).unwrap();
        node.process(&format!("{}", 20 + index), 100, Path::new(&format!("{pod}/crio-conmon-{id}")));
        node.process(&format!("{}", 900 + index), 900, Path::new(&format!("{pod}/crio-{id}")));
        fs::write(node.path(format!("containers/crio-pod_shop_c{index}-{id}.log")), "").unwrap();
    }
    fs::create_dir_all(node.path(format!("pods/shop_crio-pod_{uid}"))).unwrap();
    assert_eq!(node.identifier().resolve(&pods(&["crio-pod"])).unwrap().netns, [900].into());
    for (index, id) in ids.iter().enumerate() {
        let selection = Selection { container: Some(format!("c{index}")), ..pods(&["crio-pod"]) };
        let target = node.identifier().resolve(&selection).unwrap();
        assert_eq!(target.cgroups, [node.id(format!("{pod}/crio-{id}"))].into());
    }
}

#[test]
fn the_oldest_process_tells_the_network_namespace() {
    let node = node();
    let pod = node.pod("shop", "agent", "8e5d7c2a-1b3f-4c6d-8e9f-a0b1c2d3e4f5", "9000", 300);
    let sandbox = pod.join("a".repeat(64));
    fs::create_dir_all(node.path(&sandbox)).unwrap();
    node.process("850", 850, &sandbox);
    assert_eq!(node.identifier().resolve(&pods(&["agent"])).unwrap().netns, [850].into());
}

#[test]
fn what_ran_before_the_trace_keeps_its_name_when_it_ends() {
    let node = node();
    let id = container_id(CART_UID);
    let pod = format!("cgroup/kubepods/burstable/pod{CART_UID}");
    let cgroup = node.id(format!("{pod}/{id}"));
    let mut identifier = node.identifier();
    identifier.resolve(&Selection::default()).unwrap();
    fs::remove_dir_all(node.path(&pod)).unwrap();
    fs::remove_dir_all(node.path("pods")).unwrap();
    fs::remove_dir_all(node.path("containers")).unwrap();
    fs::remove_dir_all(node.path("proc/200")).unwrap();
    assert_eq!(who(&mut identifier, cgroup, 200, u64::MAX).to_string(), "shop/cart-7d4f");
}

#[test]
fn a_cgroup_that_nobody_announced_is_found_by_a_walk_now_and_then() {
    let node = node();
    let mut identifier = node.identifier();
    assert_eq!(who(&mut identifier, u64::MAX, 999_999, 5).to_string(), "?");
    fs::create_dir_all(node.path("cgroup/system.slice/late.service")).unwrap();
    let late = node.id("cgroup/system.slice/late.service");
    assert_eq!(who(&mut identifier, late, 999_999, 5 + WALK - 1).to_string(), "?");
    assert_eq!(who(&mut identifier, late, 999_999, 5 + WALK).to_string(), "late.service");
}

#[test]
fn a_path_that_the_record_cut_off_is_not_believed() {
    let node = node();
    let mut identifier = node.identifier();
    let mut cut = made(&node, "/system.slice/sshd.service");
    cut.path = format!("/{}/other.service", "a".repeat(MAX_CGROUP_PATH))[..MAX_CGROUP_PATH - 1].to_owned();
    identifier.note_cgroup(&cut);
    assert_eq!(who(&mut identifier, cut.cgroup, 999_999, 0).to_string(), "sshd.service");
}

#[test]
fn a_pod_or_container_that_starts_anew_is_followed() {
    let started = |container: Option<&str>, again: &str| {
        let node = node();
        let mut identifier = node.identifier();
        let selection = Selection { container: container.map(str::to_owned), ..pods(&["cart-7d4f"]) };
        identifier.resolve(&selection).unwrap();
        // The pod is made anew, beside one that nobody asked for; the names come a moment later.
        let uids = ["5e5d7c2a-1b3f-4c6d-8e9f-a0b1c2d3e4f5", "6e5d7c2a-1b3f-4c6d-8e9f-a0b1c2d3e4f5"];
        let directories = uids.map(|uid| format!("/kubepods/burstable/pod{uid}/{}", container_id(uid)));
        for directory in &directories {
            fs::create_dir_all(node.path(format!("cgroup{directory}"))).unwrap();
            identifier.note_cgroup(&made(&node, Path::new(directory).parent().unwrap().to_str().unwrap()));
            identifier.note_cgroup(&made(&node, directory));
        }
        assert_eq!(identifier.started(0), [0; 0]);
        node.pod("shop", "cart-7d4f", uids[0], "500", 500);
        node.pod("shop", "other", uids[1], "600", 600);
        let found = identifier.started(1_000_000_000);
        assert_eq!(identifier.started(2_000_000_000), [0; 0], "said once");
        let expected = node.id(format!("cgroup/kubepods/burstable/pod{}{again}", uids[0]));
        assert_eq!(found, [expected]);
    };
    started(None, "");
    started(Some("app"), &format!("/{}", container_id("5e5d7c2a-1b3f-4c6d-8e9f-a0b1c2d3e4f5")));
}

impl Node {
    /// Gives the process a root of its own with this resolv.conf.
    fn resolv_conf(&self, pid: &str, text: &str) {
        fs::create_dir_all(self.path(format!("proc/{pid}/root/etc"))).unwrap();
        fs::write(self.path(format!("proc/{pid}/root/etc/resolv.conf")), text).unwrap();
    }
}

const KUBELET: &str =
    "search shop.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\n";
const SECOND: u64 = 1_000_000_000;

#[test]
fn the_resolv_conf_of_a_process_is_that_of_its_root() {
    let node = Node::new();
    node.resolv_conf("1", "nameserver 192.0.2.1\n");
    let pod = node.pod("shop", "cart", CART_UID, "200", 200);
    node.resolv_conf("200", KUBELET);
    let cgroup = node.id(pod.join(container_id(CART_UID)));
    let mut identifier = node.identifier();
    let resolver = who(&mut identifier, cgroup, 200, 0).resolver.unwrap();
    assert_eq!((resolver.search.len(), resolver.likeness), (3, Likeness::ClusterFirst));

    // Looked at again after some seconds; what has not changed is the same.
    node.resolv_conf("200", "nameserver 192.0.2.1\n# longer\n");
    assert_eq!(who(&mut identifier, cgroup, 200, 2 * SECOND).resolver.unwrap(), resolver);
    let changed = who(&mut identifier, cgroup, 200, 4 * SECOND).resolver.unwrap();
    assert_eq!((changed.search.len(), changed.likeness), (0, Likeness::Node));
    let again = who(&mut identifier, cgroup, 200, 9 * SECOND).resolver.unwrap();
    assert!(Arc::ptr_eq(&again, &changed));

    // And what was known stays so when the process has gone.
    fs::remove_dir_all(node.path("proc/200")).unwrap();
    assert_eq!(who(&mut identifier, cgroup, 200, 20 * SECOND).resolver, Some(changed));
}

#[test]
fn where_the_process_has_gone_others_of_its_container_or_pod_tell() {
    let node = Node::new();
    node.resolv_conf("1", "nameserver 192.0.2.1\n");
    let pod = node.pod("shop", "cart", CART_UID, "200", 200);
    node.resolv_conf("200", KUBELET);
    let container = pod.join(container_id(CART_UID));
    let mut identifier = node.identifier();
    let cluster_first = |owner: Owner| owner.resolver.map(|resolver| resolver.likeness);
    let gone = who(&mut identifier, node.id(&container), 999, 0);
    assert_eq!(cluster_first(gone), Some(Likeness::ClusterFirst));

    // The sandbox's process tells for a container in which nobody is left.
    let empty = pod.join("f".repeat(64));
    fs::create_dir_all(node.path(&empty)).unwrap();
    let gone = who(&mut identifier, node.id(&empty), 999, 0);
    assert_eq!(cluster_first(gone), Some(Likeness::ClusterFirst));

    // A host's process has the node's; of a pod that has no process nothing is known, for now.
    let host = who(&mut identifier, node.id("cgroup/system.slice/sshd.service"), 999, 0);
    assert_eq!(cluster_first(host), Some(Likeness::Node));
    let web = node.pod("shop", "web", WEB_UID, "300", 300);
    let cgroup = node.id(web.join(container_id(WEB_UID)));
    assert_eq!(who(&mut identifier, cgroup, 300, 0).resolver, None);
    node.resolv_conf("300", KUBELET);
    assert_eq!(who(&mut identifier, cgroup, 300, SECOND / 10).resolver, None);
    assert_eq!(cluster_first(who(&mut identifier, cgroup, 300, SECOND)), Some(Likeness::ClusterFirst));
}

#[test]
fn no_resolv_conf_leads_out_of_its_root_or_holds_the_trace_up() {
    let node = Node::new();
    fs::write(node.path("secret"), "search secret.example\n").unwrap();
    let pod = node.pod("shop", "cart", CART_UID, "200", 200);
    let cgroup = node.id(pod.join(container_id(CART_UID)));
    let mut identifier = node.identifier();
    let etc = node.path("proc/200/root/etc");
    fs::create_dir_all(&etc).unwrap();
    let resolv_conf = etc.join("resolv.conf");
    let mut now = 0;
    let mut read = || {
        now += 10 * SECOND;
        who(&mut identifier, cgroup, 200, now).resolver
    };
    symlink(node.path("secret"), &resolv_conf).unwrap();
    assert_eq!(read(), None);
    fs::remove_file(&resolv_conf).unwrap();
    symlink("../../../../secret", &resolv_conf).unwrap();
    assert_eq!(read(), None);
    fs::remove_file(&resolv_conf).unwrap();
    nix::unistd::mkfifo(&resolv_conf, nix::sys::stat::Mode::S_IRUSR).unwrap();
    assert_eq!(read(), None);
    fs::remove_file(&resolv_conf).unwrap();
    // As systemd-resolved has it: a link within the root.
    fs::create_dir_all(node.path("proc/200/root/run")).unwrap();
    fs::write(node.path("proc/200/root/run/stub"), "nameserver 127.0.0.53\n").unwrap();
    symlink("/run/stub", &resolv_conf).unwrap();
    assert_eq!(read().unwrap().nameservers.len(), 1);
}
