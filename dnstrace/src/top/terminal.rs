//! The terminal: draws what comes, and listens to the keys.

use std::{
    fs::File,
    io,
    os::fd::AsFd as _,
    panic,
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::Duration,
};

use ratatui::{
    Terminal, TerminalOptions, Viewport,
    backend::CrosstermBackend,
    crossterm::{
        cursor::{Hide, Show},
        event::{self, Event, KeyCode, KeyEventKind, KeyModifiers},
        execute,
        terminal::{
            Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
            size,
        },
    },
    layout::Rect,
};
use tokio::sync::mpsc::Sender;

use super::{View, draw::draw};
use crate::stderr;

/// How long a key may wait.
const TICK: Duration = Duration::from_millis(50);

/// What a key is for.
enum Key {
    Quit,
    Redraw,
    Nothing,
}

/// The terminal as it is while it is ours. Dropped, it is as it was.
struct Screen(File);

impl Screen {
    fn take() -> io::Result<Self> {
        // Not by `io::stdout()`: the printer holds its lock.
        let mut screen = Self(stdout()?);
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            // What a panic has to say would be gone with the alternate screen.
            if let Ok(mut file) = stdout() {
                give_back(&mut file);
            }
            before(info);
        }));
        enable_raw_mode()?;
        execute!(screen.0, EnterAlternateScreen, Hide)?;
        Ok(screen)
    }
}

impl Screen {
    /// The empty screen, in its size of now. Made anew for each size: what ratatui does of its own at another size asks the
    /// terminal where the cursor is, and fails if that does not answer (seen in one that cannot).
    fn cleared(&self) -> io::Result<Terminal<CrosstermBackend<File>>> {
        let mut file = self.0.try_clone()?;
        execute!(file, Clear(ClearType::All))?;
        let (columns, rows) = size()?;
        let viewport = Viewport::Fixed(Rect::new(0, 0, columns, rows));
        Terminal::with_options(CrosstermBackend::new(file), TerminalOptions { viewport })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back(&mut self.0);
    }
}

fn stdout() -> io::Result<File> {
    Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?))
}

/// There is nobody left to tell of an error.
fn give_back(file: &mut File) {
    _ = disable_raw_mode();
    _ = execute!(file, LeaveAlternateScreen, Show);
}

/// Draws until nobody sends any more, then gives the terminal back.
pub(super) fn run(views: &Receiver<View>, quit: &Sender<()>) {
    let shown = Screen::take().and_then(|screen| show(&screen, views, quit));
    if let Err(error) = shown {
        stderr::say(format_args!("the terminal fails: {error}"));
    }
}

fn show(screen: &Screen, views: &Receiver<View>, quit: &Sender<()>) -> io::Result<()> {
    let mut terminal = screen.cleared()?;
    let mut last = None;
    loop {
        match views.recv_timeout(TICK) {
            Ok(view) => {
                terminal.draw(|frame| draw(frame, &view))?;
                last = Some(view);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        while event::poll(Duration::ZERO)? {
            match meaning(&event::read()?) {
                // Full: it has been told.
                Key::Quit => _ = quit.try_send(()),
                Key::Redraw => {
                    terminal = screen.cleared()?;
                    if let Some(view) = &last {
                        terminal.draw(|frame| draw(frame, view))?;
                    }
                }
                Key::Nothing => {}
            }
        }
    }
}

/// `q` and Ctrl-C quit; Ctrl-L and another size draw all anew.
fn meaning(event: &Event) -> Key {
    match event {
        Event::Resize(..) => Key::Redraw,
        Event::Key(key) if key.kind == KeyEventKind::Press => {
            let control = key.modifiers.contains(KeyModifiers::CONTROL);
            match (key.code, control) {
                (KeyCode::Char('q'), false) | (KeyCode::Char('c'), true) => Key::Quit,
                (KeyCode::Char('l'), true) => Key::Redraw,
                _ => Key::Nothing,
            }
        }
        _ => Key::Nothing,
    }
}
