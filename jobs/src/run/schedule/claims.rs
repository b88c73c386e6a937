//! Which shards this process works on while other processes may work on the same job.
//!
//! A lease says that somebody is at a shard, so that others begin elsewhere. It is a hint: it may be lost, and it ends
//! by itself when its holder is killed. What is computed twice for that is dropped when it is to be committed.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use eciton_engine::{Db, Result};
use futures::future::join_all;
use parking_lot::Mutex;

use super::leases::{LeaseHolder, Leases, ShardId};

/// Parts of a lease after each of which it is prolonged.
pub(crate) const RENEWALS: u32 = 3;
/// What others have done is looked at so often at most.
const LOOKS_APART: Duration = Duration::from_millis(100);
/// How long who finds nothing to do waits before it looks again, at most.
pub(crate) const IDLE_MAX: Duration = Duration::from_millis(500);
/// Leases that are asked for together.
const TOGETHER_MAX: usize = 256;
/// What follows a shard's name in the lease of who computes it a second time.
const AGAIN: &str = "again";

/// The leases of one process for the shards of one job.
pub(crate) struct Claims {
    db: Db,
    /// What the names of leases begin with.
    prefix: String,
    lease: Duration,
    shards: Mutex<LeasedShards>,
    looked: Mutex<Option<Instant>>,
    renewed: Mutex<Instant>,
    /// Who else of this process may be at a shard, if anybody.
    among: Option<Leases>,
    job: (u64, u32),
    holder: LeaseHolder,
}

/// What becomes of the leases.
#[derive(Default)]
struct LeasedShards {
    /// They are to be prolonged.
    held: BTreeSet<u64>,
    /// Those of them that another process had when they were to be prolonged: both are at them.
    lost: BTreeSet<u64>,
    /// They are being given back, so many times: whoever of this process took one now would lose the lease with that.
    leaving: BTreeMap<u64, u32>,
}

impl LeasedShards {
    fn leave(&mut self, shard: u64) {
        *self.leaving.entry(shard).or_default() += 1;
    }

    fn left(&mut self, shard: u64) {
        assert!(
            self.leaving.contains_key(&shard),
            "shard {shard} is not being given back"
        );
        if let Entry::Occupied(mut times) = self.leaving.entry(shard) {
            assert!(*times.get() > 0, "shard {shard} is given back no more");
            *times.get_mut() -= 1;
            if *times.get() == 0 {
                times.remove();
            }
        }
    }
}

impl Drop for Claims {
    fn drop(&mut self) {
        if let Some(among) = &self.among {
            among.end_all(self.holder);
        }
    }
}

impl Claims {
    /// For a job by its number and how often it was retried: what was held before a retry stands in nobody's
    /// way. `None` where nobody else works on the database: neither another process nor others of this one.
    pub(crate) fn new(
        db: &Db,
        job: (u64, u32),
        lease_ms: u64,
        among: Option<&Leases>,
    ) -> Option<Claims> {
        (db.is_shared() || among.is_some()).then(|| Claims {
            db: db.clone(),
            prefix: prefix(job),
            among: among.cloned(),
            job,
            holder: LeaseHolder::new(),
            lease: Duration::from_millis(lease_ms),
            shards: Mutex::default(),
            looked: Mutex::default(),
            renewed: Mutex::new(Instant::now()),
        })
    }

    /// Makes readable what others had committed, but for the last moment; see [`Db::catch_up`].
    ///
    /// # Errors
    /// What reading the log refuses.
    pub(crate) async fn look(&self) -> Result<()> {
        let is_due = {
            let mut looked = self.looked.lock();
            let is_due = looked.is_none_or(|at| at.elapsed() >= LOOKS_APART);
            if is_due {
                *looked = Some(Instant::now());
            }
            is_due
        };
        if is_due && self.db.is_shared() {
            self.db.catch_up().await?;
        }
        Ok(())
    }

    /// Takes the leases of shards; whether each is held now, or another process has it.
    pub(crate) async fn take(&self, shards: &[u64]) -> Vec<bool> {
        let mut taken = Vec::with_capacity(shards.len());
        for shards in shards.chunks(TOGETHER_MAX) {
            taken.extend(join_all(shards.iter().map(|shard| self.take_one(*shard))).await);
        }
        assert_eq!(taken.len(), shards.len(), "an answer for each shard");
        taken
    }

    async fn take_one(&self, shard: u64) -> bool {
        if self.shards.lock().leaving.contains_key(&shard) {
            return false;
        }
        let is_free = |among: &Leases| among.take(self.shard_id(shard), self.holder, None);
        if !self.among.as_ref().is_none_or(is_free) {
            return false;
        }
        let taken = self.lease(shard).await;
        if taken {
            self.shards.lock().held.insert(shard);
        } else {
            self.let_go(shard);
        }
        taken
    }

    fn let_go(&self, shard: u64) {
        if let Some(among) = &self.among {
            among.end(self.shard_id(shard), self.holder, None);
        }
    }

    fn shard_id(&self, shard: u64) -> ShardId {
        let (job, retries) = self.job;
        ShardId {
            job,
            retries,
            shard,
        }
    }

    /// Takes the right to compute a shard that another process is at; `false` where a third one has it.
    pub(crate) async fn take_again(&self, shard: u64) -> bool {
        let name = format!("{}/{AGAIN}", self.name(shard));
        self.db.lease(&name, self.lease_ms()).await
    }

    /// No longer prolongs the lease of a shard: it has ended.
    pub(crate) fn end(&self, shard: u64) {
        {
            let mut shards = self.shards.lock();
            shards.held.remove(&shard);
            shards.lost.remove(&shard);
        }
        self.let_go(shard);
    }

    /// Shards of which another process has the lease, too, as far as is known: one of the two did not get an answer in time.
    pub(crate) fn lost(&self) -> Vec<u64> {
        self.shards.lock().lost.iter().copied().collect()
    }

    /// Leaves a shard to whoever else is at it.
    pub(crate) async fn leave_to_others(&self, shard: u64) {
        self.end(shard);
        let again = format!("{}/{AGAIN}", self.name(shard));
        self.db.release(&again).await;
    }

    /// Gives a shard back that was not begun, or has to wait: others may begin it at once.
    pub(crate) async fn give_back(&self, shard: u64) {
        if self.leave(shard) {
            self.release(shard).await;
        }
    }

    /// From now on nobody of this process takes the shard until it is released; `false` if it is not held.
    pub(crate) fn leave(&self, shard: u64) -> bool {
        let mut shards = self.shards.lock();
        let was_held = shards.held.remove(&shard);
        shards.lost.remove(&shard);
        if was_held {
            shards.leave(shard);
        }
        assert!(
            !shards.held.contains(&shard),
            "shard {shard} was left and is prolonged"
        );
        was_held
    }

    /// Lets others have the lease of a shard that was left.
    pub(crate) async fn release(&self, shard: u64) {
        self.db.release(&self.name(shard)).await;
        self.let_go(shard);
        self.shards.lock().left(shard);
    }

    /// Prolongs what is held, a few times a lease.
    pub(crate) async fn renew_if_due(&self) {
        {
            let mut renewed = self.renewed.lock();
            if renewed.elapsed() < self.lease / RENEWALS {
                return;
            }
            *renewed = Instant::now();
        }
        let held: Vec<u64> = self.shards.lock().held.iter().copied().collect();
        for shards in held.chunks(TOGETHER_MAX) {
            join_all(shards.iter().map(|shard| self.renew(*shard))).await;
        }
    }

    async fn renew(&self, shard: u64) {
        if !self.shards.lock().held.contains(&shard) {
            return;
        }
        // Whoever has it now, if this was too late: the commit decides.
        let is_held = self.lease(shard).await;
        {
            // Given back meanwhile, it would be nobody's to others until this lease ends.
            let mut shards = self.shards.lock();
            if shards.held.contains(&shard) {
                match is_held {
                    true => shards.lost.remove(&shard),
                    false => shards.lost.insert(shard),
                };
                return;
            }
            shards.leave(shard);
        }
        self.release(shard).await;
    }

    async fn lease(&self, shard: u64) -> bool {
        self.db.lease(&self.name(shard), self.lease_ms()).await
    }

    fn name(&self, shard: u64) -> String {
        format!("{}/{shard}", self.prefix)
    }

    fn lease_ms(&self) -> u64 {
        u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX)
    }
}

/// What the names of the leases of a job's shards begin with.
pub(crate) fn prefix((job, retries): (u64, u32)) -> String {
    format!("job/{job}/{retries}")
}

/// How long who finds only shards at which others are waits before it looks again.
pub(crate) fn idle(lease_ms: u64) -> Duration {
    (Duration::from_millis(lease_ms) / (2 * RENEWALS)).min(IDLE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_idles_longer_than_a_lease() {
        assert_eq!(idle(30_000), IDLE_MAX);
        assert_eq!(idle(600), Duration::from_millis(100));
    }
}
