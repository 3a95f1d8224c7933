//! Files of strangers: recordings, pcap and pcapng.

use std::io::Cursor;

use dnstrace::{
    identify::Wanted,
    lookup::Limits,
    output::escape,
    pcap::{Capture, Watch},
    pipeline::Pipeline,
    recording::{Reader, Told},
    replay,
    source::{
        Begin, Entries, Entry, Unreadable,
        file::{Input, Kind},
    },
};

use crate::shown::Shown;

/// See the table in the crate's documentation.
pub fn check(file: &[u8]) {
    if let Err(refusal) = read(file) {
        assert_eq!(refusal.name, "file");
        assert!(!refusal.why.is_empty());
    }
}

fn open(file: &[u8]) -> Result<Box<dyn Entries>, Unreadable> {
    let input = Input::of_bytes("file", Cursor::new(file.to_vec()))?;
    Ok(match input.kind {
        Kind::Recording => Box::new(Reader::new(input, Box::new(|| None))),
        Kind::Pcap | Kind::Pcapng => Box::new(Capture::open(input, Watch { ports: vec![53] })?),
    })
}

fn read(file: &[u8]) -> Result<(), Unreadable> {
    all_entries(open(file)?.as_mut())?;
    let mut entries = open(file)?;
    let Some(Entry::Begin(begin)) = entries.next()? else { panic!("it does not begin with a beginning") };
    play(entries.as_mut(), &begin);
    Ok(())
}

/// Reads it to its end.
fn all_entries(entries: &mut dyn Entries) -> Result<(), Unreadable> {
    let mut last = None;
    while let Some(entry) = entries.next()? {
        assert!(!matches!(last, Some(Entry::End(_))), "{entry:?} behind the end");
        if let Entry::Event(event) = &entry {
            assert!(event.is_sound(), "{event:?}");
        }
        last = Some(entry);
    }
    assert!(matches!(last, Some(Entry::End(_))), "{last:?} is no end");
    Ok(())
}

/// Tells it as `dnstrace -r` does.
fn play(entries: &mut dyn Entries, begin: &Begin) {
    let limits = Limits { timeout: begin.timeout.unwrap_or(Limits::default().timeout), ..Limits::default() };
    let wanted = Wanted::of(begin.scope());
    let mut pipeline = Pipeline::new(Told::default(), wanted, limits, begin.sight);
    let mut shown = Shown::default();
    let end = replay::play(entries, &mut pipeline, &mut |outputs| {
        shown.tell(&outputs);
        Ok(true)
    })
    .expect("it has been read before");
    shown.end(begin.time, end.time, &end.losses);
    assert!(end.notes.iter().all(|note| !escape(note).contains('\n')));
}
