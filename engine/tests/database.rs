//! A database in a folder, as a program uses it.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking"
)]

use std::path::Path;
use std::sync::Arc;

use crate::support::{counted, environment};
use eciton_engine::base::limits::{BULK_LEN_MIN, KEY_LEN_MAX, SPILL_LEN_MIN, VALUE_LEN_MAX};
use eciton_engine::base::{Action, Datum, Error, Key};
use eciton_engine::db::{Db, Options, ScanRange, Store, StoreSchema, verify_folder};
use eciton_engine::merge;
use eciton_engine::storage::{MemoryStorage, Operation};

fn key(number: u64) -> Key {
    Key::from_datums(&[Datum::Int(i128::from(number))]).unwrap()
}

async fn open(folder: &Path) -> (Db, Store) {
    let db = Db::open(folder, Options::default()).await.unwrap();
    let store = db.create_store("s", StoreSchema::default()).await.unwrap();
    (db, store)
}

async fn count(db: &Db, store: &Store) -> u64 {
    db.store_stats(store).await.unwrap().records
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn commits_of_many_tasks_are_all_there_and_share_slots() {
    const TASKS: u64 = 16;
    const COMMITS: u64 = 50;
    let folder = tempfile::tempdir().unwrap();
    let (db, store) = open(folder.path()).await;
    let before = db.info().position;
    let tasks = (0..TASKS).map(|task| {
        let (db, store) = (db.clone(), store.clone());
        tokio::spawn(async move {
            for number in 0..COMMITS {
                let mut transaction = db.begin();
                transaction
                    .put(&store, &key(task * COMMITS + number), "1")
                    .unwrap();
                transaction.commit().await.unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert_eq!(count(&db, &store).await, TASKS * COMMITS);
    let slots = db.info().position.0 - before.0;
    assert!(slots < TASKS * COMMITS, "{slots} slots: none was shared");
    drop(db);
    let (db, store) = open(folder.path()).await;
    assert_eq!(count(&db, &store).await, TASKS * COMMITS);
}

/// Transfers between accounts conserve the total; without validation they would not.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_transfers_conserve_the_total() {
    const ACCOUNTS: u64 = 5;
    let folder = tempfile::tempdir().unwrap();
    let (db, store) = open(folder.path()).await;
    let mut transaction = db.begin();
    for account in 0..ACCOUNTS {
        transaction.put(&store, &key(account), "100").unwrap();
    }
    transaction.commit().await.unwrap();
    let tasks = (0..8).map(|task: u64| {
        let (db, store) = (db.clone(), store.clone());
        tokio::spawn(async move {
            let dice = crate::support::Dice::new(task);
            let mut conflicts = 0;
            for _ in 0..60 {
                let (from, to) = (dice.below(ACCOUNTS), dice.below(ACCOUNTS));
                if from == to {
                    continue;
                }
                loop {
                    let mut transaction = db.begin();
                    for (account, change) in [(from, -1i64), (to, 1)] {
                        let value = transaction
                            .get(&store, &key(account))
                            .await
                            .unwrap()
                            .unwrap();
                        let value: i64 = std::str::from_utf8(&value).unwrap().parse().unwrap();
                        let value = (value + change).to_string();
                        transaction.put(&store, &key(account), value).unwrap();
                    }
                    match transaction.commit().await {
                        Ok(_) => break,
                        Err(error) => assert_eq!(error.action(), Action::Retry, "{error}"),
                    }
                    conflicts += 1;
                }
            }
            conflicts
        })
    });
    let mut conflicts = 0;
    for task in tasks.collect::<Vec<_>>() {
        conflicts += task.await.unwrap();
    }
    let mut total = 0;
    let mut scan = db.snapshot().scan(&store, &ScanRange::all());
    while let Some(record) = scan.next().await.unwrap() {
        total += std::str::from_utf8(&record.value)
            .unwrap()
            .parse::<i64>()
            .unwrap();
    }
    assert_eq!(total, 500, "after {conflicts} conflicts");
    assert!(
        conflicts > 0,
        "eight tasks on five accounts never met: the test tests nothing"
    );
}

/// All add to one record that each reads first: nothing is lost, and whoever loses takes turns with the others, so
/// that there are not many more tries than commits.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_change_that_loses_is_made_again_and_in_turn() {
    const TASKS: u32 = 32;
    const CHANGES: u32 = 10;
    let folder = tempfile::tempdir().unwrap();
    let (db, store) = open(folder.path()).await;
    let tasks = (0..TASKS).map(|_| {
        let (db, store) = (db.clone(), store.clone());
        tokio::spawn(async move {
            let mut lost = 0;
            for _ in 0..CHANGES {
                let mut retry = db.retry();
                loop {
                    let mut transaction = retry.begin().await.unwrap();
                    let before = transaction.get(&store, &key(1)).await.unwrap();
                    let before = before.map_or(0, |text| {
                        std::str::from_utf8(&text).unwrap().parse::<u32>().unwrap()
                    });
                    let after = (before + 1).to_string();
                    transaction.put(&store, &key(1), after).unwrap();
                    if retry.commit(transaction).await.unwrap().is_some() {
                        break;
                    }
                }
                lost += retry.lost_tries();
            }
            lost
        })
    });
    let mut lost = 0;
    for task in tasks.collect::<Vec<_>>() {
        lost += task.await.unwrap();
    }
    let total = db.snapshot().get(&store, &key(1)).await.unwrap().unwrap();
    assert_eq!(total, (TASKS * CHANGES).to_string());
    assert!(lost > 0, "nobody ever lost: the test tests nothing");
    assert!(lost < TASKS * CHANGES * 4, "{lost} tries lost");
    // What no other try could mend is told at once.
    let mut retry = db.retry();
    let refused = retry.lost(Error::ReadOnly).await;
    assert!(matches!(refused, Err(Error::ReadOnly)), "{refused:?}");
}

#[tokio::test]
async fn what_conflicts_and_what_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let (db, store) = open(folder.path()).await;
    let (merged, columns, one) = counted(&db).await;

    // Two puts of one key: one conflicts. Of different keys of one page: none.
    let (mut a, mut b, mut c) = (db.begin(), db.begin(), db.begin());
    a.put(&store, &key(1), "a").unwrap();
    b.put(&store, &key(1), "b").unwrap();
    c.put(&store, &key(2), "c").unwrap();
    a.commit().await.unwrap();
    assert!(matches!(b.commit().await, Err(Error::Conflict { .. })));
    c.commit().await.unwrap();

    // Two merges of one key: none. A merge against a read of that key: it does.
    let (mut a, mut b, mut c) = (db.begin(), db.begin(), db.begin());
    a.merge(&merged, &key(1), &one).unwrap();
    b.merge(&merged, &key(1), &one).unwrap();
    assert_eq!(c.get(&merged, &key(1)).await.unwrap(), None);
    c.put(&store, &key(9), "c").unwrap();
    a.commit().await.unwrap();
    b.commit().await.unwrap();
    assert!(matches!(c.commit().await, Err(Error::Conflict { .. })));
    let state = db.snapshot().get(&merged, &key(1)).await.unwrap().unwrap();
    let value = merge::read_json(&columns, &key(1), &state).unwrap();
    assert_eq!(value.to_string(), r#"{"n":2}"#);

    // Blind puts: none, the later slot wins. A phantom in a scanned range: it does.
    let (mut a, mut b, mut c) = (db.begin(), db.begin(), db.begin());
    a.blind_put(&store, &key(5), "a").unwrap();
    b.blind_put(&store, &key(5), "b").unwrap();
    let range = ScanRange {
        from: Some(key(4)),
        to: Some(key(6)),
        ..ScanRange::all()
    };
    assert_eq!(c.scan(&store, &range).await.unwrap(), vec![]);
    c.put(&store, &key(9), "c").unwrap();
    a.commit().await.unwrap();
    b.commit().await.unwrap();
    assert!(matches!(c.commit().await, Err(Error::Conflict { .. })));
    assert_eq!(
        db.snapshot().get(&store, &key(5)).await.unwrap().as_deref(),
        Some(&b"b"[..])
    );

    // A store that was dropped under a transaction: it conflicts.
    let mut a = db.begin();
    a.merge(&merged, &key(1), &one).unwrap();
    assert!(db.drop_store("m").await.unwrap());
    assert!(matches!(a.commit().await, Err(Error::Conflict { .. })));
}

#[tokio::test]
async fn a_second_process_is_refused_and_told_by_whom_and_readers_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let (db, store) = open(folder.path()).await;
    let mut transaction = db.begin();
    transaction.put(&store, &key(1), "1").unwrap();
    transaction.commit().await.unwrap();
    match Db::open(folder.path(), Options::default())
        .await
        .map(|_| ())
    {
        Err(Error::Locked { pid, host, .. }) => {
            assert_eq!(pid, std::process::id());
            assert!(!host.is_empty());
        }
        other => panic!("{other:?}"),
    }
    let reader = Db::open_read_only(folder.path(), Options::default())
        .await
        .unwrap();
    let found = reader.store("s").await.unwrap().unwrap();
    assert_eq!(count(&reader, &found).await, 1);
    let mut transaction = reader.begin();
    assert!(matches!(
        transaction.put(&found, &key(2), "2"),
        Err(Error::ReadOnly)
    ));
    db.close().await.unwrap();
    // The lock goes with the last user, not with the call.
    drop(store);
    Db::open(folder.path(), Options::default()).await.unwrap();
}

#[tokio::test]
async fn a_transaction_of_any_size_is_one_slot_and_bounded_memory() {
    let folder = tempfile::tempdir().unwrap();
    let (db, store) = open(folder.path()).await;
    let before = db.info().position;
    let mut transaction = db.begin();
    let value = vec![7u8; 100_000];
    let records = (SPILL_LEN_MIN * 2 + BULK_LEN_MIN) / value.len();
    for number in 0..records as u64 {
        transaction
            .put(&store, &key(number), value.clone())
            .unwrap();
        transaction.relieve().await.unwrap();
    }
    // Own writes are seen, wherever they are by now.
    assert_eq!(
        transaction
            .get(&store, &key(0))
            .await
            .unwrap()
            .map(|v| v.len()),
        Some(100_000)
    );
    transaction.delete(&store, &key(0)).unwrap();
    assert_eq!(transaction.get(&store, &key(0)).await.unwrap(), None);
    let range = ScanRange {
        keys_only: true,
        ..ScanRange::all()
    };
    assert_eq!(
        transaction.scan(&store, &range).await.unwrap().len(),
        records - 1
    );
    assert_eq!(
        count(&db, &store).await,
        0,
        "nothing is visible before the commit"
    );
    let committed = transaction.commit().await.unwrap();
    assert_eq!(committed.position, before.next());
    assert_eq!(count(&db, &store).await, records as u64 - 1);
    db.fold().await.unwrap();
    assert_eq!(count(&db, &store).await, records as u64 - 1);
    drop(db);
    let (db, store) = open(folder.path()).await;
    assert_eq!(count(&db, &store).await, records as u64 - 1);
}

#[tokio::test]
async fn limits_hold_at_their_edges() {
    let folder = tempfile::tempdir().unwrap();
    let (db, store) = open(folder.path()).await;
    let longest = |len: usize| {
        Key::from_encoded(
            Key::from_datums(&[Datum::Bytes(vec![b'a'; len])])
                .unwrap()
                .into_bytes(),
        )
    };
    let overhead = longest(1000).len() - 1000;
    let fits = longest(KEY_LEN_MAX - overhead);
    assert_eq!(fits.len(), KEY_LEN_MAX);
    let mut transaction = db.begin();
    transaction
        .put(&store, &fits, vec![1; VALUE_LEN_MAX])
        .unwrap();
    let error = transaction
        .put(&store, &key(1), vec![1; VALUE_LEN_MAX + 1])
        .unwrap_err();
    assert!(matches!(error, Error::Limit { max, .. } if max == VALUE_LEN_MAX as u64));
    transaction.commit().await.unwrap();
    db.fold().await.unwrap();
    let found = db.snapshot().get(&store, &fits).await.unwrap();
    assert_eq!(found.map(|value| value.len()), Some(VALUE_LEN_MAX));
    let too_long = Key::from_encoded(vec![1; KEY_LEN_MAX + 1]);
    assert!(matches!(
        db.begin().put(&store, &too_long, "x"),
        Err(Error::Limit { .. })
    ));
    for name in ["", "_stores", "a\nb"] {
        let created = db.create_store(name, StoreSchema::default()).await;
        assert!(matches!(created, Err(Error::Invalid(_))), "{name:?}");
    }
    let created = db
        .create_store(&"x".repeat(256), StoreSchema::default())
        .await;
    assert!(matches!(created, Err(Error::Limit { .. })));
    db.create_store(&"x".repeat(255), StoreSchema::default())
        .await
        .unwrap();
}

#[tokio::test]
async fn dropped_stores_give_their_space_back_and_never_come_again() {
    let folder = tempfile::tempdir().unwrap();
    let (db, store) = open(folder.path()).await;
    let mut transaction = db.begin();
    for number in 0..1000 {
        transaction.put(&store, &key(number), vec![7; 100]).unwrap();
    }
    transaction.commit().await.unwrap();
    db.fold().await.unwrap();
    let before = db.info().runs_entries;
    assert!(db.drop_store("s").await.unwrap());
    assert!(!db.drop_store("s").await.unwrap());
    assert!(db.store("s").await.unwrap().is_none());
    let again = db.create_store("s", StoreSchema::default()).await.unwrap();
    assert_ne!(again.id(), store.id());
    assert_eq!(count(&db, &again).await, 0);
    let mut transaction = db.begin();
    for number in 0..1000 {
        transaction.put(&again, &key(number), vec![7; 100]).unwrap();
    }
    transaction.commit().await.unwrap();
    db.fold().await.unwrap();
    assert!(
        db.info().runs_entries < before + 100,
        "{} entries",
        db.info().runs_entries
    );
}

#[tokio::test]
async fn a_copy_becomes_a_database_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    let (db, store) = open(&first).await;
    for number in 0..20 {
        let mut transaction = db.begin();
        transaction.put(&store, &key(number), "v").unwrap();
        transaction.commit().await.unwrap();
        if number == 10 {
            db.fold().await.unwrap();
        }
    }
    // Copied while it is open and was never closed.
    let copied = std::process::Command::new("cp")
        .arg("-r")
        .args([&first, &second])
        .status();
    assert!(copied.unwrap().success());
    let (copy, copied_store) = open(&second).await;
    assert_eq!(count(&copy, &copied_store).await, 20);
    assert_ne!(copy.info().instance, db.info().instance);
    assert!(copy.info().generation > db.info().generation);
    let mut transaction = copy.begin();
    transaction.put(&copied_store, &key(100), "v").unwrap();
    transaction.commit().await.unwrap();
    copy.fold().await.unwrap();
    copy.close().await.unwrap();
    drop(copied_store);
    let (copy, copied_store) = open(&second).await;
    assert_eq!(count(&copy, &copied_store).await, 21);
    assert_eq!(count(&db, &store).await, 20);
    let report = verify_folder(&second, &|_| {}).await.unwrap();
    assert_eq!(report.broken, vec![]);
    // A folder that is moved stays itself.
    let instance = copy.info().instance;
    copy.close().await.unwrap();
    drop(copied_store);
    let third = folder.path().join("third");
    std::fs::rename(&second, &third).unwrap();
    assert_eq!(open(&third).await.0.info().instance, instance);
}

#[tokio::test]
async fn a_full_disc_fails_the_commit_whole_and_the_next_one_goes_on() {
    const ENOSPC: i32 = 28;
    let storage = MemoryStorage::new();
    let (environment, _) = environment(1);
    let db = Db::open_storage(Arc::new(storage.clone()), Options::default(), environment).await;
    let db = db.unwrap();
    let store = db.create_store("s", StoreSchema::default()).await.unwrap();
    let large = vec![1u8; 200_000];
    storage.inject(Operation::Allocate, ENOSPC);
    let mut transaction = db.begin();
    transaction.put(&store, &key(1), large.clone()).unwrap();
    match transaction.commit().await {
        Err(Error::Storage { errno, .. }) => assert_eq!(errno, Some(ENOSPC)),
        other => panic!("{other:?}"),
    }
    assert_eq!(count(&db, &store).await, 0);
    let mut transaction = db.begin();
    transaction.put(&store, &key(1), large).unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(count(&db, &store).await, 1);
}

#[tokio::test]
async fn a_failed_sync_is_never_tried_again() {
    const EIO: i32 = 5;
    let storage = MemoryStorage::new();
    let (env, _) = environment(1);
    let db = Db::open_storage(Arc::new(storage.clone()), Options::default(), env)
        .await
        .unwrap();
    let store = db.create_store("s", StoreSchema::default()).await.unwrap();
    storage.inject(Operation::WriteDurable, EIO);
    let mut transaction = db.begin();
    transaction.put(&store, &key(1), "1").unwrap();
    assert!(matches!(
        transaction.commit().await,
        Err(Error::CommitUnknown { .. })
    ));
    let mut transaction = db.begin();
    transaction.put(&store, &key(2), "2").unwrap();
    assert!(matches!(
        transaction.commit().await,
        Err(Error::Halted { .. })
    ));
    assert_eq!(
        count(&db, &store).await,
        0,
        "what is not known to be durable is not shown"
    );
    drop((db, store));
    let (env, _) = environment(2);
    let db = Db::open_storage(Arc::new(storage.restart()), Options::default(), env)
        .await
        .unwrap();
    let store = db.create_store("s", StoreSchema::default()).await.unwrap();
    let mut transaction = db.begin();
    transaction.put(&store, &key(3), "3").unwrap();
    transaction.commit().await.unwrap();
}

/// Whoever goes on after a failed sync may read bytes that the system shows and has given up writing; a
/// sync alone would report success. `eciton-crash` has this on a file system that does so.
#[tokio::test]
async fn opening_writes_the_newest_slot_once_more() {
    const EIO: i32 = 5;
    let storage = MemoryStorage::new();
    let open = |storage: &MemoryStorage| {
        let (env, _) = environment(1);
        Db::open_storage(Arc::new(storage.clone()), Options::default(), env)
    };
    let db = open(&storage).await.unwrap();
    db.create_store("s", StoreSchema::default()).await.unwrap();
    drop(db);
    let storage = storage.restart();
    storage.inject(Operation::WriteDurable, EIO);
    match open(&storage).await.map(drop) {
        Err(Error::Storage { op, .. }) => assert_eq!(op, "write_durable"),
        other => panic!("{other:?}"),
    }
    let db = open(&storage).await.unwrap();
    assert!(db.store("s").await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn folding_in_the_background_keeps_the_tail_short_while_snapshots_stay() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        fold_len_min: 100_000,
        ..Options::default()
    };
    let db = Db::open(folder.path(), options).await.unwrap();
    let store = db.create_store("s", StoreSchema::default()).await.unwrap();
    let snapshot = db.snapshot();
    for round in 0..60u64 {
        let mut transaction = db.begin();
        for number in 0..100 {
            transaction
                .put(&store, &key(round * 100 + number), vec![1; 200])
                .unwrap();
        }
        transaction.commit().await.unwrap();
        let tail = db.info().tail_len;
        assert!(tail < 100_000 * 5 + 100_000, "a tail of {tail} bytes");
    }
    assert!(db.info().manifest.0 > 0, "nothing was folded");
    assert_eq!(count(&db, &store).await, 6000);
    let mut scan = snapshot.scan(&store, &ScanRange::all());
    assert_eq!(
        scan.next().await.unwrap(),
        None,
        "the old snapshot still sees what it saw"
    );
}

#[tokio::test]
async fn a_folder_that_is_no_database_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("absent");
    let options = || Options {
        create: false,
        ..Options::default()
    };
    assert!(matches!(
        Db::open(&absent, options()).await.map(|_| ()),
        Err(Error::NotADatabase { .. })
    ));
    assert!(!absent.exists());
    let opened = Db::open_read_only(folder.path(), options())
        .await
        .map(|_| ());
    assert!(matches!(opened, Err(Error::NotADatabase { .. })));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// Creators of different names do not wait for each other: their commits share slots.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn stores_that_are_created_at_the_same_time_share_slots_and_have_numbers_of_their_own() {
    const TASKS: u64 = 16;
    const STORES: u64 = 25;
    let folder = tempfile::tempdir().unwrap();
    let (db, _) = open(folder.path()).await;
    let before = db.info().position;
    let tasks = (0..TASKS).map(|task| {
        let db = db.clone();
        tokio::spawn(async move {
            for number in 0..STORES {
                let name = format!("store-{task}-{number}");
                db.create_store(&name, StoreSchema::default())
                    .await
                    .unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let slots = db.info().position.0 - before.0;
    assert!(slots < TASKS * STORES, "{slots} slots: none was shared");
    let many: Vec<String> = (0..1000).map(|number| format!("many-{number}")).collect();
    let wanted: Vec<_> = many
        .iter()
        .map(|name| (&name[..], StoreSchema::default()))
        .collect();
    let at = db.info().position;
    let created = db.create_stores(&wanted).await.unwrap();
    assert_eq!(db.info().position, at.next());
    let again = db.create_stores(&wanted).await.unwrap();
    assert_eq!(db.info().position, at.next(), "what is there costs no slot");
    let ids = |stores: &[Store]| -> Vec<_> { stores.iter().map(Store::id).collect() };
    assert_eq!(ids(&created), ids(&again));
    let stores = db.stores().await.unwrap();
    let distinct: std::collections::BTreeSet<_> = stores.iter().map(Store::id).collect();
    assert_eq!(distinct.len() as u64, 1 + TASKS * STORES + 1000);
}

/// Closing returned while a fold that the last commit had started held the lock: who opened again at once was told
/// that another process, itself, had the database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lock_is_free_when_closing_returns() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        // Every commit starts a fold.
        fold_len_min: 1,
        ..Options::default()
    };
    for round in 0..40 {
        let db = Db::open(folder.path(), options.clone()).await.unwrap();
        let store = db.create_store("s", StoreSchema::default()).await.unwrap();
        let mut transaction = db.begin();
        transaction.put(&store, &key(round), "1").unwrap();
        transaction.commit().await.unwrap();
        drop(store);
        db.close().await.unwrap();
    }
    let (db, store) = open(folder.path()).await;
    assert_eq!(count(&db, &store).await, 40);
}
