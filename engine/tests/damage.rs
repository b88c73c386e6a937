//! Damaged files: whatever is flipped or cut off anywhere, opening and reading give the right answer
//! or an error that names the object, never a wrong answer and never a panic.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::support::{Dice, environment};
use bytes::Bytes;
use eciton_engine::base::{Error, Generation, Key, Op, Position, Result, TxId};
use eciton_engine::db::{self, Db, Options, ScanRange, StoreSchema};
use eciton_engine::log::{Body, LogRecord, SlotHeader, slot};
use eciton_engine::storage::{MemoryStorage, Name, Storage};
use futures::executor::block_on;

type Contents = BTreeMap<String, Vec<u8>>;

/// A database with several runs, a bulk run, a folded and an unfolded part of the log.
async fn sample(close: bool) -> (MemoryStorage, Contents) {
    let storage = MemoryStorage::new();
    let (environment, _) = environment(7);
    let db = Db::open_storage(Arc::new(storage.clone()), Options::default(), environment).await;
    let db = db.unwrap();
    let store = db.create_store("s", StoreSchema::default()).await.unwrap();
    let mut contents = Contents::new();
    for round in 0..6u8 {
        let mut transaction = db.begin();
        for number in 0..40u8 {
            let name = format!("{:03}", u16::from(number) * 7 % 97 + u16::from(round) * 11);
            let len = if number == 3 { 2000 } else { 20 };
            let value = vec![round.wrapping_mul(number); len];
            transaction
                .put(
                    &store,
                    &Key::from_datums(&[name.as_str().into()]).unwrap(),
                    value.clone(),
                )
                .unwrap();
            contents.insert(name, value);
        }
        transaction.commit().await.unwrap();
        if round == 1 || round == 3 {
            db.fold().await.unwrap();
        }
    }
    if close {
        db.close().await.unwrap();
    } else {
        drop(db);
    }
    (storage, contents)
}

async fn read_all(storage: MemoryStorage) -> Result<Option<Contents>> {
    let (environment, _) = environment(8);
    let db = Db::open_storage(Arc::new(storage), Options::default(), environment).await?;
    let Some(store) = db.store("s").await? else {
        return Ok(None);
    };
    let mut contents = Contents::new();
    let mut scan = db.snapshot().scan(&store, &ScanRange::all());
    while let Some(record) = scan.next().await? {
        let name = record
            .key
            .to_json()?
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let again = db.snapshot().get(&store, &record.key).await?;
        assert_eq!(again.as_ref(), Some(&record.value), "get and scan agree");
        contents.insert(name, record.value.to_vec());
    }
    Ok(Some(contents))
}

async fn objects(storage: &MemoryStorage) -> Vec<(Name, usize)> {
    let mut objects = Vec::new();
    for dir in [Name::LOG, Name::MANIFEST, Name::SEGMENT] {
        for name in storage.list(dir).await.unwrap() {
            let len = storage.stat(&name).await.unwrap().unwrap().len;
            objects.push((name, usize::try_from(len).unwrap()));
        }
    }
    let instance = Name::instance();
    let len = storage.stat(&instance).await.unwrap().unwrap().len;
    objects.push((instance, usize::try_from(len).unwrap()));
    objects
}

/// Damages `name`, and checks what a user then meets.
async fn check(close: bool, name: &Name, what: &str, change: impl Fn(&mut Vec<u8>)) {
    let (storage, contents) = sample(close).await;
    assert!(storage.tamper(name, change));
    let broken = db::verify(Arc::new(storage.read_only()), &|_| {})
        .await
        .map(|r| r.broken);
    match read_all(storage.restart()).await {
        // Damage in what is no longer read (folded slots, replaced runs) is no one's concern but
        // that of whoever verifies.
        Ok(Some(found)) if found == contents => {}
        Ok(found) => panic!(
            "{what} of {name}: a wrong answer ({:?} records)",
            found.map(|f| f.len())
        ),
        Err(Error::Corrupt { object, .. }) => {
            assert!(!object.is_empty());
            let broken = broken.unwrap();
            assert!(
                !broken.is_empty(),
                "{what} of {name}: {object} is broken, verify is silent"
            );
        }
        Err(Error::FormatTooNew { .. } | Error::NotADatabase { .. }) => {}
        Err(other) => panic!("{what} of {name}: {other}"),
    }
}

#[test]
fn a_flipped_bit_is_never_a_wrong_answer() {
    for seed in crate::support::seeds(600) {
        let dice = Dice::new(seed);
        block_on(async {
            let (storage, _) = sample(true).await;
            let objects = objects(&storage).await;
            let (name, len) = &objects[usize::try_from(dice.below(objects.len() as u64)).unwrap()];
            let byte = usize::try_from(dice.below(*len as u64)).unwrap();
            let bit = dice.below(8);
            let what = format!("seed {seed}: bit {bit} of byte {byte}");
            check(true, name, &what, |bytes| bytes[byte] ^= 1 << bit).await;
        });
    }
}

#[test]
fn a_file_cut_short_is_never_a_wrong_answer() {
    for seed in crate::support::seeds(300) {
        let dice = Dice::new(seed);
        block_on(async {
            let (storage, _) = sample(true).await;
            let objects = objects(&storage).await;
            let (name, len) = &objects[usize::try_from(dice.below(objects.len() as u64)).unwrap()];
            let keep = usize::try_from(dice.below(*len as u64)).unwrap();
            let what = format!("seed {seed}: the first {keep} bytes");
            check(true, name, &what, |bytes| bytes.truncate(keep)).await;
        });
    }
}

#[test]
fn a_missing_object_is_named() {
    block_on(async {
        let (storage, contents) = sample(true).await;
        for (name, _) in objects(&storage).await {
            let (storage, _) = sample(true).await;
            storage.remove(&name).await.unwrap();
            match read_all(storage.restart()).await {
                Ok(Some(found)) => assert_eq!(found, contents, "without {name}"),
                Ok(None) => panic!("without {name}: the store is gone"),
                Err(Error::Corrupt { object, .. }) => assert_eq!(object, name.to_string()),
                Err(Error::NotADatabase { .. }) => assert_eq!(name, Name::instance()),
                Err(other) => panic!("without {name}: {other}"),
            }
        }
    });
}

/// After a crash (no clean close) the log's last slot may be torn: it is ignored, with a warning. What
/// stands before it must be whole.
#[test]
fn only_the_last_slot_may_be_torn_and_only_without_a_clean_close() {
    block_on(async {
        for (close, expect_damage) in [(false, false), (true, true)] {
            let (storage, contents) = sample(close).await;
            let log = storage.list(Name::LOG).await.unwrap();
            let name = log.last().unwrap();
            let bytes = storage.read(name).await.unwrap().unwrap();
            let last = bytes
                .chunks(512)
                .rposition(|sector| sector.starts_with(b"ECSL"))
                .unwrap();
            storage.tamper(name, |bytes| bytes[last * 512 + 100] ^= 1);
            match read_all(storage.restart()).await {
                Ok(found) => {
                    assert!(!expect_damage, "a torn slot after a clean close");
                    assert!(
                        found.unwrap().len() < contents.len(),
                        "the last slot is gone, whole"
                    );
                }
                Err(Error::Corrupt { object, detail }) => {
                    assert!(expect_damage, "{object}: {detail}");
                    assert_eq!(object, name.to_string());
                }
                Err(other) => panic!("{other}"),
            }
        }
    });
}

#[test]
fn a_damaged_slot_before_a_whole_one_is_damage_even_after_a_crash() {
    block_on(async {
        let (storage, _) = sample(false).await;
        let log = storage.list(Name::LOG).await.unwrap();
        let name = log.last().unwrap();
        let bytes = storage.read(name).await.unwrap().unwrap();
        let slots: Vec<usize> = bytes
            .chunks(512)
            .enumerate()
            .filter(|(_, sector)| sector.starts_with(b"ECSL"))
            .map(|(index, _)| index)
            .collect();
        let before_last = slots[slots.len() - 2];
        storage.tamper(name, |bytes| bytes[before_last * 512 + 100] ^= 1);
        match read_all(storage.restart()).await {
            Err(Error::Corrupt { object, detail }) => {
                assert_eq!(object, name.to_string());
                assert!(detail.contains("after it is whole"), "{detail}");
            }
            other => panic!("{:?}", other.map(|found| found.map(|found| found.len()))),
        }
    });
}

/// A value that has a whole slot at every place where a sector of the log can begin in it.
fn slots_at_every_alignment(n: u64) -> Vec<u8> {
    let header = SlotHeader {
        version: 2,
        n: Position(n),
        generation: Generation(0),
        prev: 7,
        nonce: 8,
        time_ms: 0,
    };
    let record = LogRecord {
        txid: TxId(9),
        read_at: Position(0),
        body: Body::Writes(vec![(Bytes::from_static(b"key"), Op::Delete)]),
    };
    let (mut image, _) = slot::encode(&header, &[record]);
    image.resize(513, 0);
    image.repeat(512)
}

fn slots_in(bytes: &[u8]) -> Vec<usize> {
    let sectors = bytes.chunks(512).enumerate();
    let begin = sectors.filter(|(_, sector)| sector.starts_with(b"ECSL"));
    begin.map(|(index, _)| index * 512).collect()
}

/// A value that holds slots of a log, at any number, and a torn write of the slot that it stands in: the trace of a
/// crash and no damage. Any part of the slot may be what is missing.
#[test]
fn a_value_that_looks_like_a_log_is_torn_like_any_other() {
    block_on(async {
        let last = sample(false).await.0;
        let log = last.list(Name::LOG).await.unwrap();
        let there = slots_in(&last.read(log.last().unwrap()).await.unwrap().unwrap()).len() as u64;
        for n in [1_000_000, 1, 2, 3].into_iter().chain(there..there + 20) {
            let (storage, contents) = sample(false).await;
            let (environment, _) = environment(9);
            let opened = Arc::new(storage.clone());
            let db = Db::open_storage(opened, Options::default(), environment)
                .await
                .unwrap();
            let store = db.store("s").await.unwrap().unwrap();
            let key = Key::from_datums(&["looks".into()]).unwrap();
            let value = slots_at_every_alignment(n);
            let mut transaction = db.begin();
            transaction.put(&store, &key, value.clone()).unwrap();
            transaction.commit().await.unwrap();
            drop(db);
            let found = read_all(storage.restart()).await.unwrap().unwrap();
            assert_eq!(
                found.get("looks"),
                Some(&value),
                "slot {n}: it is read as it was put"
            );

            let log = storage.list(Name::LOG).await.unwrap();
            let name = log.last().unwrap();
            let bytes = storage.read(name).await.unwrap().unwrap();
            let begins = *slots_in(&bytes).last().unwrap();
            for torn in [begins, begins + 512, begins + 100 * 512] {
                let copy = storage.restart();
                copy.tamper(name, |bytes| bytes[torn..torn + 512].fill(0));
                let found = read_all(copy).await;
                let found = found.unwrap_or_else(|error| panic!("slot {n}, byte {torn}: {error}"));
                assert_eq!(found.unwrap(), contents, "slot {n}, byte {torn}");
            }
        }
    });
}

/// The other way round: with such a value in the log, what is damaged in the middle is damage.
#[test]
fn damage_before_and_in_a_slot_whose_value_looks_like_a_log_is_found() {
    block_on(async {
        let (storage, _) = sample(false).await;
        let (environment, _) = environment(9);
        let opened = Arc::new(storage.clone());
        let db = Db::open_storage(opened, Options::default(), environment)
            .await
            .unwrap();
        let store = db.store("s").await.unwrap().unwrap();
        for round in 0..3u8 {
            let key = Key::from_datums(&[format!("looks {round}").as_str().into()]).unwrap();
            let mut transaction = db.begin();
            transaction
                .put(&store, &key, slots_at_every_alignment(1_000_000))
                .unwrap();
            transaction.commit().await.unwrap();
        }
        drop(db);
        let log = storage.list(Name::LOG).await.unwrap();
        let name = log.last().unwrap();
        let bytes = storage.read(name).await.unwrap().unwrap();
        let slots = slots_in(&bytes);
        for begins in slots[slots.len().saturating_sub(4)..slots.len() - 1]
            .iter()
            .copied()
        {
            for place in [begins, begins + 96] {
                let copy = storage.restart();
                copy.tamper(name, |bytes| {
                    if place == begins {
                        bytes[place..place + 512].fill(0);
                    } else {
                        bytes[place + 20] ^= 1;
                    }
                });
                match read_all(copy).await {
                    Err(Error::Corrupt { object, detail }) => {
                        assert_eq!(object, name.to_string());
                        assert!(detail.contains("after it is whole"), "{detail}");
                    }
                    other => panic!("{begins}: {:?}", other.map(|found| found.map(|f| f.len()))),
                }
            }
        }
    });
}

/// A log file full of headers that each claim a long slot: it is told from a log without reading each claim.
#[test]
fn a_file_full_of_headers_is_not_read_again_for_each() {
    block_on(async {
        let (storage, _) = sample(false).await;
        let log = storage.list(Name::LOG).await.unwrap();
        let name = log.last().unwrap();
        let bytes = storage.read(name).await.unwrap().unwrap();
        let begins = *slots_in(&bytes).last().unwrap();
        let n = u64::from_le_bytes(bytes[begins + 8..begins + 16].try_into().unwrap());
        let header = SlotHeader {
            version: 2,
            n: Position(n + 1),
            generation: Generation(0),
            prev: 7,
            nonce: 8,
            time_ms: 0,
        };
        let record = LogRecord {
            txid: TxId(9),
            read_at: Position(0),
            body: Body::Writes(vec![(
                Bytes::from_static(b"key"),
                Op::Put(Bytes::from(vec![1; 4 << 20])),
            )]),
        };
        let (long, _) = slot::encode(&header, &[record]);
        let copy = storage.restart();
        copy.tamper(name, |bytes| {
            bytes.truncate(begins);
            bytes.extend_from_slice(&[1; 512]);
            bytes.extend_from_slice(&long[..512].repeat(16 * 1024));
        });
        let len = copy.read(name).await.unwrap().unwrap().len() as u64;
        let before = copy.bytes_read();
        let opened = read_all(copy.clone()).await;
        assert!(matches!(opened, Err(Error::Corrupt { .. })), "{opened:?}");
        let read = copy.bytes_read() - before;
        assert!(read < 8 * len, "{read} bytes read of a file of {len}");
    });
}
