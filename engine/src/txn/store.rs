//! A store: one of the B-trees of a database.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::base::key::ABOVE_ALL;
use crate::base::limits::{KEY_LEN_MAX, VALUE_INLINE_LEN_DEFAULT};
use crate::base::{Direction, Error, Key, Result, StoreId};
use crate::coord::KeyRange;
use crate::fold::full_key;
use crate::merge::Column;

/// How the values of a store are encoded. The engine stores bytes; this is for everyone who reads them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// JSON text.
    #[default]
    Json,
    /// MessagePack.
    MessagePack,
    /// Bytes.
    Raw,
}

/// What a store is, fixed when it is created.
#[derive(Clone, Debug, PartialEq)]
pub struct StoreSchema {
    /// How values are encoded.
    pub encoding: Encoding,
    /// Names of the key's fields, for people; may be empty.
    pub key_fields: Vec<String>,
    /// The directions of the key's fields, in which [`Store::key`] and [`Store::parse_key`] encode them;
    /// a field beyond the end is as its type or its JSON says, ascending as a rule.
    pub key_order: Vec<Direction>,
    /// Bytes of a value that lies beside its key. Longer ones lie apart, so that walking the keys reads
    /// none of them, and reading one costs a read of its own. From
    /// [`VALUE_INLINE_LEN_MIN`](crate::base::limits::VALUE_INLINE_LEN_MIN) to
    /// [`VALUE_INLINE_LEN_MAX`](crate::base::limits::VALUE_INLINE_LEN_MAX); 1 KiB by default. Counts from
    /// where values are next written to a run on.
    pub value_inline_len_max: usize,
    /// Columns of a merged store, whose records change by merge operands; empty for plain values.
    pub columns: Vec<Column>,
}

impl Default for StoreSchema {
    fn default() -> StoreSchema {
        StoreSchema {
            encoding: Encoding::default(),
            key_fields: Vec::new(),
            key_order: Vec::new(),
            value_inline_len_max: VALUE_INLINE_LEN_DEFAULT,
            columns: Vec::new(),
        }
    }
}

/// A handle of a store. Cheap to clone; stays valid as long as the store is not dropped: a transaction
/// that uses the handle of a dropped store conflicts.
#[derive(Clone, Debug)]
pub struct Store(Arc<StoreParts>);

#[derive(Debug)]
struct StoreParts {
    id: StoreId,
    name: String,
    schema: StoreSchema,
    /// The catalog's record of this store: every transaction that uses it reads that.
    catalog_key: Bytes,
}

/// A whole key that is looked up.
pub(super) type LookupKey = SmallVec<[u8; LOOKUP_KEY_LEN]>;
/// Bytes of such a key that lie on the stack.
const LOOKUP_KEY_LEN: usize = 64;

impl Store {
    /// A handle of the store that stands in the catalog under `catalog_key`.
    pub fn new(id: StoreId, name: String, schema: StoreSchema, catalog_key: Bytes) -> Store {
        Store(Arc::new(StoreParts {
            id,
            name,
            schema,
            catalog_key,
        }))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its number.
    pub fn id(&self) -> StoreId {
        self.0.id
    }

    /// What it is.
    pub fn schema(&self) -> &StoreSchema {
        &self.0.schema
    }

    /// Whether its records are changed by merge operands.
    pub fn is_merged(&self) -> bool {
        !self.0.schema.columns.is_empty()
    }

    /// The key of a struct or tuple, in the directions of this store.
    ///
    /// # Errors
    /// As [`Key::from_struct_ordered`].
    pub fn key<T: Serialize + ?Sized>(&self, value: &T) -> Result<Key> {
        Key::from_struct_ordered(value, &self.0.schema.key_order)
    }

    /// The struct or tuple of which [`Store::key`] made this key.
    ///
    /// # Errors
    /// As [`Key::to_struct`].
    pub fn read_key<'de, T: Deserialize<'de>>(&self, key: &Key) -> Result<T> {
        key.to_struct_ordered(&self.0.schema.key_order)
    }

    /// The key that a JSON text is, in the directions of this store: the same bytes as [`Store::key`] gives
    /// for the same fields.
    ///
    /// # Errors
    /// As [`Key::from_json_ordered`].
    pub fn parse_key(&self, json: &str) -> Result<Key> {
        Key::parse_json_ordered(json, &self.0.schema.key_order)
    }

    /// A key of this store as JSON; [`Store::parse_key`] gives it back.
    ///
    /// # Errors
    /// As [`Key::to_json`].
    pub fn key_to_json(&self, key: &Key) -> Result<serde_json::Value> {
        key.to_json_ordered(&self.0.schema.key_order)
    }

    pub(super) fn catalog_key(&self) -> &Bytes {
        &self.0.catalog_key
    }

    /// The whole key of a record of this store.
    pub(super) fn full_key(&self, key: &Key) -> Result<Bytes> {
        Store::check_key(key)?;
        Ok(full_key(self.0.id, key.as_bytes()))
    }

    /// Whether `key` can be that of a record.
    pub(super) fn check_key(key: &Key) -> Result<()> {
        let len = key.as_bytes().len();
        if len > KEY_LEN_MAX {
            let (got, max) = (len as u64, KEY_LEN_MAX as u64);
            return Err(Error::Limit {
                what: "key length in bytes",
                got,
                max,
            });
        }
        if key.as_bytes().first() == Some(&ABOVE_ALL) {
            let message = format!("{key} is no tuple, and what it begins with belongs to streams");
            return Err(Error::Invalid(message));
        }
        Ok(())
    }

    /// As [`Store::full_key`], for looking up: keys of usual length take no memory from the heap.
    #[inline]
    pub(super) fn lookup_key(&self, key: &Key) -> Result<LookupKey> {
        Store::check_key(key)?;
        let mut full = LookupKey::new();
        full.extend_from_slice(&self.0.id.0.to_be_bytes());
        full.extend_from_slice(key.as_bytes());
        Ok(full)
    }

    /// All keys of records of this store; its streams lie behind them.
    pub(super) fn range(&self) -> KeyRange {
        KeyRange {
            from: full_key(self.0.id, &[]),
            to: full_key(self.0.id, &[ABOVE_ALL]),
        }
    }
}
