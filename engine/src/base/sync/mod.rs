//! Locks, atomics and shared containers of the code that many threads are in at once: the group commit
//! and the shared view. Everywhere else such types are taken from where they come from.
//!
//! Under the feature `shuttle`, which only tests have, the same names stand for types that give way to
//! a scheduler at every operation, so that a test draws, records and replays who runs when. What
//! it explores is the order of operations, each seen by all at once: it does not weaken
//! memory orderings.

#[cfg(feature = "shuttle")]
mod planted;
#[cfg(feature = "shuttle")]
mod scheduled;

#[cfg(feature = "shuttle")]
pub use planted::{Break, broken, plant};
#[cfg(feature = "shuttle")]
pub use scheduled::{ArcSwap, AtomicU64, AtomicUsize, Mutex, Ordering, RwLock, SkipMap};

#[cfg(not(feature = "shuttle"))]
pub use arc_swap::ArcSwap;
#[cfg(not(feature = "shuttle"))]
pub use crossbeam_skiplist::SkipMap;
#[cfg(not(feature = "shuttle"))]
pub use parking_lot::{Mutex, RwLock};
#[cfg(not(feature = "shuttle"))]
pub use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
