//! What every medium must do: a test of each property, for whoever brings a medium of their own.
//!
//! [`check`] tries every property that the medium's [`Capabilities`] promise, each with a fresh database. Properties panic
//! where they do not hold. They need a runtime of tokio with several threads, since races are among them.
//!
//! ```
//! use std::sync::Arc;
//!
//! use eciton_engine::storage::conformance::{Subject, check};
//! use eciton_engine::storage::{Access, MemoryStorage, Storage};
//!
//! # let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
//! # runtime.block_on(async {
//! check(&[], async || {
//!     let storage = MemoryStorage::new();
//!     let other = storage.clone();
//!     Subject::new(Arc::new(storage), move |access| -> Arc<dyn Storage> {
//!         match access {
//!             Access::ReadWrite => Arc::new(other.clone()),
//!             Access::ReadOnly => Arc::new(other.read_only()),
//!         }
//!     })
//! })
//! .await;
//! # });
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::let_underscore_must_use,
    reason = "these are tests"
)]

use std::any::Any;
use std::sync::Arc;

use futures::future::BoxFuture;

use super::{Access, AppendFile, Capabilities, Created, LockMode, Name, Stat, Storage};
use crate::base::{Error, Result};

/// A fresh database of a medium, and ways to open it again.
pub struct Subject {
    storage: Arc<dyn Storage>,
    open: Box<dyn Fn(Access) -> Arc<dyn Storage> + Send + Sync>,
    /// The process that a lock names as its holder.
    holder: u32,
    _kept: Option<Box<dyn Any + Send>>,
}

impl Subject {
    /// A database, and how another process opens the same.
    pub fn new(
        storage: Arc<dyn Storage>,
        open: impl Fn(Access) -> Arc<dyn Storage> + Send + Sync + 'static,
    ) -> Subject {
        Subject {
            storage,
            open: Box::new(open),
            holder: std::process::id(),
            _kept: None,
        }
    }

    /// The same, with what must live as long as it: the folder that it is in.
    #[must_use]
    pub fn keeping(self, kept: impl Any + Send) -> Subject {
        Subject {
            _kept: Some(Box::new(kept)),
            ..self
        }
    }

    /// What the medium can do.
    pub fn capabilities(&self) -> Capabilities {
        self.storage.capabilities()
    }

    /// The same, of a medium whose lock names `holder` in place of this process.
    #[must_use]
    pub fn held_by(mut self, holder: u32) -> Subject {
        self.holder = holder;
        self
    }
}

/// What a medium must do.
pub struct Property {
    /// Its name.
    pub name: &'static str,
    /// Whether a medium that can do this much has it.
    pub applies: fn(&Capabilities) -> bool,
    /// Tries it; panics where it does not hold.
    pub run: fn(Subject) -> BoxFuture<'static, ()>,
}

/// Names every property once, with what a medium has to be able to do.
macro_rules! properties {
    ($($name:ident if |$can:pat_param| $applies:expr;)*) => {
        /// Every property.
        pub const PROPERTIES: &[Property] = &[$(Property {
            name: stringify!($name),
            applies: |$can: &Capabilities| $applies,
            run: |subject| Box::pin($name(subject)),
        }),*];
    };
}

properties! {
    create_once_and_for_all if |_| true;
    empty_objects if |_| true;
    one_winner_of_sixteen if |_| true;
    create_is_whole_at_once if |_| true;
    lists_in_order_and_depth if |_| true;
    lists_only_directories if |_| true;
    identity_tells_objects_apart if |_| true;
    removed_is_gone_but_stays_open if |_| true;
    writer_publishes_at_the_end if |_| true;
    writer_loses_to_a_name if |_| true;
    dropped_writer_leaves_nothing if |_| true;
    reads_at_offsets if |_| true;
    reads_past_the_end_are_damage if |_| true;
    replace_whoever_has_it if |_| true;
    create_with_its_identity if |_| true;
    read_only_changes_nothing if |can| can.read_only;
    append_file_round_trip if |can| can.append_files;
    append_file_stays_within if |can| can.append_files;
    append_file_grows_under_a_reader if |can| can.append_files;
    truncated_under_a_reader if |can| can.append_files;
    lock_excludes_and_lets_go if |can| can.has_exclusive_lock();
    shared_locks_exclude_only_the_exclusive_one if |can| can.has_exclusive_lock();
    no_append_files_and_no_exclusion if |can| !can.append_files && !can.has_exclusive_lock();
}

/// Tries every property that the medium promises to have, but for those named in `but`, each with a database that
/// `fresh` makes.
///
/// # Panics
/// Where one does not hold, or where `but` names none.
pub async fn check(but: &[&str], fresh: impl AsyncFn() -> Subject) {
    for name in but {
        let is_one = PROPERTIES.iter().any(|property| property.name == *name);
        assert!(is_one, "`{name}` is no property");
    }
    let can = fresh().await.capabilities();
    let of_medium = |property: &&Property| (property.applies)(&can);
    for property in PROPERTIES.iter().filter(of_medium) {
        if but.contains(&property.name) {
            continue;
        }
        println!("{}", property.name);
        (property.run)(fresh().await).await;
    }
}

/// One test of each property that folders have, for the medium whose fresh databases `$subject` makes.
#[cfg(test)]
macro_rules! suite {
    ($subject:path) => {
        $crate::storage::conformance::suite! { $subject:
            create_once_and_for_all, empty_objects, one_winner_of_sixteen, create_is_whole_at_once,
            lists_in_order_and_depth, lists_only_directories, identity_tells_objects_apart,
            removed_is_gone_but_stays_open, writer_publishes_at_the_end, writer_loses_to_a_name,
            dropped_writer_leaves_nothing, reads_at_offsets, reads_past_the_end_are_damage,
            replace_whoever_has_it, create_with_its_identity, read_only_changes_nothing,
            append_file_round_trip, append_file_stays_within, append_file_grows_under_a_reader,
            truncated_under_a_reader, lock_excludes_and_lets_go,
            shared_locks_exclude_only_the_exclusive_one,
        }
    };
    ($subject:path: $($property:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $property() {
                $crate::storage::conformance::$property($subject()).await;
            }
        )*
        #[test]
        fn works_without_a_runtime() {
            futures::executor::block_on(
                $crate::storage::conformance::append_file_round_trip($subject()),
            );
        }
        #[test]
        fn every_property_of_the_medium_is_a_test_here() {
            let can = $subject().capabilities();
            let of_medium = $crate::storage::conformance::PROPERTIES.iter();
            let of_medium = of_medium.filter(|property| (property.applies)(&can));
            let names: std::collections::BTreeSet<&str> = of_medium.map(|p| p.name).collect();
            assert_eq!(names, [$(stringify!($property)),*].into());
        }
    };
}
#[cfg(test)]
pub(super) use suite;

fn name(path: &str) -> Name {
    Name::parse(path).unwrap()
}

async fn read(storage: &dyn Storage, path: &str) -> Option<Vec<u8>> {
    storage
        .read(&name(path))
        .await
        .unwrap()
        .map(|bytes| bytes.to_vec())
}

async fn list(storage: &dyn Storage, dir: &str) -> Vec<String> {
    storage
        .list(dir)
        .await
        .unwrap()
        .iter()
        .map(Name::to_string)
        .collect()
}

fn is_corrupt<T: std::fmt::Debug>(result: Result<T>, object: &str) {
    match result {
        Err(Error::Corrupt { object: found, .. }) => assert_eq!(found, object),
        other => panic!("damage of {object} expected, got {other:?}"),
    }
}

/// A name is created once; whoever comes later is told, and changes nothing.
pub async fn create_once_and_for_all(subject: Subject) {
    let storage = &*subject.storage;
    let slot = name("log/g1/0/1");
    assert_eq!(storage.stat(&slot).await.unwrap(), None);
    assert_eq!(storage.read(&slot).await.unwrap(), None);
    assert!(storage.open(&slot).await.unwrap().is_none());
    assert_eq!(storage.create(&slot, b"first").await.unwrap(), Created::New);
    storage.sync_names(&slot).await.unwrap();
    let stat = storage.stat(&slot).await.unwrap().unwrap();
    assert_eq!(stat.len, 5);
    assert_eq!(
        storage.create(&slot, b"second").await.unwrap(),
        Created::Exists
    );
    storage.sync_names(&slot).await.unwrap();
    assert_eq!(storage.stat(&slot).await.unwrap(), Some(stat));
    assert_eq!(read(storage, "log/g1/0/1").await.unwrap(), b"first");
    // A directory is no object.
    assert_eq!(storage.stat(&name("log/g1")).await.unwrap(), None);
    assert_eq!(storage.read(&name("log/g1")).await.unwrap(), None);
    assert!(storage.open(&name("log/g1")).await.unwrap().is_none());
    // Another process sees the same.
    let again = (subject.open)(Access::ReadWrite);
    assert_eq!(
        again.create(&slot, b"third").await.unwrap(),
        Created::Exists
    );
    assert_eq!(again.stat(&slot).await.unwrap(), Some(stat));
    again.sync_names(&slot).await.unwrap();
}

/// An object may have no bytes.
pub async fn empty_objects(subject: Subject) {
    let storage = &*subject.storage;
    assert_eq!(storage.create(&name("a"), b"").await.unwrap(), Created::New);
    assert_eq!(
        storage.create(&name("a"), b"x").await.unwrap(),
        Created::Exists
    );
    assert_eq!(read(storage, "a").await.unwrap(), b"");
    let object = storage.open(&name("a")).await.unwrap().unwrap();
    assert!(object.is_empty());
    assert!(object.read_at(0, 0).await.unwrap().is_empty());
    is_corrupt(object.read_at(0, 1).await, "a");
}

/// Of many that create one name at once exactly one wins, and all read what it wrote.
pub async fn one_winner_of_sixteen(subject: Subject) {
    for round in 0..8 {
        let slot = name(&format!("log/{round}"));
        let start = Arc::new(tokio::sync::Barrier::new(16));
        let racers: Vec<_> = (0..16u8)
            .map(|racer| {
                // Half of them are other processes, as far as the medium can tell.
                let storage = match racer % 2 {
                    0 => subject.storage.clone(),
                    _ => (subject.open)(Access::ReadWrite),
                };
                let (slot, start) = (slot.clone(), start.clone());
                tokio::spawn(async move {
                    start.wait().await;
                    let created = storage.create(&slot, &[racer; 1000]).await.unwrap();
                    (racer, created, storage.read(&slot).await.unwrap().unwrap())
                })
            })
            .collect();
        let mut outcomes = Vec::new();
        for racer in racers {
            outcomes.push(racer.await.unwrap());
        }
        let winners: Vec<u8> = outcomes
            .iter()
            .filter(|(_, created, _)| *created == Created::New)
            .map(|(racer, ..)| *racer)
            .collect();
        assert_eq!(winners.len(), 1, "winners of {slot}: {winners:?}");
        for (racer, _, seen) in &outcomes {
            assert_eq!(seen[..], [winners[0]; 1000], "racer {racer} of {slot}");
        }
    }
}

/// Nobody sees a part of an object.
pub async fn create_is_whole_at_once(subject: Subject) {
    const LEN: usize = 1 << 20;
    let reader = (subject.open)(Access::ReadOnly);
    let watch = tokio::spawn(async move {
        let mut found = 0;
        while found < 8 {
            let Some(bytes) = reader.read(&name(&format!("seg/{found}"))).await.unwrap() else {
                tokio::task::yield_now().await;
                continue;
            };
            assert_eq!(bytes.len(), LEN, "a part of seg/{found}");
            assert!(bytes.iter().all(|byte| *byte == found), "seg/{found}");
            found += 1;
        }
    });
    for number in 0..8u8 {
        let segment = name(&format!("seg/{number}"));
        let created = subject
            .storage
            .create(&segment, &vec![number; LEN])
            .await
            .unwrap();
        assert_eq!(created, Created::New);
    }
    watch.await.unwrap();
}

/// Listing has every name below a directory, sorted, and nothing that is on its way.
pub async fn lists_in_order_and_depth(subject: Subject) {
    let storage = &*subject.storage;
    assert!(list(storage, "").await.is_empty());
    assert!(list(storage, "log").await.is_empty());
    for path in [
        "log/g2/b",
        "log/g10/a",
        "log/g1/x/y/z",
        "logs/a",
        "log/c",
        "seg/1",
        "INSTANCE",
    ] {
        assert_eq!(
            storage.create(&name(path), path.as_bytes()).await.unwrap(),
            Created::New
        );
    }
    let log = ["log/c", "log/g1/x/y/z", "log/g10/a", "log/g2/b"];
    assert_eq!(list(storage, "log").await, log);
    assert_eq!(list(storage, "log/g1").await, ["log/g1/x/y/z"]);
    let mut all = vec!["INSTANCE"];
    all.extend(log);
    all.extend(["logs/a", "seg/1"]);
    // The lock and what is on its way are no objects.
    let _lock = storage.lock(LockMode::Shared).await.unwrap();
    let mut writer = storage.writer(&name("seg/2")).await.unwrap();
    writer.write(b"part").await.unwrap();
    assert_eq!(list(storage, "").await, all);
    assert!(storage.remove(&name("log/g10/a")).await.unwrap());
    assert_eq!(
        list(storage, "log").await,
        ["log/c", "log/g1/x/y/z", "log/g2/b"]
    );
}

/// What is no directory has no names below it, or is refused.
pub async fn lists_only_directories(subject: Subject) {
    let storage = &*subject.storage;
    assert_eq!(
        storage.create(&name("log/a"), b"").await.unwrap(),
        Created::New
    );
    assert!(
        list(storage, "log/a").await.is_empty(),
        "an object has no names below it"
    );
    for dir in ["/", "log/", "..", "log/../..", "tmp", "/etc"] {
        let listed = storage.list(dir).await;
        assert!(
            matches!(listed, Err(Error::Invalid(_))),
            "{dir}: {listed:?}"
        );
    }
}

/// An object keeps its identity, and one that is created anew has another.
pub async fn identity_tells_objects_apart(subject: Subject) {
    async fn stat(storage: &dyn Storage, name: &Name) -> Stat {
        storage.stat(name).await.unwrap().unwrap()
    }
    let storage = &*subject.storage;
    let slot = name("log/1");
    let other = name("log/2");
    storage.create(&slot, b"same").await.unwrap();
    storage.create(&other, b"same").await.unwrap();
    let first = stat(storage, &slot).await;
    assert_ne!(first.identity, stat(storage, &other).await.identity);
    assert_eq!(first, stat(&*(subject.open)(Access::ReadOnly), &slot).await);
    // A file system may use an inode again within one tick of its clock, so more than one try is
    // fair; a tick has far fewer creates than these.
    for _ in 0..100_000 {
        assert!(storage.remove(&slot).await.unwrap());
        assert_eq!(storage.create(&slot, b"same").await.unwrap(), Created::New);
        if stat(storage, &slot).await.identity != first.identity {
            return;
        }
    }
    panic!(
        "an object created anew kept the identity {:x}",
        first.identity
    );
}

/// A removed name is gone, and who has the object open still reads it.
pub async fn removed_is_gone_but_stays_open(subject: Subject) {
    let storage = &*subject.storage;
    let segment = name("seg/1");
    assert!(!storage.remove(&segment).await.unwrap());
    storage.create(&segment, b"bytes").await.unwrap();
    let object = storage.open(&segment).await.unwrap().unwrap();
    assert!(storage.remove(&segment).await.unwrap());
    assert!(!storage.remove(&segment).await.unwrap());
    storage.sync_names(&segment).await.unwrap();
    assert_eq!(storage.read(&segment).await.unwrap(), None);
    assert_eq!(storage.stat(&segment).await.unwrap(), None);
    assert_eq!(object.read_at(0, 5).await.unwrap(), "bytes");
}

/// A large object has its name when it is whole, and not before.
pub async fn writer_publishes_at_the_end(subject: Subject) {
    let storage = &*subject.storage;
    let segment = name("seg/07/1");
    let mut writer = storage.writer(&segment).await.unwrap();
    let mut expected = Vec::new();
    // Pieces on either side of any buffer.
    for (at, len) in [0, 1, 100_000, 262_143, 262_144, 262_145, 1_000_000, 3]
        .into_iter()
        .enumerate()
    {
        let piece = vec![u8::try_from(at).unwrap(); len];
        writer.write(&piece).await.unwrap();
        expected.extend(piece);
        assert_eq!(storage.stat(&segment).await.unwrap(), None);
        assert!(list(storage, "seg").await.is_empty());
    }
    assert_eq!(writer.finish().await.unwrap(), Created::New);
    assert!(
        storage.read(&segment).await.unwrap().unwrap() == expected,
        "other bytes"
    );
    assert_eq!(list(storage, "").await, ["seg/07/1"]);
}

/// A writer whose name was taken meanwhile loses.
pub async fn writer_loses_to_a_name(subject: Subject) {
    let storage = &*subject.storage;
    let mut writer = storage.writer(&name("seg/1")).await.unwrap();
    writer.write(b"slow").await.unwrap();
    storage.create(&name("seg/1"), b"fast").await.unwrap();
    assert_eq!(writer.finish().await.unwrap(), Created::Exists);
    assert_eq!(read(storage, "seg/1").await.unwrap(), b"fast");
}

/// A writer that is dropped leaves nothing.
pub async fn dropped_writer_leaves_nothing(subject: Subject) {
    let storage = &*subject.storage;
    let mut writer = storage.writer(&name("seg/1")).await.unwrap();
    writer.write(&vec![1; 1 << 20]).await.unwrap();
    drop(writer);
    assert!(list(storage, "").await.is_empty());
    assert_eq!(
        storage.create(&name("seg/1"), b"other").await.unwrap(),
        Created::New
    );
}

/// Reads give the bytes of any range.
pub async fn reads_at_offsets(subject: Subject) {
    let storage = &*subject.storage;
    let bytes: Vec<u8> = (0..=255).cycle().take(10_000).collect();
    storage.create(&name("seg/1"), &bytes).await.unwrap();
    let object = storage.open(&name("seg/1")).await.unwrap().unwrap();
    assert_eq!(object.len(), 10_000);
    for (offset, len) in [
        (0, 0),
        (0, 1),
        (0, 10_000),
        (4095, 2),
        (9_999, 1),
        (10_000, 0),
    ] {
        let read = object.read_at(offset, len).await.unwrap();
        let mut into = vec![7; len];
        let done = object.read_into(offset, &mut into);
        let offset = usize::try_from(offset).unwrap();
        assert_eq!(read[..], bytes[offset..offset + len], "{len} at {offset}");
        match done {
            Some(done) => {
                done.unwrap();
                assert_eq!(into, read);
            }
            None => assert!(into.iter().all(|byte| *byte == 7), "nothing was read"),
        }
    }
}

/// A range that passes the end is damage.
pub async fn reads_past_the_end_are_damage(subject: Subject) {
    let storage = &*subject.storage;
    storage.create(&name("seg/1"), &[1; 100]).await.unwrap();
    let object = storage.open(&name("seg/1")).await.unwrap().unwrap();
    for (offset, len) in [
        (0, 101),
        (100, 1),
        (101, 0),
        (u64::MAX, 0),
        (u64::MAX, 1),
        (50, usize::MAX),
    ] {
        is_corrupt(object.read_at(offset, len).await, "seg/1");
        // Nobody has the memory for the longest.
        let into = &mut [0; 101][..len.min(101)];
        if let Some(done) = object.read_into(offset, into).filter(|_| len <= 101) {
            is_corrupt(done, "seg/1");
        }
    }
}

/// What is appended is there, for other processes too, and what was cut comes back as zeros.
pub async fn append_file_round_trip(subject: Subject) {
    let storage = &*subject.storage;
    let log = name("log/g1/0/1");
    let mut file = storage.append_file(&log).await.unwrap();
    storage.sync_names(&log).await.unwrap();
    assert_eq!(file.allocated(), 0);
    assert_eq!(read(storage, log.as_str()).await.unwrap(), b"");
    // Beyond one write of zeros, and no multiple of anything.
    file.allocate(2_500_001).await.unwrap();
    assert_eq!(file.allocated(), 2_500_001);
    file.allocate(10).await.unwrap();
    assert_eq!(
        file.allocated(),
        2_500_001,
        "less than there is changes nothing"
    );
    let zeros = read(storage, log.as_str()).await.unwrap();
    assert!(zeros.len() == 2_500_001 && zeros.iter().all(|byte| *byte == 0));
    file.write_durable(0, b"one").await.unwrap();
    file.write_durable(3, b"two").await.unwrap();
    file.write_durable(2_500_000, b"!").await.unwrap();
    file.write_durable(2_500_001, b"").await.unwrap();
    drop(file);

    // Another process goes on.
    let again = (subject.open)(Access::ReadWrite);
    let mut file = again.append_file(&log).await.unwrap();
    assert_eq!(file.allocated(), 2_500_001);
    file.sync().await.unwrap();
    assert_eq!(again.read(&log).await.unwrap().unwrap()[..7], *b"onetwo\0");
    file.truncate(3).await.unwrap();
    assert_eq!(file.allocated(), 3);
    assert_eq!(read(storage, log.as_str()).await.unwrap(), b"one");
    file.allocate(5).await.unwrap();
    assert_eq!(
        read(storage, log.as_str()).await.unwrap(),
        b"one\0\0",
        "cut bytes come back as zeros"
    );
    assert_eq!(again.create(&log, b"x").await.unwrap(), Created::Exists);
}

/// Writes and cuts beyond what is allocated are refused.
pub async fn append_file_stays_within(subject: Subject) {
    let storage = &*subject.storage;
    let mut file = storage.append_file(&name("log/1")).await.unwrap();
    file.allocate(10).await.unwrap();
    for (offset, len) in [(10, 1), (0, 11), (u64::MAX, 1), (u64::MAX, 0)] {
        let written = file.write_durable(offset, &vec![1; len]).await;
        assert!(
            matches!(written, Err(Error::Invalid(_))),
            "{len} at {offset}: {written:?}"
        );
    }
    assert!(matches!(file.truncate(11).await, Err(Error::Invalid(_))));
    file.write_durable(0, b"0123456789").await.unwrap();
    assert_eq!(read(storage, "log/1").await.unwrap(), b"0123456789");
}

/// A reader keeps the length that it opened with.
pub async fn append_file_grows_under_a_reader(subject: Subject) {
    let storage = &*subject.storage;
    let log = name("log/1");
    let mut file = storage.append_file(&log).await.unwrap();
    file.allocate(4).await.unwrap();
    let reader = (subject.open)(Access::ReadOnly);
    let object = reader.open(&log).await.unwrap().unwrap();
    file.write_durable(0, b"live").await.unwrap();
    file.allocate(8).await.unwrap();
    assert_eq!(object.read_at(0, 4).await.unwrap(), "live");
    assert_eq!(object.len(), 4);
    is_corrupt(object.read_at(4, 1).await, "log/1");
    assert_eq!(reader.stat(&log).await.unwrap().unwrap().len, 8);
}

/// A file that is cut under a reader is damage to it, never zeros.
pub async fn truncated_under_a_reader(subject: Subject) {
    async fn cut(file: &mut Box<dyn AppendFile>, len: u64) {
        file.truncate(len).await.unwrap();
    }
    let storage = &*subject.storage;
    let mut file = storage.append_file(&name("log/1")).await.unwrap();
    file.allocate(10_000).await.unwrap();
    let object = storage.open(&name("log/1")).await.unwrap().unwrap();
    cut(&mut file, 5_000).await;
    assert_eq!(object.read_at(4_999, 1).await.unwrap()[..], [0]);
    is_corrupt(object.read_at(4_999, 2).await, "log/1");
    is_corrupt(object.read_at(9_000, 1_000).await, "log/1");
    cut(&mut file, 0).await;
    is_corrupt(object.read_at(0, 1).await, "log/1");
}

/// Replacing is atomic, and who has the old object open keeps it.
pub async fn replace_whoever_has_it(subject: Subject) {
    let storage = &*subject.storage;
    let instance = Name::instance();
    storage
        .replace(&instance, &|_| b"one".to_vec())
        .await
        .unwrap();
    let first = storage.stat(&instance).await.unwrap().unwrap();
    let old = storage.open(&instance).await.unwrap().unwrap();
    storage
        .replace(&instance, &|_| b"three".to_vec())
        .await
        .unwrap();
    let second = storage.stat(&instance).await.unwrap().unwrap();
    assert_eq!(read(storage, "INSTANCE").await.unwrap(), b"three");
    assert_ne!(first.identity, second.identity);
    assert_eq!(
        old.read_at(0, 3).await.unwrap(),
        "one",
        "who has it open keeps the old one"
    );
    assert_eq!(list(storage, "").await, ["INSTANCE"]);
    assert_eq!(
        storage.create(&instance, b"x").await.unwrap(),
        Created::Exists
    );
}

/// An object can hold its own identity.
pub async fn create_with_its_identity(subject: Subject) {
    let storage = &*subject.storage;
    let instance = Name::instance();
    let content = |identity: u128| identity.to_string().into_bytes();
    assert_eq!(
        storage.create_with(&instance, &content).await.unwrap(),
        Created::New
    );
    let identity = storage.stat(&instance).await.unwrap().unwrap().identity;
    let expected = identity.to_string();
    assert_eq!(
        read(storage, "INSTANCE").await.unwrap(),
        expected.as_bytes()
    );
    assert_eq!(
        storage.create_with(&instance, &content).await.unwrap(),
        Created::Exists
    );
    assert_eq!(
        read(storage, "INSTANCE").await.unwrap(),
        expected.as_bytes()
    );
    let identity = storage.replace(&instance, &content).await.unwrap();
    let found = storage.stat(&instance).await.unwrap().unwrap().identity;
    assert_eq!(found, identity);
}

/// A medium without append files and exclusive locks says so, and many share it.
pub async fn no_append_files_and_no_exclusion(subject: Subject) {
    let storage = &*subject.storage;
    let can = storage.capabilities();
    assert!(!can.append_files && !can.has_exclusive_lock(), "{can:?}");
    let refused = storage.append_file(&name("log/1")).await.err();
    let kind = std::io::ErrorKind::Unsupported;
    assert!(
        matches!(&refused, Some(Error::Storage { kind: found, .. }) if *found == kind),
        "{refused:?}"
    );
    let refused = storage.lock(LockMode::Exclusive).await.err();
    assert!(matches!(refused, Some(Error::Invalid(_))), "{refused:?}");
    let other = (subject.open)(Access::ReadWrite);
    let _both = (
        storage.lock(LockMode::Shared).await.unwrap(),
        other.lock(LockMode::Shared).await.unwrap(),
    );
    assert!(list(storage, "").await.is_empty());
}

/// An exclusive lock names its holder to others, and ends with its guard.
pub async fn lock_excludes_and_lets_go(subject: Subject) {
    let other = (subject.open)(Access::ReadWrite);
    for _ in 0..3 {
        let held = subject.storage.lock(LockMode::Exclusive).await.unwrap();
        for storage in [&subject.storage, &other] {
            match storage.lock(LockMode::Exclusive).await.err() {
                Some(Error::Locked { pid, host, path }) => {
                    assert_eq!(pid, subject.holder);
                    assert_eq!(path, storage.location());
                    assert!(!host.is_empty());
                }
                other => panic!("locked expected, got {other:?}"),
            }
        }
        // The lock excludes lockers and nobody else.
        assert!(!other.remove(&name("a")).await.unwrap());
        drop(held);
        drop(other.lock(LockMode::Exclusive).await.unwrap());
    }
}

/// Many share a lock, and nobody excludes them.
pub async fn shared_locks_exclude_only_the_exclusive_one(subject: Subject) {
    let other = (subject.open)(Access::ReadWrite);
    let first = subject.storage.lock(LockMode::Shared).await.unwrap();
    let second = other.lock(LockMode::Shared).await.unwrap();
    drop(first);
    let refused = subject.storage.lock(LockMode::Exclusive).await.err();
    assert!(matches!(refused, Some(Error::Locked { .. })), "{refused:?}");
    drop(second);
    let held = subject.storage.lock(LockMode::Exclusive).await.unwrap();
    let refused = other.lock(LockMode::Shared).await.err();
    assert!(matches!(refused, Some(Error::Locked { .. })), "{refused:?}");
    drop(held);
    drop(other.lock(LockMode::Shared).await.unwrap());
}

/// Opened for reading, no call changes anything.
pub async fn read_only_changes_nothing(subject: Subject) {
    let storage = &*subject.storage;
    storage.create(&name("log/1"), b"there").await.unwrap();
    let lock = storage.lock(LockMode::Shared).await.unwrap();
    let before = storage.stat(&name("log/1")).await.unwrap();
    let reader = (subject.open)(Access::ReadOnly);
    let (there, absent) = (name("log/1"), name("new/2"));
    for target in [&there, &absent] {
        let refused = [
            reader.create(target, b"x").await.err(),
            reader.sync_names(target).await.err(),
            reader.remove(target).await.err(),
            reader.replace(target, &|_| b"x".to_vec()).await.err(),
            reader.writer(target).await.err(),
            reader.append_file(target).await.err(),
            reader.lock(LockMode::Exclusive).await.err(),
        ];
        for (call, refused) in refused.iter().enumerate() {
            assert!(
                matches!(refused, Some(Error::ReadOnly)),
                "call {call}: {refused:?}"
            );
        }
    }
    assert_eq!(reader.stat(&there).await.unwrap(), before);
    assert_eq!(read(&*reader, "log/1").await.unwrap(), b"there");
    assert_eq!(reader.open(&there).await.unwrap().unwrap().len(), 5);
    assert_eq!(list(&*reader, "").await, ["log/1"]);
    drop(lock);
}
