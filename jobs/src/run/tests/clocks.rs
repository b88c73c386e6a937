//! Machines whose clocks differ by days.

use std::time::Duration;

use eciton_engine::Db;
use eciton_proto::v1::{JobAge, JobState};

use super::support::*;
use crate::run::records::clock::now_ms;
use crate::run::records::ledger::Ledger;
use crate::run::{CancellationToken, End, ServeOptions, cancel, retry, run, serve, status, submit};

const DAY_MS: i64 = 86_400_000;

const JOB: &str = r#"
name = "range"
[source]
format = "range"
from = 0
to = 20
shard_len = 1
[merge]
store = "all"
key = ["i"]
[merge.values]
rows = "count()"
[run]
deadline = "1h"
"#;

/// Changes the job's record, as another machine would have written it.
async fn as_written_elsewhere(db: &Db, change: impl Fn(&mut JobState)) {
    let ledger = Ledger::find(db).await.unwrap().unwrap();
    let mut tx = db.begin();
    let mut state = ledger.job_state(&mut tx, "range").await.unwrap().unwrap();
    change(&mut state);
    ledger.put_job_state(&mut tx, "range", &state).unwrap();
    tx.commit().await.unwrap();
}

/// One machine whose clock was ahead cancelled everybody's jobs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_another_clock_submitted_days_ago_or_ahead_is_within_its_deadline() {
    for days in [-30, -1, 1, 30] {
        let db = memory_db().await;
        submit(&db, &JobFolder::new().job(JOB)).await.unwrap();
        let submitted_ms = now_ms() + days * DAY_MS;
        as_written_elsewhere(&db, |state| state.submitted_ms = submitted_ms).await;
        let report = run(&db, "range", options(1)).await.unwrap();
        assert_eq!(report.end, End::Done, "{days} days");
        let status = report.status;
        let (started, finished) = (status.started_at.unwrap(), status.finished_at.unwrap());
        assert!(
            status.submitted_at <= started && started <= finished,
            "{status:?}"
        );
        assert!(status.wall_seconds < 3600.0, "{days} days: {status:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_another_clock_began_took_as_long_as_was_measured() {
    for days in [-30, 30] {
        let db = memory_db().await;
        submit(&db, &JobFolder::new().job(JOB)).await.unwrap();
        let stopped = run(&db, "range", stop_after(5, 1)).await.unwrap();
        assert_eq!(stopped.end, End::Stopped);
        as_written_elsewhere(&db, |state| {
            state.submitted_ms += days * DAY_MS;
            state.started_ms += days * DAY_MS;
            state.started_clock = 7 << 32;
        })
        .await;
        let report = run(&db, "range", options(1)).await.unwrap();
        assert_eq!(report.end, End::Done);
        assert!(report.status.wall_seconds < 3600.0, "{:?}", report.status);
    }
}

/// Time counts for as long as somebody has the job open, whoever that was, and anew after a retry.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_have_recorded_counts_against_a_deadline() {
    let db = memory_db().await;
    let text = JOB
        .replace("shard_len = 1", "shard_len = 1_000_000_000")
        .replace("to = 20", "to = 40_000_000_000");
    let name = submit(&db, &JobFolder::new().job(&text))
        .await
        .unwrap()
        .name;
    let ledger = Ledger::find(&db).await.unwrap().unwrap();
    let state = ledger.state_now(&name).await.unwrap().unwrap();
    let mut tx = db.begin();
    let age = JobAge {
        number: state.number,
        retries: 0,
        open_ms: 3_599_900,
        run_ms: 5,
    };
    ledger.put_age(&mut tx, &name, &age).unwrap();
    tx.commit().await.unwrap();
    let report = run(&db, &name, options(1)).await.unwrap();
    assert_eq!(report.end, End::Cancelled);
    assert!(
        report.status.reason.contains("deadline of 3600000 ms"),
        "{:?}",
        report.status
    );
    retry(&db, &name).await.unwrap();
    let now = ledger.state_now(&name).await.unwrap().unwrap();
    assert_eq!(ledger.age(&name, &now).await.unwrap().open_ms, 0);
    cancel(&db, &name).await.unwrap();
}

/// A job that nobody here has a place for comes to its deadline all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_waits_comes_to_its_deadline() {
    let db = memory_db().await;
    let place = JobFolder::new();
    let long = JOB
        .replace("to = 20", "to = 40_000_000_000")
        .replace("shard_len = 1", "shard_len = 1_000_000_000")
        .replace("[merge]", "[merge]\ninto_existing = true");
    for n in 0..crate::run::JOBS_AT_ONCE_MAX {
        let urgent = long
            .replace("name = \"range\"", &format!("name = \"urgent{n}\""))
            .replace("[run]", "[run]\npriority = 9");
        submit(&db, &place.job(&urgent)).await.unwrap();
    }
    let waits = long.replace("\"1h\"", "\"300ms\"");
    submit(&db, &place.job(&waits)).await.unwrap();
    let stop = CancellationToken::new();
    let options = ServeOptions::new(1, stop.clone());
    let serving = tokio::spawn({
        let db = db.clone();
        async move { serve(&db, &options).await }
    });
    until("the job that waits is not cancelled", async || {
        tokio::time::sleep(Duration::from_millis(50)).await;
        status(&db, "range").await.unwrap().unwrap().state == "cancelled"
    })
    .await;
    for n in 0..crate::run::JOBS_AT_ONCE_MAX {
        cancel(&db, &format!("urgent{n}")).await.unwrap();
    }
    stop.cancel();
    serving.await.unwrap().unwrap();
}
