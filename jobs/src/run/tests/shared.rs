use std::sync::Arc;
use std::time::Duration;

use eciton_engine::coord::{Board, Bus, SharedCoordinator, Silence};
use eciton_engine::db::{Db, Environment, Mode, Options};
use eciton_engine::storage::MemoryStorage;

use super::support::*;
use crate::run::{End, RunOptions, run, submit};

/// Processes at one database, as far as the engine can tell.
const PROCESSES: usize = 3;

async fn process(storage: &MemoryStorage, bus: &Arc<dyn Bus>) -> Db {
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

/// Runs a job in all of them at once; how many shards it has, and how many attempts it took.
async fn run_in_all(bus: Arc<dyn Bus>) -> (u64, u64) {
    const ROWS: u64 = 3000;
    let place = Place::new();
    let (text, expected) = flights(ROWS);
    place.write("flights.csv", text);
    let storage = MemoryStorage::new();
    let mut running = Vec::new();
    for _ in 0..PROCESSES {
        let (db, job) = (process(&storage, &bus).await, place.job(SUM_JOB));
        running.push(tokio::spawn(async move {
            let submitted = submit(&db, &job).await.unwrap();
            let options = RunOptions {
                commit_interval: Duration::from_millis(5),
                ..options(2)
            };
            run(&db, &submitted.name, options).await.unwrap()
        }));
    }
    let mut attempts = 0;
    for running in running {
        let report = running.await.unwrap();
        assert_eq!(report.end, End::Done);
        let status = report.status;
        assert_eq!(status.shards.done, status.shards.total, "{status:?}");
        assert_eq!(status.rows_read, ROWS, "each shard counts once: {status:?}");
        attempts = status.attempts;
    }
    let db = process(&storage, &bus).await;
    assert_eq!(records(&db, "by_carrier").await, expected);
    let total = run(&db, "sums", options(1)).await.unwrap();
    assert!(total.had_ended, "it had ended before");
    (total.status.shards.total, attempts)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn processes_share_a_job() {
    let bus = Arc::new(Board::new(Environment::default().clock));
    let (shards, attempts) = run_in_all(bus).await;
    assert!(shards > 20, "{shards} shards");
    assert_eq!(attempts, shards);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn processes_that_cannot_hear_of_each_other_share_a_job_all_the_same() {
    let (shards, attempts) = run_in_all(Arc::new(Silence)).await;
    assert_eq!(attempts, shards, "what was computed in vain is no attempt");
}
