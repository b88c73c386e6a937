//! What a process has for shards beside time: slots, and whatever its caller has named.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use eciton_proto::v1::Resource;
use parking_lot::{Condvar, Mutex};

use crate::spec::SLOTS;

/// How often who waits for resources looks whether it still wants them.
const LOOKS_APART: Duration = Duration::from_millis(50);

/// The resources of a process, shared by all that it runs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Resources(Arc<ResourcePool>);

#[derive(Debug)]
struct ResourcePool {
    total: BTreeMap<String, u64>,
    /// Whether there is as much as anybody likes of what is not named.
    has_all: bool,
    state: Mutex<PoolState>,
    changed: Condvar,
}

#[derive(Debug)]
struct PoolState {
    free: BTreeMap<String, u64>,
    /// Who waits, in order: nobody overtakes one that needs much.
    waiting: VecDeque<u64>,
    next: u64,
}

/// Resources that a shard has, until this is dropped.
#[derive(Debug)]
pub(crate) struct TakenResources {
    pool: Arc<ResourcePool>,
    taken: Vec<(String, u64)>,
}

impl Resources {
    /// Slots, and exactly these resources.
    pub fn of(slots: usize, resources: Vec<Resource>) -> Resources {
        Resources::new(slots, resources, false)
    }

    /// Slots, and as much as anybody likes of everything else: for a user who runs a job here on purpose.
    pub fn unlimited(slots: usize) -> Resources {
        Resources::new(slots, Vec::new(), true)
    }

    fn new(slots: usize, resources: Vec<Resource>, has_all: bool) -> Resources {
        let named = resources.into_iter();
        let mut total: BTreeMap<String, u64> = named
            .map(|resource| (resource.name, resource.amount))
            .collect();
        total.insert(SLOTS.to_owned(), slots.max(1) as u64);
        let state = PoolState {
            free: total.clone(),
            waiting: VecDeque::new(),
            next: 0,
        };
        Resources(Arc::new(ResourcePool {
            total,
            has_all,
            state: Mutex::new(state),
            changed: Condvar::new(),
        }))
    }

    /// What of these needs this process never has, for people; `None` where it has all.
    pub(crate) fn lacks(&self, needs: &[Resource]) -> Option<String> {
        let lacking = |need: &&Resource| match self.0.total.get(&need.name) {
            Some(total) => *total < need.amount,
            None => !self.0.has_all,
        };
        let lacking = needs.iter().filter(lacking);
        let shown: Vec<String> = lacking
            .map(|need| format!("{} = {}", need.name, need.amount))
            .collect();
        (!shown.is_empty()).then(|| shown.join(", "))
    }

    /// Takes what a shard needs, one slot at least. Blocks; `None` once `is_wanted` says so.
    pub(crate) fn take(
        &self,
        needs: &[Resource],
        is_wanted: impl Fn() -> bool,
    ) -> Option<TakenResources> {
        let pool = &self.0;
        let mut needed: BTreeMap<String, u64> = needs
            .iter()
            .filter(|need| pool.total.contains_key(&need.name))
            .map(|need| (need.name.clone(), need.amount))
            .collect();
        needed.entry(SLOTS.to_owned()).or_insert(1);
        let mut state = pool.state.lock();
        let ticket = state.next;
        state.next += 1;
        state.waiting.push_back(ticket);
        loop {
            let is_next = state.waiting.front() == Some(&ticket);
            let is_free = |(name, amount): (&String, &u64)| {
                state.free.get(name).is_some_and(|free| free >= amount)
            };
            if is_next && needed.iter().all(is_free) {
                break;
            }
            if !is_wanted() {
                state.waiting.retain(|waiting| *waiting != ticket);
                pool.changed.notify_all();
                return None;
            }
            pool.changed.wait_for(&mut state, LOOKS_APART);
        }
        state.waiting.pop_front();
        for (name, amount) in &needed {
            let free = state.free.entry(name.clone()).or_default();
            assert!(*free >= *amount, "{amount} of {free} `{name}` are taken");
            *free -= amount;
        }
        pool.changed.notify_all();
        Some(TakenResources {
            pool: Arc::clone(pool),
            taken: needed.into_iter().collect(),
        })
    }
}

impl Drop for TakenResources {
    fn drop(&mut self) {
        let mut state = self.pool.state.lock();
        for (name, amount) in &self.taken {
            let free = state.free.entry(name.clone()).or_default();
            *free += amount;
            let total = self.pool.total.get(name).copied().unwrap_or(0);
            assert!(*free <= total, "{free} of {total} `{name}` are free");
        }
        self.pool.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need(name: &str, amount: u64) -> Resource {
        Resource {
            name: name.to_owned(),
            amount,
        }
    }

    #[test]
    fn what_is_taken_is_not_free_and_nobody_overtakes() {
        let resources = Resources::of(3, vec![need("gpu", 1)]);
        assert_eq!(resources.lacks(&[need("gpu", 1), need("slots", 3)]), None);
        let lacking = resources.lacks(&[need("gpu", 2), need("fpga", 1), need("slots", 4)]);
        assert_eq!(lacking.as_deref(), Some("gpu = 2, fpga = 1, slots = 4"));
        assert_eq!(Resources::unlimited(1).lacks(&[need("gpu", 9)]), None);
        let first = resources.take(&[need("gpu", 1)], || true).unwrap();
        // The graphics card is taken; so is a slot.
        assert!(resources.take(&[need("gpu", 1)], || false).is_none());
        assert!(resources.take(&[need("slots", 3)], || false).is_none());
        let second = resources.take(&[need("slots", 2)], || true).unwrap();
        assert!(resources.take(&[], || false).is_none());
        drop(first);
        let third = resources.take(&[need("gpu", 1)], || true).unwrap();
        drop((second, third));
        std::thread::scope(|scope| {
            let all = resources.take(&[need("slots", 3)], || true).unwrap();
            let large = scope.spawn(|| resources.take(&[need("slots", 3)], || true).is_some());
            while resources.0.state.lock().waiting.is_empty() {
                std::thread::yield_now();
            }
            // One that needs little waits behind it.
            assert!(resources.take(&[], || false).is_none());
            drop(all);
            assert!(large.join().unwrap());
        });
        assert!(resources.take(&[need("slots", 3)], || true).is_some());
    }
}
