//! How a job whose query gives the answer comes to its end.

use std::collections::BTreeMap;
use std::sync::Arc;

use eciton_engine::coord::Board;
use eciton_engine::storage::MemoryStorage;
use eciton_engine::{Db, Environment, Key, ScanRange, StoreSchema};
use eciton_proto::v1::job_spec::Step;
use eciton_proto::v1::{PullRequest, Scope};

use super::shared::process;
use super::support::*;
use crate::run::pull::{PullDesk, PullError};
use crate::run::records::ledger::Ledger;
use crate::run::{CancellationToken, End, JobError, Leases, Silent, run, status, submit};
use crate::source::Reach;
use crate::spec::{JobFile, fingerprint};

const NAME: &str = "answer";

/// A job that asks for the groups of [`SUM_JOB`].
fn job(place: &JobFolder, sql: &str) -> JobFile {
    place.job(&format!(
        "name = \"{NAME}\"\n[source]\nformat = \"csv\"\npaths = [\"*.csv\"]\nshard_size = \"1KiB\"\n\
         [transform]\nsql = '''{sql}'''\n"
    ))
}

const GROUPS: &str = "SELECT carrier, count(*) AS rows, sum(delay) AS total, max(delay) AS top FROM source GROUP BY carrier";

/// What an answer has.
async fn found(db: &Db) -> BTreeMap<String, String> {
    let store = db.store(NAME).await.unwrap().unwrap();
    let mut scan = db.snapshot().scan(&store, &ScanRange::all());
    let mut records = BTreeMap::new();
    while let Some(record) = scan.next().await.unwrap() {
        let value = String::from_utf8(record.value.to_vec()).unwrap();
        records.insert(record.key.to_string(), value);
    }
    records
}

#[tokio::test]
async fn an_answer_is_there_when_the_job_is_done_and_not_before() {
    let place = JobFolder::new();
    let (text, expected) = flights(2000);
    place.write("flights.csv", text);
    let db = memory_db().await;
    submit(&db, &job(&place, GROUPS)).await.unwrap();
    for _ in 0..3 {
        let report = run(&db, NAME, stop_after(4, 1)).await.unwrap();
        assert_eq!(report.end, End::Stopped);
        assert!(found(&db).await.is_empty(), "part of an answer");
    }
    let report = run(&db, NAME, options(2)).await.unwrap();
    assert_eq!((report.end, report.status.rows_read), (End::Done, 2000));
    assert_eq!(found(&db).await, expected);
    let again = run(&db, NAME, options(2)).await.unwrap();
    assert!(again.had_ended);
    assert_eq!(found(&db).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn processes_share_a_job_and_one_writes_its_answer() {
    let place = JobFolder::new();
    let (text, expected) = flights(2000);
    place.write("flights.csv", text);
    let bus: Arc<dyn eciton_engine::coord::Bus> =
        Arc::new(Board::new(Environment::default().clock));
    let storage = MemoryStorage::new();
    let mut running = Vec::new();
    for _ in 0..3 {
        let (db, job) = (process(&storage, &bus).await, job(&place, GROUPS));
        running.push(tokio::spawn(async move {
            submit(&db, &job).await.unwrap();
            run(&db, NAME, options(2)).await.unwrap().end
        }));
    }
    for running in running {
        assert_eq!(running.await.unwrap(), End::Done);
    }
    let db = process(&storage, &bus).await;
    assert_eq!(found(&db).await, expected);
}

/// The job has failed for this reason, with all shards done and nothing written.
async fn fails(db: &Db, job: &JobFile, words: &str) {
    submit(db, job).await.unwrap();
    let report = run(db, NAME, options(2)).await.unwrap();
    assert_eq!(report.end, End::Failed);
    let status = status(db, NAME).await.unwrap().unwrap();
    assert_eq!((status.state, status.shards.failed), ("failed", 0));
    assert!(status.reason.contains(words), "{}", status.reason);
    assert!(found(db).await.is_empty());
}

#[tokio::test]
async fn a_rest_that_fails_fails_the_job() {
    let place = JobFolder::new();
    place.write("flights.csv", flights(500).0);
    let sql = "SELECT carrier, 1 / (count(*) - count(*)) AS x FROM source GROUP BY carrier";
    fails(&memory_db().await, &job(&place, sql), "ivide by zero").await;
    let sql = "SELECT carrier, sum(9000000000000000000 + delay) AS x FROM source GROUP BY carrier";
    fails(&memory_db().await, &job(&place, sql), "overflow").await;
}

#[tokio::test]
async fn records_that_come_while_a_job_runs_are_not_mixed_with_its_answer() {
    let place = JobFolder::new();
    place.write("flights.csv", flights(500).0);
    let db = memory_db().await;
    submit(&db, &job(&place, GROUPS)).await.unwrap();
    let store = db.store(NAME).await.unwrap().unwrap();
    let mut tx = db.begin();
    let key = Key::from_datums(&["ZZ".into()]).unwrap();
    tx.put(&store, &key, "{}").unwrap();
    tx.commit().await.unwrap();
    let report = run(&db, NAME, options(2)).await.unwrap();
    assert_eq!(report.end, End::Failed);
    let status = status(&db, NAME).await.unwrap().unwrap();
    assert!(
        status.reason.contains("records that are not this job's"),
        "{}",
        status.reason
    );
    assert_eq!(found(&db).await.len(), 1);
}

#[tokio::test]
async fn operands_of_another_version_are_not_added_to() {
    let place = JobFolder::new();
    place.write("flights.csv", flights(500).0);
    let db = memory_db().await;
    let submitted = submit(&db, &job(&place, GROUPS)).await.unwrap();
    let store = format!("_answer_{}", submitted.number);
    db.create_store(&store, StoreSchema::default())
        .await
        .unwrap();
    let error = run(&db, NAME, options(1)).await.unwrap_err();
    let JobError::Damaged { detail, .. } = &error else {
        panic!("{error}")
    };
    assert!(detail.contains("another version"), "{error}");
}

#[tokio::test]
async fn a_job_that_was_recorded_before_there_was_a_scope_goes_on() {
    let place = JobFolder::new();
    place.write("flights.csv", flights(500).0);
    let db = memory_db().await;
    let per_shard = SUM_JOB
        .replace(
            "SELECT carrier, delay",
            "SELECT carrier, sum(delay) AS delay",
        )
        .replace("FROM source", "FROM source GROUP BY carrier");
    let error = submit(&db, &place.job(&per_shard)).await.unwrap_err();
    assert!(error.to_string().contains("`sum(delay)`"), "{error}");
    let meant = per_shard.replace("[transform]", "[transform]\nscope = \"shard\"");
    submit(&db, &place.job(&meant)).await.unwrap();
    // As an older version has recorded it.
    let (ledger, mut old) = Ledger::with_job(&db, "sums").await.unwrap();
    let Some(Step::Transform(transform)) = &mut old.spec.step else {
        panic!("no query")
    };
    transform.set_scope(Scope::Unspecified);
    let mut tx = db.begin();
    ledger.put_spec(&mut tx, &old.spec).unwrap();
    let mut state = ledger.job_state(&mut tx, "sums").await.unwrap().unwrap();
    state.spec_hash = fingerprint(&old.spec).to_be_bytes().to_vec();
    ledger.put_job_state(&mut tx, "sums", &state).unwrap();
    tx.commit().await.unwrap();
    assert!(submit(&db, &place.job(&per_shard)).await.unwrap().joined);
    let report = run(&db, "sums", options(2)).await.unwrap();
    assert_eq!(report.end, End::Done);
    assert_eq!(records(&db, "by_carrier").await.len(), 4);
}

#[tokio::test]
async fn programs_are_given_no_shards_of_an_answer() {
    let place = JobFolder::new();
    place.write("flights.csv", flights(500).0);
    let db = memory_db().await;
    submit(&db, &job(&place, GROUPS)).await.unwrap();
    let observer = Arc::new(|_: &str| Arc::new(Silent) as Arc<dyn crate::run::Observer>);
    let desk = PullDesk::new(
        &db,
        Leases::new(),
        observer,
        Reach::anywhere(),
        CancellationToken::new(),
    );
    let request = PullRequest {
        tasks_max: 4,
        ..PullRequest::default()
    };
    assert_eq!(desk.pull(&request).await.unwrap().tasks, []);
    let named = PullRequest {
        jobs: vec![NAME.to_owned()],
        ..request
    };
    let error = desk.pull(&named).await.unwrap_err();
    assert!(matches!(error, PullError::Invalid(_)), "{error}");
    assert_eq!(run(&db, NAME, options(2)).await.unwrap().end, End::Done);
}
