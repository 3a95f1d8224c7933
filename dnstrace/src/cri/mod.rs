//! The container runtime, which knows the names and labels of all pods of the node: asked by the Container Runtime Interface,
//! `runtime.v1` of containerd, CRI-O and cri-dockerd, for lists alone.
//!
//! [`list`] asks, [`pods`] reads the answer. It is done in a thread of its own, for whom nobody waits: at the start, and when the
//! trace asks again.

mod list;
mod pods;

use std::{path::PathBuf, str::FromStr, thread, time::Duration};

use anyhow::{Context as _, Result};
use tokio::time::{self, Instant};

use crate::{
    identify::Teller,
    tellers::{Failure, News, Tellers, Voice},
};
use list::Runtime;
use pods::Told;

/// Where runtimes have their sockets: containerd, CRI-O, k3s and RKE2, cri-dockerd.
const USUAL: [&str; 4] = [
    "/run/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/k3s/containerd/containerd.sock",
    "/var/run/cri-dockerd.sock",
];
/// The runtime is asked at most this often; where it does not answer, ever less.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(2);

/// Which runtime is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Socket {
    None,
    At(PathBuf),
}

impl FromStr for Socket {
    type Err = &'static str;

    /// A path, also as crictl and kubelet have it (`unix:///run/crio/crio.sock`); or `none`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Self::None),
            text => match text.strip_prefix("unix://").unwrap_or(text) {
                path if path.starts_with('/') => Ok(Self::At(path.into())),
                _ => Err("give the path of a socket (/run/crio/crio.sock), or none"),
            },
        }
    }
}

/// Begins to ask the runtime at this socket, or those that are at the usual places.
///
/// # Errors
/// If no thread can be started.
pub fn start(socket: Option<&Socket>, tellers: &mut Tellers) -> Result<()> {
    let sockets = match socket {
        Some(Socket::None) => return Ok(()),
        Some(Socket::At(path)) => vec![path.clone()],
        None => USUAL.iter().map(PathBuf::from).collect(),
    };
    let runtimes = sockets.into_iter().map(Runtime::at).collect();
    let is_asked_for = socket.is_some();
    let voice = tellers.admit(Teller::Runtime);
    let reactor = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let reactor = reactor.context("cannot ask the container runtime")?;
    thread::Builder::new()
        .name("cri".to_owned())
        .spawn(move || reactor.block_on(tell(runtimes, is_asked_for, voice)))
        .context("cannot start a thread for the container runtime")?;
    Ok(())
}

/// Tells what the runtimes know, until nobody listens any more.
async fn tell(runtimes: Vec<Runtime>, is_asked_for: bool, voice: Voice) {
    let mut told = Told::default();
    let mut pause = SHORTEST;
    // The first answer is waited for, and so is the one that ends a failure.
    let mut is_awaited = true;
    loop {
        let asked = Instant::now();
        let news = match list::all(&runtimes).await {
            Ok(lists) => {
                pause = SHORTEST;
                let news = told.news(lists);
                (is_awaited || !news.is_empty()).then_some(News::Pods(news))
            }
            Err(why) => {
                pause = LONGEST.min(pause * 2);
                Some(News::Failed(Failure { why, is_asked_for }))
            }
        };
        is_awaited = matches!(news, Some(News::Failed(_)));
        if let Some(news) = news
            && !voice.say(news).await
        {
            return;
        }
        voice.asked().await;
        time::sleep_until(asked + pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_named_as_crictl_does() {
        let at = |path: &str| Ok(Socket::At(path.into()));
        assert_eq!("/run/crio/crio.sock".parse(), at("/run/crio/crio.sock"));
        assert_eq!("unix:///run/crio/crio.sock".parse(), at("/run/crio/crio.sock"));
        assert_eq!("none".parse(), Ok(Socket::None));
        for wrong in ["", "crio.sock", "tcp://127.0.0.1:1", "unix://crio.sock"] {
            assert!(wrong.parse::<Socket>().is_err(), "{wrong}");
        }
    }
}
