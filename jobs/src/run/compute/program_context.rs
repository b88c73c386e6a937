//! What a program needs of whoever computes a shard with it.

use eciton_proto::v1::ProgramLog;

use super::open::OpenProgram;
use super::retry_policy::RetryPolicy;
use crate::run::records::error::JobError;

/// What an attempt with a program needs besides the shard.
pub(crate) struct ProgramContext<'a> {
    /// The permission to run it, where it works, and its files.
    pub(crate) program: &'a OpenProgram,
    /// The job's name.
    pub(crate) job: &'a str,
    /// Shards of the job.
    pub(crate) shards: u64,
    /// The number of the attempt, from 1.
    pub(crate) attempt: u32,
    /// Whether other processes may have the program where this one has not.
    pub(crate) has_others: bool,
    /// Bytes that are kept of its standard error.
    pub(crate) stderr_kept: usize,
    /// Which of its failures are tried again.
    pub(crate) retry: &'a RetryPolicy,
    /// Stores what it has written to its standard error so far, or the end of a run that failed.
    pub(crate) save: &'a (dyn Fn(&ProgramLog) + Sync),
    /// What an attempt before has saved, and the number of records that have it.
    pub(crate) checkpoint: &'a (dyn Fn() -> Result<Option<(Vec<u8>, u32)>, JobError> + Sync),
    /// Stores a checkpoint; the number of records that have it, if that went well.
    pub(crate) save_checkpoint: &'a (dyn Fn(&[u8]) -> Option<u32> + Sync),
    /// Whether nobody else has ended the shard, as far as is known.
    pub(crate) is_wanted: &'a (dyn Fn() -> bool + Sync),
}
