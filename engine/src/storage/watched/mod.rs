//! A medium whose operations come to an end: what hangs is told as a time-out.
//!
//! - [`WatchedStorage`]: the medium; [`handles`]: what it opens; [`watch`]: the watchdog; [`threads`]: where calls may
//!   hang without taking anything from the rest of the process; [`pace`]: how long operations take.

mod handles;
pub(crate) mod pace;
mod storage;
mod threads;
mod watch;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use storage::WatchedStorage;

/// When a medium counts as one that hangs or is too slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchOptions {
    /// Longest time of an operation.
    pub limit: Duration,
    /// How long a medium is much slower than its peer before it is given up.
    pub slow_for: Duration,
}

impl Default for WatchOptions {
    fn default() -> WatchOptions {
        WatchOptions {
            limit: Duration::from_secs(2),
            slow_for: Duration::from_secs(5),
        }
    }
}
