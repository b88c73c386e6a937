//! What this process announces of itself, which it knows also where it hears of nobody else.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::base::clock::Clock;
use crate::coord::Notes;

/// The notes of one process.
pub(super) struct OwnNotes {
    clock: Arc<dyn Clock>,
    notes: Mutex<Notes>,
}

impl OwnNotes {
    pub(super) fn new(clock: Arc<dyn Clock>) -> OwnNotes {
        OwnNotes {
            clock,
            notes: Mutex::default(),
        }
    }

    pub(super) fn put(&self, id: &str, note: Bytes, ms: u64) {
        let now = self.clock.monotonic_ns();
        self.notes.lock().put(id, note, now, ms);
    }

    /// These and others; what a process says of itself now is newer than what is remembered of it elsewhere.
    pub(super) fn among(&self, others: Vec<(String, Bytes)>) -> Vec<(String, Bytes)> {
        let mut all = BTreeMap::from_iter(others);
        all.extend(self.notes.lock().shown(self.clock.monotonic_ns()));
        all.into_iter().collect()
    }
}
