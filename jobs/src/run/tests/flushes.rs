//! What is computed is committed in time, also where every worker is at a shard that takes long.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::support::*;
use crate::run::{End, Event, Observer, RunOptions, run, status, submit};

const SHARDS: u64 = 12;
const WORKERS: u64 = 2;

/// Rows of each shard of [`job`].
const LEN: u64 = 10;

fn job() -> String {
    format!(
        r#"
name = "numbers"
[source]
format = "range"
from = 0
to = {}
shard_len = {LEN}
[merge]
store = "all"
key = ["i"]
[merge.values]
rows = "count()"
"#,
        SHARDS * LEN
    )
}

/// Each number once.
fn expected() -> BTreeMap<String, String> {
    let record = |i: u64| (i.to_string(), r#"{"rows":1}"#.to_owned());
    (0..SHARDS * LEN).map(record).collect()
}

/// The last shard of each worker waits until it is let go; counts those that wait, and results that are lost.
#[derive(Default)]
struct CommitGate {
    is_open: AtomicBool,
    waiting: AtomicU64,
    lost: AtomicU64,
    done: AtomicU64,
}

impl Observer for CommitGate {
    fn observe(&self, event: &Event<'_>) {
        match event {
            Event::RowsRead { shard, .. } if *shard >= SHARDS - WORKERS => {
                self.waiting.fetch_add(1, Ordering::SeqCst);
                while !self.is_open.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            Event::ResultsLost { .. } => {
                self.lost.fetch_add(1, Ordering::SeqCst);
            }
            Event::ShardDone { .. } => {
                self.done.fetch_add(1, Ordering::SeqCst);
            }
            _ => {}
        }
    }
}

/// Opens it also when the test fails: the workers would wait for ever.
struct OpensWhen(Arc<CommitGate>);

impl Drop for OpensWhen {
    fn drop(&mut self) {
        self.0.is_open.store(true, Ordering::SeqCst);
    }
}

/// Once they waited for the next worker that ended a shard.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_are_committed_while_every_worker_is_at_a_long_shard() {
    let db = memory_db().await;
    submit(&db, &JobFolder::new().job(&job())).await.unwrap();
    let gate = Arc::new(CommitGate::default());
    let opens = OpensWhen(Arc::clone(&gate));
    let options = RunOptions {
        commit_interval: Duration::from_millis(300),
        observer: gate.clone(),
        ..options(2)
    };
    let running = tokio::spawn({
        let db = db.clone();
        async move { run(&db, "numbers", options).await.unwrap() }
    });
    until("the short ones are not committed", async || {
        let status = status(&db, "numbers").await.unwrap().unwrap();
        status.shards.done == SHARDS - WORKERS
    })
    .await;
    // A moment after it can be seen.
    until("it is not told", async || {
        gate.done.load(Ordering::SeqCst) == SHARDS - WORKERS
    })
    .await;
    let seen = records(&db, "all").await;
    assert_eq!(seen.len() as u64, (SHARDS - WORKERS) * LEN);
    drop(opens);
    assert_eq!(running.await.unwrap().end, End::Done);
    assert_eq!(records(&db, "all").await, expected());
}

/// What a flush loses is computed again by the workers, each shard by itself, and nothing counts twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_lost_beside_the_workers_is_computed_again() {
    let db = memory_db().await;
    submit(&db, &JobFolder::new().job(&job())).await.unwrap();
    let gate = Arc::new(CommitGate::default());
    let opens = OpensWhen(Arc::clone(&gate));
    let options = RunOptions {
        commit_interval: Duration::from_secs(2),
        observer: gate.clone(),
        ..options(2)
    };
    let running = tokio::spawn({
        let db = db.clone();
        async move { run(&db, "numbers", options).await.unwrap() }
    });
    until("the long ones are not begun", async || {
        gate.waiting.load(Ordering::SeqCst) == WORKERS
    })
    .await;
    // Another one ends some of what waits for its commit, or, on a machine that is slow, of what does not.
    let other = run(&db, "numbers", stop_after(1, 1)).await.unwrap();
    assert!(other.status.shards.done > 0);
    let done = other.status.shards.done;
    until("nothing is committed or lost", async || {
        let lost = gate.lost.load(Ordering::SeqCst);
        lost > 0 || gate.done.load(Ordering::SeqCst) + done > SHARDS - WORKERS
    })
    .await;
    drop(opens);
    let report = running.await.unwrap();
    assert_eq!(report.end, End::Done);
    assert_eq!(report.status.rows_read, SHARDS * LEN);
    assert_eq!(report.status.attempts, SHARDS);
    assert_eq!(records(&db, "all").await, expected());
}

/// Holds up who tells that the first shard is done until the second one is begun, if that ever comes.
#[derive(Default)]
struct HoldsUp {
    started: AtomicU64,
    is_held_up_in_vain: AtomicBool,
}

impl Observer for HoldsUp {
    fn observe(&self, event: &Event<'_>) {
        match event {
            Event::ShardStarted { .. } => {
                self.started.fetch_add(1, Ordering::SeqCst);
            }
            Event::ShardDone { shard: 0, .. } => {
                let begun = Instant::now();
                while self.started.load(Ordering::SeqCst) < 2 {
                    if begun.elapsed() > Duration::from_mins(1) {
                        self.is_held_up_in_vain.store(true, Ordering::SeqCst);
                        return;
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            _ => {}
        }
    }
}

/// Where shards take long, a worker goes on while what it has computed is committed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_does_not_wait_for_the_commit_of_a_long_shard() {
    let db = memory_db().await;
    submit(&db, &JobFolder::new().job(&job())).await.unwrap();
    let observer = Arc::new(HoldsUp::default());
    let options = RunOptions {
        // Every shard takes longer.
        commit_interval: Duration::from_nanos(1),
        observer: observer.clone(),
        ..options(1)
    };
    let report = run(&db, "numbers", options).await.unwrap();
    assert!(!observer.is_held_up_in_vain.load(Ordering::SeqCst));
    assert_eq!((report.end, report.status.attempts), (End::Done, SHARDS));
    assert_eq!(records(&db, "all").await, expected());
}
