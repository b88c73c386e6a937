//! A state of the database, for reading.

use std::sync::Arc;

use bytes::Bytes;

use super::context::Context;
use super::scan::{Scan, ScanRange};
use super::store::Store;
use crate::base::{Key, Position, Result};
use crate::commit::Turn;
use crate::fold::{Pinned, View};

/// A consistent state: everything in the slots up to a position, nothing of the later ones. Cheap to
/// clone. It stays readable while commits, folding and dropping go on.
#[derive(Clone)]
pub struct Snapshot {
    view: Arc<View>,
    at: Position,
    /// Keeps the database open.
    _context: Arc<Context>,
}

impl Snapshot {
    /// The state of this moment: everything whose commit has returned.
    pub fn new(context: &Arc<Context>) -> Snapshot {
        let (view, at) = context.view.snapshot();
        Snapshot {
            view,
            at,
            _context: Arc::clone(context),
        }
    }

    /// The state that a transaction in turn reads.
    pub(super) fn of_turn(context: &Arc<Context>, turn: &Turn) -> Snapshot {
        Snapshot {
            view: Arc::clone(turn.view()),
            at: turn.slot(),
            _context: Arc::clone(context),
        }
    }

    /// The newest slot it sees.
    pub fn position(&self) -> Position {
        self.at
    }

    /// The value under `key`; for a merged store its states.
    ///
    /// # Errors
    /// [`Error::Limit`](crate::base::Error::Limit) for a key too long;
    /// [`Error::Corrupt`](crate::base::Error::Corrupt) naming what is damaged; what the storage
    /// refuses.
    pub async fn get(&self, store: &Store, key: &Key) -> Result<Option<Bytes>> {
        self.get_full(&store.lookup_key(key)?).await
    }

    /// As [`Snapshot::get`], the value lent where it lies: nothing of it is copied, and while it is held its
    /// page stays in memory.
    ///
    /// # Errors
    /// As [`Snapshot::get`].
    #[inline]
    pub async fn get_pinned(&self, store: &Store, key: &Key) -> Result<Option<Pinned>> {
        self.view.find(&store.lookup_key(key)?, self.at).await
    }

    /// The records of a range, in order, read as they are asked for.
    pub fn scan(&self, store: &Store, range: &ScanRange) -> Scan {
        Scan::new(Arc::clone(&self.view), self.at, Vec::new(), store, range)
    }

    pub(crate) async fn get_full(&self, key: &[u8]) -> Result<Option<Bytes>> {
        Ok(self.view.find(key, self.at).await?.map(Pinned::into_bytes))
    }

    pub(crate) fn view(&self) -> &Arc<View> {
        &self.view
    }
}
