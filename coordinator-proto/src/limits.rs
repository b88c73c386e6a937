//! Every bound of the services, named as in the comments of the `.proto` files. Each is tested at its edge.

/// Bytes of a request, or of one message of a stream of them. A job file of full length fits with what
/// goes with it.
pub const REQUEST_LEN_MAX: usize = 8 * 1024 * 1024;
/// Bytes of an answer, or of one message of a stream of them: what gRPC libraries take when nothing is
/// configured.
pub const RESPONSE_LEN_MAX: usize = 4 * 1024 * 1024;

/// Bytes of a job file, as `eciton-jobs` takes them.
pub const JOB_FILE_LEN_MAX: usize = 4 * 1024 * 1024;
/// Bytes of a job's name, as `eciton-jobs` takes them.
pub const JOB_NAME_LEN_MAX: usize = 128;
/// Bytes of a path.
pub const PATH_LEN_MAX: usize = 4096;
/// Bytes of the message of an attempt that failed.
pub const ERROR_LEN_MAX: usize = 16 * 1024;
/// Bytes of why a job was cancelled.
pub const REASON_LEN_MAX: usize = 255;
/// Failed shards that a status describes; it counts all.
pub const FAILURES_SHOWN_MAX: usize = 100;
/// Changed files that a retry names; it counts all.
pub const FILES_SHOWN_MAX: usize = 100;

/// Jobs of a page when the request says nothing.
pub const JOBS_PAGE_DEFAULT: u32 = 50;
/// Jobs of a page, at most.
pub const JOBS_PAGE_MAX: u32 = 500;
/// Workers of a page when the request says nothing.
pub const WORKERS_PAGE_DEFAULT: u32 = 100;
/// Workers of a page, at most.
pub const WORKERS_PAGE_MAX: u32 = 1000;
/// Bytes of a page token.
pub const PAGE_TOKEN_LEN_MAX: usize = 256;
/// Bytes of each text by which a worker is described.
pub const WORKER_TEXT_LEN_MAX: usize = 255;
/// Bytes of a worker with the jobs that it is at; what does not fit is left out.
pub const WORKER_LEN_MAX: usize = 2048;
/// Bytes of why a worker takes no shard of a job.
pub const ASIDE_LEN_MAX: usize = 200;
/// Warnings about the files of a job that was there before.
pub const WARNINGS_MAX: usize = 8;

/// Milliseconds between two messages of a watch, at least.
pub const WATCH_INTERVAL_MS_MIN: u32 = 100;
/// Milliseconds between two messages of a watch when the request says nothing.
pub const WATCH_INTERVAL_MS_DEFAULT: u32 = 1000;
/// Milliseconds between two messages of a watch, at most, by the request.
pub const WATCH_INTERVAL_MS_MAX: u32 = 10_000;
/// Milliseconds after which a watch says something even if nothing changed.
pub const WATCH_SILENCE_MS_MAX: u32 = 15_000;

/// Jobs that one pull may name.
pub const PULL_JOBS_MAX: usize = 64;
/// Tasks of one pull.
pub const PULL_TASKS_MAX: u32 = 64;
/// Milliseconds that a pull may wait for tasks.
pub const PULL_WAIT_MS_MAX: u32 = 30_000;
/// Bytes of the token of a lease.
pub const LEASE_TOKEN_LEN_MAX: usize = 128;
/// Leases that are renewed or given back at a time.
pub const RENEW_LEASES_MAX: usize = 1024;

/// Bytes of one chunk of rows. Small, so that a peer that takes many shards at once holds little.
pub const ROWS_CHUNK_LEN_MAX: usize = 1024 * 1024;
/// Bytes of one row as a JSON line, or of one message of an Arrow stream.
pub const ROW_LEN_MAX: usize = 16 * 1024 * 1024;
/// Bytes of all rows of one shard.
pub const ROWS_LEN_MAX: u64 = 1024 * 1024 * 1024;
/// Milliseconds between two messages of a stream of rows, at most.
pub const COMPLETE_SILENCE_MS_MAX: u32 = 30_000;
/// Milliseconds that a stream of rows may be open, at most.
pub const COMPLETE_MS_MAX: u32 = 900_000;
/// Bytes a second below which a stream of rows may be cut off while others wait for its place.
pub const COMPLETE_RATE_MIN: u64 = 64 * 1024;

// What a limit promises about another one.
const _: () = {
    assert!(JOB_FILE_LEN_MAX + 2 * PATH_LEN_MAX < REQUEST_LEN_MAX);
    assert!(FAILURES_SHOWN_MAX * (PATH_LEN_MAX + ERROR_LEN_MAX) < RESPONSE_LEN_MAX);
    assert!(RENEW_LEASES_MAX * LEASE_TOKEN_LEN_MAX < REQUEST_LEN_MAX);
    assert!(WORKERS_PAGE_MAX as usize * (WORKER_LEN_MAX + 8) < RESPONSE_LEN_MAX);
    assert!(ROWS_CHUNK_LEN_MAX < REQUEST_LEN_MAX);
    assert!(ROW_LEN_MAX as u64 <= ROWS_LEN_MAX);
    assert!(WATCH_INTERVAL_MS_MIN <= WATCH_INTERVAL_MS_DEFAULT);
    assert!(WATCH_INTERVAL_MS_DEFAULT <= WATCH_INTERVAL_MS_MAX);
    assert!(WATCH_INTERVAL_MS_MAX <= WATCH_SILENCE_MS_MAX);
};
