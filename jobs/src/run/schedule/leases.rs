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
pub struct Leases(Arc<Mutex<HashMap<Place, Held>>>);

/// A shard of a job, as the job was after so many retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) job: u64,
    pub(crate) retries: u32,
    pub(crate) shard: u64,
}

/// Names a holder: a name that nobody else draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Holder(pub(crate) u128);

impl Holder {
    pub(crate) fn new() -> Holder {
        Holder(SystemEntropy.next_u128())
    }
}

/// Whoever holds something in another process.
const ELSEWHERE: Holder = Holder(0);

#[derive(Clone, Copy, Debug)]
struct Held {
    /// `None`: nobody is to take the shard.
    by: Option<Holder>,
    /// `None`: until it is let go of.
    until: Option<Instant>,
}

impl Held {
    fn is_over(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

/// How a lease stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
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
    pub(crate) fn take(&self, place: Place, by: Holder, until: Option<Instant>) -> bool {
        let now = Instant::now();
        let mut table = self.0.lock();
        let held = table.get(&place);
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
        let before = table.insert(place, Held { by, until });
        assert!(
            before.is_none_or(|held| held.by == by || held.is_over(now)),
            "shard {} is taken from {before:?}",
            place.shard
        );
        let count = table.len();
        assert!(count <= LEASES_MAX, "{count} leases");
        true
    }

    /// How a holder's lease stands.
    pub(crate) fn standing(&self, place: Place, by: Holder) -> Standing {
        match self.0.lock().get(&place) {
            Some(held) if held.by == Some(by) && held.is_over(Instant::now()) => Standing::RanOut,
            Some(held) if held.by == Some(by) => Standing::Held,
            Some(Held { by: Some(_), .. }) => Standing::Lost,
            Some(Held { by: None, .. }) | None => Standing::Unknown,
        }
    }

    /// Lets go of a shard, if this is who has it. With a moment nobody takes it before that.
    pub(crate) fn end(&self, place: Place, by: Holder, rests_until: Option<Instant>) -> bool {
        let mut table = self.0.lock();
        if table.get(&place).is_none_or(|held| held.by != Some(by)) {
            return false;
        }
        match rests_until {
            Some(_) => table.insert(
                place,
                Held {
                    by: None,
                    until: rests_until,
                },
            ),
            None => table.remove(&place),
        };
        let held = table.get(&place).and_then(|held| held.by);
        assert_eq!(held, None, "shard {} was let go of", place.shard);
        assert!(table.len() <= LEASES_MAX, "{} leases", table.len());
        true
    }

    /// Somebody of another process has taken a shard from this holder. Anybody here may take it, once that one lets go.
    pub(crate) fn lose(&self, place: Place, by: Holder) {
        let mut table = self.0.lock();
        if let Some(held) = table.get_mut(&place).filter(|held| held.by == Some(by)) {
            held.by = Some(ELSEWHERE);
            held.until = Some(Instant::now());
            assert!(
                held.is_over(Instant::now()),
                "shard {} was lost and cannot be taken: {held:?}",
                place.shard
            );
        }
    }

    /// Lets go of whatever this holder has.
    pub(crate) fn end_all(&self, by: Holder) {
        self.0.lock().retain(|_, held| held.by != Some(by));
    }

    /// How many leases run that end by themselves.
    pub(crate) fn running(&self) -> usize {
        let now = Instant::now();
        let table = self.0.lock();
        let runs = |held: &&Held| held.by.is_some() && held.until.is_some_and(|until| until > now);
        table.values().filter(runs).count()
    }

    /// How many shards somebody of this process is at.
    pub fn held(&self) -> usize {
        let now = Instant::now();
        let table = self.0.lock();
        let is_ours =
            |held: &&Held| held.by.is_some_and(|by| by != ELSEWHERE) && !held.is_over(now);
        table.values().filter(is_ours).count()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const PLACE: Place = Place {
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
        let (one, other) = (Holder::new(), Holder::new());
        assert!(leases.take(PLACE, one, late()) && leases.take(PLACE, one, late()));
        assert!(!leases.take(PLACE, other, None));
        assert_eq!(leases.running(), 1);
        assert_eq!(leases.standing(PLACE, one), Standing::Held);
        assert_eq!(leases.standing(PLACE, other), Standing::Lost);
        assert!(!leases.end(PLACE, other, None) && leases.end(PLACE, one, None));
        assert_eq!(leases.standing(PLACE, one), Standing::Unknown);
        assert!(leases.take(PLACE, one, Some(Instant::now())));
        assert_eq!(leases.standing(PLACE, one), Standing::RanOut);
        assert!(leases.take(PLACE, other, None));
        assert_eq!(leases.standing(PLACE, one), Standing::Lost);
        assert_eq!(leases.running(), 0, "it does not end by itself");
        assert_eq!(leases.held(), 1, "and is held");
        leases.end_all(other);
        assert_eq!(leases.held(), 0);
        assert!(leases.take(PLACE, one, late()));
        leases.lose(PLACE, other);
        assert_eq!(leases.standing(PLACE, one), Standing::Held);
        leases.lose(PLACE, one);
        assert_eq!(leases.standing(PLACE, one), Standing::Lost);
        assert_eq!(leases.held(), 0, "another process has it");
        assert!(leases.take(PLACE, other, late()));
        assert_eq!(leases.held(), 1);
    }

    #[test]
    fn a_shard_that_rests_is_nobodys() {
        let leases = Leases::new();
        let (one, other) = (Holder::new(), Holder::new());
        assert!(leases.take(PLACE, one, late()));
        assert!(leases.end(PLACE, one, late()));
        assert!(!leases.take(PLACE, one, late()) && !leases.take(PLACE, other, None));
        assert_eq!(leases.standing(PLACE, one), Standing::Unknown);
        assert_eq!(leases.running(), 0);
    }

    #[test]
    fn leases_are_bounded_and_those_that_are_over_make_room() {
        let leases = Leases::new();
        let by = Holder::new();
        let place = |shard| Place { shard, ..PLACE };
        let over = Some(Instant::now());
        assert!(leases.take(place(0), by, over));
        for shard in 1..LEASES_MAX as u64 {
            assert!(leases.take(place(shard), by, None));
        }
        assert!(leases.take(place(LEASES_MAX as u64), by, None));
        assert!(!leases.take(place(LEASES_MAX as u64 + 1), by, None));
    }
}
