//! Stores as sources: a job over what another job has made.

use std::fmt::Write as _;
use std::time::Duration;

use eciton_engine::entropy::SeededEntropy;
use eciton_engine::storage::MemoryStorage;
use eciton_engine::{Datum, Db, Encoding, Key, ScanRange, StoreSchema};

use super::support::*;
use crate::run::{End, JobStatus, check, check_in, preview, retry, run, status, submit};
use crate::source::Reach;

/// Counts and adds up the values of a store, by a class of its keys.
const OVER_SUMS: &str = r#"
name = "over"
[source]
format = "store"
store = "rows"
shard_size = "1KiB"
[transform]
sql = "SELECT id % 7 AS class, value, name FROM source"
[merge]
store = "classes"
key = ["class"]
[merge.values]
rows = "count()"
total = "sum(value)"
first = "min(name)"
"#;

/// A store of plain JSON values under integer keys.
async fn with_rows(db: &Db, rows: std::ops::Range<i64>) {
    let schema = StoreSchema {
        encoding: Encoding::Json,
        key_fields: vec!["id".to_owned()],
        ..StoreSchema::default()
    };
    let store = db.create_store("rows", schema).await.unwrap();
    let mut tx = db.begin();
    for id in rows {
        let value = format!(r#"{{"value":{},"name":"n{:03}"}}"#, id * 3, 999 - id % 500);
        let key = Key::from_datums(&[Datum::Int(id.into())]).unwrap();
        tx.put(&store, &key, value.into_bytes()).unwrap();
    }
    tx.commit().await.unwrap();
}

async fn put_row(db: &Db, id: i64, value: &str) {
    let store = db.store("rows").await.unwrap().unwrap();
    let key = Key::from_datums(&[Datum::Int(id.into())]).unwrap();
    let mut tx = db.begin();
    tx.put(&store, &key, value.as_bytes().to_vec()).unwrap();
    tx.commit().await.unwrap();
}

/// What [`OVER_SUMS`] must make of [`with_rows`], by plain arithmetic.
fn expected(rows: std::ops::Range<i64>) -> Vec<String> {
    (0..7)
        .map(|class| {
            let of_class = rows.clone().filter(|id| id % 7 == class);
            let total: i64 = of_class.clone().map(|id| id * 3).sum();
            let least = of_class.clone().map(|id| 999 - id % 500).min().unwrap();
            let count = of_class.count();
            format!(r#"{{"rows":{count},"total":{total},"first":"n{least:03}"}}"#)
        })
        .collect()
}

async fn now(db: &Db) -> JobStatus {
    status(db, "over").await.unwrap().unwrap()
}

async fn results(db: &Db) -> Vec<String> {
    records(db, "classes").await.into_values().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_is_read_in_slices_and_gives_every_record_once() {
    let place = JobFolder::new();
    let db = memory_db().await;
    with_rows(&db, 0..1500).await;
    let job = place.job(OVER_SUMS);
    let outline = check_in(&db, &job).await.unwrap().outline().unwrap();
    assert_eq!(outline.records, Some(1500));
    let columns = outline.columns.iter();
    let columns: Vec<(&str, &str, &str)> = columns
        .map(|column| (column.name.as_str(), column.r#type.as_str(), column.origin))
        .collect();
    assert_eq!(
        columns,
        [
            ("id", "int64", "store"),
            ("value", "int64", "store"),
            ("name", "string", "store")
        ]
    );
    let report = submit_and_run(&db, &job, 3).await;
    assert_eq!(report.end, End::Done);
    assert!(outline.shards > 20, "{} shards", outline.shards);
    assert_eq!(results(&db).await, expected(0..1500));
    let status = now(&db).await;
    assert_eq!(status.rows_read, 1500);
}

/// A merged store, with values of several types, read by a job that keeps them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_columns_of_a_merged_store_keep_their_types() {
    let place = JobFolder::new();
    let db = memory_db().await;
    place.write(
        "a.csv",
        "k,d,f,t\na,2013-01-01,0.1,x\nb,2013-02-01,0.2,\na,2013-03-01,0.3,y\n",
    );
    let first = place.job(
        "name = 'first'\n[source]\nformat = 'csv'\npaths = ['*.csv']\n[merge]\nstore = 'made'\nkey = ['k']\n\
         [merge.values]\nd = 'max(d)'\nf = 'sum(f)'\nn = 'count()'\nmean = 'avg(f)'\nt = 'collect_set(t, 4)'\n",
    );
    assert_eq!(submit_and_run(&db, &first, 1).await.end, End::Done);
    let second = place.job(
        "name = 'second'\n[source]\nformat = 'store'\nstore = 'made'\n[transform]\n\
         sql = 'SELECT k, d, f, n, t FROM source'\n[upsert]\nstore = 'kept'\nkey = ['k']\n",
    );
    let outline = check_in(&db, &second).await.unwrap().outline().unwrap();
    let types: Vec<&str> = outline.columns.iter().map(|c| c.r#type.as_str()).collect();
    assert_eq!(
        types,
        ["string", "date", "float64", "int64", "float64", "json"]
    );
    assert_eq!(submit_and_run(&db, &second, 2).await.end, End::Done);
    let kept: Vec<String> = records(&db, "kept").await.into_values().collect();
    assert_eq!(
        kept,
        [
            r#"{"d":{"$date":"2013-03-01"},"f":0.4,"n":2,"t":"[\"x\",\"y\"]"}"#,
            r#"{"d":{"$date":"2013-02-01"},"f":0.2,"n":1,"t":null}"#
        ]
    );
}

/// A store that changes after the job was recorded: what was not read yet fails by name, and nothing else is read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_changed_fails_its_shards_by_name_until_it_is_as_it_was() {
    let place = JobFolder::new();
    let db = memory_db().await;
    with_rows(&db, 0..1500).await;
    let job = place.job(OVER_SUMS);
    let submitted = submit(&db, &job).await.unwrap();
    put_row(&db, 700, r#"{"value":2100,"name":"other"}"#).await;
    let report = run(&db, "over", options(2)).await.unwrap();
    assert_eq!(report.end, End::Failed);
    let status = now(&db).await;
    assert_eq!(status.shards.failed, 1, "of {} shards", submitted.shards);
    let failures = now(&db).await.failures;
    let told = format!("{failures:?}");
    assert!(told.contains("store `rows`: records "), "{told}");
    assert!(
        told.contains("changed since the job was recorded"),
        "{told}"
    );
    // The shard counts nothing: what is there is of the others.
    let total = |all: Vec<String>| all.len();
    assert_eq!(total(results(&db).await), 7);
    // As it was recorded it is the same data again.
    put_row(&db, 700, r#"{"value":2100,"name":"n799"}"#).await;
    retry(&db, "over").await.unwrap();
    let report = run(&db, "over", options(2)).await.unwrap();
    assert_eq!(report.end, End::Done);
    assert_eq!(results(&db).await, expected(0..1500));
}

/// Records that are added, and ones that are deleted, fail as changed ones do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_come_or_go_fail_a_shard() {
    for deletes in [false, true] {
        let place = JobFolder::new();
        let db = memory_db().await;
        with_rows(&db, 0..300).await;
        submit(&db, &place.job(OVER_SUMS)).await.unwrap();
        if deletes {
            let store = db.store("rows").await.unwrap().unwrap();
            let mut tx = db.begin();
            let key = Key::from_datums(&[Datum::Int(150)]).unwrap();
            tx.delete(&store, &key).unwrap();
            tx.commit().await.unwrap();
        } else {
            put_row(&db, 1000, "{}").await;
        }
        let report = run(&db, "over", options(2)).await.unwrap();
        assert_eq!(report.end, End::Failed, "deletes {deletes}");
        let failures = now(&db).await.failures;
        assert_eq!(failures.len(), 1, "{failures:?}");
        let told = format!("{failures:?}");
        assert!(
            told.contains("changed since the job was recorded"),
            "{told}"
        );
    }
}

/// A process reads the state of the moment when it began: what is written meanwhile disturbs none of its shards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_at_work_keeps_the_state_that_it_began_with() {
    let place = JobFolder::new();
    let db = memory_db().await;
    with_rows(&db, 0..1500).await;
    let submitted = submit(&db, &place.job(OVER_SUMS)).await.unwrap();
    assert!(submitted.shards > 20, "{} shards", submitted.shards);
    let gate = std::sync::Arc::new(Gate::at(3));
    let at_work = {
        let (db, options) = (db.clone(), gate.options());
        tokio::spawn(async move { run(&db, "over", options).await })
    };
    until("two shards are done", async || gate.is_reached()).await;
    for id in [0, 700, 1400] {
        put_row(&db, id, "{\"value\":-1}").await;
    }
    db.fold().await.unwrap();
    db.collect().await.unwrap();
    gate.open();
    assert_eq!(at_work.await.unwrap().unwrap().end, End::Done);
    assert_eq!(results(&db).await, expected(0..1500));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_refused_when_the_job_is_submitted() {
    let place = JobFolder::new();
    let db = memory_db().await;
    with_rows(&db, 0..10).await;
    let job = place.job(OVER_SUMS);
    let told = check(&job).await.map(|_| ()).unwrap_err().to_string();
    assert!(told.contains("job.toml:5: key `source.store`"), "{told}");
    assert!(told.contains("named by --db"), "{told}");
    let other = place.job(&OVER_SUMS.replace("\"rows\"\n", "\"row\"\n"));
    let told = submit(&db, &other).await.unwrap_err().to_string();
    assert!(told.contains("no store `row`"), "{told}");
    assert!(told.contains("`rows`"), "{told}");
    let absent = place.job(&OVER_SUMS.replace("SELECT id % 7", "SELECT ident % 7"));
    let told = submit(&db, &absent).await.unwrap_err().to_string();
    assert!(told.contains("transform.sql"), "{told}");
    assert!(preview(&db, &job, &Reach::anywhere()).await.is_ok());
    assert!(records(&db, "classes").await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_was_dropped_is_told() {
    let place = JobFolder::new();
    let db = memory_db().await;
    with_rows(&db, 0..10).await;
    submit(&db, &place.job(OVER_SUMS)).await.unwrap();
    assert!(db.drop_store("rows").await.unwrap());
    let report = run(&db, "over", options(1)).await.unwrap();
    assert_eq!(report.end, End::Failed);
    let told = format!("{:?}", now(&db).await.failures);
    assert!(told.contains("store `rows`: it was dropped"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_store_gives_no_rows() {
    let place = JobFolder::new();
    let db = memory_db().await;
    with_rows(&db, 0..0).await;
    let job = place.job(
        "name = 'none'\n[source]\nformat = 'store'\nstore = 'rows'\n[upsert]\nstore = 'kept'\nkey = ['id']\n",
    );
    assert_eq!(submit_and_run(&db, &job, 1).await.end, End::Done);
    assert!(records(&db, "kept").await.is_empty());
}

/// Killed at any moment and begun again, also with folding and collecting in between, the results are those of one
/// undisturbed run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashes_anywhere_change_nothing_of_a_job_over_a_store() {
    let place = JobFolder::new();
    let job = place.job(OVER_SUMS);
    let mut crashes_seen = 0;
    for seed in 0..6 {
        let entropy = SeededEntropy::new(seed);
        let mut storage = MemoryStorage::new();
        let db = open(&storage).await.unwrap();
        with_rows(&db, 0..600).await;
        db.close().await.unwrap();
        let mut is_done = false;
        for crashes in 0..400 {
            storage.crash_after(entropy.next_u64() % 15 + crashes, entropy.next_u64());
            let ended = async {
                let db = open(&storage).await?;
                let submitted = submit(&db, &job).await?;
                if crashes % 3 == 0 {
                    db.fold().await?;
                    db.collect().await?;
                }
                let options = crate::run::RunOptions {
                    commit_interval: Duration::ZERO,
                    ..options(2)
                };
                Ok::<_, crate::run::JobError>(run(&db, &submitted.name, options).await?.end)
            };
            let ended = ended.await;
            let crashed = storage.is_crashed();
            storage = match crashes % 2 {
                0 => storage.power_loss(&entropy),
                _ => storage.restart(),
            };
            match ended {
                Ok(End::Done) => {
                    let db = open(&storage).await.unwrap();
                    assert_eq!(results(&db).await, expected(0..600), "seed {seed}");
                    is_done = true;
                    break;
                }
                Ok(other) => panic!("seed {seed}: ended as {other:?}"),
                Err(error) => assert!(crashed, "seed {seed}: failed without a crash: {error}"),
            }
            crashes_seen += 1;
        }
        assert!(is_done, "seed {seed}: not done after 400 crashes");
    }
    assert!(crashes_seen > 12, "only {crashes_seen} crashes took place");
}

/// The merged states of a store are the same data after they were folded, which merges them in another order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn folding_a_merged_store_changes_nothing_that_a_job_reads() {
    let place = JobFolder::new();
    let db = memory_db().await;
    let mut text = "k,f\n".to_owned();
    for row in 0..3000_u32 {
        writeln!(text, "{},{}", row % 11, f64::from(row) * 0.1 + 1e-9).unwrap();
    }
    place.write("a.csv", text);
    let first = place.job(
        "name = 'first'\n[source]\nformat = 'csv'\npaths = ['*.csv']\nshard_size = '1KiB'\n[merge]\nstore = 'made'\n\
         key = ['k']\n[merge.values]\nsum = 'sum(f)'\nmean = 'avg(f)'\nspread = 'stddev_pop(f)'\n",
    );
    let ended = {
        let submitted = submit(&db, &first).await.unwrap();
        let options = crate::run::RunOptions {
            commit_interval: Duration::ZERO,
            ..options(1)
        };
        run(&db, &submitted.name, options).await.unwrap().end
    };
    assert_eq!(ended, End::Done);
    let second = place.job(
        "name = 'second'\n[source]\nformat = 'store'\nstore = 'made'\n[upsert]\nstore = 'kept'\nkey = ['k']\n",
    );
    submit(&db, &second).await.unwrap();
    db.fold().await.unwrap();
    db.compact().await.unwrap();
    let report = run(&db, "second", options(1)).await.unwrap();
    assert_eq!(report.end, End::Done);
    assert_eq!(records(&db, "kept").await.len(), 11);
    let store = db.store("made").await.unwrap().unwrap();
    let mut scan = db.snapshot().scan(&store, &ScanRange::all());
    let mut seen = 0;
    while scan.next().await.unwrap().is_some() {
        seen += 1;
    }
    assert_eq!(seen, 11);
}
