//! The engine against a `BTreeMap`: random transactions, scans, folds, reopenings, crashes at every
//! kind of operation, and power losses that keep or drop whatever was not synced.
//!
//! The rule that is checked: after any of these the database holds exactly the acknowledged
//! transactions, plus, after a crash in the middle of a commit, perhaps that one, whole.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::support::{Deferred, Dice, environment};
use eciton_engine::base::entropy::SeededEntropy;
use eciton_engine::base::{Datum, Error, Key, Result};
use eciton_engine::db::{Db, Options, ScanRange, Snapshot, Store, StoreSchema, Transaction};
use eciton_engine::merge::{self, Column, Kind, Operator, States};
use eciton_engine::storage::MemoryStorage;
use futures::executor::block_on;
use serde_json::{Value, json};

const SEEDS: u64 = 400;
const STEPS: u64 = 60;
const KEYS: u64 = 40;

/// What the database should hold.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    plain: BTreeMap<i64, Vec<u8>>,
    /// Rows and sum.
    merged: BTreeMap<i64, (u64, i64)>,
}

#[derive(Clone)]
struct Stores {
    plain: Store,
    merged: Store,
}

fn key(number: i64) -> Key {
    // A long common part now and then, so that page prefixes and ties of key heads occur.
    let head = if number % 3 == 0 {
        "a common beginning of a key"
    } else {
        "k"
    };
    Key::from_datums(&[Datum::Str(head.to_owned()), Datum::Int(i128::from(number))]).unwrap()
}

fn number(key: &Key) -> i64 {
    match key.datums().unwrap()[..] {
        [_, Datum::Int(number)] => i64::try_from(number).unwrap(),
        _ => panic!("not a key of this test: {key:?}"),
    }
}

fn columns() -> Vec<Column> {
    vec![
        Column::new("rows", Operator::Count, Kind::Any).unwrap(),
        Column::new("sum", Operator::Sum, Kind::Int).unwrap(),
    ]
}

struct Run {
    dice: Dice,
    storage: MemoryStorage,
    spawner: Arc<Deferred>,
    db: Db,
    stores: Stores,
    model: Model,
    /// The model with the transaction that a crash interrupted.
    perhaps: Option<Model>,
}

impl Run {
    async fn begin(seed: u64) -> Run {
        let dice = Dice::new(seed);
        let storage = MemoryStorage::new();
        let (db, spawner) = open(&storage, &dice).await.unwrap();
        let stores = create(&db).await.unwrap();
        let (model, perhaps) = (Model::default(), None);
        Run {
            dice,
            storage,
            spawner,
            db,
            stores,
            model,
            perhaps,
        }
    }

    async fn step(&mut self) {
        match self.dice.below(20) {
            0 => drop(self.db.fold().await),
            1 => self.spawner.run().await,
            2 => self.reopen(true).await,
            3 => self.reopen(false).await,
            4 => self.crash().await,
            5 => self.check().await,
            _ => self.transact().await.unwrap(),
        }
    }

    /// One transaction of a few operations, each checked against the model as it goes.
    async fn transact(&mut self) -> Result<()> {
        let mut model = self.model.clone();
        let mut transaction = self.db.begin();
        for _ in 0..=self.dice.below(8) {
            self.operation(&mut transaction, &mut model).await?;
        }
        if self.dice.below(10) == 0 {
            return Ok(()); // dropped: nothing of it may be seen
        }
        self.perhaps = Some(model.clone());
        transaction.commit().await?;
        self.model = model;
        self.perhaps = None;
        Ok(())
    }

    async fn operation(&self, tx: &mut Transaction, model: &mut Model) -> Result<()> {
        let number = i64::try_from(self.dice.below(KEYS)).unwrap();
        let (plain, merged) = (&self.stores.plain, &self.stores.merged);
        match self.dice.below(8) {
            0 | 1 => {
                let value = self.value();
                model.plain.insert(number, value.clone());
                tx.put(plain, &key(number), value)?;
            }
            2 => {
                let value = self.value();
                model.plain.insert(number, value.clone());
                tx.blind_put(plain, &key(number), value)?;
            }
            3 => {
                model.plain.remove(&number);
                tx.delete(plain, &key(number))?;
            }
            4 => {
                let amount = i64::try_from(self.dice.below(1000)).unwrap() - 500;
                let entry = model.merged.entry(number).or_default();
                *entry = (entry.0 + 1, entry.1 + amount);
                let mut states = States::new(&merged.schema().columns);
                states[0].add_rows(1);
                states[1].add_i64(amount);
                tx.merge(merged, &key(number), &states.to_operand()?)?;
            }
            5 => {
                model.merged.remove(&number);
                tx.delete(merged, &key(number))?;
            }
            6 => {
                let found = tx.get(plain, &key(number)).await?;
                assert_eq!(
                    found.as_deref(),
                    model.plain.get(&number).map(Vec::as_slice)
                );
                let found = tx.get(merged, &key(number)).await?;
                let found = found.map(|state| shown(number, &state));
                assert_eq!(found, model.merged.get(&number).map(expected));
            }
            _ => {
                let range = self.range();
                let found = tx.scan(plain, &range).await?;
                let found: Vec<_> = found
                    .into_iter()
                    .map(|r| (self::number(&r.key), r.value.to_vec()))
                    .collect();
                assert_eq!(found, scanned(&model.plain, &range));
            }
        }
        Ok(())
    }

    fn value(&self) -> Vec<u8> {
        let len = match self.dice.below(12) {
            0 => 3000, // lies apart from its leaf
            1 => 0,
            _ => self.dice.below(60),
        };
        let byte = u8::try_from(self.dice.below(256)).unwrap();
        vec![byte; usize::try_from(len).unwrap()]
    }

    fn range(&self) -> ScanRange {
        let bound = || {
            let number = i64::try_from(self.dice.below(KEYS)).unwrap();
            (self.dice.below(2) == 0).then(|| key(number))
        };
        ScanRange {
            from: bound(),
            to: bound(),
            prefix: (self.dice.below(4) == 0).then(|| Key::from_datums(&["k".into()]).unwrap()),
            reverse: self.dice.below(2) == 0,
            limit: (self.dice.below(3) == 0).then(|| self.dice.below(6)),
            keys_only: false,
        }
    }

    /// Closes or just lets go, and opens again.
    async fn reopen(&mut self, close: bool) {
        self.spawner.run().await;
        let (db, spawner) = open_none(&self.storage);
        let before = std::mem::replace(&mut self.db, db);
        if close {
            before.close().await.unwrap();
        } else {
            drop(before);
        }
        self.spawner = spawner;
        self.open_and_check().await;
    }

    /// Fails at a random operation in the middle of some transactions and folds, then loses power.
    async fn crash(&mut self) {
        self.storage
            .crash_after(self.dice.below(40), self.dice.next());
        for _ in 0..30 {
            let result = match self.dice.below(6) {
                0 => self.db.fold().await.map(drop),
                1 => {
                    self.spawner.run().await;
                    Ok(())
                }
                _ => self.transact().await,
            };
            if self.storage.is_crashed() {
                assert!(result.is_ok() || self.perhaps.is_none() || is_failure(&result));
                break;
            }
            result.unwrap();
        }
        self.spawner.clear();
        let lost = SeededEntropy::new(self.dice.next());
        // A process that dies leaves what the system holds; a power loss drops what was not synced.
        let after = if self.dice.below(3) == 0 {
            self.storage.restart()
        } else {
            self.storage.power_loss(&lost)
        };
        self.storage = after;
        self.open_and_check().await;
    }

    async fn open_and_check(&mut self) {
        let (db, spawner) = open(&self.storage, &self.dice).await.unwrap();
        (self.db, self.spawner) = (db, spawner);
        self.stores = create(&self.db).await.unwrap();
        let found = contents(&self.db.snapshot(), &self.stores).await.unwrap();
        match self.perhaps.take() {
            Some(perhaps) if found == perhaps => self.model = perhaps,
            _ => assert_eq!(found, self.model),
        }
    }

    async fn check(&self) {
        let found = contents(&self.db.snapshot(), &self.stores).await.unwrap();
        assert_eq!(found, self.model);
        let storage = Arc::new(self.storage.read_only());
        let report = eciton_engine::db::verify(storage, &|_| {}).await.unwrap();
        assert_eq!(report.broken, vec![]);
    }
}

fn is_failure(result: &Result<()>) -> bool {
    matches!(
        result,
        Err(Error::Storage { .. } | Error::Halted { .. } | Error::CommitUnknown { .. })
    )
}

fn expected(entry: &(u64, i64)) -> Value {
    json!({"rows": entry.0, "sum": entry.1})
}

fn shown(number: i64, state: &[u8]) -> Value {
    merge::read_json(&columns(), &key(number), state).unwrap()
}

/// What a scan over the model gives, in the order of the encoded keys.
fn scanned(model: &BTreeMap<i64, Vec<u8>>, range: &ScanRange) -> Vec<(i64, Vec<u8>)> {
    let mut all: Vec<(Key, i64)> = model.keys().map(|number| (key(*number), *number)).collect();
    all.sort();
    all.retain(|(key, _)| {
        range.from.as_ref().is_none_or(|from| key >= from)
            && range.to.as_ref().is_none_or(|to| key < to)
            && range
                .prefix
                .as_ref()
                .is_none_or(|prefix| key.starts_with(prefix))
    });
    if range.reverse {
        all.reverse();
    }
    let limit = usize::try_from(range.limit.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
    all.into_iter()
        .take(limit)
        .map(|(_, number)| (number, model[&number].clone()))
        .collect()
}

async fn contents(snapshot: &Snapshot, stores: &Stores) -> Result<Model> {
    let mut model = Model::default();
    let mut scan = snapshot.scan(&stores.plain, &ScanRange::all());
    while let Some(record) = scan.next().await? {
        model
            .plain
            .insert(number(&record.key), record.value.to_vec());
    }
    let mut scan = snapshot.scan(&stores.merged, &ScanRange::all());
    while let Some(record) = scan.next().await? {
        let value = merge::read_json(&columns(), &record.key, &record.value)?;
        let rows = value["rows"].as_u64().unwrap();
        model
            .merged
            .insert(number(&record.key), (rows, value["sum"].as_i64().unwrap()));
    }
    let mut keys = 0;
    let only = ScanRange {
        keys_only: true,
        ..ScanRange::all()
    };
    let mut scan = snapshot.scan(&stores.plain, &only);
    while scan.next().await?.is_some() {
        keys += 1;
    }
    assert_eq!(
        keys,
        model.plain.len(),
        "a keys-only scan sees the same records"
    );
    lent(snapshot, &stores.plain).await?;
    lent(snapshot, &stores.merged).await?;
    Ok(model)
}

/// Records that are lent, in both directions and both ways to go on, and values that are lent, are those that are
/// copied.
async fn lent(snapshot: &Snapshot, store: &Store) -> Result<()> {
    for (reverse, at_once) in [(false, false), (false, true), (true, false), (true, true)] {
        let range = ScanRange {
            reverse,
            ..ScanRange::all()
        };
        let mut copied = snapshot.scan(store, &range);
        let mut scan = snapshot.scan(store, &range);
        while (at_once && scan.advance_in_memory()) || scan.advance().await? {
            let record = copied.next().await?.unwrap();
            assert_eq!(scan.key(), record.key.as_bytes());
            assert_eq!(scan.value(), &record.value[..], "{:?}", record.key);
            let found = snapshot.get_pinned(store, &record.key).await?;
            assert_eq!(found.as_deref(), Some(&record.value[..]));
        }
        assert_eq!(copied.next().await?, None);
        assert_eq!((scan.key(), scan.value()), (&[][..], &[][..]));
    }
    Ok(())
}

async fn open(storage: &MemoryStorage, dice: &Dice) -> Result<(Db, Arc<Deferred>)> {
    let (environment, spawner) = environment(dice.next());
    let options = Options {
        fold_len_min: usize::try_from(500 + dice.below(20_000)).unwrap(),
        cache_len_max: 200_000,
        ..Options::default()
    };
    let db = Db::open_storage(Arc::new(storage.clone()), options, environment).await?;
    Ok((db, spawner))
}

/// Something to hold while the real one is closed.
fn open_none(_: &MemoryStorage) -> (Db, Arc<Deferred>) {
    let dice = Dice::new(1);
    block_on_nested(open(&MemoryStorage::new(), &dice)).unwrap()
}

fn block_on_nested<T>(future: impl Future<Output = T>) -> T {
    // Memory never waits, so one poll is enough, and an executor need not be entered twice.
    futures::FutureExt::now_or_never(future).unwrap()
}

async fn create(db: &Db) -> Result<Stores> {
    let merged = StoreSchema {
        columns: columns(),
        ..StoreSchema::default()
    };
    Ok(Stores {
        plain: db.create_store("plain", StoreSchema::default()).await?,
        merged: db.create_store("merged", merged).await?,
    })
}

#[test]
fn the_engine_agrees_with_a_map_whatever_happens() {
    for seed in crate::support::seeds(SEEDS) {
        let outcome = std::panic::catch_unwind(|| {
            block_on(async {
                let mut run = Run::begin(seed).await;
                for _ in 0..STEPS {
                    run.step().await;
                }
                run.check().await;
            });
        });
        if let Err(cause) = outcome {
            eprintln!("failed with seed {seed}; ECITON_SEED={seed} repeats it");
            std::panic::resume_unwind(cause);
        }
    }
}
