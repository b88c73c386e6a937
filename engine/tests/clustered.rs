//! Several processes at one folder, as far as one program can be several: each has a handle, a lock and a
//! coordinator of its own, and nothing between them but the folder.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::path::Path;
use std::sync::Arc;

use crate::support::Dice;
use eciton_engine::base::clock::SystemClock;
use eciton_engine::base::entropy::{Entropy, SystemEntropy};
use eciton_engine::base::spawn::RayonSpawner;
use eciton_engine::base::{Datum, Error, Key, Position};
use eciton_engine::coord::{SharedCoordinator, Silence};
use eciton_engine::db::{
    Db, Encoding, Environment, Mode, Options, ScanRange, Settled, Store, StoreSchema, verify_folder,
};
use eciton_engine::storage::{Access, LocalStorage};

const ACCOUNTS: u64 = 20;
const BEGINNING: u64 = 100;

fn environment() -> Environment {
    let (clock, entropy) = (Arc::new(SystemClock::new()), Arc::new(SystemEntropy));
    let coordinator = SharedCoordinator::new(
        Arc::new(Silence),
        Arc::clone(&clock) as _,
        Arc::clone(&entropy) as Arc<dyn Entropy>,
    );
    Environment {
        clock,
        entropy,
        spawner: Arc::new(RayonSpawner),
        coordinator: Arc::new(coordinator),
        witness: None,
    }
}

async fn join(folder: &Path) -> Result<Db, Error> {
    let storage = Arc::new(LocalStorage::open(folder, Access::ReadWrite)?);
    let options = Options {
        mode: Mode::Clustered,
        fold_len_min: 20_000,
        ..Options::default()
    };
    Db::open_storage(storage, options, environment()).await
}

fn key(number: u64) -> Key {
    Key::from_datums(&[Datum::Int(i128::from(number))]).unwrap()
}

fn raw() -> StoreSchema {
    StoreSchema {
        encoding: Encoding::Raw,
        ..StoreSchema::default()
    }
}

fn amount(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().unwrap())
}

async fn total(db: &Db, store: &Store) -> u64 {
    let mut scan = db.snapshot().scan(store, &ScanRange::all());
    let mut total = 0;
    while let Some(record) = scan.next().await.unwrap() {
        total += amount(&record.value);
    }
    total
}

async fn transfer(db: &Db, store: &Store, dice: &Dice) {
    let (from, to) = (dice.below(ACCOUNTS), dice.below(ACCOUNTS));
    if from == to {
        return;
    }
    loop {
        let mut transaction = db.begin();
        let there = transaction.get(store, &key(from)).await.unwrap().unwrap();
        let here = transaction.get(store, &key(to)).await.unwrap().unwrap();
        let moved = amount(&there).min(1 + dice.below(10));
        let (there, here) = (amount(&there) - moved, amount(&here) + moved);
        let set = |value: u64| value.to_le_bytes().to_vec();
        transaction.put(store, &key(from), set(there)).unwrap();
        transaction.put(store, &key(to), set(here)).unwrap();
        match transaction.commit().await {
            Ok(_) => return,
            Err(Error::Conflict { .. } | Error::TooOld { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Both add different keys to one node of a new, empty store at the same time, and both commit at the first
/// try.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn different_keys_of_one_node_commit_at_the_first_try() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (
        join(folder.path()).await.unwrap(),
        join(folder.path()).await.unwrap(),
    );
    let store = a.create_store("s", raw()).await.unwrap();
    b.refresh().await.unwrap();
    let same = b.store("s").await.unwrap().unwrap();
    let (mut first, mut second) = (a.begin(), b.begin());
    first.put(&store, &key(1), "a").unwrap();
    second.put(&same, &key(2), "b").unwrap();
    let (first, second) = tokio::join!(first.commit(), second.commit());
    let (first, second) = (first.unwrap().position, second.unwrap().position);
    assert_ne!(first, second);
    for db in [a, b] {
        db.reach(first.max(second)).await.unwrap();
        let beyond = db.reach(Position(1000)).await.err();
        assert!(matches!(beyond, Some(Error::Invalid(_))), "{beyond:?}");
        let snapshot = db.snapshot();
        for (number, value) in [(1, "a"), (2, "b")] {
            let found = snapshot.get(&store, &key(number)).await.unwrap();
            assert_eq!(found.as_deref(), Some(value.as_bytes()));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn transfers_conserve_the_total_while_all_fold_and_collect_and_modes_change() {
    let folder = tempfile::tempdir().unwrap();
    let seed = 20_261_124;
    println!("seed {seed}");
    let db = Db::open(folder.path(), Options::default()).await.unwrap();
    let store = db.create_store("accounts", raw()).await.unwrap();
    let mut transaction = db.begin();
    for account in 0..ACCOUNTS {
        let value = BEGINNING.to_le_bytes().to_vec();
        transaction.put(&store, &key(account), value).unwrap();
    }
    transaction.commit().await.unwrap();
    db.close().await.unwrap();
    for round in 0..2 {
        let mut processes = Vec::new();
        for process in 0..4 {
            let path = folder.path().to_owned();
            processes.push(tokio::spawn(async move {
                let db = join(&path).await.unwrap();
                let store = db.store("accounts").await.unwrap().unwrap();
                let dice = Dice::new(seed + 10 * round + process);
                for step in 0..25 {
                    transfer(&db, &store, &dice).await;
                    if step % 16 == 7 {
                        db.fold().await.unwrap();
                        db.collect().await.unwrap();
                    }
                }
                assert_eq!(total(&db, &store).await, ACCOUNTS * BEGINNING);
                db.close().await.unwrap();
            }));
        }
        for process in processes {
            process.await.unwrap();
        }
        // The same folder, standalone: it goes on in an append file.
        let db = Db::open(folder.path(), Options::default()).await.unwrap();
        assert_eq!(total(&db, &store).await, ACCOUNTS * BEGINNING);
        transfer(&db, &store, &Dice::new(seed)).await;
        db.close().await.unwrap();
        let report = verify_folder(folder.path(), &|_| {}).await.unwrap();
        assert_eq!(report.broken, vec![], "round {round}");
    }
}

#[tokio::test]
async fn the_modes_exclude_each_other_and_say_who_is_in() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (
        join(folder.path()).await.unwrap(),
        join(folder.path()).await.unwrap(),
    );
    let refused = Db::open(folder.path(), Options::default()).await.err();
    assert!(
        matches!(refused, Some(Error::Locked { pid, .. }) if pid == std::process::id()),
        "{refused:?}"
    );
    drop((a, b));
    let alone = Db::open(folder.path(), Options::default()).await.unwrap();
    let refused = join(folder.path()).await.err();
    assert!(matches!(refused, Some(Error::Locked { .. })), "{refused:?}");
    drop(alone);
    join(folder.path()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_nobody_sent_is_cancelled_for_good_and_one_that_stands_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let db = join(folder.path()).await.unwrap();
    let store = db.create_store("s", raw()).await.unwrap();
    let mut lost = db.begin();
    lost.put(&store, &key(1), "x").unwrap();
    let (txid, read_at) = (lost.txid(), lost.position());
    assert_eq!(db.settle(txid, read_at).await.unwrap(), Settled::Cancelled);
    // Whoever still holds it cannot commit it any more.
    let refused = lost.commit().await.err();
    assert!(
        matches!(refused, Some(Error::Cancelled { .. })),
        "{refused:?}"
    );
    let mut stands = db.begin();
    stands.put(&store, &key(2), "y").unwrap();
    let (txid, read_at) = (stands.txid(), stands.position());
    let position = stands.commit().await.unwrap().position;
    let other = join(folder.path()).await.unwrap();
    let settled = other.settle(txid, read_at).await.unwrap();
    assert_eq!(settled, Settled::Committed(position));
    assert!(position > Position::ZERO);
}

/// A standalone process ended in the moment after it had begun its next log file: that name is the one that
/// the next slot needs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_file_that_was_only_begun_does_not_stand_in_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let db = join(folder.path()).await.unwrap();
    let store = db.create_store("s", raw()).await.unwrap();
    let next = db.snapshot().position().0 + 1;
    drop(db);
    let standalone = Db::open(folder.path(), Options::default()).await.unwrap();
    let mut transaction = standalone.begin();
    transaction.put(&store, &key(1), "lost").unwrap();
    transaction.commit().await.unwrap();
    drop(standalone);
    let name = format!("log/g00000000/{:013x}/{next:016x}", next / 4096);
    let path = folder.path().join(name);
    let head = std::fs::read(&path).unwrap()[..512].to_vec();
    std::fs::write(&path, head).unwrap();
    let db = join(folder.path()).await.unwrap();
    let mut transaction = db.begin();
    transaction.put(&store, &key(2), "there").unwrap();
    assert_eq!(transaction.commit().await.unwrap().position.0, next);
}
