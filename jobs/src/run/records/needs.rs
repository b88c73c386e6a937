//! What a version has to know of a job before it works on it.
//!
//! Messages drop fields that they do not know. A version that worked on a newer one's job would compute without them,
//! and write the job's record back without them. So each job is guarded three times:
//! - by `JobState.layout`: versions from before there were needs refuse what is recorded now;
//! - by `JobState.needs`: names of what is beyond the first version with needs. Whoever does not know one leaves the job to
//!   others, and can say which name it was;
//! - by bytes: a message of which everything is known encodes to the bytes that it was decoded from. That finds fields
//!   that have no name in `needs`, and nobody has to think of it.
//!
//! A name is added to [`KNOWN`] and [`needs`] with each key of the job file that changes what is computed.

use eciton_proto::prost::Message;
use eciton_proto::v1::job_spec::Sink;
use eciton_proto::v1::job_spec::Step;
use eciton_proto::v1::{JobSpec, JobState, OnError, ProgramRows, Scope, Verify};

use super::error::{JobError, damaged};
use super::job::Job;
use crate::source::formats;
use crate::spec::{fingerprint, is_incremental};

/// The key that lets results be added to those of others.
const INTO_EXISTING: &str = "into_existing";

/// A program per shard.
const COMMAND: &str = "command";

/// Shards that may fail.
const FAILURES: &str = "max_failed";
/// Resources that shards take of a worker.
const RESOURCES: &str = "needs";

/// Jobs that come first.
const AFTER: &str = "after";

/// Files that shards write.
pub(crate) const EXPORT: &str = "export";

/// Records of a store as the source.
const STORE_SOURCE: &str = "source.store";

/// Files that are added to a job that is recorded.
const INCREMENTAL: &str = "incremental";
/// Upserts whose order is that of a column.
const VERSION: &str = "upsert_version";

/// Records that are deleted.
const DELETE: &str = "delete";

/// What this version knows.
const KNOWN: [&str; 10] = [
    INTO_EXISTING,
    COMMAND,
    FAILURES,
    RESOURCES,
    AFTER,
    EXPORT,
    STORE_SOURCE,
    INCREMENTAL,
    VERSION,
    DELETE,
];

/// What whoever works on the job has to know.
pub(crate) fn needs(spec: &JobSpec) -> Vec<String> {
    let mut needs = Vec::new();
    if adds_to_others(spec) {
        needs.push(INTO_EXISTING.to_owned());
    }
    if matches!(spec.step, Some(Step::Command(_))) {
        needs.push(COMMAND.to_owned());
    }
    if matches!(spec.sink, Some(Sink::Delete(_))) {
        needs.push(DELETE.to_owned());
    }
    if matches!(spec.sink, Some(Sink::Export(_))) {
        needs.push(EXPORT.to_owned());
    }
    let source = spec.source.as_ref();
    if source.is_some_and(|source| !source.store.is_empty()) {
        needs.push(STORE_SOURCE.to_owned());
    }
    if is_incremental(spec) {
        needs.push(INCREMENTAL.to_owned());
    }
    if matches!(&spec.sink, Some(Sink::Upsert(upsert)) if !upsert.version.is_empty()) {
        needs.push(VERSION.to_owned());
    }
    let run = spec.run.as_ref();
    if run.is_some_and(|run| run.max_failed > 0 || run.max_failed_ppm > 0) {
        needs.push(FAILURES.to_owned());
    }
    if run.is_some_and(|run| !run.needs.is_empty()) {
        needs.push(RESOURCES.to_owned());
    }
    if run.is_some_and(|run| !run.after.is_empty()) {
        needs.push(AFTER.to_owned());
    }
    needs
}

/// Whether the job says that its store may hold results of others.
pub(crate) fn adds_to_others(spec: &JobSpec) -> bool {
    match &spec.sink {
        Some(Sink::Merge(merge)) => merge.into_existing,
        Some(Sink::Upsert(upsert)) => upsert.into_existing,
        // It is there for the records of others.
        Some(Sink::Delete(_)) => true,
        _ => false,
    }
}

/// Whether this version knows everything about a job.
///
/// # Errors
/// [`JobError::Needs`] where it does not; [`JobError::Damaged`] where the specification is not the one that was recorded.
pub(crate) fn check(name: &str, job: &Job) -> Result<(), JobError> {
    let recorded = <[u8; 16]>::try_from(&job.state.spec_hash[..]).ok();
    let recorded = recorded.map(u128::from_be_bytes);
    if recorded.is_some_and(|hash| hash != job.stored_hash) {
        let detail = "it is not the one that was recorded";
        return Err(damaged(name, "its specification", detail));
    }
    check_names(name, &job.state)?;
    // Values of enums stay numbers and read as nothing said.
    let source = job.spec.source.iter();
    let has_values = source.into_iter().all(|source| {
        is_known_format(source.format)
            && OnError::try_from(source.on_error).is_ok()
            && Verify::try_from(source.verify).is_ok()
    });
    let has_values = has_values
        && match &job.spec.step {
            Some(Step::Transform(transform)) => Scope::try_from(transform.scope).is_ok(),
            Some(Step::Command(command)) => {
                ProgramRows::try_from(command.input).is_ok()
                    && ProgramRows::try_from(command.output).is_ok()
            }
            None => true,
        };
    match has_values && fingerprint(&job.spec) == job.stored_hash {
        true => Ok(()),
        false => Err(unknown(name, "keys of its job file")),
    }
}

/// Whether a source's format is one that this version reads, or none is said.
fn is_known_format(number: i32) -> bool {
    number == 0 || formats::by_number(number).is_some()
}

/// Whether this version knows everything in a job's record.
///
/// # Errors
/// [`JobError::Needs`] where it does not.
pub(crate) fn check_state(name: &str, state: &JobState, stored: &[u8]) -> Result<(), JobError> {
    check_names(name, state)?;
    match state.encode_to_vec() == stored {
        true => Ok(()),
        false => Err(unknown(name, "fields of its record")),
    }
}

fn check_names(name: &str, state: &JobState) -> Result<(), JobError> {
    let unknown: Vec<String> = state
        .needs
        .iter()
        .filter(|need| !KNOWN.contains(&need.as_str()))
        .map(|need| format!("`{need}`"))
        .collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(JobError::Needs {
        name: name.to_owned(),
        what: unknown.join(", "),
    })
}

fn unknown(name: &str, what: &str) -> JobError {
    JobError::Needs {
        name: name.to_owned(),
        what: what.to_owned(),
    }
}
