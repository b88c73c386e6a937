//! Processes that die at a job, as the next one finds their sessions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use eciton_engine::Db;
use eciton_proto::v1::{JobPhase, JobState, Session};

use super::support::*;
use crate::run::records::ledger::Ledger;
use crate::run::settle::session::leave_behind;
use crate::run::{End, Event, JobReport, Observer, RunOptions, retry, run, status, submit};

const SHARDS: u64 = 20;

async fn submitted(db: &Db, more: &str) -> String {
    let text = format!(
        r#"
name = "range"
[source]
format = "range"
from = 0
to = {SHARDS}
shard_len = 1
[merge]
store = "all"
key = ["i"]
[merge.values]
rows = "count()"
[run]
{more}
"#
    );
    submit(db, &JobFolder::new().job(&text)).await.unwrap().name
}

async fn ledger(db: &Db) -> Ledger {
    Ledger::find(db).await.unwrap().unwrap()
}

async fn state(db: &Db, name: &str) -> JobState {
    ledger(db).await.state_now(name).await.unwrap().unwrap()
}

/// A process died that was about to compute these shards.
async fn died(db: &Db, name: &str, shards: &[u64], alone: bool) {
    let session = Session {
        number: state(db, name).await.number,
        shards: shards.to_vec(),
        alone,
        pid: 1,
        ..Session::default()
    };
    leave_behind(&ledger(db).await, name, &session)
        .await
        .unwrap();
}

async fn ran(db: &Db, name: &str) -> JobReport {
    run(db, name, options(2)).await.unwrap()
}

/// Nothing but their jobs' records is left of those that ended well.
async fn nothing_is_left_behind(db: &Db, name: &str) {
    let ledger = ledger(db).await;
    assert_eq!(ledger.sessions(name).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_job_at_which_nobody_died_nothing_is_kept() {
    let db = memory_db().await;
    let name = submitted(&db, "").await;
    assert_eq!(ran(&db, &name).await.end, End::Done);
    assert_eq!(state(&db, &name).await.crashes, 0);
    nothing_is_left_behind(&db, &name).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_that_were_there_when_a_process_died_are_done_alone_and_nothing_is_counted() {
    let db = memory_db().await;
    let name = submitted(&db, "max_attempts = 1").await;
    died(&db, &name, &[], false).await;
    died(&db, &name, &[3, 4, 99], false).await;
    let report = ran(&db, &name).await;
    assert_eq!((report.end, report.status.shards.done), (End::Done, SHARDS));
    assert_eq!(report.status.attempts, SHARDS);
    assert_eq!(state(&db, &name).await.crashes, 2);
    assert_eq!(records(&db, "all").await.len(), 20);
    nothing_is_left_behind(&db, &name).await;
}

/// It killed every process that came to it, again and again, and no attempt was ever counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_kills_its_process_again_and_again_fails_and_no_other_does() {
    let db = memory_db().await;
    let name = submitted(&db, "max_attempts = 3").await;
    died(&db, &name, &[], false).await;
    died(&db, &name, &[7, 8], false).await;
    died(&db, &name, &[7], true).await;
    died(&db, &name, &[7], true).await;
    let report = ran(&db, &name).await;
    let shards = report.status.shards;
    assert_eq!(
        (report.end, shards.done, shards.failed),
        (End::Failed, SHARDS - 1, 1)
    );
    assert_eq!(report.status.attempts, SHARDS - 1 + 3);
    let failure = &report.status.failures[0];
    assert_eq!((failure.shard, failure.attempts), (7, 3));
    assert!(
        failure.error.contains("the process that computed it died"),
        "{}",
        failure.error
    );
    assert_eq!(records(&db, "all").await.len(), 19);
    nothing_is_left_behind(&db, &name).await;
    // It gets as many attempts again, and is computed alone at once.
    retry(&db, &name).await.unwrap();
    died(&db, &name, &[7], true).await;
    let report = ran(&db, &name).await;
    assert_eq!((report.end, report.status.shards.done), (End::Done, SHARDS));
    assert_eq!(report.status.attempts, SHARDS - 1 + 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_had_ended_when_its_process_died_and_other_jobs_shards_are_not_counted() {
    let db = memory_db().await;
    let name = submitted(&db, "max_attempts = 1").await;
    let stopped = run(&db, &name, stop_after(5, 1)).await.unwrap();
    let done = stopped.status.shards.done;
    assert!((5..SHARDS).contains(&done), "{done}");
    // Alone they are computed in their order.
    died(&db, &name, &[0], true).await;
    let other = Session {
        number: 77,
        shards: vec![19],
        alone: true,
        ..Session::default()
    };
    leave_behind(&ledger(&db).await, &name, &other)
        .await
        .unwrap();
    let report = ran(&db, &name).await;
    assert_eq!((report.end, report.status.attempts), (End::Done, SHARDS));
    let status = status(&db, &name).await.unwrap().unwrap();
    assert_eq!(status.shards.failed, 0);
}

/// Retries the job in the moment between a run's look at its shards and its end.
struct RetriesOnce {
    db: Db,
    runtime: tokio::runtime::Handle,
    left: AtomicU32,
}

impl Observer for RetriesOnce {
    fn observe(&self, event: &Event<'_>) {
        if matches!(event, Event::Started { .. }) && self.left.swap(0, Ordering::SeqCst) == 1 {
            let (db, runtime) = (self.db.clone(), self.runtime.clone());
            let retried = std::thread::spawn(move || runtime.block_on(retry(&db, "sums")));
            retried.join().unwrap().unwrap();
        }
    }
}

/// It called the job damaged, and left it to others for a while.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_run_that_finds_all_ended_while_they_are_retried_begins_anew() {
    let place = JobFolder::new();
    let (text, _) = flights(100);
    place.write("a.csv", text + "AA,late\n");
    let db = memory_db().await;
    let job = place.job(&SUM_JOB.replace(
        "[transform]",
        "[source.schema]\ndelay = \"int64\"\n[transform]",
    ));
    let report = submit_and_run(&db, &job, 1).await;
    assert_eq!(report.end, End::Failed);
    // All have ended, and nobody has said so yet.
    let ledger = ledger(&db).await;
    let mut tx = db.begin();
    let mut state = ledger.job_state(&mut tx, "sums").await.unwrap().unwrap();
    state.set_phase(JobPhase::Running);
    ledger.put_job_state(&mut tx, "sums", &state).unwrap();
    tx.commit().await.unwrap();
    let observer = Arc::new(RetriesOnce {
        db: db.clone(),
        runtime: tokio::runtime::Handle::current(),
        left: AtomicU32::new(1),
    });
    let again = RunOptions {
        observer: observer.clone(),
        ..options(1)
    };
    let report = run(&db, "sums", again).await.unwrap();
    assert_eq!(observer.left.load(Ordering::SeqCst), 0);
    assert_eq!(report.end, End::Failed);
    assert_eq!((report.status.retries, report.status.shards.failed), (1, 1));
}
