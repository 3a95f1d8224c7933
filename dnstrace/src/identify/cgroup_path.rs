//! A cgroup's path and what it says: pod, container, systemd unit. Pure: text in, values out.
//!
//! The kubelet, the container runtimes and systemd agree on no grammar; each writes its ids into directory
//! names in its own way. The table in the tests below is the grammar.

/// What the path of a cgroup says about the tasks in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CgroupPath {
    /// UID of the pod: in its canonical form with dashes, or the 32 hex digits that the kubelet gives a static
    /// pod.
    pub pod_uid: Option<String>,
    /// The pod's quality of service, where there is a pod.
    pub qos: Option<Qos>,
    /// The container: of the pod where there is one, else one that runs outside Kubernetes.
    pub container: Option<ContainerId>,
    /// The innermost systemd service or scope that is not itself the container.
    pub unit: Option<String>,
}

/// A container as the path names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerId {
    /// Who runs it: `containerd`, `crio`, `docker`, `podman`; empty where the directory's name has no prefix.
    pub runtime: &'static str,
    /// 64 hex digits.
    pub id: String,
    /// Not the container but its `conmon`, which watches it from the node's side: in the pod's cgroup, in the
    /// node's network namespace.
    pub is_monitor: bool,
}

/// A pod's quality of service class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qos {
    Guaranteed,
    Burstable,
    BestEffort,
}

/// Reads the path of a cgroup below the root of its hierarchy. Every text is a path; what it does not tell stays
/// `None`.
///
/// Who may make cgroups inside a container can give them any name, also that of another pod. So the outermost
/// pod and the outermost container count: their names come from the node.
pub fn parse(path: &str) -> CgroupPath {
    let mut parsed = CgroupPath::default();
    let mut above = "";
    for name in path.split('/') {
        // containerd with its cgroupfs driver below a kubelet with the systemd driver takes
        // `SLICE:cri-containerd:ID` for a name.
        if let Some((slice, id)) = name.split_once(":cri-containerd:") {
            parsed.take(above, slice);
            parsed.take(slice, id);
        } else {
            parsed.take(above, name);
        }
        above = name;
    }
    parsed
}

impl CgroupPath {
    fn take(&mut self, above: &str, name: &str) {
        if self.pod_uid.is_none()
            && let Some((class, uid)) = pod(name)
        {
            self.qos = Some(qos(class, above));
            self.pod_uid = Some(uid);
            // What came before is what the kubelet itself runs in: kind's node, say.
            self.container = None;
            self.unit = None;
        } else if let Some(container) = container(name) {
            if self.container.is_none() {
                self.container = Some(container);
                self.unit = None;
            }
        } else if is_unit(name) {
            self.unit = Some(name.to_owned());
        }
    }
}

/// Whether this is the name of a directory under which a kubelet keeps its pods.
pub fn is_kubepods(name: &str) -> bool {
    name == "kubepods" || name == "kubepods.slice" || name.ends_with("-kubepods.slice")
}

/// Whether `text` is made of `length` lower-case hex digits.
pub fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A pod's UID in its canonical form, if `text` is one: with dashes (a systemd slice has underscores in their
/// place), or 32 hex digits for a static pod.
pub fn pod_uid(text: &str) -> Option<String> {
    const UUID: [usize; 5] = [8, 4, 4, 4, 12];
    let parts = || text.split(['-', '_']);
    let is_uuid =
        parts().count() == UUID.len() && parts().zip(UUID).all(|(part, length)| is_hex(part, length));
    (is_uuid || is_hex(text, 32)).then(|| text.replace('_', "-"))
}

/// `pod<UID>` (cgroupfs driver) or `kubepods[-<class>]-pod<UID>.slice` (systemd driver): what stands before
/// `pod`, and the UID.
fn pod(name: &str) -> Option<(&str, String)> {
    match name.strip_suffix(".slice") {
        Some(slice) => slice.rsplit_once("-pod").and_then(|(class, uid)| Some((class, pod_uid(uid)?))),
        None => name.strip_prefix("pod").and_then(|uid| Some(("", pod_uid(uid)?))),
    }
}

fn qos(class: &str, above: &str) -> Qos {
    if class.ends_with("-burstable") || above == "burstable" {
        Qos::Burstable
    } else if class.ends_with("-besteffort") || above == "besteffort" {
        Qos::BestEffort
    } else {
        Qos::Guaranteed
    }
}

/// `<id>`, `<prefix>-<id>` or `<prefix>-<id>.scope`.
fn container(name: &str) -> Option<ContainerId> {
    const ID: usize = 64;
    let name = name.strip_suffix(".scope").unwrap_or(name);
    let (prefix, id) = name.split_at_checked(name.len().checked_sub(ID)?)?;
    if !is_hex(id, ID) || !(prefix.is_empty() || prefix.ends_with(['-', '_'])) {
        return None;
    }
    let (runtime, is_monitor) = match prefix {
        "cri-containerd-" | "nerdctl-" => ("containerd", false),
        "crio-" => ("crio", false),
        "crio-conmon-" => ("crio", true),
        "docker-" => ("docker", false),
        "libpod-" => ("podman", false),
        "libpod-conmon-" => ("podman", true),
        _ => ("", false),
    };
    Some(ContainerId { runtime, id: id.to_owned(), is_monitor })
}

fn is_unit(name: &str) -> bool {
    name.ends_with(".service") || name.ends_with(".scope")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Qos::*, *};

    const UID: &str = "2c48913c-b29f-11e7-9350-020968147796";
    const UID_: &str = "2c48913c_b29f_11e7_9350_020968147796";
    const STATIC: &str = "b3a1f0c2d4e5968778695a4b3c2d1e0f";
    const ID: &str = "9cc2b5bb2e2f4b1f1d3e7a4f3c3f0e4e0c4b6a5d1f2e3c4b5a69788796a5b4c3";
    const NODE: &str = "5f3e9cbb4f2e7a1b06d7e3a1c55e8f0f2ad1d3c4b5a69788796a5b4c3d2e1f00";

    /// In rows, the upper-case words stand for the ids above.
    fn parse_row(row: &str) -> CgroupPath {
        let path = row
            .replace("UID_", UID_)
            .replace("UID", UID)
            .replace("STATIC", STATIC)
            .replace("NODE", NODE)
            .replace("ID", ID);
        parse(&path)
    }

    #[test]
    fn pods_are_found_in_every_layout() {
        let rows = [
            // systemd driver, cgroup v2 and v1
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podUID_.slice/cri-containerd-ID.scope",
                (UID, Burstable, "containerd"),
            ),
            (
                "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podUID_.slice/crio-ID.scope",
                (UID, BestEffort, "crio"),
            ),
            (
                "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podUID_.slice/docker-ID.scope",
                (UID, BestEffort, "docker"),
            ),
            (
                "/kubepods.slice/kubepods-podUID_.slice/cri-containerd-ID.scope",
                (UID, Guaranteed, "containerd"),
            ),
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podSTATIC.slice/cri-containerd-ID.scope",
                (STATIC, Burstable, "containerd"),
            ),
            // cgroupfs driver, also k3s
            ("/kubepods/burstable/podUID/ID", (UID, Burstable, "")),
            ("/kubepods/besteffort/podUID/crio-ID", (UID, BestEffort, "crio")),
            ("/kubepods/podUID/ID", (UID, Guaranteed, "")),
            ("/kubepods/burstable/podSTATIC/ID", (STATIC, Burstable, "")),
            ("kubepods/podUID/ID", (UID, Guaranteed, "")),
            // kind: a kubelet in a Docker container
            (
                "/system.slice/docker-NODE.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice\
                 /kubelet-kubepods-burstable-podUID_.slice/cri-containerd-ID.scope",
                (UID, Burstable, "containerd"),
            ),
            ("/docker/NODE/kubelet/kubepods/besteffort/podUID/ID", (UID, BestEffort, "")),
            // containerd's cgroupfs driver below a kubelet's systemd driver
            (
                "/system.slice/containerd.service/kubepods-burstable-podUID_.slice:cri-containerd:ID",
                (UID, Burstable, ""),
            ),
            // Kata: the virtual machine monitor
            ("/kubepods/podUID/kata_ID", (UID, Guaranteed, "")),
            // as a reader in another cgroup namespace sees it
            (
                "/../../kubepods-besteffort-podUID_.slice/cri-containerd-ID.scope",
                (UID, BestEffort, "containerd"),
            ),
            ("/../podUID/ID", (UID, Guaranteed, "")),
        ];
        for (row, (uid, qos, runtime)) in rows {
            let expected = CgroupPath {
                pod_uid: Some(uid.to_owned()),
                qos: Some(qos),
                container: Some(ContainerId { runtime, id: ID.to_owned(), is_monitor: false }),
                unit: None,
            };
            assert_eq!(parse_row(row), expected, "{row}");
        }
    }

    #[test]
    fn a_pod_level_cgroup_has_no_container() {
        for (row, qos) in [
            ("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podUID_.slice", Burstable),
            ("/kubepods/besteffort/podUID", BestEffort),
            ("/kubepods.slice/kubepods-podUID_.slice", Guaranteed),
            ("/docker/NODE/kubelet/kubepods/podUID", Guaranteed),
        ] {
            let expected =
                CgroupPath { pod_uid: Some(UID.to_owned()), qos: Some(qos), ..CgroupPath::default() };
            assert_eq!(parse_row(row), expected, "{row}");
        }
    }

    #[test]
    fn what_runs_below_a_container_belongs_to_it() {
        let container = "/kubepods.slice/kubepods-podUID_.slice/cri-containerd-ID.scope";
        for (below, unit) in [
            ("/init.scope", Some("init.scope")),
            ("/system.slice/nginx.service", Some("nginx.service")),
            ("/container", None),
            // names that a stranger chose
            ("/kubepods.slice/kubepods-podSTATIC.slice/crio-NODE.scope", None),
            ("/podSTATIC/NODE", None),
        ] {
            let parsed = parse_row(&format!("{container}{below}"));
            assert_eq!(parsed.pod_uid.as_deref(), Some(UID), "{below}");
            assert_eq!(parsed.container.map(|container| container.id).as_deref(), Some(ID), "{below}");
            assert_eq!(parsed.unit.as_deref(), unit, "{below}");
        }
    }

    #[test]
    fn the_monitor_of_a_container_is_told_from_it() {
        for row in
            ["/kubepods/podUID/crio-conmon-ID", "/kubepods.slice/kubepods-podUID_.slice/crio-conmon-ID.scope"]
        {
            let container = ContainerId { runtime: "crio", id: ID.to_owned(), is_monitor: true };
            assert_eq!(parse_row(row).container, Some(container), "{row}");
        }
    }

    #[test]
    fn containers_outside_kubernetes_have_no_pod() {
        for (row, runtime, id, unit) in [
            ("/docker/ID", "", ID, None),
            ("/system.slice/docker-ID.scope", "docker", ID, None),
            ("/machine.slice/libpod-ID.scope/container", "podman", ID, None),
            ("/system.slice/nerdctl-ID.scope", "containerd", ID, None),
            ("/k8s.io/ID", "", ID, None),
            ("/docker/NODE/docker/ID", "", NODE, None),
            (
                "/system.slice/docker-NODE.scope/kubelet.slice/kubelet.service",
                "docker",
                NODE,
                Some("kubelet.service"),
            ),
        ] {
            let expected = CgroupPath {
                container: Some(ContainerId { runtime, id: id.to_owned(), is_monitor: false }),
                unit: unit.map(str::to_owned),
                ..CgroupPath::default()
            };
            assert_eq!(parse_row(row), expected, "{row}");
        }
    }

    #[test]
    fn the_nodes_own_processes_have_a_unit() {
        for (row, unit) in [
            ("/system.slice/systemd-resolved.service", Some("systemd-resolved.service")),
            ("/user.slice/user-1000.slice/session-3.scope", Some("session-3.scope")),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/app-foo.service",
                Some("app-foo.service"),
            ),
            ("/system.slice/system-getty.slice/getty@tty1.service", Some("getty@tty1.service")),
            ("/init.scope", Some("init.scope")),
            ("/system.slice/a:b:c.service", Some("a:b:c.service")),
            ("/system.slice/k3s.service", Some("k3s.service")),
            ("/kubepods.slice/kubepods-burstable.slice", None),
            ("/kubepods", None),
            ("/", None),
            ("", None),
        ] {
            let expected = CgroupPath { unit: unit.map(str::to_owned), ..CgroupPath::default() };
            assert_eq!(parse_row(row), expected, "{row}");
        }
    }

    #[test]
    fn what_only_resembles_an_id_is_none() {
        for row in [
            "/kubepods/pod",
            "/kubepods/pod2c48913c-b29f-11e7-9350",
            "/kubepods/pod2c48913c-b29f-11e7-9350-02096814779g",
            "/kubepods/pod2C48913C-B29F-11E7-9350-020968147796",
            "/kubepods/podUID-",
            "/kubepods/podSTATICff",
            "/podman/xID",
            "/docker/IDff",
            "/kubepods-podéUID.slice/éID",
        ] {
            assert_eq!(parse_row(row), CgroupPath::default(), "{row}");
        }
    }

    #[test]
    fn directories_of_kubelets_are_known() {
        assert!(["kubepods", "kubepods.slice", "kubelet-kubepods.slice"].into_iter().all(is_kubepods));
        assert!(
            !["kubepods-burstable.slice", "xkubepods", "kubepods.service", ""].into_iter().any(is_kubepods)
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(path in any::<String>()) {
            parse(&path);
        }

        #[test]
        fn texts_like_the_real_ones_hold_only_well_formed_ids(
            parts in prop::collection::vec(
                prop_oneof![
                    "(kubepods-(burstable-)?)?pod[0-9a-f_-]{0,40}(\\.slice)?",
                    "(cri-containerd-|crio-|docker-|é)?[0-9a-fA-F]{60,66}(\\.scope)?",
                    "[a-z:.-]{0,12}(\\.service|\\.scope)?",
                    Just(format!("pod{UID}")),
                    Just(ID.to_owned()),
                ],
                0..8,
            )
        ) {
            let parsed = parse(&parts.join("/"));
            prop_assert_eq!(parsed.qos.is_some(), parsed.pod_uid.is_some());
            if let Some(uid) = parsed.pod_uid {
                prop_assert_eq!(pod_uid(&uid), Some(uid.clone()));
                prop_assert!(!uid.contains('_'));
            }
            if let Some(container) = parsed.container {
                prop_assert!(is_hex(&container.id, 64));
            }
        }

        #[test]
        fn nothing_below_a_container_changes_whose_it_is(below in "(/[a-f0-9:_.é-]{0,70}){0,4}|(/pod2c48913c_b29f_11e7_9350_020968147790|/[a-f0-9]{64}){0,4}") {
            let top = parse_row("/kubepods/burstable/podUID/ID");
            let path = format!("/kubepods/burstable/pod{UID}/{ID}{below}");
            let parsed = parse(&path);
            prop_assert_eq!(parsed.pod_uid, top.pod_uid);
            prop_assert_eq!(parsed.container, top.container);
        }
    }
}
