//! The lines of runs that are under way at the same time: each behind the mark of its run, none of them torn, and those
//! that say FAILED kept for the summary.

use std::{
    fmt,
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

use super::tally::Tally;
use crate::process::say_lines;

/// A line that is longer than this comes in pieces.
const LONGEST: usize = 1 << 20;
/// So many failures of one run are kept; a run in which all fails tells no more with the rest.
const MOST_FAILURES: usize = 100;

/// What every line of a run begins with. Nothing, where it runs alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mark(String);

impl Mark {
    /// The label, as wide as the widest.
    pub fn new(label: &str, width: usize) -> Self {
        Self(format!("{label:width$} | "))
    }

    /// As [`crate::process::say`], in the name of the run.
    pub fn say(&self, what: impl fmt::Display) {
        say_lines(&self.0, what);
    }
}

/// What the lines of a test program told.
#[derive(Debug, Clone, Default)]
pub struct Heard(Arc<Mutex<Told>>);

#[derive(Debug, Default)]
struct Told {
    failures: Vec<String>,
    last: String,
}

impl Heard {
    /// Hears the next line.
    pub fn line(&self, line: &str) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if is_failure(line) && told.failures.len() < MOST_FAILURES {
            told.failures.push(line.trim().to_owned());
        }
        if !line.trim().is_empty() {
            line.clone_into(&mut told.last);
        }
    }

    /// The lines that say that something failed.
    pub fn failures(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).failures.clone()
    }

    /// The verdict, if the last line is one.
    pub fn verdict(&self) -> Option<Tally> {
        Tally::verdict(&self.0.lock().unwrap_or_else(PoisonError::into_inner).last)
    }

    /// Forgets all.
    pub fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Told::default();
    }
}

/// Whether a test program says by this line that a test failed: `   1.23 s  FAILED  name: why` (the suite),
/// `FAILED  why` (the race), `test name ... FAILED` (cargo).
fn is_failure(line: &str) -> bool {
    let of_cargo = line.starts_with("test ") && line.trim_end().ends_with(" ... FAILED");
    let line = line.trim_start();
    let timeless = line.split_once(" s  ").filter(|(seconds, _)| seconds.parse::<f64>().is_ok());
    let line = timeless.map_or(line, |(_, rest)| rest);
    of_cargo || line.starts_with("FAILED  ")
}

/// Passes whole lines on, each behind a mark, and lets `heard` hear them. What is no whole line at the end becomes one.
pub struct Marked<W: Write> {
    mark: Mark,
    to: W,
    heard: Heard,
    begun: Vec<u8>,
}

impl<W: Write> Marked<W> {
    pub fn new(mark: &Mark, to: W, heard: &Heard) -> Self {
        Self { mark: mark.clone(), to, heard: heard.clone(), begun: Vec::new() }
    }

    /// Passes on what has begun up to its byte `end`, a whole number of lines.
    fn pass(&mut self, end: usize) -> io::Result<()> {
        let mut marked = Vec::new();
        for line in self.begun[..end].split_inclusive(|&byte| byte == b'\n') {
            marked.extend_from_slice(self.mark.0.as_bytes());
            marked.extend_from_slice(line);
            self.heard.line(String::from_utf8_lossy(line).trim_end_matches(['\r', '\n']));
        }
        if !marked.ends_with(b"\n") {
            marked.push(b'\n');
        }
        self.begun.drain(..end);
        // Whatever is written to standard output or error holds this lock: lines of one do not tear those of the other
        // where both go to one file.
        let _whole = io::stdout().lock();
        self.to.write_all(&marked)?;
        self.to.flush()
    }
}

impl<W: Write> Write for Marked<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.begun.extend_from_slice(bytes);
        match self.begun.iter().rposition(|&byte| byte == b'\n') {
            Some(newline) => self.pass(newline + 1)?,
            None if self.begun.len() >= LONGEST => self.pass(self.begun.len())?,
            None => {}
        }
        Ok(bytes.len())
    }

    /// A line that has only begun waits for its end.
    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

impl<W: Write> Drop for Marked<W> {
    fn drop(&mut self) {
        if !self.begun.is_empty() {
            // Who does not read any more misses the last line, too.
            let _ = self.pass(self.begun.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What two runs leave in one place after these pieces of output.
    fn mixed(pieces: &[(usize, &str)]) -> String {
        #[derive(Clone, Default)]
        struct Place(Arc<Mutex<Vec<u8>>>);
        impl Write for Place {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().write(bytes)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let place = Place::default();
        let of = |label| Marked::new(&Mark::new(label, 6), place.clone(), &Heard::default());
        let mut runs = [of("6.12"), of("6.1 v1")];
        for (run, piece) in pieces {
            runs[*run].write_all(piece.as_bytes()).unwrap();
            runs[*run].flush().unwrap();
        }
        drop(runs);
        String::from_utf8(place.0.lock().unwrap().clone()).unwrap()
    }

    fn heard(output: &str) -> Heard {
        let heard = Heard::default();
        let mut marked = Marked::new(&Mark::new("6.12", 4), io::sink(), &heard);
        // As a pipe may cut it.
        output.as_bytes().chunks(3).for_each(|piece| marked.write_all(piece).unwrap());
        drop(marked);
        heard
    }

    #[test]
    fn every_line_is_whole_and_has_its_mark() {
        let pieces = [(0, "one\ntw"), (1, "eins\nzwei\ndr"), (0, "o\n"), (1, "ei\n"), (0, "\nend")];
        let expected = "\
6.12   | one
6.1 v1 | eins
6.1 v1 | zwei
6.12   | two
6.1 v1 | drei
6.12   | 
6.12   | end
";
        assert_eq!(mixed(&pieces), expected);
    }

    #[test]
    fn run_alone_has_no_mark() {
        let mut output = Vec::new();
        Marked::new(&Mark::default(), &mut output, &Heard::default()).write_all(b"one\ntwo\n").unwrap();
        assert_eq!(output, b"one\ntwo\n");
    }

    #[test]
    fn line_without_end_does_not_grow_for_ever() {
        let mut output = Vec::new();
        let mut marked = Marked::new(&Mark::new("x", 1), &mut output, &Heard::default());
        marked.write_all(&vec![b'a'; LONGEST]).unwrap();
        assert_eq!(marked.begun, b"");
        drop(marked);
        assert_eq!(output.len(), "x | ".len() + LONGEST + 1);
    }

    #[test]
    fn failures_and_the_verdict_are_heard() {
        let output = "   1.00 s  ok      FAILED  is a word\n  12.34 s  FAILED  fates: no drop\n\nCaused by:\n    \
                      FAILED to connect\n1 passed, 1 failed\n\n";
        let heard = heard(output);
        assert_eq!(heard.failures(), ["12.34 s  FAILED  fates: no drop"]);
        assert_eq!(heard.verdict(), Some(Tally { passed: 1, failed: 1 }));
        heard.clear();
        assert_eq!((heard.failures().len(), heard.verdict()), (0, None));
    }

    #[test]
    fn output_cut_short_has_failures_and_no_verdict() {
        let heard = heard("FAILED  8 of 9, round 2: gone\n12 passed, 0 failed\nand then");
        assert_eq!(heard.failures(), ["FAILED  8 of 9, round 2: gone"]);
        assert_eq!(heard.verdict(), None);
    }

    #[test]
    fn failures_of_cargo() {
        assert!(is_failure("test lookup::tests::retry ... FAILED"));
        assert!(!is_failure("test lookup::tests::retry ... ok"));
        assert!(!is_failure("test result: FAILED. 31 passed; 1 failed"));
    }

    #[test]
    fn failures_are_bounded() {
        assert_eq!(heard(&"FAILED  x\n".repeat(MOST_FAILURES + 5)).failures().len(), MOST_FAILURES);
    }
}
