//! What the engine tells a recorder of metrics.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;

use crate::support::{counted, environment};
use eciton_engine::base::{Datum, Error, Key};
use eciton_engine::db::{Db, Options, ScanRange, Store, StoreSchema};
use eciton_engine::storage::{MemoryStorage, Operation};
use metrics_exporter_prometheus::PrometheusBuilder;

fn key(number: u64) -> Key {
    Key::from_datums(&[Datum::Int(i128::from(number))]).unwrap()
}

/// What is told while `work` goes on, on this thread alone, as Prometheus reads it.
fn told(work: impl Future<Output = ()>) -> String {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    metrics::with_local_recorder(&recorder, || runtime.block_on(work));
    handle.render()
}

/// The value of a line, 0 where there is none.
fn value(told: &str, line: &str) -> u64 {
    let found = told.lines().find_map(|told| told.strip_prefix(line));
    found.map_or(0, |found| found.trim().parse().unwrap())
}

async fn open(storage: &MemoryStorage) -> (Db, Store) {
    let (environment, _) = environment(1);
    let db = Db::open_storage(Arc::new(storage.clone()), Options::default(), environment).await;
    let db = db.unwrap();
    let store = db.create_store("s", StoreSchema::default()).await.unwrap();
    (db, store)
}

#[test]
fn conflicts_are_told_by_what_was_met_and_merges_are_counted() {
    let told = told(async {
        let (db, store) = open(&MemoryStorage::new()).await;
        let (merged, _, one) = counted(&db).await;

        let (mut first, mut second, mut third) = (db.begin(), db.begin(), db.begin());
        first.put(&store, &key(1), "a").unwrap();
        second.put(&store, &key(1), "b").unwrap();
        let all = ScanRange::all();
        assert_eq!(third.scan(&store, &all).await.unwrap(), vec![]);
        third.put(&store, &key(2), "c").unwrap();
        first.commit().await.unwrap();
        for loser in [second, third] {
            let lost = loser.commit().await;
            assert!(matches!(lost, Err(Error::Conflict { .. })), "{lost:?}");
        }
        let (mut one_more, mut another) = (db.begin(), db.begin());
        one_more.merge(&merged, &key(1), &one).unwrap();
        another.merge(&merged, &key(1), &one).unwrap();
        another.merge(&merged, &key(2), &one).unwrap();
        one_more.commit().await.unwrap();
        another.commit().await.unwrap();
    });
    let conflicts =
        |kind: &str| value(&told, &format!("eciton_conflicts_total{{kind=\"{kind}\"}}"));
    assert_eq!((conflicts("key"), conflicts("range")), (1, 1), "{told}");
    let aborts = value(&told, "eciton_commit_aborts_total{reason=\"conflict\"}");
    assert_eq!(aborts, 2, "{told}");
    assert_eq!(value(&told, "eciton_merges_total"), 3, "{told}");
}

#[test]
fn what_waits_to_be_folded_is_told_until_it_is_folded() {
    let storage = MemoryStorage::new();
    let written = told(async {
        let (db, store) = open(&storage).await;
        for number in 0..10 {
            let mut transaction = db.begin();
            transaction.put(&store, &key(number), "there").unwrap();
            transaction.commit().await.unwrap();
        }
        db.tell_metrics();
        drop(db);
    });
    assert!(
        value(&written, "eciton_fold_lag_records") >= 10,
        "{written}"
    );
    assert!(value(&written, "eciton_fold_lag_bytes") > 0, "{written}");
    let folded = told(async {
        let (db, store) = open(&storage).await;
        db.fold().await.unwrap();
        for _ in 0..2 {
            let there = db.snapshot().get(&store, &key(3)).await.unwrap();
            assert_eq!(there.as_deref(), Some(&b"there"[..]));
        }
        db.tell_metrics();
    });
    assert!(folded.contains("\neciton_fold_lag_records 0\n"), "{folded}");
    let asked = |what: &str| {
        let line = format!("eciton_cache_{what}_total{{tier=\"memory\"}}");
        value(&folded, &line)
    };
    assert!(asked("misses") >= 1, "{folded}");
    assert!(asked("hits") >= 1, "{folded}");
    assert_eq!(value(&folded, "eciton_fold_duration_seconds_count"), 1);
}

#[test]
fn what_the_storage_refuses_is_told_by_operation_and_error() {
    const ENOSPC: i32 = 28;
    let told = told(async {
        let storage = MemoryStorage::new();
        let (db, store) = open(&storage).await;
        storage.inject(Operation::Allocate, ENOSPC);
        let mut transaction = db.begin();
        let large = vec![1_u8; 200_000];
        transaction.put(&store, &key(1), large).unwrap();
        let full = transaction.commit().await;
        assert!(matches!(full, Err(Error::Storage { .. })), "{full:?}");
    });
    let line = "eciton_storage_errors_total{op=\"allocate\",errno=\"ENOSPC\"}";
    assert_eq!(value(&told, line), 1, "{told}");
}
