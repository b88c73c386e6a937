//! Folders of backups that are damaged, and places that several processes fill at once: what is said to be done can be
//! restored, and nobody harms what another one has finished.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::support::stepping::SteppingStorage;
use crate::support::{Dice, seeds};
use eciton_engine::base::{Bounds, Datum, Error, Key, Position, Result};
use eciton_engine::db::{
    Backup, Db, Environment, Options, ScanRange, Store, StoreSchema, backup, publish, restore,
    restore_folder, verify, verify_backup_folder,
};
use eciton_engine::storage::{Access, LocalStorage, MemoryStorage, Storage};

fn options() -> Options {
    Options {
        bounds: Bounds {
            // A larger value becomes a run that the log refers to.
            bulk_len_min: 1_500,
            ..Bounds::default()
        },
        ..Options::default()
    }
}

fn key(number: u64) -> Key {
    Key::from_datums(&[Datum::Int(i128::from(number))]).unwrap()
}

/// A database with backups beside it.
struct Scene {
    folder: tempfile::TempDir,
    db: Db,
    store: Store,
    records: u64,
}

impl Scene {
    async fn new() -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("live"), options())
            .await
            .unwrap();
        let store = db.create_store("s", StoreSchema::default()).await.unwrap();
        Scene {
            folder,
            db,
            store,
            records: 0,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Commits so many records one by one; the position then.
    async fn put(&mut self, count: u64) -> Position {
        let mut position = self.db.info().position;
        for _ in 0..count {
            self.records += 1;
            // Some are long.
            let len = if self.records.is_multiple_of(4) {
                2_000
            } else {
                20
            };
            let mut transaction = self.db.begin();
            let value = "x".repeat(len);
            transaction
                .put(&self.store, &key(self.records), value)
                .unwrap();
            position = transaction.commit().await.unwrap().position;
        }
        position
    }

    async fn backup(&self, full: bool) -> Result<Backup> {
        self.db.backup(&self.path("backups"), full, &|_| {}).await
    }

    /// Files below a folder of the backups.
    fn files(&self, dir: &str) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut dirs = vec![self.path("backups").join(dir)];
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => dirs.push(path),
                    false => files.push(path),
                }
            }
        }
        files.sort();
        files
    }

    /// What is broken by the word of `verify_backup`.
    async fn broken(&self) -> Vec<String> {
        let report = verify_backup_folder(&self.path("backups"), &|_| {}).await;
        let broken = report.unwrap().broken.into_iter();
        broken
            .map(|broken| format!("{}: {}", broken.object, broken.detail))
            .collect()
    }

    /// Restores to a new folder; the records there.
    async fn restored(&self, position: Option<Position>) -> Result<u64> {
        let to = tempfile::tempdir_in(self.folder.path()).unwrap();
        let to = to.path().join("restored");
        restore_folder(&self.path("backups"), &to, position, &|_| {}).await?;
        let db = Db::open_read_only(&to, options()).await.unwrap();
        Ok(count(&db).await)
    }
}

async fn count(db: &Db) -> u64 {
    let store = db.store("s").await.unwrap().unwrap();
    let mut scan = db.snapshot().scan(&store, &ScanRange::all());
    let mut records = 0;
    while let Some(record) = scan.next().await.unwrap() {
        records += 1;
        assert_eq!(record.key, key(records), "a record is missing");
    }
    records
}

/// What may become of a file.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Flipped(usize),
    Cut,
    Longer,
    Emptied,
    Removed,
}

fn damage(path: &Path, damage: Damage) {
    let mut bytes = std::fs::read(path).unwrap();
    match damage {
        Damage::Flipped(byte) => {
            let at = byte % bytes.len();
            bytes[at] ^= 4;
        }
        Damage::Cut => bytes.truncate(bytes.len() - 1),
        Damage::Longer => bytes.push(0),
        Damage::Emptied => bytes.clear(),
        Damage::Removed => return std::fs::remove_file(path).unwrap(),
    }
    std::fs::write(path, bytes).unwrap();
}

const KINDS: [Damage; 6] = [
    Damage::Flipped(3),
    // Near the end, where the padding of the last slot is.
    Damage::Flipped(usize::MAX / 2),
    Damage::Cut,
    Damage::Longer,
    Damage::Emptied,
    Damage::Removed,
];

/// The database has it all: whatever is damaged is copied again, and nothing is called done that cannot be restored.
#[tokio::test]
async fn a_backup_that_says_done_can_be_restored_whatever_became_of_earlier_ones() {
    for dir in ["part", "seg"] {
        for kind in KINDS {
            for (full, more) in [(true, 0), (true, 3), (false, 0), (false, 3)] {
                let told = format!("{dir} {kind:?}, full {full}, {more} more");
                let mut scene = Scene::new().await;
                scene.put(10).await;
                scene.backup(false).await.unwrap();
                for file in scene.files(dir) {
                    damage(&file, kind);
                }
                assert!(!scene.broken().await.is_empty(), "{told}");
                scene.put(more).await;
                let taken = scene.backup(full).await.unwrap();
                // Without `full` the middle of a run is not read.
                let is_seen = full || dir == "part" || !matches!(kind, Damage::Flipped(_));
                if is_seen {
                    assert!(taken.files_copied > 0, "{told}");
                    assert_eq!(taken.damaged, vec![], "{told}");
                    assert_eq!(scene.broken().await, Vec::<String>::new(), "{told}");
                    assert_eq!(scene.restored(None).await.unwrap(), 10 + more, "{told}");
                }
            }
        }
    }
}

/// What the database has no more cannot be copied again: it is named, and the new backup does without.
#[tokio::test]
async fn what_cannot_be_copied_again_is_named_and_relied_on_no_more() {
    for (full, kind) in [
        (true, Damage::Flipped(3)),
        (true, Damage::Removed),
        (false, Damage::Flipped(3)),
        (false, Damage::Removed),
    ] {
        let mut scene = Scene::new().await;
        let early = scene.put(10).await;
        scene.backup(false).await.unwrap();
        let files: Vec<PathBuf> = [scene.files("part"), scene.files("seg")].concat();
        assert!(files.len() >= 2, "{files:?}");
        // Folds and deletes the log and the runs that it referred to.
        scene.put(1).await;
        scene.db.compact().await.unwrap();
        scene.put(2).await;
        for file in &files {
            damage(file, kind);
        }
        let taken = scene.backup(full).await.unwrap();
        let named = |file: &PathBuf| {
            let name = file.strip_prefix(scene.path("backups")).unwrap();
            let name = name.to_str().unwrap();
            taken.damaged.iter().any(|broken| broken.object == name)
        };
        if full {
            assert!(files.iter().all(named), "{kind:?}: {:?}", taken.damaged);
        }
        assert_eq!(scene.restored(None).await.unwrap(), 13, "{kind:?}");
        let refused = scene.restored(Some(early)).await;
        assert!(matches!(refused, Err(Error::Corrupt { .. })), "{refused:?}");
        // One more finds the same, and can be restored.
        scene.put(1).await;
        let again = scene.backup(true).await.unwrap();
        assert!(!again.damaged.is_empty());
        assert_eq!(scene.restored(None).await.unwrap(), 14);
        assert_eq!(scene.broken().await.len(), again.damaged.len());
    }
}

#[tokio::test]
async fn every_flipped_bit_of_a_part_is_found_in_the_padding_too() {
    for seed in seeds(1) {
        println!("seed {seed}; ECITON_SEED={seed} repeats it");
        let dice = Dice::new(seed);
        let mut scene = Scene::new().await;
        scene.put(3).await;
        scene.backup(false).await.unwrap();
        let path = scene.files("part").remove(0);
        let whole = std::fs::read(&path).unwrap();
        // Every sector, and in it the last byte, which is padding as a rule.
        let ends = (511..whole.len()).step_by(512);
        let any = (0..40).map(|_| usize::try_from(dice.below(whole.len() as u64)).unwrap());
        for byte in ends.chain(any) {
            let mut flipped = whole.clone();
            flipped[byte] ^= 1 << dice.below(8);
            std::fs::write(&path, flipped).unwrap();
            let broken = scene.broken().await;
            assert!(
                broken.len() == 1 && broken[0].starts_with("part/"),
                "byte {byte}: {broken:?}"
            );
            let refused = scene.restored(None).await;
            assert!(
                matches!(refused, Err(Error::Corrupt { .. })),
                "byte {byte}: {refused:?}"
            );
        }
    }
}

/// Numbers have no holes, and the head names the newest: an entry that is gone is missed.
#[tokio::test]
async fn an_entry_that_is_gone_is_named_and_the_one_before_the_newest_is_not_taken_for_it() {
    let mut scene = Scene::new().await;
    let mut positions = Vec::new();
    for _ in 0..5 {
        positions.push(scene.put(6).await);
        scene.backup(false).await.unwrap();
    }
    assert_eq!(scene.broken().await, Vec::<String>::new());
    let entries = scene.files("backup");
    assert_eq!(entries.len(), 6, "{entries:?}");
    for (at, path) in entries.iter().enumerate() {
        let whole = std::fs::read(path).unwrap();
        std::fs::remove_file(path).unwrap();
        let name = path.strip_prefix(scene.path("backups")).unwrap();
        let name = name.to_str().unwrap();
        let broken = scene.broken().await;
        let named = format!("{name}: it is missing");
        assert!(
            broken.iter().any(|broken| broken.starts_with(&named)),
            "{name}: {broken:?}"
        );
        match scene.restored(None).await {
            Ok(records) => assert!(at != 4 && records == 30, "{name}: {records}"),
            Err(Error::Corrupt { object, detail }) => {
                assert!(object.ends_with(name) || at < 4, "{object}: {detail}");
                if at == 4 {
                    assert!(detail.contains("--position"), "{detail}");
                }
            }
            Err(error) => panic!("{name}: {error}"),
        }
        std::fs::write(path, whole).unwrap();
    }
    // The next backup has a number of its own, and tells what is gone.
    std::fs::remove_file(&entries[4]).unwrap();
    let earlier = scene.restored(Some(positions[3])).await;
    assert_eq!(earlier.unwrap(), 24);
    let newest = scene.restored(Some(positions[4])).await;
    assert!(matches!(newest, Err(Error::Corrupt { .. })), "{newest:?}");
    scene.put(1).await;
    let taken = scene.backup(false).await.unwrap();
    assert_eq!((taken.number, taken.damaged.len()), (6, 1), "{taken:?}");
    assert_eq!(scene.restored(None).await.unwrap(), 31);
}

/// A head that cannot be read might have named a newer one.
#[tokio::test]
async fn a_damaged_head_is_named() {
    let mut scene = Scene::new().await;
    let position = scene.put(6).await;
    scene.backup(false).await.unwrap();
    damage(&scene.path("backups/backup/HEAD"), Damage::Flipped(12));
    let broken = scene.broken().await;
    assert!(broken[0].starts_with("backup/HEAD: "), "{broken:?}");
    let refused = scene.restored(None).await.unwrap_err().to_string();
    assert!(
        refused.contains("HEAD") && refused.contains("--position"),
        "{refused}"
    );
    assert_eq!(scene.restored(Some(position)).await.unwrap(), 6);
    // The next backup writes it anew.
    scene.backup(false).await.unwrap();
    assert_eq!(scene.broken().await, Vec::<String>::new());
}

/// An entry could not be read while a later backup continued the one before it, and then it could again.
#[tokio::test]
async fn two_backups_that_continue_one_cover_what_either_does() {
    let mut scene = Scene::new().await;
    scene.put(5).await;
    scene.backup(false).await.unwrap();
    let mut positions = vec![(scene.put(5).await, 10)];
    scene.backup(false).await.unwrap();
    let second = scene.path("backups/backup/0000000000000002");
    let whole = std::fs::read(&second).unwrap();
    damage(&second, Damage::Flipped(40));
    for records in 11..16 {
        positions.push((scene.put(1).await, records));
    }
    scene.db.fold().await.unwrap();
    positions.push((scene.put(1).await, 16));
    let third = scene.backup(false).await.unwrap();
    assert_eq!(third.number, 3);
    std::fs::write(&second, whole).unwrap();
    assert_eq!(scene.broken().await, Vec::<String>::new());
    for (position, records) in positions {
        let restored = scene.restored(Some(position)).await;
        assert_eq!(restored.unwrap(), records, "position {position}");
    }
}

/// What a process does to a place.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Doing {
    Restore,
    Publish,
    Backup,
    /// Creates a database, or opens the one there.
    Create,
}

async fn act(
    doing: Doing,
    backups: Arc<dyn Storage>,
    live: Arc<dyn Storage>,
    to: Arc<dyn Storage>,
) -> Result<()> {
    let environment = Environment::default();
    match doing {
        Doing::Restore => restore(backups, to, None, &environment, &|_| {})
            .await
            .map(drop),
        Doing::Publish => publish(live, to, &options(), &environment, &|_| {})
            .await
            .map(drop),
        Doing::Backup => backup(live, to, false, &environment, &|_| {})
            .await
            .map(drop),
        Doing::Create => {
            let db = Db::open_storage(to, options(), environment).await?;
            db.create_store("s", StoreSchema::default()).await?;
            db.close().await
        }
    }
}

/// A process is held before each of its steps in turn, while another one does its work in the same place to its end
/// and, where that is a database now, commits. One of them is refused; what was done and acknowledged is whole.
#[tokio::test]
async fn no_stop_of_one_process_harms_what_another_one_has_finished_in_the_same_place() {
    let mut scene = Scene::new().await;
    scene.put(6).await;
    scene.db.fold().await.unwrap();
    scene.put(6).await;
    scene.backup(false).await.unwrap();
    let open = |name: &str| -> Arc<dyn Storage> {
        Arc::new(LocalStorage::open(&scene.path(name), Access::ReadOnly).unwrap())
    };
    let (backups, live) = (open("backups"), open("live"));
    let all = [Doing::Restore, Doing::Publish, Doing::Backup, Doing::Create];
    for (held, other) in all.into_iter().flat_map(|a| all.map(|b| (a, b))) {
        if held == other && matches!(held, Doing::Create | Doing::Backup) {
            continue;
        }
        let (mut refused, mut steps) = ([0, 0], 0);
        loop {
            let told = format!("{held:?} held before step {steps}, {other:?}");
            let place = Arc::new(MemoryStorage::new());
            let (stepping, gate) = SteppingStorage::new(Arc::clone(&place), steps);
            let mut first = tokio::spawn(act(held, backups.clone(), live.clone(), stepping));
            let ended = tokio::select! {
                ended = &mut first => Some(ended.unwrap()),
                () = gate.held() => None,
            };
            if let Some(ended) = ended {
                ended.unwrap();
                break;
            }
            let second = act(other, backups.clone(), live.clone(), place.clone()).await;
            let is_database = second.is_ok() && other != Doing::Backup;
            if is_database {
                let db = Db::open_storage(place.clone(), options(), Environment::default());
                let db = db.await.unwrap();
                let store = db
                    .create_store("own", StoreSchema::default())
                    .await
                    .unwrap();
                let mut transaction = db.begin();
                transaction.put(&store, &key(1), "acknowledged").unwrap();
                transaction.commit().await.unwrap();
                db.close().await.unwrap();
            }
            gate.open();
            let first = first.await.unwrap();
            for (at, done) in [&first, &second].into_iter().enumerate() {
                match done {
                    Ok(()) => {}
                    Err(Error::Locked { .. } | Error::Invalid(_) | Error::Unfinished { .. }) => {
                        refused[at] += 1;
                    }
                    // Creating tells a database that is being made elsewhere from one that is not whole.
                    Err(Error::NotADatabase { .. })
                        if other == Doing::Create || held == Doing::Create =>
                    {
                        refused[at] += 1;
                    }
                    Err(error) => panic!("{told}: {error}"),
                }
            }
            assert!(
                first.is_ok() || second.is_ok(),
                "{told}: {first:?}, {second:?}"
            );
            let whole = match first.is_ok() {
                true => held,
                false => other,
            };
            if whole == Doing::Backup {
                let to = Arc::new(MemoryStorage::new());
                act(Doing::Restore, place, live.clone(), to).await.unwrap();
            } else {
                let report = verify(place.clone(), &|_| {}).await.unwrap();
                assert_eq!((report.broken, report.warnings), (vec![], vec![]), "{told}");
                let db = Db::open_storage(place, options(), Environment::default());
                let db = db.await.unwrap();
                let copies = |(doing, done): (Doing, bool)| {
                    done && matches!(doing, Doing::Restore | Doing::Publish)
                };
                let is_copy = copies((held, first.is_ok())) || copies((other, second.is_ok()));
                assert_eq!(count(&db).await, if is_copy { 12 } else { 0 }, "{told}");
                if is_database {
                    let store = db.store("own").await.unwrap().unwrap();
                    let own = db.snapshot().get(&store, &key(1)).await.unwrap();
                    assert!(own.is_some(), "{told}: an acknowledged record is gone");
                }
            }
            steps += 1;
        }
        println!("{held:?}, {other:?}: {steps} steps, refused {refused:?}");
        assert!(steps > 3, "{held:?} has {steps} steps");
    }
}
