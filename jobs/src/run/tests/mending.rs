use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::FileTimes;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use eciton_engine::Action;
use parquet::arrow::ArrowWriter;

use super::support::*;
use crate::run::api::retry::prepare;
use crate::run::{End, ExitCode, JobError, retry, run, status, submit};
use crate::source::Reach;

const ROWS: usize = 600;

/// A job over `flights.csv` whose lines in `broken` are no numbers.
fn lines(broken: &[usize]) -> Vec<String> {
    let mut lines = vec!["carrier,delay".to_owned()];
    for row in 0..ROWS {
        let delay = if broken.contains(&row) {
            "oops".to_owned()
        } else {
            row.to_string()
        };
        lines.push(format!("AA,{delay}"));
    }
    lines
}

fn text(lines: &[String]) -> String {
    lines.iter().fold(String::new(), |mut text, line| {
        writeln!(text, "{line}").unwrap();
        text
    })
}

/// Writes a file so that its time of change differs from any earlier one.
fn rewrite(path: &Path, text: impl AsRef<[u8]>, seconds: u64) {
    rewrite_at(path, text, UNIX_EPOCH + Duration::from_secs(seconds));
}

/// Writes a file so that it was last changed then.
fn rewrite_at(path: &Path, text: impl AsRef<[u8]>, time: SystemTime) {
    std::fs::write(path, text).unwrap();
    let times = FileTimes::new().set_modified(time);
    std::fs::File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_times(times)
        .unwrap();
}

/// Makes a file another mode, which explains why anything about it changed.
fn explain_change(path: &Path) {
    let mut mode = std::fs::metadata(path).unwrap().permissions();
    #[cfg(unix)]
    std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o640);
    std::fs::set_permissions(path, mode).unwrap();
}

fn sum_of(values: impl Iterator<Item = i64>) -> BTreeMap<String, String> {
    let values: Vec<i64> = values.collect();
    let top = values.iter().copied().max().unwrap();
    let sums = (values.len() as u64, values.iter().sum(), top);
    shown(&BTreeMap::from([("AA".to_owned(), sums)]))
}

fn job_text() -> String {
    SUM_JOB.replace(
        "[transform]",
        "[source.schema]\ndelay = \"int64\"\n[transform]",
    )
}

#[tokio::test]
async fn malformed_records_fail_their_shards_alone_and_can_be_mended() {
    let place = JobFolder::new();
    let broken = [100, 300, 301, 520];
    let path = place.write("flights.csv", text(&lines(&broken)));
    let db = memory_db().await;
    let report = submit_and_run(&db, &place.job(&job_text()), 2).await;
    assert_eq!((report.end, report.status.state), (End::Failed, "failed"));
    let shards = report.status.shards;
    assert_eq!(
        (shards.failed, shards.done + shards.failed),
        (3, shards.total)
    );
    assert_eq!(
        report.status.attempts, shards.total,
        "reading the same bytes again is no use"
    );
    let failure = &report.status.failures[0];
    assert!(
        failure
            .error
            .contains("`flights.csv`: line 102, column 2 (`delay`), byte"),
        "{}",
        failure.error
    );
    assert!(failure.start < failure.end && failure.attempts == 1);

    // Mended: one line right, one line away, one line longer and another one added.
    let mut mended = lines(&[]);
    mended[301] = "AA,-100000".to_owned();
    mended.insert(522, "AA,5".to_owned());
    mended.remove(302);
    rewrite(&path, text(&mended), 1_000);
    // Without a retry nothing changes.
    assert!(run(&db, "sums", options(1)).await.unwrap().had_ended);
    let retried = retry(&db, "sums").await.unwrap();
    assert_eq!(
        (retried.shards, retried.files.as_slice()),
        (3, &["flights.csv".to_owned()][..])
    );
    assert_eq!(
        (retried.status.state, retried.status.retries),
        ("running", 1)
    );
    let report = run(&db, "sums", options(2)).await.unwrap();
    assert_eq!(report.end, End::Done, "{:?}", report.status.failures);
    let values = (0..600)
        .filter(|row| ![300, 301].contains(row))
        .chain([-100_000, 5]);
    assert_eq!(records(&db, "by_carrier").await, sum_of(values));
    assert_eq!(report.status.rows_read, 600);
}

#[tokio::test]
async fn a_change_elsewhere_is_refused_with_the_files_name() {
    let place = JobFolder::new();
    let path = place.write("flights.csv", text(&lines(&[300])));
    let other = place.write("other.csv", text(&lines(&[])));
    let db = memory_db().await;
    submit_and_run(&db, &place.job(&job_text()), 1).await;
    let position = db.info().position;
    let refused = async |what: &str| {
        let error = retry(&db, "sums").await.unwrap_err();
        assert!(matches!(error, JobError::Changed(_)), "{what}: {error}");
        assert_eq!(error.exit_code(), ExitCode::Usage);
        assert_eq!(
            db.info().position,
            position,
            "{what}: something was written"
        );
        error.to_string()
    };
    let mut changed = lines(&[]);
    changed[10] = "AA,8".to_owned();
    rewrite(&path, text(&changed), 1_000);
    assert!(refused("same length").await.starts_with("`flights.csv`: "));
    changed[10] = "AA,12345678".to_owned();
    rewrite(&path, text(&changed), 2_000);
    refused("longer").await;
    rewrite(&path, text(&lines(&[])), 3_000);
    rewrite(&other, text(&lines(&[5])), 1_000);
    assert!(
        refused("a file without failures")
            .await
            .starts_with("`other.csv`")
    );
    // The same bytes again are the same file, whatever their time.
    rewrite(&other, text(&lines(&[])), 2_000);
    retry(&db, "sums").await.unwrap();
    assert_eq!(run(&db, "sums", options(1)).await.unwrap().end, End::Done);
    let values = (0..600).chain(0..600);
    assert_eq!(records(&db, "by_carrier").await, sum_of(values));
}

/// It would stay done at a place that the new plan cuts anew, and its rows would count twice or not at all.
#[tokio::test]
async fn a_retry_that_cuts_anew_loses_against_a_shard_that_ends_meanwhile() {
    let place = JobFolder::new();
    let broken = text(&lines(&[100]));
    let path = place.write("flights.csv", &broken);
    let db = memory_db().await;
    submit(&db, &place.job(&job_text())).await.unwrap();
    let first = run(&db, "sums", stop_after(2, 1))
        .await
        .unwrap()
        .status
        .shards;
    assert_eq!((first.failed, first.done), (1, 1));
    assert!(first.pending > 1, "{first:?}");
    let mut mended = lines(&[]);
    mended[101] = "AA,-100000".to_owned();
    let recorded = std::fs::metadata(&path).unwrap().modified().unwrap();
    rewrite(&path, text(&mended), 1_000);
    let prepared = prepare(&db, "sums", &Reach::anywhere())
        .await
        .unwrap()
        .unwrap();
    assert_eq!((prepared.shards, prepared.files.len()), (1, 1));
    // Somebody is at the job, and reads what was there.
    rewrite_at(&path, &broken, recorded);
    explain_change(&path);
    let more = run(&db, "sums", stop_after(1, 1))
        .await
        .unwrap()
        .status
        .shards;
    assert_eq!((more.failed, more.done), (1, 2));
    rewrite(&path, text(&mended), 1_000);
    let lost = prepared.tx.commit().await.unwrap_err();
    assert_eq!(lost.action(), Action::Retry, "{lost}");
    assert_eq!(retry(&db, "sums").await.unwrap().shards, 1);
    assert_eq!(run(&db, "sums", options(1)).await.unwrap().end, End::Done);
    let values = (0..600).filter(|row| *row != 100).chain([-100_000]);
    assert_eq!(records(&db, "by_carrier").await, sum_of(values));
}

#[tokio::test]
async fn a_file_that_is_gone_fails_its_shards_and_comes_back() {
    let place = JobFolder::new();
    let path = place.write("flights.csv", text(&lines(&[])));
    let db = memory_db().await;
    submit(&db, &place.job(&job_text())).await.unwrap();
    std::fs::remove_file(&path).unwrap();
    let report = run(&db, "sums", options(2)).await.unwrap();
    assert_eq!((report.end, report.status.shards.done), (End::Failed, 0));
    let error = retry(&db, "sums").await.unwrap_err();
    assert_eq!(
        (error.exit_code(), matches!(error, JobError::Source(_))),
        (ExitCode::Failed, true)
    );
    rewrite(&path, text(&lines(&[])), 5_000);
    retry(&db, "sums").await.unwrap();
    assert_eq!(run(&db, "sums", options(2)).await.unwrap().end, End::Done);
    assert_eq!(records(&db, "by_carrier").await, sum_of(0..600));
}

/// A Parquet file of one column of text, a row group for each of `groups`.
fn parquet(groups: &[Vec<String>]) -> Vec<u8> {
    let batch = |group: &[String]| {
        let delays: ArrayRef = Arc::new(StringArray::from_iter_values(group));
        RecordBatch::try_from_iter([("delay", delays)]).unwrap()
    };
    let mut bytes = vec![];
    let mut writer = ArrowWriter::try_new(&mut bytes, batch(&[]).schema(), None).unwrap();
    for group in groups {
        writer.write(&batch(group)).unwrap();
        writer.flush().unwrap();
    }
    writer.close().unwrap();
    bytes
}

#[tokio::test]
async fn a_mended_row_group_is_read_again_alone() {
    let place = JobFolder::new();
    // Each row group is longer than the 1 KiB of a shard.
    let good: [Vec<String>; 3] = [0, 1, 2].map(|group| {
        (0..400)
            .map(|row| (group * 400 + row).to_string())
            .collect()
    });
    let mut bad = good.clone();
    "oops".clone_into(&mut bad[1][7]);
    let path = place.write("a.parquet", parquet(&bad));
    let job = SUM_JOB
        .replace("format = \"csv\"", "format = \"parquet\"")
        .replace("*.csv", "*.parquet")
        .replace(
            "SELECT carrier, delay FROM",
            "SELECT 'AA' AS carrier, CAST(delay AS BIGINT) AS delay FROM",
        );
    let db = memory_db().await;
    let report = submit_and_run(&db, &place.job(&job), 2).await;
    let shards = report.status.shards;
    assert_eq!((report.end, shards.total), (End::Failed, 3));
    assert_eq!((shards.done, report.status.failures[0].shard), (2, 1));

    // What is done may not change, nor how many row groups there are.
    let mut changed = good.clone();
    "999".clone_into(&mut changed[2][0]);
    for changed in [&changed[..], &good[..2]] {
        rewrite(&path, parquet(changed), 1_000);
        let error = retry(&db, "sums").await.unwrap_err();
        assert!(matches!(error, JobError::Changed(_)), "{error}");
        assert!(error.to_string().starts_with("`a.parquet`: "), "{error}");
    }
    let mut mended = good.clone();
    mended[1].push("-8".to_owned());
    rewrite(&path, parquet(&mended), 2_000);
    let retried = retry(&db, "sums").await.unwrap();
    assert_eq!((retried.shards, retried.files.len()), (1, 1));
    let report = run(&db, "sums", options(2)).await.unwrap();
    assert_eq!(report.end, End::Done, "{:?}", report.status.failures);
    assert_eq!(report.status.attempts, 4, "done shards were left alone");
    let values = (0..1200).chain([-8]);
    assert_eq!(records(&db, "by_carrier").await, sum_of(values));
}

#[tokio::test]
async fn skipped_records_are_counted() {
    let place = JobFolder::new();
    place.write("flights.csv", text(&lines(&[3, 4, 500])));
    let db = memory_db().await;
    let job = job_text().replace("[source.schema]", "on_error = \"skip\"\n[source.schema]");
    let report = submit_and_run(&db, &place.job(&job), 2).await;
    assert_eq!(
        (
            report.end,
            report.status.rows_skipped,
            report.status.rows_read
        ),
        (End::Done, 3, 597)
    );
    assert_eq!(status(&db, "sums").await.unwrap().unwrap().rows_skipped, 3);
}
