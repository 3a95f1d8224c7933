//! The counts live, in the terminal.
//!
//! [`draw`] makes a screen of a [`View`], and is pure. [`terminal`] has the terminal to itself in a thread of its own: a
//! terminal that takes nothing more (a slow line, Ctrl-S) holds up that thread, never the trace.

mod draw;
mod newest;
mod rates;
mod terminal;
#[cfg(test)]
mod tests;

use std::{
    io::{self, IsTerminal as _},
    sync::mpsc::{SyncSender, sync_channel},
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, Result};
use tokio::sync::mpsc;

use crate::{
    args::usage::UsageError,
    event::KernelTime,
    losses::Losses,
    statistics::Statistics,
    stderr::{self, Held},
};

pub use newest::{Newest, Sick};
use rates::Rates;

/// The screen is drawn anew after so long, in nanoseconds.
const REFRESH: u64 = 500_000_000;

/// What is shown: the state of a trace at one moment.
#[derive(Clone, Debug)]
pub struct View {
    pub statistics: Statistics,
    pub losses: Losses,
    pub begin: KernelTime,
    pub now: KernelTime,
    /// Queries in each second, the newest last.
    pub per_second: Vec<u64>,
    /// The newest queries that did not go well, the newest first.
    pub newest: Vec<Sick>,
    /// What was said on stderr last, which is kept off the screen until the end; empty if nothing was.
    pub said: String,
}

/// The screen. Dropped, it gives the terminal back.
#[derive(Debug)]
pub struct Top {
    /// None once it is to end.
    views: Option<SyncSender<View>>,
    quit: mpsc::Receiver<()>,
    thread: Option<JoinHandle<()>>,
    rates: Rates,
    begin: KernelTime,
    /// When a view was last handed over.
    shown: KernelTime,
    /// Dropped last: what was said meanwhile is said when the terminal is as it was.
    held: Held,
}

impl Top {
    /// Takes the terminal.
    ///
    /// # Errors
    /// If stdout is none.
    pub fn start(begin: KernelTime) -> Result<Self> {
        if !io::stdout().is_terminal() {
            return Err(UsageError::NotATerminal.into());
        }
        let held = stderr::hold();
        let (views, shown) = sync_channel(1);
        let (quitting, quit) = mpsc::channel(1);
        let thread = thread::Builder::new()
            .name("top".to_owned())
            .spawn(move || terminal::run(&shown, &quitting))
            .context("cannot start a thread for the terminal")?;
        let rates = Rates::default();
        Ok(Self { views: Some(views), quit, thread: Some(thread), rates, begin, shown: KernelTime(0), held })
    }

    /// Waits until the user quits, or the terminal has gone. Cancel-safe.
    pub async fn quit(&mut self) {
        self.quit.recv().await;
    }

    /// Whether it is time for another view at `now`.
    pub fn is_due(&self, now: KernelTime) -> bool {
        now.since(self.shown) >= REFRESH
    }

    /// Shows what it came to; if the terminal has not taken the view before yet, the next one will tell.
    pub fn show(&mut self, statistics: &Statistics, losses: Losses, newest: &Newest, now: KernelTime) {
        self.shown = now;
        self.rates.note(now, statistics.counts().queries);
        let view = View {
            statistics: statistics.clone(),
            losses,
            begin: self.begin,
            now,
            per_second: self.rates.per_second(),
            newest: newest.all(),
            said: self.held.newest(),
        };
        if let Some(views) = &self.views {
            _ = views.try_send(view);
        }
    }
}

impl Drop for Top {
    fn drop(&mut self) {
        self.views = None;
        if let Some(thread) = self.thread.take() {
            // It has said itself what went wrong.
            _ = thread.join();
        }
    }
}
