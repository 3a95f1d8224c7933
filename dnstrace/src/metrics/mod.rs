//! The counts as Prometheus reads them, over HTTP.
//!
//! [`text`] writes what the counts say, [`http`] serves it, in a thread of its own: whoever scrapes, and however slowly, the
//! trace only ever hands over a copy of its counts, at most once a second.

mod http;
mod process;
mod text;

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    thread,
};

use anyhow::{Context as _, Result};
use tokio::sync::{mpsc, oneshot};

use crate::{losses::Losses, statistics::Statistics, stderr};

/// The counts at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub statistics: Statistics,
    pub losses: Losses,
}

/// Who asks for the counts.
#[derive(Debug)]
pub struct Metrics {
    asks: mpsc::Receiver<Ask>,
}

/// Where to send a copy of the counts; nobody waits any more if that fails.
pub type Ask = oneshot::Sender<Snapshot>;

impl Metrics {
    /// Serves on this address from now on.
    ///
    /// # Errors
    /// If it cannot be listened on.
    pub fn serve(address: SocketAddr) -> Result<Self> {
        let listener = listen(address).with_context(|| {
            format!("cannot serve metrics on {address}: choose another address with --metrics")
        })?;
        let (asking, asks) = mpsc::channel(1);
        thread::Builder::new()
            .name("metrics".to_owned())
            .spawn(move || {
                if let Err(error) = http::serve(listener, asking) {
                    stderr::say(format_args!("no metrics are served any more: {error}"));
                }
            })
            .context("cannot start a thread for metrics")?;
        Ok(Self { asks })
    }

    /// The next who wants the counts. Cancel-safe.
    pub async fn asked(&mut self) -> Ask {
        match self.asks.recv().await {
            Some(ask) => ask,
            // The thread has ended, and has said why.
            None => std::future::pending().await,
        }
    }
}

/// All addresses of both families are those of IPv4 where there is no IPv6.
fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let listener = TcpListener::bind(address).or_else(|error| match address {
        SocketAddr::V6(v6) if v6.ip().is_unspecified() && error.kind() != std::io::ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, v6.port()))
        }
        _ => Err(error),
    })?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
