//! The catalog: store 0, which describes all stores, in transactions like any other records.

use std::ops::Range;

use bytes::Bytes;
use prost::Message;

use crate::base::limits::{
    STORE_NAME_LEN_MAX, VALUE_INLINE_LEN_DEFAULT, VALUE_INLINE_LEN_MAX, VALUE_INLINE_LEN_MIN,
};
use crate::base::{Datum, Direction, Error, Key, Result, StoreId};
use crate::fold::{CATALOG, CATALOG_DROPPED, full_key};
use crate::merge::{self, Column, Edges, Kind, Operator};
use crate::txn::{Encoding, ScanRange, Snapshot, Store, StoreSchema, Transaction};

/// The name of the catalog itself.
const CATALOG_NAME: &str = "_stores";
use crate::fold::CATALOG_STORE as STORE;
const NEXT: &str = "next";
/// The first number that a store is given; those below belong to the engine.
const FIRST_STORE: u32 = 16;

/// What a store holds, counted by a scan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Records.
    pub records: u64,
    /// Bytes of encoded keys.
    pub keys_len: u64,
    /// Bytes of values.
    pub values_len: u64,
}

/// A handle of the catalog.
pub(super) fn catalog() -> Result<Store> {
    let schema = StoreSchema {
        encoding: Encoding::Raw,
        ..StoreSchema::default()
    };
    let key = full_key(CATALOG, name_key(CATALOG_NAME)?.as_bytes());
    Ok(Store::new(CATALOG, CATALOG_NAME.to_owned(), schema, key))
}

/// Checks what can be a store's name.
pub(super) fn check_name(name: &str) -> Result<()> {
    let (len, max) = (name.len() as u64, STORE_NAME_LEN_MAX as u64);
    if len > max {
        return Err(Error::Limit {
            what: "length of a store's name in bytes",
            got: len,
            max,
        });
    }
    if name.is_empty() || name == CATALOG_NAME || name.chars().any(char::is_control) {
        let message = format!("`{}` cannot be a store's name", name.escape_debug());
        return Err(Error::Invalid(message));
    }
    Ok(())
}

/// Checks what can be a store's settings.
pub(super) fn check_schema(schema: &StoreSchema) -> Result<()> {
    merge::check_columns(&schema.columns)?;
    let len = schema.value_inline_len_max;
    if len > VALUE_INLINE_LEN_MAX {
        return Err(Error::Limit {
            what: "inline limit of a store in bytes",
            got: len as u64,
            max: VALUE_INLINE_LEN_MAX as u64,
        });
    }
    if len < VALUE_INLINE_LEN_MIN {
        let message =
            format!("an inline limit of {len} bytes, the least is {VALUE_INLINE_LEN_MIN}");
        return Err(Error::Invalid(message));
    }
    Ok(())
}

/// Finds a store in one state of the database.
pub(super) async fn find(snapshot: &Snapshot, name: &str) -> Result<Option<Store>> {
    let key = name_key(name)?;
    let found = snapshot.get(&catalog()?, &key).await?;
    found.map(|bytes| handle(&key, name, &bytes)).transpose()
}

/// Finds a store within `transaction`, which then relies on what was found.
pub(super) async fn find_in(transaction: &mut Transaction, name: &str) -> Result<Option<Store>> {
    let key = name_key(name)?;
    let found = transaction.get(&catalog()?, &key).await?;
    found.map(|bytes| handle(&key, name, &bytes)).transpose()
}

/// All stores of one state of the database, by name.
pub(super) async fn list(snapshot: &Snapshot) -> Result<Vec<Store>> {
    let prefix = Key::from_datums(&[Datum::Str(STORE.to_owned())])?;
    let mut scan = snapshot.scan(&catalog()?, &ScanRange::prefix(prefix));
    let mut stores = Vec::new();
    while let Some(record) = scan.next().await? {
        match record.key.datums()?.as_slice() {
            [_, Datum::Str(name)] => stores.push(handle(&record.key, name, &record.value)?),
            _ => return Err(broken("a store's key")),
        }
    }
    Ok(stores)
}

/// Takes `count` numbers for stores within `transaction`, which conflicts with every other that takes some.
async fn reserve(transaction: &mut Transaction, count: u32) -> Result<Range<u32>> {
    let catalog = catalog()?;
    let next_key = Key::from_datums(&[Datum::Str(NEXT.to_owned())])?;
    let first = match transaction.get(&catalog, &next_key).await? {
        Some(bytes) => u32::from_le_bytes(bytes[..].try_into().map_err(|_| broken("the counter"))?),
        None => FIRST_STORE,
    };
    let next = first.checked_add(count).ok_or(Error::Limit {
        what: "stores ever created",
        got: u64::from(first) + u64::from(count),
        max: u64::from(u32::MAX) - 1,
    })?;
    let next_bytes = Bytes::copy_from_slice(&next.to_le_bytes());
    transaction.put(&catalog, &next_key, next_bytes)?;
    Ok(first..next)
}

/// Creates a store within `transaction`, with the next number of `ids`; an equal one that exists is returned.
/// Where `ids` has none left it gets `count` more: they count once the transaction has committed.
pub(super) async fn create(
    transaction: &mut Transaction,
    name: &str,
    schema: &StoreSchema,
    ids: &mut Range<u32>,
    count: u32,
) -> Result<Store> {
    let (catalog, key) = (catalog()?, name_key(name)?);
    if let Some(bytes) = transaction.get(&catalog, &key).await? {
        let store = handle(&key, name, &bytes)?;
        return match difference(store.schema(), schema) {
            None => Ok(store),
            Some(detail) => Err(Error::StoreDiffers {
                name: name.to_owned(),
                detail,
            }),
        };
    }
    if ids.start == ids.end {
        *ids = reserve(transaction, count).await?;
    }
    let id = ids.next().ok_or_else(|| broken("the counter"))?;
    transaction.put(&catalog, &key, encode(StoreId(id), schema))?;
    let catalog_key = full_key(CATALOG, key.as_bytes());
    Ok(Store::new(
        StoreId(id),
        name.to_owned(),
        schema.clone(),
        catalog_key,
    ))
}

/// Drops a store within `transaction`; its records vanish when they are folded. `false` if there is none.
pub(super) async fn drop_store(transaction: &mut Transaction, name: &str) -> Result<bool> {
    let (catalog, key) = (catalog()?, name_key(name)?);
    let Some(bytes) = transaction.get(&catalog, &key).await? else {
        return Ok(false);
    };
    let store = handle(&key, name, &bytes)?;
    transaction.delete(&catalog, &key)?;
    let number = Datum::Int(i128::from(store.id().0));
    let dropped = Key::from_datums(&[Datum::Str(CATALOG_DROPPED.to_owned()), number])?;
    transaction.put(&catalog, &dropped, Bytes::new())?;
    Ok(true)
}

fn name_key(name: &str) -> Result<Key> {
    Key::from_datums(&[Datum::Str(STORE.to_owned()), Datum::Str(name.to_owned())])
}

fn handle(key: &Key, name: &str, bytes: &Bytes) -> Result<Store> {
    let (id, schema) = decode(bytes)?;
    Ok(Store::new(
        id,
        name.to_owned(),
        schema,
        full_key(CATALOG, key.as_bytes()),
    ))
}

fn broken(what: &str) -> Error {
    Error::corrupt(
        format!("store `{CATALOG_NAME}`"),
        format!("{what} cannot be read"),
    )
}

/// The directions that matter: a field that is not named is ascending.
fn order_of(schema: &StoreSchema) -> &[Direction] {
    let is_descending = |direction: &Direction| *direction == Direction::Descending;
    let last = schema.key_order.iter().rposition(is_descending);
    last.map_or(&[], |last| &schema.key_order[..=last])
}

fn difference(there: &StoreSchema, wanted: &StoreSchema) -> Option<String> {
    if there.columns != wanted.columns {
        let names = |columns: &[Column]| -> String {
            let named = columns.iter().map(Column::to_string);
            let named: Vec<String> = named.collect();
            if named.is_empty() {
                "plain values".to_owned()
            } else {
                named.join(", ")
            }
        };
        return Some(format!(
            "it holds {}, wanted are {}",
            names(&there.columns),
            names(&wanted.columns)
        ));
    }
    if there.encoding != wanted.encoding {
        return Some(format!(
            "its values are {:?}, wanted are {:?}",
            there.encoding, wanted.encoding
        ));
    }
    if there.value_inline_len_max != wanted.value_inline_len_max {
        return Some(format!(
            "values up to {} bytes lie beside their keys, wanted are {}",
            there.value_inline_len_max, wanted.value_inline_len_max
        ));
    }
    if order_of(there) != order_of(wanted) {
        return Some(format!(
            "its key is ordered {:?}, wanted is {:?}",
            there.key_order, wanted.key_order
        ));
    }
    let unnamed = there.key_fields.is_empty() || wanted.key_fields.is_empty();
    (!unnamed && there.key_fields != wanted.key_fields).then(|| {
        format!(
            "its key is {:?}, wanted is {:?}",
            there.key_fields, wanted.key_fields
        )
    })
}

/// A store's record, as protobuf: it has to evolve.
#[derive(Clone, PartialEq, Message)]
struct StoreMeta {
    #[prost(uint32, tag = "1")]
    id: u32,
    #[prost(uint32, tag = "2")]
    encoding: u32,
    #[prost(string, repeated, tag = "3")]
    key_fields: Vec<String>,
    #[prost(message, repeated, tag = "4")]
    columns: Vec<ColumnMeta>,
    /// Folding reads this one, too.
    #[prost(uint32, optional, tag = "5")]
    value_inline_len_max: Option<u32>,
    /// Whether each field of the key is descending.
    #[prost(bool, repeated, tag = "6")]
    key_descending: Vec<bool>,
}

#[derive(Clone, PartialEq, Message)]
struct ColumnMeta {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint32, tag = "2")]
    operator: u32,
    #[prost(string, tag = "3")]
    input: String,
    #[prost(uint32, tag = "4")]
    parameter: u32,
    /// The edges of a histogram.
    #[prost(double, repeated, tag = "5")]
    edges: Vec<f64>,
}

fn encode(id: StoreId, schema: &StoreSchema) -> Vec<u8> {
    let column = |column: &Column| ColumnMeta {
        name: column.name.clone(),
        operator: u32::from(column.operator.id()),
        input: column.input.to_string(),
        parameter: column.parameter,
        edges: column
            .edges
            .as_ref()
            .map_or_else(Vec::new, |edges| edges.as_slice().to_vec()),
    };
    let meta = StoreMeta {
        id: id.0,
        encoding: match schema.encoding {
            Encoding::Json => 0,
            Encoding::MessagePack => 1,
            Encoding::Raw => 2,
        },
        key_fields: schema.key_fields.clone(),
        columns: schema.columns.iter().map(column).collect(),
        value_inline_len_max: (schema.value_inline_len_max != VALUE_INLINE_LEN_DEFAULT)
            .then(|| u32::try_from(schema.value_inline_len_max).unwrap_or(u32::MAX)),
        key_descending: schema
            .key_order
            .iter()
            .map(|direction| *direction == Direction::Descending)
            .collect(),
    };
    meta.encode_to_vec()
}

fn direction(descending: bool) -> Direction {
    if descending {
        Direction::Descending
    } else {
        Direction::Ascending
    }
}

fn decode(bytes: &Bytes) -> Result<(StoreId, StoreSchema)> {
    let meta = StoreMeta::decode(bytes.clone()).map_err(|_| broken("a store's record"))?;
    let encoding = match meta.encoding {
        0 => Encoding::Json,
        1 => Encoding::MessagePack,
        2 => Encoding::Raw,
        _ => return Err(broken("a store's encoding")),
    };
    let column = |column: ColumnMeta| {
        let id = u8::try_from(column.operator)
            .ok()
            .and_then(Operator::from_id);
        let operator = id.ok_or_else(|| broken("an operator, perhaps a newer program's,"))?;
        let input = Kind::parse(&column.input).map_err(|_| broken("a column's kind"))?;
        if column.edges.is_empty() {
            return Column::with_parameter(column.name, operator, input, column.parameter);
        }
        let edges = Edges::new(&column.edges).map_err(|_| broken("the edges of a histogram"))?;
        Column::histogram(column.name, input, edges)
    };
    let columns = meta
        .columns
        .into_iter()
        .map(column)
        .collect::<Result<Vec<_>>>()?;
    Ok((
        StoreId(meta.id),
        StoreSchema {
            encoding,
            key_fields: meta.key_fields,
            key_order: meta.key_descending.into_iter().map(direction).collect(),
            value_inline_len_max: meta
                .value_inline_len_max
                .map_or(Some(VALUE_INLINE_LEN_DEFAULT), |len| len.try_into().ok())
                .ok_or_else(|| broken("a store's inline limit"))?,
            columns,
        },
    ))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::executor::block_on;

    use super::*;
    use crate::db::{Db, Environment, Options};
    use crate::storage::MemoryStorage;

    /// A store's record as programs wrote it that knew neither directions nor inline limits.
    #[derive(Clone, PartialEq, Message)]
    struct OldMeta {
        #[prost(uint32, tag = "1")]
        id: u32,
        #[prost(uint32, tag = "2")]
        encoding: u32,
        #[prost(string, repeated, tag = "3")]
        key_fields: Vec<String>,
    }

    #[test]
    fn an_older_record_reads_with_defaults_and_they_are_written_as_before() {
        let old = OldMeta {
            id: 17,
            encoding: 2,
            key_fields: vec!["carrier".to_owned()],
        };
        let bytes = Bytes::from(old.encode_to_vec());
        let (id, schema) = decode(&bytes).unwrap();
        let expected = StoreSchema {
            encoding: Encoding::Raw,
            key_fields: vec!["carrier".to_owned()],
            ..StoreSchema::default()
        };
        assert_eq!((id, &schema), (StoreId(17), &expected));
        assert_eq!(encode(id, &schema), bytes);
    }

    #[test]
    fn creators_with_numbers_of_their_own_commit_at_the_first_try() {
        block_on(async {
            let storage = Arc::new(MemoryStorage::new());
            let opened = Db::open_storage(storage, Options::default(), Environment::default());
            let db = opened.await.unwrap();
            let schema = StoreSchema::default();
            let (mut first, mut second) = (db.begin(), db.begin());
            create(&mut first, "a", &schema, &mut (100..101), 1)
                .await
                .unwrap();
            create(&mut second, "b", &schema, &mut (101..102), 1)
                .await
                .unwrap();
            let mut third = db.begin();
            create(&mut third, "b", &schema, &mut (102..103), 1)
                .await
                .unwrap();
            first.commit().await.unwrap();
            second.commit().await.unwrap();
            let same_name = third.commit().await;
            assert!(
                matches!(same_name, Err(Error::Conflict { .. })),
                "{same_name:?}"
            );
        });
    }

    #[test]
    fn numbers_end_where_they_would_be_used_twice() {
        block_on(async {
            let storage = Arc::new(MemoryStorage::new());
            let opened = Db::open_storage(storage, Options::default(), Environment::default());
            let db = opened.await.unwrap();
            let mut transaction = db.begin();
            let most = u32::MAX - FIRST_STORE;
            let taken = reserve(&mut transaction, most).await.unwrap();
            assert_eq!(taken, FIRST_STORE..u32::MAX);
            let refused = reserve(&mut transaction, 1).await;
            assert!(matches!(refused, Err(Error::Limit { .. })), "{refused:?}");
        });
    }
}
