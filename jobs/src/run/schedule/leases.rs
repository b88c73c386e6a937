//! Who of this process is at which shard.
//!
//! Leases between processes know processes only. Within one its own slots and the programs that pull from it keep out
//! of each other's way by this table. As everywhere a lease saves work and proves nothing: the commits decide.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use eciton_engine::entropy::{Entropy as _, SystemEntropy};
use parking_lot::Mutex;

/// Shards of which somebody of one process has a lease, at most.
pub const LEASES_MAX: usize = 65_536;

/// The leases of one process at one database, shared by clones. Whoever serves jobs and whoever hands tasks to other
/// programs are given the same.
#[derive(Clone, Debug, Default)]
pub struct Leases(Arc<Mutex<HashMap<ShardId, HeldLease>>>);

/// A shard of a job, as the job was after so many retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ShardId {
    pub(crate) job: u64,
    pub(crate) retries: u32,
    pub(crate) shard: u64,
}

/// Names a holder: a name that nobody else draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LeaseHolder(pub(crate) u128);

impl LeaseHolder {
    pub(crate) fn new() -> LeaseHolder {
        LeaseHolder(SystemEntropy.next_u128())
    }
}

/// Whoever holds something in another process.
const ELSEWHERE: LeaseHolder = LeaseHolder(0);

#[derive(Clone, Copy, Debug)]
struct HeldLease {
    /// `None`: nobody is to take the shard.
    by: Option<LeaseHolder>,
    /// `None`: until it is let go of.
    until: Option<Instant>,
}

impl HeldLease {
    fn is_over(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

/// How a lease stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseStanding {
    /// It runs.
    Held,
    /// It ran out, and nobody else has taken the shard.
    RanOut,
    /// Somebody else has taken the shard since.
    Lost,
    /// Nothing is known of it: it was let go of, or it is another process's.
    Unknown,
}

impl Leases {
    /// Nobody is at anything.
    pub fn new() -> Leases {
        Leases::default()
    }

    /// Takes a shard that nobody is at, or prolongs its lease, until a moment or until it is let go of.
    pub(crate) fn take(&self, shard_id: ShardId, by: LeaseHolder, until: Option<Instant>) -> bool {
        let now = Instant::now();
        let mut table = self.0.lock();
        let held = table.get(&shard_id);
        if held.is_some_and(|held| held.by != Some(by) && !held.is_over(now)) {
            return false;
        }
        if held.is_none() && table.len() >= LEASES_MAX {
            table.retain(|_, held| !held.is_over(now));
            if table.len() >= LEASES_MAX {
                return false;
            }
        }
        let by = Some(by);
        let before = table.insert(shard_id, HeldLease { by, until });
        assert!(
            before.is_none_or(|held| held.by == by || held.is_over(now)),
            "shard {} is taken from {before:?}",
            shard_id.shard
        );
        let count = table.len();
        assert!(count <= LEASES_MAX, "{count} leases");
        true
    }

    /// How a holder's lease stands.
    pub(crate) fn standing(&self, shard_id: ShardId, by: LeaseHolder) -> LeaseStanding {
        match self.0.lock().get(&shard_id) {
            Some(held) if held.by == Some(by) && held.is_over(Instant::now()) => {
                LeaseStanding::RanOut
            }
            Some(held) if held.by == Some(by) => LeaseStanding::Held,
            Some(HeldLease { by: Some(_), .. }) => LeaseStanding::Lost,
            Some(HeldLease { by: None, .. }) | None => LeaseStanding::Unknown,
        }
    }

    /// Lets go of a shard, if this is who has it. With a moment nobody takes it before that.
    pub(crate) fn end(
        &self,
        shard_id: ShardId,
        by: LeaseHolder,
        rests_until: Option<Instant>,
    ) -> bool {
        let mut table = self.0.lock();
        if table.get(&shard_id).is_none_or(|held| held.by != Some(by)) {
            return false;
        }
        match rests_until {
            Some(_) => table.insert(
                shard_id,
                HeldLease {
                    by: None,
                    until: rests_until,
                },
            ),
            None => table.remove(&shard_id),
        };
        let held = table.get(&shard_id).and_then(|held| held.by);
        assert_eq!(held, None, "shard {} was let go of", shard_id.shard);
        assert!(table.len() <= LEASES_MAX, "{} leases", table.len());
        true
    }

    /// Somebody of another process has taken a shard from this holder. Anybody here may take it, once that one lets go.
    pub(crate) fn lose(&self, shard_id: ShardId, by: LeaseHolder) {
        let mut table = self.0.lock();
        if let Some(held) = table.get_mut(&shard_id).filter(|held| held.by == Some(by)) {
            held.by = Some(ELSEWHERE);
            held.until = Some(Instant::now());
            assert!(
                held.is_over(Instant::now()),
                "shard {} was lost and cannot be taken: {held:?}",
                shard_id.shard
            );
        }
    }

    /// Lets go of whatever this holder has.
    pub(crate) fn end_all(&self, by: LeaseHolder) {
        self.0.lock().retain(|_, held| held.by != Some(by));
    }

    /// How many leases run that end by themselves.
    pub(crate) fn running(&self) -> usize {
        let now = Instant::now();
        let table = self.0.lock();
        let runs =
            |held: &&HeldLease| held.by.is_some() && held.until.is_some_and(|until| until > now);
        table.values().filter(runs).count()
    }

    /// How many shards somebody of this process is at.
    pub fn held(&self) -> usize {
        let now = Instant::now();
        let table = self.0.lock();
        let is_ours =
            |held: &&HeldLease| held.by.is_some_and(|by| by != ELSEWHERE) && !held.is_over(now);
        table.values().filter(is_ours).count()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SHARD_ID: ShardId = ShardId {
        job: 1,
        retries: 0,
        shard: 2,
    };

    #[allow(clippy::unnecessary_wraps, reason = "it is what is asked for")]
    fn late() -> Option<Instant> {
        Some(Instant::now() + Duration::from_hours(1))
    }

    #[test]
    fn one_has_a_shard_until_it_is_over_or_let_go_of() {
        let leases = Leases::new();
        let (one, other) = (LeaseHolder::new(), LeaseHolder::new());
        assert!(leases.take(SHARD_ID, one, late()) && leases.take(SHARD_ID, one, late()));
        assert!(!leases.take(SHARD_ID, other, None));
        assert_eq!(leases.running(), 1);
        assert_eq!(leases.standing(SHARD_ID, one), LeaseStanding::Held);
        assert_eq!(leases.standing(SHARD_ID, other), LeaseStanding::Lost);
        assert!(!leases.end(SHARD_ID, other, None) && leases.end(SHARD_ID, one, None));
        assert_eq!(leases.standing(SHARD_ID, one), LeaseStanding::Unknown);
        assert!(leases.take(SHARD_ID, one, Some(Instant::now())));
        assert_eq!(leases.standing(SHARD_ID, one), LeaseStanding::RanOut);
        assert!(leases.take(SHARD_ID, other, None));
        assert_eq!(leases.standing(SHARD_ID, one), LeaseStanding::Lost);
        assert_eq!(leases.running(), 0, "it does not end by itself");
        assert_eq!(leases.held(), 1, "and is held");
        leases.end_all(other);
        assert_eq!(leases.held(), 0);
        assert!(leases.take(SHARD_ID, one, late()));
        leases.lose(SHARD_ID, other);
        assert_eq!(leases.standing(SHARD_ID, one), LeaseStanding::Held);
        leases.lose(SHARD_ID, one);
        assert_eq!(leases.standing(SHARD_ID, one), LeaseStanding::Lost);
        assert_eq!(leases.held(), 0, "another process has it");
        assert!(leases.take(SHARD_ID, other, late()));
        assert_eq!(leases.held(), 1);
    }

    #[test]
    fn a_shard_that_rests_is_nobodys() {
        let leases = Leases::new();
        let (one, other) = (LeaseHolder::new(), LeaseHolder::new());
        assert!(leases.take(SHARD_ID, one, late()));
        assert!(leases.end(SHARD_ID, one, late()));
        assert!(!leases.take(SHARD_ID, one, late()) && !leases.take(SHARD_ID, other, None));
        assert_eq!(leases.standing(SHARD_ID, one), LeaseStanding::Unknown);
        assert_eq!(leases.running(), 0);
    }

    #[test]
    fn leases_are_bounded_and_those_that_are_over_make_room() {
        let leases = Leases::new();
        let by = LeaseHolder::new();
        let shard_id = |shard| ShardId { shard, ..SHARD_ID };
        let over = Some(Instant::now());
        assert!(leases.take(shard_id(0), by, over));
        for shard in 1..LEASES_MAX as u64 {
            assert!(leases.take(shard_id(shard), by, None));
        }
        assert!(leases.take(shard_id(LEASES_MAX as u64), by, None));
        assert!(!leases.take(shard_id(LEASES_MAX as u64 + 1), by, None));
    }
}
