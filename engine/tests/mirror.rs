//! A database on two storage paths (S13): either may fail at any moment, and what was acknowledged stays.

use std::sync::Arc;

use eciton_engine::base::clock::SystemClock;
use eciton_engine::base::entropy::{Entropy, SystemEntropy};
use eciton_engine::base::spawn::RayonSpawner;
use eciton_engine::base::{Action, Datum, Error, Generation, Key};
use eciton_engine::coord::{SharedCoordinator, Silence};
use eciton_engine::db::{Db, Encoding, Environment, Mode, Options, ScanRange, Store, StoreSchema};
use eciton_engine::storage::{MemoryStorage, Name, Operation, Storage};
use futures::executor::block_on;
use rustix::io::Errno;

use crate::support::breakable::{Breakable, Broken};

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

/// Two media, as the world has them.
struct Paths {
    active: MemoryStorage,
    passive: MemoryStorage,
}

/// How one process sees them.
struct Seen {
    active: Breakable,
    passive: Breakable,
}

impl Paths {
    fn new() -> Paths {
        Paths {
            active: MemoryStorage::new(),
            passive: MemoryStorage::with_identities_from(1 << 40),
        }
    }

    fn seen(&self) -> Seen {
        Seen {
            active: Breakable::new(self.active.clone()),
            passive: Breakable::new(self.passive.clone()),
        }
    }
}

impl Seen {
    async fn open(&self) -> Result<Db, Error> {
        let places: [Arc<dyn Storage>; 2] = [
            Arc::new(self.active.clone()),
            Arc::new(self.passive.clone()),
        ];
        let options = Options {
            mode: Mode::Clustered,
            fold_len_min: 20_000,
            ..Options::default()
        };
        Db::open_mirrored(&places, options, environment()).await
    }

    async fn open_read_only(&self) -> Result<Db, Error> {
        let places: [Arc<dyn Storage>; 2] = [
            Arc::new(self.active.clone()),
            Arc::new(self.passive.clone()),
        ];
        Db::open_mirrored_read_only(&places, Options::default(), environment()).await
    }
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

async fn put(db: &Db, store: &Store, number: u64) -> Result<(), Error> {
    for _ in 0..10 {
        let mut transaction = db.begin();
        transaction.put(store, &key(number), format!("value {number}"))?;
        match transaction.commit().await {
            // Others have written meanwhile.
            Err(error) if error.action() == Action::Retry => db.refresh().await?,
            committed => return committed.map(|_| ()),
        }
    }
    panic!("{number} conflicts for ever");
}

async fn count(db: &Db, store: &Store) -> usize {
    let snapshot = db.snapshot();
    let mut scan = snapshot.scan(store, &ScanRange::default());
    let mut records = 0;
    while scan.next().await.unwrap().is_some() {
        records += 1;
    }
    records
}

/// The slots of a medium, with their bytes.
async fn slots(medium: &MemoryStorage) -> Vec<(Name, bytes::Bytes)> {
    let mut slots = Vec::new();
    for name in medium.list(Name::LOG).await.unwrap() {
        slots.push((name.clone(), medium.read(&name).await.unwrap().unwrap()));
    }
    slots
}

#[test]
fn both_paths_hold_the_same() {
    let paths = Paths::new();
    block_on(async {
        let db = paths.seen().open().await.unwrap();
        let store = db.create_store("things", raw()).await.unwrap();
        for number in 0..200 {
            put(&db, &store, number).await.unwrap();
        }
        db.fold().await.unwrap();
        put(&db, &store, 200).await.unwrap();
        db.close().await.unwrap();
        for dir in [Name::LOG, Name::MANIFEST, Name::SEGMENT] {
            let (active, passive) = (
                paths.active.list(dir).await.unwrap(),
                paths.passive.list(dir).await.unwrap(),
            );
            assert_eq!(active, passive, "{dir}");
            assert!(!active.is_empty(), "{dir}");
            for name in active {
                assert_eq!(
                    paths.active.read(&name).await.unwrap(),
                    paths.passive.read(&name).await.unwrap(),
                    "{name}"
                );
            }
        }
        let again = paths.seen().open().await.unwrap();
        assert_eq!(count(&again, &store).await, 201);
    });
}

/// Each error that a path may be lost by, in each operation that a commit takes, on the active path: the database goes on
/// with the other one, in one generation more, and nothing is lost.
#[test]
fn whatever_the_active_path_fails_with_the_database_goes_on() {
    let numbers = [
        Errno::IO,
        Errno::ROFS,
        Errno::NOSPC,
        Errno::UCLEAN,
        Errno::DQUOT,
        Errno::STALE,
        Errno::TIMEDOUT,
        Errno::NXIO,
    ];
    let mut broken: Vec<Broken> = Vec::new();
    for errno in numbers {
        let errno = errno.raw_os_error();
        broken.extend([
            Broken::All(errno),
            Broken::Writes(errno),
            Broken::Only(Operation::Create, errno),
            Broken::Only(Operation::SyncNames, errno),
        ]);
    }
    for broken in broken {
        let paths = Paths::new();
        block_on(async {
            let seen = paths.seen();
            let db = seen.open().await.unwrap();
            let store = db.create_store("things", raw()).await.unwrap();
            for number in 0..10 {
                put(&db, &store, number).await.unwrap();
            }
            seen.active.fail(broken);
            for number in 10..20 {
                put(&db, &store, number)
                    .await
                    .unwrap_or_else(|error| panic!("{broken:?}: {error}"));
            }
            assert_eq!(count(&db, &store).await, 20, "{broken:?}");
            drop(db);
            // Another process, which reaches both, goes on where the first one went.
            let other = paths.seen().open().await.unwrap();
            assert_eq!(other.info().generation, Generation(1), "{broken:?}");
            assert_eq!(count(&other, &store).await, 20, "{broken:?}");
            put(&other, &store, 20).await.unwrap();
            drop(other);
            let places: [Arc<dyn Storage>; 2] = [
                Arc::new(paths.passive.clone()),
                Arc::new(paths.active.clone()),
            ];
            let last = Db::open_mirrored(&places, Options::default(), environment())
                .await
                .unwrap();
            assert_eq!(count(&last, &store).await, 21, "{broken:?}");
        });
    }
}

#[test]
fn errors_that_are_the_callers_leave_no_path() {
    for errno in [Errno::ACCESS, Errno::INVAL, Errno::MFILE] {
        let paths = Paths::new();
        block_on(async {
            let seen = paths.seen();
            let db = seen.open().await.unwrap();
            let store = db.create_store("things", raw()).await.unwrap();
            seen.active
                .fail(Broken::Only(Operation::Create, errno.raw_os_error()));
            put(&db, &store, 1).await.unwrap_err();
            seen.active.mend();
            put(&db, &store, 2).await.unwrap();
            assert_eq!(
                slots(&paths.active).await,
                slots(&paths.passive).await,
                "{errno:?}"
            );
            assert_eq!(
                paths.seen().open().await.unwrap().info().generation,
                Generation(0)
            );
        });
    }
}

/// A process that still writes the old generation needs the passive path, and finds the seal there.
#[test]
fn who_still_reaches_both_paths_is_fenced() {
    let paths = Paths::new();
    block_on(async {
        let cut_off = paths.seen();
        let (first, second) = (
            cut_off.open().await.unwrap(),
            paths.seen().open().await.unwrap(),
        );
        let store = first.create_store("things", raw()).await.unwrap();
        put(&second, &store, 1).await.unwrap();
        cut_off.active.fail(Broken::All(Errno::IO.raw_os_error()));
        put(&first, &store, 2).await.unwrap();
        put(&second, &store, 3).await.unwrap();
        put(&first, &store, 4).await.unwrap();
        second.refresh().await.unwrap();
        assert_eq!(count(&second, &store).await, 4);
        assert_eq!(
            paths.seen().open().await.unwrap().info().generation,
            Generation(1)
        );
        // What the second process had begun on the path that was left counts nowhere.
        let counted = slots(&paths.passive).await.len();
        assert!(slots(&paths.active).await.len() < counted);
    });
}

/// The split: one process sees only the active path, another one only the passive one. Never do both acknowledge.
#[test]
fn without_the_passive_path_nothing_is_acknowledged() {
    let paths = Paths::new();
    block_on(async {
        let (left, right) = (paths.seen(), paths.seen());
        let (first, second) = (left.open().await.unwrap(), right.open().await.unwrap());
        let store = first.create_store("things", raw()).await.unwrap();
        put(&second, &store, 1).await.unwrap();
        left.passive.fail(Broken::All(Errno::IO.raw_os_error()));
        right.active.fail(Broken::All(Errno::IO.raw_os_error()));
        let refused = put(&first, &store, 2).await.unwrap_err();
        assert!(
            matches!(
                refused,
                Error::PathLost { .. } | Error::CommitUnknown { .. }
            ),
            "{refused}"
        );
        put(&second, &store, 3).await.unwrap();
        put(&first, &store, 4).await.unwrap_err();
        first.refresh().await.unwrap_err();
        assert!(
            left.open().await.is_err(),
            "opened with the path that was left alone"
        );
        left.passive.mend();
        put(&first, &store, 5).await.unwrap();
        assert_eq!(
            count(&first, &store).await,
            3 + usize::from(has(&first, &store, 2).await)
                + usize::from(has(&first, &store, 4).await)
        );
        assert!(has(&first, &store, 3).await);
    });
}

async fn has(db: &Db, store: &Store, number: u64) -> bool {
    db.snapshot()
        .get(store, &key(number))
        .await
        .unwrap()
        .is_some()
}

/// A slot that its writer left on the active path alone is completed by whoever reads it, and not seen by who only reads.
#[test]
fn a_slot_on_the_active_path_alone_is_completed() {
    let paths = Paths::new();
    block_on(async {
        let seen = paths.seen();
        let db = seen.open().await.unwrap();
        let store = db.create_store("things", raw()).await.unwrap();
        put(&db, &store, 1).await.unwrap();
        seen.passive
            .fail(Broken::Only(Operation::Create, Errno::IO.raw_os_error()));
        put(&db, &store, 2).await.unwrap_err();
        assert_eq!(
            slots(&paths.active).await.len(),
            slots(&paths.passive).await.len() + 1
        );
        drop(db);
        let reader = paths.seen().open_read_only().await.unwrap();
        assert!(
            !has(&reader, &store, 2).await,
            "seen before it was on both paths"
        );
        let other = paths.seen().open().await.unwrap();
        assert!(has(&other, &store, 2).await);
        assert_eq!(slots(&paths.active).await, slots(&paths.passive).await);
        let reader = paths.seen().open_read_only().await.unwrap();
        assert!(has(&reader, &store, 2).await);
    });
}

#[test]
fn a_path_is_not_opened_alone() {
    let paths = Paths::new();
    block_on(async {
        let db = paths.seen().open().await.unwrap();
        db.create_store("things", raw()).await.unwrap();
        drop(db);
        for path in [&paths.active, &paths.passive] {
            let alone =
                Db::open_storage(Arc::new(path.clone()), Options::default(), environment()).await;
            let refused = alone.map(|_| ()).unwrap_err();
            assert!(refused.to_string().contains("--standby"), "{refused}");
        }
        // Nor two paths of different databases together.
        let others = Paths::new();
        others.seen().open().await.unwrap();
        let places: [Arc<dyn Storage>; 2] = [
            Arc::new(paths.active.clone()),
            Arc::new(others.passive.clone()),
        ];
        let mixed = Db::open_mirrored(&places, Options::default(), environment()).await;
        assert!(matches!(mixed.map(|_| ()), Err(Error::Invalid(_))));
    });
}

/// The active path fails before anybody opens the database.
#[test]
fn a_database_opens_without_its_active_path() {
    let paths = Paths::new();
    block_on(async {
        let db = paths.seen().open().await.unwrap();
        let store = db.create_store("things", raw()).await.unwrap();
        put(&db, &store, 1).await.unwrap();
        db.close().await.unwrap();
        let seen = paths.seen();
        seen.active.fail(Broken::All(Errno::IO.raw_os_error()));
        let reader = seen.open_read_only().await.unwrap();
        assert_eq!(count(&reader, &store).await, 1);
        let again = seen.open().await.unwrap();
        put(&again, &store, 2).await.unwrap();
        assert_eq!(count(&again, &store).await, 2);
        let generation = paths.seen().open().await.unwrap().info().generation;
        assert_eq!(generation, Generation(1));
    });
}

/// A wrong name, a volume that is not mounted, a user who may not, or a failure that passes: no reason to take a path away
/// from everybody else.
#[test]
fn a_slip_takes_no_path_away() {
    let paths = Paths::new();
    block_on(async {
        let db = paths.seen().open().await.unwrap();
        let store = db.create_store("things", raw()).await.unwrap();
        put(&db, &store, 1).await.unwrap();
        db.close().await.unwrap();
        let empty = || Breakable::new(MemoryStorage::with_identities_from(1 << 50));
        let Seen { active, passive } = paths.seen();
        let typed_wrong = [
            Seen {
                active: empty(),
                passive: passive.clone(),
            },
            Seen {
                active: active.clone(),
                passive: empty(),
            },
        ];
        for seen in typed_wrong {
            let refused = seen.open().await.map(|_| ()).unwrap_err();
            assert!(matches!(refused, Error::PathLost { .. }), "{refused}");
        }
        for broken in [
            Broken::All(Errno::ACCESS.raw_os_error()),
            // Writing works, so it is no loss of the path.
            Broken::Only(Operation::List, Errno::IO.raw_os_error()),
        ] {
            let seen = paths.seen();
            seen.active.fail(broken);
            let refused = seen.open().await.map(|_| ()).unwrap_err();
            assert!(matches!(refused, Error::Storage { .. }), "{refused}");
        }
        let db = paths.seen().open().await.unwrap();
        assert_eq!(db.info().generation, Generation(0));
        assert_eq!(count(&db, &store).await, 1);
    });
}

/// A sync of the seal that fails is not tried again: it might tell of success without the name being durable.
#[test]
fn a_seal_that_could_not_be_synced_is_not_taken_for_durable() {
    let paths = Paths::new();
    block_on(async {
        let seen = paths.seen();
        let db = seen.open().await.unwrap();
        let store = db.create_store("things", raw()).await.unwrap();
        put(&db, &store, 1).await.unwrap();
        seen.active.fail(Broken::All(Errno::IO.raw_os_error()));
        let sync = Broken::Only(Operation::SyncNames, Errno::IO.raw_os_error());
        seen.passive.fail(sync);
        put(&db, &store, 2).await.unwrap_err();
        seen.passive.mend();
        // As long as this process lives, whatever the system says now.
        put(&db, &store, 3).await.unwrap_err();
        drop(db);
        let again = paths.seen().open().await.unwrap();
        put(&again, &store, 4).await.unwrap();
        assert!(has(&again, &store, 1).await && has(&again, &store, 4).await);
    });
}

#[test]
fn folding_and_collecting_go_on_after_a_failover() {
    let paths = Paths::new();
    block_on(async {
        let seen = paths.seen();
        let db = seen.open().await.unwrap();
        let store = db.create_store("things", raw()).await.unwrap();
        for number in 0..100 {
            put(&db, &store, number).await.unwrap();
        }
        db.fold().await.unwrap();
        seen.active.fail(Broken::All(Errno::IO.raw_os_error()));
        for number in 100..200 {
            put(&db, &store, number).await.unwrap();
        }
        db.fold().await.unwrap();
        db.collect().await.unwrap();
        assert_eq!(count(&db, &store).await, 200);
        drop(db);
        let alone = Seen {
            active: paths.seen().passive,
            passive: seen.active,
        };
        let again = alone.open().await.unwrap();
        assert_eq!(count(&again, &store).await, 200);
    });
}
