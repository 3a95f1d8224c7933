//! The last words of a trace.

use std::{sync::mpsc, thread, time::Duration};

use anyhow::Result;
use tokio::time::{self, Instant};

use super::{Trace, ends::Ends};
use crate::{event::KernelTime, stderr};

/// At the end of a trace: how long a reader may take nothing before it is taken to have stopped for good.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(5);

impl Trace {
    /// Tells what was counted, once what was printed before has been read, or will not be.
    pub(super) async fn summarize(&mut self, end: KernelTime, ends: &mut Ends) -> Result<()> {
        let begin = self.begin;
        let mut losses = self.losses()?;
        self.pipeline.end(end, &losses);
        self.sinks.last_line(begin, end, &losses)?;
        self.hand_over(ends).await;
        self.sinks.flush()?;
        let (unread, _) = self.sinks.printer().progress();
        losses.lines_not_written += unread;
        let text = self.sinks.text(begin, end, &losses);
        if unread == 0 {
            stderr::tell(&text)
        } else {
            say_or_leave(text)
        }
        Ok(())
    }

    /// Waits until all is read, as long as somebody reads; or until a second signal.
    async fn hand_over(&mut self, ends: &mut Ends) {
        let printer = self.sinks.printer();
        let (mut before, mut since) = (0, Instant::now());
        loop {
            let (unread, written) = printer.progress();
            if written > before {
                (before, since) = (written, Instant::now());
            }
            if unread == 0 || since.elapsed() >= PATIENCE {
                return;
            }
            tokio::select! {
                _ = ends.signal() => return,
                () = time::sleep(LOOK) => {}
            }
        }
    }
}

/// Says it on stderr. Whoever left stdout unread may read stderr, too: then not for ever.
fn say_or_leave(text: String) {
    let (done, said) = mpsc::channel();
    thread::spawn(move || {
        stderr::tell(&text);
        // Nobody waits any more: then nobody is told.
        _ = done.send(());
    });
    _ = said.recv_timeout(PATIENCE);
}
