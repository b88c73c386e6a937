//! Changes that take turns: each runs on what those before it are about to commit, and they share a slot.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use eciton_engine::base::{Datum, Error, Key, Position, Result};
use eciton_engine::db::{Db, Options, Retry, Store, StoreSchema, Transaction};
use tokio::sync::Barrier;

fn key(number: u64) -> Key {
    Key::from_datums(&[Datum::Int(i128::from(number))]).unwrap()
}

async fn open(folder: &std::path::Path) -> (Db, Store) {
    let db = Db::open(folder, Options::default()).await.unwrap();
    let store = db.create_store("s", StoreSchema::default()).await.unwrap();
    (db, store)
}

async fn read(transaction: &mut Transaction, store: &Store, number: u64) -> Result<u64> {
    let value = transaction.get(store, &key(number)).await?;
    Ok(value.map_or(0, |text| {
        std::str::from_utf8(&text).unwrap().parse().unwrap()
    }))
}

/// Loses once, so that the next try waits for its turn.
async fn lose(retry: &mut Retry<'_>) {
    let transaction = retry.begin().await.unwrap();
    drop(transaction);
    let what = "made up".to_owned();
    let read_at = Position(1);
    retry.lost(Error::Conflict { what, read_at }).await.unwrap();
}

/// How often a client that nobody else waits with tries to have a turn all the same.
const ALONE_MAX: u32 = 20;

/// What each of several clients does when it is its turn.
async fn together<F, T>(db: &Db, clients: u64, client: F) -> Vec<T>
where
    F: AsyncFn(u64, Retry<'_>, Transaction) -> T,
{
    let start = Barrier::new(usize::try_from(clients).unwrap());
    let all = (0..clients).map(async |number| {
        let mut retry = db.retry();
        lose(&mut retry).await;
        start.wait().await;
        for _ in 0..ALONE_MAX {
            let transaction = retry.begin().await.unwrap();
            if transaction.is_in_turn() {
                return client(number, retry, transaction).await;
            }
            // Nobody else waited: perhaps others come.
            drop(transaction);
            tokio::task::yield_now().await;
        }
        // The others are done.
        let transaction = retry.begin().await.unwrap();
        client(number, retry, transaction).await
    });
    futures::future::join_all(all).await
}

#[tokio::test]
async fn those_who_take_turns_see_each_other_and_share_a_slot() {
    const CLIENTS: u64 = 20;
    let folder = tempfile::tempdir().unwrap();
    let (db, store) = open(folder.path()).await;
    let before = db.snapshot().position();
    let committed = together(&db, CLIENTS, async |_, mut retry, mut transaction| {
        // The one that leads the others may find nobody to lead it: it goes on by itself.
        loop {
            let seen = read(&mut transaction, &store, 1).await.unwrap();
            transaction
                .put(&store, &key(1), (seen + 1).to_string())
                .unwrap();
            if let Some(committed) = retry.commit(transaction).await.unwrap() {
                return (seen, committed.position);
            }
            transaction = retry.begin().await.unwrap();
        }
    })
    .await;
    let mut seen: Vec<u64> = committed.iter().map(|(seen, _)| *seen).collect();
    seen.sort_unstable();
    assert_eq!(
        seen,
        (0..CLIENTS).collect::<Vec<_>>(),
        "each saw the one before it"
    );
    let slots = committed.iter().map(|(_, slot)| *slot).max().unwrap().0 - before.0;
    assert!(slots < CLIENTS / 2, "{CLIENTS} commits took {slots} slots");
    // A process that opens the database later sees what they wrote.
    db.close().await.unwrap();
    let (db, store) = open(folder.path()).await;
    let value = db.snapshot().get(&store, &key(1)).await.unwrap().unwrap();
    assert_eq!(value, CLIENTS.to_string());
}

#[tokio::test]
async fn one_that_gives_up_its_turn_leaves_nothing_and_holds_up_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let (db, store) = open(folder.path()).await;
    let done = together(&db, 8, async |number, mut retry, mut transaction| {
        if number % 2 == 0 {
            // Written to, and dropped.
            transaction.put(&store, &key(1), "1000").unwrap();
            return None;
        }
        loop {
            let seen = read(&mut transaction, &store, 1).await.unwrap();
            transaction
                .put(&store, &key(1), (seen + 1).to_string())
                .unwrap();
            if let Some(committed) = retry.commit(transaction).await.unwrap() {
                return Some(committed);
            }
            transaction = retry.begin().await.unwrap();
        }
    })
    .await;
    assert_eq!(done.iter().flatten().count(), 4);
    let value = db.snapshot().get(&store, &key(1)).await.unwrap().unwrap();
    assert_eq!(value, "4");
}

#[tokio::test]
async fn one_that_takes_too_long_loses_its_turn_and_commits_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let (db, store) = open(folder.path()).await;
    let lates = AtomicU32::new(0);
    together(&db, 6, async |number, mut retry, mut transaction| {
        loop {
            let seen = read(&mut transaction, &store, 1).await.unwrap();
            if number == 3 && transaction.is_in_turn() {
                lates.fetch_add(1, Ordering::Relaxed);
                // Others commit meanwhile: that takes no turn of theirs to end.
                let mut other = db.begin();
                other.put(&store, &key(2), "x").unwrap();
                other.commit().await.unwrap();
            }
            transaction
                .put(&store, &key(1), (seen + 1).to_string())
                .unwrap();
            if retry.commit(transaction).await.unwrap().is_some() {
                return;
            }
            transaction = retry.begin().await.unwrap();
        }
    })
    .await;
    // After that it has run by itself.
    assert_eq!(lates.into_inner(), 1);
    let value = db.snapshot().get(&store, &key(1)).await.unwrap().unwrap();
    assert_eq!(value, "6");
}

#[tokio::test]
async fn what_is_too_long_for_a_shared_slot_commits_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = Options::default();
    options.bounds.bulk_len_min = 10_000;
    let db = Db::open(folder.path(), options).await.unwrap();
    let store = db.create_store("s", StoreSchema::default()).await.unwrap();
    together(&db, 4, async |number, mut retry, mut transaction| {
        loop {
            let seen = read(&mut transaction, &store, 1).await.unwrap();
            transaction
                .put(&store, &key(1), (seen + 1).to_string())
                .unwrap();
            let len = if number == 0 { 20_000 } else { 10 };
            transaction
                .put(&store, &key(10 + number), vec![b'1'; len])
                .unwrap();
            transaction.relieve().await.unwrap();
            if retry.commit(transaction).await.unwrap().is_some() {
                return;
            }
            transaction = retry.begin().await.unwrap();
        }
    })
    .await;
    let snapshot = db.snapshot();
    assert_eq!(snapshot.get(&store, &key(1)).await.unwrap().unwrap(), "4");
    assert_eq!(
        snapshot.get(&store, &key(10)).await.unwrap().unwrap().len(),
        20_000
    );
}

/// Ranges, deletes and merges of those before are seen as they will be.
#[tokio::test]
async fn scans_see_what_those_before_wrote() {
    const CLIENTS: u64 = 10;
    let folder = tempfile::tempdir().unwrap();
    let (db, store) = open(folder.path()).await;
    let mut counts = together(&db, CLIENTS, async |number, mut retry, mut transaction| {
        loop {
            let range = eciton_engine::db::ScanRange::all();
            let records = transaction.scan(&store, &range).await.unwrap();
            let count = records.len();
            // Every third deletes what is there, the others add a record.
            if number % 3 == 2 {
                for record in records {
                    transaction.delete(&store, &record.key).unwrap();
                }
                transaction
                    .put(&store, &key(1_000 + number), "left")
                    .unwrap();
            } else {
                transaction.put(&store, &key(number), "1").unwrap();
            }
            if let Some(committed) = retry.commit(transaction).await.unwrap() {
                return (committed.position, number, count);
            }
            transaction = retry.begin().await.unwrap();
        }
    })
    .await;
    // In the order in which they drew their places, which is that of their numbers but for the one that led.
    counts.sort_unstable();
    let mut there = db
        .snapshot()
        .scan(&store, &eciton_engine::db::ScanRange::all());
    let mut left = 0;
    while there.next().await.unwrap().is_some() {
        left += 1;
    }
    let orders = counts.iter().map(|(_, _, count)| *count);
    assert!(orders.clone().max().unwrap() <= 4, "{counts:?}");
    assert!((1..=4).contains(&left), "{left} after {counts:?}");
}

/// A try that writes nothing is told of a commit only when what it read has been committed.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_only_read_in_turn_is_durable_when_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (db, store) = open(folder.path()).await;
    let db = Arc::new(db);
    for round in 0..20 {
        let tasks = (0..8).map(|number: u64| {
            let (db, store) = (Arc::clone(&db), store.clone());
            tokio::spawn(async move {
                let mut retry = db.retry();
                lose(&mut retry).await;
                loop {
                    let mut transaction = retry.begin().await.unwrap();
                    let seen = read(&mut transaction, &store, 1).await.unwrap();
                    if number != 7 {
                        transaction
                            .put(&store, &key(1), (seen + 1).to_string())
                            .unwrap();
                    }
                    if let Some(committed) = retry.commit(transaction).await.unwrap() {
                        let now = db.snapshot();
                        assert!(now.position() >= committed.position);
                        let value = now.get(&store, &key(1)).await.unwrap();
                        let value = value.map_or(0, |text| {
                            std::str::from_utf8(&text).unwrap().parse::<u64>().unwrap()
                        });
                        assert!(
                            value >= seen,
                            "round {round}: read {seen}, and {value} is there"
                        );
                        return;
                    }
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            tokio::time::timeout(Duration::from_mins(1), task)
                .await
                .expect("nobody waits for ever")
                .unwrap();
        }
    }
    let value = db.snapshot().get(&store, &key(1)).await.unwrap().unwrap();
    assert_eq!(value, (20 * 7).to_string());
}
