//! The direction of a walk over keys.

/// Which way a walk goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkDirection {
    /// From the smallest key on.
    Forward,
    /// From the largest key on.
    Reverse,
}
