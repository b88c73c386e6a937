use std::sync::Arc;

use super::support::*;
use crate::run::{End, Event, Observer, RunOptions, retry, run, submit};

/// Panics in the middle of one shard.
struct Panics;

impl Observer for Panics {
    fn observe(&self, event: &Event<'_>) {
        if let Event::RowsRead { shard: 1, .. } = event {
            panic!("a slip in shard 1");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_fails_its_shard_alone() {
    let place = JobFolder::new();
    let (text, expected) = flights(500);
    place.write("a.csv", text);
    let db = memory_db().await;
    submit(&db, &place.job(SUM_JOB)).await.unwrap();
    let panicking = RunOptions {
        observer: Arc::new(Panics),
        ..options(2)
    };
    let report = run(&db, "sums", panicking).await.unwrap();
    let shards = report.status.shards;
    assert_eq!((report.end, shards.failed), (End::Failed, 1));
    assert_eq!(shards.done, shards.total - 1);
    let failure = &report.status.failures[0];
    assert_eq!(failure.shard, 1);
    assert_eq!(
        failure.error,
        "computing the shard broke off: a slip in shard 1"
    );
    // Nothing of it was kept: another attempt completes the sums.
    retry(&db, "sums").await.unwrap();
    assert_eq!(run(&db, "sums", options(2)).await.unwrap().end, End::Done);
    assert_eq!(records(&db, "by_carrier").await, expected);
}
