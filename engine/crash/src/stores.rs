//! The stores that worker and checker share, and how numbers become keys.

use eciton_engine::merge::{self, Column, Kind, Operator};
use eciton_engine::{Datum, Db, Encoding, Error, Key, Result, Snapshot, Store, StoreSchema};

use crate::plan::Id;

/// All stores of a run but the extra ones.
#[derive(Clone)]
pub struct Stores {
    /// The number of every transaction that has committed.
    pub marks: Store,
    /// Account to balance.
    pub accounts: Store,
    /// List to the numbers appended to it.
    pub lists: Store,
    /// Counter to rows and sum, merged.
    pub counters: Store,
    /// Task and register to a value.
    pub registers: Store,
    /// Task and index to a value.
    pub bulk: Store,
}

impl Stores {
    /// Creates what is missing.
    ///
    /// # Errors
    /// As [`Db::create_store`].
    pub async fn create(db: &Db) -> Result<Stores> {
        let merged = StoreSchema {
            columns: columns()?,
            ..StoreSchema::default()
        };
        Ok(Stores {
            marks: db.create_store("marks", plain()).await?,
            accounts: db.create_store("accounts", plain()).await?,
            lists: db.create_store("lists", plain()).await?,
            counters: db.create_store("counters", merged).await?,
            registers: db.create_store("registers", plain()).await?,
            bulk: db.create_store("bulk", plain()).await?,
        })
    }
}

/// The schema of a store of bytes.
pub fn plain() -> StoreSchema {
    StoreSchema {
        encoding: Encoding::Raw,
        ..StoreSchema::default()
    }
}

/// The columns of the merged store.
///
/// # Errors
/// None with these names.
pub fn columns() -> Result<Vec<Column>> {
    Ok(vec![
        Column::new("rows", Operator::Count, Kind::Any)?,
        Column::new("sum", Operator::Sum, Kind::Int)?,
    ])
}

/// The name of the extra store that the transaction `id` creates.
pub fn extra_name(id: Id) -> String {
    format!("extra-{id}")
}

/// The transaction that created the extra store of this name.
pub fn extra_id(name: &str) -> Option<Id> {
    name.strip_prefix("extra-")?.parse().ok().map(Id)
}

/// A key of numbers.
///
/// # Errors
/// None with as few numbers as these.
pub fn key(numbers: &[u64]) -> Result<Key> {
    let datums: Vec<Datum> = numbers.iter().map(|number| Datum::from(*number)).collect();
    Key::from_datums(&datums)
}

/// The numbers of a key.
///
/// # Errors
/// [`Error::Corrupt`] where it has something else in it.
pub fn numbers(key: &Key) -> Result<Vec<u64>> {
    let number = |datum: &Datum| match datum {
        Datum::Int(number) => u64::try_from(*number).ok(),
        _ => None,
    };
    let all = key.datums()?.iter().map(number).collect::<Option<_>>();
    all.ok_or_else(|| Error::corrupt("a key", format!("{key} is none of this run's")))
}

/// Rows and sum of a merged record.
///
/// # Errors
/// [`Error::Corrupt`] where it is none.
pub fn counted(key: &Key, record: &[u8]) -> Result<(i64, i64)> {
    let columns = columns()?;
    let values = merge::read(&columns, key, record)?;
    let number = |datum: &Datum| match datum {
        Datum::Int(number) => i64::try_from(*number).ok(),
        _ => None,
    };
    match values.as_slice() {
        [(_, rows), (_, sum)] => number(rows).zip(number(sum)),
        _ => None,
    }
    .ok_or_else(|| Error::corrupt("a counter", format!("{values:?}")))
}

/// The sum of all accounts.
///
/// # Errors
/// As [`Snapshot::get`]; [`Error::Corrupt`] where a balance is none.
pub async fn balances(snapshot: &Snapshot, accounts: &Store) -> Result<Vec<(u64, i64)>> {
    let mut scan = snapshot.scan(accounts, &eciton_engine::ScanRange::all());
    let mut all = Vec::new();
    while let Some(record) = scan.next().await? {
        let account = numbers(&record.key)?.first().copied().unwrap_or_default();
        all.push((account, balance(&record.value)?));
    }
    Ok(all)
}

/// A balance as it is stored.
///
/// # Errors
/// [`Error::Corrupt`] where the bytes are none.
pub fn balance(bytes: &[u8]) -> Result<i64> {
    let bytes = bytes.try_into();
    bytes
        .map(i64::from_le_bytes)
        .map_err(|_| Error::corrupt("an account", "its balance is not a number"))
}

/// A list as it is stored.
///
/// # Errors
/// [`Error::Corrupt`] where the bytes are none.
pub fn list(bytes: &[u8]) -> Result<Vec<Id>> {
    let (words, []) = bytes.as_chunks::<8>() else {
        return Err(Error::corrupt("a list", "it ends within a number"));
    };
    Ok(words
        .iter()
        .map(|word| Id(u64::from_le_bytes(*word)))
        .collect())
}
