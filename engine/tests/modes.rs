//! Transactions that check nothing, and databases that cannot be written.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use crate::support::environment;
use eciton_engine::base::{Bounds, Datum, Error, Key};
use eciton_engine::db::{
    Check, Db, Options, ScanRange, Store, StoreSchema, Transaction, TxOptions, verify_folder,
};
use eciton_engine::storage::MemoryStorage;
use futures::executor::block_on;

const UNCHECKED: TxOptions = TxOptions {
    check: Check::Nothing,
};

fn key(number: i128) -> Key {
    Key::from_datums(&[Datum::Int(number)]).unwrap()
}

async fn fresh(options: Options) -> (Db, Store) {
    let db = Db::open_storage(Arc::new(MemoryStorage::new()), options, environment(1).0);
    let db = db.await.unwrap();
    let store = db.create_store("s", StoreSchema::default()).await.unwrap();
    (db, store)
}

async fn put(db: &Db, store: &Store, number: i128, value: &str) {
    let mut transaction = db.begin();
    transaction
        .put(store, &key(number), value.to_owned())
        .unwrap();
    transaction.commit().await.unwrap();
}

async fn get(db: &Db, store: &Store, number: i128) -> Option<String> {
    let value = db.snapshot().get(store, &key(number)).await.unwrap();
    value.map(|value| String::from_utf8(value.to_vec()).unwrap())
}

/// Reads a key, a range and an absence, then writes.
async fn read_and_write(transaction: &mut Transaction, store: &Store) {
    assert_eq!(
        transaction.get(store, &key(1)).await.unwrap().unwrap(),
        "old"
    );
    assert_eq!(
        transaction
            .scan(store, &ScanRange::all())
            .await
            .unwrap()
            .len(),
        1
    );
    assert_eq!(transaction.get(store, &key(3)).await.unwrap(), None);
    transaction.put(store, &key(1), "mine").unwrap();
    transaction.delete(store, &key(4)).unwrap();
}

#[test]
fn what_checks_nothing_never_conflicts_and_the_later_slot_wins() {
    block_on(async {
        for options in [UNCHECKED, TxOptions::default()] {
            let (db, store) = fresh(Options::default()).await;
            put(&db, &store, 1, "old").await;
            let mut transaction = db.begin_with(options);
            read_and_write(&mut transaction, &store).await;
            for number in [1, 3, 4] {
                put(&db, &store, number, "theirs").await;
            }
            // One state, whatever happens meanwhile, and its own writes on top.
            assert_eq!(
                transaction.get(&store, &key(1)).await.unwrap().unwrap(),
                "mine"
            );
            assert_eq!(transaction.get(&store, &key(3)).await.unwrap(), None);
            assert_eq!(
                transaction
                    .scan(&store, &ScanRange::all())
                    .await
                    .unwrap()
                    .len(),
                1
            );
            let result = transaction.commit().await;
            if options == UNCHECKED {
                result.unwrap();
                assert_eq!(get(&db, &store, 1).await.unwrap(), "mine");
                assert_eq!(get(&db, &store, 4).await, None);
                assert_eq!(get(&db, &store, 3).await.unwrap(), "theirs");
            } else {
                assert!(matches!(result, Err(Error::Conflict { .. })), "{result:?}");
                assert_eq!(get(&db, &store, 1).await.unwrap(), "theirs");
            }
        }
    });
}

#[test]
fn others_conflict_with_what_it_writes() {
    block_on(async {
        let (db, store) = fresh(Options::default()).await;
        put(&db, &store, 1, "old").await;
        let (mut checked, mut unchecked) = (db.begin(), db.begin_with(UNCHECKED));
        checked.get(&store, &key(1)).await.unwrap();
        checked.put(&store, &key(2), "from what I read").unwrap();
        unchecked.put(&store, &key(1), "new").unwrap();
        unchecked.commit().await.unwrap();
        assert!(matches!(
            checked.commit().await,
            Err(Error::Conflict { .. })
        ));
    });
}

#[test]
fn a_store_that_was_dropped_takes_no_writes_from_anybody() {
    block_on(async {
        let (db, store) = fresh(Options::default()).await;
        let mut reader = db.begin_with(UNCHECKED);
        let mut writer = db.begin_with(UNCHECKED);
        reader.get(&store, &key(1)).await.unwrap();
        writer.put(&store, &key(1), "lost?").unwrap();
        db.drop_store("s").await.unwrap();
        let again = db.create_store("s", StoreSchema::default()).await.unwrap();
        let error = writer.commit().await.unwrap_err();
        assert!(matches!(error, Error::Conflict { .. }), "{error}");
        // One of the same name that was made after it began is not the one in the state that it reads.
        reader.put(&again, &key(1), "there").unwrap();
        let error = reader.commit().await.unwrap_err();
        assert!(matches!(error, Error::Conflict { .. }), "{error}");
    });
}

#[test]
fn a_stream_is_checked_all_the_same() {
    block_on(async {
        let (db, store) = fresh(Options::default()).await;
        let (mut first, mut second) = (db.begin_with(UNCHECKED), db.begin_with(UNCHECKED));
        for transaction in [&mut first, &mut second] {
            let mut stream = transaction.stream(&store, &key(1)).await.unwrap();
            stream.append(b"mine").await.unwrap();
        }
        first.commit().await.unwrap();
        assert!(matches!(second.commit().await, Err(Error::Conflict { .. })));
    });
}

#[test]
fn however_long_it_takes_it_is_not_too_old() {
    block_on(async {
        let options = || Options {
            bounds: Bounds {
                window_slots_max: 8,
                ..Bounds::default()
            },
            ..Options::default()
        };
        for check in [Check::Nothing, Check::Reads] {
            let (db, store) = fresh(options()).await;
            put(&db, &store, 1, "old").await;
            let mut transaction = db.begin_with(TxOptions { check });
            transaction.get(&store, &key(1)).await.unwrap();
            transaction.put(&store, &key(2), "late").unwrap();
            for _ in 0..20 {
                put(&db, &store, 3, "x").await;
            }
            let result = transaction.commit().await;
            match check {
                Check::Nothing => drop(result.unwrap()),
                Check::Reads => assert!(matches!(result, Err(Error::TooOld { .. })), "{result:?}"),
            }
        }
    });
}

/// Set where a test runs once more, within a mount of its own.
const INNER: &str = "ECITON_TEST_INNER";
const MOUNT: &str = "mount --bind \"$1\" \"$1\" && mount -o remount,ro,bind \"$1\"";

/// Everything below a folder, with its length and the time of its last change.
fn files(folder: &Path) -> BTreeMap<PathBuf, (u64, std::time::SystemTime)> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let data = entry.metadata().unwrap();
        if data.is_dir() {
            all.extend(files(&entry.path()));
        }
        all.insert(entry.path(), (data.len(), data.modified().unwrap()));
    }
    all
}

/// What a viewer does with a database on a medium that cannot be written.
async fn read_everything(folder: &Path) {
    let written = std::fs::write(folder.join("x"), "").unwrap_err();
    assert_eq!(written.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    let before = files(folder);
    let db = Db::open_read_only(folder, Options::default())
        .await
        .unwrap();
    let store = db.store("s").await.unwrap().unwrap();
    assert_eq!(get(&db, &store, 1).await.unwrap(), "folded");
    assert_eq!(get(&db, &store, 2).await.unwrap(), "in the log");
    let mut transaction = db.begin_with(UNCHECKED);
    assert_eq!(
        transaction
            .scan(&store, &ScanRange::all())
            .await
            .unwrap()
            .len(),
        2
    );
    let mut stream = transaction.stream(&store, &key(1)).await.unwrap();
    let mut buffer = [0; 100];
    assert_eq!(stream.read_at(0, &mut buffer).await.unwrap(), 8);
    assert!(matches!(stream.append(b"x").await, Err(Error::ReadOnly)));
    let error = transaction.put(&store, &key(3), "x").unwrap_err();
    assert!(matches!(error, Error::ReadOnly), "{error}");
    assert!(matches!(db.fold().await, Err(Error::ReadOnly)));
    // Two at once: nobody locks anybody out.
    let other = Db::open_read_only(folder, Options::default())
        .await
        .unwrap();
    assert_eq!(get(&other, &store, 1).await.unwrap(), "folded");
    db.close().await.unwrap();
    let report = verify_folder(folder, &|_| {}).await.unwrap();
    assert_eq!(
        (report.broken, report.records, report.streams),
        (vec![], 2, 1)
    );
    // Opened for writing it says what the medium says, and leaves nothing.
    let refused = Db::open(folder, Options::default()).await.err().unwrap();
    assert!(matches!(refused, Error::Storage { .. }), "{refused}");
    assert_eq!(files(folder), before);
}

#[test]
fn a_database_on_a_read_only_mount_is_read_without_a_lock_or_a_trace() {
    if let Some(folder) = std::env::var_os(INNER) {
        return block_on(read_everything(Path::new(&folder)));
    }
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let db = Db::open(folder.path(), Options::default()).await.unwrap();
        let store = db.create_store("s", StoreSchema::default()).await.unwrap();
        let mut transaction = db.begin();
        transaction.put(&store, &key(1), "folded").unwrap();
        let mut stream = transaction.stream(&store, &key(1)).await.unwrap();
        stream.append(b"a stream").await.unwrap();
        transaction.commit().await.unwrap();
        db.fold().await.unwrap();
        put(&db, &store, 2, "in the log").await;
        db.close().await.unwrap();
    });
    // A burnt disc has no lock file, either.
    std::fs::remove_file(folder.path().join("LOCK")).unwrap();
    let within = |flags: &str, line: &str| {
        let mut command = Command::new("unshare");
        command
            .args([flags, "sh", "-c", line, "sh"])
            .arg(folder.path());
        command
    };
    let is_allowed = |flags: &&str| {
        let output = within(flags, MOUNT).output();
        output.is_ok_and(|output| output.status.success())
    };
    let Some(flags) = ["-m", "-rm"].into_iter().find(is_allowed) else {
        eprintln!("skipped: this machine lets nobody mount a folder read-only");
        return;
    };
    let output = within(flags, &format!("{MOUNT} && shift && exec \"$@\""))
        .arg(std::env::current_exe().unwrap())
        .arg("--exact")
        .arg("modes::a_database_on_a_read_only_mount_is_read_without_a_lock_or_a_trace")
        .env(INNER, folder.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}{errors}");
    assert!(
        told.contains("1 passed"),
        "the inner test did not run: {told}"
    );
}

/// Beside a writer a reader without rights sees what was there when it opened.
#[test]
#[cfg(unix)]
fn a_folder_without_the_right_to_write_is_read_beside_its_writer() {
    use std::os::unix::fs::PermissionsExt;
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(folder.path(), Options::default()).await.unwrap();
        let store = db.create_store("s", StoreSchema::default()).await.unwrap();
        put(&db, &store, 1, "there").await;
        // Root may write all the same: what counts is that nothing is.
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o555)).unwrap();
        let before = files(folder.path());
        let reader = Db::open_read_only(folder.path(), Options::default())
            .await
            .unwrap();
        assert_eq!(get(&reader, &store, 1).await.unwrap(), "there");
        reader.close().await.unwrap();
        assert_eq!(files(folder.path()), before);
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        put(&db, &store, 2, "later").await;
        db.close().await.unwrap();
    });
}
