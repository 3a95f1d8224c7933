//! What ends a trace from outside.

use std::io;

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{self, Instant},
};

use crate::{args::Args, output::EndReason};

/// The signals and the time that end a trace.
pub(super) struct Ends {
    interrupt: Signal,
    terminate: Signal,
    deadline: Option<Instant>,
}

impl Ends {
    pub fn new(args: &Args) -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            deadline: args.duration.map(|duration| Instant::now() + duration),
        })
    }

    /// What ends the trace, once it does. Cancel-safe.
    pub async fn wait(&mut self) -> EndReason {
        let deadline = self.deadline;
        let at_deadline = async {
            match deadline {
                Some(deadline) => time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            reason = self.signal() => reason,
            () = at_deadline => EndReason::Duration,
        }
    }

    /// The next signal that ends it. Cancel-safe.
    pub async fn signal(&mut self) -> EndReason {
        tokio::select! {
            _ = self.interrupt.recv() => EndReason::Interrupted,
            _ = self.terminate.recv() => EndReason::Terminated,
        }
    }
}
