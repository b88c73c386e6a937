//! What is computed when, by whom: failures that wait, limits of time, and what others are at.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use eciton_engine::Environment;
use eciton_engine::coord::Board;
use eciton_engine::storage::MemoryStorage;

use super::shared::process;
use super::support::*;
use crate::run::schedule::claims::Claims;
use crate::run::{End, Event, Health, Observer, Permits, RunOptions, run, status, submit};

/// A job over whole numbers.
fn numbers(to: u64, shard_len: u64, run: &str) -> String {
    format!(
        r#"
name = "numbers"
[source]
format = "range"
from = 0
to = {to}
shard_len = {shard_len}
[transform]
sql = "SELECT i % 3 AS rest, i FROM source"
[merge]
store = "sums"
key = ["rest"]
[merge.values]
rows = "count()"
total = "sum(i)"
[run]
{run}
"#
    )
}

/// Counts attempts that failed, and shards that did.
#[derive(Default)]
struct Failures {
    attempts: AtomicU64,
    shards: AtomicU64,
}

impl Observer for Failures {
    fn observe(&self, event: &Event<'_>) {
        let count = match event {
            Event::AttemptFailed { .. } => &self.attempts,
            Event::ShardFailed { .. } => &self.shards,
            _ => return,
        };
        count.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_that_takes_too_long_fails_and_may_be_repeated() {
    let place = JobFolder::new();
    let db = memory_db().await;
    // Far more rows than any machine adds up in so short a time, in many batches.
    let text = numbers(1 << 32, 1 << 32, "timeout = \"100ms\"\nmax_attempts = 2");
    submit(&db, &place.job(&text)).await.unwrap();
    let failures = Arc::new(Failures::default());
    let options = RunOptions {
        observer: Arc::clone(&failures) as Arc<dyn Observer>,
        permits: Some(Permits::new(1)),
        ..options(1)
    };
    let report = run(&db, "numbers", options).await.unwrap();
    assert_eq!(report.end, End::Failed);
    assert_eq!(failures.attempts.load(Ordering::SeqCst), 1);
    assert_eq!(failures.shards.load(Ordering::SeqCst), 1);
    let failure = &report.status.failures[0];
    assert_eq!(failure.attempts, 2);
    assert!(failure.error.contains("run.timeout"), "{}", failure.error);
    assert!(records(&db, "sums").await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_beyond_its_deadline_is_cancelled_and_says_why() {
    let place = JobFolder::new();
    let db = memory_db().await;
    let text = numbers(1 << 32, 1 << 32, "deadline = \"150ms\"");
    submit(&db, &place.job(&text)).await.unwrap();
    // Its only shard is stopped in the middle.
    let report = run(&db, "numbers", options(1)).await.unwrap();
    assert_eq!(report.end, End::Cancelled);
    let status = status(&db, "numbers").await.unwrap().unwrap();
    assert_eq!(status.state, "cancelled");
    assert!(
        status.reason.contains("deadline of 150 ms"),
        "{}",
        status.reason
    );
    assert!(records(&db, "sums").await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_job_stops_in_the_middle_of_a_shard() {
    let place = JobFolder::new();
    let db = memory_db().await;
    let text = numbers(1 << 32, 1 << 32, "lease = \"300ms\"");
    submit(&db, &place.job(&text)).await.unwrap();
    let running = tokio::spawn({
        let db = db.clone();
        async move { run(&db, "numbers", options(1)).await.unwrap() }
    });
    while status(&db, "numbers").await.unwrap().unwrap().state != "running" {
        tokio::task::yield_now().await;
    }
    crate::run::cancel(&db, "numbers").await.unwrap();
    assert_eq!(running.await.unwrap().end, End::Cancelled);
    assert!(records(&db, "sums").await.is_empty());
}

/// A process that has leases and does nothing, for an hour as far as anybody can tell: others do its shards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_else_is_at_for_too_long_is_computed_a_second_time() {
    let place = JobFolder::new();
    let storage = MemoryStorage::new();
    let bus: Arc<dyn eciton_engine::coord::Bus> =
        Arc::new(Board::new(Environment::default().clock));
    let (sleeps, works) = (process(&storage, &bus).await, process(&storage, &bus).await);
    let text = numbers(20_000, 1000, "lease = \"1h\"");
    let submitted = submit(&works, &place.job(&text)).await.unwrap();
    for shard in [0, 7, 19] {
        let name = format!("job/{}/0/{shard}", submitted.number);
        assert!(sleeps.lease(&name, 3_600_000).await);
    }
    let options = RunOptions {
        patience: Duration::from_millis(100),
        ..options(2)
    };
    let report = run(&works, "numbers", options).await.unwrap();
    assert_eq!(report.end, End::Done);
    assert_eq!(report.status.rows_read, 20_000);
    assert_eq!(report.status.attempts, 20);
    let first = records(&works, "sums").await["0"].clone();
    assert_eq!(first, r#"{"rows":6667,"total":66663333}"#);
}

/// Computes the first copy slowly until another shard is done, and remembers what was begun, broken off and done.
#[derive(Default)]
struct SlowCopy {
    /// `(what, shard)`, in order.
    events: parking_lot::Mutex<Vec<(&'static str, u64)>>,
}

impl SlowCopy {
    /// What is begun after the only shard that nobody else has.
    fn copy(&self) -> Option<u64> {
        let events = self.events.lock();
        let begun = events.iter().filter(|(what, _)| *what == "begun");
        begun.map(|(_, shard)| *shard).find(|shard| *shard != 0)
    }
}

impl Observer for SlowCopy {
    fn observe(&self, event: &Event<'_>) {
        let seen = match event {
            Event::ShardStarted { shard } => ("begun", *shard),
            Event::ShardGivenBack { shard } => ("broken off", *shard),
            Event::ShardDone { shard, .. } => ("done", *shard),
            Event::RowsRead { shard, .. } => {
                let other = 3 - *shard;
                let is_slow = *shard != 0 && !self.events.lock().contains(&("done", other));
                if is_slow {
                    std::thread::sleep(Duration::from_millis(50));
                }
                return;
            }
            _ => return,
        };
        self.events.lock().push(seen);
    }
}

/// Two processes were at one long shard, one of them in vain, while nobody was at others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_gives_way_to_a_shard_that_nobody_is_at() {
    let place = JobFolder::new();
    let storage = MemoryStorage::new();
    let bus: Arc<dyn eciton_engine::coord::Bus> =
        Arc::new(Board::new(Environment::default().clock));
    let (sleeps, works) = (process(&storage, &bus).await, process(&storage, &bus).await);
    let text = numbers(900_000, 300_000, "lease = \"300ms\"");
    let submitted = submit(&works, &place.job(&text)).await.unwrap();
    let name = |shard| format!("job/{}/0/{shard}", submitted.number);
    for shard in [1, 2] {
        assert!(sleeps.lease(&name(shard), 3_600_000).await);
    }
    let observer = Arc::new(SlowCopy::default());
    let running = tokio::spawn({
        let (works, observer) = (works.clone(), Arc::clone(&observer));
        let options = RunOptions {
            patience: Duration::from_millis(50),
            observer,
            ..options(1)
        };
        async move { run(&works, "numbers", options).await.unwrap() }
    });
    until("no copy is begun", async || observer.copy().is_some()).await;
    let copy = observer.copy().unwrap();
    let other = 3 - copy;
    sleeps.release(&name(other)).await;
    let report = running.await.unwrap();
    assert_eq!(report.end, End::Done);
    assert_eq!(report.status.rows_read, 900_000);
    assert_eq!(report.status.attempts, 3);
    let events = observer.events.lock();
    let at = |event| events.iter().position(|seen| *seen == event);
    let order = [
        at(("broken off", copy)),
        at(("done", other)),
        at(("done", copy)),
    ];
    assert!(
        order.iter().all(Option::is_some) && order.is_sorted(),
        "{events:?}"
    );
}

/// Shards give their leases back when a run is asked to stop, so that others need not wait for these.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stops_gives_back_what_it_has_not_begun() {
    let place = JobFolder::new();
    let storage = MemoryStorage::new();
    let bus: Arc<dyn eciton_engine::coord::Bus> =
        Arc::new(Board::new(Environment::default().clock));
    let (stops, goes_on) = (process(&storage, &bus).await, process(&storage, &bus).await);
    let text = numbers(200_000, 100, "lease = \"1h\"");
    submit(&stops, &place.job(&text)).await.unwrap();
    let report = run(&stops, "numbers", stop_after(50, 1)).await.unwrap();
    assert_eq!(report.end, End::Stopped);
    let options = RunOptions {
        // Nothing is computed a second time: only what is free, and all is.
        patience: Duration::from_hours(1),
        ..options(2)
    };
    let report = run(&goes_on, "numbers", options).await.unwrap();
    assert_eq!(report.end, End::Done);
    assert_eq!(report.status.attempts, 2000);
}

/// Begins shard 7 late enough for the lease of whoever had it to end, and counts how often it is begun.
#[derive(Default)]
struct SlowSeven(AtomicU64);

impl Observer for SlowSeven {
    fn observe(&self, event: &Event<'_>) {
        match event {
            Event::ShardStarted { shard: 7 } => {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
            Event::RowsRead { shard: 7, .. } => std::thread::sleep(Duration::from_millis(1200)),
            _ => {}
        }
    }
}

/// Once its first holder's lease has ended it looks like a shard that nobody is at.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_copy_that_outlives_the_first_lease_is_not_begun_again() {
    let place = JobFolder::new();
    let storage = MemoryStorage::new();
    let bus: Arc<dyn eciton_engine::coord::Bus> =
        Arc::new(Board::new(Environment::default().clock));
    let (sleeps, works) = (process(&storage, &bus).await, process(&storage, &bus).await);
    let text = numbers(20_000, 1000, "lease = \"1h\"");
    let submitted = submit(&works, &place.job(&text)).await.unwrap();
    let name = format!("job/{}/0/7", submitted.number);
    assert!(sleeps.lease(&name, 600).await);
    let observer = Arc::new(SlowSeven::default());
    let options = RunOptions {
        patience: Duration::from_millis(50),
        observer: observer.clone(),
        ..options(3)
    };
    let report = run(&works, "numbers", options).await.unwrap();
    assert_eq!(report.end, End::Done);
    assert_eq!(report.status.rows_read, 20_000);
    assert_eq!(observer.0.load(Ordering::SeqCst), 1);
}

/// Another worker of the process took it in between, and lost the lease to what gave it back.
#[tokio::test]
async fn nobody_takes_a_shard_that_is_just_being_given_back() {
    let storage = MemoryStorage::new();
    let bus: Arc<dyn eciton_engine::coord::Bus> =
        Arc::new(Board::new(Environment::default().clock));
    let (ours, theirs) = (process(&storage, &bus).await, process(&storage, &bus).await);
    let claims = |db| Claims::new(db, (1, 0), 3_600_000, None).unwrap();
    let (ours, theirs) = (claims(&ours), claims(&theirs));
    assert_eq!(ours.take(&[5, 6]).await, [true, true]);
    assert!(ours.leave(5) && !ours.leave(5) && !ours.leave(7));
    assert_eq!(ours.take(&[5]).await, [false]);
    assert_eq!(theirs.take(&[5]).await, [false], "it is not back yet");
    ours.release(5).await;
    assert_eq!(theirs.take(&[5, 6]).await, [true, false]);
    assert_eq!(ours.take(&[5, 6]).await, [false, true]);
}

/// Both computed it to its end, and neither began another shard.
#[tokio::test]
async fn a_lease_that_another_process_has_is_known_to_be_lost() {
    let storage = MemoryStorage::new();
    let bus: Arc<dyn eciton_engine::coord::Bus> =
        Arc::new(Board::new(Environment::default().clock));
    let (ours, theirs) = (process(&storage, &bus).await, process(&storage, &bus).await);
    let ours = Claims::new(&ours, (1, 0), 30, None).unwrap();
    let theirs = Claims::new(&theirs, (1, 0), 3_600_000, None).unwrap();
    assert_eq!(ours.take(&[5, 6]).await, [true, true]);
    until("a lease of 30 ms does not end", async || {
        theirs.take(&[5]).await == [true]
    })
    .await;
    ours.renew_if_due().await;
    assert_eq!(ours.lost(), [5]);
    ours.leave_to_others(5).await;
    assert!(ours.lost().is_empty());
    assert_eq!(ours.take(&[5, 6]).await, [false, true], "theirs stays");
}

/// It slept until its process was to take shards again, a minute.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_in_quarantine_ends_with_its_job_all_the_same() {
    let place = JobFolder::new();
    let db = memory_db().await;
    submit(&db, &place.job(&numbers(100, 10, "")))
        .await
        .unwrap();
    let health = Health::new();
    while health.failed() != Some(Duration::from_mins(1)) {}
    let options = RunOptions {
        health: health.clone(),
        ..options(2)
    };
    let running = tokio::spawn({
        let db = db.clone();
        async move { run(&db, "numbers", options).await.unwrap() }
    });
    until("it does not begin", async || {
        status(&db, "numbers").await.unwrap().unwrap().state == "running"
    })
    .await;
    crate::run::cancel(&db, "numbers").await.unwrap();
    assert_eq!(running.await.unwrap().end, End::Cancelled);
    assert!(health.quarantine().is_some(), "and does not wait for that");
}

/// Counts batches of rows.
#[derive(Default)]
struct BatchesSeen(AtomicU64);

impl Observer for BatchesSeen {
    fn observe(&self, event: &Event<'_>) {
        if let Event::RowsRead { .. } = event {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Its threads went on to the end of the job, and nobody could end them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_dropped_ends_its_work() {
    let place = JobFolder::new();
    let db = memory_db().await;
    submit(&db, &place.job(&numbers(1 << 32, 1 << 32, "")))
        .await
        .unwrap();
    let observer = Arc::new(BatchesSeen::default());
    let running = tokio::spawn({
        let (db, observer) = (db.clone(), Arc::clone(&observer));
        let options = RunOptions {
            observer,
            ..options(2)
        };
        async move { run(&db, "numbers", options).await }
    });
    until("nothing is read", async || {
        observer.0.load(Ordering::SeqCst) > 0
    })
    .await;
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    until("it is still at work", async || {
        Arc::strong_count(&observer) == 1
    })
    .await;
    assert!(records(&db, "sums").await.is_empty());
}

/// Lets a run go that was held, also where a test fails.
struct Opens(Arc<Gate>);

impl Drop for Opens {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// A worker leases several short shards and is held at the first of them: the others are for whoever is idle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_behind_a_long_shard_is_done_by_others() {
    for held_at in [12, 13, 14] {
        let place = JobFolder::new();
        let storage = MemoryStorage::new();
        let bus: Arc<dyn eciton_engine::coord::Bus> =
            Arc::new(Board::new(Environment::default().clock));
        let (long, idle) = (process(&storage, &bus).await, process(&storage, &bus).await);
        let text = numbers(400, 1, "lease = \"1h\"");
        submit(&long, &place.job(&text)).await.unwrap();
        let gate = Arc::new(Gate::at(held_at));
        let opens = Opens(Arc::clone(&gate));
        let held = RunOptions {
            commit_interval: Duration::from_millis(5),
            ..gate.options()
        };
        let held = tokio::spawn({
            let long = long.clone();
            async move { run(&long, "numbers", held).await.unwrap() }
        });
        until("the long shard is not begun", async || gate.is_reached()).await;
        let others = tokio::spawn({
            let idle = idle.clone();
            let options = RunOptions {
                // Nothing is computed a second time.
                patience: Duration::from_hours(1),
                ..options(2)
            };
            async move { run(&idle, "numbers", options).await.unwrap() }
        });
        until("shards wait behind the long one", async || {
            idle.refresh().await.unwrap();
            let status = status(&idle, "numbers").await.unwrap().unwrap();
            status.shards.done == 399
        })
        .await;
        drop(opens);
        let report = held.await.unwrap();
        assert_eq!(report.end, End::Done);
        assert_eq!(others.await.unwrap().end, End::Done);
        assert_eq!(report.status.rows_read, 400);
        assert_eq!(report.status.attempts, 400, "each once");
    }
}
