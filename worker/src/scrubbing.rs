//! Scrubbing in the background: damaged and missing objects of one storage path, restored from the other.

use std::sync::Arc;
use std::time::Duration;

use eciton_engine::storage::Storage;
use eciton_engine::{Environment, ScrubOptions};
use tokio::task::JoinHandle;

/// How a worker scrubs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scrubbing {
    /// Time from the end of one pass to the beginning of the next.
    pub(crate) interval: Duration,
    /// Bytes read per second.
    pub(crate) bandwidth: u64,
}

impl Default for Scrubbing {
    fn default() -> Scrubbing {
        Scrubbing {
            interval: Duration::from_hours(24),
            bandwidth: 10 * 1024 * 1024,
        }
    }
}

/// Scrubs the paths at `places` again and again, until it is aborted.
pub(crate) fn watch(places: Vec<Arc<dyn Storage>>, how: Scrubbing) -> JoinHandle<()> {
    tokio::spawn(async move {
        let environment = Environment::default();
        let options = ScrubOptions {
            bandwidth: Some(how.bandwidth),
        };
        // The workers of a swarm start together, and need not read all of it at the same time.
        let share = environment.entropy.next_u128() % 1000;
        let share = u32::try_from(share).unwrap_or_default();
        tokio::time::sleep(how.interval * share / 1000).await;
        loop {
            match eciton_engine::scrub(&places, &options, &environment, &|_| {}).await {
                Ok(report) => tracing::info!(
                    objects = report.objects,
                    bytes = report.bytes,
                    healed = report.healed.len(),
                    unhealed = report.unhealed.len(),
                    "[Scrub] both storage paths were read"
                ),
                Err(error) => tracing::warn!("[Scrub] the storage paths were not read: {error}"),
            }
            tokio::time::sleep(how.interval).await;
        }
    })
}
