//! Jobs that write files: each shard's once, whole, and not before it is committed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use eciton_engine::Db;
use serde_json::Value;

use super::support::*;
use crate::run::records::exports::publish;
use crate::run::records::ledger::Ledger;
use crate::run::{
    End, Event, JobError, Observer, Removal, RunOptions, cancel, remove, replace, retry, run,
    status, submit, submit_within,
};
use crate::source::Reach;

/// A job that writes its rows to `out`, with more lines of `[export]`.
fn job_of(name: &str, export: &str) -> String {
    format!(
        r#"
name = "{name}"
[source]
format = "csv"
paths = ["*.csv"]
shard_size = "1KiB"
[export]
to = "out"
{export}
"#
    )
}

const CSV: &str = "format = \"csv\"\npartition_by = [\"carrier\"]";

/// All files that readers see, by their paths below the folder.
fn visible(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut left = vec![folder.to_owned()];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten() {
            let path: PathBuf = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            match path.is_dir() {
                _ if name.starts_with('_') => {}
                true => left.push(path),
                false => {
                    let name = path
                        .strip_prefix(folder)
                        .unwrap()
                        .to_str()
                        .unwrap()
                        .to_owned();
                    found.insert(
                        name,
                        String::from_utf8_lossy(&fs::read(path).unwrap()).into(),
                    );
                }
            }
        }
    }
    found
}

fn manifest(folder: &Path) -> Value {
    serde_json::from_slice(&fs::read(folder.join("_manifest.json")).unwrap()).unwrap()
}

/// The rows of all files of [`CSV`] with their folders, sorted.
fn rows(files: &BTreeMap<String, String>) -> Vec<String> {
    let mut rows = Vec::new();
    for (path, text) in files {
        let folder = path
            .split('/')
            .next()
            .unwrap()
            .strip_prefix("carrier=")
            .unwrap();
        let (header, lines) = text.split_once('\n').unwrap();
        assert_eq!(header, "delay", "{path}");
        rows.extend(lines.lines().map(|line| format!("{folder},{line}")));
    }
    rows.sort();
    rows
}

/// The rows of the source, sorted.
fn expected(text: &str) -> Vec<String> {
    let mut rows: Vec<String> = text.lines().skip(1).map(str::to_owned).collect();
    rows.sort();
    rows
}

fn staging(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let is_staging = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with("_eciton-")
    };
    entries.filter(is_staging).collect()
}

struct TestFolder {
    dir: JobFolder,
    text: String,
}

impl TestFolder {
    fn new(rows: u64) -> TestFolder {
        let (dir, (text, _)) = (JobFolder::new(), flights(rows));
        dir.write("a.csv", &text);
        TestFolder { dir, text }
    }

    fn out(&self) -> PathBuf {
        self.dir.0.path().join("out")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_row_is_in_one_file_of_its_folder_and_the_manifest_lists_these_files() {
    let place = TestFolder::new(900);
    let db = memory_db().await;
    let report = submit_and_run(&db, &place.dir.job(&job_of("flights", CSV)), 3).await;
    assert_eq!(report.end, End::Done);
    assert_eq!(report.status.export_to, place.out().to_str().unwrap());
    let files = visible(&place.out());
    assert_eq!(rows(&files), expected(&place.text));
    assert!(
        files.contains_key("carrier=AA/flights-00000.csv"),
        "{:?}",
        files.keys()
    );
    let listed = manifest(&place.out());
    assert_eq!(listed["rows"], 900);
    assert_eq!(listed["format"], "csv");
    let paths = listed["files"].as_array().unwrap().iter();
    for file in paths.clone() {
        let text = &files[file["path"].as_str().unwrap()];
        assert_eq!(file["bytes"], text.len());
        assert_eq!(file["rows"], text.lines().count() - 1);
        let hash = format!("{:016x}", xxhash_rust::xxh3::xxh3_64(text.as_bytes()));
        assert_eq!(file["xxh3"], hash);
    }
    assert_eq!(paths.len(), files.len());
    assert_eq!(staging(&place.out()), [""; 0].map(PathBuf::from), "swept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parquet_is_read_back_as_it_was() {
    let place = TestFolder::new(900);
    let db = memory_db().await;
    submit_and_run(&db, &place.dir.job(&job_of("flights", "")), 2).await;
    assert!(visible(&place.out()).contains_key("flights-00000.parquet"));
    let (_, sums) = flights(900);
    let again = SUM_JOB
        .replace("\"csv\"", "\"parquet\"")
        .replace("*.csv", "out/*.parquet");
    submit_and_run(&db, &place.dir.job(&again), 2).await;
    assert_eq!(records(&db, "by_carrier").await, sums);
}

/// Looks at the folder after each shard.
struct Looks(PathBuf);

impl Observer for Looks {
    fn observe(&self, event: &Event<'_>) {
        if let Event::ShardDone { .. } = event {
            for (path, text) in visible(&self.0) {
                assert!(
                    text.starts_with("delay\n") && text.ends_with('\n'),
                    "{path}"
                );
            }
            assert!(
                !self.0.join("_manifest.json").exists(),
                "not before the end"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_committed_is_visible_and_nothing_else() {
    let place = TestFolder::new(900);
    let db = memory_db().await;
    submit(&db, &place.dir.job(&job_of("flights", CSV)))
        .await
        .unwrap();
    let ledger = Ledger::find(&db).await.unwrap().unwrap();
    let report = run(&db, "flights", stop_after(3, 1)).await.unwrap();
    assert_eq!((report.end, report.status.shards.done), (End::Stopped, 3));
    let committed = ledger.exports("flights").await.unwrap();
    let paths: Vec<&String> = committed.iter().map(|file| &file.path).collect();
    let seen = visible(&place.out());
    let mut seen: Vec<&String> = seen.keys().collect();
    let mut paths = paths.clone();
    paths.sort();
    seen.sort();
    assert_eq!(seen, paths);
    assert!(
        !place.out().join("_manifest.json").exists(),
        "not before the end"
    );
    let looks = RunOptions {
        observer: Arc::new(Looks(place.out())),
        ..options(1)
    };
    assert_eq!(run(&db, "flights", looks).await.unwrap().end, End::Done);
    assert_eq!(rows(&visible(&place.out())), expected(&place.text));
}

/// As if the process had been killed between the commit of a shard and the renaming of its files.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_committed_and_is_not_visible_becomes_so_before_the_job_is_done() {
    let place = TestFolder::new(900);
    let db = memory_db().await;
    submit(&db, &place.dir.job(&job_of("flights", CSV)))
        .await
        .unwrap();
    run(&db, "flights", stop_after(3, 1)).await.unwrap();
    let (ledger, job) = Ledger::with_job(&db, "flights").await.unwrap();
    let plan = job.plan.export.unwrap();
    let staged = place.out().join(&plan.staging);
    let committed = ledger.exports("flights").await.unwrap();
    assert!(!committed.is_empty());
    for file in &committed {
        fs::rename(place.out().join(&file.path), staged.join(&file.staged)).unwrap();
    }
    // What a dead attempt has left.
    fs::write(staged.join("4-0-0.tmp"), "half").unwrap();
    // Two processes may do it, or one twice.
    publish(&plan, &committed[..1]).unwrap();
    publish(&plan, &committed[..1]).unwrap();
    let report = run(&db, "flights", options(2)).await.unwrap();
    assert_eq!(report.end, End::Done);
    assert_eq!(rows(&visible(&place.out())), expected(&place.text));
    assert!(!staged.exists(), "swept");
    // A kill before the sweep leaves it to the next run.
    fs::create_dir(&staged).unwrap();
    assert!(run(&db, "flights", options(1)).await.unwrap().had_ended);
    assert!(!staged.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_not_done_while_one_of_its_files_is_gone() {
    let place = TestFolder::new(900);
    let db = memory_db().await;
    submit(&db, &place.dir.job(&job_of("flights", CSV)))
        .await
        .unwrap();
    run(&db, "flights", stop_after(3, 1)).await.unwrap();
    let lost = place.out().join("carrier=AA/flights-00000.csv");
    let text = fs::read(&lost).unwrap();
    fs::remove_file(&lost).unwrap();
    let error = run(&db, "flights", options(2)).await.unwrap_err();
    assert!(matches!(&error, JobError::Export { .. }), "{error}");
    assert!(error.to_string().contains("flights-00000.csv"), "{error}");
    assert_eq!(
        status(&db, "flights").await.unwrap().unwrap().state,
        "running"
    );
    fs::write(&lost, "delay\n").unwrap();
    let error = run(&db, "flights", options(2))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("has 6 bytes, expected"), "{error}");
    fs::write(&lost, text).unwrap();
    assert_eq!(
        run(&db, "flights", options(2)).await.unwrap().end,
        End::Done
    );
}

/// Another run does the shard while this one is at it: the second copy goes nowhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_that_compute_one_shard_one_has_a_file() {
    let place = TestFolder::new(100);
    let db = memory_db().await;
    submit(&db, &place.dir.job(&job_of("flights", CSV)))
        .await
        .unwrap();
    let gate = Arc::new(Gate::at(1));
    let held = tokio::spawn({
        let (db, options) = (db.clone(), gate.options());
        async move { run(&db, "flights", options).await }
    });
    until("the run begins no shard", async || gate.is_reached()).await;
    assert_eq!(
        run(&db, "flights", options(1)).await.unwrap().end,
        End::Done
    );
    let before = visible(&place.out());
    gate.open();
    assert_eq!(held.await.unwrap().unwrap().end, End::Done);
    assert_eq!(visible(&place.out()), before);
    assert_eq!(rows(&before), expected(&place.text));
    assert_eq!(staging(&place.out()).len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_sees_another_folder_writes_nothing() {
    let place = TestFolder::new(100);
    let db = memory_db().await;
    submit(&db, &place.dir.job(&job_of("flights", CSV)))
        .await
        .unwrap();
    // As where the folder is not mounted.
    fs::remove_dir_all(place.out()).unwrap();
    let report = run(&db, "flights", options(1)).await.unwrap();
    assert_eq!(report.end, End::Failed);
    let why = &report.status.failures[0].error;
    assert!(
        why.contains("is not the folder that the job was recorded with"),
        "{why}"
    );
    assert_eq!(
        report.status.failures[0].attempts, 4,
        "another one may succeed"
    );
    assert!(!place.out().exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_takes_the_files_of_one_job() {
    let place = TestFolder::new(100);
    let db = memory_db().await;
    let other = place.dir.job(&job_of("other", CSV));
    let refused = async |db: &Db| {
        let error = submit(db, &other).await.unwrap_err();
        assert_eq!(error.exit_code().number(), 2);
        error.to_string()
    };
    fs::create_dir(place.out()).unwrap();
    fs::write(place.out().join("x.csv"), "").unwrap();
    let told = refused(&db).await;
    assert!(
        told.contains("job.toml:8: key `export.to`: folder"),
        "{told}"
    );
    assert!(
        told.contains("has `x.csv` in it; expected an empty or absent folder"),
        "{told}"
    );
    fs::remove_file(place.out().join("x.csv")).unwrap();
    // Hidden names of others are none of its business.
    fs::write(place.out().join(".hidden"), "").unwrap();
    submit_and_run(&db, &place.dir.job(&job_of("flights", CSV)), 1).await;
    assert!(refused(&db).await.contains("in it"));
    // A job that takes the place of this one removes its files first: fewer shards leave none behind.
    let fewer = place
        .dir
        .job(&job_of("flights", CSV).replace("1KiB", "1MiB"));
    let replaced = replace(&db, &fewer).await.unwrap();
    assert!(replaced.replaced.is_some());
    assert_eq!(visible(&place.out()).len(), 1, "the hidden one");
    assert_eq!(
        run(&db, "flights", options(1)).await.unwrap().end,
        End::Done
    );
    fs::remove_file(place.out().join(".hidden")).unwrap();
    assert_eq!(rows(&visible(&place.out())), expected(&place.text));
    // Files stay with the job's records gone, unless they are to go.
    remove(&db, "flights", Removal::default()).await.unwrap();
    assert_eq!(visible(&place.out()).len(), 4);
    assert!(refused(&db).await.contains("in it"));
    fs::remove_dir_all(place.out()).unwrap();
    submit_and_run(&db, &other, 1).await;
    let all = Removal {
        with_results: true,
        force: false,
    };
    assert!(remove(&db, "other", all).await.unwrap().results_dropped);
    assert!(!place.out().exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_job_goes_on_with_its_files() {
    let place = TestFolder::new(900);
    let db = memory_db().await;
    submit(&db, &place.dir.job(&job_of("flights", CSV)))
        .await
        .unwrap();
    run(&db, "flights", stop_after(2, 1)).await.unwrap();
    cancel(&db, "flights").await.unwrap();
    assert!(!place.out().join("_manifest.json").exists());
    retry(&db, "flights").await.unwrap();
    assert_eq!(
        run(&db, "flights", options(2)).await.unwrap().end,
        End::Done
    );
    assert_eq!(rows(&visible(&place.out())), expected(&place.text));
}

#[tokio::test]
async fn exports_that_cannot_be_are_refused_with_their_keys() {
    let place = TestFolder::new(10);
    let db = memory_db().await;
    let refused = async |job: String| {
        let error = submit(&db, &place.dir.job(&job)).await.unwrap_err();
        assert_eq!(error.exit_code().number(), 2);
        error.to_string()
    };
    let by = |columns: &str| job_of("j", &format!("partition_by = {columns}"));
    for (job, told) in [
        (
            by(r#"["carier"]"#),
            "key `export.partition_by`: no column `carier`: did you mean `carrier`?",
        ),
        (
            by(r#"["carrier", "delay"]"#),
            "expected a column that is left for the files, found none",
        ),
    ] {
        let error = refused(job).await;
        assert!(error.contains(told), "{error}");
    }
    let floats = by(r#"["x"]"#).replace(
        "[export]",
        "[transform]\nsql = \"SELECT delay / 2.0 AS x, carrier FROM source\"\n[export]",
    );
    let error = refused(floats).await;
    assert!(
        error.contains("cannot name a folder: expected bool, integer, string or date"),
        "{error}"
    );
    let groups = job_of("j", "").replace(
        "[export]",
        "[transform]\nsql = \"SELECT carrier, count(*) AS n FROM source GROUP BY carrier\"\n[export]",
    );
    let error = refused(groups).await;
    assert!(error.contains("key `transform.sql`"), "{error}");
    // It would write wherever this process may.
    let folder = place.dir.0.path().to_owned();
    let reach = Reach::below([folder]).unwrap();
    let job = place.dir.job(&job_of("j", ""));
    let error = submit_within(&db, &job, &reach)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("over the network writes no files"),
        "{error}"
    );
    assert!(!place.out().exists());
}

/// A shard whose rows go to too many folders fails with the reason, and leaves no file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_writes_to_a_bounded_number_of_folders() {
    let dir = JobFolder::new();
    let job = |folders: u32| {
        dir.job(&format!(
            "name = \"j{folders}\"\n[source]\nformat = \"range\"\nfrom = 0\nto = 600\nshard_len = 600\n[transform]\n\
             sql = \"SELECT i % {folders} AS k, i FROM source\"\n[export]\nto = \"out{folders}\"\npartition_by = [\"k\"]\n"
        ))
    };
    let db = memory_db().await;
    assert_eq!(submit_and_run(&db, &job(256), 1).await.end, End::Done);
    assert_eq!(visible(&dir.0.path().join("out256")).len(), 256);
    let report = submit_and_run(&db, &job(257), 1).await;
    let why = &report.status.failures[0].error;
    assert!(why.contains("more than 256 folders"), "{why}");
    let out = dir.0.path().join("out257");
    assert_eq!(visible(&out).len(), 0);
    assert_eq!(fs::read_dir(&staging(&out)[0]).unwrap().count(), 0);
}
