//! The largest messages that the limits allow fit into what a request or an answer may weigh.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use eciton_proto::limits::*;
use eciton_proto::prost::Message;
use eciton_proto::v1::*;

fn text(len: usize) -> String {
    "x".repeat(len)
}

/// The largest number of each kind takes ten bytes.
const LARGE: i64 = -1;

fn fits_request(message: &impl Message) {
    let len = message.encoded_len();
    assert!(len <= REQUEST_LEN_MAX, "{len} bytes");
}

fn fits_answer(message: &impl Message) {
    let len = message.encoded_len();
    assert!(len <= RESPONSE_LEN_MAX, "{len} bytes");
}

fn counts() -> JobCounts {
    JobCounts {
        done: u64::MAX,
        failed: u64::MAX,
        running: u64::MAX,
        rows_read: u64::MAX,
        rows_skipped: u64::MAX,
        records_merged: u64::MAX,
        attempts: u64::MAX,
        conflicts: u64::MAX,
        values_ignored: u64::MAX,
    }
}

fn status(failures: usize) -> JobStatus {
    let failure = ShardFailure {
        shard: u64::MAX,
        file: text(PATH_LEN_MAX),
        start: u64::MAX,
        end: u64::MAX,
        unit: ShardUnit::Values.into(),
        attempts: u32::MAX,
        error: text(ERROR_LEN_MAX),
    };
    JobStatus {
        name: text(JOB_NAME_LEN_MAX),
        number: u64::MAX,
        phase: JobPhase::Cancelled.into(),
        // A store's name has at most 255 bytes.
        store: text(255),
        shards: u64::MAX,
        retries: u32::MAX,
        submitted_ms: LARGE,
        started_ms: LARGE,
        finished_ms: LARGE,
        as_of_ms: LARGE,
        counts: Some(counts()),
        failures: vec![failure; failures],
        spec: None,
        reason: text(REASON_LEN_MAX),
        note: text(REASON_LEN_MAX),
    }
}

#[test]
fn a_status_with_all_its_failures() {
    fits_answer(&GetJobResponse {
        job: Some(status(FAILURES_SHOWN_MAX)),
    });
    fits_answer(&WatchJobResponse {
        job: Some(status(FAILURES_SHOWN_MAX)),
    });
}

#[test]
fn a_page_of_jobs() {
    fits_answer(&ListJobsResponse {
        jobs: vec![status(0); JOBS_PAGE_MAX as usize],
        next_page_token: text(PAGE_TOKEN_LEN_MAX),
    });
}

#[test]
fn a_page_of_workers() {
    let mut worker = Worker {
        id: text(WORKER_TEXT_LEN_MAX),
        info: Some(WorkerInfo {
            name: text(WORKER_TEXT_LEN_MAX),
            version: text(WORKER_TEXT_LEN_MAX),
            slots: u32::MAX,
        }),
        kind: WorkerKind::Pulling.into(),
        state: WorkerState::Draining.into(),
        address: text(WORKER_TEXT_LEN_MAX),
        busy: u32::MAX,
        started_ms: LARGE,
        seen_ms: LARGE,
        shards_done: u64::MAX,
        jobs: vec![],
    };
    // As many of its jobs as the comment promises, and then as many as there is room for.
    let job = WorkerJob {
        name: text(JOB_NAME_LEN_MAX),
        running: u32::MAX,
        ..WorkerJob::default()
    };
    worker.jobs = vec![job; 6];
    assert!(worker.encoded_len() <= WORKER_LEN_MAX);
    let left = WORKER_LEN_MAX - worker.encoded_len();
    worker.jobs[0].name.push_str(&text(left));
    assert_eq!(worker.encoded_len(), WORKER_LEN_MAX);
    fits_answer(&ListWorkersResponse {
        workers: vec![worker; WORKERS_PAGE_MAX as usize],
        next_page_token: text(PAGE_TOKEN_LEN_MAX),
    });
}

#[test]
fn a_retry_that_names_files() {
    fits_answer(&RetryJobResponse {
        job: Some(status(0)),
        shards: u64::MAX,
        files: vec![text(PATH_LEN_MAX); FILES_SHOWN_MAX],
        files_changed: u64::MAX,
    });
}

#[test]
fn the_longest_job_file() {
    fits_request(&SubmitJobRequest {
        file: Some(JobFile {
            name: text(PATH_LEN_MAX),
            text: text(JOB_FILE_LEN_MAX),
            directory: text(PATH_LEN_MAX),
            contents: Vec::new(),
        }),
        check_only: true,
    });
}

#[test]
fn a_full_pull() {
    fits_request(&PullRequest {
        jobs: vec![text(JOB_NAME_LEN_MAX); PULL_JOBS_MAX],
        tasks_max: PULL_TASKS_MAX,
        ..PullRequest::default()
    });
    let task = TaskSpec {
        job: text(JOB_NAME_LEN_MAX),
        shard: u64::MAX,
        attempt: u32::MAX,
        token: vec![0xFF; LEASE_TOKEN_LEN_MAX],
        lease_ms: u64::MAX,
        read: Some(task_spec::Read::Text(TextRange {
            file: Some(SourceFile {
                path: text(PATH_LEN_MAX),
                display: text(PATH_LEN_MAX),
                len: u64::MAX,
                mtime_ms: LARGE,
                content_hash: vec![0xFF; 16],
                mtime_ns: LARGE,
                inode: u64::MAX,
                birth_ns: LARGE,
                etag: text(256),
                device: u64::MAX,
                tail_hash: u64::MAX,
                ctime_ns: LARGE,
                attributes_hash: u64::MAX,
            }),
            start: u64::MAX,
            end: u64::MAX,
            to_end: true,
            compression: Compression::Zstd.into(),
        })),
    };
    let answer = PullResponse {
        jobs: vec![],
        tasks: vec![task; PULL_TASKS_MAX as usize],
        ended: vec![text(JOB_NAME_LEN_MAX); PULL_JOBS_MAX],
        pause_ms: u32::MAX,
    };
    // Most of the room is left for the jobs.
    assert!(answer.encoded_len() < RESPONSE_LEN_MAX / 4);
}

#[test]
fn all_leases_at_once() {
    let tokens = vec![vec![0xFF; LEASE_TOKEN_LEN_MAX]; RENEW_LEASES_MAX];
    fits_request(&RenewRequest {
        tokens: tokens.clone(),
    });
    fits_request(&ReleaseRequest { tokens });
    let lease = RenewedLease {
        state: LeaseState::Held.into(),
        lease_ms: u64::MAX,
    };
    fits_answer(&RenewResponse {
        leases: vec![lease; RENEW_LEASES_MAX],
    });
}

#[test]
fn a_chunk_of_rows() {
    let rows = vec![b'x'; ROWS_CHUNK_LEN_MAX];
    let message = CompleteRequest {
        part: Some(complete_request::Part::Rows(rows.into())),
    };
    // Also for a peer in a language whose library was left as it is.
    assert!(message.encoded_len() <= RESPONSE_LEN_MAX);
    fits_request(&message);
}

#[test]
fn the_longest_error() {
    fits_request(&FailRequest {
        token: vec![0xFF; LEASE_TOKEN_LEN_MAX],
        error: text(ERROR_LEN_MAX),
        transient: true,
        started_ms: LARGE,
    });
    fits_answer(&CompleteResponse {
        outcome: CompleteOutcome::Refused.into(),
        error: text(ERROR_LEN_MAX),
        records_merged: u64::MAX,
        conflicts: u32::MAX,
    });
}
