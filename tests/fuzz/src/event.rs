//! Records of the kernel's ring.

use dnstrace::event::{DropPlace, Event, Names, TableFull, WireError, decode};

/// A kernel that has a name for every number.
pub struct Numbered;

impl Names for Numbered {
    fn drop_place(&mut self, reason: u32, location: u64, frames: &[u64]) -> DropPlace {
        DropPlace {
            reason: (!reason.is_multiple_of(4)).then(|| format!("REASON_{reason}").into()),
            function: (location != 0).then(|| format!("f_{location:x}_{}", frames.len()).into()),
            hook: None,
        }
    }

    fn table_full(&mut self, netns: Option<u32>) -> TableFull {
        TableFull { count: netns.map(u64::from), max: Some(8) }
    }
}

/// What a record holds.
///
/// # Errors
/// If it is refused, as any but the kernel's own may be.
pub fn events(record: &[u8]) -> Result<Vec<Event>, WireError> {
    let mut events = Vec::new();
    let decoded = decode(record, &mut Numbered, &mut events);
    assert!(decoded.is_ok() || events.is_empty(), "refused, and yet {events:?}");
    decoded.map(|()| events)
}

/// See the table in the crate's documentation.
pub fn check(record: &[u8]) {
    let Ok(events) = events(record) else { return };
    // A segmented payload holds 128 messages at the most (UDP_MAX_SEGMENTS).
    assert!(events.len() <= 128, "{} events", events.len());
    for event in events {
        assert!(event.is_sound(), "{event:?}");
        let recorded = rmp_serde::to_vec_named(&event).expect("an event can be recorded");
        let read: Event = rmp_serde::from_slice(&recorded).expect("what was recorded can be read");
        assert_eq!(read, event);
    }
}
