//! Removing jobs.

use std::sync::Arc;

use eciton_engine::{Db, Key, ScanRange, StoreSchema};
use eciton_proto::v1::{Outcome, ShardState};

use super::support::*;
use crate::run::api::remove::begin;
use crate::run::records::ledger::{LAYOUT, Ledger};
use crate::run::{
    End, ExitCode, JobError, Removal, cancel, list, remove, retry, run, status, submit,
};

const WITH_RESULTS: Removal = Removal {
    with_results: true,
    force: false,
};

/// How many records of jobs there are, and how many of them are about no job.
async fn kept(db: &Db) -> (usize, usize) {
    let mut counts = Vec::new();
    for store in ["_jobs", "_tallies"] {
        let store = db.store(store).await.unwrap().unwrap();
        let mut scan = db.snapshot().scan(&store, &ScanRange::all());
        let mut count = 0;
        while scan.next().await.unwrap().is_some() {
            count += 1;
        }
        counts.push(count);
    }
    (counts[0], counts[1])
}

/// A job of so many shards of one value each.
fn numbers(shards: u64) -> String {
    format!(
        "name = \"numbers\"\n[source]\nformat = \"range\"\nfrom = 0\nto = {shards}\nshard_len = 1\n[transform]\n\
         sql = \"SELECT i % 3 AS k, i FROM source\"\n[merge]\nstore = \"numbers\"\nkey = [\"k\"]\n[merge.values]\n\
         rows = \"count()\"\ntotal = \"sum(i)\"\n"
    )
}

/// Marks shards as done, as if they had been run and had given nothing.
async fn mark(db: &Db, shards: std::ops::Range<u64>) {
    let ledger = Ledger::find(db).await.unwrap().unwrap();
    let done = ShardState {
        outcome: Outcome::Done.into(),
        ..ShardState::default()
    };
    for first in shards.clone().step_by(1000) {
        let mut tx = db.begin();
        for shard in first..shards.end.min(first + 1000) {
            ledger
                .put_shard_state(&mut tx, ("numbers", LAYOUT), shard, &done)
                .unwrap();
        }
        tx.commit().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_a_removed_job_is_left_but_its_results() {
    let place = JobFolder::new();
    let (text, expected) = flights(300);
    place.write("flights.csv", text);
    let db = memory_db().await;
    let job = place.job(SUM_JOB);
    submit_and_run(&db, &job, 2).await;
    let removed = remove(&db, "sums", Removal::default()).await.unwrap();
    assert_eq!((removed.number, removed.results_dropped), (1, false));
    assert_eq!(removed.store, "by_carrier");
    assert_eq!(kept(&db).await, (1, 0), "the registry alone");
    assert!(list(&db).await.unwrap().is_empty());
    assert_eq!(records(&db, "by_carrier").await, expected);
    let again = remove(&db, "sums", Removal::default()).await.unwrap_err();
    assert!(matches!(again, JobError::NotFound { .. }), "{again}");

    // With its results it can be run anew, and has another number.
    db.drop_store("by_carrier").await.unwrap();
    assert_eq!(submit_and_run(&db, &job, 2).await.status.number, 2);
    let removed = remove(&db, "sums", WITH_RESULTS).await.unwrap();
    assert!(removed.results_dropped);
    assert!(db.store("by_carrier").await.unwrap().is_none());
    assert_eq!(kept(&db).await, (1, 0));
    assert_eq!(submit_and_run(&db, &job, 2).await.end, End::Done);
    assert_eq!(records(&db, "by_carrier").await, expected);
}

/// A worker that is at a job which is removed commits nothing more, neither into its store nor into that of the job
/// that has its name now.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_running_job_is_removed_by_force_and_its_workers_drop_what_they_have() {
    for is_there_again in [false, true] {
        let place = JobFolder::new();
        let (text, expected) = flights(1000);
        place.write("flights.csv", text);
        let db = memory_db().await;
        let job = place.job(SUM_JOB);
        submit(&db, &job).await.unwrap();
        let gate = Arc::new(Gate::at(4));
        let running = tokio::spawn({
            let (db, gate) = (db.clone(), Arc::clone(&gate));
            async move { run(&db, "sums", gate.options()).await }
        });
        until("it does not come so far", async || gate.is_reached()).await;
        let refused = remove(&db, "sums", WITH_RESULTS).await.unwrap_err();
        assert_eq!(refused.exit_code(), ExitCode::Usage);
        let told = refused.to_string();
        assert!(
            told.contains("is running") && told.contains("job cancel") && told.contains("--force"),
            "{told}"
        );
        let by_force = Removal {
            force: true,
            ..WITH_RESULTS
        };
        assert!(remove(&db, "sums", by_force).await.unwrap().results_dropped);
        if is_there_again {
            submit(&db, &job).await.unwrap();
        }
        gate.open();
        let ended = running.await.unwrap().unwrap_err();
        assert!(matches!(ended, JobError::Removed { .. }), "{ended}");
        if is_there_again {
            assert!(records(&db, "by_carrier").await.is_empty());
            assert_eq!(run(&db, "sums", options(2)).await.unwrap().end, End::Done);
            assert_eq!(records(&db, "by_carrier").await, expected);
        } else {
            assert!(db.store("by_carrier").await.unwrap().is_none());
            assert_eq!(kept(&db).await, (1, 0));
        }
    }
}

/// More records than one transaction deletes: whoever removes the job is killed in the middle, and somebody goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_that_was_interrupted_goes_on() {
    const SHARDS: u64 = 9000;
    for goes_on_by_submitting in [false, true] {
        let db = memory_db().await;
        let place = JobFolder::new();
        let job = place.job(&numbers(SHARDS));
        submit(&db, &job).await.unwrap();
        mark(&db, 0..SHARDS).await;
        cancel(&db, "numbers").await.unwrap();
        let ledger = Ledger::find(&db).await.unwrap().unwrap();
        let mut tx = db.begin();
        let state = ledger.job_state(&mut tx, "numbers").await.unwrap();
        let mut state = state.unwrap();
        let begun = begin(&ledger, &mut tx, "numbers", &mut state, WITH_RESULTS).await;
        assert_eq!(begun.unwrap(), (true, false));
        tx.commit().await.unwrap();

        let half = status(&db, "numbers").await.unwrap().unwrap();
        assert_eq!(half.state, "cancelled");
        assert!(half.reason.contains("being removed"), "{}", half.reason);
        let refused = retry(&db, "numbers").await.unwrap_err().to_string();
        assert!(refused.contains("job rm"), "{refused}");
        if goes_on_by_submitting {
            // The name is as good as free, and nothing of the old job counts for the new one.
            let job = place.job(&numbers(30));
            assert_eq!(submit(&db, &job).await.unwrap().number, 2);
            let report = run(&db, "numbers", options(2)).await.unwrap();
            assert_eq!((report.end, report.status.rows_read), (End::Done, 30));
            let sums = records(&db, "numbers").await;
            assert_eq!(sums["0"], r#"{"rows":10,"total":135}"#);
        } else {
            let removed = remove(&db, "numbers", Removal::default()).await.unwrap();
            assert_eq!(removed.number, 1);
            assert_eq!(kept(&db).await, (1, 0));
            assert!(db.store("numbers").await.unwrap().is_none());
        }
    }
}

/// Results that are not the job's alone stay.
#[tokio::test]
async fn results_of_others_are_never_removed_with_those_of_a_job() {
    let place = JobFolder::new();
    place.write("flights.csv", flights(100).0);
    let db = memory_db().await;
    submit_and_run(&db, &place.job(SUM_JOB), 1).await;
    let second = SUM_JOB
        .replace("\"sums\"", "\"second\"")
        .replace("key = [", "into_existing = true\nkey = [");
    submit_and_run(&db, &place.job(&second), 1).await;
    let both = records(&db, "by_carrier").await;
    for (name, other) in [("sums", "second"), ("second", "sums")] {
        let refused = remove(&db, name, WITH_RESULTS).await.unwrap_err();
        assert_eq!(refused.exit_code(), ExitCode::Usage);
        let told = refused.to_string();
        assert!(told.contains(&format!("those of job `{other}`")), "{told}");
    }
    // Those of a job that was removed without them are still there.
    remove(&db, "second", Removal::default()).await.unwrap();
    let told = remove(&db, "sums", WITH_RESULTS).await.unwrap_err();
    let told = told.to_string();
    assert!(told.contains("records that are not of this job"), "{told}");
    assert_eq!(records(&db, "by_carrier").await, both);
    remove(&db, "sums", Removal::default()).await.unwrap();
    assert_eq!(records(&db, "by_carrier").await, both);
}

/// A store that was dropped and created anew is not the job's.
#[tokio::test]
async fn another_store_of_the_same_name_stays() {
    let place = JobFolder::new();
    place.write("flights.csv", flights(100).0);
    let db = memory_db().await;
    submit_and_run(&db, &place.job(SUM_JOB), 1).await;
    db.drop_store("by_carrier").await.unwrap();
    let other = db.create_store("by_carrier", StoreSchema::default()).await;
    let mut tx = db.begin();
    let key = Key::parse_json("1").unwrap();
    let other = other.unwrap();
    tx.put(&other, &key, "1").unwrap();
    tx.commit().await.unwrap();
    let removed = remove(&db, "sums", WITH_RESULTS).await.unwrap();
    assert!(!removed.results_dropped);
    assert_eq!(db.store_stats(&other).await.unwrap().records, 1);
    let found = db.store("by_carrier").await.unwrap().unwrap();
    assert_eq!(found.id(), other.id());
}
