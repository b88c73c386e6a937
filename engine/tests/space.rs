//! What gives space back: compaction, and collection that nobody asks for.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::Dice;
use eciton_engine::base::{Bounds, Datum, Error, Key};
use eciton_engine::db::{
    Db, Environment, Mode, Options, ScanRange, Snapshot, Store, StoreSchema, verify_folder,
};
use eciton_engine::merge::{Column, Kind, Operator, States};
use eciton_engine::storage::{Access, LocalStorage, Name, Storage};

/// Bytes that the folder of an empty database may have.
const EMPTY_LEN_MAX: u64 = 1_000_000;

fn key(number: u64) -> Key {
    Key::from_datums(&[Datum::Int(i128::from(number))]).unwrap()
}

fn options(fold_len_min: usize) -> Options {
    Options {
        fold_len_min,
        ..Options::default()
    }
}

async fn open(folder: &Path, options: Options) -> (Db, Store) {
    let db = Db::open(folder, options).await.unwrap();
    let store = db.create_store("s", StoreSchema::default()).await.unwrap();
    (db, store)
}

async fn put(db: &Db, store: &Store, numbers: std::ops::Range<u64>, value: &[u8]) {
    let mut transaction = db.begin();
    for number in numbers {
        transaction
            .put(store, &key(number), value.to_vec())
            .unwrap();
    }
    transaction.commit().await.unwrap();
}

async fn delete(db: &Db, store: &Store, numbers: std::ops::Range<u64>) {
    let mut transaction = db.begin();
    for number in numbers {
        transaction.delete(store, &key(number)).unwrap();
    }
    transaction.commit().await.unwrap();
}

async fn count(snapshot: &Snapshot, store: &Store) -> u64 {
    let mut scan = snapshot.scan(store, &ScanRange::all());
    let mut records = 0;
    while scan.next().await.unwrap().is_some() {
        records += 1;
    }
    records
}

/// Bytes of everything in a folder, directories as `du` counts them.
fn folder_len(folder: &Path) -> u64 {
    let mut len = 4096;
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        len += if entry.file_type().unwrap().is_dir() {
            folder_len(&entry.path())
        } else {
            entry.metadata().unwrap().len().next_multiple_of(4096)
        };
    }
    len
}

async fn names(folder: &Path, dir: &str) -> Vec<Name> {
    let storage = LocalStorage::open(folder, Access::ReadOnly).unwrap();
    storage.list(dir).await.unwrap()
}

async fn sound(folder: &Path) {
    let report = verify_folder(folder, &|_| {}).await.unwrap();
    assert_eq!(report.broken, vec![], "{report:?}");
    assert_eq!(report.unused_segments, 0, "{report:?}");
}

#[tokio::test]
async fn after_deleting_everything_a_compacted_folder_is_small_open_and_closed() {
    let folder = tempfile::tempdir().unwrap();
    let (db, store) = open(folder.path(), options(200_000)).await;
    let merged = StoreSchema {
        columns: vec![Column::new("n", Operator::Count, Kind::Any).unwrap()],
        ..StoreSchema::default()
    };
    let dropped = db.create_store("dropped", merged.clone()).await.unwrap();
    let mut one = States::new(&merged.columns);
    one[0].add_rows(1);
    let dice = Dice::new(2);
    for part in 0..400 {
        let mut transaction = db.begin();
        for number in part * 100..(part + 1) * 100 {
            let value: Vec<u8> = (0..200).map(|_| dice.next().to_le_bytes()[0]).collect();
            transaction.put(&store, &key(number), value).unwrap();
        }
        transaction.commit().await.unwrap();
        let mut transaction = db.begin();
        let operand = one.to_operand().unwrap();
        transaction.merge(&dropped, &key(part), &operand).unwrap();
        transaction.commit().await.unwrap();
    }
    let before = folder_len(folder.path());
    assert!(before > 5 * EMPTY_LEN_MAX, "{before} bytes");
    for part in 0..40 {
        delete(&db, &store, part * 1000..(part + 1) * 1000).await;
    }
    assert!(db.drop_store("dropped").await.unwrap());
    let outcome = db.compact().await.unwrap();
    assert!(!outcome.fold.lost);
    let info = db.info();
    // What is left is the record of the store itself, and the next store's number.
    assert_eq!((info.runs, info.runs_entries), (1, 2), "{info:?}");
    let open = folder_len(folder.path());
    assert!(open < EMPTY_LEN_MAX, "{open} bytes while it is open");
    assert_eq!(count(&db.snapshot(), &store).await, 0);
    sound(folder.path()).await;
    // It goes on, and is the same when it is opened again.
    put(&db, &store, 0..10, b"new").await;
    db.close().await.unwrap();
    drop(store);
    let (db, store) = self::open(folder.path(), Options::default()).await;
    assert_eq!(count(&db.snapshot(), &store).await, 10);
    db.compact().await.unwrap();
    let again = folder_len(folder.path());
    assert!(again < EMPTY_LEN_MAX, "{again} bytes when opened again");
    sound(folder.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn compaction_lets_commits_and_readers_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let (db, store) = open(folder.path(), options(50_000)).await;
    for part in 0..100 {
        put(&db, &store, part * 100..(part + 1) * 100, &[1; 100]).await;
    }
    delete(&db, &store, 0..5_000).await;
    let old = db.snapshot();
    let mut scan = old.scan(&store, &ScanRange::all());
    assert!(scan.next().await.unwrap().is_some());
    let ends = Arc::new(AtomicBool::new(false));
    let writer = {
        let (db, store, ends) = (db.clone(), store.clone(), Arc::clone(&ends));
        tokio::spawn(async move {
            let mut rounds = 0;
            // Many times the tail at which a commit has to wait for folding.
            while rounds < 30 || !ends.load(Ordering::Acquire) {
                let from = 100_000 + rounds * 100;
                put(&db, &store, from..from + 100, &[2; 100]).await;
                rounds += 1;
            }
            rounds
        })
    };
    for _ in 0..5 {
        assert!(!db.compact().await.unwrap().fold.lost);
    }
    ends.store(true, Ordering::Release);
    let rounds = writer.await.unwrap();
    // The old state is all there although its files have gone.
    let mut rest = 1;
    while let Some(record) = scan.next().await.unwrap() {
        assert_eq!(record.value[..], [1; 100]);
        rest += 1;
    }
    assert_eq!(rest, 5_000);
    assert_eq!(count(&old, &store).await, 5_000);
    assert_eq!(count(&db.snapshot(), &store).await, 5_000 + rounds * 100);
    drop((old, scan));
    db.compact().await.unwrap();
    assert_eq!(db.info().runs, 1);
    sound(folder.path()).await;
}

#[tokio::test]
async fn space_comes_back_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let (db, store) = open(folder.path(), options(50_000)).await;
    let dice = Dice::new(1);
    for _ in 0..150 {
        // The same thousand records, over and over.
        let from = dice.below(900);
        put(&db, &store, from..from + 100, &[7; 100]).await;
        db.fold().await.unwrap();
    }
    let len = folder_len(folder.path());
    assert!(len < 2 * EMPTY_LEN_MAX, "{len} bytes for 100 KB of records");
    let manifests = names(folder.path(), Name::MANIFEST).await.len();
    assert!((2..20).contains(&manifests), "{manifests} manifests");
    let logs = names(folder.path(), Name::LOG).await.len();
    assert!(logs < 6, "{logs} log files");
    assert_eq!(names(folder.path(), Name::FLOOR).await.len(), 1);
    db.collect().await.unwrap();
    assert_eq!(names(folder.path(), Name::MANIFEST).await.len(), 2);
    sound(folder.path()).await;
}

#[tokio::test]
async fn what_a_crash_leaves_is_collected_after_the_first_fold() {
    let folder = tempfile::tempdir().unwrap();
    let (db, store) = open(folder.path(), Options::default()).await;
    put(&db, &store, 0..10, b"1").await;
    drop((db, store));
    let leftover = folder.path().join("seg/00");
    std::fs::create_dir_all(&leftover).unwrap();
    let name = format!("{:016x}-{:032x}", 1, 77);
    std::fs::write(leftover.join(name), b"half of a run").unwrap();
    let (db, store) = open(folder.path(), Options::default()).await;
    put(&db, &store, 10..20, b"1").await;
    db.fold().await.unwrap();
    sound(folder.path()).await;
    assert_eq!(count(&db.snapshot(), &store).await, 20);
}

/// Its runs stand in no manifest and no slot while others fold and collect again and again.
#[tokio::test]
async fn a_long_transaction_outlives_any_number_of_collections() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(10_000);
    options.bounds = Bounds {
        bulk_len_min: 5_000,
        spill_len_min: 20_000,
        ..Bounds::default()
    };
    let (db, store) = open(folder.path(), options.clone()).await;
    let other = db.create_store("o", StoreSchema::default()).await.unwrap();
    let mut long = db.begin();
    for number in 0..1_000 {
        long.put(&store, &key(number), vec![7; 100]).unwrap();
        long.relieve().await.unwrap();
        if number % 50 == 0 {
            put(&db, &other, number..number + 30, &[1; 100]).await;
            db.fold().await.unwrap();
            db.collect().await.unwrap();
        }
    }
    db.compact().await.unwrap();
    long.commit().await.unwrap();
    assert_eq!(count(&db.snapshot(), &store).await, 1_000);
    drop(db);
    let (db, store) = open(folder.path(), options).await;
    assert_eq!(count(&db.snapshot(), &store).await, 1_000);
    db.fold().await.unwrap();
    db.collect().await.unwrap();
    db.collect().await.unwrap();
    sound(folder.path()).await;
}

/// A reader that opens while files go finds a state that was acknowledged, or begins again by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_reader_beside_never_takes_collection_for_damage() {
    let folder = tempfile::tempdir().unwrap();
    let (db, store) = open(folder.path(), options(5_000)).await;
    put(&db, &store, 0..100, b"0").await;
    let ends = Arc::new(AtomicBool::new(false));
    let writer = {
        let (db, store, ends) = (db.clone(), store.clone(), Arc::clone(&ends));
        tokio::spawn(async move {
            let mut round = 0u64;
            while !ends.load(Ordering::Acquire) {
                round += 1;
                put(&db, &store, 0..100, round.to_string().as_bytes()).await;
                if round.is_multiple_of(4) {
                    db.compact().await.unwrap();
                } else {
                    db.fold().await.unwrap();
                    db.collect().await.unwrap();
                }
            }
        })
    };
    let mut newest = 0;
    // Some forty states with ten compactions among them, whoever is quicker.
    while newest < 40 {
        let reader = match Db::open_read_only(folder.path(), Options::default()).await {
            Ok(reader) => reader,
            Err(Error::SnapshotTooOld { .. }) => continue,
            Err(error) => panic!("{error}"),
        };
        let store = reader.store("s").await.unwrap().unwrap();
        let snapshot = reader.snapshot();
        let mut scan = snapshot.scan(&store, &ScanRange::all());
        let mut seen = Vec::new();
        while let Some(record) = scan.next().await.unwrap() {
            seen.push(record.value);
        }
        assert_eq!(seen.len(), 100);
        assert!(seen.iter().all(|value| *value == seen[0]), "a torn state");
        let round: u64 = std::str::from_utf8(&seen[0]).unwrap().parse().unwrap();
        assert!(round >= newest, "{round} after {newest}");
        newest = round;
    }
    ends.store(true, Ordering::Release);
    writer.await.unwrap();
}

#[tokio::test]
async fn a_compacted_folder_can_be_shared_and_compacted_by_any_process() {
    let folder = tempfile::tempdir().unwrap();
    let (db, store) = open(folder.path(), options(10_000)).await;
    put(&db, &store, 0..500, &[7; 100]).await;
    db.compact().await.unwrap();
    db.close().await.unwrap();
    drop(store);
    let join = async || {
        let storage = Arc::new(LocalStorage::open(folder.path(), Access::ReadWrite).unwrap());
        let options = Options {
            mode: Mode::Clustered,
            // No fold but those that are asked for.
            ..Options::default()
        };
        Db::open_storage(storage, options, Environment::default())
            .await
            .unwrap()
    };
    let (a, b) = (join().await, join().await);
    let store = a.store("s").await.unwrap().unwrap();
    for round in 0..5 {
        put(&a, &store, round * 100..(round + 1) * 100, &[8; 100]).await;
        b.refresh().await.unwrap();
        delete(&b, &store, round * 100..round * 100 + 50).await;
        a.refresh().await.unwrap();
        assert!(!b.compact().await.unwrap().fold.lost);
        assert_eq!(b.info().runs, 1);
        a.fold().await.unwrap();
    }
    for db in [a, b] {
        db.refresh().await.unwrap();
        assert_eq!(count(&db.snapshot(), &store).await, 250);
        db.close().await.unwrap();
    }
    drop(store);
    let (db, store) = open(folder.path(), options(10_000)).await;
    assert_eq!(count(&db.snapshot(), &store).await, 250);
    db.compact().await.unwrap();
    sound(folder.path()).await;
}

/// A process that ends while it begins a log file leaves zeros under the next slot's name. The file before it
/// must not go on beyond that name: it would be collected as if it ended there.
#[tokio::test]
async fn a_log_file_whose_beginning_was_interrupted_takes_the_next_slot() {
    for clustered in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let (db, store) = open(folder.path(), Options::default()).await;
        put(&db, &store, 0..10, b"1").await;
        let next = db.info().position.next();
        db.close().await.unwrap();
        drop(store);
        let name = Name::log(eciton_engine::base::Generation(0), next);
        std::fs::write(folder.path().join(name.as_str()), vec![0; 65536]).unwrap();
        sound(folder.path()).await;
        let options = Options {
            mode: if clustered {
                Mode::Clustered
            } else {
                Mode::Standalone
            },
            ..Options::default()
        };
        let (db, store) = open(folder.path(), options.clone()).await;
        for part in 1..10 {
            put(&db, &store, part * 10..(part + 1) * 10, b"1").await;
        }
        db.fold().await.unwrap();
        db.collect().await.unwrap();
        put(&db, &store, 100..110, b"1").await;
        db.fold().await.unwrap();
        put(&db, &store, 110..120, b"1").await;
        db.collect().await.unwrap();
        db.close().await.unwrap();
        drop(store);
        let (db, store) = open(folder.path(), options).await;
        assert_eq!(count(&db.snapshot(), &store).await, 120);
        let report = verify_folder(folder.path(), &|_| {}).await.unwrap();
        assert_eq!(report.broken, vec![], "{report:?}");
    }
}
