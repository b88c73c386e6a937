//! Whether this process gets anything done.
//!
//! A process whose disk or network is broken fails every shard it takes, quickly, and would use up the attempts of
//! all. After a few failures in a row that another try might mend, it therefore takes none for a while, longer
//! from time to time, and leaves them to others; one success, and it is as any other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Failures in a row after which a process is quarantined.
const FAILURES_MAX: u32 = 4;
/// How long it is quarantined at first; each further failure doubles it.
const QUARANTINE_MIN: Duration = Duration::from_secs(1);
/// How long it is quarantined, at most.
const QUARANTINE_MAX: Duration = Duration::from_mins(1);

/// How it went lately, for all jobs of a process together; shared by clones.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<FailureStreak>>);

#[derive(Debug, Default)]
struct FailureStreak {
    failures: u32,
    until: Option<Instant>,
}

impl Health {
    /// As if everything had gone well.
    pub fn new() -> Health {
        Health::default()
    }

    /// How long this process takes no shard yet; `None`: it does.
    pub fn quarantine(&self) -> Option<Duration> {
        let until = self.0.lock().until?;
        let left = until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// A shard was computed.
    pub(crate) fn succeeded(&self) {
        let mut state = self.0.lock();
        if state.failures > 0 {
            *state = FailureStreak::default();
        }
        assert!(
            state.until.is_none(),
            "quarantined until {:?} without a failure",
            state.until
        );
    }

    /// An attempt failed that might succeed elsewhere. Gives for how long this process is quarantined, if it is.
    pub(crate) fn failed(&self) -> Option<Duration> {
        let mut state = self.0.lock();
        state.failures = state.failures.saturating_add(1);
        let beyond = state.failures.checked_sub(FAILURES_MAX)?;
        let pause = (QUARANTINE_MIN * 2u32.pow(beyond.min(16))).min(QUARANTINE_MAX);
        assert!(
            (QUARANTINE_MIN..=QUARANTINE_MAX).contains(&pause),
            "quarantined for {pause:?} after {} failures",
            state.failures
        );
        state.until = Some(Instant::now() + pause);
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_fails_everything_is_quarantined_until_something_succeeds() {
        let health = Health::new();
        for _ in 1..FAILURES_MAX {
            assert_eq!(health.failed(), None);
            assert_eq!(health.quarantine(), None);
        }
        assert_eq!(health.failed(), Some(QUARANTINE_MIN));
        assert!(health.quarantine().is_some());
        assert_eq!(health.failed(), Some(2 * QUARANTINE_MIN));
        health.succeeded();
        assert_eq!(health.quarantine(), None);
        assert_eq!(health.failed(), None, "it begins anew");
        for _ in 0..100 {
            health.failed();
        }
        assert_eq!(health.failed(), Some(QUARANTINE_MAX));
    }
}
