//! Files that are none, or no longer.

use std::sync::OnceLock;

use super::*;
use crate::{
    event::SocketMessage,
    recording::format::{Line, encode},
};

/// Reads bytes as a recording to their end, or to where nothing can be made of them.
fn read(bytes: Vec<u8>) -> Result<Vec<Entry>, String> {
    let input = Input::of_bytes("hostile", Cursor::new(bytes)).map_err(|error| error.to_string())?;
    let mut reader = Reader::new(input, Box::new(|| None));
    let mut entries = Vec::new();
    while let Some(entry) = reader.next().map_err(|error| error.to_string())? {
        entries.push(entry);
    }
    Ok(entries)
}

fn recording() -> Vec<u8> {
    static RECORDING: OnceLock<Vec<u8>> = OnceLock::new();
    RECORDING.get_or_init(record).clone()
}

fn record() -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t.pcapng");
    trace(&traffic(6), &path, None);
    fs::read(path).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn random_bytes_are_refused(bytes in vec(any::<u8>(), 0..400)) {
        prop_assert!(read(bytes.clone()).is_err());
        // Behind a beginning that is right.
        let mut mixed = recording();
        mixed.truncate(600);
        mixed.extend(bytes);
        let _ = read(mixed);
    }

    /// Whatever is changed: it is refused or read, and what is read can be played.
    #[test]
    fn changed_bytes_do_no_harm(changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8), cut in any::<prop::sample::Index>()) {
        let mut bytes = recording();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        let Ok(input) = Input::of_bytes("hostile", Cursor::new(bytes)) else { return Ok(()) };
        let mut reader = Reader::new(input, Box::new(|| None));
        let Ok(Some(Entry::Begin(begin))) = reader.next() else { return Ok(()) };
        let limits = Limits { timeout: begin.timeout.unwrap_or(1), ..Limits::default() };
        let mut pipeline = Pipeline::new(Told::default(), Wanted::default(), limits, begin.sight);
        let (mut said, mut table) = (String::new(), table());
        let _ = replay::play(&mut reader, &mut pipeline, &mut |outputs| {
            words(&outputs, &mut table, &mut said);
            Ok(true)
        });
    }
}

#[test]
fn what_cannot_be_read_is_said() {
    let whole = recording();
    assert!(read(whole.clone()).is_ok_and(|entries| matches!(entries.last(), Some(Entry::End(_)))));
    // The layout's version stands behind the magic of the first block of dnstrace's.
    let mark = [&32_473u32.to_le_bytes()[..], b"dnst"].concat();
    let at = whole.windows(8).position(|bytes| bytes == mark).unwrap() + 4;
    let mut newer = whole.clone();
    newer[at + 4] = 9;
    assert!(read(newer).unwrap_err().contains("newer dnstrace (layout 9)"));
    let mut short = whole.clone();
    short[at + 10] = 9;
    assert!(read(short).unwrap_err().contains("shorter than it says"));
    let mut long = whole.clone();
    long[at - 8 + 3] = 9;
    let error = read(long).unwrap_err();
    assert!(error.contains("bytes") || error.contains("neither"), "{error}");
    assert_eq!(
        read(whole[..at + 40].to_vec()).unwrap_err(),
        "cannot read hostile: it ends before it has told anything"
    );
}

#[test]
fn a_payload_longer_than_its_message_is_refused() {
    let Event::Message(mut message) = events::message(1, 1, 1, false) else { panic!() };
    let file = |message: &SocketMessage| {
        let mut bytes = super::super::segment::Section::new(None, 0).header().unwrap();
        bytes.extend(encode(&Line::<Event>::Begin(Box::new(head()))).unwrap());
        bytes.extend(encode(&Line::Event(Event::Message(message.clone()))).unwrap());
        bytes
    };
    assert_eq!(read(file(&message)).unwrap().len(), 3);
    message.length -= 1;
    assert!(read(file(&message)).unwrap_err().contains("more bytes than there were"));
}
