use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use futures::executor::block_on;

use super::LocalStorage;
use crate::base::{Error, Result};
use crate::storage::conformance::{Subject, suite};
use crate::storage::{Access, Created, LockMode, Name, Storage};

/// The folder that a test, started once more as a process of its own, works on.
const INNER: &str = "ECITON_TEST_FOLDER";

fn subject() -> Subject {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("db");
    let storage = Arc::new(LocalStorage::open(&root, Access::ReadWrite).unwrap());
    let open = move |access| -> Arc<dyn Storage> {
        // A folder that nothing was written to is not there yet.
        std::fs::create_dir_all(&root).unwrap();
        Arc::new(LocalStorage::open(&root, access).unwrap())
    };
    Subject::new(storage, open).keeping(dir)
}

suite!(subject);

fn name(path: &str) -> Name {
    Name::parse(path).unwrap()
}

fn writable(root: &Path) -> LocalStorage {
    LocalStorage::open(root, Access::ReadWrite).unwrap()
}

fn temps(root: &Path) -> usize {
    std::fs::read_dir(root.join("tmp")).map_or(0, Iterator::count)
}

/// This test binary once more, running only `test`, on `folder`.
fn inner(test: &str, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let test = format!("storage::local::tests::{test}");
    command
        .args(["--exact", &test, "--nocapture", "--test-threads=1"])
        .env(INNER, folder);
    command
}

fn inner_folder() -> Option<PathBuf> {
    std::env::var_os(INNER).map(PathBuf::from)
}

/// Runs `test` once more after `mount`, a shell line about the folder `$1`, in a mount namespace of
/// its own; `false` where the machine does not allow that.
fn mounted(test: &str, folder: &Path, mount: &str) -> bool {
    let allowed = |flags: &str| {
        let probe = format!("set -e; {mount}");
        let mut command = Command::new("unshare");
        command
            .args([flags, "sh", "-c", &probe, "sh"])
            .arg(folder)
            .stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let Some(flags) = ["-m", "-rm"].into_iter().find(|flags| allowed(flags)) else {
        return false;
    };
    let inner = inner(test, folder);
    let mut command = Command::new("unshare");
    let line = format!("set -e; {mount}; shift; exec \"$@\"");
    command.args([flags, "sh", "-c", &line, "sh"]).arg(folder);
    command
        .arg(inner.get_program())
        .args(inner.get_args())
        .env(INNER, folder);
    let output = command.output().unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{report}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        report.contains("1 passed"),
        "the inner test did not run: {report}"
    );
    true
}

#[test]
fn opening_touches_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("a/b/db");
    let storage = writable(&root);
    assert_eq!(block_on(storage.read(&Name::instance())).unwrap(), None);
    assert!(block_on(storage.list("")).unwrap().is_empty());
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        0,
        "nothing was made"
    );
    let absent = LocalStorage::open(&root, Access::ReadOnly);
    assert!(
        matches!(absent, Err(Error::NotADatabase { .. })),
        "{absent:?}"
    );
    assert_eq!(
        block_on(storage.create(&name("x/y"), b"1")).unwrap(),
        Created::New
    );
    assert_eq!(std::fs::read(root.join("x/y")).unwrap(), b"1");

    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    for access in [Access::ReadOnly, Access::ReadWrite] {
        let opened = LocalStorage::open(&file, access);
        assert!(
            matches!(opened, Err(Error::NotADatabase { .. })),
            "{opened:?}"
        );
    }
}

#[test]
fn every_first_write_makes_its_directories() {
    type Write = fn(&LocalStorage) -> Result<()>;
    let writes: [(&str, Write); 5] = [
        ("create", |s| {
            block_on(s.create(&name("d/e/x"), b"1")).map(|_| ())
        }),
        ("replace", |s| {
            block_on(s.replace(&name("d/e/x"), &|_| b"1".to_vec())).map(drop)
        }),
        ("append", |s| {
            block_on(s.append_file(&name("d/e/x"))).map(|_| ())
        }),
        ("lock", |s| {
            block_on(s.lock(LockMode::Exclusive)).map(|_| ())
        }),
        ("writer", |s| {
            block_on(async { s.writer(&name("d/e/x")).await?.finish().await }).map(|_| ())
        }),
    ];
    for (what, write) in writes {
        let dir = tempfile::tempdir().unwrap();
        write(&writable(&dir.path().join("p/q")))
            .unwrap_or_else(|failure| panic!("{what}: {failure}"));
        assert!(
            dir.path()
                .join("p/q")
                .join(if what == "lock" { "LOCK" } else { "d/e/x" })
                .exists()
        );
    }
}

#[test]
fn temporary_files_do_not_stay() {
    let dir = tempfile::tempdir().unwrap();
    let storage = writable(dir.path());
    block_on(storage.create(&name("a"), b"1")).unwrap();
    block_on(storage.create(&name("a"), b"2")).unwrap();
    block_on(storage.replace(&name("b"), &|_| b"1".to_vec())).unwrap();
    drop(block_on(storage.writer(&name("c"))).unwrap());
    assert_eq!(temps(dir.path()), 0);
    // A directory in the way: the link fails, the temporary file goes.
    std::fs::create_dir(dir.path().join("d")).unwrap();
    std::fs::write(dir.path().join("e"), "").unwrap();
    let failed = block_on(storage.create(&name("e/f"), b"1"));
    assert!(
        matches!(failed, Err(Error::Storage { op: "create", .. })),
        "{failed:?}"
    );
    assert_eq!(temps(dir.path()), 0);
}

#[test]
fn the_lock_clears_what_the_dead_left() {
    let dir = tempfile::tempdir().unwrap();
    let storage = writable(dir.path());
    let mut writer = block_on(storage.writer(&name("seg/1"))).unwrap();
    block_on(writer.write(b"alive")).unwrap();
    std::fs::write(dir.path().join("tmp/4711-00-0"), "dead").unwrap();
    assert_eq!(temps(dir.path()), 2);
    let _lock = block_on(storage.lock(LockMode::Exclusive)).unwrap();
    assert_eq!(temps(dir.path()), 1, "one's own is kept");
    assert_eq!(block_on(writer.finish()).unwrap(), Created::New);
}

#[test]
fn strangers_in_the_folder_are_not_listed() {
    let dir = tempfile::tempdir().unwrap();
    let storage = writable(dir.path());
    block_on(storage.create(&name("log/1"), b"1")).unwrap();
    drop(block_on(storage.lock(LockMode::Exclusive)).unwrap());
    std::fs::write(dir.path().join("log/read me"), "").unwrap();
    std::fs::write(dir.path().join("log/\u{e4}"), "").unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        std::os::unix::fs::symlink(dir.path(), dir.path().join("log/loop")).unwrap();
        let bytes = std::ffi::OsStr::from_bytes(&[0xff]);
        std::fs::write(dir.path().join("log").join(bytes), "").unwrap();
    }
    assert_eq!(block_on(storage.list("")).unwrap(), [name("log/1")]);
}

#[test]
fn a_failure_names_operation_and_object() {
    let dir = tempfile::tempdir().unwrap();
    let storage = writable(dir.path());
    std::fs::write(dir.path().join("log"), "").unwrap();
    let failed = block_on(storage.read(&name("log/1"))).unwrap_err();
    match &failed {
        Error::Storage {
            op: "read",
            object,
            errno: Some(_),
            ..
        } => assert_eq!(object, "log/1"),
        other => panic!("a storage error expected, got {other}"),
    }
    assert!(
        failed.to_string().starts_with("storage: read log/1: "),
        "{failed}"
    );
}

#[test]
fn a_successor_is_not_taken_for_the_dead() {
    let dir = tempfile::tempdir().unwrap();
    let storage = writable(dir.path());
    let held = block_on(storage.lock(LockMode::Exclusive)).unwrap();
    let line = std::fs::read_to_string(dir.path().join("LOCK")).unwrap();
    assert!(
        line.ends_with("}\n") && line.lines().count() == 1,
        "{line:?}"
    );
    assert!(
        line.contains(&format!("\"pid\":{}", std::process::id())),
        "{line:?}"
    );
    // Held, but nothing legible in it.
    for line in ["", "garbage"] {
        std::fs::write(dir.path().join("LOCK"), line).unwrap();
        match block_on(storage.lock(LockMode::Exclusive)).err() {
            Some(Error::Locked { pid: 0, host, .. }) => assert_eq!(host, "unknown"),
            other => panic!("locked expected, got {other:?}"),
        }
    }
    drop(held);
    assert_eq!(
        std::fs::read(dir.path().join("LOCK")).unwrap(),
        b"",
        "released without a trace"
    );
    // What the dead leave is overwritten.
    std::fs::write(
        dir.path().join("LOCK"),
        "{\"pid\":1,\"host\":\"a long name of a host\"}\n",
    )
    .unwrap();
    let _held = block_on(storage.lock(LockMode::Exclusive)).unwrap();
    assert_eq!(
        std::fs::read_to_string(dir.path().join("LOCK")).unwrap(),
        line
    );
}

#[test]
fn the_lock_holds_across_processes_and_dies_with_its_holder() {
    if let Some(folder) = inner_folder() {
        let _held = block_on(writable(&folder).lock(LockMode::Exclusive)).unwrap();
        println!("\nholding");
        // Until it is killed, or its parent is gone.
        std::io::stdin().lines().for_each(drop);
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut holder = inner(
        "the_lock_holds_across_processes_and_dies_with_its_holder",
        dir.path(),
    )
    .stdin(Stdio::piped())
    .stdout(Stdio::piped())
    .spawn()
    .unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    assert!(
        lines.any(|line| line.unwrap() == "holding"),
        "the other process did not get the lock"
    );
    let storage = writable(dir.path());
    match block_on(storage.lock(LockMode::Exclusive)).err() {
        Some(Error::Locked { pid, host, path }) => {
            assert_eq!((pid, host), (holder.id(), super::platform::host()));
            assert_eq!(path, dir.path().display().to_string());
        }
        other => panic!("locked expected, got {other:?}"),
    }
    // Reading needs no lock.
    LocalStorage::open(dir.path(), Access::ReadOnly).unwrap();
    holder.kill().unwrap();
    holder.wait().unwrap();
    block_on(storage.lock(LockMode::Exclusive)).unwrap();
}

#[test]
fn a_full_disk_leaves_the_file_usable() {
    const TEST: &str = "a_full_disk_leaves_the_file_usable";
    if let Some(folder) = inner_folder() {
        return on_a_full_disk(&folder);
    }
    let dir = tempfile::tempdir().unwrap();
    if !mounted(TEST, dir.path(), "mount -t tmpfs -o size=1m none \"$1\"") {
        eprintln!("skipped: no tmpfs can be mounted here; a failing write stands in for it");
        refused_without_room(dir.path());
    }
}

fn on_a_full_disk(folder: &Path) {
    let storage = writable(folder);
    let mut file = block_on(storage.append_file(&name("log/1"))).unwrap();
    block_on(file.allocate(100_000)).unwrap();
    block_on(file.write_durable(0, b"before")).unwrap();
    let refused = block_on(file.allocate(4 << 20)).unwrap_err();
    assert!(
        matches!(
            &refused,
            Error::Storage {
                op: "allocate",
                errno: Some(28),
                ..
            }
        ),
        "{refused}"
    );
    assert_eq!(file.allocated(), 100_000);
    assert_eq!(
        block_on(storage.stat(&name("log/1"))).unwrap().unwrap().len,
        100_000
    );
    block_on(file.write_durable(6, b"after")).unwrap();
    // What it took in vain is free again.
    block_on(file.allocate(500_000)).unwrap();
    assert_eq!(
        block_on(storage.read(&name("log/1"))).unwrap().unwrap()[..12],
        *b"beforeafter\0"
    );

    let refused = block_on(storage.create(&name("seg/1"), &vec![1; 1 << 20])).unwrap_err();
    assert!(
        matches!(
            &refused,
            Error::Storage {
                op: "create",
                errno: Some(28),
                ..
            }
        ),
        "{refused}"
    );
    let mut writer = block_on(storage.writer(&name("seg/1"))).unwrap();
    let refused = block_on(writer.write(&vec![1; 1 << 20])).unwrap_err();
    let again = block_on(writer.finish()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        again.to_string(),
        "a part is never published"
    );
    assert_eq!(temps(folder), 0);
    assert_eq!(block_on(storage.list("")).unwrap(), [name("log/1")]);
    assert_eq!(
        block_on(storage.create(&name("seg/1"), b"small")).unwrap(),
        Created::New
    );
    // A disk without one free byte can still be locked.
    let mut filler = std::fs::File::create(folder.join("filler")).unwrap();
    while filler.write_all(&[1; 4096]).is_ok() {}
    block_on(storage.lock(LockMode::Exclusive)).unwrap();
}

/// A file that cannot be written: not out of space, so it must not be used further.
fn refused_without_room(folder: &Path) {
    std::fs::write(folder.join("file"), "").unwrap();
    let file = std::fs::File::open(folder.join("file")).unwrap();
    let storage = writable(folder);
    let mut file =
        super::append::LocalAppendFile::new(storage.folder(), name("file"), file).unwrap();
    let refused = block_on(crate::storage::AppendFile::allocate(&mut file, 10)).unwrap_err();
    assert!(matches!(refused, Error::Storage { op: "allocate", .. }));
    assert_eq!(crate::storage::AppendFile::allocated(&file), 0);
    assert!(
        block_on(crate::storage::AppendFile::sync(&mut file)).is_err(),
        "it is given up"
    );
}

#[test]
fn a_file_that_failed_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    refused_without_room(dir.path());
}

#[test]
fn a_read_only_medium_can_be_read() {
    const TEST: &str = "a_read_only_medium_can_be_read";
    if let Some(folder) = inner_folder() {
        let touch = std::fs::write(folder.join("x"), "").unwrap_err();
        assert_eq!(
            touch.kind(),
            std::io::ErrorKind::ReadOnlyFilesystem,
            "the mount is not read-only"
        );
        let storage = LocalStorage::open(&folder, Access::ReadOnly).unwrap();
        assert_eq!(
            block_on(storage.read(&name("log/1"))).unwrap().unwrap(),
            "there"
        );
        assert_eq!(block_on(storage.list("")).unwrap(), [name("log/1")]);
        let object = block_on(storage.open(&name("log/1"))).unwrap().unwrap();
        assert_eq!(block_on(object.read_at(1, 3)).unwrap(), "her");
        assert!(matches!(
            block_on(storage.lock(LockMode::Exclusive)).err(),
            Some(Error::ReadOnly)
        ));
        // Opened for writing, it says what the medium says.
        let failed = block_on(writable(&folder).create(&name("a"), b"")).unwrap_err();
        assert!(
            matches!(
                &failed,
                Error::Storage {
                    op: "create",
                    errno: Some(30),
                    ..
                }
            ),
            "{failed}"
        );
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    block_on(writable(dir.path()).create(&name("log/1"), b"there")).unwrap();
    let mount = "mount --bind \"$1\" \"$1\"; mount -o remount,ro,bind \"$1\"";
    if !mounted(TEST, dir.path(), mount) {
        eprintln!(
            "skipped: nothing can be mounted read-only here; the conformance suite still shows that no call changes anything"
        );
    }
}

/// A runtime of one thread has no other thread to hand tasks to.
#[tokio::test(flavor = "current_thread")]
async fn works_on_a_runtime_of_one_thread() {
    let dir = tempfile::tempdir().unwrap();
    let storage = writable(dir.path());
    storage.create(&name("a"), &vec![7; 1 << 20]).await.unwrap();
    let mut file = storage.append_file(&name("b")).await.unwrap();
    file.allocate(10).await.unwrap();
    drop(storage.lock(LockMode::Exclusive).await.unwrap());
    assert_eq!(storage.list("").await.unwrap(), [name("a"), name("b")]);
}

/// A freed inode is often the next to be used: the number alone would take a stranger for the old file.
#[cfg(unix)]
#[test]
fn an_inode_used_again_is_another_identity() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let born = || {
        std::fs::write(&path, "").unwrap();
        std::fs::metadata(&path).unwrap()
    };
    let first = born();
    for _ in 0..100_000 {
        std::fs::remove_file(&path).unwrap();
        let next = born();
        let is_later = matches!((first.created(), next.created()), (Ok(a), Ok(b)) if a != b);
        if next.ino() == first.ino() && is_later {
            assert_ne!(
                super::platform::identity(&next),
                super::platform::identity(&first)
            );
            return;
        }
    }
    eprintln!("skipped: this file system does not use an inode again, or keeps no moment of birth");
}

#[test]
fn empty_directories_go_and_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let storage = writable(folder.path());
    block_on(async {
        for path in ["seg/00/a", "seg/01/b", "log/g0/1"] {
            storage.create(&name(path), b"bytes").await.unwrap();
            storage.sync_names(&name(path)).await.unwrap();
        }
        storage.remove(&name("seg/00/a")).await.unwrap();
        storage.remove(&name("log/g0/1")).await.unwrap();
        storage.prune().await.unwrap();
        for (path, stays) in [
            ("seg/00", false),
            ("seg/01", true),
            ("log", false),
            ("tmp", false),
        ] {
            assert_eq!(folder.path().join(path).exists(), stays, "{path}");
        }
        let mut writer = storage.writer(&name("seg/00/c")).await.unwrap();
        storage.prune().await.unwrap();
        writer.write(b"bytes").await.unwrap();
        writer.finish().await.unwrap();
        storage.sync_names(&name("seg/00/c")).await.unwrap();
        storage.create(&name("log/g0/2"), b"bytes").await.unwrap();
        assert_eq!(storage.list("").await.unwrap().len(), 3);
    });
}

/// Whatever a process began before another folder took the place of its own, and whatever it begins afterwards:
/// nothing of it is done in the other folder.
#[cfg(unix)]
#[test]
fn nothing_is_done_to_a_folder_that_took_the_place() {
    let parent = tempfile::tempdir().unwrap();
    let at = |name: &str| parent.path().join(name);
    let storage = writable(&at("db"));
    let other = writable(&at("other"));
    block_on(async {
        for storage in [&storage, &other] {
            for path in ["log/g0/1", "seg/1", "INSTANCE"] {
                storage.create(&name(path), b"bytes").await.unwrap();
                storage.sync_names(&name(path)).await.unwrap();
            }
        }
        let held = storage.lock(LockMode::Exclusive).await.unwrap();
        let mut writer = storage.writer(&name("seg/2")).await.unwrap();
        writer.write(b"bytes").await.unwrap();
        let mut file = storage.append_file(&name("log/g0/2")).await.unwrap();
        file.allocate(512).await.unwrap();
        std::fs::rename(at("db"), at("old")).unwrap();
        std::fs::rename(at("other"), at("db")).unwrap();
        let before = std::process::Command::new("ls")
            .args(["-lR", "--full-time"])
            .arg(at("db"))
            .output();
        let before = before.unwrap().stdout;

        let gone = |failed: Option<Error>| {
            let failed = failed.expect("it went on").to_string();
            assert!(failed.contains("no longer where it was opened"), "{failed}");
        };
        gone(writer.finish().await.err());
        gone(file.check_place().await.err());
        file.write_durable(0, b"its own").await.unwrap();
        gone(storage.create(&name("seg/3"), b"bytes").await.err());
        gone(storage.writer(&name("seg/3")).await.err());
        gone(storage.append_file(&name("log/g0/1")).await.err());
        gone(storage.append_file(&name("log/g0/3")).await.err());
        gone(
            storage
                .replace(&name("INSTANCE"), &|_| b"mine".to_vec())
                .await
                .err(),
        );
        gone(storage.remove(&name("seg/1")).await.err());
        gone(storage.prune().await.err());
        gone(storage.list("").await.err());
        gone(storage.stat(&name("absent")).await.err());
        gone(storage.lock(LockMode::Shared).await.err());
        drop(held);
        let after = std::process::Command::new("ls")
            .args(["-lR", "--full-time"])
            .arg(at("db"))
            .output();
        assert_eq!(
            String::from_utf8(after.unwrap().stdout),
            String::from_utf8(before)
        );
        assert_eq!(std::fs::read(at("old/log/g0/2")).unwrap()[..7], *b"its own");
    });
}

/// Somebody else's database: whose it is, and that it can be read.
#[cfg(unix)]
#[test]
fn a_lock_that_may_not_be_written_says_whose_it_is_and_that_reading_works() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let dir = tempfile::tempdir().unwrap();
    let storage = writable(dir.path());
    drop(block_on(storage.lock(LockMode::Exclusive)).unwrap());
    let path = dir.path().join("LOCK");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o444)).unwrap();
    if std::fs::OpenOptions::new().write(true).open(&path).is_ok() {
        eprintln!("skipped opening: this user may write everything");
    } else {
        assert!(block_on(storage.lock(LockMode::Exclusive)).is_err());
    }
    let cause = std::io::Error::from_raw_os_error(13);
    let folder = storage.folder();
    let refused = super::lock::refused(&folder, &cause).to_string();
    let owner = std::fs::metadata(&path).unwrap().uid();
    for part in [
        path.display().to_string(),
        format!("it belongs to user {owner}, mode 0444"),
        "reading it needs neither".to_owned(),
    ] {
        assert!(refused.contains(&part), "{part}: {refused}");
    }
}
