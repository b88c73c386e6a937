use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::support::*;
use crate::run::{End, Event, Observer, RunOptions, run, submit};

/// Fewer than one commit may have.
const SHARDS: u64 = 900;

/// How many shards were begun when the first one was done.
#[derive(Default)]
struct FirstDone {
    begun: AtomicU64,
    at: AtomicU64,
}

impl Observer for FirstDone {
    fn observe(&self, event: &Event<'_>) {
        match event {
            Event::ShardStarted { .. } => {
                self.begun.fetch_add(1, Ordering::SeqCst);
            }
            Event::ShardDone { .. } => {
                let begun = self.begun.load(Ordering::SeqCst);
                self.at
                    .compare_exchange(0, begun, Ordering::SeqCst, Ordering::SeqCst)
                    .ok();
            }
            _ => {}
        }
    }
}

/// Batches were once committed at their end or when they were full, however old they were.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_computed_is_committed_while_the_rest_is_computed() {
    let db = memory_db().await;
    let job = format!(
        r#"
name = "range"
[source]
format = "range"
from = 0
to = {}
shard_len = 1000
[transform]
sql = "SELECT i % 7 AS k, i FROM source"
[merge]
store = "all"
key = ["k"]
[merge.values]
rows = "count()"
"#,
        SHARDS * 1000
    );
    let submitted = submit(&db, &JobFolder::new().job(&job)).await.unwrap();
    let observer = Arc::new(FirstDone::default());
    let options = RunOptions {
        commit_interval: Duration::from_millis(1),
        observer: observer.clone(),
        ..options(1)
    };
    let report = run(&db, &submitted.name, options).await.unwrap();
    assert_eq!(report.end, End::Done);
    assert_eq!(report.status.shards.done, SHARDS);
    let at = observer.at.load(Ordering::SeqCst);
    assert!(at > 0 && at < SHARDS / 2, "{at} of {SHARDS} begun before");
}

/// Neither knows of the other, both go through the shards in the same order, and each loses whole batches to the other:
/// what is lost has to be found ended, and not be computed and lost again for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_runs_at_once_come_to_an_end_however_often_they_lose() {
    let db = memory_db().await;
    let text = r#"
name = "range"
[source]
format = "range"
from = 0
to = 4000
shard_len = 1
[merge]
store = "all"
key = ["i"]
[merge.values]
rows = "count()"
"#;
    let submitted = submit(&db, &JobFolder::new().job(text)).await.unwrap();
    let run_one = || {
        let (db, name) = (db.clone(), submitted.name.clone());
        let options = RunOptions {
            commit_interval: Duration::from_millis(20),
            ..options(1)
        };
        tokio::spawn(async move { run(&db, &name, options).await.unwrap() })
    };
    let runs = [run_one(), run_one()];
    for running in runs {
        // A guard against hanging; it takes a second.
        let report = tokio::time::timeout(Duration::from_mins(10), running).await;
        let report = report.expect("one of two runs does not end").unwrap();
        assert_eq!(report.end, End::Done);
        assert_eq!(report.status.shards.done, 4000);
        assert_eq!(report.status.rows_read, 4000);
    }
    assert_eq!(records(&db, "all").await.len(), 4000);
}
