//! Every bound of running programs, named.

use std::time::Duration;

/// Bytes that are kept of the end of a program's standard error.
pub const STDERR_KEPT_MAX: usize = 64 * 1024;
/// The same where many shards share what a job may keep.
pub const STDERR_KEPT_MIN: usize = 512;
/// Bytes of standard error that the shards of one job keep together, about.
pub const STDERR_JOB_MAX: u64 = 256 * 1024 * 1024;
/// Attempts of one shard whose logs are kept: the last ones.
pub const LOGS_KEPT_MAX: u32 = 8;
/// Bytes of standard error that an error message shows.
pub(crate) const STDERR_SHOWN_MAX: usize = 1024;
/// Bytes of the rows that a program may write for one shard. They lie in its scratch folder until the shard has ended.
pub const STDOUT_LEN_MAX: u64 = 16 * 1024 * 1024 * 1024;
/// How long a program may take to end after SIGTERM, before it is killed.
pub const KILL_GRACE: Duration = Duration::from_secs(5);
/// The same where nobody wants its results any more: the worker is about to exit, or the job was canceled.
pub const BREAK_OFF_GRACE: Duration = Duration::from_secs(1);
/// How long the pipes of a program may stay open after its process group was killed, before processes that left the
/// group are looked for.
pub(crate) const PIPES_GRACE: Duration = Duration::from_millis(500);
/// Bytes of a checkpoint.
pub const CHECKPOINT_LEN_MAX: u64 = 64 * 1024 * 1024;
/// Bytes of a checkpoint that one record has.
pub(crate) const CHECKPOINT_CHUNK_LEN: usize = 4 * 1024 * 1024;
/// How often a program is looked after while it runs.
pub(crate) const LOOKS_APART: Duration = Duration::from_millis(20);
/// How long a program runs, at least, until its standard error is stored the first time, and then between two times.
pub(crate) const SAVES_APART: Duration = Duration::from_secs(1);

/// Bytes of standard error that a shard of a job with so many shards keeps.
#[must_use]
pub fn stderr_kept(shards: u64) -> usize {
    let share = STDERR_JOB_MAX / shards.max(1);
    usize::try_from(share).map_or(STDERR_KEPT_MAX, |share| {
        share.clamp(STDERR_KEPT_MIN, STDERR_KEPT_MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_shards_keep_less_each() {
        assert_eq!(stderr_kept(0), STDERR_KEPT_MAX);
        assert_eq!(stderr_kept(4096), STDERR_KEPT_MAX);
        assert_eq!(stderr_kept(8192), STDERR_KEPT_MAX / 2);
        assert_eq!(stderr_kept(1 << 22), STDERR_KEPT_MIN);
    }
}
