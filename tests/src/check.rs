//! `e2e check`: the laboratory examined by itself, before anything is concluded from a trace taken in it.

use std::{fs, net::SocketAddrV4, path::Path, time::Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use nix::sys::signal::Signal;

use crate::{
    lab::{
        CLUSTER_DNS, CLUSTER_DNS6,
        by_hand::NodeArgs,
        cgroup::{CgroupDriver, Nesting, Qos, Runtime},
        clients::{Client, Clients, LookupTally, dig, dig_batch},
        containerd::{Containerd, LookupPod},
        counters::{ConntrackStats, Snmp, conntrack_count, flush_conntrack},
        default_lab::{Lab, endpoints},
        dns_server::Serve,
        netns::netns_inode,
        pod::{Pod, PodOptions},
        process::run,
        service::{Balance, Protocol, Service, ServicePort, ServiceSpec},
        trouble::{
            Stage, conntrack,
            drops::{Obstacles, not_forwarding, one_of_twins, over_ipv6},
            sockets, stream, table, tcp,
        },
        zone::{ANY_A, LARGE_SIZES},
    },
    serve,
};

/// Examines the lab itself: servers, clients, counts, failures, cgroups, containerd
///
/// As for `lab`, the current network namespace must have no interface but `lo`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Only the checks whose name contains this
    #[arg(default_value = "")]
    name: String,
    #[command(flatten)]
    node: NodeArgs,
}

struct Bench {
    lab: Lab,
    clients: Clients,
}

impl Bench {
    fn stage(&self) -> Stage<'_> {
        Stage { lab: &self.lab, clients: &self.clients }
    }
}

type Check = fn(&Bench) -> Result<()>;

const CHECKS: &[(&str, Check)] = &[
    ("dig follows the search list", dig_follows_the_search_list),
    ("dig asks many questions", dig_asks_many_questions),
    ("both C libraries resolve", both_c_libraries_resolve),
    ("every way of sending is answered", every_way_of_sending_is_answered),
    ("client, server and kernel count alike", client_server_and_kernel_count_alike),
    ("large answers arrive or are truncated", large_answers_arrive_or_are_truncated),
    ("the server misbehaves as told", the_server_misbehaves_as_told),
    ("a pod is found by its cgroup", a_pod_is_found_by_its_cgroup),
    ("a hostNetwork pod shares the node's namespace", a_host_network_pod_shares_the_nodes_namespace),
    ("a pod leaves nothing behind", a_pod_leaves_nothing_behind),
    ("a Service follows its endpoints", a_service_follows_its_endpoints),
    ("containerd runs a pod", containerd_runs_a_pod),
    ("trouble: insertion fails", |bench| conntrack::insertion_fails(bench.stage()).map(drop)),
    ("trouble: insertion fails at the sender", |bench| {
        conntrack::insertion_fails_at_the_sender(bench.stage()).map(drop)
    }),
    ("trouble: insertion fails for the host", |bench| {
        conntrack::insertion_fails_for_the_host(bench.stage()).map(drop)
    }),
    ("trouble: a clash is merged", |bench| conntrack::clash_is_merged(bench.stage()).map(drop)),
    ("trouble: a clash is resolved", |bench| conntrack::clash_is_resolved(bench.stage()).map(drop)),
    ("trouble: an answer outlives the clash", |bench| {
        conntrack::answer_outlives_the_clash(bench.stage()).map(drop)
    }),
    ("trouble: a full table has no room", a_full_table_has_no_room),
    ("trouble: an entry is evicted", |bench| table::evicted(bench.stage()).map(drop)),
    ("trouble: rules and routes", rules_and_routes),
    ("trouble: a receive buffer overflows", |bench| sockets::overflow(bench.stage()).map(drop)),
    ("trouble: answers come late or lie unread", answers_come_late_or_lie_unread),
    ("tcp: every way of sending is answered", every_way_of_sending_over_tcp),
    ("tcp: answers of every shape", |bench| stream::every_shape(bench.stage()).map(drop)),
    ("tcp: connections go on", |bench| stream::Older::open(bench.stage(), ["40141", "40142"])?.go_on()),
    ("tcp: what is no DNS", |bench| stream::no_dns(bench.stage())),
    ("tcp: connections fail", |bench| tcp::Obstacles::put_up(bench.stage())?.all_at_once(bench.stage())),
    ("tcp: segments are lost once", |bench| tcp::lost_once(bench.stage()).map(drop)),
    ("tcp: truncated answers are asked for again", |bench| {
        tcp::Truncating::start(bench.stage())?.ask(bench.stage())
    }),
];

/// Runs the checks one after another in one lab; the first that fails ends it.
pub fn check(args: &CheckArgs) -> Result<()> {
    let started = Instant::now();
    let bench = Bench { lab: Lab::start(args.node.start()?)?, clients: Clients::new()? };
    println!("{:>7.2} s  the lab is built", started.elapsed().as_secs_f64());
    let chosen: Vec<_> = CHECKS.iter().filter(|(name, _)| name.contains(&args.name)).collect();
    ensure!(!chosen.is_empty(), "no check has {:?} in its name", args.name);
    for (name, check) in &chosen {
        let started = Instant::now();
        check(&bench).with_context(|| format!("check failed: {name}"))?;
        println!("{:>7.2} s  {name}", started.elapsed().as_secs_f64());
    }
    drop(bench);
    let links = run(&["ip", "-brief", "link"])?;
    ensure!(links.lines().count() == 1, "interfaces are left:\n{links}");
    println!("all {} checks passed", chosen.len());
    Ok(())
}

fn every_way_of_sending_over_tcp(bench: &Bench) -> Result<()> {
    let (v4, v6) = (CLUSTER_DNS.to_string(), CLUSTER_DNS6.to_string());
    let options = ["--server", &v4, "--server6", &v6, "--tag", "ways"];
    let tally = bench.clients.stream(&bench.lab.cart, "cart", &options)?;
    ensure!(tally.ways.len() == 72 && tally.connections == 72 && tally.partial > 0, "{tally:?}");
    let failed = tally.ways.iter().find(|way| (way.sent, way.received, way.errors) != (4, 4, 0));
    ensure!(failed.is_none() && tally.unexpected == 0, "{failed:?}");
    Ok(())
}

fn dig_follows_the_search_list(bench: &Bench) -> Result<()> {
    let cart = &bench.lab.cart;
    let answer = dig(cart, "cart", &["+search", "+short", "api.shop"])?.success()?;
    ensure!(answer.stdout == "10.96.3.4\n", "{answer:?}");
    let absent = dig(cart, "cart", &["nope.shop.svc.cluster.local"])?.success()?;
    ensure!(absent.stdout.contains("status: NXDOMAIN"), "{absent:?}");
    let no_data = dig(cart, "proxy", &["web.shop.svc.cluster.local", "AAAA"])?.success()?;
    ensure!(
        no_data.stdout.contains("status: NOERROR") && no_data.stdout.contains("ANSWER: 0"),
        "{no_data:?}"
    );
    let tcp6 =
        dig(cart, "cart", &["+tcp", "+short", "example.com", &format!("@{CLUSTER_DNS6}")])?.success()?;
    ensure!(tcp6.stdout == "192.0.2.80\n", "{tcp6:?}");
    Ok(())
}

fn dig_asks_many_questions(bench: &Bench) -> Result<()> {
    let questions: Vec<_> = (0..50).map(|n| format!("q{n}.batch.test.cluster.local")).collect();
    let output = dig_batch(&bench.lab.cart, "cart", &["+short"], &questions)?.success()?;
    ensure!(output.stdout.lines().filter(|line| *line == ANY_A).count() == questions.len(), "{output:?}");
    Ok(())
}

fn both_c_libraries_resolve(bench: &Bench) -> Result<()> {
    for client in [Client::LookupGlibc, Client::LookupMusl] {
        let run =
            bench.clients.lookup(&bench.lab.web, "web", client, &["api.shop", "example.com", "nope.shop"])?;
        ensure!((run.tally.lookups, run.tally.resolved) == (3, 2), "{run:?}");
        let mut addresses = run.names.first().context("no line")?.addresses.clone();
        addresses.sort();
        ensure!(addresses == ["10.96.3.4", "fd00:96::304"], "{run:?}");
        ensure!(run.names.last().is_some_and(|line| line.error.is_some()), "{run:?}");
        let bulk = bench.clients.lookup_bulk(&bench.lab.web, "web", client, 100, client.name())?;
        ensure!((bulk.tally.lookups, bulk.tally.resolved) == (100, 100), "{bulk:?}");
    }
    Ok(())
}

fn every_way_of_sending_is_answered(bench: &Bench) -> Result<()> {
    let (v4, v6) = (CLUSTER_DNS.to_string(), CLUSTER_DNS6.to_string());
    let options = ["--server", &v4, "--server6", &v6, "--tag", "ways", "--count", "5"];
    let tally = bench.clients.sockets(&bench.lab.cart, "cart", &options)?;
    ensure!(tally.ways.len() == 90 && tally.unexpected == 0, "{tally:?}");
    for way in &tally.ways {
        let has_no_uring = way.way.contains("io_uring") && way.error.as_deref() == Some("ENOSYS");
        ensure!(has_no_uring || (way.sent, way.received, way.errors) == (5, 5, 0), "{way:?}");
    }
    Ok(())
}

fn client_server_and_kernel_count_alike(bench: &Bench) -> Result<()> {
    let misbehaving = Misbehaving::start(bench, &[])?;
    let (pod, client) = (&misbehaving.pod, &bench.lab.cart);
    let (ip, ip6) = (pod.ip.to_string(), pod.ip6.to_string());
    let before = (Snmp::of(pod.netns())?, ConntrackStats::of_node()?);
    let tally4 =
        bench.clients.sockets(client, "cart", &["--server", &ip, "--bulk", "1000", "--window", "16"])?;
    let tally6 =
        bench.clients.sockets(client, "cart", &["--server6", &ip6, "--bulk", "500", "--window", "16"])?;
    ensure!((tally4.sent, tally4.received, tally6.sent, tally6.received) == (1000, 1000, 500, 500));
    let after = Snmp::of(pod.netns())?;
    // One socket serves both families, and counts IPv4 as such.
    ensure!(after.since(&before.0, "Udp.InDatagrams")? == 1000);
    ensure!(after.since(&before.0, "Udp6.InDatagrams")? == 500);
    let stats = ConntrackStats::of_node()?.since(before.1);
    ensure!((stats.drop, stats.insert_failed) == (0, 0), "{stats:?}");
    let served = misbehaving.server.stop()?;
    ensure!((served.udp_queries, served.answers, served.refused) == (1500, 1500, 0), "{served:?}");
    Ok(())
}

fn large_answers_arrive_or_are_truncated(bench: &Bench) -> Result<()> {
    // A query without EDNS has room for 512 bytes.
    let rooms = [(512, "+noedns"), (1232, "+bufsize=1232"), (4096, "+bufsize=4096")];
    let cases: Vec<_> =
        LARGE_SIZES.into_iter().flat_map(|size| rooms.map(|(room, edns)| (size, room, edns))).collect();
    let questions: Vec<_> = cases
        .iter()
        .map(|(size, _, edns)| format!("txt-{size}.large.cluster.local TXT +ignore {edns}"))
        .collect();
    let output = dig_batch(&bench.lab.cart, "cart", &[], &questions)?.success()?;
    let flags: Vec<_> = output.stdout.lines().filter(|line| line.starts_with(";; flags:")).collect();
    ensure!(flags.len() == cases.len(), "{output:?}");
    for ((size, room, _), flags) in cases.into_iter().zip(flags) {
        // An answer holds a tenth more than the text itself.
        ensure!(flags.contains(" tc") == (size + size / 10 > room), "{size} bytes in {room}: {flags}");
    }
    Ok(())
}

fn the_server_misbehaves_as_told(bench: &Bench) -> Result<()> {
    let client = &bench.lab.cart;
    let ask = |args: &[&str], options: &[&str]| -> Result<_> {
        let misbehaving = Misbehaving::start(bench, args)?;
        let ip = misbehaving.pod.ip.to_string();
        let output =
            dig(client, "cart", &[&[&format!("@{ip}"), "+tries=1", "+time=1", "a.b"], options].concat())?;
        Ok((output, misbehaving.server.stop()?))
    };
    let (output, tally) = ask(&["--rcode", "5"], &[])?;
    ensure!(output.stdout.contains("status: REFUSED") && tally.answers == 1, "{output:?}");
    let (output, tally) = ask(&["--silent"], &[])?;
    ensure!(
        output.stdout.contains("timed out")
            && tally == (serve::ServeTally { udp_queries: 1, ..Default::default() })
    );
    let (output, tally) = ask(&["--truncate"], &[])?;
    ensure!(output.stdout.contains(&serve::ANSWER.to_string()) && tally.tcp_queries == 1, "{output:?}");
    let (output, tally) = ask(&["--delay-ms", "1500"], &["+time=5"])?;
    let took = output.stdout.lines().find_map(|line| line.strip_prefix(";; Query time: ")?.split(' ').next());
    ensure!(took.context("no query time")?.parse::<u32>()? >= 1500 && tally.answers == 1, "{output:?}");
    Ok(())
}

fn a_pod_is_found_by_its_cgroup(bench: &Bench) -> Result<()> {
    use {CgroupDriver::*, Runtime::*};
    let rows = [
        (Systemd, Containerd, Qos::Guaranteed, Nesting::None),
        (Systemd, Crio, Qos::BestEffort, Nesting::Kind),
        (Cgroupfs, Docker, Qos::Burstable, Nesting::None),
    ];
    for (index, (driver, runtime, qos, nesting)) in rows.into_iter().enumerate() {
        let options =
            PodOptions { driver, runtime, qos, nesting, is_static: index == 0, ..PodOptions::default() };
        let pod = Pod::start(&bench.lab.node, "kube-system", &format!("layout-{index}"), &options)?;
        let mut sleeper = pod.spawn("app", &["sleep", "60"])?;
        // The program has replaced our helper once its name is its own.
        let comm = format!("/proc/{}/comm", sleeper.pid());
        while fs::read_to_string(&comm)? != "sleep\n" {
            ensure!(sleeper.is_running()?, "sleep ended");
        }
        let container = pod.container("app")?;
        let cgroups = fs::read_to_string(format!("/proc/{}/cgroup", sleeper.pid()))?;
        let path = format!("/{}", container.cgroup.display());
        ensure!(cgroups.lines().any(|line| line.ends_with(&path)), "{path} is not in:\n{cgroups}");
        ensure!(netns_inode(sleeper.pid())? == pod.netns_inode()?);
        let link = format!("/var/log/containers/{}_{}_app-{}.log", pod.name, pod.namespace, container.id);
        ensure!(fs::metadata(&link).is_ok(), "{link} leads nowhere");
        sleeper.signal(Signal::SIGTERM)?;
        ensure!(!sleeper.wait()?.status.success());
    }
    Ok(())
}

fn a_host_network_pod_shares_the_nodes_namespace(bench: &Bench) -> Result<()> {
    let options = PodOptions { host_network: true, ..PodOptions::default() };
    let pod = Pod::start(&bench.lab.node, "kube-system", "kube-proxy-x7q2z", &options)?;
    ensure!(pod.netns_inode()? == netns_inode(std::process::id())?);
    let answer = dig(&pod, "app", &["+short", "api.shop.svc.cluster.local"])?.success()?;
    ensure!(answer.stdout == "10.96.3.4\n", "{answer:?}");
    Ok(())
}

fn a_pod_leaves_nothing_behind(bench: &Bench) -> Result<()> {
    let pod = Pod::start(&bench.lab.node, "shop", "short-lived", &PodOptions::default())?;
    let directories = pod.container("app")?.directories().to_owned();
    let logs = format!("/var/log/pods/shop_short-lived_{}", pod.uid);
    let veth = pod.veth.clone().context("no interface")?;
    let _left_running = pod.spawn("app", &["sleep", "60"])?;
    ensure!(Path::new(&logs).exists());
    pod.stop()?;
    ensure!(!Path::new(&logs).exists(), "{logs} is left");
    ensure!(directories.iter().all(|directory| !directory.exists()), "{directories:?} are left");
    ensure!(!Path::new("/sys/class/net").join(&veth).exists(), "{veth} is left");
    Ok(())
}

fn a_service_follows_its_endpoints(bench: &Bench) -> Result<()> {
    let lab = &bench.lab;
    let cluster_ip = "10.96.0.77";
    let service = Service::create(
        &lab.node,
        ServiceSpec {
            namespace: "shop".into(),
            name: "dns-of-the-shop".into(),
            cluster_ips: vec![cluster_ip.parse()?],
            ports: vec![ServicePort { name: "dns", protocol: Protocol::Udp, port: 5300, target: 53 }],
            endpoints: Vec::new(),
            balance: Balance::RoundRobin,
        },
    )?;
    let server = format!("@{cluster_ip}");
    let ask = || {
        dig(
            &lab.web,
            "web",
            &[&server, "-p", "5300", "+short", "+tries=1", "+time=1", "api.shop.svc.cluster.local"],
        )
    };
    let rejected = ask()?;
    ensure!(rejected.stdout.contains("connection refused"), "{rejected:?}");
    service.set_endpoints(endpoints(&lab.dns.pods))?;
    let tracked = conntrack_count()?;
    for _ in 0..2 {
        ensure!(ask()?.success()?.stdout == "10.96.3.4\n");
    }
    ensure!(conntrack_count()? >= tracked + 2);
    let entries = run(&["conntrack", "-L", "-p", "udp", "-d", cluster_ip])?;
    for pod in &lab.dns.pods {
        ensure!(entries.contains(&format!(" src={} ", pod.ip)), "no entry leads to {}:\n{entries}", pod.ip);
    }
    ensure!(flush_conntrack(cluster_ip.parse()?)? == 2);
    service.set_balance(Balance::Random)?;
    ensure!(ask()?.success()?.stdout == "10.96.3.4\n");
    Ok(())
}

fn containerd_runs_a_pod(bench: &Bench) -> Result<()> {
    let containerd = Containerd::start(&bench.lab.node, &bench.clients)?;
    let pod = containerd.run_lookup(&LookupPod {
        namespace: "shop",
        name: "job-x2k9p",
        container: "lookup",
        labels: &[],
        has_usual_logs: true,
        args: &["--bulk", "50", "cri"],
    })?;
    let tally: LookupTally = serde_json::from_str(&pod.wait()?)?;
    // It is the first process of its own PID namespace.
    ensure!((tally.pid, tally.lookups, tally.resolved) == (1, 50, 50), "{tally:?}");
    ensure!(pod.container_id.len() == 64 && pod.ip.starts_with("10.244.1."), "{pod:?}");
    Ok(())
}

fn a_full_table_has_no_room(bench: &Bench) -> Result<()> {
    let stage = bench.stage();
    let full = table::full_table(stage, SocketAddrV4::new(bench.lab.web.ip, 41_000))?;
    table::no_room(stage)?;
    // The flow that is in the table already goes on.
    let server = CLUSTER_DNS.to_string();
    let options = ["--server", &server, "--bulk", "20", "--source-port", "41000"];
    let tally = bench.clients.sockets(&bench.lab.web, "web", &options)?;
    ensure!(tally.received == 20, "{tally:?}");
    drop(full);
    Ok(())
}

fn rules_and_routes(bench: &Bench) -> Result<()> {
    let stage = bench.stage();
    let obstacles = Obstacles::put_up(stage)?;
    obstacles.all_at_once(stage)?;
    obstacles.connected(stage)?;
    drop(obstacles);
    over_ipv6(stage)?;
    not_forwarding(stage)?;
    one_of_twins(stage, 4)
}

fn answers_come_late_or_lie_unread(bench: &Bench) -> Result<()> {
    let stage = bench.stage();
    sockets::answer_after_the_client_closed(stage)?;
    sockets::answer_waits(stage, 100)?;
    sockets::answer_is_never_read(stage)?;
    Ok(())
}

/// A pod with the server that misbehaves on request.
struct Misbehaving {
    // Dropped in this order.
    server: Serve,
    pod: Pod,
}

impl Misbehaving {
    fn start(bench: &Bench, args: &[&str]) -> Result<Self> {
        let pod = Pod::start(&bench.lab.node, "faults", "dns-0", &PodOptions::default())?;
        let server = Serve::start(&pod, args)?;
        Ok(Self { server, pod })
    }
}
