//! Transactions whose traces in the database tell their history.

use std::collections::{BTreeMap, BTreeSet};

use eciton_engine::base::{Datum, Error, Key, Result};
use eciton_engine::db::{Db, Encoding, ScanRange, Snapshot, Store, StoreSchema, Transaction};
use eciton_engine::merge::{Column, Kind, Operator, States, read_json};

use super::ledger::{Contents, Entry, LISTS_MAX, Ledger, ListKey};
use crate::random::Random;

/// Lists that transactions append to: few, so that they meet.
const LISTS: u64 = 8;
const _: () = assert!(LISTS <= LISTS_MAX);
/// Of these, those that clients append to in turn.
const CONTENDED_LISTS: u64 = 2;
/// How often a client tries a change.
const TRIES_MAX: u32 = 6;
/// Keys of the merged sum.
const SUMS: u64 = 3;
/// Bytes of a blob at the most: several sectors.
const BLOB_LEN_MAX: u64 = 3_000;

/// The stores of the workload.
#[derive(Clone)]
pub(super) struct Stores {
    lists: Store,
    sums: Store,
    blobs: Store,
}

fn columns() -> Result<Vec<Column>> {
    Ok(vec![
        Column::new("rows", Operator::Count, Kind::Any)?,
        Column::new("sum", Operator::Sum, Kind::Int)?,
    ])
}

/// Creates the stores, or finds them.
pub(super) async fn create(db: &Db) -> Result<Stores> {
    let merged = StoreSchema {
        columns: columns()?,
        ..StoreSchema::default()
    };
    let raw = StoreSchema {
        encoding: Encoding::Raw,
        ..StoreSchema::default()
    };
    Ok(Stores {
        lists: db.create_store("lists", StoreSchema::default()).await?,
        sums: db.create_store("sums", merged).await?,
        blobs: db.create_store("blobs", raw).await?,
    })
}

/// Finds the stores; `None` where not all of them have been created.
pub(super) async fn find(db: &Db) -> Result<Option<Stores>> {
    let (lists, sums) = (db.store("lists").await?, db.store("sums").await?);
    let blobs = db.store("blobs").await?;
    let all = lists.zip(sums).zip(blobs);
    Ok(all.map(|((lists, sums), blobs)| Stores { lists, sums, blobs }))
}

fn key(number: u64) -> Result<Key> {
    Key::from_datums(&[Datum::Int(i128::from(number))])
}

fn number(key: &Key) -> Result<u64> {
    match key.datums()?[..] {
        [Datum::Int(number)] => u64::try_from(number).map_err(|_| foreign(key)),
        _ => Err(foreign(key)),
    }
}

/// The object that is named where the database returned what nobody ever wrote.
pub(super) const WRONG: &str = "workload";

/// What nobody wrote is a wrong answer.
fn foreign(what: impl std::fmt::Debug) -> Error {
    Error::corrupt(WRONG, format!("nobody wrote {what:?}"))
}

/// A list as the value under its key.
fn encode(list: &[u64]) -> Vec<u8> {
    let numbers: Vec<String> = list.iter().map(u64::to_string).collect();
    format!("[{}]", numbers.join(",")).into_bytes()
}

fn decode(bytes: &[u8]) -> Result<Vec<u64>> {
    let text = std::str::from_utf8(bytes).map_err(|_| foreign(bytes))?;
    let inner = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let inner = inner.ok_or_else(|| foreign(text))?;
    let mut list = Vec::with_capacity(inner.len() / 3);
    for number in inner.split(',').filter(|number| !number.is_empty()) {
        list.push(number.parse().map_err(|_| foreign(text))?);
    }
    Ok(list)
}

/// The bytes of a transaction's blob.
fn blob(number: u64, len: usize) -> Vec<u8> {
    vec![u8::try_from(number % 251).unwrap_or(0); len]
}

/// Everything in the workload's stores, as one snapshot has it.
pub(super) async fn contents(snapshot: &Snapshot, stores: &Stores) -> Result<Contents> {
    let mut contents = Contents::default();
    let mut scan = snapshot.scan(&stores.lists, &ScanRange::all());
    while let Some(record) = scan.next().await? {
        let list = ListKey::try_from(number(&record.key)?).map_err(|_| foreign(&record.key))?;
        contents.lists.insert(list, decode(&record.value)?);
    }
    let mut scan = snapshot.scan(&stores.sums, &ScanRange::all());
    while let Some(record) = scan.next().await? {
        let value = read_json(&columns()?, &record.key, &record.value)?;
        let part = value["rows"].as_u64().zip(value["sum"].as_i64());
        let (rows, sum) = part.ok_or_else(|| foreign(&value))?;
        contents.rows += rows;
        contents.sum += sum;
    }
    let mut scan = snapshot.scan(&stores.blobs, &ScanRange::all());
    while let Some(record) = scan.next().await? {
        let number = number(&record.key)?;
        if record.value != blob(number, record.value.len()) {
            return Err(foreign(&record.key));
        }
        contents.blobs.insert(number, record.value.len());
    }
    Ok(contents)
}

/// One transaction, from its beginning to what its client is told. A conflict is no error.
pub(super) async fn transact(
    db: &Db,
    stores: &Stores,
    ledger: &Ledger,
    random: &mut Random,
) -> Result<()> {
    let txid = ledger.begin();
    let mut transaction = db.begin();
    let entry = fill(&mut transaction, stores, txid, LISTS, random).await?;
    if random.percent(5) {
        return Ok(()); // dropped: nothing of it may ever be seen
    }
    ledger.submit(txid, entry);
    match transaction.commit().await {
        Ok(committed) => {
            ledger.ack(txid, committed.position.0);
            Ok(())
        }
        Err(Error::Conflict { .. } | Error::TooOld { .. }) => {
            ledger.reject(txid);
            Ok(())
        }
        Err(error @ Error::CommitUnknown { .. }) => Err(error),
        Err(error) => {
            // Any other error says that nothing was written.
            ledger.reject(txid);
            Err(error)
        }
    }
}

/// One change that is tried again, in turn with others, until it has committed or its client has had enough.
pub(super) async fn change(
    db: &Db,
    stores: &Stores,
    ledger: &Ledger,
    random: &mut Random,
) -> Result<()> {
    let mut retry = db.retry();
    for _ in 0..TRIES_MAX {
        let txid = ledger.begin();
        let mut transaction = retry.begin().await?;
        let entry = fill(&mut transaction, stores, txid, CONTENDED_LISTS, random).await?;
        if random.percent(5) {
            continue; // dropped: nothing of it may ever be seen
        }
        ledger.submit(txid, entry);
        match retry.commit(transaction).await {
            Ok(Some(committed)) => {
                ledger.ack(txid, committed.position.0);
                return Ok(());
            }
            Ok(None) => ledger.reject(txid),
            Err(error @ Error::CommitUnknown { .. }) => return Err(error),
            Err(error) => {
                ledger.reject(txid);
                return Err(error);
            }
        }
    }
    Ok(())
}

async fn fill(
    transaction: &mut Transaction,
    stores: &Stores,
    txid: u64,
    lists: u64,
    random: &mut Random,
) -> Result<Entry> {
    let mut entry = Entry::default();
    let mut keys: Vec<u64> = (0..lists).collect();
    random.shuffle(&mut keys);
    let appends = random.between(1, 3);
    for (at, list) in (0..).zip(keys.into_iter().take(5)) {
        if at >= appends && !random.percent(40) {
            continue;
        }
        let value = transaction.get(&stores.lists, &key(list)?).await?;
        let mut seen = value.as_deref().map_or(Ok(Vec::new()), decode)?;
        let name = ListKey::try_from(list).map_err(|_| foreign(list))?;
        if at < appends {
            seen.push(txid);
            transaction.put(&stores.lists, &key(list)?, encode(&seen))?;
            entry.appended |= 1 << name;
        } else {
            entry.read.insert(name, seen);
        }
    }
    if random.percent(20) {
        entry
            .read
            .extend(scan(transaction, stores, txid, random).await?);
    }
    entry.amount = i64::try_from(random.below(1_000)).unwrap_or(0) - 500;
    let mut states = States::new(&stores.sums.schema().columns);
    states[0].add_rows(1);
    states[1].add_i64(entry.amount);
    transaction.merge(
        &stores.sums,
        &key(random.below(SUMS))?,
        &states.to_operand()?,
    )?;
    if random.percent(40) {
        let len = usize::try_from(random.below(BLOB_LEN_MAX)).unwrap_or(0);
        transaction.blind_put(&stores.blobs, &key(txid)?, blob(txid, len))?;
        entry.blob_len = Some(len);
    }
    Ok(entry)
}

/// The lists of a range that this transaction has not appended to.
async fn scan(
    transaction: &mut Transaction,
    stores: &Stores,
    txid: u64,
    random: &mut Random,
) -> Result<BTreeMap<ListKey, Vec<u64>>> {
    let from = random.below(LISTS);
    let to = random.between(from, LISTS);
    let range = ScanRange {
        from: Some(key(from)?),
        to: Some(key(to)?),
        reverse: random.percent(30),
        ..ScanRange::all()
    };
    let mut read = BTreeMap::new();
    // A list that is absent was read, too: as empty.
    for list in from..to {
        read.insert(
            ListKey::try_from(list).map_err(|_| foreign(list))?,
            Vec::new(),
        );
    }
    let mut own = BTreeSet::new();
    for record in transaction.scan(&stores.lists, &range).await? {
        let list = ListKey::try_from(number(&record.key)?).map_err(|_| foreign(&record.key))?;
        let seen = decode(&record.value)?;
        if seen.contains(&txid) {
            own.insert(list);
        }
        read.insert(list, seen);
    }
    read.retain(|list, _| !own.contains(list));
    Ok(read)
}
