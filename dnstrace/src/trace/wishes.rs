//! What somebody wants of a trace under way.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    metrics::{Ask, Metrics},
    top::Top,
};

/// Who may want something.
pub(super) struct Wishes {
    usr1: Signal,
    metrics: Option<Metrics>,
    /// Also wants to be shown how it goes on.
    pub top: Option<Top>,
}

/// What is wanted.
pub(super) enum Wish {
    /// The summary so far (SIGUSR1).
    Summary,
    /// The counts.
    Counts(Ask),
    /// The end (`q` in the terminal view).
    End,
}

impl Wishes {
    pub fn new(metrics: Option<Metrics>) -> io::Result<Self> {
        Ok(Self { usr1: signal(SignalKind::user_defined1())?, metrics, top: None })
    }

    /// The next wish. Cancel-safe.
    pub async fn next(&mut self) -> Wish {
        let (metrics, top) = (&mut self.metrics, &mut self.top);
        let asked = async {
            match metrics {
                Some(metrics) => metrics.asked().await,
                None => std::future::pending().await,
            }
        };
        let quit = async {
            match top {
                Some(top) => top.quit().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.usr1.recv() => Wish::Summary,
            ask = asked => Wish::Counts(ask),
            () = quit => Wish::End,
        }
    }
}
