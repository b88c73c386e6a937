//! Errors whose words are longer than what a record takes.

use eciton_engine::limits::VALUE_LEN_MAX;
use eciton_proto::limits::{ERROR_LEN_MAX, REASON_LEN_MAX};

use super::support::*;
use crate::run::{End, run, status};

/// The record of the failed attempt was refused, which ended each run with an error of the database: the job stayed
/// open, and workers tried it again for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_whose_error_is_longer_than_a_record_fails_and_so_does_its_job() {
    let place = JobFolder::new();
    place.write("a.csv", "k,text\n1,2013-01-01T00:00:00Z\n");
    let long = "x".repeat(VALUE_LEN_MAX + 1);
    place.write("b.csv", format!("k,text\n2,{long}\n"));
    let db = memory_db().await;
    let job = place.job(
        r#"
name = "long"
[source]
format = "csv"
paths = ["*.csv"]
[source.schema]
k = "int64"
text = "string"
[transform]
sql = "SELECT k, to_timestamp(text) AS at FROM source"
[upsert]
store = "times"
key = ["k"]
"#,
    );
    let report = submit_and_run(&db, &job, 1).await;
    assert_eq!(report.end, End::Failed);
    let shards = report.status.shards;
    assert_eq!((shards.done, shards.failed), (1, 1));
    let failure = &report.status.failures[0];
    assert_eq!((failure.shard, failure.attempts), (1, 1));
    assert_eq!(failure.error.len(), ERROR_LEN_MAX);
    assert!(failure.error.contains("xxx"), "{}", &failure.error[..200]);
    assert_eq!(records(&db, "times").await.len(), 1);
}

/// The record that ends the job was refused, and so on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_reason_is_longer_than_a_record_fails() {
    let place = JobFolder::new();
    place.write("flights.csv", flights(100).0);
    let db = memory_db().await;
    let sql = format!(
        "SELECT carrier, to_timestamp(repeat(carrier, {VALUE_LEN_MAX})) AS at, count(*) AS n FROM source GROUP BY carrier"
    );
    let job = place.job(&format!(
        "name = \"long\"\n[source]\nformat = \"csv\"\npaths = [\"*.csv\"]\n[transform]\nsql = \"{sql}\"\n"
    ));
    let report = submit_and_run(&db, &job, 1).await;
    assert_eq!((report.end, report.status.shards.failed), (End::Failed, 0));
    let reason = &report.status.reason;
    assert_eq!(reason.len(), REASON_LEN_MAX);
    assert!(
        reason.starts_with("the result cannot be computed: "),
        "{reason}"
    );
    // It has ended for good.
    assert!(run(&db, "long", options(1)).await.unwrap().had_ended);
    let found = status(&db, "long").await.unwrap().unwrap();
    assert_eq!((found.state, &found.reason), ("failed", reason));
}
