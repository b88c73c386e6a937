//! The names of the engine's metrics, and the few places that write them. Without a recorder
//! installed they cost next to nothing.

use metrics::{counter, gauge, histogram};

use super::error::Error;
use super::ids::Position;

/// A slot was committed: so many transactions, with so many merges among their writes.
#[allow(
    clippy::cast_precision_loss,
    reason = "gauges and histograms are floats"
)]
pub fn count_slot(n: Position, (records, merges): (usize, u64), ns: u64, mode: &'static str) {
    counter!("eciton_log_slots_total").increment(1);
    counter!("eciton_commits_total", "mode" => mode).increment(records as u64);
    counter!("eciton_merges_total").increment(merges);
    histogram!("eciton_combine_batch_records").record(records as f64);
    histogram!("eciton_commit_duration_seconds").record(seconds(ns));
    gauge!("eciton_log_position").set(n.0 as f64);
}

/// What a transaction met that lost against another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    /// A key that it had read, or writes with a check, was written meanwhile.
    Key,
    /// Within a range that it had read something was written meanwhile.
    Range,
}

/// A transaction was refused.
pub fn count_abort(error: &Error, met: Option<Met>) {
    let reason = match error {
        Error::Conflict { .. } => "conflict",
        Error::TooOld { .. } => "too_old",
        _ => "other",
    };
    counter!("eciton_commit_aborts_total", "reason" => reason).increment(1);
    let kind = match met {
        Some(Met::Key) => "key",
        Some(Met::Range) => "range",
        None => return,
    };
    counter!("eciton_conflicts_total", "kind" => kind).increment(1);
}

/// A fold ended.
pub fn count_fold(ns: u64) {
    histogram!("eciton_fold_duration_seconds").record(seconds(ns));
}

/// What is written and not folded yet: keys, and bytes of memory.
#[allow(clippy::cast_precision_loss, reason = "gauges are floats")]
pub fn set_fold_lag(keys: usize, len: usize) {
    gauge!("eciton_fold_lag_records").set(keys as f64);
    gauge!("eciton_fold_lag_bytes").set(len as f64);
}

/// How often the page cache had what it was asked for, and had not, since it was made.
pub fn set_page_cache(hits: u64, misses: u64) {
    counter!("eciton_cache_hits_total", "tier" => "memory").absolute(hits);
    counter!("eciton_cache_misses_total", "tier" => "memory").absolute(misses);
}

/// A medium refused an operation.
pub fn count_storage_error(op: &'static str, cause: &std::io::Error) {
    let errno = error_name(cause);
    counter!("eciton_storage_errors_total", "op" => op, "errno" => errno).increment(1);
}

/// The database went on without a storage path.
pub fn count_failover(cause: &'static str) {
    counter!("eciton_failovers_total", "cause" => cause).increment(1);
}

/// A damaged or missing object was restored on a storage path from the other one.
pub fn count_storage_heal(path: &str, kind: &'static str) {
    counter!("eciton_storage_heals_total", "path" => path.to_owned(), "kind" => kind).increment(1);
}

/// Whether the database's reads and creates begin on this storage path.
pub fn set_storage_path(path: &str, is_active: bool) {
    gauge!("eciton_storage_path_active", "path" => path.to_owned())
        .set(f64::from(u8::from(is_active)));
}

/// How many storage paths hold what is written from now on.
#[allow(clippy::cast_precision_loss, reason = "gauges are floats")]
pub fn set_storage_paths_in_force(paths: usize) {
    gauge!("eciton_storage_paths_in_force").set(paths as f64);
}

/// The system's name of an error, its number where it is none of a disc, or its kind where the system has not spoken, as
/// with object stores.
fn error_name(cause: &std::io::Error) -> String {
    use rustix::io::Errno;
    const NAMES: [(Errno, &str); 18] = [
        (Errno::ACCESS, "EACCES"),
        (Errno::BUSY, "EBUSY"),
        (Errno::DQUOT, "EDQUOT"),
        (Errno::EXIST, "EEXIST"),
        (Errno::FBIG, "EFBIG"),
        (Errno::INVAL, "EINVAL"),
        (Errno::IO, "EIO"),
        (Errno::ISDIR, "EISDIR"),
        (Errno::MFILE, "EMFILE"),
        (Errno::NFILE, "ENFILE"),
        (Errno::NOENT, "ENOENT"),
        (Errno::NOSPC, "ENOSPC"),
        (Errno::NOTCONN, "ENOTCONN"),
        (Errno::NOTDIR, "ENOTDIR"),
        (Errno::PERM, "EPERM"),
        (Errno::ROFS, "EROFS"),
        (Errno::STALE, "ESTALE"),
        (Errno::TIMEDOUT, "ETIMEDOUT"),
    ];
    let Some(number) = cause.raw_os_error() else {
        return format!("{:?}", cause.kind());
    };
    let mut names = NAMES.iter();
    let named = names.find(|(errno, _)| errno.raw_os_error() == number);
    named.map_or_else(|| number.to_string(), |(_, name)| (*name).to_owned())
}

/// Whether the coordinator's server can be reached.
#[cfg(feature = "redis")]
pub(crate) fn set_coordinator_up(is_up: bool) {
    gauge!("eciton_coordinator_up").set(f64::from(u8::from(is_up)));
}

/// The coordinator's server can be reached again.
#[cfg(feature = "redis")]
pub(crate) fn count_coordinator_reconnect() {
    counter!("eciton_coordinator_reconnects_total").increment(1);
}

/// The coordinator's server refused a call, which was dropped.
#[cfg(feature = "redis")]
pub(crate) fn count_coordinator_error(code: &str) {
    counter!("eciton_coordinator_errors_total", "code" => code.to_owned()).increment(1);
}

/// So many pieces of segments were found in a cache on a local disk, and so many asked of the bucket.
#[cfg(feature = "object-store")]
pub(crate) fn count_disk_cache(hits: u64, misses: u64) {
    counter!("eciton_cache_hits_total", "tier" => "disk").increment(hits);
    counter!("eciton_cache_misses_total", "tier" => "disk").increment(misses);
}

#[allow(clippy::cast_precision_loss, reason = "a duration for people")]
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::*;

    #[test]
    fn errors_are_named_numbered_or_told_by_their_kind() {
        assert_eq!(error_name(&Error::from_raw_os_error(28)), "ENOSPC");
        assert_eq!(error_name(&Error::from_raw_os_error(5)), "EIO");
        assert_eq!(error_name(&Error::from_raw_os_error(9999)), "9999");
        assert_eq!(error_name(&Error::from(ErrorKind::TimedOut)), "TimedOut");
    }
}
