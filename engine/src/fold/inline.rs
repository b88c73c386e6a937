//! How long a value of each store may be and still lie in its leaf.

use std::collections::BTreeMap;

use prost::Message;

use super::cursor::ViewCursor;
use super::dropped::{CATALOG, CATALOG_STORE, full_key, store_of};
use super::view::View;
use super::walk_direction::WalkDirection;
use crate::base::limits::VALUE_INLINE_LEN_DEFAULT;
use crate::base::{Datum, Error, Key, Op, Position, Result, StoreId};
use crate::coord::KeyRange;

/// The inline limits of stores, in bytes; those that are not named have the default.
#[derive(Clone, Debug, Default)]
pub struct InlineLimits(BTreeMap<StoreId, usize>);

impl InlineLimits {
    /// Sets the limit of a store.
    pub fn set(&mut self, store: StoreId, len_max: usize) {
        if len_max == VALUE_INLINE_LEN_DEFAULT {
            self.0.remove(&store);
        } else {
            self.0.insert(store, len_max);
        }
    }

    /// The limit for the value under a whole key.
    pub fn of(&self, full: &[u8]) -> usize {
        if self.0.is_empty() {
            return VALUE_INLINE_LEN_DEFAULT;
        }
        let found = store_of(full).and_then(|store| self.0.get(&store));
        found.copied().unwrap_or(VALUE_INLINE_LEN_DEFAULT)
    }
}

/// The part of a store's record in the catalog that writing a run needs.
#[derive(Clone, PartialEq, Message)]
struct StoreLimits {
    #[prost(uint32, tag = "1")]
    id: u32,
    #[prost(uint32, optional, tag = "5")]
    value_inline_len_max: Option<u32>,
}

/// The limits of the stores that there are at `at`.
pub(super) async fn inline_limits(view: &View, at: Position) -> Result<InlineLimits> {
    let prefix = Key::from_datums(&[Datum::Str(CATALOG_STORE.to_owned())])?;
    let range = KeyRange {
        from: full_key(CATALOG, prefix.as_bytes()),
        to: full_key(CATALOG, &prefix.prefix_end()),
    };
    let layers = &view.layers;
    let mut cursor =
        ViewCursor::open(Vec::new(), layers, at, &range, WalkDirection::Forward).await?;
    let mut limits = InlineLimits::default();
    while let Some((_, op)) = cursor.next().await? {
        let Op::Put(bytes) = op else {
            continue;
        };
        let broken = |_| Error::corrupt("the catalog", "a store's record cannot be read");
        let store = StoreLimits::decode(bytes).map_err(broken)?;
        if let Some(len_max) = store.value_inline_len_max {
            let len_max = usize::try_from(len_max).unwrap_or(usize::MAX);
            limits.set(StoreId(store.id), len_max);
        }
    }
    Ok(limits)
}
