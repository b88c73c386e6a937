//! Ordered scans over one store.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;

use super::store::Store;
use crate::base::limits::STORE_PREFIX_LEN;
use crate::base::{Error, Key, Op, Position, Result};
use crate::coord::KeyRange;
use crate::fold::{Presence, View, ViewCursor, WalkDirection, full_key};

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

    pub(super) fn direction(&self) -> WalkDirection {
        if self.reverse {
            WalkDirection::Reverse
        } else {
            WalkDirection::Forward
        }
    }
}

/// A scan in progress. It reads the state of the moment it was begun, however long it takes.
///
/// [`Scan::next`] gives records to keep. [`Scan::advance`] lends them, which is several times faster where
/// each is looked at once:
///
/// ```text
/// while scan.advance().await? {
///     use_it(scan.key(), scan.value());
/// }
/// ```
pub struct Scan {
    view: Arc<View>,
    at: Position,
    own: Vec<(Bytes, Op)>,
    range: KeyRange,
    direction: WalkDirection,
    left: u64,
    keys_only: bool,
    cursor: Option<ViewCursor>,
    /// The value here, where the cursor cannot lend it.
    held: Option<Bytes>,
    /// Set where the cursor has gone on to a value that has not been read yet.
    unread: bool,
    /// Set while a step goes far, and for good if that was given up on the way: the cursor went with it.
    moving: bool,
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
            held: None,
            unread: false,
            moving: false,
        }
    }

    /// The next record, copied; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Corrupt`] naming what is damaged; what the storage refuses.
    pub async fn next(&mut self) -> Result<Option<Record>> {
        if !self.advance().await? {
            return Ok(None);
        }
        let key = Key::from_encoded(Bytes::copy_from_slice(self.key()));
        let value = match self.held.take() {
            Some(value) => value,
            None => Bytes::copy_from_slice(self.value()),
        };
        Ok(Some(Record { key, value }))
    }

    /// Goes to the next record; false at the end. A new scan stands before the first.
    ///
    /// Yields only where a page or a value has to be read.
    ///
    /// # Errors
    /// As [`Scan::next`]; afterwards the scan stands nowhere. [`Error::Invalid`] where the future of an earlier
    /// step was dropped before it had ended: records may have been passed.
    #[inline]
    pub fn advance(&mut self) -> impl Future<Output = Result<bool>> + Send {
        Advance {
            scan: Some(self),
            far: None,
        }
    }

    /// As [`Scan::advance`] where the next record lies in the page that is at hand: no I/O and no yielding.
    /// On false nothing is known, and `advance` goes on.
    ///
    /// For callers that are not asynchronous, and for those to whom even a future that is ready at once is too much:
    ///
    /// ```text
    /// while scan.advance_in_memory() || scan.advance().await? {
    ///     use_it(scan.key(), scan.value());
    /// }
    /// ```
    #[inline]
    pub fn advance_in_memory(&mut self) -> bool {
        let Some(cursor) = &mut self.cursor else {
            return false;
        };
        // The one that was found last is still to be read.
        if self.left == 0 || self.unread {
            return false;
        }
        while let Some(presence) = cursor.advance_in_memory() {
            match presence {
                Presence::Deleted => {}
                Presence::Elsewhere if !self.keys_only => {
                    self.unread = true;
                    return false;
                }
                Presence::Elsewhere | Presence::InPlace => {
                    self.held = None;
                    self.left -= 1;
                    return true;
                }
            }
        }
        false
    }

    async fn advance_far(&mut self) -> Result<bool> {
        if std::mem::replace(&mut self.moving, true) {
            return Err(Error::Invalid(
                "a step of this scan was given up before it had ended; begin a new scan".to_owned(),
            ));
        }
        let moved = self.step_far().await;
        self.moving = false;
        if !matches!(moved, Ok(true)) {
            // After an error there may be records that the cursor has lost: there is no going on.
            self.left = 0;
            self.cursor = None;
        }
        moved
    }

    async fn step_far(&mut self) -> Result<bool> {
        self.held = None;
        if self.left == 0 || self.range.is_empty() {
            return Ok(false);
        }
        let (keys_only, unread) = (self.keys_only, std::mem::take(&mut self.unread));
        // Out of reach until it stands again: whoever gives the step up must not find it between two records.
        let mut cursor = match self.cursor.take() {
            Some(cursor) => cursor,
            None => self.open().await?,
        };
        let Some(held) = next_alive(&mut cursor, keys_only, unread).await? else {
            return Ok(false);
        };
        self.cursor = Some(cursor);
        self.held = held;
        self.left -= 1;
        Ok(true)
    }

    #[cold]
    async fn open(&mut self) -> Result<ViewCursor> {
        let own = std::mem::take(&mut self.own);
        let layers = &self.view.layers;
        ViewCursor::open(own, layers, self.at, &self.range, self.direction).await
    }

    /// The encoded key of the record here; [`Key::from_bytes`] takes it apart. Empty where the scan stands
    /// nowhere.
    #[inline]
    pub fn key(&self) -> &[u8] {
        let full = self.cursor.as_ref().map(ViewCursor::key);
        // Every key lies in the range of the store, which its number begins.
        full.and_then(|full| full.get(STORE_PREFIX_LEN..))
            .unwrap_or_default()
    }

    /// The value of the record here, as [`Record::value`]; empty where the scan stands nowhere.
    #[inline]
    pub fn value(&self) -> &[u8] {
        if self.keys_only {
            return &[];
        }
        match (&self.held, &self.cursor) {
            (Some(value), _) => value,
            (None, Some(cursor)) => cursor.value_in_place(),
            (None, None) => &[],
        }
    }
}

/// A step of a scan. Written by hand, since the mark by which a compiled one knows how far it has come, a byte that is
/// written, moved and read again at once, costs some nanoseconds of a step that takes twenty.
struct Advance<'s> {
    /// Taken where the step goes far.
    scan: Option<&'s mut Scan>,
    /// On the heap, so that what every step carries with it stays small.
    far: Option<BoxFuture<'s, Result<bool>>>,
}

impl Future for Advance<'_> {
    type Output = Result<bool>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<bool>> {
        let this = self.get_mut();
        if let Some(scan) = this.scan.take() {
            if scan.advance_in_memory() {
                return Poll::Ready(Ok(true));
            }
            this.far = Some(Box::pin(scan.advance_far()));
        }
        match &mut this.far {
            Some(far) => far.as_mut().poll(context),
            // Asked again after it was ready: a step is taken once.
            None => Poll::Pending,
        }
    }
}

/// Goes to the next record, or stays on the one that has been found and not read. `Some` if there is one, with
/// its value where that does not lie in place.
async fn next_alive(
    cursor: &mut ViewCursor,
    keys_only: bool,
    mut unread: bool,
) -> Result<Option<Option<Bytes>>> {
    while std::mem::take(&mut unread) || cursor.advance_alive().await? {
        if keys_only || cursor.presence() == Presence::InPlace {
            return Ok(Some(None));
        }
        if let Op::Put(value) | Op::Merge(value) = cursor.op().await? {
            return Ok(Some(Some(value)));
        }
    }
    Ok(None)
}
