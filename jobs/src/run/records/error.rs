//! What can go wrong with a job as a whole.

use eciton_engine::Error as EngineError;
use eciton_proto::limits::REASON_LEN_MAX;

use crate::source::SourceError;
use crate::spec::SpecError;

/// Jobs that a message names; it counts the others.
const NAMED_MAX: usize = 3;

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
        "job `{name}` exists with another specification: {} differ; expected another name, the file as it was \
         submitted, or `--replace`, which removes the job with its results",
        differences.join(", ")
    )]
    Differs {
        /// The job's name.
        name: String,
        /// The keys of the job file that differ, with both values where they are short.
        differences: Vec<String>,
    },
    /// Something about the job is not known to this version. Others may work on it.
    #[error(
        "job `{name}` needs {what}, which this version does not know; it is left to newer versions of eciton: upgrade \
         this one"
    )]
    Needs {
        /// The job's name.
        name: String,
        /// What is not known, for people.
        what: String,
    },
    /// The job runs a program, which this process may not. Others may work on it.
    #[error(
        "job `{name}` runs a program: {why}; start a worker with `--allow-commands`, or run its job file with `eciton run`"
    )]
    Program {
        /// The job's name.
        name: String,
        /// Why it may not.
        why: &'static str,
    },
    /// The jobs that it comes after are not done, and no other process works on them. The job is recorded.
    #[error(
        "job `{name}` waits for {waiting}; run what it waits for, then run it again, or start `eciton worker`, which does both"
    )]
    Waits {
        /// The job's name.
        name: String,
        /// The jobs that are not done, with their states, for people.
        waiting: String,
    },
    /// The files that the job writes cannot be made visible or removed. What was committed stays.
    #[error("job `{name}`: its files are not complete: {why}; call this again once that is mended")]
    Export {
        /// The job's name.
        name: String,
        /// What is wrong, with the path.
        why: String,
    },
    /// This process has not what the job's shards need. Others may work on it.
    #[error(
        "job `{name}` needs {lacking} for each shard, which this process has not; see `eciton worker --resources`"
    )]
    Lacks {
        /// The job's name.
        name: String,
        /// What is missing, for people.
        lacking: String,
    },
    /// The store that takes the job's results was dropped, and with it what was done. The job has failed.
    #[error("job `{name}` has failed: {why}; run it anew with `eciton run JOB.toml --replace`")]
    StoreGone {
        /// The job's name.
        name: String,
        /// What became of the store.
        why: String,
    },
    /// The job was removed, or another one took its name, while it was worked on here.
    #[error("job `{name}` was removed or replaced while it ran here; what it computed was dropped")]
    Removed {
        /// The job's name.
        name: String,
    },
    /// The job's results cannot be removed without others. Nothing was written.
    #[error(
        "job `{name}`: its store `{store}` also holds {with}, which would go with its results; remove the job alone \
         with `eciton job rm {name}`, or the store with `eciton store drop {store} --force`"
    )]
    Shared {
        /// The job's name.
        name: String,
        /// The store.
        store: String,
        /// What else is in it, for people.
        with: String,
    },
    /// The store takes the results of jobs. Nothing was written.
    #[error(
        "store `{store}` takes the results of {}; remove it with the job by `eciton job rm {} --with-results`, or drop \
         it with `--force`, after which the job has failed",
        named(jobs),
        jobs.first().map_or("", String::as_str)
    )]
    StoreInUse {
        /// The store.
        store: String,
        /// The jobs, by name.
        jobs: Vec<String>,
    },
    /// The job was recorded with files of which the globs of the job file match none now. Nothing was written.
    #[error(
        "job `{name}` is there already and has other files: it was recorded with `{recorded}`, and this job file means \
         `{found}`; submit it under another name or with --replace"
    )]
    OtherFiles {
        /// The job's name.
        name: String,
        /// The path of one of its files.
        recorded: String,
        /// The path of one that matches now.
        found: String,
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
    /// So many jobs are planned here that this one would wait for too long. Nothing was written.
    #[error("too many jobs are planned at the same time; try again later, or another worker")]
    Busy,
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
            | JobError::OtherFiles { .. }
            | JobError::State { .. }
            | JobError::Shared { .. }
            | JobError::StoreInUse { .. }
            | JobError::StoreGone { .. }
            | JobError::Waits { .. }
            | JobError::Changed(_) => ExitCode::Usage,
            JobError::Engine(error) => match error {
                EngineError::Locked { .. } => ExitCode::Locked,
                EngineError::NotADatabase { .. }
                | EngineError::Unfinished { .. }
                | EngineError::StoreNotFound { .. }
                | EngineError::StoreDiffers { .. }
                | EngineError::Invalid(_)
                | EngineError::ReadOnly => ExitCode::Usage,
                _ => ExitCode::Failed,
            },
            JobError::Source(_)
            | JobError::Damaged { .. }
            | JobError::Needs { .. }
            | JobError::Removed { .. }
            | JobError::Program { .. }
            | JobError::Lacks { .. }
            | JobError::Export { .. }
            | JobError::Busy
            | JobError::Worker(_) => ExitCode::Failed,
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

/// Names of jobs for a message, which is not long however many there are.
pub(crate) fn named(jobs: &[String]) -> String {
    let shown: Vec<String> = jobs
        .iter()
        .take(NAMED_MAX)
        .map(|name| format!("`{name}`"))
        .collect();
    let what = if jobs.len() == 1 { "job" } else { "jobs" };
    let shown = shown.join(", ");
    match jobs.len().saturating_sub(NAMED_MAX) {
        0 => format!("{what} {shown}"),
        more => format!("{what} {shown} and {more} more"),
    }
}

/// A record of a job that is not what was written.
pub(crate) fn damaged(name: &str, record: &str, detail: &str) -> JobError {
    JobError::Damaged {
        name: name.to_owned(),
        record: record.to_owned(),
        detail: detail.to_owned(),
    }
}

/// Why a job has ended, as it is kept and told: no more of it than a record and an answer take.
pub(crate) fn bounded_reason(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(REASON_LEN_MAX)]
}
