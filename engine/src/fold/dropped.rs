//! Stores that have been dropped: their records vanish when a fold comes by.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::cursor::ViewCursor;
use super::view::View;
use super::walk_direction::WalkDirection;
use crate::base::limits::STORE_PREFIX_LEN;
use crate::base::{Datum, Key, Position, Result, StoreId};
use crate::coord::KeyRange;

/// The store that describes all stores.
pub const CATALOG: StoreId = StoreId(0);
/// First field of the catalog's keys that describe a store; the second is its name.
pub const CATALOG_STORE: &str = "store";
/// First field of the catalog's keys that say a store has been dropped; the second is its number.
pub const CATALOG_DROPPED: &str = "dropped";

/// The whole key of a record: the store's number, big-endian so that a store is one range, then the
/// key within the store.
pub fn full_key(store: StoreId, key: &[u8]) -> Bytes {
    let mut full = Vec::with_capacity(STORE_PREFIX_LEN + key.len());
    full.extend_from_slice(&store.0.to_be_bytes());
    full.extend_from_slice(key);
    full.into()
}

/// The store that a whole key belongs to.
pub fn store_of(full: &[u8]) -> Option<StoreId> {
    full.first_chunk::<STORE_PREFIX_LEN>()
        .map(|prefix| StoreId(u32::from_be_bytes(*prefix)))
}

/// What a fold leaves out because its store has been dropped.
pub(super) struct Gone {
    stores: BTreeSet<StoreId>,
    /// The range of the catalog that says which stores have been dropped.
    marks: KeyRange,
    with_marks: bool,
}

impl Gone {
    /// The stores that are gone at `at`. Numbers are never used twice, so they stay gone.
    pub(super) async fn at(view: &View, at: Position) -> Result<Gone> {
        let prefix = Key::from_datums(&[Datum::Str(CATALOG_DROPPED.to_owned())])?;
        let marks = KeyRange {
            from: full_key(CATALOG, prefix.as_bytes()),
            to: full_key(CATALOG, &prefix.prefix_end()),
        };
        let layers = &view.layers;
        let direction = WalkDirection::Forward;
        let mut cursor = ViewCursor::open(Vec::new(), layers, at, &marks, direction).await?;
        let mut stores = BTreeSet::new();
        while cursor.advance_alive().await? {
            let within = cursor.key().get(STORE_PREFIX_LEN..).unwrap_or_default();
            let key = Key::from_encoded(Bytes::copy_from_slice(within));
            if let [_, Datum::Int(id)] = key.datums()?[..] {
                stores.extend(u32::try_from(id).ok().map(StoreId));
            }
        }
        Ok(Gone {
            stores,
            marks,
            with_marks: false,
        })
    }

    /// The marks too: right where everything that was ever written to these stores is folded along. Nothing
    /// can be written to them afterwards, since whoever uses a store reads its record in the catalog.
    pub(super) fn with_marks(self) -> Gone {
        Gone {
            with_marks: true,
            ..self
        }
    }

    /// Whether the record under a whole key is left out.
    pub(super) fn has(&self, key: &[u8]) -> bool {
        match store_of(key) {
            Some(CATALOG) => self.with_marks && self.marks.contains(key),
            Some(store) => self.stores.contains(&store),
            None => false,
        }
    }
}
