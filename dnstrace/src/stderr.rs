//! What is said on stderr: the summary, how the trace fares, and what went wrong on the way.
//!
//! While the terminal view has the terminal, a line written over it would spoil it: then what is said is kept, shown in a line
//! of the view, and said when that has gone ([`hold`]). Nobody waits for a reader of stderr that has gone, nor fails for it.

use std::{
    collections::VecDeque,
    fmt::Display,
    io::{self, IsTerminal as _, Write as _},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Lines that are kept at the most; of more, the oldest go first.
const MOST: usize = 1_000;

/// What waits for the view to go; none if there is no view.
static KEPT: Mutex<Option<Kept>> = Mutex::new(None);

/// Says a line of dnstrace's own.
pub fn say(what: impl Display) {
    tell(&format!("dnstrace: {what}\n"));
}

/// Says these lines, each with its newline, in one piece.
pub fn tell(lines: &str) {
    if let Some(kept) = kept().as_mut() {
        return kept.add(lines);
    }
    write(lines);
}

/// Keeps what is said from now on until the guard is dropped, if stderr is a terminal; else nothing said there is in anybody's
/// way.
pub fn hold() -> Held {
    if io::stderr().is_terminal() {
        kept().get_or_insert_default();
    }
    Held(())
}

/// See [`hold`].
#[derive(Debug)]
pub struct Held(());

impl Held {
    /// What was said last, in a line without newline: of several lines said in one piece the first, and how many are kept in
    /// all. Empty if nothing was said.
    pub fn newest(&self) -> String {
        kept().as_ref().map(Kept::newest).unwrap_or_default()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Not within the lock: a terminal may take nothing (Ctrl-S).
        let kept = kept().take();
        if let Some(kept) = kept {
            write(&kept.text());
        }
    }
}

fn kept() -> MutexGuard<'static, Option<Kept>> {
    // What a thread that panicked has added is whole.
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write(lines: &str) {
    // There is nobody else to tell of an error.
    _ = io::stderr().lock().write_all(lines.as_bytes());
}

/// What was said and not written yet.
#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<String>,
    /// First of those that were said last.
    newest: String,
    /// Lines that there was no room for.
    dropped: u64,
}

impl Kept {
    fn add(&mut self, lines: &str) {
        if let Some(first) = lines.lines().next() {
            self.newest = first.to_owned();
        }
        for line in lines.lines() {
            if self.lines.len() >= MOST {
                self.lines.pop_front();
                self.dropped += 1;
            }
            self.lines.push_back(line.to_owned());
        }
    }

    fn newest(&self) -> String {
        match self.lines.len() {
            0 => String::new(),
            1 => format!("{} [said again at the end]", self.newest),
            lines => format!("{} [{lines} lines are said at the end]", self.newest),
        }
    }

    fn text(&self) -> String {
        let dropped = match self.dropped {
            0 => String::new(),
            dropped => {
                format!("dnstrace: {dropped} earlier lines are not here: only the last {MOST} are kept\n")
            }
        };
        self.lines.iter().fold(dropped, |text, line| text + line + "\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_kept_in_order_and_the_newest_is_shown_by_its_first_line() {
        let mut kept = Kept::default();
        assert_eq!((kept.newest(), kept.text()), Default::default());
        kept.add("dnstrace: one\n");
        assert_eq!(kept.newest(), "dnstrace: one [said again at the end]");
        kept.add("dnstrace: so far:\n2 queries\nnothing was lost\n");
        assert_eq!(kept.newest(), "dnstrace: so far: [4 lines are said at the end]");
        assert_eq!(kept.text(), "dnstrace: one\ndnstrace: so far:\n2 queries\nnothing was lost\n");
    }

    #[test]
    fn the_oldest_lines_make_room_and_are_counted() {
        let mut kept = Kept::default();
        (0..MOST + 7).for_each(|number| kept.add(&format!("line {number}\n")));
        let text = kept.text();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), MOST + 1);
        assert_eq!(lines[0], "dnstrace: 7 earlier lines are not here: only the last 1000 are kept");
        assert_eq!((lines[1], *lines.last().unwrap()), ("line 7", "line 1006"));
    }
}
