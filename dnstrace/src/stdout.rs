//! Stdout, written by a thread of its own, so that a reader who stops reading does not stop the trace.
//!
//! Texts (a line, or lines that belong together) wait in a queue that is bounded by their bytes. Where there is no room,
//! the caller waits, or is told so and drops the text: never part of one.

use std::{
    collections::VecDeque,
    io::{self, Write as _},
    mem,
    os::fd::AsFd,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd,
};

/// Bytes that are written at a time: what a pipe holds.
const CHUNK: usize = 64 << 10;

/// What becomes of a text that there is no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// The caller waits for room: right where nothing is missed meanwhile.
    Wait,
    /// It is refused, and so is all that follows, until half of the room is free again: losses come in stretches then, not
    /// line by line.
    Refuse,
}

/// The caller's end.
#[derive(Debug)]
pub struct Stdout {
    shared: Arc<Shared>,
    capacity: usize,
    when_full: WhenFull,
}

/// What both threads know.
#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// There is something to write.
    work: Condvar,
    /// Something was written, or never will be.
    progress: Condvar,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Box<str>>,
    /// Bytes of `queue` and of the chunk that is being written.
    bytes: usize,
    /// Texts of both that have not been written to their end.
    texts: u64,
    /// Bytes that were ever written.
    written: u64,
    /// What is queued is to be written now; else it may wait for more.
    hurry: bool,
    /// There was no room.
    full: bool,
    end: End,
}

/// Whether writing has an end.
#[derive(Debug, Default)]
enum End {
    #[default]
    None,
    /// The caller is gone: what is queued is still written.
    NoMore,
    /// The reader is gone.
    Closed,
    Failed(io::Error),
}

impl Stdout {
    /// Starts the thread that writes to `file`, with room for so many bytes.
    ///
    /// # Errors
    /// If there can be no thread.
    pub fn start(file: impl AsFd + Send + 'static, capacity: usize, when_full: WhenFull) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let writer = Arc::clone(&shared);
        thread::Builder::new().name("stdout".to_owned()).spawn(move || writer.run(&file))?;
        Ok(Self { shared, capacity, when_full })
    }

    /// Queues a text. False if there was no room for it.
    pub fn push(&self, text: String) -> bool {
        let mut state = self.shared.lock();
        while !self.has_room(&mut state, text.len()) {
            if self.when_full == WhenFull::Refuse {
                return false;
            }
            state.hurry = true;
            self.shared.work.notify_one();
            state = wait(&self.shared.progress, state);
        }
        self.shared.queue(state, text);
        true
    }

    /// Queues a text whether there is room for it or not: one of the few at the end.
    pub fn push_anyway(&self, text: String) {
        self.shared.queue(self.shared.lock(), text);
    }

    /// Whether a text would be refused now.
    pub fn is_full(&self) -> bool {
        self.when_full == WhenFull::Refuse && !self.has_room(&mut self.shared.lock(), 0)
    }

    /// Has what is queued written now.
    ///
    /// # Errors
    /// If writing has failed; told once.
    pub fn flush(&self) -> io::Result<()> {
        let mut state = self.shared.lock();
        state.hurry = true;
        self.shared.work.notify_one();
        match mem::take(&mut state.end) {
            End::Failed(error) => {
                state.end = End::Closed;
                Err(error)
            }
            other => {
                state.end = other;
                Ok(())
            }
        }
    }

    /// Whether nobody reads any more.
    pub fn is_closed(&self) -> bool {
        matches!(self.shared.lock().end, End::Closed)
    }

    /// Texts that are still to be written, and how many bytes have been so far.
    pub fn progress(&self) -> (u64, u64) {
        let state = self.shared.lock();
        (state.texts, state.written)
    }

    /// Waits until all is written, or `patience` has passed without a byte. Returns how many texts are not.
    pub fn drain(&self, patience: Option<Duration>) -> u64 {
        let mut state = self.shared.lock();
        state.hurry = true;
        self.shared.work.notify_one();
        while state.texts > 0 {
            let before = state.written;
            state = match patience {
                None => wait(&self.shared.progress, state),
                Some(patience) => {
                    let waited = self.shared.progress.wait_timeout(state, patience);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
            if patience.is_some() && state.written == before {
                break;
            }
        }
        state.texts
    }

    fn has_room(&self, state: &mut State, bytes: usize) -> bool {
        // When there is nobody to write to there is nothing to wait for.
        if matches!(state.end, End::Closed | End::Failed(_)) {
            return true;
        }
        if state.full && state.bytes <= self.capacity / 2 {
            state.full = false;
        }
        // The largest text has room in an empty queue, however small that is.
        if self.when_full == WhenFull::Wait {
            return state.bytes == 0 || state.bytes + bytes <= self.capacity;
        }
        if state.bytes > 0 && state.bytes + bytes > self.capacity {
            state.full = true;
        }
        !state.full
    }
}

impl Drop for Stdout {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if matches!(state.end, End::None) {
            state.end = End::NoMore;
        }
        self.shared.work.notify_one();
    }
}

impl Shared {
    /// A panic while it was held leaves nothing half done.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self, mut state: MutexGuard<'_, State>, text: String) {
        if matches!(state.end, End::Closed | End::Failed(_)) {
            return;
        }
        state.bytes += text.len();
        state.texts += 1;
        // What it was written into may have grown to twice its size.
        state.queue.push_back(text.into_boxed_str());
        if state.bytes >= CHUNK {
            self.work.notify_one();
        }
    }

    /// The thread: writes until there is nothing more to come, or nobody to write to.
    fn run(&self, file: &impl AsFd) {
        let mut chunk = Vec::new();
        // Where each of its texts ends.
        let mut ends = VecDeque::new();
        while self.take(&mut chunk, &mut ends) {
            if let Err(error) = self.write(file, &chunk, &mut ends) {
                self.give_up(error);
                return;
            }
        }
    }

    /// Waits for texts and takes a chunk of them. False if there will be none.
    fn take(&self, chunk: &mut Vec<u8>, ends: &mut VecDeque<usize>) -> bool {
        chunk.clear();
        let mut state = self.lock();
        loop {
            let ended = !matches!(state.end, End::None);
            if state.queue.is_empty() {
                if ended {
                    return false;
                }
                state.hurry = false;
            } else if ended || state.hurry || state.bytes >= CHUNK {
                break;
            }
            state = wait(&self.work, state);
        }
        while chunk.len() < CHUNK
            && let Some(text) = state.queue.pop_front()
        {
            chunk.extend_from_slice(text.as_bytes());
            ends.push_back(chunk.len());
        }
        true
    }

    fn write(&self, file: &impl AsFd, chunk: &[u8], ends: &mut VecDeque<usize>) -> io::Result<()> {
        let mut rest = chunk;
        while !rest.is_empty() {
            let count = match unistd::write(file, rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => count,
                Err(Errno::EINTR) => continue,
                // Whoever shares the file has made it non-blocking.
                Err(Errno::EAGAIN) => {
                    wait_until_writable(file)?;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            rest = rest.get(count..).unwrap_or_default();
            let done = chunk.len() - rest.len();
            let mut state = self.lock();
            state.bytes = state.bytes.saturating_sub(count);
            state.written = state.written.saturating_add(count as u64);
            while ends.front().is_some_and(|end| *end <= done) {
                ends.pop_front();
                state.texts = state.texts.saturating_sub(1);
            }
            self.progress.notify_all();
        }
        Ok(())
    }

    /// A closed pipe is an ending, no error: `dnstrace | head`.
    fn give_up(&self, error: io::Error) {
        let mut state = self.lock();
        let closed = error.kind() == io::ErrorKind::BrokenPipe;
        let end = if closed { End::Closed } else { End::Failed(error) };
        // Nobody misses what nobody wants to read.
        *state = State { end, written: state.written, ..State::default() };
        self.progress.notify_all();
    }
}

fn wait<'a>(condvar: &Condvar, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
    condvar.wait(state).unwrap_or_else(PoisonError::into_inner)
}

fn wait_until_writable(file: &impl AsFd) -> io::Result<()> {
    let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLOUT)];
    match poll(&mut fds, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Writes a text that is all there is to say; a reader who has gone has seen enough.
///
/// # Errors
/// If stdout cannot be written.
pub fn say_all(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to stdout"),
    }
}

#[cfg(test)]
mod tests;
