//! A pipe that somebody writes while it is read: `tcpdump -U -w - | dnstrace -r -`.
//!
//! Time passes there although nothing comes, and Ctrl-C, which tcpdump gets as well, is to end in a summary. So the pipe is read by
//! a thread of its own, and who waits for it hears now and then that nothing has come.

use std::{
    io::{self, ErrorKind, Read},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use signal_hook::{consts::TERM_SIGNALS, flag};

/// How long is waited for more.
pub const TICK: Duration = Duration::from_millis(100);
/// How long the writer has, after a signal, to write what it still holds.
const GRACE: Duration = Duration::from_secs(1);
/// Read at a time, and how much of that may lie there unread: then the writer has to wait, as with any pipe.
const CHUNK: usize = 64 << 10;
const CHUNKS: usize = 16;

/// The reading end. Where nothing has come for a [`TICK`] it fails with [`ErrorKind::WouldBlock`]; it ends with the writer, or a
/// moment after a signal that asks this process to end.
#[derive(Debug)]
pub struct Pipe {
    chunks: Receiver<io::Result<Vec<u8>>>,
    /// What was received, and how much of it was read.
    chunk: Vec<u8>,
    read: usize,
    is_asked_to_end: Arc<AtomicBool>,
    /// When it ends whatever comes.
    deadline: Option<Instant>,
}

impl Pipe {
    /// Reads `bytes` from now on, and takes over the signals that ask this process to end; a second one does end it.
    ///
    /// # Errors
    /// If the signals cannot be taken over.
    pub fn new(bytes: impl Read + Send + 'static) -> io::Result<Self> {
        let is_asked_to_end = Arc::new(AtomicBool::new(false));
        for signal in TERM_SIGNALS {
            flag::register_conditional_default(*signal, is_asked_to_end.clone())?;
            flag::register(*signal, is_asked_to_end.clone())?;
        }
        let (sender, chunks) = sync_channel(CHUNKS);
        thread::spawn(move || pass_on(bytes, &sender));
        Ok(Self { chunks, chunk: Vec::new(), read: 0, is_asked_to_end, deadline: None })
    }

    /// Whether the pipe ends now for a signal, whatever its writer does.
    fn ends(&mut self) -> bool {
        if !self.is_asked_to_end.load(Ordering::Relaxed) {
            return false;
        }
        Instant::now() >= *self.deadline.get_or_insert_with(|| Instant::now() + GRACE)
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read >= self.chunk.len() {
            if self.ends() {
                return Ok(0);
            }
            (self.chunk, self.read) = (Vec::new(), 0);
            self.chunk = match self.chunks.recv_timeout(TICK) {
                Ok(chunk) => chunk?,
                Err(RecvTimeoutError::Timeout) => return Err(ErrorKind::WouldBlock.into()),
                Err(RecvTimeoutError::Disconnected) => return Ok(0),
            };
        }
        let read = self.chunk.get(self.read..).unwrap_or_default().read(buffer)?;
        self.read += read;
        Ok(read)
    }
}

/// Reads until the end, or until nobody listens any more.
fn pass_on(mut bytes: impl Read, to: &SyncSender<io::Result<Vec<u8>>>) {
    loop {
        let mut chunk = vec![0; CHUNK];
        let told = match bytes.read(&mut chunk) {
            Ok(0) => return,
            Ok(read) => {
                chunk.truncate(read);
                to.send(Ok(chunk))
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) => {
                // Nothing more is to be had; should nobody listen, it does not matter.
                _ = to.send(Err(error));
                return;
            }
        };
        if told.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, os::unix::net::UnixStream};

    use super::*;

    /// What is read next, however long a busy machine takes for it.
    fn next(pipe: &mut Pipe) -> Vec<u8> {
        let mut buffer = [0; 3];
        loop {
            match pipe.read(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return buffer[..read.unwrap()].to_vec(),
            }
        }
    }

    #[test]
    fn a_pipe_says_that_nothing_comes_and_loses_nothing() {
        let (mut writer, reader) = UnixStream::pair().unwrap();
        let mut pipe = Pipe::new(reader).unwrap();
        let would_block = |pipe: &mut Pipe| pipe.read(&mut [0]).unwrap_err().kind() == ErrorKind::WouldBlock;
        assert!(would_block(&mut pipe));
        writer.write_all(b"12345").unwrap();
        assert_eq!((next(&mut pipe), next(&mut pipe)), (b"123".to_vec(), b"45".to_vec()));
        assert!(would_block(&mut pipe) && would_block(&mut pipe));
        drop(writer);
        assert_eq!(next(&mut pipe), b"");
    }

    #[test]
    fn asked_to_end_it_ends_though_its_writer_does_not() {
        let (mut writer, reader) = UnixStream::pair().unwrap();
        let mut pipe = Pipe::new(reader).unwrap();
        writer.write_all(b"1").unwrap();
        assert_eq!(next(&mut pipe), b"1");
        pipe.is_asked_to_end.store(true, Ordering::Relaxed);
        assert_eq!(next(&mut pipe), b"");
    }
}
