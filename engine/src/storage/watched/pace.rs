//! How long the operations of a medium take, to compare it with its peer.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::storage::Operation;

/// Durations that the running median is taken of.
const RECENT: usize = 9;
/// Durations from which on a median means something.
const RECENT_MIN: usize = 5;
/// A path is slow when it takes this many times as long as its peer.
pub(crate) const SLOW_FACTOR: u32 = 50;
/// A path that answers within this time is never slow, whatever its peer does.
pub(crate) const SLOW_FLOOR: Duration = Duration::from_millis(20);
/// The operations that every path of a mirror carries out alike.
const ALIKE: [Operation; 4] = [
    Operation::Create,
    Operation::SyncNames,
    Operation::Write,
    Operation::Finish,
];

/// The latest durations of each kind of operation.
#[derive(Default)]
pub(super) struct Pace {
    recent: Mutex<HashMap<Operation, VecDeque<Duration>>>,
    slow_since: Mutex<Option<Instant>>,
}

impl Pace {
    pub(super) fn note(&self, operation: Operation, took: Duration) {
        if !ALIKE.contains(&operation) {
            return;
        }
        let mut recent = self.recent.lock();
        let last = recent.entry(operation).or_default();
        last.push_back(took);
        if last.len() > RECENT {
            last.pop_front();
        }
        assert!(last.len() <= RECENT, "{operation}: {} are kept", last.len());
    }

    fn median(&self, operation: Operation) -> Option<Duration> {
        let recent = self.recent.lock();
        let last = recent.get(&operation)?;
        let mut sorted: Vec<Duration> = last.iter().copied().collect();
        sorted.sort_unstable();
        (sorted.len() >= RECENT_MIN).then(|| sorted[sorted.len() / 2])
    }

    /// Whether this medium has been slow for so long, in comparison with its peer.
    pub(super) fn is_slow(&self, peer: &Pace, now: Instant, slow_for: Duration) -> bool {
        let slow = ALIKE.iter().any(|operation| {
            let medians = self.median(*operation).zip(peer.median(*operation));
            medians.is_some_and(|(own, peer)| is_slow(own, peer))
        });
        let mut since = self.slow_since.lock();
        if !slow {
            *since = None;
            return false;
        }
        let since = *since.get_or_insert(now);
        now.saturating_duration_since(since) >= slow_for
    }

    /// Forgets what was measured: a probe was as quick as it should be.
    pub(super) fn forget(&self) {
        self.recent.lock().clear();
        *self.slow_since.lock() = None;
    }
}

/// Whether one duration is slow in comparison with that of the peer.
pub(crate) fn is_slow(own: Duration, peer: Duration) -> bool {
    own >= SLOW_FLOOR && own >= peer.saturating_mul(SLOW_FACTOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(ms: u64, times: usize) -> Pace {
        let pace = Pace::default();
        for _ in 0..times {
            pace.note(Operation::Create, Duration::from_millis(ms));
        }
        pace
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "the beginning of a time span")]
    fn a_path_is_slow_after_a_while_of_slow_medians() {
        let (begun, slow_for) = (Instant::now(), Duration::from_secs(5));
        let (slow, quick) = (pace(100, 9), pace(2, 9));
        assert!(!slow.is_slow(&quick, begun, slow_for));
        assert!(!slow.is_slow(&quick, begun + slow_for / 2, slow_for));
        assert!(slow.is_slow(&quick, begun + slow_for, slow_for));
        assert!(!quick.is_slow(&slow, begun + slow_for, slow_for));
        // A quick spell in between begins the time anew.
        for _ in 0..5 {
            slow.note(Operation::Create, Duration::from_millis(2));
        }
        assert!(!slow.is_slow(&quick, begun + slow_for, slow_for));
        for _ in 0..9 {
            slow.note(Operation::Create, Duration::from_millis(100));
        }
        assert!(!slow.is_slow(&quick, begun + slow_for, slow_for));
        assert!(slow.is_slow(&quick, begun + slow_for * 2, slow_for));
        slow.forget();
        assert!(!slow.is_slow(&quick, begun + slow_for * 3, slow_for));
    }

    #[test]
    fn microseconds_few_operations_and_small_factors_never_count() {
        let micros = Duration::from_micros;
        assert!(!is_slow(micros(19_999), micros(1)));
        assert!(is_slow(micros(20_000), micros(400)));
        assert!(!is_slow(micros(20_000), micros(401)));
        let (few, quick) = (pace(100, 4), pace(1, 9));
        assert_eq!(few.median(Operation::Create), None);
        assert_eq!(
            quick.median(Operation::Create),
            Some(Duration::from_millis(1))
        );
    }
}
