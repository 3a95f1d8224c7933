//! DNS over TCP in every shape that its bytes may have: all of it is well, if it is read as it was meant.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};

use super::{Server, Stage, full_name};
use crate::{
    lab::{
        CLUSTER_DNS,
        clients::{Talk, Talking},
    },
    serve::stream::TRANSFER_MESSAGES,
};

/// AXFR, as a number.
const AXFR: &str = "252";
/// TXT, as a number.
const TXT: &str = "16";

impl Stage<'_> {
    /// Has the pod in trouble talk to a server over TCP; in a step, `{NAME}` is the full name of a question.
    pub(super) fn talk(self, options: &[&str], server: Ipv4Addr, steps: &[&str]) -> Result<Talk> {
        self.start_talk(options, server, steps)?.result()
    }

    /// As [`Self::talk`], and leaves it running.
    pub(super) fn start_talk(self, options: &[&str], server: Ipv4Addr, steps: &[&str]) -> Result<Talking> {
        let server = server.to_string();
        let steps: Vec<_> = steps.iter().map(|step| with_full_names(step)).collect();
        let args = options.iter().copied().chain([server.as_str()]);
        let args: Vec<_> = args.chain(steps.iter().map(String::as_str)).collect();
        self.clients.start_talk(self.pod(), "cart", &args)
    }

    /// A server in the pod `faults/NAME-0` that does what the first label of each name says.
    pub(super) fn server_by_name(self, name: &str) -> Result<Server> {
        Ok(self.servers(name, 1, &["--by-name"])?.remove(0))
    }
}

fn with_full_names(step: &str) -> String {
    match step.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?))) {
        Some((before, (name, after))) => format!("{before}{}{after}", full_name(name)),
        None => step.to_owned(),
    }
}

/// A connection on which answers come in pieces, out of order, several at once, late, large, and many for one query;
/// and that the client ends half before the last one has come. Returns its result, and the server's address.
pub fn every_shape(stage: Stage) -> Result<(Talk, Ipv4Addr)> {
    let server = stage.server_by_name("shapes")?;
    let transfer = format!("send:{{transfer-7}}/{AXFR}");
    let messages = format!("answers:{TRANSFER_MESSAGES}");
    let talk = stage.talk(
        &["--source-port", "40140", "--first-id", "100"],
        server.pod.ip,
        &[
            "connect",
            "send:{split-1}/A",
            "answers:1",
            "send:{hold-2}/A",
            "send:{hold-3}/AAAA",
            "send:{flush-4}/A",
            "answers:3",
            "half:{in-halves-5}/A",
            "sleep:50",
            "rest",
            "answers:1",
            &format!("send:{{large-6}}/{TXT}"),
            "answers:1",
            &transfer,
            &messages,
            "send:{slow-8}/A",
            "shutdown",
            "answers:1",
            "until-end",
        ],
    )?;
    ensure!(talk.error().is_none(), "{talk:?}");
    let ids: Vec<_> = talk.answers.iter().map(|answer| answer.id).collect();
    // The last one asked is the first to be answered.
    ensure!(ids[..4] == [100, 103, 102, 101] && ids.len() == 7 + TRANSFER_MESSAGES, "{ids:?}");
    let tally = server.serve.stop()?;
    ensure!((tally.tcp_connections, tally.tcp_queries, tally.answers) == (1, 8, 8), "{tally:?}");
    Ok((talk, server.pod.ip))
}

/// Connections that are open, one of them in the middle of a query.
#[derive(Debug)]
pub struct Older {
    whole: Talking,
    half: Talking,
}

impl Older {
    /// Opens them from these ports and asks a first question on each.
    pub fn open(stage: Stage, ports: [&str; 2]) -> Result<Self> {
        let start =
            |port: &str, steps: &[&str]| stage.start_talk(&["--source-port", port], CLUSTER_DNS, steps);
        let mut whole = start(
            ports[0],
            &["connect", "send:{older-1}/A", "answers:1", "wait", "send:{older-2}/A", "answers:1"],
        )?;
        let mut half = start(
            ports[1],
            &[
                "connect",
                "send:{older-3}/A",
                "answers:1",
                "half:{older-4}/A",
                "wait",
                "rest",
                "answers:1",
                "send:{older-5}/A",
                "answers:1",
            ],
        )?;
        whole.wait_until_ready()?;
        half.wait_until_ready()?;
        Ok(Self { whole, half })
    }

    /// Goes on with them to their end.
    pub fn go_on(mut self) -> Result<()> {
        self.whole.go_on()?;
        self.half.go_on()?;
        let (whole, half) = (self.whole.result()?, self.half.result()?);
        ensure!(whole.error().is_none() && whole.answers.len() == 2, "{whole:?}");
        ensure!(half.error().is_none() && half.answers.len() == 3, "{half:?}");
        Ok(())
    }
}

/// Two connections to port 53 on which the client speaks HTTP and TLS, and one on which the server answers by HTTP.
pub fn no_dns(stage: Stage) -> Result<()> {
    let server = stage.server_by_name("no-dns")?;
    let http = stage.talk(
        &["--timeout-ms", "300"],
        CLUSTER_DNS,
        &["connect", "text:GET / HTTP/1.1", "text:", "close"],
    )?;
    ensure!(http.error().is_none(), "{http:?}");
    // The beginning of a ClientHello.
    let hello =
        r"exec 3<>/dev/tcp/10.96.0.10/53; printf '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03%0506d' 0 >&3";
    stage.pod().exec("cart", &["bash", "-c", hello])?.success()?;
    let steps = ["connect", "send:{text-1}/A", "answers:1"];
    let answered = stage.talk(&["--timeout-ms", "300"], server.pod.ip, &steps)?;
    ensure!(answered.error() == Some("ENODATA"), "{answered:?}");
    ensure!(server.serve.stop().context("the server")?.tcp_queries == 1);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_braces_are_made_whole() {
        assert_eq!(with_full_names("send:{a-1}/A"), "send:a-1.fate.test.cluster.local/A");
        assert_eq!(with_full_names("connect"), "connect");
    }
}
