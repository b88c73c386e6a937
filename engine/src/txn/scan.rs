//! Ordered scans over one store.

use std::sync::Arc;

use bytes::Bytes;

use super::store::Store;
use crate::base::limits::STORE_PREFIX_LEN;
use crate::base::{Error, Key, Op, Position, Result};
use crate::coord::KeyRange;
use crate::fold::{Direction, View, ViewCursor, full_key};

/// Which records a scan returns, in key order.
#[derive(Clone, Debug, Default)]
pub struct ScanRange {
    /// The first key, included; `None`: from the beginning.
    pub from: Option<Key>,
    /// The end, excluded; `None`: to the end.
    pub to: Option<Key>,
    /// Only keys whose first fields are exactly these.
    pub prefix: Option<Key>,
    /// From the end to the beginning.
    pub reverse: bool,
    /// At most so many records.
    pub limit: Option<u64>,
    /// No values: none is read, the ones that lie apart not even from the medium.
    pub keys_only: bool,
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its key.
    pub key: Key,
    /// Its value; for a merged store its states, which [`crate::merge::read`] turns into values; empty
    /// in a keys-only scan.
    pub value: Bytes,
}

impl ScanRange {
    /// Everything.
    pub fn all() -> ScanRange {
        ScanRange::default()
    }

    /// Every key that begins with these fields.
    pub fn prefix(prefix: Key) -> ScanRange {
        ScanRange {
            prefix: Some(prefix),
            ..ScanRange::default()
        }
    }

    pub(super) fn key_range(&self, store: &Store) -> KeyRange {
        let mut range = store.range();
        let full = |key: &[u8]| full_key(store.id(), key);
        if let Some(prefix) = &self.prefix {
            range.from = full(prefix.as_bytes());
            range.to = range.to.min(full(&prefix.prefix_end()));
        }
        if let Some(from) = &self.from {
            range.from = range.from.max(full(from.as_bytes()));
        }
        if let Some(to) = &self.to {
            range.to = range.to.min(full(to.as_bytes()));
        }
        range
    }

    pub(super) fn direction(&self) -> Direction {
        if self.reverse {
            Direction::Reverse
        } else {
            Direction::Forward
        }
    }
}

/// A scan in progress. It reads the state of the moment it was begun, however long it takes.
pub struct Scan {
    view: Arc<View>,
    at: Position,
    own: Vec<(Bytes, Op)>,
    range: KeyRange,
    direction: Direction,
    left: u64,
    keys_only: bool,
    cursor: Option<ViewCursor>,
}

impl Scan {
    pub(super) fn new(
        view: Arc<View>,
        at: Position,
        own: Vec<(Bytes, Op)>,
        store: &Store,
        range: &ScanRange,
    ) -> Scan {
        Scan {
            view,
            at,
            own,
            range: range.key_range(store),
            direction: range.direction(),
            left: range.limit.unwrap_or(u64::MAX),
            keys_only: range.keys_only,
            cursor: None,
        }
    }

    /// The next record; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Corrupt`] naming what is damaged; what the storage refuses.
    pub async fn next(&mut self) -> Result<Option<Record>> {
        if self.left == 0 || self.range.is_empty() {
            return Ok(None);
        }
        if self.cursor.is_none() {
            let own = std::mem::take(&mut self.own);
            let layers = &self.view.layers;
            let opened = ViewCursor::open(own, layers, self.at, &self.range, self.direction);
            self.cursor = Some(opened.await?);
        }
        let Some(cursor) = &mut self.cursor else {
            return Ok(None);
        };
        let found = if self.keys_only {
            cursor.next_key().await?.map(|key| (key, Bytes::new()))
        } else {
            next_alive(cursor).await?
        };
        let Some((full, value)) = found else {
            return Ok(None);
        };
        self.left -= 1;
        Ok(Some(Record {
            key: key_within(&full)?,
            value,
        }))
    }
}

async fn next_alive(cursor: &mut ViewCursor) -> Result<Option<(Bytes, Bytes)>> {
    while let Some((key, op)) = cursor.next().await? {
        if let Op::Put(value) | Op::Merge(value) = op {
            return Ok(Some((key, value)));
        }
    }
    Ok(None)
}

fn key_within(full: &Bytes) -> Result<Key> {
    if full.len() < STORE_PREFIX_LEN {
        return Err(Error::corrupt(
            "a run",
            "a key is too short to belong to a store",
        ));
    }
    Ok(Key::from_encoded(full.slice(STORE_PREFIX_LEN..)))
}
