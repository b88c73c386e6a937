//! A storage path that is brought back after a failover (S13): beside whoever writes, and nothing is lost.

use std::sync::Arc;

use eciton_engine::base::clock::SystemClock;
use eciton_engine::base::entropy::{Entropy, SystemEntropy};
use eciton_engine::base::spawn::RayonSpawner;
use eciton_engine::base::{Action, Datum, Error, Generation, Key};
use eciton_engine::coord::{SharedCoordinator, Silence};
use eciton_engine::db::{
    Db, Encoding, Environment, Mode, Options, Reinstate, Reinstated, ScanRange, ScrubOptions,
    Store, StoreSchema, mirrored, reinstate, scrub, seal_without, verify,
};
use eciton_engine::storage::{Access, MemoryStorage, Name, Operation, Storage};
use futures::executor::block_on;
use rustix::io::Errno;

use crate::support::breakable::{Breakable, Broken};

const REPLACE: Reinstate = Reinstate { replace: true };

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

/// Media as one process sees them.
#[derive(Clone)]
struct Seen {
    media: Vec<Breakable>,
}

impl Seen {
    fn new() -> Seen {
        let media = (0..3)
            .map(|at| Breakable::new(MemoryStorage::with_identities_from((at << 40) + 1)))
            .collect();
        Seen { media }
    }

    /// The same media, as another process sees them, which reaches all.
    fn another(&self) -> Seen {
        let media = self
            .media
            .iter()
            .map(|one| Breakable::new(one.inner.clone()));
        Seen {
            media: media.collect(),
        }
    }

    /// Those by number, as places of a database.
    fn places(&self, numbers: [usize; 2]) -> [Arc<dyn Storage>; 2] {
        numbers.map(|at| self.place(at))
    }

    fn place(&self, at: usize) -> Arc<dyn Storage> {
        Arc::new(self.media[at].clone())
    }

    async fn open(&self) -> Result<Db, Error> {
        self.open_at([0, 1]).await
    }

    async fn open_at(&self, numbers: [usize; 2]) -> Result<Db, Error> {
        let options = Options {
            mode: Mode::Clustered,
            fold_len_min: 20_000,
            ..Options::default()
        };
        Db::open_mirrored(&self.places(numbers), options, environment()).await
    }

    async fn reinstate(&self, at: usize, how: Reinstate) -> Result<Reinstated, Error> {
        let to = self.place(at);
        reinstate(&self.places([0, 1]), &to, how, &environment(), &|_| {}).await
    }

    fn fail(&self, at: usize) {
        self.media[at].fail(Broken::All(Errno::IO.raw_os_error()));
    }

    async fn verify(&self, numbers: [usize; 2]) {
        let whole = mirrored(&self.places(numbers), Access::ReadWrite, &environment()).await;
        let report = verify(whole.unwrap(), &|_| {}).await.unwrap();
        assert!(report.broken.is_empty(), "{:?}", report.broken);
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
    db.refresh().await.unwrap();
    let snapshot = db.snapshot();
    let mut scan = snapshot.scan(store, &ScanRange::default());
    let mut records = 0;
    while scan.next().await.unwrap().is_some() {
        records += 1;
    }
    records
}

/// A database with 200 records, some of them folded, of which path 0 was left.
async fn left_by(seen: &Seen) -> (Db, Store) {
    let db = seen.open().await.unwrap();
    let store = db.create_store("things", raw()).await.unwrap();
    for number in 0..150 {
        put(&db, &store, number).await.unwrap();
    }
    db.fold().await.unwrap();
    seen.fail(0);
    for number in 150..200 {
        put(&db, &store, number).await.unwrap();
    }
    seen.media[0].mend();
    assert_eq!(count(&db, &store).await, 200);
    (db, store)
}

/// The common case: the same place comes back, and everybody goes on with the same places and without a restart. Then the
/// other path fails.
#[test]
fn a_path_comes_back_where_it_was_and_the_other_one_may_fail() {
    let seen = Seen::new();
    block_on(async {
        let (db, store) = left_by(&seen).await;
        let others = seen.another();
        let other = others.open().await.unwrap();
        let refused = seen.reinstate(0, Reinstate::default()).await.unwrap_err();
        assert!(refused.to_string().contains("--replace"), "{refused}");
        let done = seen.reinstate(0, REPLACE).await.unwrap();
        assert_eq!(done.generation, Generation(2), "{done:?}");
        assert!(
            done.objects > 50 && !done.resumed && !done.unchanged,
            "{done:?}"
        );
        for number in 200..300 {
            put(&db, &store, number).await.unwrap();
            put(&other, &store, 1000 + number).await.unwrap();
        }
        db.fold().await.unwrap();
        db.collect().await.unwrap();
        seen.verify([0, 1]).await;
        let again = seen.reinstate(0, REPLACE).await.unwrap();
        assert!(again.unchanged && again.path == done.path, "{again:?}");
        seen.fail(1);
        others.fail(1);
        for number in 300..320 {
            put(&db, &store, number).await.unwrap();
        }
        put(&other, &store, 5000).await.unwrap();
        assert_eq!(count(&db, &store).await, 200 + 200 + 21);
        drop((db, other));
        let last = seen.another().open().await.unwrap();
        assert_eq!(last.info().generation, Generation(3));
        assert_eq!(count(&last, &store).await, 421);
        // And that path comes back, too.
        let everybody = seen.another();
        let done = everybody.reinstate(1, REPLACE).await.unwrap();
        assert_eq!(done.generation, Generation(4), "{done:?}");
        put(&last, &store, 6000).await.unwrap();
        everybody.verify([0, 1]).await;
    });
}

/// Such a path lies in a directory of its own; what is left of the old one beside it is none of the database.
#[test]
fn what_rots_on_a_path_that_came_back_is_healed_there() {
    let seen = Seen::new();
    block_on(async {
        let (db, store) = left_by(&seen).await;
        seen.reinstate(0, REPLACE).await.unwrap();
        put(&db, &store, 200).await.unwrap();
        drop((db, store));
        let seen = seen.another();
        let place = &seen.media[0].inner;
        let options = ScrubOptions::default();
        let scrubbed = async || {
            let report = scrub(&seen.places([0, 1]), &options, &environment(), &|_| {}).await;
            let report = report.unwrap();
            assert_eq!(report.unhealed, []);
            report.healed
        };
        assert_eq!(scrubbed().await, []);
        let before = place.list("").await.unwrap();
        let of_path = before
            .iter()
            .filter(|name| name.as_str().starts_with("path-"));
        let mut damaged = 0;
        for kind in ["/log/", "/manifest/", "/seg/"] {
            let name = of_path.clone().find(|name| name.as_str().contains(kind));
            let name = name.unwrap_or_else(|| panic!("no {kind} among {before:?}"));
            let mut bytes = place.read(name).await.unwrap().unwrap().to_vec();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
            place.replace(name, &move |_| bytes.clone()).await.unwrap();
            damaged += 1;
            let healed = scrubbed().await;
            let names: Vec<&str> = healed.iter().map(|one| one.object.as_str()).collect();
            assert!(
                names.len() == 1 && name.as_str().ends_with(names[0]),
                "{name}: {healed:?}"
            );
        }
        assert_eq!(damaged, 3);
        assert_eq!(place.list("").await.unwrap(), before, "nothing beside it");
        seen.verify([0, 1]).await;
    });
}

/// The place was emptied by hand, or another volume is mounted there.
#[test]
fn an_emptied_place_needs_no_flag() {
    let seen = Seen::new();
    block_on(async {
        let (db, store) = left_by(&seen).await;
        let medium = &seen.media[0].inner;
        for name in medium.list("").await.unwrap() {
            medium.remove(&name).await.unwrap();
        }
        let done = seen.reinstate(0, Reinstate::default()).await.unwrap();
        assert_eq!(done.generation, Generation(2));
        put(&db, &store, 200).await.unwrap();
        drop(db);
        let again = seen.another().open().await.unwrap();
        assert_eq!(count(&again, &store).await, 201);
        drop(again);
        // Nobody makes a database of its own there.
        let alone = Db::open_storage(seen.place(0), Options::default(), environment()).await;
        let refused = alone.map(|_| ()).unwrap_err();
        assert!(refused.to_string().contains("--standby"), "{refused}");
    });
}

#[test]
fn an_interrupted_copy_is_resumed() {
    let seen = Seen::new();
    block_on(async {
        let (db, store) = left_by(&seen).await;
        let full = Broken::Only(Operation::Replace, Errno::NOSPC.raw_os_error());
        seen.media[2].fail(full);
        seen.reinstate(2, Reinstate::default()).await.unwrap_err();
        let before = seen.media[2].inner.list("").await.unwrap().len();
        assert!(before > 50, "{before} objects were copied");
        put(&db, &store, 200).await.unwrap();
        seen.media[2].mend();
        let done = seen.reinstate(2, Reinstate::default()).await.unwrap();
        assert!(done.resumed && done.objects < 10, "{done:?}");
        let again = seen.another().open_at([2, 1]).await.unwrap();
        assert_eq!(count(&again, &store).await, 201);
        seen.verify([2, 1]).await;
    });
}

/// After a sync that failed, the system may report success the next time: what was copied is not trusted.
#[test]
fn a_copy_that_could_not_be_synced_is_begun_again() {
    let seen = Seen::new();
    block_on(async {
        let (_db, _store) = left_by(&seen).await;
        let to = seen.another();
        let sync = Broken::Only(Operation::SyncNames, Errno::IO.raw_os_error());
        // The mark and the marker are there already; the copy is what fails.
        to.media[2].fail(Broken::Only(
            Operation::Replace,
            Errno::NOSPC.raw_os_error(),
        ));
        to.reinstate(2, Reinstate::default()).await.unwrap_err();
        to.media[2].fail(sync);
        to.reinstate(2, Reinstate::default()).await.unwrap_err();
        to.media[2].mend();
        let done = to.reinstate(2, Reinstate::default()).await.unwrap();
        assert!(!done.resumed && done.objects > 50, "{done:?}");
    });
}

#[test]
fn a_place_with_anything_else_is_refused() {
    let seen = Seen::new();
    block_on(async {
        let both = seen.open().await.unwrap();
        let refused = seen.reinstate(2, REPLACE).await.unwrap_err();
        assert!(matches!(refused, Error::Invalid(_)), "{refused}");
        drop(both);
        let (_db, _store) = left_by(&seen).await;
        let name = Name::parse("thesis.txt").unwrap();
        seen.media[2].inner.create(&name, b"mine").await.unwrap();
        let refused = seen.reinstate(2, REPLACE).await.unwrap_err();
        assert!(refused.to_string().contains("thesis.txt"), "{refused}");
        seen.media[2].inner.remove(&name).await.unwrap();
        let refused = seen.reinstate(1, REPLACE).await.unwrap_err();
        assert!(refused.to_string().contains("stands on"), "{refused}");
        // A path of another database.
        let others = Seen::new();
        others.open().await.unwrap();
        let to: Arc<dyn Storage> = others.place(0);
        let places = seen.places([0, 1]);
        let refused = reinstate(&places, &to, REPLACE, &environment(), &|_| {}).await;
        let refused = refused.unwrap_err();
        assert!(
            refused.to_string().contains("another database"),
            "{refused}"
        );
        let kept = others.another().open().await;
        kept.unwrap();
    });
}

/// What is rotten where it comes from is named, and the database stays as it is.
#[test]
fn a_rotten_object_is_not_copied() {
    let seen = Seen::new();
    block_on(async {
        let (db, store) = left_by(&seen).await;
        let medium = &seen.media[1].inner;
        let segments = medium.list(Name::SEGMENT).await.unwrap();
        let name = segments.first().unwrap();
        let whole = medium.read(name).await.unwrap().unwrap();
        assert!(medium.tamper(name, |bytes| bytes[40] ^= 1));
        let refused = seen.reinstate(2, Reinstate::default()).await.unwrap_err();
        assert!(
            matches!(&refused, Error::Corrupt { object, .. } if object.contains(name.as_str())),
            "{refused}"
        );
        put(&db, &store, 200).await.unwrap();
        assert_eq!(db.info().generation, Generation(0));
        assert!(medium.tamper(name, |bytes| *bytes = whole.to_vec()));
        seen.reinstate(2, Reinstate::default()).await.unwrap();
    });
}

/// A process that does not find the new path acknowledges nothing, and says where it is.
#[test]
fn who_does_not_know_the_new_place_is_told() {
    let seen = Seen::new();
    block_on(async {
        let (db, store) = left_by(&seen).await;
        seen.reinstate(2, Reinstate::default()).await.unwrap();
        let refused = put(&db, &store, 200).await.unwrap_err();
        let text = refused.to_string();
        let location = seen.media[2].location();
        assert!(
            text.contains(&location) && text.contains("--standby"),
            "{text}"
        );
        drop(db);
        let refused = seen.another().open().await.map(|_| ()).unwrap_err();
        assert!(matches!(refused, Error::PathLost { .. }), "{refused}");
        let other = seen.another().open_at([2, 1]).await.unwrap();
        assert_eq!(count(&other, &store).await, 200);
        put(&other, &store, 200).await.unwrap();
    });
}

/// The swarm works meanwhile, and two call it at once.
#[test]
fn others_write_while_a_path_is_brought_back() {
    let seen = Seen::new();
    block_on(async {
        let (db, store) = left_by(&seen).await;
        let (first, second) = (seen.another(), seen.another());
        let other = first.open().await.unwrap();
        let writes = async {
            for number in 200..260 {
                put(&db, &store, number).await.unwrap();
                put(&other, &store, 1000 + number).await.unwrap();
            }
        };
        let both = async {
            futures::join!(
                first.reinstate(0, REPLACE),
                second.reinstate(0, REPLACE),
                writes
            )
        };
        let (one, two, ()) = both.await;
        let (one, two) = (one.unwrap(), two.unwrap());
        assert_eq!(one.path, two.path);
        put(&db, &store, 9000).await.unwrap();
        assert_eq!(count(&other, &store).await, 200 + 120 + 1);
        seen.verify([0, 1]).await;
    });
}

/// A path that is gone for good, whichever it was: somebody says so.
#[test]
fn a_path_that_is_gone_for_good_is_given_up() {
    for lost in [0, 1] {
        let seen = Seen::new();
        block_on(async {
            let db = seen.open().await.unwrap();
            let store = db.create_store("things", raw()).await.unwrap();
            for number in 0..50 {
                put(&db, &store, number).await.unwrap();
            }
            db.close().await.unwrap();
            let medium = &seen.media[lost].inner;
            for name in medium.list("").await.unwrap() {
                medium.remove(&name).await.unwrap();
            }
            let refused = seen.open().await.map(|_| ()).unwrap_err();
            assert!(matches!(refused, Error::PathLost { .. }), "{refused}");
            let places = seen.places([0, 1]);
            seal_without(&places, lost, &environment()).await.unwrap();
            let again = seen.open().await.unwrap();
            assert_eq!(again.info().generation, Generation(1));
            assert_eq!(count(&again, &store).await, 50);
            put(&again, &store, 50).await.unwrap();
            let twice = seal_without(&places, lost, &environment()).await;
            assert!(matches!(twice, Err(Error::Invalid(_))), "{twice:?}");
            seen.reinstate(lost, Reinstate::default()).await.unwrap();
            put(&again, &store, 51).await.unwrap();
            seen.verify([0, 1]).await;
        });
    }
}
