//! Values beyond their store's inline limit lie apart: walking the keys reads no byte of them.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;

use crate::support::counting::CountingStorage;
use crate::support::environment;
use eciton_engine::base::limits::{
    VALUE_INLINE_LEN_DEFAULT, VALUE_INLINE_LEN_MAX, VALUE_INLINE_LEN_MIN,
};
use eciton_engine::base::{Datum, Error, Key};
use eciton_engine::db::{Db, Options, ScanRange, StoreSchema};
use eciton_engine::storage::MemoryStorage;
use eciton_engine::tree::Compression;
use futures::executor::block_on;

/// What every value is full of.
const NEEDLE: &[u8] = b"a byte of a value, ";
const RECORDS: i128 = 300;

fn schema(value_inline_len_max: usize) -> StoreSchema {
    StoreSchema {
        value_inline_len_max,
        ..StoreSchema::default()
    }
}

fn options() -> Options {
    Options {
        // So that the bytes of values can be told on the medium.
        compression: Compression::None,
        ..Options::default()
    }
}

fn key(number: i128) -> Key {
    Key::from_datums(&[Datum::Int(number)]).unwrap()
}

fn value(len: usize) -> Vec<u8> {
    NEEDLE.iter().copied().cycle().take(len).collect()
}

/// Reads of a keys-only scan that brought bytes of values, bytes that it read, and reads of a full scan
/// that brought bytes of values.
async fn scanned(limit: usize, len: usize, bulk: bool) -> (u64, u64, u64) {
    let storage = MemoryStorage::new();
    let db = Db::open_storage(Arc::new(storage.clone()), options(), environment(1).0);
    let db = db.await.unwrap();
    let store = db.create_store("values", schema(limit)).await.unwrap();
    let mut transaction = db.begin();
    for number in 0..RECORDS {
        transaction.put(&store, &key(number), value(len)).unwrap();
    }
    transaction.commit().await.unwrap();
    // A long commit is a run from the beginning.
    if !bulk {
        db.fold().await.unwrap();
    }
    let snapshot = db.snapshot();
    drop((snapshot, store));
    db.close().await.unwrap();
    let mut found = (0, 0, 0);
    for keys_only in [true, false] {
        let (storage, counts) = CountingStorage::new(storage.read_only(), NEEDLE);
        let opened = Db::open_storage_read_only(storage, options(), environment(2).0);
        let db = opened.await.unwrap();
        let store = db.store("values").await.unwrap().unwrap();
        assert_eq!(store.schema().value_inline_len_max, limit);
        let (read, seen) = (counts.read(), counts.seen());
        let range = ScanRange {
            keys_only,
            ..ScanRange::all()
        };
        let mut scan = db.snapshot().scan(&store, &range);
        let mut records = 0;
        while let Some(record) = scan.next().await.unwrap() {
            assert_eq!(record.key, key(records));
            let expected = if keys_only { Vec::new() } else { value(len) };
            assert_eq!(record.value, expected);
            records += 1;
        }
        assert_eq!(records, RECORDS);
        if keys_only {
            (found.0, found.1) = (counts.seen() - seen, counts.read() - read);
        } else {
            found.2 = counts.seen() - seen;
        }
    }
    found
}

#[test]
fn walking_the_keys_reads_no_byte_of_values_that_lie_apart() {
    block_on(async {
        let limits = [
            VALUE_INLINE_LEN_MIN,
            100,
            VALUE_INLINE_LEN_DEFAULT,
            5000,
            VALUE_INLINE_LEN_MAX,
        ];
        for limit in limits {
            for len in [limit + 1, limit + 10_000] {
                let (seen, read, all) = scanned(limit, len, false).await;
                assert_eq!(seen, 0, "limit {limit}, values of {len} bytes");
                // 40 bytes an entry, in pages.
                assert!(read < 40_000, "{read} bytes read for {RECORDS} keys");
                assert!(
                    all >= 300,
                    "{all} reads of values: the test cannot see them"
                );
            }
            // One that just fits lies beside its key, and is read with it.
            let (seen, ..) = scanned(limit, limit, false).await;
            assert!(seen > 0, "limit {limit}");
        }
    });
}

#[test]
fn a_bulk_commit_keeps_the_limit_too() {
    block_on(async {
        let len = 20_000;
        for limit in [VALUE_INLINE_LEN_DEFAULT, VALUE_INLINE_LEN_MAX] {
            assert_eq!(scanned(limit, len, true).await.0, 0, "limit {limit}");
        }
        let (seen, ..) = scanned(VALUE_INLINE_LEN_MAX, VALUE_INLINE_LEN_MAX, true).await;
        assert!(seen > 0);
    });
}

#[test]
fn limits_of_stores_are_held_at_their_edge() {
    block_on(async {
        let storage = Arc::new(MemoryStorage::new());
        let db = Db::open_storage(storage, options(), environment(1).0)
            .await
            .unwrap();
        for (number, limit) in [VALUE_INLINE_LEN_MIN, VALUE_INLINE_LEN_MAX]
            .iter()
            .enumerate()
        {
            let name = format!("store {number}");
            db.create_store(&name, schema(*limit)).await.unwrap();
            let error = db.create_store(&name, StoreSchema::default()).await;
            assert!(matches!(error, Err(Error::StoreDiffers { .. })));
        }
        let error = db
            .create_store("more", schema(VALUE_INLINE_LEN_MAX + 1))
            .await;
        assert!(matches!(error, Err(Error::Limit { .. })));
        let error = db
            .create_store("less", schema(VALUE_INLINE_LEN_MIN - 1))
            .await;
        assert!(matches!(error, Err(Error::Invalid(_))));
    });
}

/// Going on after a step that was given up would pass over the records that it had passed.
#[test]
fn a_scan_whose_step_was_given_up_says_so() {
    block_on(async {
        let storage = MemoryStorage::new();
        let db = Db::open_storage(Arc::new(storage.clone()), options(), environment(1).0);
        let db = db.await.unwrap();
        let store = db.create_store("values", schema(100)).await.unwrap();
        let mut transaction = db.begin();
        for number in 0..RECORDS {
            transaction.put(&store, &key(number), value(1000)).unwrap();
        }
        transaction.commit().await.unwrap();
        db.fold().await.unwrap();
        db.close().await.unwrap();
        let (storage, counts) = CountingStorage::new(storage.read_only(), NEEDLE);
        let opened = Db::open_storage_read_only(storage, options(), environment(2).0);
        let db = opened.await.unwrap();
        let store = db.store("values").await.unwrap().unwrap();
        let mut scan = db.snapshot().scan(&store, &ScanRange::all());
        assert!(scan.advance().await.unwrap());
        counts.wait(true);
        {
            let step = std::pin::pin!(scan.advance());
            assert!(futures::poll!(step).is_pending());
        }
        assert!(!scan.advance_in_memory());
        for _ in 0..2 {
            let error = scan.advance().await;
            assert!(matches!(error, Err(Error::Invalid(_))), "{error:?}");
            assert_eq!((scan.key(), scan.value()), (&b""[..], &b""[..]));
        }
        // Whoever waits for a slow medium gets everything.
        let mut scan = db.snapshot().scan(&store, &ScanRange::all());
        let mut records = 0;
        while scan.advance().await.unwrap() {
            assert_eq!(scan.key(), key(records).as_bytes());
            assert_eq!(scan.value(), value(1000));
            records += 1;
        }
        assert_eq!(records, RECORDS);
    });
}

/// A step that found a value apart stays there until somebody has read it, whichever call comes next.
#[test]
fn steps_in_memory_pass_over_no_value_that_lies_apart() {
    block_on(async {
        let storage = Arc::new(MemoryStorage::new());
        let db = Db::open_storage(storage, options(), environment(1).0);
        let db = db.await.unwrap();
        let store = db.create_store("values", schema(100)).await.unwrap();
        let mut transaction = db.begin();
        let len = |number: i128| if number % 3 == 0 { 1000 } else { 10 };
        for number in 0..RECORDS {
            let value = value(len(number));
            transaction.put(&store, &key(number), value).unwrap();
        }
        transaction.commit().await.unwrap();
        db.fold().await.unwrap();
        let mut scan = db.snapshot().scan(&store, &ScanRange::all());
        let mut records = 0;
        while scan.advance_in_memory() || scan.advance().await.unwrap() {
            assert_eq!(scan.key(), key(records).as_bytes());
            assert_eq!(scan.value(), value(len(records)));
            records += 1;
        }
        assert_eq!(records, RECORDS);
    });
}
