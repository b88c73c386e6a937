//! Jobs that come after others.

use std::sync::Arc;
use std::time::Duration;

use eciton_engine::Db;
use eciton_proto::v1::PullRequest;

use super::support::*;
use crate::run::pull::PullDesk;
use crate::run::{
    CancellationToken, End, JobError, Leases, Removal, ServeOptions, Silent, cancel, graph,
    open_inputs, remove, replace, retry, run, serve, status, submit,
};
use crate::source::Reach;
use crate::spec::JobFile;

/// A job of a few shards; `sql` fails where it divides by nought.
fn job_of(name: &str, sql: &str, after: &[&str]) -> JobFile {
    let text = format!(
        r#"
name = "{name}"
[source]
format = "range"
from = 0
to = 8
shard_len = 2
[transform]
sql = "{sql}"
[merge]
store = "{name}"
key = ["k"]
[merge.values]
rows = "count()"
[run]
after = {after:?}
"#
    );
    JobFolder::new().job(&text)
}

fn job(name: &str, after: &[&str]) -> JobFile {
    job_of(name, "SELECT i % 2 AS k FROM source", after)
}

async fn state(db: &Db, name: &str) -> &'static str {
    status(db, name).await.unwrap().unwrap().state
}

async fn note(db: &Db, name: &str) -> String {
    status(db, name).await.unwrap().unwrap().note
}

/// Serves until these jobs have ended, and gives their states.
async fn served(db: &Db, jobs: &[&str]) -> Vec<&'static str> {
    let stop = CancellationToken::new();
    let options = ServeOptions::new(2, stop.clone());
    let serving = tokio::spawn({
        let db = db.clone();
        async move { serve(&db, &options).await }
    });
    until("the jobs do not end", async || {
        for job in jobs {
            if matches!(state(db, job).await, "pending" | "running") {
                return false;
            }
        }
        true
    })
    .await;
    stop.cancel();
    serving.await.unwrap().unwrap();
    let mut states = Vec::new();
    for job in jobs {
        states.push(state(db, job).await);
    }
    states
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_waits_for_one_that_is_not_there_yet_and_says_so() {
    let db = memory_db().await;
    submit(&db, &job("b", &["a"])).await.unwrap();
    assert_eq!(
        note(&db, "b").await,
        "waits for job `a` (not submitted yet)"
    );
    let refused = run(&db, "b", options(1)).await.unwrap_err();
    assert!(matches!(&refused, JobError::Waits { .. }), "{refused}");
    assert_eq!(refused.exit_code().number(), 2);
    submit(&db, &job("a", &[])).await.unwrap();
    assert_eq!(note(&db, "b").await, "waits for job `a` (pending)");
    assert_eq!(open_inputs(&db, "b").await.unwrap(), ["a"]);
    assert_eq!(open_inputs(&db, "a").await.unwrap(), [""; 0]);
    assert_eq!(served(&db, &["a", "b"]).await, ["done", "done"]);
    let (a, b) = (
        status(&db, "a").await.unwrap(),
        status(&db, "b").await.unwrap(),
    );
    let (a, b) = (a.unwrap(), b.unwrap());
    assert!(a.finished_at <= b.started_at, "{a:?} {b:?}");
    assert_eq!(b.note, "");
    // What becomes of an input afterwards is nothing to a job that has ended.
    remove(&db, "a", Removal::default()).await.unwrap();
    assert_eq!(run(&db, "b", options(1)).await.unwrap().end, End::Done);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_fails_with_its_input_and_all_that_come_after_it() {
    let db = memory_db().await;
    let bad = job_of("a", "SELECT 1 / (i - 5) AS k FROM source", &[]);
    for job in [bad, job("b", &["a"]), job("c", &["b"]), job("d", &[])] {
        submit(&db, &job).await.unwrap();
    }
    let states = served(&db, &["a", "b", "c", "d"]).await;
    assert_eq!(states, ["failed", "failed", "failed", "done"]);
    let b = status(&db, "b").await.unwrap().unwrap();
    assert_eq!(b.reason, "its input, job `a`, has failed");
    assert_eq!((b.attempts, b.started_at), (0, None));
    let c = status(&db, "c").await.unwrap().unwrap();
    assert_eq!(c.reason, "its input, job `b`, has failed");
    // Once the input was run anew, the jobs behind it are retried.
    replace(&db, &job("a", &[])).await.unwrap();
    assert_eq!(retry(&db, "b").await.unwrap().status.state, "pending");
    retry(&db, "c").await.unwrap();
    assert_eq!(served(&db, &["a", "b", "c"]).await, ["done"; 3]);
    assert_eq!(records(&db, "c").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_fails_once_its_input_is_cancelled_or_removed() {
    let db = memory_db().await;
    for job in [
        job("a", &[]),
        job("b", &["a"]),
        job("c", &[]),
        job("d", &["c"]),
    ] {
        submit(&db, &job).await.unwrap();
    }
    cancel(&db, "a").await.unwrap();
    remove(&db, "c", Removal::default()).await.unwrap();
    assert!(
        note(&db, "d")
            .await
            .starts_with("fails when a worker looks at it")
    );
    assert_eq!(run(&db, "b", options(1)).await.unwrap().end, End::Failed);
    assert_eq!(served(&db, &["b", "d"]).await, ["failed"; 2]);
    let reason = async |name| status(&db, name).await.unwrap().unwrap().reason;
    assert_eq!(reason("b").await, "its input, job `a`, is cancelled");
    assert_eq!(reason("d").await, "its input, job `c`, was removed");
    // After a retry it waits for another job of the name.
    retry(&db, "d").await.unwrap();
    assert_eq!(
        note(&db, "d").await,
        "waits for job `c` (not submitted yet)"
    );
    submit(&db, &job("c", &[])).await.unwrap();
    assert_eq!(served(&db, &["c", "d"]).await, ["done"; 2]);
}

/// It was first seen by a worker, and not when the job was recorded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_input_that_came_later_and_was_removed_is_missed() {
    let db = memory_db().await;
    submit(&db, &job("b", &["a"])).await.unwrap();
    submit(&db, &job("a", &[])).await.unwrap();
    let waits = run(&db, "b", options(1)).await.unwrap_err();
    assert!(matches!(waits, JobError::Waits { .. }), "{waits}");
    remove(&db, "a", Removal::default()).await.unwrap();
    let report = run(&db, "b", options(1)).await.unwrap();
    assert_eq!(report.end, End::Failed);
    assert_eq!(report.status.reason, "its input, job `a`, was removed");
}

#[tokio::test]
async fn circles_are_refused_by_the_names_of_their_jobs() {
    let db = memory_db().await;
    submit(&db, &job("a", &["c"])).await.unwrap();
    submit(&db, &job("b", &["a"])).await.unwrap();
    let refused = submit(&db, &job("c", &["x", "b"])).await.unwrap_err();
    assert_eq!(refused.exit_code().number(), 2);
    let told = refused.to_string();
    assert!(
        told.contains("job.toml:16: key `run.after`: a circle"),
        "{told}"
    );
    let way = "`c` would come after `b`, which comes after `a`, which comes after `c`";
    assert!(told.contains(way), "{told}");
    assert!(
        status(&db, "c").await.unwrap().is_none(),
        "nothing was written"
    );
    // Two ways to one job are no circle.
    submit(&db, &job("c", &[])).await.unwrap();
    submit(&db, &job("d", &["a", "b", "c"])).await.unwrap();
    let jobs = graph(&db, None).await.unwrap();
    let depths: Vec<(&str, usize)> = jobs.iter().map(|j| (j.name.as_str(), j.depth)).collect();
    assert_eq!(depths, [("c", 0), ("a", 1), ("b", 2), ("d", 3)]);
    // An input is part of what a job is.
    let other = submit(&db, &job("d", &["a"]))
        .await
        .unwrap_err()
        .to_string();
    assert!(other.contains("run.after"), "{other}");
}

/// Programs that pull shards over the network got those of a job whose inputs were not done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_shard_is_handed_out_before_the_inputs_are_done() {
    let db = memory_db().await;
    submit(&db, &job("a", &[])).await.unwrap();
    submit(&db, &job("b", &["a"])).await.unwrap();
    let observer = Arc::new(|_: &str| Arc::new(Silent) as _);
    let desk = PullDesk::new(
        &db,
        Leases::new(),
        observer,
        Reach::anywhere(),
        CancellationToken::new(),
    );
    let pull = |jobs: &[&str]| PullRequest {
        tasks_max: 64,
        jobs: jobs.iter().map(ToString::to_string).collect(),
        ..PullRequest::default()
    };
    let names = async |jobs: &[&str]| -> Vec<String> {
        let answer = desk.pull(&pull(jobs)).await.unwrap();
        answer.tasks.into_iter().map(|task| task.job).collect()
    };
    assert_eq!(names(&["b"]).await, [""; 0]);
    assert_eq!(names(&[]).await, ["a"; 4]);
    assert_eq!(state(&db, "b").await, "pending");
    run(&db, "a", options(1)).await.unwrap();
    assert_eq!(names(&[]).await, ["b"; 4]);
}

/// A run is interrupted, and the database opened anew, in the middle of each job.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_goes_on_where_it_stopped() {
    let storage = eciton_engine::storage::MemoryStorage::new();
    {
        let db = open(&storage).await.unwrap();
        for job in [job("c", &["b"]), job("b", &["a"]), job("a", &[])] {
            submit(&db, &job).await.unwrap();
        }
        db.close().await.unwrap();
    }
    for name in ["a", "b", "c"] {
        let db = open(&storage).await.unwrap();
        let report = run(&db, name, stop_after(2, 1)).await.unwrap();
        assert_eq!(report.end, End::Stopped, "{name}");
        db.close().await.unwrap();
        let db = open(&storage).await.unwrap();
        assert_eq!(state(&db, name).await, "running");
        assert_eq!(run(&db, name, options(1)).await.unwrap().end, End::Done);
        assert_eq!(records(&db, name).await["0"], r#"{"rows":4}"#);
        db.close().await.unwrap();
    }
}

/// A run that waits is stopped at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_waits_can_be_stopped() {
    let db = memory_db().await;
    submit(&db, &job("b", &["a"])).await.unwrap();
    let stop = CancellationToken::new();
    let waiting = tokio::spawn({
        let (db, stop) = (db.clone(), stop.clone());
        let options = crate::run::RunOptions {
            permits: Some(crate::run::Permits::new(1)),
            stop,
            ..options(1)
        };
        async move { run(&db, "b", options).await }
    });
    stop.cancel();
    let ended = tokio::time::timeout(Duration::from_mins(1), waiting).await;
    assert_eq!(ended.unwrap().unwrap().unwrap().end, End::Stopped);
    assert_eq!(state(&db, "b").await, "pending");
}
