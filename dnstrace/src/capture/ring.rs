//! The reader of the ring.

use std::io;

use aya::maps::{Map, MapData, RingBuf};
use tokio::io::unix::AsyncFd;

use crate::event::{Event, WireError, decode};

use super::{CaptureError, names::KernelNames};

/// Records taken from the ring at a time, before the caller gets its turn.
const BATCH: usize = 4096;

/// The user's end of the ring.
pub struct Ring {
    ring: AsyncFd<RingBuf<MapData>>,
    names: KernelNames,
    /// Records that this dnstrace could not decode, and the last reason.
    undecoded: (u64, Option<WireError>),
}

impl Ring {
    /// # Errors
    /// If `map` is no ring buffer or there is no tokio runtime to wait in.
    pub fn open(map: Map, names: KernelNames) -> Result<Self, CaptureError> {
        let ring = RingBuf::try_from(map).map_err(|error| CaptureError::Map { name: "EVENTS", error })?;
        // SAFETY: the ring owns its file descriptor and keeps it open as long as it lives.
        let ring = unsafe { AsyncFd::register(ring) }.map_err(|error| CaptureError::Ring(error.into()))?;
        Ok(Self { ring, names, undecoded: (0, None) })
    }

    /// Waits for records, then appends the events of those that are there, at most a batch. Returns whether there are no more.
    /// Cancel-safe: no record is taken before it is kept.
    ///
    /// # Errors
    /// If the ring cannot be waited for.
    pub async fn read(&mut self, events: &mut Vec<Event>) -> io::Result<bool> {
        let mut ready = self.ring.readable_mut().await?;
        let is_empty = take(ready.get_inner_mut(), &mut self.names, &mut self.undecoded, events) < BATCH;
        if is_empty {
            ready.clear_ready();
        }
        Ok(is_empty)
    }

    /// What is in the ring now, without waiting.
    pub fn drain(&mut self, events: &mut Vec<Event>) {
        while take(self.ring.get_mut(), &mut self.names, &mut self.undecoded, events) == BATCH {}
    }

    /// Records that could not be decoded so far, and the last reason: a fault of dnstrace itself.
    pub fn undecoded(&self) -> (u64, Option<&WireError>) {
        (self.undecoded.0, self.undecoded.1.as_ref())
    }
}

/// Takes up to a batch of records. Returns how many.
fn take(
    ring: &mut RingBuf<MapData>,
    names: &mut KernelNames,
    undecoded: &mut (u64, Option<WireError>),
    events: &mut Vec<Event>,
) -> usize {
    for taken in 0..BATCH {
        let Some(record) = ring.next() else { return taken };
        if let Err(error) = decode(&record, names, events) {
            undecoded.0 += 1;
            undecoded.1 = Some(error);
        }
    }
    BATCH
}
