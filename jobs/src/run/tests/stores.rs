//! Whose results a store holds, and what becomes of a job whose store is dropped.

use std::sync::Arc;

use eciton_engine::Environment;
use eciton_engine::coord::{Board, Bus};
use eciton_engine::storage::MemoryStorage;
use eciton_proto::v1::{PullRequest, RowsFormat};

use super::shared::process;
use super::support::*;
use crate::run::{
    CancellationToken, End, ExitCode, JobError, Leases, Removal, Silent, cancel, drop_store, list,
    preview, remove, retry, run, status, submit,
};
use crate::source::Reach;

/// The job of [`SUM_JOB`] by another name, with these lines in `[merge]`.
fn named(name: &str, merge: &str) -> String {
    SUM_JOB
        .replace("\"sums\"", &format!("\"{name}\""))
        .replace("key = [", &format!("{merge}\nkey = ["))
}

fn doubled(once: &str) -> Vec<i64> {
    once.split(|c: char| !c.is_ascii_digit() && c != '-')
        .filter_map(|number| number.parse().ok())
        .collect()
}

#[tokio::test]
async fn results_of_two_jobs_are_added_only_where_that_is_said() {
    let place = JobFolder::new();
    let (text, expected) = flights(300);
    place.write("flights.csv", text);
    let db = memory_db().await;
    let first = place.job(SUM_JOB);
    let second = place.job(&named("second", ""));
    submit(&db, &first).await.unwrap();
    // In whatever state the first one is.
    for state in ["pending", "cancelled", "done"] {
        if state == "cancelled" {
            cancel(&db, "sums").await.unwrap();
        }
        if state == "done" {
            retry(&db, "sums").await.unwrap();
            run(&db, "sums", options(2)).await.unwrap();
        }
        assert_eq!(status(&db, "sums").await.unwrap().unwrap().state, state);
        for refused in [
            submit(&db, &second).await,
            preview(&db, &second, &Reach::anywhere()).await,
        ] {
            let refused = refused.unwrap_err();
            assert_eq!(refused.exit_code(), ExitCode::Usage);
            let told = refused.to_string();
            for words in [
                "job.toml:10: key `merge.store`: store `by_carrier` takes the results of job `sums`",
                "another store",
                "`into_existing = true` in `[merge]`",
                "eciton job rm sums --with-results",
            ] {
                assert!(told.contains(words), "{words}: {told}");
            }
        }
    }
    assert_eq!(
        list(&db).await.unwrap().len(),
        1,
        "a refused job is recorded"
    );
    assert_eq!(records(&db, "by_carrier").await, expected);

    let added = place.job(&named("second", "into_existing = true"));
    assert_eq!(submit_and_run(&db, &added, 2).await.end, End::Done);
    let both = records(&db, "by_carrier").await;
    for (carrier, once) in &expected {
        let (once, twice) = (doubled(once), doubled(&both[carrier]));
        let sums = [2 * once[0], 2 * once[1], once[2]];
        assert_eq!(twice, sums, "{carrier}");
    }
}

#[tokio::test]
async fn a_store_that_holds_what_no_job_wrote_takes_results_only_where_that_is_said() {
    let place = JobFolder::new();
    place.write("rows.csv", "id,v\n1,a\n");
    let db = memory_db().await;
    let job = place.job(UPSERT_JOB);
    submit_and_run(&db, &job, 1).await;
    remove(&db, "last", Removal::default()).await.unwrap();
    let told = submit(&db, &job).await.unwrap_err().to_string();
    for words in [
        "key `upsert.store`: store `rows` holds records that are of no job",
        "`into_existing = true` in `[upsert]`",
        "eciton store drop rows",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    // Empty it is free, whoever created it.
    assert!(drop_store(&db, "rows", false).await.unwrap());
    submit(&db, &job).await.unwrap();
    remove(&db, "last", Removal::default()).await.unwrap();
    assert!(db.store("rows").await.unwrap().is_some());
    assert_eq!(submit_and_run(&db, &job, 1).await.end, End::Done);
    assert_eq!(records(&db, "rows").await.len(), 1);
}

/// Whoever comes second finds the first, in this process and in another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_jobs_that_are_submitted_at_the_same_time_one_gets_the_store() {
    let place = JobFolder::new();
    place.write("flights.csv", flights(10).0);
    let bus: Arc<dyn Bus> = Arc::new(Board::new(Environment::default().clock));
    for round in 0..12 {
        let storage = MemoryStorage::new();
        let mut submitting = Vec::new();
        for number in 0..3 {
            let db = process(&storage, &bus).await;
            let job = place.job(&named(&format!("job{number}"), ""));
            submitting.push(tokio::spawn(async move { submit(&db, &job).await }));
        }
        let mut recorded = 0;
        for submitted in submitting {
            match submitted.await.unwrap() {
                Ok(_) => recorded += 1,
                Err(refused) => {
                    let told = refused.to_string();
                    assert!(told.contains("takes the results of job"), "{told}");
                }
            }
        }
        assert_eq!(recorded, 1, "round {round}");
    }
}

/// Dropped between two runs, and another one of its name created or not: the job fails and says why, and nothing is
/// committed anywhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_store_was_dropped_fails() {
    for is_there_again in [false, true] {
        let place = JobFolder::new();
        place.write("flights.csv", flights(1000).0);
        let db = memory_db().await;
        submit(&db, &place.job(SUM_JOB)).await.unwrap();
        let report = run(&db, "sums", stop_after(3, 1)).await.unwrap();
        assert_eq!(report.end, End::Stopped);
        let schema = db.store("by_carrier").await.unwrap().unwrap();
        let schema = schema.schema().clone();
        db.drop_store("by_carrier").await.unwrap();
        if is_there_again {
            db.create_store("by_carrier", schema).await.unwrap();
        }
        let report = run(&db, "sums", options(2)).await.unwrap();
        assert_eq!(report.end, End::Failed);
        assert_eq!(report.end.exit_code(), 1);
        let status = report.status;
        assert_eq!(status.state, "failed");
        assert!(
            status.reason.contains("store `by_carrier` was dropped"),
            "{}",
            status.reason
        );
        assert!(records(&db, "by_carrier").await.is_empty());
        assert_eq!(
            db.store("by_carrier").await.unwrap().is_some(),
            is_there_again
        );
        // It stays so, and a retry says so.
        let again = run(&db, "sums", options(1)).await.unwrap();
        assert_eq!((again.end, again.had_ended), (End::Failed, true));
        let refused = retry(&db, "sums").await.unwrap_err();
        assert!(matches!(refused, JobError::StoreGone { .. }), "{refused}");
        assert!(refused.to_string().contains("--replace"), "{refused}");
    }
}

/// While shards are computed: their commits find that it is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_committed_into_a_store_that_is_dropped_meanwhile() {
    for is_there_again in [false, true] {
        let place = JobFolder::new();
        place.write("flights.csv", flights(1000).0);
        let db = memory_db().await;
        submit(&db, &place.job(SUM_JOB)).await.unwrap();
        let gate = Arc::new(Gate::at(4));
        let running = tokio::spawn({
            let (db, gate) = (db.clone(), Arc::clone(&gate));
            async move { run(&db, "sums", gate.options()).await }
        });
        until("it does not come so far", async || gate.is_reached()).await;
        let schema = db.store("by_carrier").await.unwrap().unwrap();
        let schema = schema.schema().clone();
        db.drop_store("by_carrier").await.unwrap();
        if is_there_again {
            db.create_store("by_carrier", schema).await.unwrap();
        }
        gate.open();
        let report = running.await.unwrap().unwrap();
        assert_eq!(report.end, End::Failed, "{:?}", report.status);
        let reason = report.status.reason;
        assert!(reason.contains("was dropped"), "{reason}");
        assert!(records(&db, "by_carrier").await.is_empty());
    }
}

/// A job that is done has results; where they are gone it is not done any more.
#[tokio::test]
async fn a_finished_job_whose_store_was_dropped_has_failed() {
    let place = JobFolder::new();
    place.write("flights.csv", flights(100).0);
    let db = memory_db().await;
    let job = place.job(SUM_JOB);
    submit_and_run(&db, &job, 1).await;
    db.drop_store("by_carrier").await.unwrap();
    let report = submit_and_run(&db, &job, 1).await;
    assert_eq!((report.end, report.had_ended), (End::Failed, false));
    assert!(report.status.reason.contains("was dropped"));
    assert_eq!(status(&db, "sums").await.unwrap().unwrap().state, "failed");
}

#[tokio::test]
async fn a_store_with_results_is_dropped_by_force_only_and_its_jobs_say_so() {
    let place = JobFolder::new();
    place.write("flights.csv", flights(100).0);
    let db = memory_db().await;
    submit_and_run(&db, &place.job(SUM_JOB), 1).await;
    submit(&db, &place.job(&named("open", "into_existing = true")))
        .await
        .unwrap();
    let refused = drop_store(&db, "by_carrier", false).await.unwrap_err();
    assert_eq!(refused.exit_code(), ExitCode::Usage);
    let told = refused.to_string();
    for words in ["jobs `open`, `sums`", "--with-results", "`--force`"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert!(!records(&db, "by_carrier").await.is_empty());
    assert!(drop_store(&db, "by_carrier", true).await.unwrap());
    for job in list(&db).await.unwrap() {
        assert_eq!(job.state, "failed", "{job:?}");
        assert!(job.reason.contains("dropped by hand"), "{job:?}");
        assert!(job.finished_at.is_some(), "{job:?}");
    }
    assert!(!drop_store(&db, "by_carrier", true).await.unwrap());
    // The name is free: nobody's results are in a store of it.
    let other = place.job(&named("third", ""));
    assert_eq!(submit_and_run(&db, &other, 1).await.end, End::Done);
}

/// Programs that pull get no more tasks, and what they send counts nowhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_programs_compute_fails_with_its_store() {
    let place = JobFolder::new();
    place.write("flights.csv", flights(500).0);
    let db = memory_db().await;
    submit(&db, &place.job(SUM_JOB)).await.unwrap();
    let observer = Arc::new(|_: &str| Arc::new(Silent) as Arc<dyn crate::run::Observer>);
    let desk = crate::run::pull::PullDesk::new(
        &db,
        Leases::new(),
        observer,
        Reach::anywhere(),
        CancellationToken::new(),
    );
    let request = PullRequest {
        tasks_max: 2,
        ..PullRequest::default()
    };
    let answer = desk.pull(&request).await.unwrap();
    assert_eq!(answer.tasks.len(), 2);
    db.drop_store("by_carrier").await.unwrap();
    let rows = b"{\"carrier\":\"AA\",\"delay\":1}\n";
    let sent = super::pulls::send(
        &desk,
        &answer.tasks[0].token,
        RowsFormat::JsonLines,
        rows,
        1,
    );
    let refused = sent.await.unwrap_err();
    assert!(
        matches!(refused, crate::run::pull::PullError::Stopped(_)),
        "{refused}"
    );
    assert!(desk.pull(&request).await.unwrap().tasks.is_empty());
    let status = status(&db, "sums").await.unwrap().unwrap();
    assert_eq!((status.state, status.shards.done), ("failed", 0));
    assert!(status.reason.contains("was dropped"), "{}", status.reason);
}
