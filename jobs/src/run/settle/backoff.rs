//! How long a shard whose attempt failed waits for the next one. It is the same for every process, by the shard's
//! record, so that no other one tries at once what has just failed.

use std::time::Duration;

use eciton_proto::v1::ShardState;

use crate::run::records::clock::now_ms;

/// Milliseconds before the second attempt; each further one waits twice as long.
const BACKOFF_MS_MIN: u64 = 100;
/// Milliseconds before any attempt, at most.
const BACKOFF_MS_MAX: u64 = 10_000;

/// How long to wait after the `attempt`-th failed attempt since the last retry.
pub(crate) fn backoff(attempt: u32) -> Duration {
    let doublings = attempt.saturating_sub(1).min(16);
    let ms = (BACKOFF_MS_MIN << doublings).min(BACKOFF_MS_MAX);
    assert!(
        (BACKOFF_MS_MIN..=BACKOFF_MS_MAX).contains(&ms),
        "{ms} ms after attempt {attempt}"
    );
    Duration::from_millis(ms)
}

/// How long a shard has still to wait; `None` if it need not.
///
/// Rests on the clock of whoever recorded the failure. One that differs from this one by less than a whole wait makes a
/// shard wait a little longer or shorter, and one that differs by more has it not wait at all.
pub(crate) fn due_in(state: &ShardState) -> Option<Duration> {
    let attempts = state.attempts.saturating_sub(state.attempts_before);
    if attempts == 0 || state.finished_ms == 0 {
        return None;
    }
    let whole = backoff(attempts);
    let ms = now_ms().saturating_sub(state.finished_ms);
    let since = Duration::from_millis(ms.unsigned_abs());
    let left = whole.checked_sub(since)?;
    let left = if ms < 0 { whole } else { left };
    assert!(left <= whole, "{left:?} are left of {whole:?}");
    (!left.is_zero()).then_some(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_limit() {
        let ms = |attempt| backoff(attempt).as_millis();
        assert_eq!([1, 2, 3, 4].map(ms), [100, 200, 400, 800]);
        assert_eq!([8, 100, u32::MAX].map(ms), [10_000; 3]);
    }

    #[test]
    fn only_a_failure_of_a_moment_ago_makes_a_shard_wait() {
        let failed = |finished_ms, attempts, attempts_before| ShardState {
            attempts,
            attempts_before,
            finished_ms,
            ..ShardState::default()
        };
        assert_eq!(due_in(&ShardState::default()), None);
        assert!(due_in(&failed(now_ms(), 8, 0)).is_some());
        assert_eq!(due_in(&failed(now_ms() - 60_000, 8, 0)), None);
        assert_eq!(due_in(&failed(now_ms(), 4, 4)), None, "it was retried");
        let ahead = due_in(&failed(now_ms() + 5000, 8, 0));
        assert_eq!(ahead, Some(backoff(8)), "a clock that is a little wrong");
        // Each time that it was looked at it waited anew, until that clock's time had come.
        let ahead = due_in(&failed(now_ms() + 3_600_000, 8, 0));
        assert_eq!(ahead, None, "a clock that is wrong");
    }
}
