//! A folder that is moved away, or replaced, under a process that has it open: the process stops, and whatever has come
//! in its place is not touched.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use eciton_engine::base::{Datum, Error, Key, Result};
use eciton_engine::db::{Db, Options, ScanRange, Store, StoreSchema, verify_folder};

use crate::support::join;

fn key(number: u64) -> Key {
    Key::from_datums(&[Datum::Int(i128::from(number))]).unwrap()
}

async fn put(db: &Db, store: &Store, number: u64) -> Result<()> {
    let mut transaction = db.begin();
    transaction.put(store, &key(number), b"\"value\"".to_vec())?;
    transaction.commit().await.map(drop)
}

async fn count(db: &Db) -> usize {
    let store = db.store("s").await.unwrap().unwrap();
    let mut scan = db.snapshot().scan(&store, &ScanRange::all());
    let mut found = 0;
    while scan.next().await.unwrap().is_some() {
        found += 1;
    }
    found
}

async fn open(folder: &Path, clustered: bool) -> Db {
    match clustered {
        true => join(folder).await.unwrap(),
        false => Db::open(folder, Options::default()).await.unwrap(),
    }
}

/// Every file below `folder`, with its bytes, and every directory.
fn everything(folder: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut left = vec![folder.to_owned()];
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path.clone());
                found.insert(path, None);
            } else {
                let bytes = std::fs::read(&path).unwrap();
                found.insert(path, Some(bytes));
            }
        }
    }
    found
}

fn is_gone(error: &Error) -> bool {
    error.to_string().contains("no longer where it was opened")
}

/// Standalone and clustered: a commit, a fold, a compaction and the closing of a process whose folder was replaced by
/// another database leave that one as it was, to the byte. Its own folder keeps all that was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_whose_folder_was_replaced_writes_nothing_into_the_successor() {
    for clustered in [false, true] {
        for own in [0, 3] {
            let parent = tempfile::tempdir().unwrap();
            let at = |name: &str| parent.path().join(name);
            let other = open(&at("other"), false).await;
            let store = other
                .create_store("s", StoreSchema::default())
                .await
                .unwrap();
            for number in 0..20 {
                put(&other, &store, number).await.unwrap();
            }
            other.close().await.unwrap();

            let db = open(&at("db"), clustered).await;
            let store = db.create_store("s", StoreSchema::default()).await.unwrap();
            for number in 0..own {
                put(&db, &store, number).await.unwrap();
            }
            std::fs::rename(at("db"), at("old")).unwrap();
            std::fs::rename(at("other"), at("db")).unwrap();
            let before = everything(&at("db"));
            let what = format!("clustered {clustered}, {own} records");

            let refused = put(&db, &store, 100).await.unwrap_err();
            assert!(is_gone(&refused), "{what}: {refused}");
            // Whatever these say, where there is nothing to do for them too: it is not done elsewhere.
            for (done, result) in [
                ("a fold", db.fold().await.map(drop)),
                ("a compaction", db.compact().await.map(drop)),
                ("a commit", put(&db, &store, 101).await),
                ("closing", db.close().await),
            ] {
                println!("{what}: {done}: {result:?}");
            }
            assert_eq!(everything(&at("db")), before, "{what}: in the end");

            let successor = open(&at("db"), false).await;
            assert_eq!(count(&successor).await, 20, "{what}");
            drop(successor);
            let report = verify_folder(&at("db"), &|_| {}).await.unwrap();
            assert_eq!(report.broken, vec![], "{what}");
            let old = open(&at("old"), false).await;
            assert_eq!(count(&old).await as u64, own, "{what}");
        }
    }
}

/// What was not written is not unknown, and a folder that comes back is the same one: the process goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_comes_back_is_written_again() {
    for clustered in [false, true] {
        let parent = tempfile::tempdir().unwrap();
        let at = |name: &str| parent.path().join(name);
        let db = open(&at("db"), clustered).await;
        let store = db.create_store("s", StoreSchema::default()).await.unwrap();
        put(&db, &store, 1).await.unwrap();
        std::fs::rename(at("db"), at("old")).unwrap();
        if !clustered {
            let refused = put(&db, &store, 2).await.unwrap_err();
            assert!(
                matches!(refused, Error::Storage { .. }) && is_gone(&refused),
                "{refused}"
            );
        }
        assert!(!at("db").exists(), "clustered {clustered}: made again");
        std::fs::rename(at("old"), at("db")).unwrap();
        put(&db, &store, 3).await.unwrap();
        assert_eq!(count(&db).await, 2);
        db.close().await.unwrap();
        assert_eq!(count(&open(&at("db"), false).await).await, 2);
    }
}

/// A database that was restored in place of the one that a process still has open stays whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_restored_in_place_stays_whole_beside_the_process_before() {
    let parent = tempfile::tempdir().unwrap();
    let at = |name: &str| parent.path().join(name);
    let db = open(&at("db"), false).await;
    let store = db.create_store("s", StoreSchema::default()).await.unwrap();
    for number in 0..20 {
        put(&db, &store, number).await.unwrap();
    }
    db.backup(&at("backups"), true, &|_| {}).await.unwrap();
    for number in 20..220 {
        put(&db, &store, number).await.unwrap();
    }
    std::fs::rename(at("db"), at("old")).unwrap();
    eciton_engine::db::restore_folder(&at("backups"), &at("db"), None, &|_| {})
        .await
        .unwrap();
    let restored = open(&at("db"), false).await;
    let again = restored.store("s").await.unwrap().unwrap();
    for number in 1000..1010 {
        put(&restored, &again, number).await.unwrap();
    }
    db.compact().await.unwrap_err();
    put(&db, &store, 300).await.unwrap_err();
    drop(db);
    restored.close().await.unwrap();
    assert_eq!(count(&open(&at("db"), false).await).await, 30);
}
