//! The names of the engine's metrics, and the few places that write them. Without a recorder
//! installed they cost next to nothing.

use metrics::{counter, gauge, histogram};

use super::error::Error;
use super::ids::Position;

/// A slot was committed.
#[allow(
    clippy::cast_precision_loss,
    reason = "gauges and histograms are floats"
)]
pub fn count_slot(n: Position, records: usize, ns: u64, mode: &'static str) {
    counter!("eciton_log_slots_total").increment(1);
    counter!("eciton_commits_total", "mode" => mode).increment(records as u64);
    histogram!("eciton_combine_batch_records").record(records as f64);
    histogram!("eciton_commit_duration_seconds").record(seconds(ns));
    gauge!("eciton_log_position").set(n.0 as f64);
}

/// A transaction was refused.
pub fn count_abort(error: &Error) {
    let reason = match error {
        Error::Conflict { .. } => "conflict",
        Error::TooOld { .. } => "too_old",
        _ => "other",
    };
    counter!("eciton_commit_aborts_total", "reason" => reason).increment(1);
    if reason == "conflict" {
        counter!("eciton_conflicts_total", "kind" => "key").increment(1);
    }
}

/// A fold ended.
#[allow(
    clippy::cast_precision_loss,
    reason = "gauges and histograms are floats"
)]
pub fn count_fold(ns: u64, lag_len: usize) {
    histogram!("eciton_fold_duration_seconds").record(seconds(ns));
    gauge!("eciton_fold_lag_bytes").set(lag_len as f64);
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
