//! Jobs that are submitted again for files that came later, and upserts by version.

use std::collections::BTreeMap;
use std::fs;

use super::support::*;
use crate::run::{End, JobError, cancel, run, status, submit};
use crate::spec::JobFile;

fn sums(dir: &JobFolder) -> JobFile {
    dir.job(&format!("{SUM_JOB}[run]\nmode = \"incremental\"\n"))
}

fn part(carrier: &str, delays: &[i64]) -> String {
    let lines = delays.iter().map(|delay| format!("{carrier},{delay}\n"));
    format!("carrier,delay\n{}", lines.collect::<String>())
}

async fn totals(db: &eciton_engine::Db) -> Vec<(String, String)> {
    let found = records(db, "by_carrier").await;
    found.into_iter().collect()
}

fn total(carrier: &str, rows: usize, total: i64, top: i64) -> (String, String) {
    (
        format!("\"{carrier}\""),
        format!(r#"{{"rows":{rows},"total":{total},"top":{top}}}"#),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_file_is_read_once_however_often_the_job_is_submitted() {
    let (dir, db) = (JobFolder::new(), memory_db().await);
    dir.write("2.csv", part("AA", &[1, 2]));
    let report = submit_and_run(&db, &sums(&dir), 2).await;
    assert_eq!((report.end, report.status.shards.total), (End::Done, 1));
    // Nothing new: nothing changes.
    let again = submit(&db, &sums(&dir)).await.unwrap();
    assert_eq!((again.joined, again.shards, again.state), (true, 1, "done"));
    // Before and after it by name, and of a size that makes several shards.
    dir.write("1.csv", part("AA", &[10]));
    let (large, expected) = flights(400);
    dir.write("3.csv", &large);
    let again = submit(&db, &sums(&dir)).await.unwrap();
    assert_eq!((again.state, again.warnings.len()), ("running", 0));
    assert!(again.shards > 4, "{again:?}");
    let twice = submit(&db, &sums(&dir)).await.unwrap();
    assert_eq!(twice.shards, again.shards, "added once");
    let report = run(&db, "sums", options(2)).await.unwrap();
    assert_eq!((report.end, report.status.rows_read), (End::Done, 403));
    let mut all = expected;
    let (rows, sum, top) = {
        let aa: serde_json::Value = serde_json::from_str(&all["\"AA\""]).unwrap();
        let number = |name: &str| aa[name].as_i64().unwrap();
        (number("rows"), number("total"), number("top"))
    };
    all.extend([total(
        "AA",
        usize::try_from(rows).unwrap() + 3,
        sum + 13,
        top.max(10),
    )]);
    assert_eq!(totals(&db).await, all.into_iter().collect::<Vec<_>>());
    // A file that was read may go.
    fs::remove_file(dir.0.path().join("2.csv")).unwrap();
    assert_eq!(submit(&db, &sums(&dir)).await.unwrap().state, "done");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_come_while_the_job_is_at_work_and_after_it_was_interrupted() {
    let (dir, db) = (JobFolder::new(), memory_db().await);
    let (text, _) = flights(400);
    dir.write("1.csv", &text);
    submit(&db, &sums(&dir)).await.unwrap();
    run(&db, "sums", stop_after(2, 1)).await.unwrap();
    let gate = std::sync::Arc::new(Gate::at(1));
    let running = tokio::spawn({
        let (db, options) = (db.clone(), gate.options());
        async move { run(&db, "sums", options).await }
    });
    until("the run begins no shard", async || gate.is_reached()).await;
    dir.write("0.csv", part("ZZ", &[5, 6]));
    submit(&db, &sums(&dir)).await.unwrap();
    gate.open();
    let report = running.await.unwrap().unwrap();
    assert_eq!((report.end, report.status.rows_read), (End::Done, 402));
    let status = status(&db, "sums").await.unwrap().unwrap();
    assert_eq!(status.shards.done, status.shards.total);
    assert!(totals(&db).await.contains(&total("ZZ", 2, 11, 6)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_beyond_a_chunk_keep_their_order_and_are_each_added_once() {
    let (dir, db) = (JobFolder::new(), memory_db().await);
    let mut written = 0;
    for count in [255, 256, 257, 600] {
        while written < count {
            dir.write(&format!("{written:04}.csv"), part("AA", &[written]));
            written += 1;
        }
        let report = submit_and_run(&db, &sums(&dir), 2).await;
        assert_eq!(
            (report.end, report.status.rows_read),
            (End::Done, count.unsigned_abs())
        );
        let rows = usize::try_from(count).unwrap();
        let expected = total("AA", rows, count * (count - 1) / 2, count - 1);
        assert_eq!(totals(&db).await, [expected]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_changed_or_has_other_columns_is_named_and_nothing_is_added() {
    let (dir, db) = (JobFolder::new(), memory_db().await);
    dir.write("1.csv", part("AA", &[1]));
    submit_and_run(&db, &sums(&dir), 1).await;
    let refused = async || {
        let error = submit(&db, &sums(&dir)).await.unwrap_err();
        assert_eq!(error.exit_code().number(), 2);
        assert_eq!(status(&db, "sums").await.unwrap().unwrap().state, "done");
        error.to_string()
    };
    dir.write("2.csv", part("AA", &[2]));
    dir.write("1.csv", part("AA", &[1, 9]));
    let told = refused().await;
    assert!(
        told.contains("job.toml:5: key `source.paths`: `1.csv` changed since the job has seen it"),
        "{told}"
    );
    fs::remove_file(dir.0.path().join("1.csv")).unwrap();
    dir.write("2.csv", "carrier,delay\nAA,x\n");
    let told = refused().await;
    assert!(told.contains("delay"), "{told}");
    dir.write("2.csv", part("AA", &[2]));
    submit_and_run(&db, &sums(&dir), 1).await;
    assert_eq!(totals(&db).await, [total("AA", 2, 3, 2)]);
    // Another mode is another job.
    let once = submit(&db, &dir.job(SUM_JOB)).await.unwrap_err();
    assert!(matches!(&once, JobError::Differs { .. }), "{once}");
    dir.write("3.csv", part("AA", &[3]));
    submit(&db, &sums(&dir)).await.unwrap();
    cancel(&db, "sums").await.unwrap();
    dir.write("4.csv", part("AA", &[4]));
    let told = submit(&db, &sums(&dir)).await.unwrap_err().to_string();
    assert!(told.contains("job `sums` is cancelled"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn later_files_are_exported_to_the_same_folder_and_the_manifest_lists_all() {
    let (dir, db) = (JobFolder::new(), memory_db().await);
    let job = "name = \"e\"\n[source]\nformat = \"csv\"\npaths = [\"*.csv\"]\n[export]\nto = \"out\"\n[run]\nmode = \
               \"incremental\"\n";
    let job = dir.job(job);
    for count in 1..4_u64 {
        dir.write(&format!("{count}.csv"), part("AA", &[1]));
        assert_eq!(submit_and_run(&db, &job, 1).await.end, End::Done);
        let manifest = fs::read(dir.0.path().join("out/_manifest.json")).unwrap();
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        assert_eq!(manifest["rows"], count);
        // As many files, and the manifest.
        let names = fs::read_dir(dir.0.path().join("out")).unwrap().count();
        assert_eq!(names as u64, count + 1);
    }
}

const VERSIONED: &str = r#"
[source]
format = "csv"
paths = ["*.csv"]
shard_size = "1KiB"
[upsert]
store = "rows"
key = ["id"]
version = "v"
into_existing = true
"#;

/// The rows of many shards, of jobs in either order, with ties.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_version_never_replaces_a_newer_one() {
    let rows: Vec<(u64, i64, u64)> = (0..600)
        .map(|n| (n % 7, i64::try_from(n * 7919 % 401).unwrap() - 200, n))
        .collect();
    let mut newest: BTreeMap<u64, (i64, u64)> = BTreeMap::new();
    for (id, v, n) in &rows {
        let old = newest.entry(*id).or_insert((*v, *n));
        *old = (*old).max((*v, *n));
    }
    let expected: BTreeMap<String, String> = newest
        .iter()
        .map(|(id, (v, n))| (id.to_string(), format!(r#"{{"v":{v},"n":{n}}}"#)))
        .collect();
    let text = |rows: &[(u64, i64, u64)]| {
        let lines = rows.iter().map(|(id, v, n)| format!("{id},{v},{n}\n"));
        format!("id,v,n\n{}", lines.collect::<String>())
    };
    for workers in [1, 3] {
        let (dir, db) = (JobFolder::new(), memory_db().await);
        dir.write("a.csv", text(&rows));
        let job = dir.job(&format!("name = \"all\"{VERSIONED}"));
        submit_and_run(&db, &job, workers).await;
        assert_eq!(records(&db, "rows").await, expected);
        // What is older comes again, with a later job, and leaves all as it was.
        let (older, db_rows) = (JobFolder::new(), records(&db, "rows").await);
        let lines = rows.iter().map(|(id, v, n)| (*id, *v - 1, *n));
        older.write("a.csv", text(&lines.collect::<Vec<_>>()));
        let job = older.job(&format!("name = \"older\"{VERSIONED}"));
        submit_and_run(&db, &job, workers).await;
        assert_eq!(records(&db, "rows").await, db_rows);
        // Of equal versions the later job's stays.
        let tie = JobFolder::new();
        let (v, _) = newest[&3];
        tie.write("a.csv", format!("id,v,n\n3,{v},1\n"));
        submit_and_run(&db, &tie.job(&format!("name = \"tie\"{VERSIONED}")), 1).await;
        assert_eq!(
            records(&db, "rows").await["3"],
            format!(r#"{{"v":{v},"n":1}}"#)
        );
        // Records in the order of jobs and rows are of another kind.
        let plain = format!("name = \"plain\"{VERSIONED}").replace("version = \"v\"\n", "");
        let error = submit(&db, &tie.job(&plain)).await.unwrap_err().to_string();
        assert!(
            error.contains("store `rows` exists and is different"),
            "{error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_that_cannot_be_are_refused() {
    let (dir, db) = (JobFolder::new(), memory_db().await);
    dir.write("a.csv", "id,v,n\n1,,2\n2,x,3\n");
    let job = |version: &str| {
        let text = format!("name = \"j\"{VERSIONED}").replace("\"v\"", &format!("\"{version}\""));
        dir.job(&text)
    };
    for (version, told) in [
        ("w", "key `upsert.version`: no column `w`"),
        (
            "v",
            "column `v` of type Utf8 cannot be a version: expected a signed integer, date or timestamp",
        ),
        ("id", "column `id` is part of the key"),
    ] {
        let error = submit(&db, &job(version)).await.unwrap_err();
        assert_eq!(error.exit_code().number(), 2);
        assert!(error.to_string().contains(told), "{error}");
    }
    dir.write("a.csv", "id,v,n\n1,5,2\n2,,3\n");
    let report = submit_and_run(&db, &job("v"), 1).await;
    assert_eq!(report.end, End::Failed);
    let why = &report.status.failures[0].error;
    assert!(
        why.contains("the version of") && why.contains("is NULL"),
        "{why}"
    );
}

/// Deletes by keys, some of them in vain, in several shards; with a version only what is not newer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_delete_the_records_of_their_keys() {
    for is_versioned in [false, true] {
        let (dir, db) = (JobFolder::new(), memory_db().await);
        let job = |name: &str, sink: &str, more: &str| {
            let version = if is_versioned { "version = \"v\"" } else { "" };
            dir.job(&format!(
                "name = \"{name}\"\n[source]\nformat = \"csv\"\npaths = [\"{name}.csv\"]\nshard_size = \"1KiB\"\n\
                 [{sink}]\nstore = \"rows\"\nkey = [\"id\"]\n{version}\n{more}\n"
            ))
        };
        let lines = (0..500).map(|id| format!("{id},{},x\n", id % 10));
        dir.write("put.csv", format!("id,v,n\n{}", lines.collect::<String>()));
        submit_and_run(&db, &job("put", "upsert", ""), 2).await;
        assert_eq!(records(&db, "rows").await.len(), 500);
        // Every second one, at version 5, and some that are not there.
        let lines = (0..1000)
            .step_by(2)
            .map(|id| format!("{id},5,{}\n", "y".repeat(5)));
        dir.write("del.csv", format!("id,v,n\n{}", lines.collect::<String>()));
        submit(&db, &job("del", "delete", "")).await.unwrap();
        // Interrupted in between.
        assert_eq!(
            run(&db, "del", stop_after(2, 1)).await.unwrap().end,
            End::Stopped
        );
        let report = run(&db, "del", options(2)).await.unwrap();
        assert_eq!(
            (report.end, report.status.store.as_str()),
            (End::Done, "rows")
        );
        let left: Vec<u64> = records(&db, "rows")
            .await
            .keys()
            .map(|id| id.parse().unwrap())
            .collect();
        let mut expected: Vec<u64> = (0..500)
            .filter(|id| id % 2 == 1 || (is_versioned && id % 10 > 5))
            .collect();
        expected.sort_by_key(ToString::to_string);
        let mut left = left;
        left.sort_by_key(ToString::to_string);
        assert_eq!(left, expected, "versioned: {is_versioned}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delete_needs_the_store_of_upserts_with_its_key() {
    let (dir, db) = (JobFolder::new(), memory_db().await);
    dir.write("a.csv", "carrier,delay\nAA,1\n");
    submit_and_run(&db, &dir.job(SUM_JOB), 1).await;
    let job = dir.job(
        "name = \"d\"\n[source]\nformat = \"csv\"\npaths = [\"a.csv\"]\n[delete]\nstore = \"by_carrier\"\nkey = [\"carrier\"]\n",
    );
    let error = submit(&db, &job).await.unwrap_err();
    assert_eq!(error.exit_code().number(), 2);
    let told = error.to_string();
    assert!(
        told.contains("key `delete.store`: store `by_carrier` exists and is different"),
        "{told}"
    );
}
