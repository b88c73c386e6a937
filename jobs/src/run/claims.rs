//! Which shards this process works on while other processes may work on the same job.
//!
//! A lease says that somebody is at a shard, so that others begin elsewhere. It is a hint: it may be lost, and it ends
//! by itself when its holder is killed. What is computed twice for that is dropped when it is to be committed.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use eciton_engine::base::Result;
use eciton_engine::base::entropy::{Entropy as _, SystemEntropy};
use eciton_engine::db::Db;
use parking_lot::Mutex;

/// Parts of a lease after each of which it is prolonged.
const RENEWALS: u32 = 3;
/// What others have done is looked at so often at most.
const LOOKS_APART: Duration = Duration::from_millis(100);
/// How long a process that finds nothing to do waits before it looks again, at most.
const IDLE_MAX: Duration = Duration::from_millis(500);

/// The leases of one process for the shards of one job.
pub(super) struct Claims {
    db: Db,
    /// What the names of leases begin with.
    prefix: String,
    lease: Duration,
    /// What is to be prolonged.
    held: Mutex<BTreeSet<u64>>,
    looked: Mutex<Option<Instant>>,
}

impl Claims {
    /// For a job by its number and how often it was retried: what was held before a retry stands in nobody's
    /// way. `None` where this process alone writes to the database.
    pub(super) fn new(db: &Db, (job, retries): (u64, u32), lease_ms: u64) -> Option<Claims> {
        db.is_shared().then(|| Claims {
            db: db.clone(),
            prefix: format!("job/{job}/{retries}"),
            lease: Duration::from_millis(lease_ms),
            held: Mutex::default(),
            looked: Mutex::default(),
        })
    }

    /// Takes the lease of a shard; `false` where another process has it. Afterwards what others had committed a
    /// moment before can be read.
    ///
    /// # Errors
    /// What reading the log refuses.
    pub(super) async fn take(&self, shard: u64) -> Result<bool> {
        if !self.lease(shard).await {
            return Ok(false);
        }
        self.held.lock().insert(shard);
        let is_due = {
            let mut looked = self.looked.lock();
            let is_due = looked.is_none_or(|at| at.elapsed() >= LOOKS_APART);
            if is_due {
                *looked = Some(Instant::now());
            }
            is_due
        };
        if is_due {
            self.db.refresh().await?;
        }
        Ok(true)
    }

    /// No longer prolongs the lease of a shard: it has ended.
    pub(super) fn end(&self, shard: u64) {
        self.held.lock().remove(&shard);
    }

    /// Prolongs what is held, for ever.
    pub(super) async fn renew(&self) {
        loop {
            tokio::time::sleep(self.lease / RENEWALS).await;
            let held: Vec<u64> = self.held.lock().iter().copied().collect();
            for shard in held {
                // Whoever has it now, if this was too late: the commit decides.
                self.lease(shard).await;
            }
        }
    }

    async fn lease(&self, shard: u64) -> bool {
        let ms = u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX);
        let name = format!("{}/{shard}", self.prefix);
        self.db.lease(&name, ms).await
    }
}

/// Shards in an order of this process's own, so that processes that begin together do not ask for the same ones.
pub(super) fn in_own_order(mut shards: Vec<u32>) -> Vec<u32> {
    let len = shards.len().max(1) as u128;
    let from = usize::try_from(SystemEntropy.next_u128() % len);
    shards.rotate_left(from.unwrap_or(0));
    shards
}

/// How long a process that finds only shards at which others are waits before it looks again.
pub(super) fn idle(lease_ms: u64) -> Duration {
    (Duration::from_millis(lease_ms) / (2 * RENEWALS)).min(IDLE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_of_its_own_has_every_shard_once() {
        for len in [0, 1, 2, 7] {
            let mut shards = in_own_order((0..len).collect());
            shards.sort_unstable();
            assert_eq!(shards, (0..len).collect::<Vec<_>>());
        }
    }

    #[test]
    fn nobody_idles_longer_than_a_lease() {
        assert_eq!(idle(30_000), IDLE_MAX);
        assert_eq!(idle(600), Duration::from_millis(100));
    }
}
