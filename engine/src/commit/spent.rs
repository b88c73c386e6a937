//! How much space folds have used up, so that collection knows when it is worth its while.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::limits::{COLLECT_FACTOR, COLLECT_FOLDS};
use crate::fold::Folder;

/// How much folds have left behind since the last collection.
pub(super) struct Spent {
    len: AtomicU64,
    folds: AtomicU64,
    len_max: u64,
    folds_max: u64,
}

impl Spent {
    /// Where one process alone writes, the first fold is followed by a collection in any case: an earlier
    /// process may have left something.
    pub(super) fn new(folder: &Folder, fold_len_min: usize) -> Spent {
        let len_max = (fold_len_min as u64).saturating_mul(COLLECT_FACTOR);
        Spent {
            len: AtomicU64::new(if folder.shared { 0 } else { len_max }),
            folds: AtomicU64::new(0),
            len_max,
            folds_max: if folder.shared {
                COLLECT_FOLDS
            } else {
                u64::MAX
            },
        }
    }

    /// A fold has written, replaced and folded so many bytes.
    pub(super) fn add(&self, len: u64) {
        self.len.fetch_add(len, Ordering::Relaxed);
        self.folds.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether that is enough for a collection.
    pub(super) fn is_due(&self) -> bool {
        let folds = self.folds.load(Ordering::Relaxed);
        folds >= self.folds_max || self.len.load(Ordering::Relaxed) >= self.len_max
    }

    /// A collection begins.
    pub(super) fn reset(&self) {
        self.len.store(0, Ordering::Relaxed);
        self.folds.store(0, Ordering::Relaxed);
    }
}
