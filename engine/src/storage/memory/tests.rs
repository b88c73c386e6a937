use std::io::ErrorKind;
use std::sync::Arc;

use futures::executor::block_on;
use proptest::prelude::*;

use super::MemoryStorage;
use crate::base::Error;
use crate::base::entropy::SeededEntropy;
use crate::storage::conformance::{Subject, suite};
use crate::storage::{Access, Created, LockMode, Name, Operation, Storage};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

fn subject() -> Subject {
    let storage = MemoryStorage::new();
    let handle = storage.clone();
    let open = move |access| -> Arc<dyn Storage> {
        match access {
            Access::ReadWrite => Arc::new(handle.clone()),
            Access::ReadOnly => Arc::new(handle.read_only()),
        }
    };
    Subject::new(Arc::new(storage), open)
}

suite!(subject);

fn name(path: &str) -> Name {
    Name::parse(path).unwrap()
}

fn read(storage: &MemoryStorage, path: &str) -> Option<Vec<u8>> {
    block_on(storage.read(&name(path)))
        .unwrap()
        .map(|bytes| bytes.to_vec())
}

fn is_crash<T>(result: Result<T, Error>) -> bool {
    matches!(result, Err(Error::Storage { kind: ErrorKind::Other, message, .. }) if message == "crashed")
}

/// The outcomes that `look` finds over many power losses of the same storage.
fn outcomes<T: Ord>(
    storage: &MemoryStorage,
    look: impl Fn(&MemoryStorage) -> T,
) -> std::collections::BTreeSet<T> {
    (0..64)
        .map(|seed| look(&storage.power_loss(&SeededEntropy::new(seed))))
        .collect()
}

#[test]
fn names_are_lost_until_they_are_synced() {
    let storage = MemoryStorage::new();
    block_on(storage.create(&name("log/1"), b"one")).unwrap();
    let found = outcomes(&storage, |after| read(after, "log/1"));
    assert_eq!(
        found,
        [None, Some(b"one".to_vec())].into(),
        "kept or lost, whole if kept"
    );
    block_on(storage.create(&name("seg/1"), b"")).unwrap();
    block_on(storage.sync_names(&name("seg/1"))).unwrap();
    assert_eq!(
        outcomes(&storage, |after| read(after, "log/1")).len(),
        2,
        "another directory"
    );
    block_on(storage.sync_names(&name("log/other"))).unwrap();
    assert_eq!(
        outcomes(&storage, |after| read(after, "log/1")),
        [Some(b"one".to_vec())].into()
    );

    assert!(block_on(storage.remove(&name("log/1"))).unwrap());
    block_on(storage.create(&name("log/1"), b"two")).unwrap();
    let found = outcomes(&storage, |after| read(after, "log/1"));
    let any = [None, Some(b"one".to_vec()), Some(b"two".to_vec())];
    assert_eq!(found, any.into(), "removals are lost, too");
    block_on(storage.sync_names(&name("log/1"))).unwrap();
    assert_eq!(
        outcomes(&storage, |after| read(after, "log/1")),
        [Some(b"two".to_vec())].into()
    );
    block_on(storage.remove(&name("log/1"))).unwrap();
    block_on(storage.sync_names(&name("log/1"))).unwrap();
    assert_eq!(
        outcomes(&storage, |after| read(after, "log/1")),
        [None].into()
    );
}

#[test]
fn replace_is_durable_and_touches_no_other_name() {
    let storage = MemoryStorage::new();
    block_on(storage.create(&name("other"), b"")).unwrap();
    block_on(storage.replace(&Name::instance(), &|_| b"one".to_vec())).unwrap();
    block_on(storage.replace(&Name::instance(), &|_| b"two".to_vec())).unwrap();
    assert_eq!(
        outcomes(&storage, |after| read(after, "INSTANCE")),
        [Some(b"two".to_vec())].into()
    );
    assert_eq!(outcomes(&storage, |after| read(after, "other")).len(), 2);
}

#[test]
fn a_machine_after_a_power_loss_is_its_own() {
    let storage = MemoryStorage::new();
    let _lock = block_on(storage.lock(LockMode::Exclusive)).unwrap();
    let mut file = block_on(storage.append_file(&name("log"))).unwrap();
    block_on(file.allocate(4)).unwrap();
    block_on(storage.sync_names(&name("log"))).unwrap();
    let identity = block_on(storage.stat(&name("log")))
        .unwrap()
        .unwrap()
        .identity;
    for after in [
        storage.power_loss(&SeededEntropy::new(1)),
        storage.restart(),
    ] {
        drop(block_on(after.lock(LockMode::Exclusive)).unwrap());
        let stat = block_on(after.stat(&name("log"))).unwrap().unwrap();
        assert_eq!(stat.identity, identity, "the same object");
        block_on(file.write_durable(0, b"late")).unwrap();
        assert_eq!(
            read(&after, "log").unwrap(),
            [0; 4],
            "a dead machine writes no more"
        );
        block_on(file.write_durable(0, &[0; 4])).unwrap();
        block_on(after.create(&name("new"), b"")).unwrap();
        let new = block_on(after.stat(&name("new"))).unwrap().unwrap();
        assert_ne!(new.identity, identity);
        assert_eq!(read(&storage, "new"), None);
    }
}

#[test]
fn a_storage_that_restarts_keeps_what_is_open() {
    let mut survived = 0;
    for seed in 0..32 {
        let storage = MemoryStorage::new();
        let mut file = block_on(storage.append_file(&name("log"))).unwrap();
        block_on(file.allocate(4)).unwrap();
        let object = block_on(storage.open(&name("log"))).unwrap().unwrap();
        storage.lose_power(&SeededEntropy::new(seed));
        assert_eq!(
            storage.durable(&name("log")).is_some(),
            read(&storage, "log").is_some()
        );
        block_on(file.write_durable(0, b"late")).unwrap();
        assert_eq!(block_on(object.read_at(0, 4)).unwrap(), "late");
        if let Some(bytes) = read(&storage, "log") {
            assert_eq!(bytes, b"late", "the same file");
            survived += 1;
        }
    }
    assert!((1..32).contains(&survived), "{survived}");
}

#[test]
fn one_directory_can_lose_its_names() {
    let found = (0..32).map(|seed| {
        let storage = MemoryStorage::new();
        for path in ["log/1", "log/2", "log/below/3", "logs"] {
            block_on(storage.create(&name(path), b"")).unwrap();
        }
        storage.lose_names(&name("log/any"), &SeededEntropy::new(seed));
        for path in ["log/below/3", "logs"] {
            assert!(read(&storage, path).is_some(), "{path} stands elsewhere");
        }
        let kept = ["log/1", "log/2"].map(|path| read(&storage, path).is_some());
        let durable = ["log/1", "log/2"].map(|path| storage.durable(&name(path)).is_some());
        assert_eq!(kept, durable, "what is left is settled");
        kept
    });
    assert_eq!(found.collect::<std::collections::BTreeSet<_>>().len(), 4);
}

#[test]
fn a_write_in_the_middle_is_seen_and_not_durable() {
    let storage = MemoryStorage::new();
    let mut file = block_on(storage.append_file(&name("log"))).unwrap();
    block_on(storage.sync_names(&name("log"))).unwrap();
    block_on(file.allocate(4)).unwrap();
    assert!(storage.write_unsynced(&name("log"), 2, b"abcd"));
    assert!(storage.resize_unsynced(&name("log"), 6));
    assert_eq!(read(&storage, "log").unwrap(), b"\0\0ab\0\0");
    assert_eq!(storage.durable(&name("log")).unwrap(), [0; 4][..]);
    assert!(storage.resize_unsynced(&name("log"), 1));
    assert_eq!(read(&storage, "log").unwrap(), [0]);
    assert!(!storage.write_unsynced(&name("none"), 0, b"a"));
}

#[test]
fn identities_of_another_database_begin_elsewhere() {
    let storage = MemoryStorage::with_identities_from(1 << 40);
    block_on(storage.create(&name("a"), b"")).unwrap();
    let stat = block_on(storage.stat(&name("a"))).unwrap().unwrap();
    assert_eq!(stat.identity, 1 << 40);
}

/// Old bytes 1, new bytes 2, over `sectors` sectors and a bit on either side.
fn torn(seed: u64, fault: impl Fn(&MemoryStorage)) -> MemoryStorage {
    let storage = MemoryStorage::new();
    let mut file = block_on(storage.append_file(&name("log"))).unwrap();
    block_on(storage.sync_names(&name("log"))).unwrap();
    block_on(file.allocate(4096)).unwrap();
    block_on(file.write_durable(0, &[1; 4096])).unwrap();
    fault(&storage);
    let failure = block_on(file.write_durable(100, &[2; 3000])).unwrap_err();
    let again = block_on(file.write_durable(100, &[2; 3000])).unwrap_err();
    assert_eq!(
        again.to_string(),
        failure.to_string(),
        "seed {seed}: it is not written again"
    );
    assert!(block_on(file.sync()).is_err());
    storage
}

#[test]
fn a_write_in_flight_is_torn_at_sectors() {
    let mut kinds = std::collections::BTreeSet::new();
    for seed in 0..64 {
        let crashed = torn(seed, |storage| storage.crash_after(0, seed));
        assert!(is_crash(block_on(crashed.read(&name("log")))));
        let failed = torn(seed, |storage| storage.inject(Operation::WriteDurable, EIO));
        for storage in [crashed, failed] {
            let bytes = read(&storage.power_loss(&SeededEntropy::new(seed)), "log").unwrap();
            assert_eq!(bytes.len(), 4096);
            assert!(
                bytes[..100]
                    .iter()
                    .chain(&bytes[3100..])
                    .all(|byte| *byte == 1)
            );
            for (at, sector) in bytes.chunks(512).enumerate() {
                let written =
                    &sector[if at == 0 { 100 } else { 0 }..if at == 6 { 28 } else { 512 }];
                assert!(
                    at == 7 || written.iter().all(|byte| *byte == written[0]),
                    "sector {at}"
                );
            }
            kinds.insert([bytes[100], bytes[1024], bytes[3099]]);
        }
    }
    // Old, new, torn in order and out of order.
    for kind in [[1, 1, 1], [2, 2, 2], [2, 1, 1], [1, 2, 1]] {
        assert!(kinds.contains(&kind), "{kind:?} never happened");
    }
}

#[test]
fn what_a_killed_process_wrote_is_seen_and_lost() {
    let seeds = (0..64).map(|seed| {
        let storage = torn(seed, |storage| storage.crash_after(0, seed)).restart();
        let seen = read(&storage, "log").unwrap();
        let lost = outcomes(&storage, |after| read(after, "log").unwrap());
        let mut file = block_on(storage.append_file(&name("log"))).unwrap();
        block_on(file.sync()).unwrap();
        let kept = outcomes(&storage, |after| read(after, "log").unwrap());
        assert_eq!(kept, [seen].into(), "seed {seed}: synced is kept");
        lost.len() > 1
    });
    assert!(
        seeds.filter(|lost| *lost).count() > 10,
        "unsynced bytes must be at risk"
    );
}

#[test]
fn a_full_disk_refuses_and_goes_on() {
    let storage = MemoryStorage::new();
    let mut file = block_on(storage.append_file(&name("log"))).unwrap();
    block_on(file.allocate(10)).unwrap();
    storage.inject(Operation::Allocate, ENOSPC);
    storage.inject(Operation::Create, ENOSPC);
    let refused = block_on(file.allocate(20)).unwrap_err();
    assert!(
        matches!(
            &refused,
            Error::Storage {
                op: "allocate",
                errno: Some(ENOSPC),
                ..
            }
        ),
        "{refused}"
    );
    assert_eq!(file.allocated(), 10);
    assert_eq!(read(&storage, "log").unwrap().len(), 10);
    block_on(file.write_durable(0, b"still good")).unwrap();
    block_on(file.allocate(20)).unwrap();
    assert!(block_on(storage.create(&name("a"), b"")).is_err());
    assert_eq!(
        block_on(storage.create(&name("a"), b"")).unwrap(),
        Created::New
    );
}

#[test]
fn a_failed_sync_ends_the_file() {
    for operation in [Operation::Sync, Operation::Allocate] {
        let storage = MemoryStorage::new();
        let mut file = block_on(storage.append_file(&name("log"))).unwrap();
        storage.inject(operation, EIO);
        let failed = match operation {
            Operation::Sync => block_on(file.sync()),
            _ => block_on(file.allocate(10)),
        };
        assert!(matches!(
            failed,
            Err(Error::Storage {
                errno: Some(EIO),
                ..
            })
        ));
        assert!(block_on(file.sync()).is_err());
        assert!(block_on(file.allocate(10)).is_err());
    }
}

#[test]
fn reads_fail_and_are_counted() {
    let storage = MemoryStorage::new();
    block_on(storage.create(&name("a"), b"12345")).unwrap();
    let object = block_on(storage.open(&name("a"))).unwrap().unwrap();
    storage.inject(Operation::ReadAt, EIO);
    assert!(block_on(object.read_at(0, 5)).is_err());
    assert_eq!(block_on(object.read_at(1, 3)).unwrap(), "234");
    assert_eq!(read(&storage, "a").unwrap(), b"12345");
    assert_eq!((storage.ops(), storage.bytes_read()), (1, 8));
    assert!(storage.tamper(&name("a"), |bytes| bytes.truncate(2)));
    assert!(matches!(
        block_on(object.read_at(0, 5)),
        Err(Error::Corrupt { .. })
    ));
    assert!(!storage.tamper(&name("b"), Vec::clear));
}

/// One of each changing operation; the steps that returned.
async fn script(storage: &MemoryStorage) -> Result<(), Error> {
    storage.create(&name("d/a"), b"a").await?;
    storage.sync_names(&name("d/a")).await?;
    let mut file = storage.append_file(&name("d/log")).await?;
    storage.sync_names(&name("d/log")).await?;
    file.allocate(2000).await?;
    file.write_durable(0, &[1; 1500]).await?;
    file.truncate(1500).await?;
    file.sync().await?;
    let mut writer = storage.writer(&name("d/w")).await?;
    writer.write(b"w").await?;
    writer.finish().await?;
    storage.replace(&name("d/r"), &|_| b"r".to_vec()).await?;
    storage.remove(&name("d/a")).await?;
    storage.sync_names(&name("d/a")).await
}

#[test]
fn every_operation_can_be_the_last() {
    let whole = MemoryStorage::new();
    block_on(script(&whole)).unwrap();
    let ops = whole.ops();
    assert_eq!(ops, 13);
    for crash_at in 0..ops {
        let mut visible = std::collections::BTreeSet::new();
        for seed in 0..32 {
            let storage = MemoryStorage::new();
            storage.crash_after(crash_at, seed);
            assert!(is_crash(block_on(script(&storage))), "crash at {crash_at}");
            assert_eq!(storage.ops(), crash_at + 1);
            assert!(storage.is_crashed());
            assert!(is_crash(block_on(storage.list(""))));
            assert!(is_crash(block_on(storage.create(&name("late"), b""))));
            let after = storage.restart();
            visible.insert(block_on(after.list("")).unwrap());
            assert_eq!(read(&after, "late"), None);
            let after = storage.power_loss(&SeededEntropy::new(seed));
            if (2..12).contains(&crash_at) {
                assert_eq!(
                    read(&after, "d/a").unwrap(),
                    b"a",
                    "crash at {crash_at}, seed {seed}"
                );
            }
            if crash_at > 5 {
                assert_eq!(read(&after, "d/log").unwrap()[..1500], [1; 1500]);
            }
        }
        // create, append_file, finish, replace, remove: done or not, as the seed will have it.
        let expected = if [0, 2, 9, 10, 11].contains(&crash_at) {
            2
        } else {
            1
        };
        assert_eq!(visible.len(), expected, "crash at {crash_at}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is done: synced names and data survive, nothing appears that was never written.
    #[test]
    fn a_power_loss_keeps_what_was_synced(
        steps in proptest::collection::vec((0..4u8, 0..6u8), 1..60),
        seed: u64,
    ) {
        let storage = MemoryStorage::new();
        let mut possible = std::collections::BTreeMap::<String, Vec<Option<Vec<u8>>>>::new();
        for (step, (kind, number)) in steps.iter().enumerate() {
            let path = format!("{}/{number}", number % 2);
            match kind {
                0 | 1 => {
                    block_on(storage.create(&name(&path), step.to_string().as_bytes())).unwrap();
                }
                2 => {
                    block_on(storage.remove(&name(&path))).unwrap();
                }
                _ => {
                    block_on(storage.sync_names(&name(&path))).unwrap();
                    for other in (0..6u8).filter(|other| other % 2 == number % 2) {
                        let path = format!("{}/{other}", other % 2);
                        let now = read(&storage, &path);
                        possible.insert(path, vec![now]);
                    }
                }
            }
            possible.entry(path.clone()).or_insert_with(|| vec![None]).push(read(&storage, &path));
        }
        let after = storage.power_loss(&SeededEntropy::new(seed));
        for number in 0..6u8 {
            let path = format!("{}/{number}", number % 2);
            let found = read(&after, &path);
            let may = possible.get(&path).cloned().unwrap_or_else(|| vec![None]);
            prop_assert!(may.contains(&found), "{path}: {found:?} of {may:?}");
        }
    }
}
