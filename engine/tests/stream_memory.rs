//! A stream of any length takes the memory of a few chunks. Alone in its program: the system counts the
//! memory of processes.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use bytes::Bytes;
use eciton_engine::base::Key;
use eciton_engine::base::limits::{STREAM_BUFFERED_LEN_MAX, STREAM_CHUNK_LEN_MAX};
use eciton_engine::db::{Db, Options, StoreSchema};
use futures::executor::block_on;

/// Bytes that the cache may take here.
const CACHE_LEN: usize = 4 << 20;

/// The most memory that this process has had, where the system tells.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

fn piece(number: u64) -> Vec<u8> {
    let word = |i: u64| (i ^ number << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let words = (0..STREAM_CHUNK_LEN_MAX as u64 / 8).map(word);
    words.flat_map(u64::to_le_bytes).collect()
}

/// Writes, edits, folds and reads a stream of so many chunks; the memory that took.
async fn run(chunks: u64) -> Option<u64> {
    let folder = tempfile::tempdir().unwrap();
    let options = || Options {
        cache_len_max: CACHE_LEN,
        ..Options::default()
    };
    let db = Db::open(folder.path(), options()).await.unwrap();
    let store = db
        .create_store("films", StoreSchema::default())
        .await
        .unwrap();
    let key = Key::from_datums(&["long".into()]).unwrap();
    let before = peak();

    let mut transaction = db.begin();
    transaction.put(&store, &key, "{}").unwrap();
    let mut stream = transaction.stream(&store, &key).await.unwrap();
    let source = futures::stream::iter((0..chunks).map(|i| Ok(Bytes::from(piece(i)))));
    stream.append_from(source).await.unwrap();
    transaction.commit().await.unwrap();

    let mut transaction = db.begin();
    let mut stream = transaction.stream(&store, &key).await.unwrap();
    let middle = stream.len() / 2;
    stream.insert_at(middle + 1, b"here").await.unwrap();
    stream.cut(0..STREAM_CHUNK_LEN_MAX as u64).await.unwrap();
    transaction.commit().await.unwrap();
    db.fold().await.unwrap();
    db.close().await.unwrap();

    let db = Db::open_read_only(folder.path(), options()).await.unwrap();
    let stream = db.snapshot().stream(&store, &key).await.unwrap().unwrap();
    let (mut len, mut source) = (0, stream.chunks(0));
    while let Some(chunk) = source.next().await.unwrap() {
        len += chunk.len() as u64;
    }
    assert_eq!(len, (chunks - 1) * STREAM_CHUNK_LEN_MAX as u64 + 4);
    Some(peak()? - before?)
}

fn check(chunks: u64) {
    let Some(took) = block_on(run(chunks)) else {
        eprintln!("not checked: this system does not tell how much memory a process has had");
        return;
    };
    println!("{chunks} chunks took {} MiB", took >> 20);
    // What is buffered on the way to a run, a chunk or two at each hand that it goes through, the cache.
    let bound = STREAM_BUFFERED_LEN_MAX + CACHE_LEN + 16 * STREAM_CHUNK_LEN_MAX;
    assert!(
        took < bound as u64,
        "{took} bytes of memory, the bound is {bound}"
    );
}

#[test]
fn a_stream_of_64_mib_takes_the_memory_of_a_few_chunks() {
    check(64);
}

#[test]
#[ignore = "writes and reads 3 GiB"]
fn a_stream_of_1_gib_takes_no_more_memory_than_one_of_64_mib() {
    check(1024);
}
