//! The settlement of computed shards, as threads and programs that pull are told of it.

use super::support::*;
use crate::run::records::ledger::Ledger;
use crate::run::schedule::context::RunContext;
use crate::run::settle::batch::Batch;
use crate::run::settle::settlement::Settlement;
use crate::run::{cancel, retry, status, submit};

/// Computed shards without results, in one batch.
fn batch(shards: &[u64]) -> Batch {
    let mut batch = Batch::default();
    for shard in shards {
        batch.join(Batch::of(*shard, 0));
    }
    batch
}

#[tokio::test]
async fn a_shard_that_has_ended_is_dropped_alone_and_sends_a_batch_back() {
    let folder = JobFolder::new();
    folder.write("flights.csv", flights(500).0);
    let db = memory_db().await;
    submit(&db, &folder.job(SUM_JOB)).await.unwrap();
    let (ledger, found) = Ledger::with_job(&db, "sums").await.unwrap();
    let context = RunContext::open(&ledger, "sums", &found, &options(1)).await;
    let job = context.unwrap().job;
    let settle = async |shards: &[u64]| job.settle(batch(shards)).await.unwrap();
    let done = settle(&[1, 2]).await;
    assert!(
        matches!(&done, Settlement::Done { shards, conflicts: 0 } if shards.len() == 2),
        "{done:?}"
    );
    let dropped = settle(&[1]).await;
    assert!(
        matches!(dropped, Settlement::Dropped { shard: 1 }),
        "{dropped:?}"
    );
    // The other one may count yet.
    let again = settle(&[3, 1]).await;
    assert!(matches!(again, Settlement::Again), "{again:?}");
    let done = settle(&[3]).await;
    assert!(matches!(done, Settlement::Done { .. }), "{done:?}");
    let given_up = async |shard| job.settle_given_up(shard).await.unwrap();
    let again = given_up(4).await;
    assert!(matches!(again, Settlement::Again), "{again:?}");
    let dropped = given_up(3).await;
    assert!(
        matches!(dropped, Settlement::Dropped { shard: 3 }),
        "{dropped:?}"
    );
    let shards = status(&db, "sums").await.unwrap().unwrap().shards;
    assert_eq!((shards.done, shards.failed), (3, 0));
}

#[tokio::test]
async fn nothing_is_wanted_of_a_job_that_was_cancelled_or_retried() {
    let folder = JobFolder::new();
    folder.write("flights.csv", flights(500).0);
    let db = memory_db().await;
    submit(&db, &folder.job(SUM_JOB)).await.unwrap();
    let (ledger, found) = Ledger::with_job(&db, "sums").await.unwrap();
    let context = RunContext::open(&ledger, "sums", &found, &options(1)).await;
    let job = context.unwrap().job;
    cancel(&db, "sums").await.unwrap();
    for shards in [&[1][..], &[1, 2]] {
        let cancelled = job.settle(batch(shards)).await.unwrap();
        assert!(matches!(cancelled, Settlement::Cancelled), "{cancelled:?}");
    }
    retry(&db, "sums").await.unwrap();
    for shards in [&[1][..], &[1, 2]] {
        let changed = job.settle(batch(shards)).await.unwrap();
        assert!(matches!(changed, Settlement::Changed), "{changed:?}");
    }
    let given_up = job.settle_given_up(1).await.unwrap();
    assert!(matches!(given_up, Settlement::Changed), "{given_up:?}");
    assert_eq!(status(&db, "sums").await.unwrap().unwrap().shards.done, 0);
}
