//! Why a command failed, and the exit code that says so.
//!
//! | code | means |
//! |---|---|
//! | 1 | the work failed: a failed shard, a broken database, a full disk, an absent record |
//! | 2 | the call was wrong: a flag, a key, a job file, a store or job that is not there |
//! | 3 | another process has the database open |
//! | 130 | a signal ended the work, and everything begun was finished or given back |

use std::io::{self, Write};
use std::process::ExitCode;

use eciton_engine::Error;
use eciton_jobs::run::JobError;
use eciton_jobs::spec::SpecError;
use eciton_jobs::stores::QueryError;
use serde_json::json;

use crate::logs;

/// Exit code for work that failed.
const CODE_FAILED: u8 = 1;
/// Exit code for a wrong call.
const CODE_CALL: u8 = 2;
/// Exit code for a database that another process has open.
const CODE_LOCKED: u8 = 3;
/// Exit code after a signal, as shells number SIGINT.
pub(crate) const CODE_SIGNAL: u8 = 130;

/// Why a command failed. The text is one line: lower case, names the object, says what was expected.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The call was wrong.
    #[error("{0}")]
    Usage(String),
    /// A job file, or `eciton.toml`, says something that cannot be.
    #[error(transparent)]
    JobFile(#[from] SpecError),
    /// `get` found nothing.
    #[error("no record {key} in store `{store}`")]
    Absent {
        /// The key, as JSON.
        key: String,
        /// The store.
        store: String,
    },
    /// There is no stream under that key.
    #[error("no stream {key} in store `{store}`")]
    NoStream {
        /// The key, as JSON.
        key: String,
        /// The store.
        store: String,
    },
    /// There is no store of that name.
    #[error("no store `{name}`; {present}")]
    NoStore {
        /// The name.
        name: String,
        /// What there is instead, or how to create it.
        present: String,
    },
    /// A job could not be recorded, run or changed.
    #[error(transparent)]
    Job(JobError),
    /// A query over stores was refused or failed.
    #[error(transparent)]
    Query(QueryError),
    /// A peer refused a call, or none answers.
    #[error("{message}")]
    Peer {
        /// Its code.
        code: tonic::Code,
        /// Its message.
        message: String,
    },
    /// The work ended without its result.
    #[error("{0}")]
    Work(String),
    /// A signal ended the work after draining.
    #[error("{0}")]
    Interrupted(String),
    /// The engine refused or failed.
    #[error(transparent)]
    Engine(#[from] Error),
    /// The storage of a database failed where it was opened.
    #[error("database `{path}`: {error}")]
    Opening {
        /// The database.
        path: String,
        /// Why.
        error: Error,
    },
    /// Standard output or input failed.
    #[error("{0}")]
    Stream(#[from] io::Error),
}

impl Failure {
    /// The exit code of the contract.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Failure::Usage(_) | Failure::JobFile(_) | Failure::NoStore { .. } => CODE_CALL,
            Failure::Job(error) => error.exit_code().number(),
            Failure::Query(error) if error.is_call() => CODE_CALL,
            Failure::Peer { code, .. } => peer_code(*code),
            Failure::Absent { .. }
            | Failure::NoStream { .. }
            | Failure::Query(_)
            | Failure::Work(_)
            | Failure::Stream(_) => CODE_FAILED,
            Failure::Interrupted(_) => CODE_SIGNAL,
            Failure::Engine(error) | Failure::Opening { error, .. } => engine_code(error),
        }
    }

    /// The word that a program can tell failures by.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Failure::Usage(_) => "usage",
            Failure::JobFile(_) => "job_file",
            Failure::Absent { .. } | Failure::NoStream { .. } => "absent",
            Failure::NoStore { .. } | Failure::Query(QueryError::NoStore { .. }) => "no_store",
            Failure::Job(error) => job_kind(error),
            Failure::Query(QueryError::Memory { .. }) => "limit",
            Failure::Query(_) => "query",
            Failure::Peer { code, .. } => peer_kind(*code),
            Failure::Work(_) => "work_failed",
            Failure::Interrupted(_) => "interrupted",
            Failure::Stream(_) => "stream",
            Failure::Engine(error) | Failure::Opening { error, .. } => engine_kind(error),
        }
    }

    /// What to do about it, where the error itself cannot know.
    fn hint(&self) -> &'static str {
        match self {
            Failure::Engine(Error::Locked { .. })
            | Failure::Opening {
                error: Error::Locked { .. },
                ..
            } => {
                "; processes share a database if all of them, that one too, are started with the same `--redis URL`; \
                 commands that only read work meanwhile"
            }
            _ => "",
        }
    }

    /// Tells the failure: one line on stderr, and with `--json` one on stdout too. A reader of stdout
    /// that went away is no failure: `eciton scan ... | head` ends quietly with 0.
    pub(crate) fn conclude(&self, json: bool) -> ExitCode {
        if matches!(self, Failure::Stream(cause) if cause.kind() == io::ErrorKind::BrokenPipe) {
            return ExitCode::SUCCESS;
        }
        let told = format!("{self}{}", self.hint());
        let message = told.split_whitespace().collect::<Vec<_>>().join(" ");
        let code = self.code();
        if json {
            let error = json!({"kind": self.kind(), "message": message, "code": code});
            // Whether or not anyone reads these lines, the exit code tells.
            writeln!(io::stdout(), "{}", json!({ "error": error })).ok();
        }
        match logs::is_json() {
            true => tracing::error!(kind = self.kind(), code, "{message}"),
            false => drop(writeln!(io::stderr(), "error: {message}")),
        }
        ExitCode::from(code)
    }
}

/// What a job runs into in its file or in the database is told as that.
impl From<JobError> for Failure {
    fn from(error: JobError) -> Failure {
        match error {
            JobError::JobFile(error) => Failure::JobFile(error),
            JobError::Engine(error) => Failure::Engine(error),
            other => Failure::Job(other),
        }
    }
}

/// What a query runs into in the database or at its output is told as that.
impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Failure {
        match error {
            QueryError::Engine(error) => Failure::Engine(error),
            QueryError::Io(error) => Failure::Stream(error),
            other => Failure::Query(other),
        }
    }
}

fn job_kind(error: &JobError) -> &'static str {
    match error {
        JobError::NotFound { .. } => "no_job",
        JobError::Differs { .. } => "job_differs",
        JobError::OtherFiles { .. } => "job_other_files",
        JobError::State { .. } => "job_state",
        JobError::Needs { .. } => "job_needs",
        JobError::StoreGone { .. } => "store_gone",
        JobError::Removed { .. } => "job_removed",
        JobError::Shared { .. } => "results_shared",
        JobError::StoreInUse { .. } => "store_in_use",
        JobError::Changed { .. } => "source_changed",
        JobError::Source(_) => "source",
        JobError::Damaged { .. } => "corrupt",
        JobError::Busy => "busy",
        _ => "job",
    }
}

/// A refusal that another call may mend is a wrong call, as it is without a peer.
fn peer_code(code: tonic::Code) -> u8 {
    use tonic::Code;
    match code {
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::Unauthenticated
        | Code::PermissionDenied => CODE_CALL,
        _ => CODE_FAILED,
    }
}

/// The words that the same has without a peer, where there are any.
fn peer_kind(code: tonic::Code) -> &'static str {
    use tonic::Code;
    match code {
        Code::InvalidArgument => "invalid",
        Code::NotFound => "no_job",
        Code::AlreadyExists => "job_differs",
        Code::FailedPrecondition => "job_state",
        Code::Unauthenticated => "unauthenticated",
        Code::PermissionDenied => "permission_denied",
        Code::Unavailable => "unavailable",
        Code::ResourceExhausted | Code::OutOfRange => "limit",
        Code::DataLoss => "corrupt",
        _ => "peer",
    }
}

/// An error with all that led to it, in one line.
pub(crate) fn with_sources(error: &dyn std::error::Error) -> String {
    let mut told = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !told.contains(&words) {
            told = format!("{told}: {words}");
        }
        source = cause.source();
    }
    told
}

fn engine_code(error: &Error) -> u8 {
    match error {
        Error::Locked { .. } => CODE_LOCKED,
        Error::NotADatabase { .. }
        | Error::Unfinished { .. }
        | Error::Limit { .. }
        | Error::StoreNotFound { .. }
        | Error::StoreDiffers { .. }
        | Error::Invalid(_)
        | Error::ReadOnly => CODE_CALL,
        _ => CODE_FAILED,
    }
}

fn engine_kind(error: &Error) -> &'static str {
    match error {
        Error::Conflict { .. } => "conflict",
        Error::TooOld { .. } | Error::SnapshotTooOld { .. } => "too_old",
        Error::CommitUnknown { .. } => "commit_unknown",
        Error::Corrupt { .. } => "corrupt",
        Error::Storage { .. } => "storage",
        Error::Halted { .. } => "halted",
        Error::Locked { .. } => "locked",
        Error::NotADatabase { .. } => "not_a_database",
        Error::Unfinished { .. } => "unfinished",
        Error::FormatTooNew { .. } => "format_too_new",
        Error::Limit { .. } => "limit",
        Error::StoreNotFound { .. } => "no_store",
        Error::StoreDiffers { .. } => "store_differs",
        Error::Overflow { .. } => "overflow",
        Error::Invalid(_) => "invalid",
        Error::ReadOnly => "read_only",
        _ => "engine",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_follow_the_contract() {
        let locked = Error::Locked {
            path: "db".into(),
            pid: 7,
            host: "h".into(),
        };
        let locked = Failure::from(locked);
        assert_eq!(locked.code(), 3);
        assert!(locked.hint().contains("--redis"), "{}", locked.hint());
        // Its line was not there to be read.
        let nameless = Error::Locked {
            path: "db".into(),
            pid: 0,
            host: "unknown".into(),
        };
        let told = nameless.to_string();
        assert!(told.contains("did not leave its name"), "{told}");
        assert!(!told.contains("process 0"), "{told}");
        assert_eq!(Failure::from(Error::corrupt("log/1", "checksum")).code(), 1);
        assert_eq!(Failure::from(Error::Invalid("key".into())).code(), 2);
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(
            Failure::from(Error::storage("write", "log/1", &full)).code(),
            1
        );
        assert_eq!(Failure::Interrupted("stopped".into()).code(), 130);
        assert_eq!(Failure::Usage("what".into()).code(), 2);
    }
}
