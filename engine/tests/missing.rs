//! Verifying a database of which one object was deleted: it is named wherever anything that is left tells of it.

use std::sync::Arc;

use crate::support::Dice;
use eciton_engine::base::{Bounds, Datum, Generation, Key, Position, Result};
use eciton_engine::db::{Db, Environment, Mode, Options, ScanRange, StoreSchema, publish, verify};
use eciton_engine::storage::{MemoryStorage, Name, Storage};

fn options(mode: Mode, create: bool) -> Options {
    Options {
        mode,
        create,
        bounds: Bounds {
            // A larger value becomes a run that the log refers to.
            bulk_len_min: 1_500,
            ..Bounds::default()
        },
        ..Options::default()
    }
}

async fn open(storage: &Arc<MemoryStorage>, mode: Mode, create: bool) -> Result<Db> {
    let environment = Environment::default();
    Db::open_storage(storage.clone(), options(mode, create), environment).await
}

async fn put(db: &Db, from: i128, to: i128) {
    let store = db.create_store("s", StoreSchema::default()).await.unwrap();
    for number in from..to {
        let len = if number % 5 == 0 { 2_000 } else { 20 };
        let key = Key::from_datums(&[Datum::Int(number)]).unwrap();
        let mut transaction = db.begin();
        transaction.put(&store, &key, "x".repeat(len)).unwrap();
        transaction.commit().await.unwrap();
    }
}

async fn records(storage: &Arc<MemoryStorage>) -> Result<u64> {
    let db =
        Db::open_storage_read_only(storage.clone(), Options::default(), Environment::default())
            .await?;
    let store = db.store("s").await?.unwrap();
    let mut scan = db.snapshot().scan(&store, &ScanRange::all());
    let mut records = 0;
    while scan.next().await?.is_some() {
        records += 1;
    }
    Ok(records)
}

/// The names that verifying calls broken.
async fn broken(storage: &Arc<MemoryStorage>) -> Vec<String> {
    match verify(storage.clone(), &|_| {}).await {
        Ok(report) => report.broken.into_iter().map(|it| it.object).collect(),
        Err(error) => vec![error.to_string()],
    }
}

async fn without<T>(storage: &Arc<MemoryStorage>, name: &Name, look: impl AsyncFnOnce() -> T) -> T {
    let bytes = storage.read(name).await.unwrap().unwrap();
    assert!(storage.remove(name).await.unwrap());
    let seen = look().await;
    storage.create(name, &bytes).await.unwrap();
    storage.sync_names(name).await.unwrap();
    seen
}

/// Where each slot has a name of its own, as in a bucket.
#[tokio::test]
async fn a_deleted_object_is_named_itself() {
    for collects in [false, true] {
        let storage = Arc::new(MemoryStorage::new());
        let db = open(&storage, Mode::Clustered, true).await.unwrap();
        for round in 0..4 {
            put(&db, round * 7, round * 7 + 7).await;
            db.fold().await.unwrap();
        }
        if collects {
            // What the first leaves for processes that were held up goes with the second.
            db.collect().await.unwrap();
            db.collect().await.unwrap();
        }
        put(&db, 28, 31).await;
        db.close().await.unwrap();
        assert_eq!(broken(&storage).await, Vec::<String>::new());
        let names = storage.list("").await.unwrap();
        let newest = |dir: &str| names.iter().rfind(|name| name.as_str().starts_with(dir));
        let mut told = 0;
        for name in &names {
            if *name == Name::instance() {
                // Its identity is of the object itself, which cannot be put back.
                continue;
            }
            let named = without(&storage, name, async || broken(&storage).await).await;
            // The newest, and the first slot once every manifest has folded it: nothing is left that tells of them.
            let first = Name::log(Generation(0), Position(1));
            let is_untold = Some(name) == newest("log/")
                || (*name == first && collects)
                || (Some(name) == newest("manifest/") && !collects);
            if is_untold {
                assert_eq!(named, Vec::<String>::new(), "{name}");
            } else {
                assert!(named.contains(&name.to_string()), "{name}: {named:?}");
                told += 1;
            }
        }
        assert!(told > 30, "{told} of {}", names.len());
        assert_eq!(records(&storage).await.unwrap(), 31);
    }
}

/// A published copy begins with its only manifest and has no log before it: nothing is missing.
#[tokio::test]
async fn a_published_copy_that_goes_on_misses_nothing() {
    for mode in [Mode::Clustered, Mode::Standalone] {
        let source = Arc::new(MemoryStorage::new());
        let db = open(&source, mode, true).await.unwrap();
        put(&db, 0, 12).await;
        db.close().await.unwrap();
        let to = Arc::new(MemoryStorage::new());
        let (options, environment) = (Options::default(), Environment::default());
        let published = publish(source, to.clone(), &options, &environment, &|_| {}).await;
        published.unwrap();
        assert_eq!(broken(&to).await, Vec::<String>::new());
        let db = open(&to, mode, false).await.unwrap();
        let dice = Dice::new(1);
        for round in 1..6 {
            put(&db, round * 12, round * 12 + 12).await;
            match dice.below(3) {
                0 => drop(db.compact().await.unwrap()),
                1 => drop(db.collect().await.unwrap()),
                _ => drop(db.fold().await.unwrap()),
            }
            assert_eq!(broken(&to).await, Vec::<String>::new(), "{mode:?} {round}");
        }
        db.close().await.unwrap();
        assert_eq!(broken(&to).await, Vec::<String>::new());
    }
}

/// A log file of many slots is named by its first.
#[tokio::test]
async fn a_deleted_log_file_of_many_slots_is_named_itself() {
    let storage = Arc::new(MemoryStorage::new());
    for round in 0..3 {
        // The next file begins where the log is long enough; nothing is folded in the end.
        let options = Options {
            fold_len_min: if round < 2 { 1_000 } else { 1_000_000 },
            ..options(Mode::Standalone, true)
        };
        let db = Db::open_storage(storage.clone(), options, Environment::default());
        let db = db.await.unwrap();
        put(&db, round * 20, round * 20 + 20).await;
        db.close().await.unwrap();
    }
    let files = storage.list(Name::LOG).await.unwrap();
    let whole = broken(&storage).await;
    assert_eq!(whole, Vec::<String>::new());
    println!("{} files", files.len());
    for name in &files {
        let named = without(&storage, name, async || broken(&storage).await).await;
        // Compacted or not, what is missing in between or at the end is told.
        assert!(!named.is_empty(), "{name}");
    }
}

/// Runs, floors or slots without `INSTANCE` are what is left of a database: none is created beside them.
#[tokio::test]
async fn nothing_is_created_beside_what_is_left_of_a_database() {
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, Mode::Clustered, true).await.unwrap();
    for round in 0..3 {
        put(&db, round * 7, round * 7 + 7).await;
        db.fold().await.unwrap();
        db.collect().await.unwrap();
    }
    db.close().await.unwrap();
    let names = storage.list("").await.unwrap();
    for dir in ["log/", "manifest/", "floor/", "seg/"] {
        let left = Arc::new(MemoryStorage::new());
        let of_dir = names.iter().filter(|name| name.as_str().starts_with(dir));
        for name in of_dir {
            let bytes = storage.read(name).await.unwrap().unwrap();
            left.create(name, &bytes).await.unwrap();
            left.sync_names(name).await.unwrap();
        }
        let before = left.list("").await.unwrap();
        assert!(!before.is_empty(), "there is nothing below {dir}");
        for mode in [Mode::Clustered, Mode::Standalone] {
            let refused = open(&left, mode, true).await.map(drop).unwrap_err();
            let told = refused.to_string();
            assert!(told.contains("INSTANCE") && told.contains(dir), "{told}");
        }
        assert_eq!(left.list("").await.unwrap(), before);
    }
}

/// Whatever a compaction replaced goes with it, also where others may write.
#[tokio::test]
async fn a_compaction_gives_the_space_back_among_others_too() {
    for mode in [Mode::Clustered, Mode::Standalone] {
        let storage = Arc::new(MemoryStorage::new());
        let db = open(&storage, mode, true).await.unwrap();
        let dice = Dice::new(3);
        let store = db.create_store("s", StoreSchema::default()).await.unwrap();
        for number in 0..40 {
            let value: Vec<u8> = (0..4_000).map(|_| dice.next().to_le_bytes()[0]).collect();
            let mut transaction = db.begin();
            let key = Key::from_datums(&[Datum::Int(number)]).unwrap();
            transaction.put(&store, &key, value).unwrap();
            transaction.commit().await.unwrap();
        }
        for _ in 0..3 {
            db.compact().await.unwrap();
            let mut len = 0;
            for name in storage.list(Name::SEGMENT).await.unwrap() {
                len += storage.stat(&name).await.unwrap().unwrap().len;
            }
            println!("{mode:?}: {len} bytes in runs");
            assert!(len < 200_000, "{mode:?}: {len} bytes of 160,000");
        }
        db.close().await.unwrap();
        assert_eq!(broken(&storage).await, Vec::<String>::new());
    }
}
