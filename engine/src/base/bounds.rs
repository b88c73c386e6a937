//! Bounds of the protocol that a simulation makes small, so that its edges are reached.

use super::limits::{
    BULK_LEN_MIN, FOLD_SLOTS_MAX, MANIFESTS_MIN, SPILL_LEN_MIN, WINDOW_LEN_MAX, WINDOW_SLOTS_MAX,
};

/// How far things may lag and how large they may grow.
///
/// All processes at one database must agree on [`Bounds::window_slots_max`]; the default is the
/// format's own, and nothing but a test has a reason for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Slots that a transaction may lag behind (`WMAX`).
    pub window_slots_max: u64,
    /// Bytes of keys that a process remembers.
    pub window_len_max: usize,
    /// Bytes of writes from which a transaction is written as a run.
    pub bulk_len_min: usize,
    /// Bytes of writes that a transaction keeps in memory.
    pub spill_len_min: usize,
    /// Slots of unfolded tail that start a fold where a slot is a file.
    pub fold_slots_max: u64,
    /// Manifests that collection leaves.
    pub manifests_min: usize,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            window_slots_max: WINDOW_SLOTS_MAX,
            window_len_max: WINDOW_LEN_MAX,
            bulk_len_min: BULK_LEN_MIN,
            spill_len_min: SPILL_LEN_MIN,
            fold_slots_max: FOLD_SLOTS_MAX,
            manifests_min: MANIFESTS_MIN,
        }
    }
}
