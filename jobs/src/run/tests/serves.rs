//! Processes that work on whatever jobs there are.

use super::support::*;
use crate::run::records::ledger::Ledger;
use crate::run::{CancellationToken, JobError, ServeOptions, serve, status, submit};

/// It ended every worker of the database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_record_is_damaged_stops_no_other() {
    let place = JobFolder::new();
    let (text, expected) = flights(500);
    place.write("flights.csv", text);
    let db = memory_db().await;
    let other = SUM_JOB
        .replace("\"sums\"", "\"other\"")
        .replace("\"by_carrier\"", "\"other\"");
    for job in [SUM_JOB, &other] {
        submit(&db, &place.job(job)).await.unwrap();
    }
    let ledger = Ledger::find(&db).await.unwrap().unwrap();
    let mut tx = db.begin();
    let mut state = ledger.job_state(&mut tx, "other").await.unwrap().unwrap();
    state.layout = u32::MAX;
    ledger.put_job_state(&mut tx, "other", &state).unwrap();
    tx.commit().await.unwrap();
    let stop = CancellationToken::new();
    let options = ServeOptions::new(1, stop.clone());
    let serving = tokio::spawn({
        let db = db.clone();
        async move { serve(&db, &options).await }
    });
    until("the other job does not end", async || {
        serving.is_finished() || status(&db, "sums").await.unwrap().unwrap().state == "done"
    })
    .await;
    stop.cancel();
    serving.await.unwrap().unwrap();
    assert_eq!(records(&db, "by_carrier").await, expected);
    let refused = status(&db, "other").await.unwrap_err();
    assert!(matches!(refused, JobError::Damaged { .. }), "{refused}");
}
