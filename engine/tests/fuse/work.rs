//! What the machines do, and what must be true afterwards.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use eciton_engine::base::clock::SystemClock;
use eciton_engine::base::entropy::{Entropy, SystemEntropy};
use eciton_engine::base::spawn::RayonSpawner;
use eciton_engine::base::{Datum, Error, Key, Position, TxId};
use eciton_engine::coord::{SharedCoordinator, Silence};
use eciton_engine::db::{
    Db, Encoding, Environment, Mode, Options, ScanRange, Store, StoreSchema, Transaction,
    verify_folder,
};
use eciton_engine::merge::{self, Column, Kind, Operator, States};

use crate::support::Dice;

pub(crate) const ACCOUNTS: u64 = 10;
pub(crate) const BEGINNING: u64 = 100;
/// Of each kind, a machine.
pub(crate) const STEPS: u64 = 25;

pub(crate) fn clustered() -> Options {
    Options {
        mode: Mode::Clustered,
        fold_len_min: 20_000,
        ..Options::default()
    }
}

/// Opens as one of several, who hear nothing of each other.
pub(crate) async fn join_with(folder: &Path, options: Options) -> Result<Db, Error> {
    let (clock, entropy) = (Arc::new(SystemClock::new()), Arc::new(SystemEntropy));
    let coordinator = SharedCoordinator::new(
        Arc::new(Silence),
        Arc::clone(&clock) as _,
        Arc::clone(&entropy) as Arc<dyn Entropy>,
    );
    let environment = Environment {
        clock,
        entropy,
        spawner: Arc::new(RayonSpawner),
        coordinator: Arc::new(coordinator),
        witness: None,
    };
    Db::open_among(folder, options, environment).await
}

pub(crate) async fn join(folder: &Path) -> Db {
    join_with(folder, clustered()).await.unwrap()
}

pub(crate) async fn alone(folder: &Path) -> Result<Db, Error> {
    Db::open(folder, Options::default()).await
}

pub(crate) fn key(number: u64) -> Key {
    Key::from_datums(&[Datum::Int(i128::from(number))]).unwrap()
}

fn raw() -> StoreSchema {
    StoreSchema {
        encoding: Encoding::Raw,
        ..StoreSchema::default()
    }
}

fn columns() -> Vec<Column> {
    vec![Column::new("n", Operator::Count, Kind::Any).unwrap()]
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().unwrap())
}

/// The stores that all work on.
#[derive(Clone)]
pub(crate) struct Stores {
    pub(crate) accounts: Store,
    /// One record, a list of numbers.
    pub(crate) list: Store,
    /// One record, a count.
    pub(crate) sum: Store,
}

impl Stores {
    pub(crate) async fn of(db: &Db) -> Stores {
        let sum = StoreSchema {
            columns: columns(),
            ..StoreSchema::default()
        };
        Stores {
            accounts: db.create_store("accounts", raw()).await.unwrap(),
            list: db.create_store("list", raw()).await.unwrap(),
            sum: db.create_store("sum", sum).await.unwrap(),
        }
    }
}

/// Fills the accounts.
pub(crate) async fn begin(db: &Db) -> Stores {
    let stores = Stores::of(db).await;
    let mut transaction = db.begin();
    for account in 0..ACCOUNTS {
        let value = BEGINNING.to_le_bytes().to_vec();
        transaction
            .put(&stores.accounts, &key(account), value)
            .unwrap();
    }
    transaction.commit().await.unwrap();
    stores
}

/// Runs a transaction until it commits.
async fn until_committed(db: &Db, work: impl AsyncFn(&mut Transaction) -> Result<(), Error>) {
    loop {
        let mut transaction = db.begin();
        let done = match work(&mut transaction).await {
            Ok(()) => transaction.commit().await.map(drop),
            Err(error) => Err(error),
        };
        match done {
            Ok(()) => return,
            Err(Error::Conflict { .. } | Error::TooOld { .. } | Error::SnapshotTooOld { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

async fn transfer(db: &Db, stores: &Stores, from: u64, to: u64, amount: u64) {
    let accounts = &stores.accounts;
    until_committed(db, async |transaction| {
        let there = number(&transaction.get(accounts, &key(from)).await?.unwrap());
        let moved = there.min(amount);
        let set = |value: u64| value.to_le_bytes().to_vec();
        transaction.put(accounts, &key(from), set(there - moved))?;
        let here = number(&transaction.get(accounts, &key(to)).await?.unwrap());
        transaction.put(accounts, &key(to), set(here + moved))
    })
    .await;
}

pub(crate) async fn append(db: &Db, stores: &Stores, element: u64) {
    until_committed(db, async |transaction| {
        let list = transaction.get(&stores.list, &key(0)).await?;
        let mut list = list.map(|list| list.to_vec()).unwrap_or_default();
        list.extend(element.to_le_bytes());
        transaction.put(&stores.list, &key(0), list)
    })
    .await;
}

/// Tries once, as far as nobody conflicts: why not, and what to ask about where that is not certain.
pub(crate) async fn try_append(
    db: &Db,
    stores: &Stores,
    element: u64,
) -> Result<(), (Error, Option<(TxId, Position)>)> {
    loop {
        let mut transaction = db.begin();
        let asked = (transaction.txid(), transaction.position());
        let read = transaction.get(&stores.list, &key(0)).await;
        let mut list = match read {
            Ok(list) => list.map(|list| list.to_vec()).unwrap_or_default(),
            Err(error) => return Err((error, None)),
        };
        list.extend(element.to_le_bytes());
        transaction.put(&stores.list, &key(0), list).unwrap();
        match transaction.commit().await {
            Ok(_) => return Ok(()),
            Err(Error::Conflict { .. } | Error::TooOld { .. } | Error::SnapshotTooOld { .. }) => {}
            Err(error @ Error::CommitUnknown { .. }) => return Err((error, Some(asked))),
            Err(error) => return Err((error, None)),
        }
    }
}

async fn add(db: &Db, stores: &Stores) {
    let mut one = States::new(&columns());
    one[0].add_rows(1);
    let one = one.to_operand().unwrap();
    until_committed(db, async |transaction| {
        transaction.merge(&stores.sum, &key(0), &one)
    })
    .await;
}

/// What one machine does: three tasks at once, and folds and collections in between.
pub(crate) async fn work(db: Db, machine: u64, seed: u64) {
    let stores = Stores::of(&db).await;
    let transfers = async {
        let dice = Dice::new(seed * 100 + machine);
        for _ in 0..STEPS {
            let (from, to) = (dice.below(ACCOUNTS), dice.below(ACCOUNTS));
            transfer(&db, &stores, from, to, 1 + dice.below(10)).await;
        }
    };
    let appends = async {
        for step in 0..STEPS {
            append(&db, &stores, machine * STEPS + step).await;
            if step % 10 == 7 {
                db.fold().await.unwrap();
                db.collect().await.unwrap();
            }
        }
    };
    let adds = async {
        for _ in 0..STEPS {
            add(&db, &stores).await;
        }
    };
    futures::join!(transfers, appends, adds);
    db.close().await.unwrap();
}

/// The list, in its order.
pub(crate) async fn list(db: &Db, stores: &Stores) -> Vec<u64> {
    let list = db.snapshot().get(&stores.list, &key(0)).await.unwrap();
    let list = list.unwrap_or_default();
    list.chunks(8).map(number).collect()
}

/// Nothing is lost, nothing is there twice, and the total is what it was.
pub(crate) async fn check(db: &Db, machines: u64) {
    let stores = Stores::of(db).await;
    let mut scan = db.snapshot().scan(&stores.accounts, &ScanRange::all());
    let mut total = 0;
    while let Some(record) = scan.next().await.unwrap() {
        total += number(&record.value);
    }
    assert_eq!(total, ACCOUNTS * BEGINNING);
    let list = list(db, &stores).await;
    let elements: BTreeSet<u64> = list.iter().copied().collect();
    assert_eq!(list.len(), elements.len(), "twice: {list:?}");
    assert_eq!(elements, (0..machines * STEPS).collect());
    let state = db.snapshot().get(&stores.sum, &key(0)).await.unwrap();
    let value = merge::read_json(&columns(), &key(0), &state.unwrap()).unwrap();
    assert_eq!(
        value.to_string(),
        format!(r#"{{"n":{}}}"#, machines * STEPS)
    );
}

pub(crate) async fn verify(folder: &Path) {
    let report = verify_folder(folder, &|_| {}).await.unwrap();
    assert_eq!(report.broken, vec![], "{}", folder.display());
}
