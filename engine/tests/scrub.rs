//! Scrubbing a mirrored database: what is damaged or missing on one path is restored from the other.

use std::sync::Arc;

use eciton_engine::base::{Datum, Error, Key, SegmentId};
use eciton_engine::coord::{SharedCoordinator, Silence};
use eciton_engine::db::{
    Db, Encoding, Environment, HealKind, Mode, Options, ScrubOptions, ScrubReport, StoreSchema,
    mirrored, scrub, verify,
};
use eciton_engine::storage::{Access, MemoryStorage, Name, Storage};
use futures::executor::block_on;

use crate::support::{Dice, seeds};

fn environment() -> Environment {
    let environment = Environment::default();
    let coordinator = SharedCoordinator::new(
        Arc::new(Silence),
        Arc::clone(&environment.clock),
        Arc::clone(&environment.entropy),
    );
    Environment {
        coordinator: Arc::new(coordinator),
        ..environment
    }
}

async fn open(places: &[Arc<dyn Storage>]) -> Db {
    let options = Options {
        mode: Mode::Clustered,
        fold_len_min: 1 << 30,
        ..Options::default()
    };
    let opened = Db::open_mirrored(places, options, environment()).await;
    opened.unwrap()
}

struct Paths([MemoryStorage; 2]);

impl Paths {
    /// Both paths of a database with floors, manifests, segments and slots.
    async fn filled() -> Paths {
        let paths = Paths([
            MemoryStorage::new(),
            MemoryStorage::with_identities_from(1 << 40),
        ]);
        let db = open(&paths.places()).await;
        let schema = StoreSchema {
            encoding: Encoding::Raw,
            ..StoreSchema::default()
        };
        let store = db.create_store("things", schema).await.unwrap();
        for number in 0..12 {
            let mut transaction = db.begin();
            let key = Key::from_datums(&[Datum::Int(number)]).unwrap();
            transaction
                .put(&store, &key, format!("value {number}"))
                .unwrap();
            transaction.commit().await.unwrap();
            if number == 4 || number == 8 {
                db.fold().await.unwrap();
                db.collect().await.unwrap();
            }
        }
        db.close().await.unwrap();
        paths
    }

    fn places(&self) -> Vec<Arc<dyn Storage>> {
        let places = self.0.iter();
        places.map(|path| Arc::new(path.clone()) as _).collect()
    }

    async fn scrub(&self) -> ScrubReport {
        let options = ScrubOptions::default();
        let report = scrub(&self.places(), &options, &environment(), &|_| {}).await;
        report.unwrap()
    }

    async fn verify(&self) {
        let whole = mirrored(&self.places(), Access::ReadOnly, &environment()).await;
        let report = verify(whole.unwrap(), &|_| {}).await.unwrap();
        assert!(report.broken.is_empty(), "{:?}", report.broken);
    }
}

/// Puts other bytes under a name, as rot does.
async fn put(path: &MemoryStorage, name: &Name, bytes: &[u8]) {
    let bytes = bytes.to_vec();
    path.replace(name, &move |_| bytes.clone()).await.unwrap();
}

/// Whether an object stands on each path by itself, and differs.
fn is_own(name: &Name) -> bool {
    ["INSTANCE", "PATH"].contains(&name.as_str())
}

/// Any flipped bit in any file, on either path. `ECITON_SCRUB_ALL=1`: every byte of every file.
#[test]
fn any_flipped_byte_is_found_and_healed() {
    let all = std::env::var_os("ECITON_SCRUB_ALL").is_some();
    for seed in seeds(1) {
        println!("seed {seed}");
        let dice = Dice::new(seed);
        block_on(async {
            let paths = Paths::filled().await;
            assert_eq!(paths.scrub().await.healed, []);
            for path in &paths.0 {
                for name in path.list("").await.unwrap() {
                    let before = path.read(&name).await.unwrap().unwrap();
                    let len = before.len() as u64;
                    let sampled = (0..4).map(|_| dice.below(len)).chain([0, len - 1]);
                    let places: Vec<u64> = match all {
                        true => (0..len).collect(),
                        false => sampled.collect(),
                    };
                    for at in places {
                        let mut rotten = before.to_vec();
                        rotten[usize::try_from(at).unwrap()] ^= 1 << dice.below(8);
                        put(path, &name, &rotten).await;
                        let report = paths.scrub().await;
                        let healed = &report.healed[..];
                        assert_eq!(healed.len(), 1, "{name} byte {at}: {report:?}");
                        assert_eq!(healed[0].object, name.as_str(), "byte {at}");
                        assert_eq!(healed[0].kind, HealKind::Damaged, "{name} byte {at}");
                        assert_eq!(report.unhealed, [], "{name} byte {at}");
                        let after = path.read(&name).await.unwrap().unwrap();
                        assert!(is_own(&name) || after == before, "{name} byte {at}");
                    }
                }
            }
            assert_eq!(paths.scrub().await.healed, []);
            paths.verify().await;
        });
    }
}

#[test]
fn a_missing_file_is_healed() {
    block_on(async {
        let paths = Paths::filled().await;
        for path in &paths.0 {
            for name in path.list("").await.unwrap() {
                path.remove(&name).await.unwrap();
                let report = paths.scrub().await;
                let healed = &report.healed[..];
                assert_eq!(healed.len(), 1, "{name}: {report:?}");
                let found = (healed[0].object.as_str(), healed[0].kind);
                assert_eq!(found, (name.as_str(), HealKind::Missing));
                assert_eq!(report.unhealed, [], "{name}");
                assert!(path.read(&name).await.unwrap().is_some(), "{name}");
            }
        }
        paths.verify().await;
    });
}

#[test]
fn what_is_damaged_on_both_paths_is_told() {
    block_on(async {
        let paths = Paths::filled().await;
        let listed = paths.0[0].list(Name::LOG).await.unwrap();
        let name = listed.last().unwrap();
        for path in &paths.0 {
            put(path, name, b"rotten").await;
        }
        let report = paths.scrub().await;
        assert_eq!(report.healed, []);
        assert_eq!(report.unhealed.len(), 1, "{report:?}");
        assert_eq!(report.unhealed[0].object, name.as_str());
    });
}

/// Nothing refers to it yet, so it is no damage that it is on one path only.
#[test]
fn a_segment_that_is_being_written_is_left_alone() {
    block_on(async {
        let paths = Paths::filled().await;
        let [active, passive] = &paths.0;
        let segment = Name::segment(SegmentId { tag: 1, unique: 7 });
        passive.create(&segment, b"being written").await.unwrap();
        let report = paths.scrub().await;
        assert_eq!((report.healed, report.unhealed), (vec![], vec![]));
        assert!(active.read(&segment).await.unwrap().is_none());
        assert!(passive.read(&segment).await.unwrap().is_some());
    });
}

#[test]
fn places_that_do_not_belong_together_are_refused() {
    block_on(async {
        let (paths, others) = (Paths::filled().await, Paths::filled().await);
        let [active, _] = &paths.0;
        let [_, other] = &others.0;
        let empty = MemoryStorage::with_identities_from(1 << 50);
        for second in [other, &empty] {
            let places: [Arc<dyn Storage>; 2] =
                [Arc::new(active.clone()), Arc::new(second.clone())];
            let options = ScrubOptions::default();
            let refused = scrub(&places, &options, &environment(), &|_| {}).await;
            assert!(
                matches!(refused, Err(Error::Invalid(_) | Error::NotADatabase { .. })),
                "{refused:?}"
            );
            assert!(empty.list("").await.unwrap().is_empty());
        }
    });
}
