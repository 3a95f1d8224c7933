//! Other ports than 53: those that the user names, multicast, and those whose connections are encrypted.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{
    Bench, Test,
    fates::proof::{list, words},
    tracer::Said,
};
use crate::{
    lab::{
        WORLD_IP,
        clients::Talk,
        dns_server::Serve,
        pod::{Pod, PodOptions},
        process::Process,
        trouble::full_name,
    },
    multicast::{LLMNR_GROUP, LLMNR_PORT, PORT as MDNS_PORT},
    serve::LISTENING,
};

pub const TESTS: &[Test] = &[
    Test::new("connections of DNS over TLS are named as encrypted", dns_over_tls),
    Test::new("connections of DNS over HTTPS are shown on request", dns_over_https),
    Test::new("several ports, two of them for multicast", several_ports),
];

/// A resolver that many programs know.
const WELL_KNOWN: Ipv4Addr = Ipv4Addr::new(1, 1, 1, 1);
/// A port that is nobody's.
const OTHER_PORT: &str = "5300";
const QUERIES: u64 = 20;

/// What a talk sent in so many queries for names of this length, each after its prefix.
fn sent(talk: &Talk, name: &str) -> u64 {
    talk.queries * (2 + 12 + full_name(name).len() as u64 + 2 + 4)
}

/// The one line of a connection from this port.
fn connection(lines: &[Value], port: u16) -> Result<&Value> {
    let found: Vec<_> = lines.iter().filter(|line| line["client_port"] == port).collect();
    let [connection] = found[..] else { anyhow::bail!("port {port}: {found:?} of {lines:?}") };
    Ok(connection)
}

/// It was open, and nothing befell it.
fn is_whole(connection: &Value, protocol: &str, talk: &Talk) -> Result<()> {
    ensure!(connection["protocol"] == protocol && connection["transport"] == "tcp", "{connection}");
    ensure!(connection["role"] == "client" && connection["comm"] == "talk", "{connection}");
    ensure!(connection["pod"] == "cart-7d4f" && connection["pid"] == talk.pid, "{connection}");
    ensure!(connection["connect_ns"].as_u64() > Some(0), "{connection}");
    let steps: Vec<_> = list(&connection["steps"]).map(words).collect();
    ensure!(steps.iter().all(|step| step == "conntrack inserted"), "{steps:?}: {connection}");
    Ok(())
}

/// It was closed by its client, and carried as many bytes as that says.
fn is_closed(connection: &Value, talk: &Talk, name: &str) -> Result<()> {
    let sent = sent(talk, name);
    ensure!(connection["end"] == "closed", "{connection}");
    ensure!(connection["bytes_sent"] == sent, "not {sent}: {connection}");
    // The kernel counts the server's FIN, should it come before the socket is gone.
    let received = connection["bytes_received"].as_u64();
    ensure!([Some(talk.bytes), Some(talk.bytes + 1)].contains(&received), "not {}: {connection}", talk.bytes);
    Ok(())
}

fn dns_over_tls(bench: &Bench) -> Result<()> {
    let pod = Pod::start(&bench.lab.node, "faults", "dot-0", &PodOptions::default())?;
    let _server = Serve::start(&pod, &["--listen", "[::]:853"])?;
    let _other = Serve::start(&pod, &["--listen", "[::]:443"])?;
    let (server, web) = (pod.ip.to_string(), bench.lab.web.ip.to_string());
    let query = format!("send:{}/A", full_name("dot"));
    let cart = &bench.lab.cart;
    let (lines, (closed, open)) = Said::lines_of(&["-p", "cart-7d4f"], || {
        let talk = |args: &[&str]| bench.clients.talk(cart, "cart", args);
        let with = |port: &str, source: &str, server: &str, steps: &[&str]| {
            talk(&[&["--port", port, "--source-port", source, server, "connect"], steps].concat())
        };
        let closed = with("853", "40190", &server, &[&query, "answers:1", &query, "answers:1", "close"])?;
        ensure!(closed.error().is_none(), "{closed:?}");
        let refused = with("853", "40191", &web, &[])?;
        ensure!(refused.error() == Some("ECONNREFUSED"), "{refused:?}");
        // Nobody asked for DNS over HTTPS.
        let https = with("443", "40192", &server, &[&query, "answers:1", "close"])?;
        ensure!(https.error().is_none(), "{https:?}");
        let args =
            ["--port", "853", "--source-port", "40193", &server, "connect", &query, "answers:1", "wait"];
        let mut open = bench.clients.start_talk(cart, "cart", &args)?;
        open.wait_until_ready()?;
        Ok((closed, open))
    })?;
    let open = open.result()?;
    ensure!(lines.queries.is_empty() && lines.messages.is_empty(), "{lines:?}");
    ensure!(lines.connections.len() == 3, "{:?}", lines.connections);
    let line = connection(&lines.connections, 40190)?;
    is_whole(line, "tls", &closed)?;
    is_closed(line, &closed, "dot")?;
    let line = connection(&lines.connections, 40193)?;
    is_whole(line, "tls", &open)?;
    ensure!(line["end"].is_null() && line["bytes_sent"].is_null(), "{line}");
    let line = connection(&lines.connections, 40191)?;
    let steps: Vec<_> = list(&line["steps"]).map(words).collect();
    ensure!(line["protocol"] == "tls" && steps.contains(&"connect_failed ECONNREFUSED".to_owned()), "{line}");
    Ok(())
}

fn dns_over_https(bench: &Bench) -> Result<()> {
    let world = bench.lab.node.world();
    world.ip(&format!("addr add {WELL_KNOWN}/32 dev lo\n"))?;
    let traced = (|| {
        let _servers = [WELL_KNOWN, WORLD_IP]
            .map(|address| Serve::start_in_world(&bench.lab.node, &["--listen", &format!("{address}:443")]))
            .into_iter()
            .collect::<Result<Vec<_>>>()?;
        let query = format!("send:{}/A", full_name("doh"));
        Said::lines_of(&["-p", "cart-7d4f", "--doh"], || {
            let talk = |source: &str, server: Ipv4Addr| {
                let server = server.to_string();
                let args = ["--port", "443", "--source-port", source, &server];
                let steps = ["connect", &query, "answers:1", "close"];
                bench.clients.talk(&bench.lab.cart, "cart", &[&args[..], &steps].concat())
            };
            // Port 443 of others is the web.
            Ok((talk("40194", WELL_KNOWN)?, talk("40195", WORLD_IP)?))
        })
    })();
    world.ip(&format!("addr del {WELL_KNOWN}/32 dev lo\n"))?;
    let (lines, (known, other)) = traced?;
    ensure!(known.error().is_none() && other.error().is_none(), "{known:?} {other:?}");
    ensure!(lines.queries.is_empty() && lines.messages.is_empty(), "{lines:?}");
    ensure!(lines.connections.len() == 1, "{:?}", lines.connections);
    let line = connection(&lines.connections, 40194)?;
    is_whole(line, "https", &known)?;
    is_closed(line, &known, "doh")
}

fn several_ports(bench: &Bench) -> Result<()> {
    let names = ["port-0", "mdns-0", "mdns-1", "llmnr-0"];
    let specs: Vec<_> = names.iter().map(|name| ("faults", *name, PodOptions::default())).collect();
    let pods = Pod::start_all(&bench.lab.node, &specs)?;
    let _server = Serve::start(&pods[0], &["--listen", &format!("[::]:{OTHER_PORT}")])?;
    let llmnr = [format!("0.0.0.0:{LLMNR_PORT}"), LLMNR_GROUP.to_string()];
    let _llmnr = Serve::start(&pods[3], &["--listen", &llmnr[0], "--group", &llmnr[1]])?;
    let _mdns = [responder(&pods[1], "10.0.0.1")?, responder(&pods[2], "10.0.0.2")?];
    let (mdns_port, llmnr_port) = (MDNS_PORT.to_string(), LLMNR_PORT.to_string());
    let ports = ["-A", "--port", "53", "--port", OTHER_PORT, "--port", &mdns_port, "--port", &llmnr_port];
    let cart = &bench.lab.cart;
    let (lines, ()) = Said::lines_of(&ports, || {
        let (server, count) = (pods[0].ip.to_string(), QUERIES.to_string());
        let options = ["--server", &server, "--port", OTHER_PORT, "--bulk", &count, "--tag"];
        let tally = bench.clients.sockets(cart, "cart", &[&options[..], &["port-udp"]].concat())?;
        ensure!(tally.received == QUERIES, "{tally:?}");
        let tally = bench.clients.stream(cart, "cart", &[&options[..], &["port-tcp"]].concat())?;
        ensure!(tally.received == QUERIES, "{tally:?}");
        let own = own()?;
        let asked = cart.exec("cart", &[&own, "multicast", "printer.local", "--answers", "2"])?.success()?;
        ensure!(asked.stdout.lines().count() == 2, "{asked:?}");
        let question = format!("{}/A@{LLMNR_GROUP}", full_name("llmnr"));
        let run = bench.clients.ask(cart, "cart", &["--port", &llmnr_port, &question])?;
        // It comes from the address of who has the name.
        ensure!(run.strangers == 1, "{run:?}");
        Ok(())
    })?;
    // Who else is in a group hears the answers, too.
    let mut strays = lines.messages.iter().filter(|message| message["pod"] == "cart-7d4f");
    ensure!(strays.next().is_none(), "{:?}", lines.messages);
    for (tag, transport) in [("port-udp", "udp"), ("port-tcp", "tcp")] {
        for role in ["client", "server"] {
            let is_it = |query: &&Value| {
                query["role"] == role
                    && query["qname"].as_str().is_some_and(|name| name.contains(&format!(".{tag}.")))
            };
            let seen: Vec<_> = lines.queries.iter().filter(is_it).collect();
            ensure!(seen.len() as u64 == QUERIES, "{tag}: {} queries at the {role}", seen.len());
            for query in seen {
                let attempt = &query["attempts"][0];
                ensure!(attempt["fate"] == "answered" && attempt["transport"] == transport, "{query}");
                ensure!(attempt["server_port"] == 5300, "{query}");
            }
        }
    }
    let asked = |name: &str| -> Result<&Value> {
        let is_it = |query: &&Value| {
            query["role"] == "client" && query["qname"] == name && query["pod"] == "cart-7d4f"
        };
        let found: Vec<_> = lines.queries.iter().filter(is_it).collect();
        let [query] = found[..] else { anyhow::bail!("{name}: {found:?}") };
        ensure!(query["outcome"] == "answered" && query["rcode"] == "NOERROR", "{query}");
        ensure!(list(&query["attempts"]).count() == 1, "{query}");
        Ok(&query["attempts"][0])
    };
    let mdns = asked("printer.local.")?;
    ensure!(mdns["server"] == "224.0.0.251" && mdns["answer"]["further_messages"] == 1, "{mdns}");
    let llmnr = asked(&format!("{}.", full_name("llmnr")))?;
    ensure!(llmnr["server"] == LLMNR_GROUP.to_string(), "{llmnr}");
    Ok(())
}

/// A host that has the name printer.local.
fn responder(pod: &Pod, address: &str) -> Result<Process> {
    let mut process = pod.spawn("app", &[&own()?, "multicast", "printer.local", "--address", address])?;
    let line = process.read_line()?;
    ensure!(line == LISTENING, "{line:?}");
    Ok(process)
}

/// This program.
fn own() -> Result<String> {
    let own = std::env::current_exe().context("this program has no path")?;
    Ok(own.to_str().context("this program's path is no UTF-8")?.to_owned())
}
