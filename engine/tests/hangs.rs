//! Storage paths that hang, or are much slower than their peer (S13).

use std::sync::Arc;
use std::time::Duration;

use eciton_engine::base::spawn::RayonSpawner;
use eciton_engine::base::{Action, Datum, Error, Generation, Key};
use eciton_engine::coord::{SharedCoordinator, Silence};
use eciton_engine::db::{Db, Encoding, Environment, Mode, Options, Store, StoreSchema};
use eciton_engine::storage::{MemoryStorage, Operation, Storage, WatchOptions, WatchedStorage};

use crate::support::hanging::{Hang, Hanging};

/// The limit of these tests: long for a loaded machine, short for who waits.
const LIMIT: Duration = Duration::from_millis(400);

struct Paths {
    active: Hanging,
    passive: Hanging,
}

impl Paths {
    fn new() -> Paths {
        Paths {
            active: Hanging::new(MemoryStorage::new()),
            passive: Hanging::new(MemoryStorage::with_identities_from(1 << 40)),
        }
    }

    async fn open(&self) -> Db {
        let options = WatchOptions {
            limit: LIMIT,
            slow_for: Duration::from_millis(200),
        };
        let watched = |path: &Hanging| -> Arc<dyn Storage> {
            Arc::new(WatchedStorage::new(Arc::new(path.clone()), options))
        };
        let places = [watched(&self.active), watched(&self.passive)];
        open(&places).await
    }

    /// The generation that another process finds, for which nothing hangs.
    async fn generation(&self) -> Generation {
        let places: [Arc<dyn Storage>; 2] = [
            Arc::new(self.active.inner.clone()),
            Arc::new(self.passive.inner.clone()),
        ];
        open(&places).await.info().generation
    }
}

async fn open(places: &[Arc<dyn Storage>]) -> Db {
    let environment = Environment::default();
    let coordinator = SharedCoordinator::new(
        Arc::new(Silence),
        Arc::clone(&environment.clock),
        Arc::clone(&environment.entropy),
    );
    let environment = Environment {
        spawner: Arc::new(RayonSpawner),
        coordinator: Arc::new(coordinator),
        ..environment
    };
    let options = Options {
        mode: Mode::Clustered,
        ..Options::default()
    };
    let opened = Db::open_mirrored(places, options, environment).await;
    opened.unwrap()
}

fn key(number: u64) -> Key {
    Key::from_datums(&[Datum::Int(i128::from(number))]).unwrap()
}

async fn store(db: &Db) -> Store {
    let schema = StoreSchema {
        encoding: Encoding::Raw,
        ..StoreSchema::default()
    };
    db.create_store("things", schema).await.unwrap()
}

async fn put(db: &Db, store: &Store, number: u64) -> Result<(), Error> {
    for _ in 0..10 {
        let mut transaction = db.begin();
        transaction.put(store, &key(number), "there")?;
        match transaction.commit().await {
            Err(error) if error.action() == Action::Retry => db.refresh().await?,
            committed => return committed.map(|_| ()),
        }
    }
    panic!("{number} conflicts for ever");
}

async fn has(db: &Db, store: &Store, number: u64) -> bool {
    let snapshot = db.snapshot();
    snapshot.get(store, &key(number)).await.unwrap().is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_that_hangs_is_left_and_no_commit_is_lost() {
    let paths = Paths::new();
    let db = paths.open().await;
    let store = store(&db).await;
    put(&db, &store, 1).await.unwrap();
    paths.active.set(Some(Hang::All));
    for number in 2..10 {
        put(&db, &store, number).await.unwrap();
    }
    for number in 1..10 {
        assert!(has(&db, &store, number).await, "{number}");
    }
    // Neither folding nor ending waits for what hangs.
    db.fold().await.unwrap();
    db.close().await.unwrap();
    assert_eq!(paths.generation().await, Generation(1));
    paths.active.set(None);
}

/// Writing works, so one operation that takes long is no loss of the path: it is told and settled like any failure.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_operation_that_hangs_takes_no_path_away() {
    let paths = Paths::new();
    let db = paths.open().await;
    let store = store(&db).await;
    put(&db, &store, 1).await.unwrap();
    paths.active.set(Some(Hang::Only(Operation::List)));
    let listed = {
        let places: Vec<Arc<dyn Storage>> = vec![Arc::new(WatchedStorage::new(
            Arc::new(paths.active.clone()),
            WatchOptions {
                limit: LIMIT,
                ..WatchOptions::default()
            },
        ))];
        places[0].list("").await
    };
    assert!(matches!(listed, Err(Error::Storage { .. })), "{listed:?}");
    put(&db, &store, 2).await.unwrap();
    paths.active.set(None);
    put(&db, &store, 3).await.unwrap();
    assert!(has(&db, &store, 2).await && has(&db, &store, 3).await);
    db.close().await.unwrap();
    assert_eq!(paths.generation().await, Generation(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_passive_path_that_hangs_nothing_is_acknowledged() {
    let paths = Paths::new();
    let db = paths.open().await;
    let store = store(&db).await;
    put(&db, &store, 1).await.unwrap();
    paths.passive.set(Some(Hang::All));
    let refused = put(&db, &store, 2).await.unwrap_err();
    assert!(
        matches!(
            refused,
            Error::PathLost { .. } | Error::CommitUnknown { .. }
        ),
        "{refused}"
    );
    paths.passive.set(None);
    let mut tries = 0;
    while let Err(error) = put(&db, &store, 3).await {
        tries += 1;
        assert!(tries < 100, "{error}");
        tokio::task::yield_now().await;
    }
    assert!(has(&db, &store, 1).await && has(&db, &store, 3).await);
    db.close().await.unwrap();
    assert_eq!(paths.generation().await, Generation(0));
}

/// The active path works, and takes many times as long as the passive one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_that_stays_much_slower_than_its_peer_is_left() {
    let paths = Paths::new();
    let db = paths.open().await;
    let store = store(&db).await;
    // As slow as each other: no reason to leave either.
    let slow = Hang::Slow(Duration::from_millis(25));
    paths.active.set(Some(slow));
    paths.passive.set(Some(slow));
    for number in 0..10 {
        put(&db, &store, number).await.unwrap();
    }
    assert_eq!(paths.generation().await, Generation(0));
    paths.passive.set(None);
    let mut number = 10;
    while paths.generation().await == Generation(0) {
        put(&db, &store, number).await.unwrap();
        number += 1;
        assert!(number < 300, "the slow path is never left");
    }
    for number in 0..number {
        assert!(has(&db, &store, number).await, "{number}");
    }
    paths.active.set(None);
    assert_eq!(paths.generation().await, Generation(1));
}

/// While a path hangs, the process asks it nothing more, so it needs no more threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_hangs_is_not_asked_again() {
    let hanging = Hanging::new(MemoryStorage::new());
    let options = WatchOptions {
        limit: LIMIT,
        ..WatchOptions::default()
    };
    let watched = WatchedStorage::new(Arc::new(hanging.clone()), options);
    hanging.set(Some(Hang::All));
    let first = watched.list("").await;
    assert!(matches!(first, Err(Error::Storage { .. })), "{first:?}");
    let threads = || std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    let before = threads();
    for _ in 0..1000 {
        let refused = watched.list("").await;
        assert!(matches!(refused, Err(Error::Storage { .. })), "{refused:?}");
    }
    assert!(
        threads() < before + 100,
        "{before} threads, then {}",
        threads()
    );
    hanging.set(None);
    let mut tries = 0;
    while let Err(error) = watched.list("").await {
        tries += 1;
        assert!(tries < 1_000_000, "it never answers again: {error}");
        tokio::task::yield_now().await;
    }
}
