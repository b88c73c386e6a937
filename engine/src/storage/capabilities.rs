//! What a medium can do.

use crate::base::limits::{STALE_BUCKET_MS_MAX, STALE_MS_MAX};

/// What a medium can do, as far as the commit protocol has to know. Each [`Storage`](super::Storage) says it in one place;
/// the constants are what most folders and buckets say.
#[allow(
    clippy::struct_excessive_bools,
    reason = "each answers a question of its own"
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Whether there are append files, in which one process writes many slots.
    pub append_files: bool,
    /// Who the exclusive lock keeps out.
    pub exclusion: Exclusion,
    /// Whether what a call has done is durable when it returns, names and their removal included, so that a name is never
    /// lost but by removing it.
    pub durable_at_once: bool,
    /// Whether an object that is open stays readable as long as it is open, although its name was removed.
    pub keeps_removed: bool,
    /// Whether it can be opened such that no call changes anything.
    pub read_only: bool,
    /// Milliseconds for which a process that hears of slots over the bus goes without asking the medium for more.
    pub stale_ms_max: u64,
}

/// Who the exclusive lock of a medium keeps out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exclusion {
    /// Nobody: there is no such lock, and a database is opened clustered only.
    None,
    /// Processes of this machine. Others reach the medium, and may know nothing of the lock; so even a process that
    /// writes alone creates each slot under a name of its own, which only one can (S2).
    Machine,
    /// Everybody.
    Everybody,
}

impl Capabilities {
    /// Of a folder that no other machine reaches: names are durable after a sync.
    pub const FOLDER: Capabilities = Capabilities {
        append_files: true,
        exclusion: Exclusion::Everybody,
        durable_at_once: false,
        keeps_removed: true,
        read_only: true,
        stale_ms_max: STALE_MS_MAX,
    };

    /// Of a bucket of an object store: each request costs, and takes its time.
    pub const BUCKET: Capabilities = Capabilities {
        append_files: false,
        exclusion: Exclusion::None,
        durable_at_once: true,
        keeps_removed: false,
        read_only: true,
        stale_ms_max: STALE_BUCKET_MS_MAX,
    };

    /// Whether there is an exclusive lock, whoever it keeps out.
    pub fn has_exclusive_lock(&self) -> bool {
        self.exclusion != Exclusion::None
    }
}
