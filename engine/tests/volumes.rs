//! Volumes that are copied below their file system, block by block: a clone, and one that is set back. Both keep
//! inode numbers and times of birth, so both are taken for the original and meet it at Redis; neither may get
//! anything of the other's history (S14).
//!
//! Needs the right to mount images of ext4. Where that is missing the tests say so and test nothing; the simulator
//! has the same scenario.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::link::{bus, join, key};
use crate::support::redis::RedisServer;
use eciton_engine::base::{Datum, Error};
use eciton_engine::coord::redis::RedisOptions;
use eciton_engine::db::{Db, Encoding, Options, ScanRange, Store, StoreSchema};

/// Puts of each task, and tasks of each process.
const PUTS: u64 = 12;
const TASKS: u64 = 4;

/// An image of ext4, mounted as long as this lives.
struct Volume {
    image: PathBuf,
    at: PathBuf,
}

fn succeeds(program: &str, args: &[&str]) -> bool {
    let done = Command::new(program).args(args).output();
    done.is_ok_and(|done| done.status.success())
}

impl Volume {
    fn make(folder: &Path) -> Option<Volume> {
        let image = folder.join("image");
        std::fs::File::create(&image)
            .and_then(|file| file.set_len(32 * 1024 * 1024))
            .unwrap();
        let path = image.to_str().unwrap();
        let made = succeeds("mkfs.ext4", &["-q", "-F", path]);
        made.then(|| Volume::mount(image, folder.join("volume")))?
    }

    fn mount(image: PathBuf, at: PathBuf) -> Option<Volume> {
        std::fs::create_dir_all(&at).unwrap();
        let paths = [image.to_str().unwrap(), at.to_str().unwrap()];
        let mounted = succeeds("mount", &["-o", "loop", paths[0], paths[1]]);
        mounted.then_some(Volume { image, at })
    }

    /// What a snapshot of the volume holds, taken while it is in use.
    fn snapshot(&self, to: PathBuf) -> PathBuf {
        let at = self.at.to_str().unwrap();
        assert!(succeeds("fsfreeze", &["-f", at]), "freezing {at}");
        let copied = std::fs::copy(&self.image, &to);
        assert!(succeeds("fsfreeze", &["-u", at]), "thawing {at}");
        copied.unwrap();
        to
    }

    fn folder(&self) -> PathBuf {
        self.at.join("db")
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let at = self.at.to_str().unwrap_or_default();
        // A process that ends lets go of its files a moment later.
        let gone = (0..100).any(|_| {
            let gone = succeeds("umount", &[at]);
            if !gone {
                #[allow(clippy::disallowed_methods, reason = "a test may wait")]
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            gone
        });
        assert!(gone || std::thread::panicking(), "{at} stays mounted");
    }
}

fn volume(folder: &Path) -> Option<Volume> {
    let volume = Volume::make(folder);
    if volume.is_none() {
        eprintln!("skipped: this needs the right to mount images");
    }
    volume
}

async fn store(db: &Db) -> Store {
    let raw = StoreSchema {
        encoding: Encoding::Raw,
        ..StoreSchema::default()
    };
    db.create_store("marks", raw).await.unwrap()
}

/// Puts marks from `first` on, many tasks at once, each after a read that all of them share.
async fn put(db: &Db, first: u64) -> BTreeSet<u64> {
    let store = store(db).await;
    let tasks = (0..TASKS).map(|task| {
        let store = &store;
        async move {
            let mut put = BTreeSet::new();
            for index in 0..PUTS {
                let mark = first + task * PUTS + index;
                loop {
                    let mut transaction = db.begin();
                    transaction.get(store, &key(0)).await.unwrap();
                    transaction.put(store, &key(mark), "there").unwrap();
                    transaction.put(store, &key(0), "all read this").unwrap();
                    match transaction.commit().await {
                        Ok(_) => break,
                        Err(Error::Conflict { .. } | Error::TooOld { .. }) => {}
                        Err(error) => panic!("mark {mark}: {error}"),
                    }
                }
                put.insert(mark);
            }
            put
        }
    });
    let put = futures::future::join_all(tasks).await;
    put.into_iter().flatten().collect()
}

async fn marks(db: &Db) -> BTreeSet<u64> {
    let store = store(db).await;
    db.refresh().await.unwrap();
    let snapshot = db.snapshot();
    let mut scan = snapshot.scan(&store, &ScanRange::all());
    let mut marks = BTreeSet::new();
    while let Some(record) = scan.next().await.unwrap() {
        if let [Datum::Int(mark)] = record.key.datums().unwrap()[..]
            && mark > 0
        {
            marks.insert(u64::try_from(mark).unwrap());
        }
    }
    marks
}

/// What a process finds that hears of nobody.
async fn found_alone(folder: &Path) -> BTreeSet<u64> {
    let db = Db::open(folder, Options::default()).await.unwrap();
    let found = marks(&db).await;
    db.close().await.unwrap();
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cloned_volume_and_its_original_go_on_apart() {
    let folder = tempfile::tempdir().unwrap();
    let Some(original) = volume(folder.path()) else {
        return;
    };
    let redis = RedisServer::start();
    let options = RedisOptions::at(&redis.url());
    // One process of the original was there before the clone and stays, another one comes later.
    let before = join(&original.folder(), &bus(&options)).await;
    let mut expected = put(&before, 1).await;
    let image = original.snapshot(folder.path().join("clone"));
    let clone = Volume::mount(image, folder.path().join("cloned")).unwrap();
    let later = join(&original.folder(), &bus(&options)).await;
    let cloned = [
        join(&clone.folder(), &bus(&options)).await,
        join(&clone.folder(), &bus(&options)).await,
    ];
    assert_eq!(
        before.info().instance,
        cloned[0].info().instance,
        "they have one name"
    );
    let mut apart = expected.clone();
    for round in 1..4 {
        let first = round * 10_000;
        let (a, b, c, d) = tokio::join!(
            put(&before, first),
            put(&later, first + 1_000),
            put(&cloned[0], first + 2_000),
            put(&cloned[1], first + 3_000),
        );
        expected.extend(a.iter().chain(&b));
        apart.extend(c.iter().chain(&d));
        for db in [&before, &later] {
            assert_eq!(marks(db).await, expected, "round {round}, the original");
        }
        for db in &cloned {
            assert_eq!(marks(db).await, apart, "round {round}, the clone");
        }
    }
    for db in cloned.into_iter().chain([before, later]) {
        db.close().await.unwrap();
    }
    assert_eq!(found_alone(&original.folder()).await, expected);
    assert_eq!(found_alone(&clone.folder()).await, apart);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_that_was_set_back_shows_nothing_of_what_came_after() {
    let folder = tempfile::tempdir().unwrap();
    let Some(volume) = volume(folder.path()) else {
        return;
    };
    let redis = RedisServer::start();
    let options = RedisOptions::at(&redis.url());
    let db = join(&volume.folder(), &bus(&options)).await;
    let mut expected = put(&db, 1).await;
    let snapshot = volume.snapshot(folder.path().join("snapshot"));
    put(&db, 1_000).await;
    drop(db);
    let at = volume.at.clone();
    drop(volume);
    let volume = Volume::mount(snapshot, at).unwrap();
    // Redis remembers the slots that are gone.
    for first in [2_000, 3_000] {
        let db = join(&volume.folder(), &bus(&options)).await;
        assert_eq!(marks(&db).await, expected);
        expected.extend(put(&db, first).await);
        assert_eq!(marks(&db).await, expected);
        db.close().await.unwrap();
    }
    assert_eq!(found_alone(&volume.folder()).await, expected);
}
