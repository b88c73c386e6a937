use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use eciton_engine::limits::VALUE_LEN_MAX;
use eciton_engine::{Key, StoreSchema};
use parking_lot::Mutex;

use super::support::*;
use crate::run::records::ledger::Ledger;
use crate::run::schedule::context::RunContext;
use crate::run::settle::commit::{Admission, AdmissionRefusal};
use crate::run::settle::failure::Failure;
use crate::run::{
    End, Event, ExitCode, JobError, Observer, RunOptions, cancel, list, retry, run, status, submit,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_number_of_workers_gives_the_same_answer() {
    let place = JobFolder::new();
    let (text, expected) = flights(2000);
    place.write("flights.csv", text);
    for workers in [1, 2, 8] {
        let db = memory_db().await;
        let report = submit_and_run(&db, &place.job(SUM_JOB), workers).await;
        assert_eq!((report.end, report.had_ended), (End::Done, false));
        assert_eq!(
            records(&db, "by_carrier").await,
            expected,
            "{workers} workers"
        );
        let status = report.status;
        assert!(status.shards.total > 10, "{:?}", status.shards);
        assert_eq!(status.shards.done, status.shards.total);
        assert_eq!(
            (
                status.shards.pending,
                status.shards.failed,
                status.shards.running
            ),
            (0, 0, 0)
        );
        assert_eq!(
            (status.rows_read, status.attempts),
            (2000, status.shards.total)
        );
        assert_eq!(
            (status.state, status.number, status.retries),
            ("done", 1, 0)
        );
        assert!(status.finished_at >= status.started_at && status.started_at.is_some());
    }
}

#[tokio::test]
async fn a_finished_job_is_left_as_it_is() {
    let place = JobFolder::new();
    place.write("flights.csv", flights(100).0);
    let db = memory_db().await;
    let job = place.job(SUM_JOB);
    let first = submit_and_run(&db, &job, 2).await;
    let position = db.info().position;
    let submitted = submit(&db, &job).await.unwrap();
    assert!(
        submitted.joined && submitted.state == "done",
        "{submitted:?}"
    );
    let again = run(&db, "sums", options(2)).await.unwrap();
    assert!(again.had_ended);
    assert_eq!((again.end, &again.status), (End::Done, &first.status));
    assert_eq!(db.info().position, position, "something was written");
    // The sources are not even needed for that.
    std::fs::remove_file(place.0.path().join("flights.csv")).unwrap();
    assert!(submit(&db, &job).await.unwrap().joined);
}

#[tokio::test]
async fn another_specification_of_the_same_name_is_refused() {
    let place = JobFolder::new();
    place.write("flights.csv", flights(10).0);
    let db = memory_db().await;
    submit(&db, &place.job(SUM_JOB)).await.unwrap();
    let other = SUM_JOB
        .replace("1KiB", "2KiB")
        .replace("max(delay)", "min(delay)");
    let error = submit(&db, &place.job(&other)).await.unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Usage);
    assert_eq!(
        error.to_string(),
        "job `sums` exists with another specification: source.shard_size (was 1024, now 2048), merge.values differ; expected another name, the file as it was submitted, or `--replace`, which removes the job with its results"
    );
}

#[tokio::test]
async fn a_job_that_does_not_fit_writes_nothing() {
    let place = JobFolder::new();
    place.write("flights.csv", flights(10).0);
    let db = memory_db().await;
    let taken = StoreSchema::default();
    db.create_store("taken", taken).await.unwrap();
    let position = db.info().position;
    for (from, to, line, expected) in [
        (
            "SELECT carrier, delay",
            "SELECT carrier, dely AS delay",
            8,
            "key `transform.sql`: no column `dely`: did you mean `delay`?",
        ),
        (
            "SELECT carrier, delay",
            "SELECT carrier,, delay",
            8,
            "key `transform.sql`: line 1, column 16 of the query: expected",
        ),
        (
            "SELECT carrier, delay",
            "SELECT carrier, uuid() AS delay",
            8,
            "key `transform.sql`: `uuid()` may differ",
        ),
        (
            "sum(delay)",
            "sum(carrier)",
            14,
            "key `merge.values.total`: sum(carrier) of a column of type",
        ),
        (
            "key = [\"carrier\"]",
            "key = [\"carier\"]",
            11,
            "key `merge.key`: no column `carier`: did you mean `carrier`?",
        ),
        (
            "by_carrier",
            "taken",
            10,
            "key `merge.store`: store `taken` exists and is different: expected key (carrier) and values (rows = count(any), total = sum(int), top = max(int)), found key () and plain values",
        ),
        (
            "*.csv",
            "*.tsv",
            5,
            "key `source.paths`: `*.tsv` matches no file",
        ),
    ] {
        let job = SUM_JOB.replace(from, to);
        assert_ne!(job, SUM_JOB);
        let error = submit(&db, &place.job(&job)).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(expected), "{text}");
        assert!(text.contains(&format!("job.toml:{line}: ")), "{text}");
        assert_eq!(error.exit_code(), ExitCode::Usage, "{text}");
    }
    assert_eq!(db.info().position, position, "something was written");
    assert_eq!(db.stores().await.unwrap().len(), 1);
}

#[tokio::test]
async fn unknown_jobs_are_named_with_the_known_ones() {
    let place = JobFolder::new();
    place.write("flights.csv", flights(10).0);
    let db = memory_db().await;
    assert_eq!(status(&db, "sums").await.unwrap(), None);
    assert_eq!(list(&db).await.unwrap(), []);
    let error = run(&db, "sums", options(1)).await.unwrap_err();
    assert_eq!(error.to_string(), "no job named `sums`: there are no jobs");
    submit(&db, &place.job(SUM_JOB)).await.unwrap();
    let error = run(&db, "sum", options(1)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "no job named `sum`: expected one of `sums`"
    );
    assert_eq!(error.exit_code().number(), 2);
    let listed = list(&db).await.unwrap();
    assert_eq!(
        (listed.len(), listed[0].state, listed[0].store.as_str()),
        (1, "pending", "by_carrier")
    );
    assert_eq!(listed[0].shards.pending, listed[0].shards.total);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_job_goes_on() {
    let place = JobFolder::new();
    let (text, expected) = flights(2000);
    place.write("flights.csv", text);
    let db = memory_db().await;
    submit(&db, &place.job(SUM_JOB)).await.unwrap();
    let report = run(&db, "sums", stop_after(3, 2)).await.unwrap();
    assert_eq!((report.end, report.status.state), (End::Stopped, "running"));
    let done = report.status.shards.done;
    assert!((3..=4).contains(&done), "{done} shards are done");
    let report = run(&db, "sums", options(2)).await.unwrap();
    assert_eq!(report.end, End::Done);
    assert_eq!(
        report.status.attempts, report.status.shards.total,
        "no shard was done twice"
    );
    assert_eq!(records(&db, "by_carrier").await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_runs_at_once_share_a_job() {
    let place = JobFolder::new();
    let (text, expected) = flights(3000);
    place.write("flights.csv", text);
    let db = memory_db().await;
    submit(&db, &place.job(SUM_JOB)).await.unwrap();
    let (a, b) = tokio::join!(run(&db, "sums", options(2)), run(&db, "sums", options(2)));
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_eq!((a.end, b.end), (End::Done, End::Done));
    assert_eq!(records(&db, "by_carrier").await, expected);
    let status = status(&db, "sums").await.unwrap().unwrap();
    assert_eq!(
        (status.rows_read, status.attempts),
        (3000, status.shards.total)
    );
}

#[tokio::test]
async fn a_cancelled_job_takes_nothing_until_it_is_retried() {
    let place = JobFolder::new();
    let (text, expected) = flights(500);
    place.write("flights.csv", text);
    let db = memory_db().await;
    submit(&db, &place.job(SUM_JOB)).await.unwrap();
    run(&db, "sums", stop_after(1, 1)).await.unwrap();
    let (ledger, job) = Ledger::with_job(&db, "sums").await.unwrap();
    let context = RunContext::open(&ledger, "sums", &job, &options(1))
        .await
        .unwrap();
    assert!(matches!(
        context.job.admit([3]).await.unwrap(),
        Admission::Open(_)
    ));
    assert!(matches!(
        context.job.admit([0]).await.unwrap(),
        Admission::Refused(AdmissionRefusal::Ended)
    ));
    assert_eq!(cancel(&db, "sums").await.unwrap().state, "cancelled");
    // Who is in the middle of a shard learns it at the commit.
    assert!(matches!(
        context.job.admit([3]).await.unwrap(),
        Admission::Refused(AdmissionRefusal::Cancelled)
    ));
    let report = run(&db, "sums", options(1)).await.unwrap();
    assert_eq!((report.end, report.had_ended), (End::Cancelled, true));
    assert_eq!(report.status.shards.done, 1);
    assert_eq!(cancel(&db, "sums").await.unwrap().state, "cancelled");

    retry(&db, "sums").await.unwrap();
    assert!(matches!(
        context.job.admit([3]).await.unwrap(),
        Admission::Refused(AdmissionRefusal::Changed)
    ));
    assert_eq!(run(&db, "sums", options(1)).await.unwrap().end, End::Done);
    assert_eq!(records(&db, "by_carrier").await, expected);
    let error = cancel(&db, "sums").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "job `sums` is done: expected one that has not ended"
    );
    let error = retry(&db, "sums").await.unwrap_err();
    assert!(
        matches!(error, JobError::State { state: "done", .. }),
        "{error}"
    );
}

/// A straggler that was handed out a second time, and then taken over, could come into one batch twice.
#[tokio::test]
async fn a_shard_that_is_in_a_batch_twice_is_not_committed_with_it() {
    let place = JobFolder::new();
    place.write("flights.csv", flights(500).0);
    let db = memory_db().await;
    submit(&db, &place.job(SUM_JOB)).await.unwrap();
    let (ledger, found) = Ledger::with_job(&db, "sums").await.unwrap();
    let context = RunContext::open(&ledger, "sums", &found, &options(1))
        .await
        .unwrap();
    assert!(matches!(
        context.job.admit([2, 3]).await.unwrap(),
        Admission::Open(_)
    ));
    assert!(matches!(
        context.job.admit([2, 3, 2]).await.unwrap(),
        Admission::Refused(AdmissionRefusal::Ended)
    ));
}

#[tokio::test]
async fn attempts_are_counted_until_they_are_used_up() {
    let place = JobFolder::new();
    place.write("flights.csv", flights(500).0);
    let db = memory_db().await;
    let job = place.job(&format!("{SUM_JOB}[run]\nmax_attempts = 3\n"));
    submit(&db, &job).await.unwrap();
    let (ledger, found) = Ledger::with_job(&db, "sums").await.unwrap();
    let context1 = RunContext::open(&ledger, "sums", &found, &options(1))
        .await
        .unwrap();
    for expected in [1, 2] {
        let failure = context1
            .job
            .record_failure(2, None, "the disk is away", true)
            .await
            .unwrap();
        assert!(matches!(failure, Failure::Again { attempt, .. } if attempt == expected));
    }
    let failure = context1
        .job
        .record_failure(2, None, "the disk is away", true)
        .await
        .unwrap();
    assert!(matches!(failure, Failure::Final(3)));
    assert!(matches!(
        context1
            .job
            .record_failure(2, None, "again", true)
            .await
            .unwrap(),
        Failure::NotAdmitted(AdmissionRefusal::Ended)
    ));
    let report = run(&db, "sums", options(1)).await.unwrap();
    assert_eq!((report.end, report.status.state), (End::Failed, "failed"));
    let failures = &report.status.failures;
    assert_eq!(
        (failures.len(), failures[0].shard, failures[0].attempts),
        (1, 2, 3)
    );
    assert_eq!(
        (failures[0].file.as_str(), failures[0].unit),
        ("flights.csv", "bytes")
    );
    assert_eq!(failures[0].error, "the disk is away");

    // A retry gives it all its attempts again, and keeps counting.
    assert_eq!(retry(&db, "sums").await.unwrap().shards, 1);
    let (ledger, found) = Ledger::with_job(&db, "sums").await.unwrap();
    let context2 = RunContext::open(&ledger, "sums", &found, &options(1))
        .await
        .unwrap();
    let failure = context2
        .job
        .record_failure(2, None, "the disk is away", true)
        .await
        .unwrap();
    assert!(matches!(failure, Failure::Again { attempt: 1, .. }));
    let report = run(&db, "sums", options(1)).await.unwrap();
    assert_eq!(report.end, End::Done);
    assert_eq!(report.status.attempts, report.status.shards.total + 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_upserts_the_last_row_in_source_order_stays() {
    let place = JobFolder::new();
    let mut expected = BTreeMap::new();
    for file in 0..3 {
        let mut text = "id,file,row,at\n".to_owned();
        for row in 0..400 {
            let id = (row * 13 + file) % 90;
            writeln!(text, "{id},{file},{row},2013-01-01T10:00:00Z").unwrap();
            expected.insert(
                id.to_string(),
                format!(r#"{{"file":{file},"row":{row},"at":{{"$ts":"2013-01-01T10:00:00Z"}}}}"#),
            );
        }
        place.write(&format!("{file}.csv"), text);
    }
    let db = memory_db().await;
    let report = submit_and_run(&db, &place.job(UPSERT_JOB), 8).await;
    assert_eq!(report.end, End::Done);
    assert_eq!(records(&db, "rows").await, expected);

    // A person's value replaces a row, a later job's row replaces that.
    let rows = db.store("rows").await.unwrap().unwrap();
    let mut tx = db.begin();
    for id in ["7", "8"] {
        tx.put(&rows, &Key::parse_json(id).unwrap(), "\"by hand\"")
            .unwrap();
    }
    tx.commit().await.unwrap();
    assert_eq!(records(&db, "rows").await["7"], "\"by hand\"");
    place.write("new.csv", "id,file,row,at\n8,9,9,2014-01-01T00:00:00Z\n");
    let later = UPSERT_JOB
        .replace("\"last\"", "\"later\"")
        .replace("key = [\"id\"]", "key = [\"id\"]\ninto_existing = true")
        .replace("*.csv", "new.csv");
    assert_eq!(
        submit_and_run(&db, &place.job(&later), 1).await.end,
        End::Done
    );
    let now = records(&db, "rows").await;
    assert_eq!(now["7"], "\"by hand\"");
    assert_eq!(
        now["8"],
        r#"{"file":9,"row":9,"at":{"$ts":"2014-01-01T00:00:00Z"}}"#
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_beyond_memory_go_into_the_transaction() {
    let place = JobFolder::new();
    let (text, expected) = flights(1000);
    place.write("flights.csv", text);
    let db = memory_db().await;
    submit(&db, &place.job(SUM_JOB)).await.unwrap();
    let (ledger, job) = Ledger::with_job(&db, "sums").await.unwrap();
    let mut small = RunContext::open(&ledger, "sums", &job, &options(1))
        .await
        .unwrap();
    small.results_len_max = 1;
    let small = Arc::new(small);
    let workers: Vec<_> = (0..3)
        .map(|_| {
            let context = Arc::clone(&small);
            tokio::task::spawn_blocking(move || context.work())
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    assert!(small.ending.lock().is_none());
    assert_eq!(run(&db, "sums", options(1)).await.unwrap().end, End::Done);
    assert_eq!(records(&db, "by_carrier").await, expected);
}

/// All workers of two runs compute all shards before they commit any.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_batches_with_the_same_shards_one_is_committed() {
    let place = JobFolder::new();
    let (text, expected) = flights(1000);
    place.write("flights.csv", text);
    let db = memory_db().await;
    submit(&db, &place.job(SUM_JOB)).await.unwrap();
    let (ledger, job) = Ledger::with_job(&db, "sums").await.unwrap();
    let patient = RunOptions {
        commit_interval: Duration::from_hours(1),
        ..options(1)
    };
    let mut workers = Vec::new();
    for _ in 0..2 {
        let context = Arc::new(
            RunContext::open(&ledger, "sums", &job, &patient)
                .await
                .unwrap(),
        );
        assert!(context.queue.left() > 2, "several shards in a batch");
        for _ in 0..2 {
            let context = Arc::clone(&context);
            workers.push(tokio::task::spawn_blocking(move || {
                context.work();
                assert!(context.ending.lock().is_none());
            }));
        }
    }
    for worker in workers {
        worker.await.unwrap();
    }
    let report = run(&db, "sums", options(1)).await.unwrap();
    assert_eq!(report.end, End::Done);
    assert_eq!(report.status.rows_read, 1000, "each shard counts once");
    assert_eq!(records(&db, "by_carrier").await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_that_no_store_takes_fails_its_own_shard_only() {
    let place = JobFolder::new();
    let half = "x".repeat(VALUE_LEN_MAX / 2 + 1);
    place.write("a.csv", "k,a,b\n1,p,q\n");
    place.write("b.csv", format!("k,a,b\n2,{half},{half}\n"));
    place.write("c.csv", "k,a,b\n1,r,s\n");
    let db = memory_db().await;
    let job = place.job(
        r#"
name = "wide"
[source]
format = "csv"
paths = ["*.csv"]
[source.schema]
k = "int64"
a = "string"
b = "string"
[merge]
store = "wide"
key = ["k"]
[merge.values]
a = "max(a)"
b = "min(b)"
n = "count()"
"#,
    );
    let report = submit_and_run(&db, &job, 1).await;
    assert_eq!(report.end, End::Failed);
    let shards = report.status.shards;
    assert_eq!((shards.done, shards.failed), (2, 1));
    let failure = &report.status.failures[0];
    assert_eq!(failure.shard, 1);
    let told = "one column of a merged record";
    assert!(failure.error.contains(told), "{}", failure.error);
    let records = records(&db, "wide").await;
    assert_eq!(records.len(), 1);
    assert_eq!(records["1"], r#"{"a":"r","b":"q","n":2}"#);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_is_a_source() {
    let place = JobFolder::new();
    let db = memory_db().await;
    let job = place.job(
        r#"
name = "mod"
[source]
format = "range"
from = 0
to = 100000
shard_len = 9999
[transform]
sql = "SELECT i % 7 AS k, i FROM source"
[merge]
store = "mod7"
key = ["k"]
[merge.values]
n = "count()"
s = "sum(i)"
a = "avg(i)"
"#,
    );
    let report = submit_and_run(&db, &job, 3).await;
    assert_eq!((report.end, report.status.rows_read), (End::Done, 100_000));
    let records = records(&db, "mod7").await;
    let three: Vec<u64> = (0..100_000).filter(|i| i % 7 == 3).collect();
    let (n, s): (usize, u64) = (three.len(), three.iter().sum());
    #[allow(clippy::cast_precision_loss)]
    let a = s as f64 / n as f64;
    assert_eq!(
        records["3"],
        format!(r#"{{"n":{n},"s":{s},"a":{}}}"#, serde_json::json!(a))
    );
}

#[tokio::test]
async fn events_tell_the_whole_story() {
    #[derive(Default)]
    struct Log(Mutex<Vec<String>>);
    impl Observer for Log {
        fn observe(&self, event: &Event<'_>) {
            self.0.lock().push(match event {
                Event::Started { shards } => format!("started {}/{}", shards.done, shards.total),
                Event::ShardStarted { shard } => format!("{shard} begins"),
                Event::RowsRead { shard, rows } => format!("{shard} read {rows}"),
                Event::ShardDone {
                    shard,
                    rows_read,
                    records_merged,
                    ..
                } => {
                    format!("{shard} done: {rows_read} rows, {records_merged} records")
                }
                Event::ShardFailed { shard, .. } => format!("{shard} failed"),
                other => format!("{other:?}"),
            });
        }
    }
    let place = JobFolder::new();
    place.write("a.csv", "carrier,delay\nAA,1\nUA,2\nAA,3\n");
    place.write("b.csv", "carrier,delay\nAA,x\n");
    let job = SUM_JOB.replace(
        "[transform]",
        "[source.schema]\ndelay = \"int64\"\n[transform]",
    );
    let db = memory_db().await;
    submit(&db, &place.job(&job)).await.unwrap();
    let log = Arc::new(Log::default());
    let observer = Arc::clone(&log) as Arc<dyn Observer>;
    let options = RunOptions {
        workers: 1,
        observer,
        ..RunOptions::default()
    };
    assert_eq!(run(&db, "sums", options).await.unwrap().end, End::Failed);
    let expected = [
        "started 0/2",
        "0 begins",
        "0 read 3",
        "1 begins",
        "0 done: 3 rows, 2 records",
        "1 failed",
    ];
    assert_eq!(*log.0.lock(), expected);
}

/// A server runs these on any thread.
#[test]
fn futures_can_be_sent() {
    fn sendable<F: Future + Send>(_: impl FnOnce() -> F) {}
    let db = || -> &'static eciton_engine::Db { unreachable!() };
    let job = || -> &'static crate::spec::JobFile { unreachable!() };
    sendable(|| submit(db(), job()));
    sendable(|| run(db(), "x", options(1)));
    sendable(|| retry(db(), "x"));
    sendable(|| cancel(db(), "x"));
    sendable(|| status(db(), "x"));
    sendable(|| list(db()));
}
