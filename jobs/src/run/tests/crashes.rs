use eciton_engine::entropy::SeededEntropy;
use eciton_engine::storage::MemoryStorage;
use std::fmt::Write as _;
use std::time::Duration;

use super::support::*;
use crate::run::{COMMIT_INTERVAL, End, JobError, RunOptions, run, submit};
use crate::spec::JobFile;

/// Runs a job on a medium that crashes again and again, power loss every other time, until it is done.
/// Gives how often it crashed.
async fn run_through_crashes(job: &JobFile, seed: u64, store: &str, expected: &str) -> u64 {
    let entropy = SeededEntropy::new(seed);
    let mut storage = MemoryStorage::new();
    for crashes in 0..400 {
        // Further and further, so that it comes to its end.
        storage.crash_after(entropy.next_u64() % 15 + crashes, entropy.next_u64());
        // Shards commit one by one, or now and then all that a worker computes together, which needs
        // fewer operations, so that fewer crashes come in between.
        let commit_interval = match crashes % 4 {
            3 => COMMIT_INTERVAL,
            _ => Duration::ZERO,
        };
        let ended = attempt(&storage, job, commit_interval).await;
        let crashed = storage.is_crashed();
        storage = match crashes % 2 {
            0 => storage.power_loss(&entropy),
            _ => storage.restart(),
        };
        match ended {
            Ok(End::Done) => {
                let db = open(&storage).await.unwrap();
                let found = format!("{:?}", records(&db, store).await);
                assert_eq!(found, expected, "seed {seed} after {crashes} crashes");
                return crashes;
            }
            Ok(other) => panic!("seed {seed}: ended as {other:?}"),
            Err(error) => assert!(crashed, "seed {seed}: failed without a crash: {error}"),
        }
    }
    panic!("seed {seed}: not done after 400 crashes");
}

async fn attempt(
    storage: &MemoryStorage,
    job: &JobFile,
    commit_interval: Duration,
) -> Result<End, JobError> {
    let db = open(storage).await?;
    let submitted = submit(&db, job).await?;
    let options = RunOptions {
        commit_interval,
        ..options(2)
    };
    let report = run(&db, &submitted.name, options).await?;
    Ok(report.end)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashes_anywhere_leave_the_results_of_an_undisturbed_run() {
    let place = JobFolder::new();
    let (text, expected) = flights(4000);
    place.write("flights.csv", text);
    let mut crashes = 0;
    for seed in 0..24 {
        let job = place.job(SUM_JOB);
        crashes += run_through_crashes(&job, seed, "by_carrier", &format!("{expected:?}")).await;
    }
    assert!(crashes > 60, "only {crashes} crashes took place");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashes_do_not_change_which_upsert_stays() {
    let place = JobFolder::new();
    let mut text = "id,row\n".to_owned();
    for row in 0..1200 {
        writeln!(text, "{},{row}", row * 17 % 50).unwrap();
    }
    place.write("rows.csv", text);
    let job = place.job(UPSERT_JOB);
    let db = memory_db().await;
    submit_and_run(&db, &job, 1).await;
    let expected = format!("{:?}", records(&db, "rows").await);
    for seed in 100..108 {
        run_through_crashes(&job, seed, "rows", &expected).await;
    }
}
