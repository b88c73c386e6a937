//! What killed processes leave in `tmp/`, and disks that are full, where many processes write.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use eciton_engine::base::{Datum, Error, Key, Result};
use eciton_engine::coord::Silence;
use eciton_engine::db::{Db, ScanRange, Store, StoreSchema, verify_folder};
use eciton_engine::storage::{
    Access, Created, LocalStorage, LockMode, MemoryStorage, Name, Operation, Storage,
};
use futures::executor::block_on;

use crate::support::{join, join_storage};

/// The folder that a test, started once more as a process of its own, works on.
const INNER: &str = "ECITON_TEST_FOLDER";

fn inner_folder() -> Option<PathBuf> {
    std::env::var_os(INNER).map(PathBuf::from)
}

/// This test program once more, running only `test`, on `folder`.
fn inner(test: &str, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let test = format!("leftovers::{test}");
    command
        .args(["--exact", &test, "--nocapture", "--test-threads=1"])
        .env(INNER, folder);
    command
}

fn key(number: u64) -> Key {
    Key::from_datums(&[Datum::Int(i128::from(number))]).unwrap()
}

async fn put(db: &Db, store: &Store, number: u64, value: &[u8]) -> Result<()> {
    let mut transaction = db.begin();
    transaction.put(store, &key(number), value.to_vec())?;
    transaction.commit().await.map(drop)
}

fn temps(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder.join("tmp")).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// A process that shares the folder and is in the middle of writing a run. Ends at a line, or when it is killed.
fn at_work(folder: &Path) {
    let storage = LocalStorage::open(folder, Access::ReadWrite).unwrap();
    block_on(async {
        let _shared = storage.lock(LockMode::Shared).await.unwrap();
        let name = Name::parse(&format!("seg/{}", std::process::id())).unwrap();
        let mut writer = storage.writer(&name).await.unwrap();
        writer.write(&vec![7; 1 << 20]).await.unwrap();
        println!("\nwriting");
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).unwrap();
        assert_eq!(writer.finish().await.unwrap(), Created::New);
        println!("\nfinished");
    });
}

fn start(folder: &Path) -> Child {
    let test = "what_killed_processes_left_goes_and_what_living_ones_write_stays";
    let mut child = inner(test, folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for(&mut child, "writing");
    child
}

fn wait_for(child: &mut Child, word: &str) {
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == word), "no `{word}`");
}

/// Where a database is only ever opened by many: the temporary files of the dead go, at the next opening, and those of
/// the living stay, whatever the clocks say of either.
#[test]
fn what_killed_processes_left_goes_and_what_living_ones_write_stays() {
    if let Some(folder) = inner_folder() {
        return at_work(&folder);
    }
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    drop(runtime.block_on(join(folder.path())).unwrap());
    assert_eq!(temps(folder.path()), Vec::<PathBuf>::new());

    let mut dead = start(folder.path());
    let left = temps(folder.path());
    assert_eq!(left.len(), 1, "{left:?}");
    let mut living = start(folder.path());
    let both = temps(folder.path());
    assert_eq!(both.len(), 2, "{both:?}");
    dead.kill().unwrap();
    dead.wait().unwrap();
    let set = |path: &Path, time: SystemTime| {
        let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        file.set_modified(time).unwrap();
    };
    for path in &both {
        let day = Duration::from_hours(24);
        match left.contains(path) {
            true => set(path, SystemTime::UNIX_EPOCH + 40_000 * day),
            false => set(path, SystemTime::UNIX_EPOCH + day),
        }
    }
    let db = runtime.block_on(join(folder.path())).unwrap();
    let stay = temps(folder.path());
    assert_eq!(stay.len(), 1, "{stay:?}");
    assert!(!left.contains(&stay[0]), "the dead one's: {stay:?}");
    living.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    wait_for(&mut living, "finished");
    assert!(living.wait().unwrap().success());
    assert_eq!(temps(folder.path()), Vec::<PathBuf>::new());
    drop(db);
}

/// A medium without room says so at the first try, that nothing was written, and the next commit is not held up.
#[tokio::test]
async fn a_commit_that_storage_refuses_is_told_at_once_that_it_was_not_written() {
    // No room, no quota, read-only, not permitted.
    for errno in [28, 122, 30, 13] {
        let storage = MemoryStorage::new();
        let db = join_storage(Arc::new(storage.clone()), Arc::new(Silence))
            .await
            .unwrap();
        let store = db.create_store("s", StoreSchema::default()).await.unwrap();
        let before = storage.ops();
        storage.inject(Operation::Create, errno);
        let refused = put(&db, &store, 1, b"1").await.unwrap_err();
        assert!(
            matches!(&refused, Error::Storage { op: "create", errno: Some(found), .. } if *found == errno),
            "{errno}: {refused}"
        );
        assert_eq!(storage.ops() - before, 1, "{errno}: tried more than once");
        put(&db, &store, 2, b"2").await.unwrap();
        let found = async |number| db.snapshot().get(&store, &key(number)).await.unwrap();
        assert!(
            found(1).await.is_none() && found(2).await.is_some(),
            "{errno}"
        );
    }
    // What may have been done in spite of the error is tried again.
    let storage = MemoryStorage::new();
    let db = join_storage(Arc::new(storage.clone()), Arc::new(Silence))
        .await
        .unwrap();
    let store = db.create_store("s", StoreSchema::default()).await.unwrap();
    storage.inject(Operation::Create, 5);
    put(&db, &store, 1, b"1").await.unwrap();
}

/// A real file system that is full, and is freed again: each commit is answered, none is unknown, and what was
/// acknowledged is there.
#[test]
fn a_full_disk_among_others_answers_each_commit() {
    const TEST: &str = "a_full_disk_among_others_answers_each_commit";
    if let Some(folder) = inner_folder() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        return runtime.block_on(fill_and_free(&folder.join("db")));
    }
    let folder = tempfile::tempdir().unwrap();
    let mount = "mount -t tmpfs -o size=4m none \"$1\"";
    let allowed = |flags: &str| {
        let mut command = Command::new("unshare");
        command
            .args([flags, "sh", "-c", mount, "sh"])
            .arg(folder.path())
            .stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let Some(flags) = ["-m", "-rm"].into_iter().find(|flags| allowed(flags)) else {
        eprintln!("skipped: no tmpfs can be mounted here");
        return;
    };
    let inner = inner(TEST, folder.path());
    let line = format!("set -e; {mount}; shift; exec \"$@\"");
    let mut command = Command::new("unshare");
    command
        .args([flags, "sh", "-c", &line, "sh"])
        .arg(folder.path());
    command
        .arg(inner.get_program())
        .args(inner.get_args())
        .env(INNER, folder.path());
    let output = command.output().unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && report.contains("1 passed"),
        "{report}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

async fn fill_and_free(folder: &Path) {
    let db = join(folder).await.unwrap();
    let store = db.create_store("s", StoreSchema::default()).await.unwrap();
    let mut acknowledged = Vec::new();
    let mut refused = 0;
    for round in 0..3 {
        let filler = folder.with_file_name("filler");
        let mut file = std::fs::File::create(&filler).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
        drop(file);
        for number in round * 100..round * 100 + 50 {
            match put(&db, &store, number, &[b'1'; 6000]).await {
                Ok(()) => acknowledged.push(number),
                Err(error) => {
                    assert!(
                        matches!(
                            error,
                            Error::Storage {
                                errno: Some(28),
                                ..
                            }
                        ),
                        "{error}"
                    );
                    refused += 1;
                }
            }
        }
        std::fs::remove_file(&filler).unwrap();
        for number in round * 100 + 50..round * 100 + 60 {
            put(&db, &store, number, b"1").await.unwrap();
            acknowledged.push(number);
        }
    }
    assert!(refused >= 100, "{refused} refused: the disk was not full");
    let mut scan = db.snapshot().scan(&store, &ScanRange::all());
    let mut found = 0;
    while scan.next().await.unwrap().is_some() {
        found += 1;
    }
    assert_eq!(found, acknowledged.len());
    for number in acknowledged {
        assert!(
            db.snapshot()
                .get(&store, &key(number))
                .await
                .unwrap()
                .is_some(),
            "{number}"
        );
    }
    drop(db);
    let report = verify_folder(folder, &|_| {}).await.unwrap();
    assert_eq!(report.broken, vec![]);
}
