use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use eciton_engine::Db;
use eciton_proto::limits::{PULL_JOBS_MAX, PULL_TASKS_MAX, RENEW_LEASES_MAX, ROWS_CHUNK_LEN_MAX};
use eciton_proto::v1::task_spec::Read;
use eciton_proto::v1::{
    CompleteBegin, CompleteEnd, CompleteOutcome, CompleteResponse, FailRequest, Format, LeaseState,
    PullRequest, PullResponse, RowsFormat, StepKind, TaskSpec, WorkerInfo,
};

use super::support::*;
use crate::run::pull::{PullDesk, PullError};
use crate::run::{
    CancellationToken, End, JobError, Leases, ServeOptions, Silent, cancel, retry, run, serve,
    status, submit,
};
use crate::source::Reach;

fn desk(db: &Db, leases: &Leases) -> PullDesk {
    let observer = Arc::new(|_: &str| Arc::new(Silent) as Arc<dyn crate::run::Observer>);
    PullDesk::new(
        db,
        leases.clone(),
        observer,
        Reach::anywhere(),
        CancellationToken::new(),
    )
}

fn request(tasks_max: u32) -> PullRequest {
    PullRequest {
        worker: Some(WorkerInfo {
            name: "test".into(),
            version: "1".into(),
            slots: 1,
        }),
        tasks_max,
        ..PullRequest::default()
    }
}

async fn pull(desk: &PullDesk, tasks_max: u32) -> PullResponse {
    desk.pull(&request(tasks_max)).await.unwrap()
}

async fn one(desk: &PullDesk) -> TaskSpec {
    pull(desk, 1).await.tasks.remove(0)
}

/// The records `carrier,delay` of a task.
fn records_of(task: &TaskSpec) -> Vec<(String, i64)> {
    let Some(Read::Text(range)) = &task.read else {
        panic!("{task:?}")
    };
    let text = std::fs::read(&range.file.as_ref().unwrap().path).unwrap();
    let place = |byte: u64| usize::try_from(byte).unwrap();
    let (start, end) = (place(range.start), place(range.end));
    let text = std::str::from_utf8(&text[start..end]).unwrap();
    let record = |line: &str| {
        let (carrier, delay) = line.split_once(',').unwrap();
        (carrier.to_owned(), delay.parse().unwrap())
    };
    text.lines().map(record).collect()
}

fn json(records: &[(String, i64)]) -> Vec<u8> {
    let mut text = String::new();
    for (carrier, delay) in records {
        writeln!(text, r#"{{"delay":{delay},"carrier":"{carrier}"}}"#).unwrap();
    }
    text.into_bytes()
}

fn arrow(records: &[(String, i64)]) -> Vec<u8> {
    let carriers = records.iter().map(|(carrier, _)| carrier);
    let carriers: ArrayRef = Arc::new(StringArray::from_iter_values(carriers));
    let delays = records.iter().map(|(_, delay)| *delay);
    let delays: ArrayRef = Arc::new(Int64Array::from_iter_values(delays));
    let columns = vec![("delay", delays), ("carrier", carriers)];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

pub(super) async fn send(
    desk: &PullDesk,
    token: &[u8],
    format: RowsFormat,
    rows: &[u8],
    count: usize,
) -> Result<CompleteResponse, PullError> {
    let begin = CompleteBegin {
        token: token.to_vec(),
        format: format.into(),
        started_ms: 5,
    };
    let mut completion = desk.complete(&begin).await?;
    for chunk in rows.chunks(1000) {
        completion.rows(Bytes::copy_from_slice(chunk)).await?;
    }
    completion
        .end(CompleteEnd {
            rows_len: rows.len() as u64,
            rows: count as u64,
            rows_read: count as u64,
            rows_skipped: 0,
            bytes_hash: Vec::new(),
            values_ignored: 0,
        })
        .await
}

/// Computes a task and sends its rows.
async fn complete(desk: &PullDesk, task: &TaskSpec) -> Result<CompleteResponse, PullError> {
    let records = records_of(task);
    let rows = json(&records);
    send(
        desk,
        &task.token,
        RowsFormat::JsonLines,
        &rows,
        records.len(),
    )
    .await
}

async fn fail(desk: &PullDesk, task: &TaskSpec, transient: bool) -> Result<(bool, u32), PullError> {
    let request = FailRequest {
        token: task.token.clone(),
        error: "the disk is away".into(),
        transient,
        started_ms: 5,
    };
    let failed = desk.fail(request).await?;
    Ok((failed.failed, failed.attempts))
}

async fn renew(desk: &PullDesk, task: &TaskSpec) -> LeaseState {
    let renewed = desk.renew(std::slice::from_ref(&task.token)).await.unwrap();
    renewed[0].state()
}

/// A database with a job of several shards, and its expected results.
async fn submitted(
    rows: u64,
    run: &str,
) -> (JobFolder, Db, std::collections::BTreeMap<String, String>) {
    let place = JobFolder::new();
    let (text, expected) = flights(rows);
    place.write("flights.csv", text);
    let db = memory_db().await;
    let job = place.job(&format!("{SUM_JOB}{run}"));
    submit(&db, &job).await.unwrap();
    (place, db, expected)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_computed_by_programs_alone() {
    let (_place, db, expected) = submitted(1000, "").await;
    let desk = desk(&db, &Leases::new());
    let mut outcomes = Vec::new();
    let mut formats = [RowsFormat::JsonLines, RowsFormat::ArrowStream]
        .iter()
        .cycle();
    loop {
        let answer = pull(&desk, 3).await;
        if answer.tasks.is_empty() {
            assert!(answer.pause_ms > 0);
            break;
        }
        let told = &answer.jobs[0];
        assert_eq!((answer.jobs.len(), told.name.as_str()), (1, "sums"));
        let columns = told.output.iter().map(|column| column.name.as_str());
        assert_eq!(columns.collect::<Vec<_>>(), ["carrier", "delay"]);
        for task in answer.tasks {
            let records = records_of(&task);
            let format = *formats.next().unwrap();
            let rows = match format {
                RowsFormat::ArrowStream => arrow(&records),
                _ => json(&records),
            };
            let completed = send(&desk, &task.token, format, &rows, records.len()).await;
            let completed = completed.unwrap();
            assert_eq!(completed.outcome(), CompleteOutcome::Done);
            assert!(completed.records_merged > 0);
            let again = complete(&desk, &task).await.unwrap();
            outcomes.push(again.outcome());
            assert_eq!(renew(&desk, &task).await, LeaseState::Ended);
        }
    }
    assert!(outcomes.len() > 5, "{} shards", outcomes.len());
    assert!(
        outcomes
            .iter()
            .all(|outcome| *outcome == CompleteOutcome::AlreadyDone)
    );
    assert_eq!(records(&db, "by_carrier").await, expected);
    let found = status(&db, "sums").await.unwrap().unwrap();
    assert_eq!((found.state, found.rows_read), ("done", 1000));
    assert_eq!(found.attempts, found.shards.total);
    let named = PullRequest {
        jobs: vec!["sums".into()],
        wait_ms: 30_000,
        ..request(1)
    };
    assert_eq!(desk.pull(&named).await.unwrap().ended, ["sums"]);
    let programs = desk.programs();
    assert_eq!((programs.len(), programs[0].busy), (1, 0));
    assert_eq!(programs[0].shards_done, found.shards.total);
    assert_eq!(desk.leases(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_ran_out_counts_until_somebody_else_has_the_shard() {
    let (_place, db, _) = submitted(400, "[run]\nlease = \"1s\"\n").await;
    let leases = Leases::new();
    let desk = desk(&db, &leases);
    let (first, second) = (one(&desk).await, one(&desk).await);
    assert_ne!(first.shard, second.shard);
    assert_eq!(renew(&desk, &first).await, LeaseState::Held);
    // Nobody renews them.
    while desk.leases() > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(
        complete(&desk, &first).await.unwrap().outcome(),
        CompleteOutcome::Done
    );
    let taken = loop {
        let task = one(&desk).await;
        if task.shard == second.shard {
            break task;
        }
        desk.release(&[task.token]).await.unwrap();
    };
    assert_eq!(renew(&desk, &second).await, LeaseState::Lost);
    assert!(matches!(
        complete(&desk, &second).await,
        Err(PullError::Lost(_))
    ));
    assert!(matches!(
        fail(&desk, &second, true).await,
        Err(PullError::Lost(_))
    ));
    desk.release(std::slice::from_ref(&second.token))
        .await
        .unwrap();
    assert_eq!(renew(&desk, &taken).await, LeaseState::Held);
    // Given back untried: others begin at once, and who gave it back holds nothing any more.
    desk.release(std::slice::from_ref(&taken.token))
        .await
        .unwrap();
    assert_eq!(renew(&desk, &taken).await, LeaseState::Lost);
    assert!(matches!(
        fail(&desk, &taken, true).await,
        Err(PullError::Lost(_))
    ));
    let found = status(&db, "sums").await.unwrap().unwrap();
    assert_eq!((found.shards.done, found.attempts), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_are_counted_once_until_attempts_are_used_up() {
    let (_place, db, _) = submitted(400, "[run]\nmax_attempts = 2\n").await;
    let leases = Leases::new();
    let (desk, other) = (desk(&db, &leases), desk(&db, &leases));
    let first = one(&desk).await;
    assert_eq!(first.attempt, 1);
    assert_eq!(fail(&desk, &first, true).await.unwrap(), (false, 1));
    for peer in [&desk, &other] {
        let again = fail(peer, &first, true).await;
        assert!(
            matches!(again, Err(PullError::Lost(_))),
            "the answer was lost: {again:?}"
        );
    }
    // It rests for a moment, and comes again.
    let second = loop {
        let task = one(&desk).await;
        if task.shard == first.shard {
            break task;
        }
        desk.release(&[task.token]).await.unwrap();
    };
    assert_eq!(second.attempt, 2);
    // Another peer takes it, too: the one that gave it may be gone.
    assert_eq!(fail(&other, &second, true).await.unwrap(), (true, 2));
    let lasting = loop {
        let task = one(&desk).await;
        if task.shard != first.shard {
            break task;
        }
    };
    assert_eq!(fail(&desk, &lasting, false).await.unwrap(), (true, 1));
    let found = status(&db, "sums").await.unwrap().unwrap();
    assert_eq!((found.shards.failed, found.attempts), (2, 3));
    assert_eq!(found.failures[0].error, "the disk is away");
    for error in [
        String::new(),
        "x".repeat(eciton_proto::limits::ERROR_LEN_MAX + 1),
    ] {
        let request = FailRequest {
            token: lasting.token.clone(),
            error,
            ..FailRequest::default()
        };
        assert!(matches!(
            desk.fail(request).await,
            Err(PullError::Invalid(_))
        ));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_peer_takes_the_rows_when_the_one_that_gave_the_task_is_gone() {
    let (_place, db, expected) = submitted(300, "").await;
    let other = desk(&db, &Leases::new());
    loop {
        // Gone with everything it knew.
        let gone = desk(&db, &Leases::new());
        let tasks = pull(&gone, 64).await.tasks;
        if tasks.is_empty() {
            break;
        }
        for task in tasks {
            let completed = complete(&other, &task).await.unwrap();
            assert_eq!(completed.outcome(), CompleteOutcome::Done);
        }
    }
    assert_eq!(records(&db, "by_carrier").await, expected);
    assert_eq!(run(&db, "sums", options(1)).await.unwrap().end, End::Done);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_do_not_come_whole_or_do_not_fit_count_for_nothing() {
    let (_place, db, _) = submitted(400, "").await;
    let desk = desk(&db, &Leases::new());
    let task = one(&desk).await;
    let records = records_of(&task);
    let rows = json(&records);
    let begin = |format: RowsFormat| CompleteBegin {
        token: task.token.clone(),
        format: format.into(),
        started_ms: 0,
    };
    let end = CompleteEnd {
        rows_len: rows.len() as u64,
        rows: records.len() as u64,
        rows_read: records.len() as u64,
        ..CompleteEnd::default()
    };
    let invalid = |what: Result<CompleteResponse, PullError>, part: &str| match what {
        Err(PullError::Invalid(why)) => assert!(why.contains(part), "{part}: {why}"),
        other => panic!("{part}: {other:?}"),
    };
    for (wrong, part) in [
        (
            CompleteEnd {
                rows_len: 1,
                ..end.clone()
            },
            "rows_len",
        ),
        (
            CompleteEnd {
                rows: 1,
                ..end.clone()
            },
            "`rows`",
        ),
        (
            CompleteEnd {
                rows_skipped: 1,
                ..end.clone()
            },
            "rows_skipped",
        ),
        (
            CompleteEnd {
                bytes_hash: vec![1],
                ..end.clone()
            },
            "bytes_hash",
        ),
    ] {
        let mut completion = desk.complete(&begin(RowsFormat::JsonLines)).await.unwrap();
        completion
            .rows(Bytes::copy_from_slice(&rows))
            .await
            .unwrap();
        invalid(completion.end(wrong).await, part);
    }
    // Broken off.
    let mut completion = desk.complete(&begin(RowsFormat::JsonLines)).await.unwrap();
    completion
        .rows(Bytes::copy_from_slice(&rows))
        .await
        .unwrap();
    drop(completion);
    let unknown = desk.complete(&begin(RowsFormat::Unspecified)).await;
    assert!(matches!(unknown, Err(PullError::Invalid(_))));
    let mut long = desk.complete(&begin(RowsFormat::JsonLines)).await.unwrap();
    let chunk = Bytes::from(vec![b' '; ROWS_CHUNK_LEN_MAX + 1]);
    assert!(matches!(
        long.rows(chunk).await,
        Err(PullError::TooLarge(_))
    ));
    for (format, bytes, part) in [
        (
            RowsFormat::JsonLines,
            b"{\"delay\":1}\n".to_vec(),
            "column `carrier`",
        ),
        (
            RowsFormat::JsonLines,
            b"{\"delay\":1.5,\"carrier\":\"A\"}\n".to_vec(),
            "Int64",
        ),
        (RowsFormat::JsonLines, b"nothing\n".to_vec(), "JSON object"),
        (RowsFormat::ArrowStream, rows.clone(), "expected a message"),
    ] {
        invalid(send(&desk, &task.token, format, &bytes, 1).await, part);
    }
    let mut damaged = task.token.clone();
    damaged[9] ^= 1;
    invalid(
        send(&desk, &damaged, RowsFormat::JsonLines, &rows, 1).await,
        "token",
    );
    let found = status(&db, "sums").await.unwrap().unwrap();
    assert_eq!((found.shards.done, found.attempts), (0, 0));
    assert!(super::support::records(&db, "by_carrier").await.is_empty());
    assert_eq!(
        complete(&desk, &task).await.unwrap().outcome(),
        CompleteOutcome::Done
    );
}

/// Whoever was given a shard cannot end another one with what he knows of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_was_made_elsewhere_ends_no_shard() {
    let (_place, db, _) = submitted(400, "").await;
    let desk = desk(&db, &Leases::new());
    let task = one(&desk).await;
    let rows = json(&records_of(&task));
    // Another shard's, with all that an earlier version asked for: its checksum took the database's id and no key.
    let database = db.info().instance.0.to_le_bytes();
    let seed = u64::from_le_bytes(database[..8].try_into().unwrap());
    let mut forged = task.token[..49].to_vec();
    forged[20] ^= 1;
    forged[0] = 1;
    forged.extend(xxhash_rust::xxh3::xxh3_64_with_seed(&forged, seed).to_be_bytes());
    let lost = send(&desk, &forged, RowsFormat::JsonLines, &rows, 1).await;
    assert!(matches!(lost, Err(PullError::Lost(_))), "{lost:?}");
    let renewed = desk.renew(std::slice::from_ref(&forged)).await.unwrap();
    assert_eq!(renewed[0].state(), LeaseState::Lost);
    desk.release(std::slice::from_ref(&forged)).await.unwrap();
    // The same in today's layout, with what can be known outside.
    forged[0] = task.token[0];
    forged.truncate(49);
    forged.extend(&task.token[49..]);
    let unknown = send(&desk, &forged, RowsFormat::JsonLines, &rows, 1).await;
    assert!(matches!(unknown, Err(PullError::Invalid(_))), "{unknown:?}");
    let found = status(&db, "sums").await.unwrap().unwrap();
    assert_eq!((found.shards.done, found.attempts), (0, 0));
    assert_eq!(renew(&desk, &task).await, LeaseState::Held);
    // Another peer of the database takes the real one, and has drawn no key of its own.
    let other = PullDesk::new(
        &db,
        Leases::new(),
        Arc::new(|_| Arc::new(Silent)),
        Reach::anywhere(),
        CancellationToken::new(),
    );
    let done = complete(&other, &task).await.unwrap();
    assert_eq!(done.outcome(), CompleteOutcome::Done);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_no_store_takes_fails_its_shard() {
    let (_place, db, _) = submitted(400, "").await;
    let desk = desk(&db, &Leases::new());
    let task = one(&desk).await;
    let long = "x".repeat(eciton_engine::limits::KEY_LEN_MAX + 1);
    let rows = json(&[("AA".into(), 1), (long, 2), ("B6".into(), 3)]);
    let refused = send(&desk, &task.token, RowsFormat::JsonLines, &rows, 3)
        .await
        .unwrap();
    assert_eq!(refused.outcome(), CompleteOutcome::Refused);
    assert!(refused.error.contains("key"), "{}", refused.error);
    let again = send(&desk, &task.token, RowsFormat::JsonLines, &rows, 3)
        .await
        .unwrap();
    assert_eq!(again, refused, "its answer was lost");
    let found = status(&db, "sums").await.unwrap().unwrap();
    assert_eq!((found.shards.failed, found.attempts), (1, 1));
    assert!(super::support::records(&db, "by_carrier").await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_counts_after_a_cancellation_or_a_retry() {
    let (_place, db, expected) = submitted(300, "").await;
    let desk = desk(&db, &Leases::new());
    let (task, other) = (one(&desk).await, one(&desk).await);
    cancel(&db, "sums").await.unwrap();
    assert_eq!(renew(&desk, &task).await, LeaseState::Stopped);
    assert!(matches!(
        complete(&desk, &task).await,
        Err(PullError::Stopped(_))
    ));
    assert!(matches!(
        fail(&desk, &task, true).await,
        Err(PullError::Stopped(_))
    ));
    assert!(pull(&desk, 1).await.tasks.is_empty());
    retry(&db, "sums").await.unwrap();
    assert_eq!(renew(&desk, &other).await, LeaseState::Stopped);
    assert!(matches!(
        complete(&desk, &other).await,
        Err(PullError::Stopped(_))
    ));
    loop {
        let tasks = pull(&desk, 64).await.tasks;
        if tasks.is_empty() {
            break;
        }
        for task in tasks {
            complete(&desk, &task).await.unwrap();
        }
    }
    assert_eq!(super::support::records(&db, "by_carrier").await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_held_to_their_limits_and_filters() {
    let (_place, db, _) = submitted(400, "").await;
    let stop = CancellationToken::new();
    let observer = Arc::new(|_: &str| Arc::new(Silent) as Arc<dyn crate::run::Observer>);
    let desk = PullDesk::new(
        &db,
        Leases::new(),
        observer,
        Reach::anywhere(),
        stop.clone(),
    );
    let asked = async |request: PullRequest| desk.pull(&request).await;
    assert!(matches!(
        asked(request(PULL_TASKS_MAX + 1)).await,
        Err(PullError::Invalid(_))
    ));
    let jobs = vec!["sums".to_owned(); PULL_JOBS_MAX + 1];
    let many = PullRequest { jobs, ..request(1) };
    assert!(matches!(asked(many).await, Err(PullError::Invalid(_))));
    let absent = PullRequest {
        jobs: vec!["absent".into()],
        ..request(1)
    };
    let missing = asked(absent).await;
    assert!(matches!(
        missing,
        Err(PullError::Job(JobError::NotFound { .. }))
    ));
    for (steps, formats, is_there) in [
        (vec![], vec![], true),
        (
            vec![StepKind::Transform],
            vec![Format::Csv, Format::Jsonl],
            true,
        ),
        (vec![StepKind::None], vec![], false),
        (vec![], vec![Format::Parquet], false),
    ] {
        let filtered = PullRequest {
            steps: steps.into_iter().map(i32::from).collect(),
            formats: formats.into_iter().map(i32::from).collect(),
            ..request(1)
        };
        let tasks = asked(filtered).await.unwrap().tasks;
        assert_eq!(!tasks.is_empty(), is_there);
        for task in tasks {
            desk.release(&[task.token]).await.unwrap();
        }
    }
    let all = asked(request(PULL_TASKS_MAX)).await.unwrap();
    assert!(all.tasks.len() > 1 && all.ended.is_empty());
    let tokens = vec![all.tasks[0].token.clone(); RENEW_LEASES_MAX + 1];
    assert!(desk.renew(&tokens[..RENEW_LEASES_MAX]).await.is_ok());
    assert!(matches!(
        desk.renew(&tokens).await,
        Err(PullError::Invalid(_))
    ));
    assert!(matches!(
        desk.release(&tokens).await,
        Err(PullError::Invalid(_))
    ));
    stop.cancel();
    assert!(matches!(
        asked(request(1)).await,
        Err(PullError::Unavailable(_))
    ));
    // What it gave it still takes.
    let done = complete(&desk, &all.tasks[0]).await.unwrap();
    assert_eq!(done.outcome(), CompleteOutcome::Done);
}

/// The process's own slots and two programs, one of which forgets every third task.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn programs_and_slots_share_a_job() {
    let (_place, db, expected) = submitted(6000, "[run]\nlease = \"1s\"\n").await;
    let leases = Leases::new();
    let desk = desk(&db, &leases);
    let stop = CancellationToken::new();
    let options = ServeOptions {
        leases: leases.clone(),
        commit_interval: Duration::ZERO,
        ..ServeOptions::new(1, stop.clone())
    };
    // They begin with everything that one call gives.
    let first = pull(&desk, 64).await.tasks;
    let serving = tokio::spawn({
        let db = db.clone();
        async move { serve(&db, &options).await }
    });
    let mut programs = Vec::new();
    for program in 0..2 {
        let (desk, mut tasks) = (desk.clone(), first.clone());
        programs.push(tokio::spawn(async move {
            let mut done = 0;
            loop {
                for (n, task) in tasks.iter().enumerate() {
                    if program == 0 && n % 3 == 0 {
                        continue;
                    }
                    match complete(&desk, task).await {
                        Ok(completed) => {
                            done += u64::from(completed.outcome() == CompleteOutcome::Done);
                        }
                        Err(PullError::Lost(_)) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
                let named = PullRequest {
                    jobs: vec!["sums".into()],
                    wait_ms: 1000,
                    ..request(4)
                };
                let answer = desk.pull(&named).await.unwrap();
                if !answer.ended.is_empty() {
                    return done;
                }
                tasks = answer.tasks;
            }
        }));
    }
    let mut done = 0;
    for program in programs {
        done += program.await.unwrap();
    }
    stop.cancel();
    serving.await.unwrap().unwrap();
    assert!(done > 0);
    let found = status(&db, "sums").await.unwrap().unwrap();
    assert_eq!((found.state, found.rows_read), ("done", 6000));
    assert_eq!(records(&db, "by_carrier").await, expected);
}
