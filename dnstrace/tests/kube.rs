//! The Kubernetes API as a trace hears of it, from a server of the suite's own.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use dnstrace::{
    directory::Book,
    event::{KernelTime, Transport},
    identify::Teller,
    kube::{Kube, Learned},
    tellers::{News, Tellers},
};
use dnstrace_tests::api_server::{ApiServer, Manner};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);
const SERVICE: &str = "10.96.0.10:53";

fn service(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "kube-system"},
        "spec": {"clusterIPs": ["10.96.0.10"], "ports": [{"port": 53, "protocol": "UDP"}]},
        "status": {"loadBalancer": {}}
    })
}

fn pod(name: &str, node: &str, ip: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "shop", "uid": name, "labels": {"app": name}},
        "spec": {"nodeName": node}, "status": {"phase": "Running", "podIP": ip}
    })
}

/// What a trace makes of it.
struct Heard {
    kube: Kube,
    tellers: Tellers,
    book: Book,
    time: u64,
    failed: Vec<String>,
}

impl Heard {
    fn of(server: &ApiServer) -> Self {
        let mut tellers = Tellers::default();
        let voice = tellers.admit(Teller::ApiServer);
        let node: Option<Arc<str>> = Some("worker-1".into());
        let kube = Kube::start(Some(server.kubeconfig().to_owned()), node, voice).unwrap();
        Self { kube, tellers, book: Book::default(), time: 0, failed: Vec::new() }
    }

    fn take(&mut self) {
        for learned in self.kube.take() {
            self.time += 1;
            match learned {
                Learned::Holders(changed) => {
                    for (address, holders) in changed {
                        self.book.learn(address, holders, KernelTime(self.time));
                    }
                }
                Learned::Failed(why) => self.failed.push(why),
                Learned::Recovered => self.failed.clear(),
                Learned::LeftOut(left_out) => panic!("{left_out} left out"),
            }
        }
    }

    fn called(&mut self, address: &str) -> Option<String> {
        let address: SocketAddr = address.parse().unwrap();
        let name = self.book.name(None, address, Transport::Udp, KernelTime(u64::MAX))?;
        Some(name.to_string())
    }

    /// Takes in what comes until it is so.
    fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) {
        let started = Instant::now();
        loop {
            self.take();
            if is_so(self) {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "never {what}: {:?}", self.failed);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn until_called(&mut self, address: &str, name: &str) {
        self.until(name, |heard| heard.called(address).as_deref() == Some(name));
    }
}

#[tokio::test]
async fn names_follow_whatever_happens_to_the_connection() {
    let server = ApiServer::start(Manner::Tls).unwrap();
    server.store.apply("services", service("kube-dns"));
    // Of this node more than a page of the server's.
    for (number, node) in [(1, "worker-1"), (2, "worker-2"), (3, "worker-1"), (4, "worker-1")] {
        server.store.apply("pods", pod(&format!("cart-{number}"), node, &format!("10.244.1.{number}")));
    }
    let mut heard = Heard::of(&server);
    heard.until_called(SERVICE, "kube-system/kube-dns");
    heard.until_called("10.244.1.4:9", "shop/cart-4");
    assert_eq!(heard.called("10.244.1.2:9"), None, "a pod of another node");
    let first = heard.tellers.first(PATIENCE).await;
    let [(Teller::ApiServer, News::Pods(pods))] = &first[..] else { panic!("{first:?}") };
    let told: Vec<_> =
        pods.iter().map(|pod| (&*pod.name, pod.labels.as_ref().unwrap()["app"].as_str())).collect();
    assert_eq!(told, [("cart-1", "cart-1"), ("cart-3", "cart-3"), ("cart-4", "cart-4")]);

    server.wait_for_watches(3).unwrap();
    server.store.delete("services", "kube-system", "kube-dns");
    heard.until("without a name", |heard| heard.called(SERVICE).is_none());
    server.store.apply("services", service("dns-2"));
    heard.until_called(SERVICE, "kube-system/dns-2");
    // What happens while no connection is open is told by the next one.
    server.store.cut();
    server.store.delete("services", "kube-system", "dns-2");
    server.store.apply("services", service("dns-3"));
    heard.until_called(SERVICE, "kube-system/dns-3");
    // What nobody remembers any more, by a new list.
    server.wait_for_watches(3).unwrap();
    server.store.cut();
    server.store.delete("services", "kube-system", "dns-3");
    server.store.apply("services", service("dns-4"));
    server.store.compact();
    heard.until_called(SERVICE, "kube-system/dns-4");
    assert!(heard.failed.is_empty(), "{:?}", heard.failed);
}

#[tokio::test]
async fn what_is_refused_is_said_once_and_the_rest_is_told() {
    let server = ApiServer::start(Manner::Plain).unwrap();
    server.store.refuse("services");
    server.store.apply("pods", pod("cart-1", "worker-1", "10.244.1.1"));
    let mut heard = Heard::of(&server);
    heard.until("refused", |heard| !heard.failed.is_empty());
    heard.until_called("10.244.1.1:9", "shop/cart-1");
    let [why] = &heard.failed[..] else { panic!("{:?}", heard.failed) };
    assert!(why.contains("services is forbidden") && why.contains("ClusterRole"), "{why}");
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_one_line() {
    let server = ApiServer::start(Manner::Plain).unwrap();
    let config = std::fs::read_to_string(server.kubeconfig()).unwrap();
    let port = config.split("127.0.0.1:").nth(1).unwrap().split_whitespace().next().unwrap();
    // Nobody may listen on port 1 of this address.
    std::fs::write(server.kubeconfig(), config.replace(&format!("127.0.0.1:{port}"), "127.0.0.1:1")).unwrap();
    let mut heard = Heard::of(&server);
    let first = heard.tellers.first(PATIENCE).await;
    let [(Teller::ApiServer, News::Failed(failure))] = &first[..] else { panic!("{first:?}") };
    assert!(failure.is_asked_for && failure.why.contains("cannot reach http://127.0.0.1:1"), "{failure:?}");
    heard.take();
    assert!(heard.failed.is_empty(), "{:?}", heard.failed);
    // As soon as it can be reached, all is told.
    std::fs::write(server.kubeconfig(), config).unwrap();
    server.store.apply("services", service("kube-dns"));
    heard.until_called(SERVICE, "kube-system/kube-dns");
}

#[test]
fn a_token_that_is_none_and_a_stranger_s_certificate_are_told() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = |manner, change: &dyn Fn(String) -> String| {
        let server = ApiServer::start(manner).unwrap();
        let config = std::fs::read_to_string(server.kubeconfig()).unwrap();
        std::fs::write(server.kubeconfig(), change(config)).unwrap();
        let mut heard = Heard::of(&server);
        match runtime.block_on(heard.tellers.first(PATIENCE)).pop() {
            Some((_, News::Failed(failure))) => failure.why,
            other => panic!("{other:?}"),
        }
    };
    let why = first(Manner::Plain, &|config| config.replace("a-service-account", "an-old-one"));
    assert!(why.contains("(401)") && why.contains("expired"), "{why}");
    // The server is made out to 127.0.0.1 alone.
    let why = first(Manner::Tls, &|config| {
        config.replace("    server:", "    tls-server-name: other\n    server:")
    });
    assert!(why.contains("over TLS") && why.contains("certificate-authority"), "{why}");
}
