use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use eciton_engine::coord::{Board, Bus, SharedCoordinator, Silence};
use eciton_engine::storage::MemoryStorage;
use eciton_engine::{Db, Environment, Mode, Options};

use super::support::*;
use crate::run::{End, Event, Observer, RunOptions, run, submit};

/// Processes at one database, as far as the engine can tell.
const PROCESSES: usize = 3;

pub(super) async fn process(storage: &MemoryStorage, bus: &Arc<dyn Bus>) -> Db {
    let environment = Environment::default();
    let (clock, entropy) = (environment.clock.clone(), environment.entropy.clone());
    let environment = Environment {
        coordinator: Arc::new(SharedCoordinator::new(Arc::clone(bus), clock, entropy)),
        ..environment
    };
    let options = Options {
        mode: Mode::Clustered,
        ..Options::default()
    };
    Db::open_storage(Arc::new(storage.clone()), options, environment)
        .await
        .unwrap()
}

/// Rows of the job.
const ROWS: u64 = 3000;

/// Counts the rows that were read, also for what was dropped.
#[derive(Default)]
struct RowsRead(AtomicU64);

impl Observer for RowsRead {
    fn observe(&self, event: &Event<'_>) {
        if let Event::RowsRead { rows, .. } = event {
            self.0.fetch_add(*rows, Ordering::SeqCst);
        }
    }
}

/// Runs a job in all of them at once; how many rows they read together.
async fn run_in_all(bus: Arc<dyn Bus>) -> u64 {
    let place = JobFolder::new();
    let (text, expected) = flights(ROWS);
    place.write("flights.csv", text);
    let storage = MemoryStorage::new();
    let rows_read = Arc::new(RowsRead::default());
    let mut running = Vec::new();
    for _ in 0..PROCESSES {
        let (db, job) = (process(&storage, &bus).await, place.job(SUM_JOB));
        let observer = Arc::clone(&rows_read);
        running.push(tokio::spawn(async move {
            let submitted = submit(&db, &job).await.unwrap();
            let options = RunOptions {
                commit_interval: Duration::from_millis(5),
                // Nothing is computed a second time, however slow the machine is.
                patience: Duration::from_hours(1),
                observer,
                ..options(2)
            };
            run(&db, &submitted.name, options).await.unwrap()
        }));
    }
    for running in running {
        let report = running.await.unwrap();
        assert_eq!(report.end, End::Done);
        let status = report.status;
        assert_eq!(status.shards.done, status.shards.total, "{status:?}");
        assert_eq!(status.rows_read, ROWS, "each shard counts once: {status:?}");
    }
    let db = process(&storage, &bus).await;
    assert_eq!(records(&db, "by_carrier").await, expected);
    let again = run(&db, "sums", options(1)).await.unwrap();
    assert!(again.had_ended, "it had ended before");
    assert!(again.status.shards.total > 20, "{:?}", again.status.shards);
    rows_read.0.load(Ordering::SeqCst)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn processes_share_a_job() {
    let bus = Arc::new(Board::new(Environment::default().clock));
    assert_eq!(run_in_all(bus).await, ROWS, "leases keep them apart");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn processes_that_cannot_hear_of_each_other_share_a_job_all_the_same() {
    let read = run_in_all(Arc::new(Silence)).await;
    assert!(read >= ROWS, "{read} rows");
}
