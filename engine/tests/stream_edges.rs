//! Streams: what an edit costs, what conflicts and what does not, limits at their edge, what is left behind.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;

use crate::support::counting::{CountingStorage, Counts};
use crate::support::environment;
use bytes::Bytes;
use eciton_engine::base::limits::{STREAM_CHUNK_LEN_MAX, STREAM_KEY_LEN_MAX};
use eciton_engine::base::{Error, Key, Result};
use eciton_engine::db::{
    Db, Environment, Options, ScanRange, Store, StoreSchema, Transaction, verify,
};
use eciton_engine::storage::{Access, LocalStorage, MemoryStorage};
use futures::executor::block_on;

const CHUNK: u64 = STREAM_CHUNK_LEN_MAX as u64;

fn key(text: &str) -> Key {
    Key::from_datums(&[text.into()]).unwrap()
}

/// Bytes that do not compress, and that say where they stand.
fn bytes(from: u64, len: u64) -> Vec<u8> {
    let word = |i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) ^ i;
    let at = from..from + len;
    at.map(|at| word(at / 8).to_le_bytes()[at as usize % 8])
        .collect()
}

async fn fresh() -> (Db, Store) {
    let db = Db::open_storage(
        Arc::new(MemoryStorage::new()),
        Options::default(),
        environment(1).0,
    );
    let db = db.await.unwrap();
    let store = db
        .create_store("films", StoreSchema::default())
        .await
        .unwrap();
    (db, store)
}

async fn write(transaction: &mut Transaction, store: &Store, name: &str, len: u64) -> Result<()> {
    let mut stream = transaction.stream(store, &key(name)).await?;
    let pieces = (0..len.div_ceil(CHUNK)).map(|i| {
        let from = i * CHUNK;
        Ok(Bytes::from(bytes(from, CHUNK.min(len - from))))
    });
    let written = stream.append_from(futures::stream::iter(pieces)).await?;
    assert_eq!(written, len);
    Ok(())
}

async fn put_stream(db: &Db, store: &Store, name: &str, len: u64) {
    let mut transaction = db.begin();
    write(&mut transaction, store, name, len).await.unwrap();
    transaction.commit().await.unwrap();
}

async fn contents(db: &Db, store: &Store, name: &str) -> Option<Vec<u8>> {
    let stream = db.snapshot().stream(store, &key(name)).await.unwrap()?;
    let mut chunks = stream.chunks(0);
    let mut all = Vec::new();
    while let Some(chunk) = chunks.next().await.unwrap() {
        all.extend_from_slice(&chunk);
    }
    Some(all)
}

async fn counted(folder: &std::path::Path) -> (Db, Arc<Counts>) {
    let storage = LocalStorage::open(folder, Access::ReadWrite).unwrap();
    let (storage, counts) = CountingStorage::new(storage, &[]);
    let db = Db::open_storage(storage, Options::default(), Environment::default());
    (db.await.unwrap(), counts)
}

type Edit = fn(&mut Vec<u8>, usize);

/// A stream of so many bytes is written and read, and edited in its middle, counting what goes to the medium.
async fn costs(len: u64) {
    let folder = tempfile::tempdir().unwrap();
    let (db, counts) = counted(folder.path()).await;
    let store = db
        .create_store("films", StoreSchema::default())
        .await
        .unwrap();
    let before = counts.written();
    put_stream(&db, &store, "long", len).await;
    let written = counts.written() - before;
    assert!(
        written < len + len / 50 + (1 << 20),
        "{written} bytes written for {len}"
    );

    // The first fold lays the run over the few records that are older than it: it is written once more.
    db.fold().await.unwrap();
    drop(store);

    // A few reads open it, wherever one begins.
    db.close().await.unwrap();
    let (db, counts) = counted(folder.path()).await;
    let store = db.store("films").await.unwrap().unwrap();
    let before = counts.read();
    let mut stream = db
        .snapshot()
        .stream(&store, &key("long"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(stream.len(), len);
    let (middle, mut buffer) = (len / 2 + 12_345, vec![0; 1000]);
    assert_eq!(stream.read_at(middle, &mut buffer).await.unwrap(), 1000);
    assert_eq!(buffer, bytes(middle, 1000));
    let read = counts.read() - before;
    assert!(
        read < 2 * CHUNK + 100_000,
        "{read} bytes read for 1000 in the middle"
    );

    // An edit in the middle writes a few chunks and nodes: once to the log, once when it is folded.
    let edits: [Edit; 3] = [
        |all, at| drop(all.splice(at..at + 5000, b"replaced".repeat(625))),
        |all, at| drop(all.splice(at..at, b"inserted".repeat(100))),
        |all, at| drop(all.drain(at..at + (3 << 20))),
    ];
    let mut expected = bytes(0, len);
    for (number, edit) in edits.into_iter().enumerate() {
        let at = len / 2 - 7777 * (number as u64 + 1);
        let before = counts.written();
        let mut transaction = db.begin();
        let mut stream = transaction.stream(&store, &key("long")).await.unwrap();
        match number {
            0 => stream.write_at(at, &b"replaced".repeat(625)).await,
            1 => stream.insert_at(at, &b"inserted".repeat(100)).await,
            _ => stream.cut(at..at + (3 << 20)).await,
        }
        .unwrap();
        transaction.commit().await.unwrap();
        let committed = counts.written() - before;
        db.fold().await.unwrap();
        let folded = counts.written() - before - committed;
        assert!(
            committed < 3 * CHUNK,
            "edit {number} wrote {committed} bytes"
        );
        assert!(folded < 12 * CHUNK, "edit {number} folded {folded} bytes");
        edit(&mut expected, at as usize);
    }
    let found = contents(&db, &store, "long").await.unwrap();
    assert!(found == expected, "the stream differs after the edits");
    db.close().await.unwrap();
    let storage = LocalStorage::open(folder.path(), Access::ReadOnly).unwrap();
    let report = verify(Arc::new(storage), &|_| {}).await.unwrap();
    assert_eq!(report.broken, []);
}

#[test]
fn an_edit_in_the_middle_of_64_mib_costs_a_few_chunks() {
    block_on(costs(64 << 20));
}

#[test]
fn writers_of_one_stream_conflict_and_those_of_two_do_not() {
    block_on(async {
        let (db, store) = fresh().await;
        for name in ["a", "b", "c"] {
            put_stream(&db, &store, name, 3 * CHUNK).await;
        }
        // Small edits travel in slots, large ones in runs: both ways the range of one stream is its own.
        for len in [10, 6 * CHUNK] {
            let (mut first, mut second, mut third) = (db.begin(), db.begin(), db.begin());
            write(&mut first, &store, "a", len).await.unwrap();
            first.put(&store, &key("a"), "1").unwrap();
            write(&mut second, &store, "b", len).await.unwrap();
            second.put(&store, &key("b"), "1").unwrap();
            // Elsewhere in the same stream, and yet the same stream.
            let mut stream = third.stream(&store, &key("a")).await.unwrap();
            stream.write_at(0, b"x").await.unwrap();
            first.commit().await.unwrap();
            second.commit().await.unwrap();
            let error = third.commit().await.unwrap_err();
            assert!(matches!(error, Error::Conflict { .. }), "{error}");
        }
        // Who only read conflicts too, and who reads a snapshot never does.
        let (mut reader, mut writer) = (db.begin(), db.begin());
        let mut buffer = [0; 8];
        let mut read = reader.stream(&store, &key("c")).await.unwrap();
        read.read_at(CHUNK, &mut buffer).await.unwrap();
        let snapshot = db.snapshot();
        let mut changed = writer.stream(&store, &key("c")).await.unwrap();
        changed.cut(0..CHUNK).await.unwrap();
        writer.commit().await.unwrap();
        reader.put(&store, &key("other"), "1").unwrap();
        let error = reader.commit().await.unwrap_err();
        assert!(matches!(error, Error::Conflict { .. }), "{error}");
        let mut stream = snapshot.stream(&store, &key("c")).await.unwrap().unwrap();
        assert_eq!(stream.len(), 3 * CHUNK);
        stream.read_at(2 * CHUNK, &mut buffer).await.unwrap();
        assert_eq!(buffer[..], bytes(2 * CHUNK, 8));
    });
}

#[test]
fn a_deleted_stream_made_anew_is_another_one_for_who_read_the_first() {
    block_on(async {
        let (db, store) = fresh().await;
        put_stream(&db, &store, "a", 100).await;
        let mut late = db.begin();
        let mut stream = late.stream(&store, &key("a")).await.unwrap();
        stream.append(b"late").await.unwrap();
        let mut other = db.begin();
        let mut stream = other.stream(&store, &key("a")).await.unwrap();
        stream.delete().await.unwrap();
        stream.append(&bytes(0, 100)).await.unwrap();
        other.commit().await.unwrap();
        assert!(matches!(late.commit().await, Err(Error::Conflict { .. })));
        assert_eq!(contents(&db, &store, "a").await.unwrap(), bytes(0, 100));
    });
}

#[test]
fn ordinary_reads_see_no_part_of_a_stream() {
    block_on(async {
        let (db, store) = fresh().await;
        put_stream(&db, &store, "a", 2 * CHUNK).await;
        let mut transaction = db.begin();
        transaction.put(&store, &key("b"), "1").unwrap();
        transaction.commit().await.unwrap();
        for folded in [false, true] {
            if folded {
                db.fold().await.unwrap();
            }
            for reverse in [false, true] {
                let range = ScanRange {
                    reverse,
                    ..ScanRange::all()
                };
                let mut scan = db.snapshot().scan(&store, &range);
                let record = scan.next().await.unwrap().unwrap();
                assert_eq!((record.key, &record.value[..]), (key("b"), &b"1"[..]));
                assert_eq!(scan.next().await.unwrap(), None);
            }
            assert_eq!(db.snapshot().get(&store, &key("a")).await.unwrap(), None);
            let mut keys = db.snapshot().streams(&store);
            assert_eq!(keys.next().await.unwrap(), Some(key("a")));
            assert_eq!(keys.next().await.unwrap(), None);
        }
        // No key that a caller can make reaches into them, forged or not.
        let forged = Key::from_encoded(b"\xff".to_vec());
        let error = db.snapshot().get(&store, &forged).await.unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error}");
        let range = ScanRange::prefix(forged.clone());
        assert_eq!(
            db.snapshot().scan(&store, &range).next().await.unwrap(),
            None
        );
        assert!(db.begin().put(&store, &forged, "1").is_err());
        assert!(db.begin().stream(&store, &forged).await.is_err());
    });
}

#[test]
fn ranges_and_keys_beyond_their_limits_are_refused_and_change_nothing() {
    block_on(async {
        let (db, store) = fresh().await;
        let mut transaction = db.begin();
        let longest = key(&"x".repeat(STREAM_KEY_LEN_MAX - 2));
        let mut stream = transaction.stream(&store, &longest).await.unwrap();
        stream.append(b"0123456789").await.unwrap();
        for (start, end) in [(0, 11), (11, 11), (7, 3)] {
            let error = stream.splice(start..end, b"x").await.unwrap_err();
            assert!(matches!(error, Error::Invalid(_)), "{error}");
        }
        assert!(stream.write_at(11, b"x").await.is_err());
        stream.write_at(10, b"x").await.unwrap();
        stream.truncate(1000).await.unwrap();
        assert_eq!(stream.len(), 11);
        let too_long = key(&"x".repeat(STREAM_KEY_LEN_MAX - 1));
        let error = transaction.stream(&store, &too_long).await.err().unwrap();
        assert!(matches!(error, Error::Limit { .. }), "{error}");
        transaction.commit().await.unwrap();
        let mut stream = db
            .snapshot()
            .stream(&store, &longest)
            .await
            .unwrap()
            .unwrap();
        let mut buffer = [0; 20];
        assert_eq!(stream.read_at(0, &mut buffer).await.unwrap(), 11);
        assert_eq!(&buffer[..11], b"0123456789x");
        assert_eq!(stream.read_at(11, &mut buffer).await.unwrap(), 0);
        assert_eq!(stream.read_at(u64::MAX, &mut buffer).await.unwrap(), 0);
    });
}

#[test]
fn an_append_of_nothing_makes_a_stream_and_a_source_that_fails_makes_none() {
    block_on(async {
        let (db, store) = fresh().await;
        let mut transaction = db.begin();
        let mut stream = transaction.stream(&store, &key("empty")).await.unwrap();
        stream.append(b"").await.unwrap();
        assert!(stream.exists() && stream.is_empty());
        transaction.commit().await.unwrap();
        assert_eq!(contents(&db, &store, "empty").await, Some(Vec::new()));
        assert_eq!(contents(&db, &store, "absent").await, None);

        let mut transaction = db.begin();
        let mut stream = transaction.stream(&store, &key("half")).await.unwrap();
        let pieces = [
            Ok(Bytes::from(bytes(0, 2 * CHUNK))),
            Err(Error::Invalid("the line went dead".to_owned())),
        ];
        let error = stream.append_from(futures::stream::iter(pieces)).await;
        assert!(
            error
                .unwrap_err()
                .to_string()
                .contains("the line went dead")
        );
        assert!(stream.read_at(0, &mut [0; 1]).await.is_err());
        assert!(transaction.commit().await.is_err());
        assert_eq!(contents(&db, &store, "half").await, None);
    });
}

#[test]
fn a_change_that_failed_half_way_is_never_committed() {
    block_on(async {
        let (storage, counts) = CountingStorage::new(MemoryStorage::new(), &[]);
        let db = Db::open_storage(storage, Options::default(), environment(1).0);
        let db = db.await.unwrap();
        let store = db
            .create_store("films", StoreSchema::default())
            .await
            .unwrap();
        put_stream(&db, &store, "a", 2 * CHUNK).await;
        // Fails while a run is written, and while one is ended.
        for (before, after) in [(0, 20 * CHUNK), (20 * CHUNK, 0)] {
            let mut transaction = db.begin();
            transaction.put(&store, &key("a"), "1").unwrap();
            let mut stream = transaction.stream(&store, &key("a")).await.unwrap();
            stream.append(&bytes(0, before)).await.unwrap();
            counts.refuse(true);
            let result = stream.append(&bytes(0, after)).await;
            assert!(
                after == 0 || matches!(result, Err(Error::Storage { .. })),
                "{result:?}"
            );
            // Reads what went to the run that is open, which ends it.
            let result = stream.read_at(3 * CHUNK, &mut [0; 8]).await;
            assert!(result.is_err());
            counts.refuse(false);
            // The medium is well again, the transaction is not.
            assert!(stream.append(b"more").await.is_err());
            assert!(transaction.commit().await.is_err());
            assert_eq!(
                contents(&db, &store, "a").await.unwrap(),
                bytes(0, 2 * CHUNK)
            );
            assert_eq!(db.snapshot().get(&store, &key("a")).await.unwrap(), None);
        }
        put_stream(&db, &store, "b", 20 * CHUNK).await;
    });
}

#[test]
fn what_is_deleted_dropped_or_never_committed_leaves_no_bytes_behind() {
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(folder.path(), Options::default()).await.unwrap();
        let store = db
            .create_store("films", StoreSchema::default())
            .await
            .unwrap();
        put_stream(&db, &store, "a", 20 << 20).await;
        let mut dropped = db.begin();
        write(&mut dropped, &store, "never", 20 << 20)
            .await
            .unwrap();
        drop(dropped);
        let mut transaction = db.begin();
        let mut stream = transaction.stream(&store, &key("a")).await.unwrap();
        stream.delete().await.unwrap();
        transaction.commit().await.unwrap();
        let other = db
            .create_store("other", StoreSchema::default())
            .await
            .unwrap();
        put_stream(&db, &other, "b", 20 << 20).await;
        assert!(db.drop_store("other").await.unwrap());
        db.fold().await.unwrap();
        // The manifests before the newest stay for readers, and so do their runs, until it is compacted.
        db.compact().await.unwrap();
        let info = db.info();
        assert!(info.runs_len < 1 << 20, "{} bytes of runs", info.runs_len);
        assert_eq!(contents(&db, &store, "a").await, None);
        db.close().await.unwrap();
        let segments = walk(&folder.path().join("seg"));
        assert!(segments < 1 << 20, "{segments} bytes of segments");
    });
}

fn walk(folder: &std::path::Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    let len = |entry: std::fs::DirEntry| match entry.metadata().unwrap() {
        data if data.is_dir() => walk(&entry.path()),
        data => data.len(),
    };
    entries.map(|entry| len(entry.unwrap())).sum()
}
