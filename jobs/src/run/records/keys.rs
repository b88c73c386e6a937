//! The keys of the store `_jobs`, and the messages that its records are.

use bytes::Bytes;
use eciton_engine::{Datum, Key};
use eciton_proto::prost::Message;

use super::error::{JobError, damaged};

/// The kinds of records, which are the first fields of their keys.
pub(crate) const REGISTRY: &str = "registry";
pub(crate) const LEASE_KEY: &str = "lease_key";
pub(crate) const JOB: &str = "job";
pub(crate) const SPEC: &str = "spec";
pub(crate) const PLAN: &str = "plan";
pub(crate) const FILES: &str = "files";
pub(crate) const SHARDS: &str = "shards";
pub(crate) const SHARD: &str = "shard";
pub(crate) const DOUBT: &str = "doubt";
pub(crate) const AGE: &str = "age";
/// Content of a file that a job carries for its program.
pub(crate) const PROGRAM_FILE: &str = "program_file";
/// What is kept of a run of a job's program over a shard.
pub(crate) const PROGRAM_LOG: &str = "program_log";
/// A file that a program has saved for the next attempt.
pub(crate) const CHECKPOINT: &str = "checkpoint";
/// The files that a shard has written.
pub(crate) const EXPORT: &str = "export";
pub(crate) const SESSION: &str = "session";

/// The key of a record.
pub(crate) fn key(kind: &str, name: &str, number: Option<u64>) -> Result<Key, JobError> {
    let mut fields = vec![Datum::from(kind), Datum::from(name)];
    fields.extend(number.map(Datum::from));
    Ok(Key::from_datums(&fields)?)
}

/// The number that a key ends with.
pub(crate) fn number_of(field: &[u8]) -> Option<u64> {
    let field = Key::from_encoded(Bytes::copy_from_slice(field));
    match field.fields().next() {
        Some(Ok((Datum::Int(number), _))) => u64::try_from(number).ok(),
        _ => None,
    }
}

/// The message that a record is.
pub(crate) fn decode<M: Message + Default>(
    name: &str,
    kind: &str,
    bytes: &[u8],
) -> Result<M, JobError> {
    M::decode(bytes)
        .map_err(|error| damaged(name, &format!("a record `{kind}`"), &error.to_string()))
}
