//! The page cache: decompressed, checked pages of all runs within one budget of bytes.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use quick_cache::sync::Cache;
use quick_cache::{Lifecycle, Weighter};

use super::admission::Admission;
use super::page::Page;
use super::slab::Slabs;
use crate::base::limits::PAGE_LEN;

/// Bytes that a cached page takes besides its body: key, entry, shared counter.
const ENTRY_OVERHEAD_LEN: usize = 256;

/// Parts of all pages in each of which one is put in at a time.
const INSERT_STRIPES: usize = 16;

/// Pages of runs, shared by everybody who reads a database.
///
/// Eviction is that of `quick_cache`, a descendant of Clock-PRO: one long scan does not push out
/// what is read again and again. Once a page had to go, a lookup of a single key brings in no page before it
/// missed that page twice within a while (`PageCache::admits`). Lookups that find a leaf beside its branch do not ask here; the page
/// remembers it, stays one round longer for it, and the next lookup asks and is counted.
/// A page that is in use stays in memory until it no longer is.
pub struct PageCache {
    pages: Cache<(u64, u64), Page, PageWeighter, PageHasher, Release>,
    /// Held by whoever puts in a page of that part of all.
    inserting: [Mutex<()>; INSERT_STRIPES],
    runs: AtomicU64,
    slabs: Arc<Slabs>,
    admission: Admission,
    /// Set once a page had to go.
    is_full: Arc<AtomicBool>,
}

impl PageCache {
    /// A cache of at most `len_max` bytes. Pages longer than the budget are read each time.
    pub fn new(len_max: usize) -> PageCache {
        let pages = len_max / PAGE_LEN;
        let is_full = Arc::new(AtomicBool::new(false));
        PageCache {
            pages: Cache::with(
                pages.max(1),
                len_max as u64,
                PageWeighter,
                PageHasher(0),
                Release(Arc::clone(&is_full)),
            ),
            inserting: std::array::from_fn(|_| Mutex::new(())),
            runs: AtomicU64::new(0),
            slabs: Arc::default(),
            admission: Admission::new(pages),
            is_full,
        }
    }

    /// Bytes held now.
    pub fn len(&self) -> u64 {
        self.pages.weight()
    }

    /// How often a page that was asked for was held, and was not.
    pub fn asked(&self) -> (u64, u64) {
        (self.pages.hits(), self.pages.misses())
    }

    /// Whether no page is held.
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// A number for one opened run: its pages are never taken for those of another.
    pub(super) fn number_run(&self) -> u64 {
        self.runs.fetch_add(1, Ordering::Relaxed)
    }

    /// Where pages get their memory from.
    pub(super) fn slabs(&self) -> &Arc<Slabs> {
        &self.slabs
    }

    #[inline]
    pub(super) fn get(&self, run: u64, offset: u64) -> Option<Page> {
        self.pages.get(&(run, offset))
    }

    /// Whether a lookup that has just missed the page at that place is to put it in: where there is room, and else where
    /// the page was missed before within a while.
    #[inline]
    pub(super) fn admits(&self, run: u64, offset: u64) -> bool {
        !self.is_full.load(Ordering::Relaxed)
            || self
                .admission
                .is_again(PageHasher(0).hash_one((run, offset)))
    }

    /// Whether `page` is what is held at that place; counts nothing.
    pub(super) fn holds(&self, run: u64, offset: u64, page: &Page) -> bool {
        let held = self.pages.peek(&(run, offset));
        held.is_some_and(|held| held.is(page))
    }

    /// Puts `page` in, unless somebody was quicker; what is held then.
    pub(super) fn insert(&self, run: u64, offset: u64, page: Page) -> Page {
        let place = (run, offset);
        // A page that replaced another would leave that one beside its branch, and nobody would take it away.
        let stripe = PageHasher(0).hash_one(place) % self.inserting.len() as u64;
        let one_at_a_time = usize::try_from(stripe)
            .ok()
            .map(|stripe| self.inserting[stripe].lock());
        if let Some(held) = self.pages.peek(&place) {
            return held;
        }
        self.pages.insert(place, page.clone());
        drop(one_at_a_time);
        page
    }
}

impl std::fmt::Debug for PageCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "PageCache({} pages, {} bytes)",
            self.pages.len(),
            self.len()
        )
    }
}

#[derive(Clone)]
struct PageWeighter;

impl Weighter<(u64, u64), Page> for PageWeighter {
    fn weight(&self, _key: &(u64, u64), page: &Page) -> u64 {
        (page.held_len() + ENTRY_OVERHEAD_LEN) as u64
    }
}

/// What leaves the cache leaves its place beside its branch, too.
#[derive(Clone, Debug)]
struct Release(Arc<AtomicBool>);

impl Lifecycle<(u64, u64), Page> for Release {
    type RequestState = ();

    fn is_pinned(&self, _key: &(u64, u64), page: &Page) -> bool {
        page.shared().take_used()
    }

    fn on_evict(&self, _state: &mut (), _key: (u64, u64), page: Page) {
        page.shared().leave();
        // Written once: a line that is only read stays with everybody.
        if !self.0.load(Ordering::Relaxed) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

/// Hashes two numbers, the same in every process: what is evicted depends on nothing but the reads.
#[derive(Clone)]
struct PageHasher(u64);

impl BuildHasher for PageHasher {
    type Hasher = PageHasher;

    #[inline]
    fn build_hasher(&self) -> PageHasher {
        PageHasher(0)
    }
}

impl Hasher for PageHasher {
    #[inline]
    fn write_u64(&mut self, number: u64) {
        // Folding the wide product brings every bit of the input to both ends, where the cache
        // chooses shard and bucket.
        let wide = u128::from(self.0 ^ number ^ 0x2d35_8dcc_aa6c_78a5) * 0x9e37_79b9_7f4a_7c15;
        #[allow(
            clippy::cast_possible_truncation,
            reason = "the halves are folded into one"
        )]
        let folded = (wide ^ (wide >> 64)) as u64;
        self.0 = folded;
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}
