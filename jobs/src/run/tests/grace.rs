//! What becomes of a shard that takes long once its run was asked to stop.

use std::sync::Arc;
use std::time::Duration;

use super::support::*;
use crate::run::{CancellationToken, End, Event, Observer, RunOptions, run, submit};

/// Asks a run to stop as soon as rows were read.
struct StopsInTheMiddle(CancellationToken);

impl Observer for StopsInTheMiddle {
    fn observe(&self, event: &Event<'_>) {
        if let Event::RowsRead { .. } = event {
            self.0.cancel();
        }
    }
}

/// Whether it breaks off or comes to its end, by the only shard of a job of so many rows.
async fn stopped(rows: u64, grace: Option<Duration>) -> (End, u64, u64) {
    let folder = JobFolder::new();
    let db = memory_db().await;
    let job = folder.job(&format!(
        "name = \"long\"\n[source]\nformat = \"range\"\nfrom = 0\nto = {rows}\nshard_len = {rows}\n\
         [transform]\nsql = \"SELECT i % 7 AS k, i FROM source\"\n\
         [merge]\nstore = \"sums\"\nkey = [\"k\"]\n[merge.values]\nn = \"count()\"\n"
    ));
    submit(&db, &job).await.unwrap();
    let stop = CancellationToken::new();
    let options = RunOptions {
        observer: Arc::new(StopsInTheMiddle(stop.clone())),
        stop,
        grace,
        ..options(1)
    };
    let report = run(&db, "long", options).await.unwrap();
    let status = report.status;
    assert_eq!(status.shards.failed, 0);
    (report.end, status.shards.done, status.attempts)
}

/// It would take minutes to its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_takes_longer_than_its_grace_breaks_off_untried() {
    let ended = stopped(4_000_000_000, Some(Duration::from_millis(1))).await;
    assert_eq!(ended, (End::Stopped, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_without_a_grace_comes_to_its_end() {
    let ended = stopped(1_000_000, None).await;
    assert_eq!(ended, (End::Done, 1, 1));
}
