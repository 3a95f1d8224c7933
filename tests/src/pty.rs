//! A program in a terminal of its own, and what a user would see there.

use std::{
    io::{Read as _, Write as _},
    num::NonZeroU16,
    process::{Child, ExitStatus},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::sys::termios::{LocalFlags, tcgetattr};
use pty_process::{
    Size,
    blocking::{Command, Pty, open},
};
use vt100::Parser;

/// A loaded machine may take that long to draw a screen.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);
/// Lines above the screen that are kept.
const SCROLLBACK: usize = 1_000;

/// The terminal. Dropped, its program is killed.
pub struct Terminal {
    child: Child,
    pty: Arc<Pty>,
    emulator: Arc<Mutex<Parser>>,
    reader: Option<JoinHandle<()>>,
}

impl Terminal {
    /// Runs a program in a terminal of so many columns and rows.
    pub fn start(command: Command, (columns, rows): (u16, u16)) -> Result<Self> {
        let (pty, pts) = open().context("cannot open a terminal")?;
        pty.resize(Size::new(rows, columns))?;
        let child = command.spawn(pts).context("cannot start the program")?;
        let pty = Arc::new(pty);
        let emulator = Parser::new(at_least_one(rows), at_least_one(columns), SCROLLBACK);
        let emulator = Arc::new(Mutex::new(emulator));
        let (from, to) = (Arc::clone(&pty), Arc::clone(&emulator));
        let reader = thread::spawn(move || {
            let mut bytes = [0; 4096];
            // It fails once nobody has the other end any more.
            while let Ok(length @ 1..) = (&*from).read(&mut bytes) {
                lock(&to).process(&bytes[..length]);
            }
        });
        Ok(Self { child, pty, emulator, reader: Some(reader) })
    }

    /// Types it.
    pub fn press(&self, keys: &str) -> Result<()> {
        Ok((&*self.pty).write_all(keys.as_bytes())?)
    }

    /// Changes the size of the window.
    pub fn resize(&self, columns: u16, rows: u16) -> Result<()> {
        let [of_rows, of_columns] = [rows, columns].map(at_least_one);
        lock(&self.emulator).screen_mut().set_size(of_rows, of_columns);
        Ok(self.pty.resize(Size::new(rows, columns))?)
    }

    /// The rows that are seen now, without the blanks at their ends.
    pub fn rows(&self) -> Vec<String> {
        let emulator = lock(&self.emulator);
        let (_, columns) = emulator.screen().size();
        emulator.screen().rows(0, columns.get()).map(|row| row.trim_end().to_owned()).collect()
    }

    /// Waits until the rows are as they should be.
    pub fn wait_for(&self, what: &str, is_so: impl Fn(&[String]) -> bool) -> Result<Vec<String>> {
        let started = Instant::now();
        loop {
            let rows = self.rows();
            if is_so(&rows) {
                return Ok(rows);
            }
            if started.elapsed() > PATIENCE {
                bail!("never {what}:\n{}", rows.join("\n"));
            }
            thread::sleep(LOOK);
        }
    }

    /// Whether a program has it to itself: the alternate screen, no cursor, every key at once and unseen.
    pub fn is_taken(&self) -> Result<[bool; 3]> {
        let is_raw = !self.local_flags()?.intersects(LocalFlags::ICANON | LocalFlags::ECHO);
        let emulator = lock(&self.emulator);
        Ok([emulator.screen().alternate_screen(), emulator.screen().hide_cursor(), is_raw])
    }

    fn local_flags(&self) -> Result<LocalFlags> {
        Ok(tcgetattr(&*self.pty).context("cannot ask the terminal for its mode")?.local_flags)
    }

    /// The program's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the program has ended by itself. What it left on the screen is seen then.
    pub fn ended(&mut self) -> Result<ExitStatus> {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                if let Some(reader) = self.reader.take() {
                    _ = reader.join();
                }
                return Ok(status);
            }
            thread::sleep(LOOK);
        }
        bail!("it does not end:\n{}", self.rows().join("\n"))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn at_least_one(cells: u16) -> NonZeroU16 {
    NonZeroU16::new(cells).unwrap_or(NonZeroU16::MIN)
}

fn lock(emulator: &Mutex<Parser>) -> MutexGuard<'_, Parser> {
    emulator.lock().unwrap_or_else(PoisonError::into_inner)
}
