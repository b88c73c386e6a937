//! Copies of a database: by hand while it is in use, backups, restored ones, published ones.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::support::{Dice, seeds};
use eciton_engine::base::{Bounds, Datum, Error, Key, Position};
use eciton_engine::db::{
    Db, Environment, Options, ScanRange, Store, StoreSchema, backup, backup_folder, publish_folder,
    restore_folder, verify_backup_folder, verify_folder,
};
use eciton_engine::storage::{Access, LocalStorage, MemoryStorage, Operation, Storage};

const CELLS: u64 = 20;

fn key(number: u64) -> Key {
    Key::from_datums(&[Datum::Int(i128::from(number))]).unwrap()
}

fn options() -> Options {
    Options {
        fold_len_min: 8_000,
        // Some transactions become runs that the log refers to.
        bounds: Bounds {
            bulk_len_min: 1_500,
            ..Bounds::default()
        },
        ..Options::default()
    }
}

async fn open(folder: &Path) -> (Db, Store) {
    let db = Db::open(folder, options()).await.unwrap();
    let store = db.create_store("s", StoreSchema::default()).await.unwrap();
    (db, store)
}

/// Round `r` sets every cell to `r` and adds a record of its own: a state is of one round and has all rounds
/// before it.
async fn round(db: &Db, store: &Store, round: u64, dice: &Dice) -> Position {
    let mut transaction = db.begin();
    let padding = "x".repeat(usize::try_from(dice.below(200)).unwrap());
    for cell in 0..CELLS {
        let value = format!("{round} {padding}");
        transaction.put(store, &key(cell), value).unwrap();
    }
    transaction
        .put(store, &key(CELLS + round), "round")
        .unwrap();
    transaction.commit().await.unwrap().position
}

/// The round whose state this is.
async fn state(db: &Db) -> u64 {
    let Some(store) = db.store("s").await.unwrap() else {
        return 0;
    };
    let mut scan = db.snapshot().scan(&store, &ScanRange::all());
    let (mut cells, mut rounds) = (Vec::new(), 0);
    while let Some(record) = scan.next().await.unwrap() {
        if &record.value[..] == b"round" {
            rounds += 1;
            assert_eq!(record.key, key(CELLS + rounds), "a round is missing");
        } else {
            let text = std::str::from_utf8(&record.value).unwrap();
            let (number, _) = text.split_once(' ').unwrap();
            cells.push(number.parse::<u64>().unwrap());
        }
    }
    assert!(
        cells.iter().all(|cell| *cell == rounds),
        "{cells:?} {rounds}"
    );
    rounds
}

async fn upkeep(db: &Db, dice: &Dice) {
    match dice.below(12) {
        0 => drop(db.fold().await.unwrap()),
        1 => drop(db.collect().await.unwrap()),
        2 => drop(db.compact().await.unwrap()),
        _ => {}
    }
}

/// Copies file by file, in any order, whatever there is when its turn comes.
fn copy(from: &Path, to: &Path, dice: &Dice) {
    std::fs::create_dir_all(to).unwrap();
    let Ok(entries) = std::fs::read_dir(from) else {
        return;
    };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    for at in (1..paths.len()).rev() {
        paths.swap(at, usize::try_from(dice.below(at as u64 + 1)).unwrap());
    }
    for path in paths {
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &to, dice);
        } else if let Err(error) = std::fs::copy(&path, &to) {
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_copy_of_a_live_folder_opens_to_a_prefix_or_says_that_it_cannot() {
    let mut opened = 0;
    for seed in seeds(30) {
        println!("seed {seed}; ECITON_SEED={seed} repeats it");
        let dice = Dice::new(seed);
        let folder = tempfile::tempdir().unwrap();
        let (live, copied) = (folder.path().join("live"), folder.path().join("copy"));
        let (db, store) = open(&live).await;
        let ends = Arc::new(AtomicBool::new(false));
        let newest = Arc::new(AtomicU64::new(0));
        let writer = {
            let (ends, newest, dice) = (Arc::clone(&ends), Arc::clone(&newest), Dice::new(seed));
            tokio::spawn(async move {
                for number in 1.. {
                    if ends.load(Ordering::Acquire) {
                        break;
                    }
                    round(&db, &store, number, &dice).await;
                    newest.store(number, Ordering::Release);
                    upkeep(&db, &dice).await;
                }
            })
        };
        let begin = dice.below(60);
        while newest.load(Ordering::Acquire) < begin {
            tokio::task::yield_now().await;
        }
        copy(&live, &copied, &dice);
        ends.store(true, Ordering::Release);
        writer.await.unwrap();
        let no_create = Options {
            create: false,
            ..options()
        };
        let reader = Db::open_read_only(&copied, no_create.clone()).await;
        let seen = match &reader {
            Ok(reader) => state(reader).await,
            // What the copy needs had been collected when its turn came; or it has no INSTANCE yet.
            Err(Error::Corrupt { .. } | Error::NotADatabase { .. }) => continue,
            Err(error) => panic!("seed {seed}: {error}"),
        };
        assert!(seen <= newest.load(Ordering::Acquire));
        opened += 1;
        // It becomes a database of its own, and goes on.
        let db = Db::open(&copied, no_create.clone()).await.unwrap();
        assert_eq!(state(&db).await, seen);
        let store = db.create_store("s", StoreSchema::default()).await.unwrap();
        for number in seen + 1..seen + 4 {
            round(&db, &store, number, &dice).await;
            upkeep(&db, &dice).await;
        }
        db.compact().await.unwrap();
        db.close().await.unwrap();
        drop(store);
        let report = verify_folder(&copied, &|_| {}).await.unwrap();
        assert_eq!(report.broken, vec![], "seed {seed}");
        let db = Db::open(&copied, no_create).await.unwrap();
        assert_eq!(state(&db).await, seen + 3, "seed {seed}");
    }
    println!("{opened} copies opened");
    assert!(opened > 0, "not one copy could be opened");
}

/// Zeros the third slot of every log file that has one; how many have.
fn zero_third_slots(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap();
    let zero = |path: PathBuf| {
        if path.is_dir() {
            return zero_third_slots(&path);
        }
        let mut bytes = std::fs::read(&path).unwrap();
        let is_slot = |at: &usize| bytes[*at..].starts_with(b"ECSL");
        let Some(third) = (0..bytes.len()).step_by(512).filter(is_slot).nth(2) else {
            return 0;
        };
        bytes[third..third + 512].fill(0);
        std::fs::write(&path, bytes).unwrap();
        1
    };
    entries.map(|entry| zero(entry.unwrap().path())).sum()
}

#[tokio::test]
async fn a_hole_in_what_a_copy_has_folded_is_a_warning_and_damage_in_its_original() {
    let dice = Dice::new(1);
    let folder = tempfile::tempdir().unwrap();
    let (live, copied) = (folder.path().join("live"), folder.path().join("copy"));
    let (db, store) = open(&live).await;
    for number in 1..10 {
        round(&db, &store, number, &dice).await;
    }
    db.fold().await.unwrap();
    round(&db, &store, 10, &dice).await;
    copy(&live, &copied, &dice);
    drop((db, store));
    for place in [&live, &copied] {
        assert_eq!(zero_third_slots(&place.join("log")), 1);
    }
    let db = Db::open(&copied, options()).await.unwrap();
    assert_eq!(state(&db).await, 10);
    // Its generation shows in the manifest that a fold makes.
    let store = db.create_store("s", StoreSchema::default()).await.unwrap();
    round(&db, &store, 11, &dice).await;
    db.fold().await.unwrap();
    db.close().await.unwrap();
    let report = verify_folder(&copied, &|_| {}).await.unwrap();
    assert_eq!(report.broken, vec![]);
    let told = |text: &String| text.contains("folded before this copy was made");
    assert!(report.warnings.iter().any(told), "{:?}", report.warnings);
    let report = verify_folder(&live, &|_| {}).await.unwrap();
    assert!(!report.broken.is_empty());
}

/// Positions, with the round whose state each is.
type Rounds = Vec<(Position, u64)>;

async fn rounds(
    db: &Db,
    store: &Store,
    numbers: std::ops::Range<u64>,
    dice: &Dice,
    done: &mut Rounds,
) {
    for number in numbers {
        done.push((round(db, store, number, dice).await, number));
        upkeep(db, dice).await;
    }
}

#[tokio::test]
async fn every_backup_can_be_restored_and_every_position_between() {
    for seed in seeds(4) {
        println!("seed {seed}; ECITON_SEED={seed} repeats it");
        let dice = Dice::new(seed);
        let folder = tempfile::tempdir().unwrap();
        let backups = folder.path().join("backups");
        let (db, store) = open(&folder.path().join("live")).await;
        let (mut done, mut taken) = (Rounds::new(), Vec::new());
        for part in 0..5 {
            rounds(&db, &store, part * 20 + 1..part * 20 + 21, &dice, &mut done).await;
            let backup = db.backup(&backups, false, &|_| {}).await.unwrap();
            assert_eq!(backup.number, part + 1);
            assert_eq!(Some(backup.position), done.last().map(|(at, _)| *at));
            taken.push(backup);
        }
        let report = verify_backup_folder(&backups, &|_| {}).await.unwrap();
        assert_eq!(report.broken, vec![]);
        drop((db, store));
        let mut covered = 0;
        for (position, number) in &done {
            let to = folder.path().join(format!("at-{position}"));
            match restore_folder(&backups, &to, Some(*position), &|_| {}).await {
                Ok(restored) => {
                    assert_eq!(restored.position, *position);
                    let db = Db::open(&to, options()).await.unwrap();
                    assert_eq!(state(&db).await, *number, "position {position}");
                    assert_ne!(db.info().instance, taken[0].instance);
                    covered += 1;
                }
                Err(Error::Invalid(message)) => {
                    assert!(message.contains("covered are"), "{message}");
                    let is_taken = taken.iter().any(|backup| backup.position == *position);
                    assert!(!is_taken, "{message}");
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert!(covered >= taken.len(), "{covered} positions");
        // The newest by default; it goes on as any database.
        let to = folder.path().join("newest");
        restore_folder(&backups, &to, None, &|_| {}).await.unwrap();
        let report = verify_folder(&to, &|_| {}).await.unwrap();
        assert_eq!(report.broken, vec![], "{report:?}");
        let (db, store) = open(&to).await;
        assert_eq!(state(&db).await, 100);
        rounds(&db, &store, 101..120, &dice, &mut done).await;
        db.compact().await.unwrap();
        assert_eq!(state(&db).await, 119);
        db.close().await.unwrap();
        let again = restore_folder(&backups, &to, None, &|_| {}).await;
        assert!(matches!(again, Err(Error::Invalid(_))), "{again:?}");
    }
}

#[tokio::test]
async fn an_incremental_backup_copies_only_what_is_new() {
    let folder = tempfile::tempdir().unwrap();
    let (live, backups) = (folder.path().join("live"), folder.path().join("backups"));
    let dice = Dice::new(1);
    let mut done = Rounds::new();
    let (db, store) = open(&live).await;
    let mut transaction = db.begin();
    for number in 0..20_000 {
        let value: Vec<u8> = (0..100).map(|_| dice.next().to_le_bytes()[0]).collect();
        transaction
            .put(&store, &key(1_000_000 + number), value)
            .unwrap();
    }
    transaction.commit().await.unwrap();
    db.compact().await.unwrap();
    let first = db.backup(&backups, false, &|_| {}).await.unwrap();
    assert!(first.bytes_copied > 2_000_000, "{first:?}");
    let store_two = db.create_store("t", StoreSchema::default()).await.unwrap();
    for number in 1..4 {
        done.push((round(&db, &store_two, number, &dice).await, number));
    }
    // From beside, as another process does it.
    let second = backup_folder(&live, &backups, false, &|_| {})
        .await
        .unwrap();
    assert!(second.bytes_copied < 100_000, "{second:?}");
    assert_eq!(second.position, done[2].0);
    // Nothing new: nothing is copied, and yet it is a backup.
    let third = db.backup(&backups, false, &|_| {}).await.unwrap();
    assert_eq!((third.bytes_copied, third.position), (0, second.position));
    // Another database's backups go elsewhere.
    let other = folder.path().join("other");
    let (db, _) = open(&other).await;
    let mixed = db.backup(&backups, false, &|_| {}).await;
    assert!(matches!(mixed, Err(Error::Invalid(_))), "{mixed:?}");
    let into_database = db.backup(&live, false, &|_| {}).await;
    assert!(
        matches!(into_database, Err(Error::Invalid(_))),
        "{into_database:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn backups_are_taken_beside_whoever_writes_folds_and_collects() {
    let folder = tempfile::tempdir().unwrap();
    let (live, backups) = (folder.path().join("live"), folder.path().join("backups"));
    let (db, store) = open(&live).await;
    let ends = Arc::new(AtomicBool::new(false));
    let newest = Arc::new(AtomicU64::new(0));
    let writer = {
        let (db, ends, newest) = (db.clone(), Arc::clone(&ends), Arc::clone(&newest));
        tokio::spawn(async move {
            let dice = Dice::new(7);
            for number in 1.. {
                if ends.load(Ordering::Acquire) {
                    break;
                }
                round(&db, &store, number, &dice).await;
                newest.store(number, Ordering::Release);
                upkeep(&db, &dice).await;
            }
        })
    };
    let mut certain = Vec::new();
    for part in 0..12 {
        certain.push(newest.load(Ordering::Acquire));
        if part % 2 == 0 {
            db.backup(&backups, false, &|_| {}).await.unwrap();
        } else {
            backup_folder(&live, &backups, part % 3 == 0, &|_| {})
                .await
                .unwrap();
        }
    }
    ends.store(true, Ordering::Release);
    writer.await.unwrap();
    let report = verify_backup_folder(&backups, &|_| {}).await.unwrap();
    assert_eq!(report.broken, vec![]);
    let to = folder.path().join("restored");
    restore_folder(&backups, &to, None, &|_| {}).await.unwrap();
    let (db, _) = open(&to).await;
    let seen = state(&db).await;
    assert!(seen >= certain[11] && seen <= newest.load(Ordering::Acquire));
}

#[tokio::test]
async fn damage_in_a_backup_is_named_and_never_restored() {
    let folder = tempfile::tempdir().unwrap();
    let backups = folder.path().join("backups");
    let dice = Dice::new(3);
    let (db, store) = open(&folder.path().join("live")).await;
    let mut done = Rounds::new();
    for part in 0..2 {
        rounds(&db, &store, part * 10 + 1..part * 10 + 11, &dice, &mut done).await;
        db.fold().await.unwrap();
        round(&db, &store, part * 10 + 11, &dice).await;
        db.backup(&backups, false, &|_| {}).await.unwrap();
    }
    let storage = LocalStorage::open(&backups, Access::ReadOnly).unwrap();
    let names = storage.list("").await.unwrap();
    for (at, name) in names.iter().enumerate() {
        let path = backups.join(name.as_str());
        let whole = std::fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        let byte = usize::try_from(dice.below(whole.len() as u64)).unwrap();
        flipped[byte] ^= 1;
        std::fs::write(&path, &flipped).unwrap();
        let report = verify_backup_folder(&backups, &|_| {}).await.unwrap();
        let named = |object: &str| object.contains(name.as_str());
        assert!(
            report.broken.iter().any(|broken| named(&broken.object)),
            "byte {byte} of {name}: {report:?}"
        );
        let to = folder.path().join(format!("to-{at}"));
        match restore_folder(&backups, &to, None, &|_| {}).await {
            Ok(_) => {
                // It belongs to another backup only.
                let db = Db::open(&to, options()).await.unwrap();
                assert_eq!(state(&db).await, 21, "byte {byte} of {name}");
            }
            Err(Error::Corrupt { object, .. }) => {
                assert!(named(&object), "{object} instead of {name}");
                let options = Options {
                    create: false,
                    ..options()
                };
                let opened = Db::open(&to, options).await.map(drop);
                // Begun and left, or refused before anything was written.
                assert!(
                    matches!(
                        opened,
                        Err(Error::Unfinished { .. } | Error::NotADatabase { .. })
                    ),
                    "{opened:?}"
                );
            }
            Err(error) => panic!("{name}: {error}"),
        }
        // A full backup looks at every byte that it relies on, and mends what it can.
        if name.as_segment().is_some() {
            db.backup(&backups, true, &|_| {}).await.unwrap();
        }
        std::fs::write(&path, &whole).unwrap();
    }
}

#[tokio::test]
async fn an_interrupted_backup_is_none_and_the_next_one_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let live = folder.path().join("live");
    let dice = Dice::new(4);
    let (db, store) = open(&live).await;
    let mut done = Rounds::new();
    rounds(&db, &store, 1..40, &dice, &mut done).await;
    let source = || Arc::new(LocalStorage::open(&live, Access::ReadOnly).unwrap());
    let environment = Environment::default();
    let operations = [
        Operation::Write,
        Operation::Finish,
        Operation::Create,
        Operation::SyncNames,
    ];
    let backups = Arc::new(MemoryStorage::new());
    for operation in operations {
        // The medium is full.
        backups.inject(operation, 28);
        let taken = backup(source(), backups.clone(), false, &environment, &|_| {}).await;
        match taken {
            Err(Error::Storage {
                object, message, ..
            }) => {
                assert!(object.contains('/'), "{object}: {message}");
            }
            // The operation came later than the end.
            other => drop(other.unwrap()),
        }
    }
    let taken = backup(source(), backups.clone(), false, &environment, &|_| {})
        .await
        .unwrap();
    assert_eq!(Some(taken.position), done.last().map(|(at, _)| *at));
    let to = Arc::new(MemoryStorage::new());
    let restored =
        eciton_engine::db::restore(backups, to.clone(), None, &environment, &|_| {}).await;
    assert_eq!(restored.unwrap().position, taken.position);
    let db = Db::open_storage(to, options(), environment).await.unwrap();
    assert_eq!(state(&db).await, 39);
}

#[tokio::test]
async fn an_interrupted_restoring_is_no_database_and_can_be_begun_again() {
    let folder = tempfile::tempdir().unwrap();
    let backups = folder.path().join("backups");
    let (db, store) = open(&folder.path().join("live")).await;
    let mut done = Rounds::new();
    rounds(&db, &store, 1..30, &Dice::new(5), &mut done).await;
    db.backup(&backups, false, &|_| {}).await.unwrap();
    let source = Arc::new(LocalStorage::open(&backups, Access::ReadOnly).unwrap());
    let to = Arc::new(MemoryStorage::new());
    let environment = Environment::default();
    to.inject(Operation::Replace, 28);
    let refused =
        eciton_engine::db::restore(source.clone(), to.clone(), None, &environment, &|_| {}).await;
    assert!(matches!(refused, Err(Error::Storage { .. })), "{refused:?}");
    let opened = Db::open_storage(to.clone(), options(), environment.clone()).await;
    let opened = opened.map(drop);
    assert!(
        matches!(opened, Err(Error::Unfinished { .. })),
        "{opened:?}"
    );
    let again = eciton_engine::db::restore(source, to.clone(), None, &environment, &|_| {}).await;
    again.unwrap();
    let db = Db::open_storage(to, options(), environment).await.unwrap();
    assert_eq!(state(&db).await, 29);
}

#[tokio::test]
async fn a_published_copy_is_one_run_and_needs_no_right_to_write() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let (live, to) = (folder.path().join("live"), folder.path().join("published"));
    let (db, store) = open(&live).await;
    let mut done = Rounds::new();
    rounds(&db, &store, 1..60, &Dice::new(6), &mut done).await;
    db.drop_store("nothing").await.unwrap();
    let published = db.publish(&to, &|_| {}).await.unwrap();
    assert_eq!(Some(published.position), done.last().map(|(at, _)| *at));
    let names: Vec<String> = std::fs::read_dir(&to)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    for name in &names {
        assert!(
            ["INSTANCE", "manifest", "seg"].contains(&name.as_str()),
            "{name}"
        );
    }
    let set = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    set(&to, 0o555);
    let reader = Db::open_read_only(&to, Options::default()).await.unwrap();
    assert_eq!(state(&reader).await, 59);
    assert_eq!(reader.info().runs, 1);
    assert_eq!(reader.info().position, published.position);
    assert_ne!(reader.info().instance, db.info().instance);
    let report = verify_folder(&to, &|_| {}).await.unwrap();
    assert_eq!((report.broken, report.unused_segments), (vec![], 0));
    set(&to, 0o755);
    let again = publish_folder(&live, &to, &options(), &|_| {}).await;
    assert!(matches!(again, Err(Error::Invalid(_))), "{again:?}");
    // It can also be opened for writing, and is a database like any other.
    let (db, store) = open(&to).await;
    rounds(&db, &store, 60..80, &Dice::new(7), &mut done).await;
    db.compact().await.unwrap();
    db.close().await.unwrap();
    drop(store);
    let (db, _) = open(&to).await;
    assert_eq!(state(&db).await, 79);
}
