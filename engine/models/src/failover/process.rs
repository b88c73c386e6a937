//! What a process knows, and what it does next.

use super::state::{Content, Path, Position};

/// A process between two operations on a medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Process {
    /// The newest slot it has applied, by position and bytes.
    pub applied: Position,
    /// See `applied`.
    pub tip: Content,
    /// Paths that it cannot reach: A, P.
    pub cut: [bool; 2],
    /// What it does next.
    pub step: Step,
}

/// What a look at a name told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Seen {
    /// Nothing stands there.
    Absent,
    /// This does.
    There(Content),
    /// The path did not answer.
    Failed,
}

/// What a process does next, with what it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Step {
    /// Whatever it likes.
    Idle,
    /// Creates a slot on a path.
    Create {
        path: Path,
        slot: Content,
        then: Then,
    },
    /// Syncs the log of a path.
    Sync {
        path: Path,
        slot: Content,
        inode: u8,
        then: Then,
    },
    /// Looks whether the slot is there, and is still the one it was before the sync.
    Confirm {
        path: Path,
        slot: Content,
        inode: u8,
        then: Then,
    },
    /// Reads the next slot on the active path, having read it on the passive one.
    ReadActive { passive: Seen },
    /// Looks for a successor of a slot, which proves that somebody confirmed it.
    Prove {
        path: Path,
        slot: Content,
        then: Then,
    },
    /// Asks the arbiter for the next generation on a path.
    Ask { path: Path },
    /// Looks what stands where the seal would go.
    Look { path: Path },
}

/// What a process does with a slot once that is durable and confirmed on a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Then {
    /// It wrote the slot: goes on with the next path, or acknowledges.
    Own,
    /// It only read it: exposes it.
    Expose,
    /// It read it on both paths: looks at the passive one.
    Passive,
    /// Completes it on the passive path, unless a successor proves that to have been done.
    Complete,
    /// Completed it on the passive path before looking at the active one (a mutant).
    Late,
    /// Exposes it if that was proven by a successor, else fails over to the active path.
    OrFailOver,
    /// It is the successor that proves the given slot.
    Proves { slot: Content },
    /// It is the last slot of the active path: the seal goes on top of it.
    Adopt,
    /// It is its own seal.
    Sealed,
}
