//! The wall clock, for people: no decision rests on it alone.

use eciton_engine::clock::{Clock, SystemClock};

/// Milliseconds since the Unix epoch, for people.
pub(crate) fn now_ms() -> i64 {
    i64::try_from(SystemClock::new().wall_ms()).unwrap_or(i64::MAX)
}
