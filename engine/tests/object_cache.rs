//! Reading a database in a bucket a second time: its runs come from the local disk.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use crate::support::Dice;
use crate::support::bucket::Server;
use crate::support::proxy::Proxy;
use eciton_engine::base::{Datum, Key};
use eciton_engine::db::{
    Db, Encoding, Environment, Mode, Options, ScanRange, Store, StoreSchema, verify,
};
use eciton_engine::storage::{Access, CacheOptions, ObjectOptions, ObjectStorage};

const URL: &str = "s3://databases/db";
const VALUE_LEN: usize = 100;

async fn storage(endpoint: String, cache: Option<&Path>, access: Access) -> Arc<ObjectStorage> {
    let options = ObjectOptions {
        endpoint: Some(endpoint),
        region: Some("us-east-1".to_owned()),
        allow_http: Some(true),
        key: Some(("test".to_owned(), "secret".to_owned())),
        cache: cache.map(CacheOptions::at),
        ..ObjectOptions::default()
    };
    Arc::new(ObjectStorage::open(URL, &options, access).await.unwrap())
}

fn key(number: u64) -> Key {
    Key::from_datums(&[Datum::Int(i128::from(number))]).unwrap()
}

/// Bytes that do not compress, which its number gives.
fn value(number: u64) -> Vec<u8> {
    let dice = Dice::new(number);
    let words = std::iter::repeat_with(|| dice.next().to_le_bytes());
    words.flatten().take(VALUE_LEN).collect()
}

/// Writes a database of so many records, all of them in runs.
async fn fill(address: SocketAddr, records: u64) -> Store {
    let storage = storage(format!("http://{address}"), None, Access::ReadWrite).await;
    let options = Options {
        mode: Mode::Clustered,
        ..Options::default()
    };
    let db = Db::open_storage(storage, options, Environment::default()).await;
    let db = db.unwrap();
    let schema = StoreSchema {
        encoding: Encoding::Raw,
        ..StoreSchema::default()
    };
    let store = db.create_store("s", schema).await.unwrap();
    let mut txn = db.begin();
    for number in 0..records {
        txn.put(&store, &key(number), value(number)).unwrap();
    }
    txn.commit().await.unwrap();
    db.fold().await.unwrap();
    db.close().await.unwrap();
    store
}

async fn opened(storage: Arc<ObjectStorage>) -> Db {
    let db = Db::open_storage_read_only(storage, Options::default(), Environment::default());
    db.await.unwrap()
}

/// Requests for segments, and for anything else.
fn requests(proxy: &Proxy) -> (usize, usize) {
    let seen = proxy.seen();
    let of_segments = seen.iter().filter(|request| request.path.contains("/seg/"));
    let of_segments = of_segments.count();
    (of_segments, seen.len() - of_segments)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_are_asked_for_once_and_the_log_every_time() {
    const RECORDS: u64 = 10_000;
    let server = Server::moto();
    server.make_bucket("databases");
    let store = fill(server.address(), RECORDS).await;
    let proxy = Proxy::start(server.address());
    let dir = tempfile::tempdir().unwrap();
    let mut before = (0, 0);
    for round in 0..3 {
        let storage = storage(proxy.endpoint(), Some(dir.path()), Access::ReadOnly).await;
        let db = opened(Arc::clone(&storage)).await;
        let mut scan = db.snapshot().scan(&store, &ScanRange::all());
        let mut number = 0;
        while let Some(record) = scan.next().await.unwrap() {
            assert_eq!(record.key, key(number), "round {round}");
            assert_eq!(record.value, value(number), "round {round}");
            number += 1;
        }
        assert_eq!(number, RECORDS);
        let now = requests(&proxy);
        println!("round {round}: {:?}", (now.0 - before.0, now.1 - before.1));
        assert_eq!(now.0 > before.0, round == 0, "round {round}");
        assert!(now.1 > before.1, "round {round}");
        before = now;
    }
    let storage = storage(proxy.endpoint(), Some(dir.path()), Access::ReadOnly).await;
    let report = verify(storage, &|_| {}).await.unwrap();
    assert_eq!(report.broken, vec![]);
}

/// Prints how long 10,000 records take that are asked for one after the other by a process that has just opened
/// the database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures; asserts only that the records are right"]
#[expect(clippy::disallowed_methods, reason = "it measures")]
async fn cold_reads_are_measured() {
    const RECORDS: u64 = 400_000;
    const READS: u64 = 10_000;
    let server = Server::seaweed();
    server.make_bucket("databases");
    let store = fill(server.address(), RECORDS).await;
    let direct = format!("http://{}", server.address());
    let dir = tempfile::tempdir().unwrap();
    let cached = Some(dir.path());
    for round in 0..3 {
        for (what, cache) in [
            ("no cache", None),
            ("cache empty", cached),
            ("cache full", cached),
        ] {
            if what == "cache empty" && round > 0 {
                std::fs::remove_file(dir.path().join("eciton-segments")).unwrap();
            }
            let begun = std::time::Instant::now();
            let db = opened(storage(direct.clone(), cache, Access::ReadOnly).await).await;
            let opening = begun.elapsed();
            let (snapshot, dice) = (db.snapshot(), Dice::new(round));
            let begun = std::time::Instant::now();
            for _ in 0..READS {
                let number = dice.next() % RECORDS;
                let got = snapshot.get(&store, &key(number)).await.unwrap();
                assert_eq!(got.unwrap(), value(number));
            }
            let random = begun.elapsed();
            // From the database opened once more, so that nothing is in memory.
            let db = opened(storage(direct.clone(), cache, Access::ReadOnly).await).await;
            let begun = std::time::Instant::now();
            let mut scan = db.snapshot().scan(&store, &ScanRange::all());
            let mut count = 0;
            while count < READS && scan.next().await.unwrap().is_some() {
                count += 1;
            }
            let scanned = begun.elapsed();
            println!(
                "{what}: opening {opening:?}, {READS} of {RECORDS} records drawn {random:?}, {READS} in order after that {scanned:?}"
            );
        }
    }
}
