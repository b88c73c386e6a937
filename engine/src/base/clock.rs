//! Time as a parameter. No safety decision uses a clock: times only decide when to try, and tell people.

use async_trait::async_trait;

/// Where the engine takes the time from.
#[async_trait]
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since the Unix epoch, for people; may jump.
    fn wall_ms(&self) -> u64;

    /// Nanoseconds since some fixed moment of this process; never goes back.
    fn monotonic_ns(&self) -> u64;

    /// Returns after at least `ms` milliseconds.
    async fn sleep_ms(&self, ms: u64);
}

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock {
    start: std::time::Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the clock"
    )]
    pub fn new() -> SystemClock {
        SystemClock {
            start: std::time::Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> SystemClock {
        SystemClock::new()
    }
}

#[async_trait]
impl Clock for SystemClock {
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the clock"
    )]
    fn wall_ms(&self) -> u64 {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| {
                u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
            })
    }

    fn monotonic_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "this is the one place that sleeps"
    )]
    async fn sleep_ms(&self, ms: u64) {
        let duration = std::time::Duration::from_millis(ms);
        if tokio::runtime::Handle::try_current().is_err() {
            // Background work: a thread of its own, which serves nobody else.
            std::thread::sleep(duration);
            return;
        }
        tokio::time::sleep(duration).await;
    }
}
