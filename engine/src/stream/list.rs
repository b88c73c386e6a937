//! Which keys of a store have a stream.

use super::walk::broken;
use crate::base::{Error, Key, Result};
use crate::coord::KeyRange;
use bytes::Bytes;

use crate::fold::{ViewCursor, WalkDirection};
use crate::txn::{Snapshot, Store, StreamPart, StreamPlace};

/// The keys of a store under which there is a stream, in order, read as they are asked for.
pub struct StreamKeys {
    snapshot: Snapshot,
    range: KeyRange,
}

impl Snapshot {
    /// The keys of `store` under which there is a stream, with or without a record.
    pub fn streams(&self, store: &Store) -> StreamKeys {
        StreamKeys {
            snapshot: self.clone(),
            range: StreamPlace::all_of(store.id()),
        }
    }
}

impl StreamKeys {
    /// The next key; `None` at the end. No bytes of streams are read.
    ///
    /// # Errors
    /// [`Error::Corrupt`] naming what is damaged; what the storage refuses.
    pub async fn next(&mut self) -> Result<Option<Key>> {
        let (layers, at) = (&self.snapshot.view().layers, self.snapshot.position());
        let own = Vec::new();
        let direction = WalkDirection::Forward;
        let mut cursor = ViewCursor::open(own, layers, at, &self.range, direction).await?;
        if !cursor.advance_alive().await? {
            return Ok(None);
        }
        let full = Bytes::copy_from_slice(cursor.key());
        let Some((place, part)) = StreamPlace::parse(&full) else {
            let object = format!("key {}", full.escape_ascii());
            return Err(Error::corrupt(
                object,
                "it lies among streams and is no part of one",
            ));
        };
        if part != StreamPart::Head {
            return Err(broken(&place, "it has no head"));
        }
        self.range.from = place.end();
        Ok(Some(place.key()))
    }
}
