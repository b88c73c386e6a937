//! The types of this module's parent as a scheduler sees them. The containers are the real ones, and
//! each operation on them is a step.

use std::borrow::Borrow;
use std::ops::{Deref, RangeBounds};
use std::sync::{Arc, PoisonError};

use crossbeam_skiplist::map::Entry;
use shuttle::sync::atomic::AtomicBool;
use shuttle::sync::{MutexGuard, RwLockReadGuard, RwLockWriteGuard};

pub use shuttle::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// As `parking_lot::Mutex`.
#[derive(Default)]
pub struct Mutex<T>(shuttle::sync::Mutex<T>);

impl<T> Mutex<T> {
    /// A lock around `value`.
    pub fn new(value: T) -> Mutex<T> {
        Mutex(shuttle::sync::Mutex::new(value))
    }

    /// Waits for the lock.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As `parking_lot::RwLock`.
pub struct RwLock<T>(shuttle::sync::RwLock<T>);

impl<T> RwLock<T> {
    /// A lock around `value`.
    pub fn new(value: T) -> RwLock<T> {
        RwLock(shuttle::sync::RwLock::new(value))
    }

    /// Waits for the lock, to read.
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the lock, to write.
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place where the scheduler may go on with somebody else. Not a yield, which says that somebody
/// else must: the second scheduler would never preempt anywhere but there.
struct Point(AtomicBool);

impl Point {
    fn new() -> Point {
        Point(AtomicBool::new(false))
    }

    fn pass(&self) {
        self.0.load(Ordering::SeqCst);
    }
}

/// As `arc_swap::ArcSwap`.
pub struct ArcSwap<T> {
    cell: arc_swap::ArcSwap<T>,
    point: Point,
}

impl<T> ArcSwap<T> {
    /// A cell that holds `value`.
    pub fn from_pointee(value: T) -> ArcSwap<T> {
        ArcSwap {
            cell: arc_swap::ArcSwap::from_pointee(value),
            point: Point::new(),
        }
    }

    /// What it holds now.
    pub fn load_full(&self) -> Arc<T> {
        self.point.pass();
        self.cell.load_full()
    }

    /// What it holds now, for a short while.
    pub fn load(&self) -> impl Deref<Target = Arc<T>> {
        self.point.pass();
        self.cell.load()
    }

    /// Puts `value` in.
    pub fn store(&self, value: Arc<T>) {
        self.point.pass();
        self.cell.store(value);
    }
}

/// As `crossbeam_skiplist::SkipMap`.
pub struct SkipMap<K, V> {
    map: crossbeam_skiplist::SkipMap<K, V>,
    point: Point,
}

impl<K: Ord, V> Default for SkipMap<K, V> {
    fn default() -> SkipMap<K, V> {
        SkipMap {
            map: crossbeam_skiplist::SkipMap::new(),
            point: Point::new(),
        }
    }
}

impl<K: Ord + Send + 'static, V: Send + 'static> SkipMap<K, V> {
    /// An empty map.
    pub fn new() -> SkipMap<K, V> {
        SkipMap::default()
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.point.pass();
        self.map.is_empty()
    }

    /// How much is in it.
    pub fn len(&self) -> usize {
        self.point.pass();
        self.map.len()
    }

    /// The entry under `key`.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<Entry<'_, K, V>>
    where
        K: Borrow<Q>,
    {
        self.point.pass();
        self.map.get(key)
    }

    /// Puts `value` under `key`.
    pub fn insert(&self, key: K, value: V) -> Entry<'_, K, V> {
        self.point.pass();
        self.map.insert(key, value)
    }

    /// The entries of a range; others may put more in between two steps.
    pub fn range<'a, Q, R>(&'a self, range: R) -> impl DoubleEndedIterator<Item = Entry<'a, K, V>>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized + 'a,
        R: RangeBounds<Q> + 'a,
    {
        self.point.pass();
        self.map.range(range).inspect(|_| self.point.pass())
    }
}
