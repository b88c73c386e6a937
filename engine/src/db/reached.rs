//! How far verifying has come in the log.

use crate::base::{Generation, Position};

/// How far the log was read, or has been folded.
#[derive(Clone, Copy)]
pub(super) struct Reached {
    pub(super) last: Position,
    /// The generation of the slot after it.
    pub(super) generation: Generation,
    /// Whether slots stand there in files of their own.
    pub(super) is_single: bool,
}
