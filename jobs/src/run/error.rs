//! What can go wrong with a job as a whole.

use eciton_engine::base::Error as EngineError;

use crate::source::SourceError;
use crate::spec::SpecError;

/// Why a job could not be submitted, run or changed. [`JobError::exit_code`] says whose turn it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// The job file is wrong, or does not fit the files it names. Nothing was written.
    #[error(transparent)]
    JobFile(#[from] SpecError),
    /// There is no job of this name.
    #[error("no job named `{name}`{}", expected_one_of(known))]
    NotFound {
        /// The name.
        name: String,
        /// The jobs that there are.
        known: Vec<String>,
    },
    /// The name belongs to another job. Nothing was written.
    #[error(
        "job `{name}` exists with another specification: {} differ; expected another name, or the file as it was submitted",
        differences.join(", ")
    )]
    Differs {
        /// The job's name.
        name: String,
        /// The keys of the job file that differ, with both values where they are short.
        differences: Vec<String>,
    },
    /// The job is in a state in which this cannot be done. Nothing was written.
    #[error("job `{name}` is {state}: {expected}")]
    State {
        /// The job's name.
        name: String,
        /// Its state.
        state: &'static str,
        /// What was expected.
        expected: &'static str,
    },
    /// A file changed where its shards are done already; the message names it. Nothing was written.
    #[error(transparent)]
    Changed(SourceError),
    /// The source as a whole cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A record of the store `_jobs` is not what was written.
    #[error("job `{name}`: {record} in store `_jobs` is damaged: {detail}")]
    Damaged {
        /// The job's name.
        name: String,
        /// The record.
        record: String,
        /// What does not hold.
        detail: String,
    },
    /// The database failed. A job stays as far as it came, and goes on when it is run again.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A worker's thread died.
    #[error("a worker ended unexpectedly: {0}")]
    Worker(String),
}

/// How a program that met an error ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitCode {
    /// The work failed: 1.
    Failed,
    /// The call was wrong: 2.
    Usage,
    /// The database is open in a mode that excludes this one: 3.
    Locked,
}

impl ExitCode {
    /// The number.
    pub fn number(self) -> u8 {
        match self {
            ExitCode::Failed => 1,
            ExitCode::Usage => 2,
            ExitCode::Locked => 3,
        }
    }
}

impl JobError {
    /// Whose turn it is.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            JobError::JobFile(_)
            | JobError::NotFound { .. }
            | JobError::Differs { .. }
            | JobError::State { .. }
            | JobError::Changed(_) => ExitCode::Usage,
            JobError::Engine(error) => match error {
                EngineError::Locked { .. } => ExitCode::Locked,
                EngineError::NotADatabase { .. }
                | EngineError::StoreNotFound { .. }
                | EngineError::StoreDiffers { .. }
                | EngineError::Invalid(_)
                | EngineError::ReadOnly => ExitCode::Usage,
                _ => ExitCode::Failed,
            },
            JobError::Source(_) | JobError::Damaged { .. } | JobError::Worker(_) => {
                ExitCode::Failed
            }
        }
    }
}

/// The end of a message about a name that was not found.
fn expected_one_of(names: &[String]) -> String {
    if names.is_empty() {
        return ": there are no jobs".to_owned();
    }
    let shown: Vec<String> = names
        .iter()
        .take(20)
        .map(|name| format!("`{name}`"))
        .collect();
    format!(": expected one of {}", shown.join(", "))
}
