//! Leaves that a branch leads to without asking the cache.
//!
//! A lookup that finds its leaf here touches one word beside the branch, where the cache would take a hash, a lock
//! and an entry, each in memory of its own. What stands here is what the cache holds: a page is noted when
//! the cache has just been found to have it, and goes when the cache lets go of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use arc_swap::{ArcSwapOption, Guard};

use super::leaf::Leaf;
use super::slab::PageBody;

/// The body of a page in memory, and where a branch leads to it. What a lookup reads is in one cache line, apart
/// from the counters of who shares it.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct LentBody {
    /// Looked at through [`Leaves`] since the cache last asked.
    used: AtomicBool,
    pub(super) body: PageBody,
    place: OnceLock<(Weak<Leaves>, usize)>,
}

impl LentBody {
    pub(super) fn new(body: PageBody) -> LentBody {
        LentBody {
            used: AtomicBool::new(false),
            body,
            place: OnceLock::new(),
        }
    }

    /// Whether it was looked at through [`Leaves`] since this was last asked. From then on the next look goes
    /// through the cache, which counts it.
    pub(super) fn take_used(&self) -> bool {
        // Most have not been, and a line that is only read stays with everybody.
        self.used.load(Ordering::Relaxed) && self.used.swap(false, Ordering::Relaxed)
    }

    /// Takes it out of the place where a branch leads to it: the cache lets go of it.
    pub(super) fn leave(&self) {
        if let Some((leaves, i)) = self.place.get()
            && let Some(leaves) = leaves.upgrade()
        {
            leaves.0[*i].store(None);
        }
    }
}

/// The leaves below one branch that lookups have found in the cache.
#[derive(Debug)]
pub(super) struct Leaves(Box<[ArcSwapOption<LentBody>]>);

impl Leaves {
    /// Bytes that the place of one leaf takes.
    pub(super) const PLACE_LEN: u64 = size_of::<ArcSwapOption<LentBody>>() as u64;

    /// Places for so many.
    pub(super) fn new(count: usize) -> Leaves {
        Leaves((0..count).map(|_| ArcSwapOption::empty()).collect())
    }

    /// Leaf `i`, if it is here and the cache need not hear of it.
    #[inline]
    pub(super) fn get(&self, i: usize) -> Option<LentPage> {
        let guard = self.0.get(i)?.load();
        let shared = guard.as_ref()?;
        shared
            .used
            .load(Ordering::Relaxed)
            .then_some(LentPage(guard))
    }

    /// Leaf `i`, if it is here.
    #[cfg(test)]
    pub(super) fn body(&self, i: usize) -> Option<Arc<LentBody>> {
        self.0[i].load_full()
    }

    /// Notes the page `shared`, leaf `i`, which the cache has just been found to have; `is_cached` is asked once more
    /// afterwards: had the cache let go of it in between, nobody would take it out again.
    pub(super) fn keep(
        self: &Arc<Self>,
        i: usize,
        shared: &Arc<LentBody>,
        is_cached: impl FnOnce() -> bool,
    ) {
        shared.used.store(true, Ordering::Relaxed);
        let Some(place) = self.0.get(i) else { return };
        let is_here = |held: &Option<Arc<LentBody>>| {
            held.as_ref().is_some_and(|held| Arc::ptr_eq(held, shared))
        };
        if is_here(&place.load()) {
            return;
        }
        let own = (Arc::downgrade(self), i);
        if shared.place.get_or_init(|| own).1 != i {
            return;
        }
        place.store(Some(Arc::clone(shared)));
        if !is_cached() {
            place.store(None);
        }
    }
}

/// A page that is lent: looking at it counts nothing that other threads see. It stays in memory, beyond
/// the budget of the cache if need be, as long as this does.
pub(super) struct LentPage(Guard<Option<Arc<LentBody>>>);

impl LentPage {
    /// Of a page that is in memory.
    #[inline]
    pub(super) fn of(shared: Arc<LentBody>) -> LentPage {
        LentPage(Guard::from_inner(Some(shared)))
    }

    /// The body.
    #[inline]
    pub(super) fn body(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |shared| &shared.body)
    }

    /// The page as a leaf: only for a page of level 0.
    #[inline]
    pub(super) fn leaf(&self) -> Leaf<'_> {
        Leaf::of_checked(self.body())
    }
}

impl Clone for LentPage {
    fn clone(&self) -> LentPage {
        LentPage(Guard::from_inner(self.0.as_ref().map(Arc::clone)))
    }
}

impl std::fmt::Debug for LentPage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LentPage({} bytes)", self.body().len())
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;

    use super::super::testing::{TestObject, numbered, write};
    use super::super::{Lookup, PageCache, Run, RunOptions, key_hash};
    use super::*;
    use crate::base::Op;
    use crate::base::entropy::SeededEntropy;
    use crate::base::limits::PAGE_LEN;

    /// Records of 100 bytes, some 70 a leaf.
    const RECORDS: u64 = 20_000;
    /// Leaves that fit the cache of these tests: one in twenty.
    const ROOM: usize = 14;

    fn value(i: u64) -> Vec<u8> {
        i.to_le_bytes().repeat(13)
    }

    /// Bytes that the cache of these tests may hold.
    const BUDGET: usize = ROOM * (PAGE_LEN + 256);

    fn run() -> Run {
        let cache = Arc::new(PageCache::new(BUDGET));
        run_with(&cache)
    }

    fn run_with(cache: &Arc<PageCache>) -> Run {
        let (file, _) = write(RunOptions::default(), &numbered(b"r", RECORDS, value));
        let cache = Arc::clone(cache);
        let run = Run::open(TestObject::new(file), cache, "seg/test".to_owned());
        block_on(run).unwrap()
    }

    fn key(i: u64) -> Vec<u8> {
        [b"r", &i.to_be_bytes()[..]].concat()
    }

    fn assert_found(run: &Run, i: u64) {
        let found = block_on(run.get(&key(i), key_hash(&key(i)))).unwrap();
        assert_eq!(found, Some(Op::Put(value(i).into())), "record {i}");
    }

    #[test]
    fn what_is_read_twice_is_lent_and_no_more_than_the_cache_holds() {
        let run = run();
        for i in 0..RECORDS {
            assert_found(&run, i);
        }
        let lent = run.lent_leaves();
        assert!((1..=ROOM).contains(&lent.len()), "{} leaves", lent.len());
        assert!(lent.iter().all(|cached| *cached), "{lent:?}");
    }

    #[test]
    fn threads_that_push_each_others_pages_out_leave_none_behind() {
        let run = run();
        std::thread::scope(|scope| {
            for seed in 0..4 {
                let run = &run;
                scope.spawn(move || {
                    println!("seed {seed}");
                    let random = SeededEntropy::new(seed);
                    for _ in 0..20_000 {
                        // Half of them in a few leaves that all ask for, so that the same is read at once.
                        let near = if random.next_u64().is_multiple_of(2) {
                            300
                        } else {
                            RECORDS
                        };
                        assert_found(run, random.next_u64() % near);
                    }
                });
            }
        });
        let lent = run.lent_leaves();
        assert!((1..=ROOM).contains(&lent.len()), "{} leaves", lent.len());
        assert!(lent.iter().all(|cached| *cached), "{lent:?}");
    }

    #[test]
    fn a_value_that_is_held_outlives_its_page_in_the_cache() {
        let run = run();
        let look = |i: u64| match run.entry_cached(&key(i), key_hash(&key(i))).unwrap() {
            Lookup::Found(entry) => Some(entry),
            Lookup::Absent => panic!("record {i} is absent"),
            Lookup::NotCached(_) => None,
        };
        assert!(look(7).is_none());
        assert_found(&run, 7);
        let held: Vec<_> = (0..20).filter_map(|_| look(7)).collect();
        assert_eq!(held.len(), 20);
        for _ in 0..3 {
            (0..RECORDS).rev().for_each(|i| assert_found(&run, i));
        }
        assert_eq!(
            look(RECORDS - 1).map(|_| ()),
            None,
            "the cache holds one leaf in twenty"
        );
        for entry in held {
            assert_eq!(entry.clone().payload(), value(7));
        }
    }

    #[test]
    fn a_leaf_that_is_asked_for_again_and_again_stays_when_others_are_read_once() {
        let run = run();
        assert_found(&run, 7);
        for i in (0..RECORDS).step_by(10) {
            assert_found(&run, 7);
            assert_found(&run, i);
        }
        let hash = key_hash(&key(7));
        let found = run.entry_cached(&key(7), hash).unwrap();
        assert!(matches!(found, Lookup::Found(_)), "{found:?}");
    }

    /// A page that was looked at stays one round longer; even where all have been, none comes in beyond the budget.
    #[test]
    fn the_budget_holds_although_every_page_is_looked_at_before_the_next_comes() {
        let cache = Arc::new(PageCache::new(BUDGET));
        let run = run_with(&cache);
        let mut looked_at = 0;
        for next in 0..10 * ROOM as u64 {
            for leaf in 0..next {
                let key = key(leaf * 80);
                // Found past the cache from the second time on.
                for _ in 0..2 {
                    let found = run.entry_cached(&key, key_hash(&key)).unwrap();
                    looked_at += u64::from(matches!(found, Lookup::Found(_)));
                }
            }
            assert_found(&run, next * 80);
            assert!(cache.len() <= BUDGET as u64, "{cache:?} at leaf {next}");
        }
        assert!(
            looked_at > 0 && cache.len() > BUDGET as u64 / 2,
            "{looked_at}, {cache:?}"
        );
    }
}
