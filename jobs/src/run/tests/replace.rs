//! Recording a job in the place of the one of its name.

use std::sync::Arc;

use eciton_engine::Db;

use super::support::*;
use crate::run::api::remove::begin;
use crate::run::records::ledger::Ledger;
use crate::run::{End, ExitCode, JobError, Removal, list, replace, run, status, submit};
use crate::spec::JobFile;

/// Another specification under the same name.
fn other() -> String {
    SUM_JOB.replace("sum(delay)", "min(delay)")
}

/// What a job gives in a database of its own.
async fn alone(job: &JobFile) -> std::collections::BTreeMap<String, String> {
    let db = memory_db().await;
    assert_eq!(submit_and_run(&db, job, 2).await.end, End::Done);
    records(&db, "by_carrier").await
}

async fn replaced(db: &Db, job: &JobFile) -> Option<u64> {
    let replaced = replace(db, job).await.unwrap();
    let end = run(db, &replaced.submitted.name, options(2)).await.unwrap();
    assert_eq!(end.end, End::Done);
    replaced.replaced
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_specification_takes_the_place_of_the_one_that_was_there() {
    let place = JobFolder::new();
    place.write("flights.csv", flights(300).0);
    let db = memory_db().await;
    let (old, new) = (place.job(SUM_JOB), place.job(&other()));
    // Where there is none of its name it is recorded.
    assert_eq!(replaced(&db, &old).await, None);
    let refused = submit(&db, &new).await.unwrap_err().to_string();
    assert!(refused.contains("`--replace`"), "{refused}");
    assert_eq!(replaced(&db, &new).await, Some(1));
    assert_eq!(records(&db, "by_carrier").await, alone(&new).await);
    // The same again goes on, and so changes nothing here.
    let position = db.info().position;
    assert_eq!(replaced(&db, &new).await, None);
    assert_eq!(db.info().position, position);
    // Another store.
    let elsewhere = place.job(&other().replace("\"by_carrier\"", "\"elsewhere\""));
    assert_eq!(replaced(&db, &elsewhere).await, Some(2));
    assert!(db.store("by_carrier").await.unwrap().is_none());
    assert_eq!(records(&db, "elsewhere").await, alone(&new).await);
    assert_eq!(list(&db).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_failed_and_one_whose_files_changed_are_run_anew() {
    let place = JobFolder::new();
    place.write("flights.csv", flights(100).0);
    let typed = SUM_JOB.replace(
        "[transform]",
        "[source.schema]\ndelay = \"int64\"\n[transform]",
    );
    let job = place.job(&typed);
    let db = memory_db().await;
    place.write("late.csv", "carrier,delay\nAA,x\n");
    assert_eq!(submit_and_run(&db, &job, 1).await.end, End::Failed);
    place.write("late.csv", "carrier,delay\nAA,7\n");
    assert_eq!(replaced(&db, &job).await, Some(1));
    assert_eq!(records(&db, "by_carrier").await, alone(&job).await);
    // One more file, and one more row.
    place.write("more.csv", "carrier,delay\nZZ,1\n");
    assert_eq!(replaced(&db, &job).await, Some(2));
    place.write("more.csv", "carrier,delay\nZZ,1\nZZ,2\n");
    assert_eq!(replaced(&db, &job).await, Some(3));
    let sums = records(&db, "by_carrier").await;
    assert_eq!(sums["\"ZZ\""], r#"{"rows":2,"total":3,"top":2}"#);
    assert_eq!(sums, alone(&job).await);
    // The store was dropped: it has failed.
    db.drop_store("by_carrier").await.unwrap();
    assert_eq!(run(&db, "sums", options(1)).await.unwrap().end, End::Failed);
    assert_eq!(replaced(&db, &job).await, Some(4));
    assert_eq!(records(&db, "by_carrier").await, sums);
}

/// Whoever is at the old job commits nothing any more; the results are those of the new one alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn workers_at_the_old_job_drop_what_they_have() {
    let place = JobFolder::new();
    place.write("flights.csv", flights(1000).0);
    let db = memory_db().await;
    let new = place.job(&SUM_JOB.replace(
        "SELECT carrier, delay",
        "SELECT carrier, delay + 1 AS delay",
    ));
    submit(&db, &place.job(SUM_JOB)).await.unwrap();
    let gate = Arc::new(Gate::at(5));
    let running = tokio::spawn({
        let (db, gate) = (db.clone(), Arc::clone(&gate));
        async move { run(&db, "sums", gate.options()).await }
    });
    until("it does not come so far", async || gate.is_reached()).await;
    assert_eq!(replace(&db, &new).await.unwrap().replaced, Some(1));
    assert!(records(&db, "by_carrier").await.is_empty());
    gate.open();
    let ended = running.await.unwrap().unwrap_err();
    assert!(matches!(ended, JobError::Removed { .. }), "{ended}");
    assert_eq!(run(&db, "sums", options(2)).await.unwrap().end, End::Done);
    assert_eq!(records(&db, "by_carrier").await, alone(&new).await);
}

/// Killed after its first transaction, which is the only one that others can see half of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replacement_that_was_interrupted_goes_on() {
    let place = JobFolder::new();
    place.write("flights.csv", flights(1000).0);
    let db = memory_db().await;
    submit(&db, &place.job(SUM_JOB)).await.unwrap();
    let stopped = run(&db, "sums", stop_after(3, 1)).await.unwrap();
    assert_eq!(stopped.end, End::Stopped);
    let ledger = Ledger::find(&db).await.unwrap().unwrap();
    let mut tx = db.begin();
    let mut state = ledger.job_state(&mut tx, "sums").await.unwrap().unwrap();
    let all = Removal {
        with_results: true,
        force: true,
    };
    let begun = begin(&ledger, &mut tx, "sums", &mut state, all).await;
    assert_eq!(begun.unwrap(), (true, false));
    tx.commit().await.unwrap();
    assert_eq!(
        status(&db, "sums").await.unwrap().unwrap().state,
        "cancelled"
    );
    assert!(db.store("by_carrier").await.unwrap().is_none());
    let new = place.job(&other());
    assert_eq!(replaced(&db, &new).await, Some(1));
    assert_eq!(records(&db, "by_carrier").await, alone(&new).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_replaced_stays_as_it_is() {
    let place = JobFolder::new();
    place.write("flights.csv", flights(100).0);
    let db = memory_db().await;
    submit_and_run(&db, &place.job(SUM_JOB), 1).await;
    let bad = place.job(&SUM_JOB.replace("SELECT carrier, delay", "SELECT carier, delay"));
    let refused = replace(&db, &bad).await.unwrap_err();
    assert!(matches!(refused, JobError::JobFile(_)), "{refused}");
    let before = records(&db, "by_carrier").await;
    // The new one would write to a store of others.
    let third = SUM_JOB
        .replace("\"sums\"", "\"third\"")
        .replace("\"by_carrier\"", "\"third\"");
    submit(&db, &place.job(&third)).await.unwrap();
    let taken = place.job(&SUM_JOB.replace("\"by_carrier\"", "\"third\""));
    let refused = replace(&db, &taken).await.unwrap_err().to_string();
    assert!(refused.contains("job `third`"), "{refused}");
    // Results of others lie beside those of the old one.
    let second = SUM_JOB
        .replace("\"sums\"", "\"second\"")
        .replace("key = [", "into_existing = true\nkey = [");
    submit(&db, &place.job(&second)).await.unwrap();
    let refused = replace(&db, &place.job(&other())).await.unwrap_err();
    assert_eq!(refused.exit_code(), ExitCode::Usage);
    assert!(refused.to_string().contains("job `second`"), "{refused}");
    assert_eq!(records(&db, "by_carrier").await, before);
    let status = status(&db, "sums").await.unwrap().unwrap();
    assert_eq!((status.number, status.state), (1, "done"));
}
